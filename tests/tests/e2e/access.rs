//! Users, policies, ACLs: what is checked stands in `tests/clients/boto3_access.py`; here what outlives
//! a restart.

use ringfort_tests::harness::Site;
use ringfort_tests::harness::client::{Client, Request, Signing};
use ringfort_tests::harness::scripts::{run, script};
use serde_json::Value;

#[test]
fn boto3_access() {
    let site = Site::new();
    let server = site.start();
    let admin = format!("http://{}", server.admin_listen);
    run(script(&site, &server, "boto3_access.py").env("RINGFORT_ADMIN", admin));
    server.stop();
}

fn manage(client: &mut Client, method: &str, path: &str, body: &str) -> (u16, Value) {
    let request = Request::new(method, &format!("/api/v1/{path}"))
        .signed_by(None)
        .header("Authorization", "Bearer test-key")
        .body(body);
    let answer = client.call(&request);
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn a_user_may_have_so_many_buckets_and_root_more() {
    let site = Site::new().flags(&["--buckets-per-user", "3"]);
    let server = site.start();
    let mut admin = Client::new(server.admin_listen);
    let order = r#"{"user_name":"alice","access_key":"alice-key","secret_key":"alice-secret"}"#;
    assert_eq!(manage(&mut admin, "POST", "credentials", order).0, 201);
    let mut s3 = server.client();
    let mut call = |method: &str, name: &str| {
        let alice = Some(Signing::new("alice-key", "alice-secret"));
        s3.call(&Request::new(method, &format!("/{name}")).signed_by(alice))
    };
    for name in ["one", "two", "three"] {
        call("PUT", &format!("of-alice-{name}")).expect(200);
    }
    call("PUT", "of-alice-four").expect_error(400, "TooManyBuckets");
    call("PUT", "of-alice-one").expect(200);
    call("DELETE", "of-alice-two").expect(204);
    call("PUT", "of-alice-four").expect(200);
    for number in 0..4 {
        server.client().put(&format!("/of-root-{number}"), "").expect(200);
    }
    server.stop();
}

#[test]
fn users_and_what_they_may_do_outlive_a_restart() {
    let site = Site::new();
    let server = site.start();
    let mut admin = Client::new(server.admin_listen);
    let order = r#"{"user_name":"alice","access_key":"alice-key","secret_key":"alice-secret"}"#;
    let (status, made) = manage(&mut admin, "POST", "credentials", order);
    assert_eq!(status, 201, "{made}");
    let policy = r#"{"Version": "2012-10-17", "Statement": [ {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"} ]}"#;
    let path = format!("credentials/{}/policies/keep", made["id"]);
    assert_eq!(manage(&mut admin, "PUT", &path, policy).0, 200);
    let alice = || Some(Signing::new("alice-key", "alice-secret"));
    let signed = |method: &str, target: &str| Request::new(method, target).signed_by(alice());
    let mut s3 = server.client();
    s3.call(&signed("PUT", "/alices")).expect(200);
    s3.call(&signed("PUT", "/alices/k").body("1")).expect(200);
    let public = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::alices/*"}}"#;
    s3.call(&signed("PUT", "/alices?policy=").body(public)).expect(204);
    server.stop();

    let server = site.start();
    let mut s3 = server.client();
    s3.call(&signed("GET", "/alices/k")).expect(200);
    s3.call(&Request::new("GET", "/alices/k").signed_by(None)).expect(200);
    s3.call(&signed("DELETE", "/alices/k")).expect_error(403, "AccessDenied");
    assert_eq!(s3.call(&signed("GET", "/alices?policy=")).expect(200).text(), public);
    let mut admin = Client::new(server.admin_listen);
    let (_, shown) = manage(&mut admin, "GET", &path, "");
    assert_eq!(shown["Statement"][0]["Effect"], "Deny");
    let (_, again) = manage(&mut admin, "GET", &format!("credentials/{}", made["id"]), "");
    assert_eq!(again["canonical_id"], made["canonical_id"]);
    server.stop();
}
