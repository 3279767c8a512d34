//! The audit log: every request has its line, with who made it and from where, and nothing secret in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use super::console::Browser;
use ringfort_tests::harness::client::{Client, Request, Signing, connect};
use ringfort_tests::harness::{SECRET_KEY, Server, Site, wait_until};
use serde_json::{Value, json};

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may be under way.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// `port who operation bucket/key status error`
fn summary(line: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let who = &line["who"];
    let name = who["name"].as_str().filter(|_| who["kind"] != "root");
    let name = name.or(who["claimed_access_key"].as_str()).unwrap_or("-");
    let what = match line["path"].as_str() {
        Some(path) => path.to_owned(),
        None => format!("{}/{}", text(&line["bucket"]), text(&line["key"])),
    };
    format!(
        "{} {}:{name} {} {what} {} {}",
        text(&line["port"]),
        text(&who["kind"]),
        text(&line["operation"]),
        line["status"],
        text(&line["error"])
    )
}

fn manage(server: &Server<'_>, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::new(method, path)
        .signed_by(None)
        .header("authorization", &format!("Bearer {key}"))
        .body(body.to_string());
    let answer = Client::new(server.admin_listen).call(&request);
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[test]
fn every_request_is_told_with_who_made_it_and_no_secret_is() {
    let site = Site::new();
    let log = site.path("audit.log");
    let site = site
        .flags(&["--audit-log", &log.display().to_string(), "--trusted-proxy", "127.0.0.0/8"])
        .expect_log("a sign-in at the console failed");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    client.put("/bucket/dir/a%20b", vec![7; 300_000]).expect(200);
    let get = Request::new("GET", "/bucket/dir/a%20b")
        .header("x-forwarded-for", "198.51.100.7, 203.0.113.9")
        .header("x-forwarded-proto", "https")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("user-agent", "agent \"one\"");
    client.call(&get).expect(200);
    client.call(&Request::new("HEAD", "/bucket/dir/a%20b")).expect(200);
    client.get("/bucket/dir/absent").expect(404);

    let user = json!({"user_name": "ann", "access_key": "ANNSACCESSKEY1234567", "secret_key": "anns-own-very-secret-key-1234567890"});
    let (status, made) = manage(&server, "test-key", "POST", "/api/v1/credentials", &user);
    assert_eq!(status, 201, "{made}");
    assert_eq!(manage(&server, "wrong-key", "GET", "/api/v1/stats", &Value::Null).0, 401);
    let ann = Signing::new("ANNSACCESSKEY1234567", "anns-own-very-secret-key-1234567890");
    let denied = Request::new("GET", "/bucket/dir/a%20b").signed_by(Some(ann));
    client.call(&denied).expect_error(403, "AccessDenied");
    let forged = Signing::new("ANNSACCESSKEY1234567", "somebody-elses-secret");
    let forged = Request::new("DELETE", "/bucket/dir/a%20b").signed_by(Some(forged));
    client.call(&forged).expect_error(403, "SignatureDoesNotMatch");
    let unsigned = Request::new("GET", "/bucket/dir/a%20b").signed_by(None);
    client.call(&unsigned).expect_error(403, "AccessDenied");
    let address = server.listen.to_string();
    let presigned = Request::new("GET", "/bucket/dir/a%20b").presigned(&address, 60);
    let head = format!("GET {presigned} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    assert_eq!(client.exchange(head.as_bytes(), false).unwrap().status, 200);
    let list =
        "<Delete><Object><Key>dir/a b</Key></Object><Object><Key>two</Key></Object></Delete>";
    client.call(&Request::new("POST", "/bucket?delete=").body(list)).expect(200);
    let keys = json!({"access_key": "somebody", "secret_key": "guessed-secret"});
    let sign_in = Request::new("POST", "/console/session")
        .signed_by(None)
        .header("content-type", "application/json")
        .header("origin", &format!("http://{}", server.admin_listen))
        .body(keys.to_string());
    Client::new(server.admin_listen).call(&sign_in).expect(401);
    client.delete("/bucket").expect(204);

    let mut all = Vec::new();
    wait_until("the last line", || {
        all = lines(&log);
        all.iter().any(|line| line["operation"] == "DeleteBucket")
    });
    let summaries: Vec<String> = all.iter().map(summary).collect();
    let expected = [
        "s3 root:- CreateBucket bucket/- 200 -",
        "s3 root:- PutObject bucket/dir/a b 200 -",
        "s3 root:- GetObject bucket/dir/a b 200 -",
        "s3 root:- HeadObject bucket/dir/a b 200 -",
        "s3 root:- GetObject bucket/dir/absent 404 NoSuchKey",
        "management manager:configured Manage /api/v1/credentials 201 -",
        "management unknown:- Manage /api/v1/stats 401 -",
        "s3 user:ann GetObject bucket/dir/a b 403 AccessDenied",
        "s3 unknown:ANNSACCESSKEY1234567 DeleteObject bucket/dir/a b 403 SignatureDoesNotMatch",
        "s3 anonymous:- GetObject bucket/dir/a b 403 AccessDenied",
        "s3 root:- GetObject bucket/dir/a b 200 -",
        "s3 root:- DeleteObjects.Object bucket/dir/a b 204 -",
        "s3 root:- DeleteObjects.Object bucket/two 204 -",
        "s3 root:- DeleteObjects bucket/- 200 -",
        "management unknown:somebody SignIn /console/session 401 -",
        "s3 root:- DeleteBucket bucket/- 204 -",
    ];
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(summaries), sorted(expected.map(str::to_owned).to_vec()));

    let with_agent: Vec<&Value> =
        all.iter().filter(|line| line["user_agent"] == "agent \"one\"").collect();
    let [told] = with_agent[..] else { panic!("{with_agent:?}") };
    assert_eq!(
        (&told["source"], &told["proxy"], &told["is_secure"]),
        (&json!("203.0.113.9"), &json!("127.0.0.1"), &json!(true))
    );
    assert_eq!((&told["bytes_out"], &told["is_whole"]), (&json!(300_000), &json!(true)));
    assert_eq!(told["shown_by"], "header");
    assert_eq!(told["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(all.iter().filter(|line| line["trace_id"].is_string()).count(), 1);
    assert_eq!(told["request_id"].as_str().unwrap().len(), 16);
    let time: jiff::Timestamp = told["time"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(time).as_secs() < 120);
    assert!(all.iter().any(|line| line["shown_by"] == "query"));
    let put = all.iter().find(|line| line["operation"] == "PutObject").unwrap();
    assert_eq!(put["bytes_in"], 300_000);
    let text = fs::read_to_string(&log).unwrap();
    for secret in
        [SECRET_KEY, "test-key", "wrong-key", "very-secret", "guessed", "Signature=", "Bearer"]
    {
        assert!(!text.contains(secret), "{secret}");
    }
    wait_until("the count", || server.metric("ringfort_audit_log_lines_total") >= 16.0);
    server.stop();
}

#[test]
fn what_an_api_key_does_is_told_with_its_name() {
    let site = Site::new();
    let log = site.path("audit.log");
    let site = site.flags(&["--audit-log", &log.display().to_string()]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    for key in ["one", "two", "three"] {
        client.put(&format!("/bucket/{key}"), "x").expect(200);
    }
    let key = |name: &str, rights: &str| {
        let order = json!({"name": name, "rights": rights});
        let (status, made) = manage(&server, "test-key", "POST", "/api/v1/api-keys", &order);
        assert_eq!(status, 201, "{made}");
        made["key"].as_str().unwrap().to_owned()
    };
    let (full, reader) = (key("bob", "full"), key("dash", "read-only"));
    let mut bob = Browser::of(&server, &json!({ "api_key": full }));
    bob.ask("DELETE", "/console/s3/bucket/one", "").expect(204);
    let mut dash = Browser::of(&server, &json!({ "api_key": reader }));
    dash.ask("DELETE", "/console/s3/bucket/two", "").expect(403);
    let keys = json!({"keys": ["two"]});
    let path = "/api/v1/buckets/bucket/delete-objects";
    assert_eq!(manage(&server, &full, "POST", path, &keys).0, 200);
    let path = "/api/v1/buckets/bucket/objects/three";
    assert_eq!(manage(&server, &full, "DELETE", path, &Value::Null).0, 200);
    server.stop();

    let told: Vec<String> = lines(&log)
        .iter()
        .filter(|line| line["port"] == "management")
        .map(|line| {
            let name = |who: &Value| who["name"].as_str().unwrap_or("-").to_owned();
            let by = if line["who"]["kind"] == "manager" { &line["who"] } else { &line["manager"] };
            format!("{} {} {}", name(by), line["operation"].as_str().unwrap(), line["status"])
                + &line["key"].as_str().map(|key| format!(" {key}")).unwrap_or_default()
        })
        .collect();
    let mut expected = [
        "configured Manage 201",
        "configured Manage 201",
        "bob SignIn 200",
        "bob DeleteObject 204 one",
        "dash SignIn 200",
        "dash Browse 403",
        "bob DeleteObject 204 two",
        "bob Manage 200",
        "bob DeleteObject 204 three",
        "bob Manage 200",
    ];
    let mut told: Vec<&str> = told.iter().map(String::as_str).collect();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn an_answer_that_was_cut_short_is_told_with_what_was_given_out() {
    let site = Site::new();
    let log = site.path("audit.log");
    let site = site.flags(&["--audit-log", &log.display().to_string()]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    const SIZE: usize = 64 << 20;
    client.put("/bucket/large", vec![1; SIZE]).expect(200);
    let mut stream = connect(server.listen).unwrap();
    let head = Request::new("GET", "/bucket/large").head(&server.listen.to_string());
    stream.write_all(&head).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    drop(stream);
    let mut told = Value::Null;
    wait_until("the line", || {
        let found = lines(&log).into_iter().find(|line| line["operation"] == "GetObject");
        found.map(|line| told = line).is_some()
    });
    assert_eq!(told["is_whole"], false, "{told}");
    assert!(told["bytes_out"].as_u64().unwrap() < SIZE as u64, "{told}");
    server.stop();
}

#[test]
fn a_log_that_is_rotated_loses_no_line() {
    let site = Site::new();
    let log = site.path("audit.log");
    let flags = ["--audit-log", &log.display().to_string(), "--audit-requests", "changes"];
    let site = site.flags(&flags);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let mut moved = Vec::new();
    for number in 0..200 {
        client.put(&format!("/bucket/{number}"), "x").expect(200);
        client.get(&format!("/bucket/{number}")).expect(200);
        if number % 50 == 25 {
            let to = site.path(&format!("audit.log.{number}"));
            fs::rename(&log, &to).unwrap();
            let pid = server.pid().to_string();
            assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
            wait_until("a new file", || log.exists());
            moved.push(to);
        }
    }
    server.stop();
    let all: Vec<Value> = moved.iter().chain([&log]).flat_map(|path| lines(path)).collect();
    let puts = all.iter().filter(|line| line["operation"] == "PutObject");
    let keys: Vec<u32> = puts.map(|line| line["key"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(keys.len(), 200);
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), (0..200).collect());
    // Reading changes nothing.
    assert!(all.iter().all(|line| line["operation"] != "GetObject"));
}

#[test]
fn without_a_log_that_is_required_nothing_is_done() {
    let site = Site::new()
        .flags(&["--audit-log", "/dev/full"])
        .flags(&["--audit-required"])
        .expect_log("the audit log cannot be written")
        .expect_log("audit log could not be written");
    let server = site.start();
    let mut client = server.client();
    // The first one finds out.
    client.put("/bucket", "").expect(200);
    wait_until("the failure", || server.metric("ringfort_audit_log_failures_total") > 0.0);
    let mut client = server.client();
    client.put("/bucket/key", "x").expect_error(503, "ServiceUnavailable");
    client.get("/").expect_error(503, "ServiceUnavailable");
    let bucket = json!({"name": "other"});
    assert_eq!(manage(&server, "test-key", "POST", "/api/v1/buckets", &bucket).0, 503);
    assert_eq!(manage(&server, "test-key", "GET", "/api/v1/stats", &Value::Null).0, 200);
    server.stop();
}

#[test]
fn a_proxy_is_believed_only_where_it_is_trusted() {
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::bucket/*","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},
        "Bool":{"aws:SecureTransport":"true"}}}]}"#;
    let site = Site::new();
    let visit = |server: &Server<'_>, from: &str, scheme: &str| {
        let request = Request::new("GET", "/bucket/key")
            .signed_by(None)
            .header("x-forwarded-for", from)
            .header("x-forwarded-proto", scheme);
        server.client().call(&request).status
    };
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    client.put("/bucket/key", "x").expect(200);
    client.put("/bucket?policy=", policy).expect(204);
    assert_eq!(visit(&server, "203.0.113.9", "https"), 403);
    server.stop();

    let site = site.flags(&["--trusted-proxy", "127.0.0.1"]);
    let server = site.start();
    for (from, scheme, expected) in [
        ("203.0.113.9", "https", 200),
        ("203.0.113.9", "http", 403),
        ("198.51.100.1", "https", 403),
        // What the client said of itself stands before what the proxy saw.
        ("203.0.113.9, 198.51.100.1", "https", 403),
        ("198.51.100.1, 203.0.113.9", "https", 200),
        ("nonsense", "https", 403),
    ] {
        assert_eq!(visit(&server, from, scheme), expected, "{from} {scheme}");
    }
    server.stop();
}
