//! Presigned URLs: what the API signs is used on the S3 port.

use super::{Api, Site, assert_like, encode, example_credential, json};
use ringfort_tests::harness::client::Request;
use ringfort_tests::harness::{ACCESS_KEY, wait_until};
use serde_json::Value;

#[test]
fn a_url_does_what_its_credential_may_until_it_ends() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    api.post(201, "credentials", &example_credential());
    let mut s3 = server.client();
    api.post(201, "buckets", &json!({"name": "my-bucket", "owner_id": 1}));
    s3.put("/others", "").expect(200);
    let plain =
        |method: &str, url: &Value| Request::new(method, url.as_str().unwrap()).signed_by(None);
    let order = |key: &str, method: &str| {
        json!({
            "bucket_name": "my-bucket",
            "object_key": key,
            "method": method,
            "expires_in": 3600,
            "access_key": "AKIAIOSFODNN7EXAMPLE",
        })
    };
    for key in ["file.txt", "a b/ü+&=?%2F"] {
        let made = api.post(201, "presigned-urls", &order(key, "PUT"));
        let path = format!("/my-bucket/{}?X-Amz-", encode(key));
        assert!(made["url"].as_str().unwrap().starts_with(&path), "{made}");
        assert_eq!(
            made["absolute_url"],
            format!("{}{}", server.endpoint(), made["url"].as_str().unwrap())
        );
        s3.call(&plain("PUT", &made["url"]).body("hello")).expect(200);
        // Another method is not what was signed.
        s3.call(&plain("GET", &made["url"])).expect_error(403, "SignatureDoesNotMatch");
        for (method, status) in [("HEAD", 200), ("GET", 200), ("DELETE", 204), ("GET", 404)] {
            let made = api.post(201, "presigned-urls", &order(key, method));
            let answer = s3.call(&plain(method, &made["url"])).expect(status);
            assert!(method != "GET" || status != 200 || answer.text() == "hello");
        }
    }
    // POST, with a parameter that is signed.
    let mut begin = order("large", "POST");
    begin["query"] = json!({"uploads": ""});
    let made = api.post(201, "presigned-urls", &begin);
    let begun = s3.call(&plain("POST", &made["url"])).expect(200);
    assert!(begun.element("UploadId").is_some());

    // The credential's own rights are the URL's.
    let mut foreign = order("k", "GET");
    foreign["bucket_name"] = "others".into();
    let made = api.post(201, "presigned-urls", &foreign);
    s3.call(&plain("GET", &made["url"])).expect_error(403, "AccessDenied");

    // Signed for another host, it is good there only.
    let mut elsewhere = order("file.txt", "PUT");
    elsewhere["host"] = "s3.example.net".into();
    let made = api.post(201, "presigned-urls", &elsewhere);
    s3.call(&plain("PUT", &made["url"]).body("x")).expect_error(403, "SignatureDoesNotMatch");
    let mut there = plain("PUT", &made["url"]).body("x");
    there.host = Some("s3.example.net".to_owned());
    s3.call(&there).expect(200);

    // Root's, with the defaults of the document.
    let root = json!({"bucket_name": "others", "object_key": "k", "access_key": ACCESS_KEY});
    let made = api.post(201, "presigned-urls", &root);
    s3.call(&plain("GET", &made["url"])).expect_error(404, "NoSuchKey");

    let urls = api.get("presigned-urls");
    let rows = urls["urls"].as_array().unwrap();
    let example = json!({
        "bucket_name": "my-bucket",
        "object_key": "file.txt",
        "method": "GET",
        "access_key": "AKIAIOSFODNN7EXAMPLE",
        "expires_at": "2023-01-15T11:30:00Z",
        "created_at": "2023-01-15T10:30:00Z",
    });
    rows.iter().for_each(|row| assert_like(row, &example));
    assert!(!urls.to_string().contains("Signature"));
    assert_eq!(api.get("stats")["active_presigned_urls"], rows.len());
    let first = api.get("presigned-urls?limit=2");
    let next = first["next_marker"].as_str().unwrap();
    let rest = api.get(&format!("presigned-urls?marker={next}"));
    assert_eq!(rest["urls"].as_array().unwrap().len(), rows.len() - 2);

    let mut brief = order("file.txt", "GET");
    brief["expires_in"] = 1.into();
    let made = api.post(201, "presigned-urls", &brief);
    wait_until("the URL to end", || s3.call(&plain("GET", &made["url"])).status == 403);
    wait_until("it to leave the list", || {
        api.get("presigned-urls")["urls"].as_array().unwrap().len() == rows.len()
    });
    server.stop();
}

#[test]
fn orders_that_cannot_be_say_which_field() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    api.post(201, "credentials", &example_credential());
    server.client().put("/my-bucket", "").expect(200);
    for (status, name, value) in [
        (400, "method", json!("PATCH")),
        (400, "expires_in", json!(0)),
        (400, "expires_in", json!(604_801)),
        (400, "object_key", json!("")),
        (400, "object_key", json!("k".repeat(1025))),
        (400, "access_key", json!("nobody")),
        (400, "host", json!("a b")),
        (400, "host", json!("evil/path")),
        (400, "query", json!({"X-Amz-Expires": "9"})),
        (404, "bucket", json!("no-bucket")),
    ] {
        let mut order = json!({
            "bucket_name": "my-bucket",
            "object_key": "file.txt",
            "access_key": "AKIAIOSFODNN7EXAMPLE",
        });
        let field = if name == "bucket" { "bucket_name" } else { name };
        order[field] = value;
        api.refuse(status, "POST", "presigned-urls", &order, name);
    }
    api.expect(200, "PUT", "credentials/1", r#"{"is_active": false}"#);
    let order = json!({
        "bucket_name": "my-bucket",
        "object_key": "file.txt",
        "access_key": "AKIAIOSFODNN7EXAMPLE",
    });
    api.refuse(400, "POST", "presigned-urls", &order, "access_key");
    server.stop();
}
