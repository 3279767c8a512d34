//! Buckets: made for an owner, listed in pages, shown with what they hold, taken away when empty.

use super::{Api, Site, assert_like, example_bucket, example_credential, example_object, json};
use ringfort_tests::harness::client::{Request, Signing};
use serde_json::Value;

#[test]
fn a_bucket_is_made_for_its_owner_and_shown() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let owner = api.post(201, "credentials", &example_credential());
    assert_like(&owner, &json!({"id": 1, "is_active": true, "created_at": ""}));
    let order = json!({"name": "my-new-bucket", "owner_id": 1, "region": "us-east-1"});
    let made = api.post(201, "buckets", &order);
    assert_like(&made, &example_bucket());
    assert_eq!((&made["owner"], &made["object_count"]), (&json!("john-doe"), &json!(0)));
    assert_eq!(made["objects"], json!([]));

    // It is the owner's own, without a policy.
    let key = &example_credential();
    let (access, secret) =
        (key["access_key"].as_str().unwrap(), key["secret_key"].as_str().unwrap());
    let owned = |method: &str, target: &str| {
        Request::new(method, target).signed_by(Some(Signing::new(access, secret)))
    };
    let mut s3 = server.client();
    let put =
        owned("PUT", "/my-new-bucket/photos/vacation.jpg").header("content-type", "image/jpeg");
    s3.call(&put.body(vec![7; 1_024_000])).expect(200);

    let shown = api.get("buckets/my-new-bucket");
    assert_like(&shown, &example_bucket());
    assert_eq!((&shown["object_count"], &shown["total_size"]), (&json!(1), &json!(1_024_000)));
    let object = &shown["objects"][0];
    assert_like(object, &example_object());
    assert_eq!(object["content_type"], "image/jpeg");
    assert_eq!(object["size_human"], "1000.0 KB");
    let listed = api.get("buckets");
    assert_like(&listed["buckets"][0], &example_bucket());
    let credential = api.get("credentials/1");
    assert_eq!(credential["bucket_count"], 1);
    assert_eq!(credential["buckets"][0]["total_size"], 1_024_000);
    assert_like(&credential["buckets"][0], &example_bucket());

    api.refuse(409, "DELETE", "buckets/my-new-bucket", &Value::Null, "not empty");
    s3.call(&owned("DELETE", "/my-new-bucket/photos/vacation.jpg")).expect(204);
    api.expect(200, "DELETE", "buckets/my-new-bucket", "");
    api.refuse(404, "GET", "buckets/my-new-bucket", &Value::Null, "bucket");
    api.refuse(404, "DELETE", "buckets/my-new-bucket", &Value::Null, "bucket");
    server.stop();
}

#[test]
fn orders_that_cannot_be_say_why() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    api.post(201, "buckets", &json!({"name": "roots-own", "owner_id": 0}));
    for (status, order, says) in [
        (409, json!({"name": "roots-own", "owner_id": 0}), "name"),
        (400, json!({"name": "A", "owner_id": 0}), "name"),
        (400, json!({"name": ".api-key", "owner_id": 0}), "name"),
        (400, json!({"name": "good-name"}), "owner_id"),
        (400, json!({"owner_id": 0}), "name"),
        (400, json!({"name": "good-name", "owner_id": 5}), "owner_id"),
        (400, json!({"name": "good-name", "owner_id": 0, "region": "mars-1"}), "region"),
        (400, json!({"name": "good-name", "owner_id": 0, "colour": "red"}), "colour"),
    ] {
        api.refuse(status, "POST", "buckets", &order, says);
    }
    // What the server itself keeps in its catalogue is no bucket.
    api.post(201, "credentials", &example_credential());
    for name in [".user%2FAKIAIOSFODNN7EXAMPLE", ".user-number%2Flast", "..", "%00"] {
        for (method, rest) in
            [("GET", ""), ("DELETE", ""), ("GET", "/objects"), ("GET", "/uploads")]
        {
            api.expect(404, method, &format!("buckets/{name}{rest}"), "");
        }
    }
    server.stop();
}

#[test]
fn buckets_come_in_pages() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    for number in 0..7 {
        s3.put(&format!("/bucket-{number}"), "").expect(200);
    }
    let (mut marker, mut found) = (String::new(), Vec::new());
    loop {
        let page = api.get(&format!("buckets?limit=3&prefix=bucket&marker={marker}"));
        let names = page["buckets"].as_array().unwrap().iter();
        found.extend(names.map(|bucket| bucket["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_marker"].as_str() else { break };
        assert_eq!(page["is_truncated"], true);
        next.clone_into(&mut marker);
    }
    let all: Vec<String> = (0..7).map(|number| format!("bucket-{number}")).collect();
    assert_eq!(found, all);
    assert_eq!(api.get("buckets?prefix=nothing")["buckets"], json!([]));
    for limit in ["0", "1001", "x", "-1"] {
        api.refuse(400, "GET", &format!("buckets?limit={limit}"), &Value::Null, "limit");
    }
    server.stop();
}
