//! Quotas: set on the management port, held on the S3 port by every way in which bytes come.

use super::{Api, Site, json};
use ringfort_tests::harness::client::{Client, Request};
use serde_json::Value;

const CODE: &str = "QuotaExceeded";

#[test]
fn every_write_is_held_to_the_quota() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/full", "").expect(200);
    s3.put("/full/a", vec![1; 600]).expect(200);
    s3.put("/full/begin", "").expect(200);
    let none =
        json!({"max_bytes": null, "max_objects": null, "used_bytes": 600, "used_objects": 2});
    assert_eq!(api.get("buckets/full/quota"), none);
    let quota = json!({"max_bytes": 1000, "max_objects": 4});
    let set = api.expect(200, "PUT", "buckets/full/quota", &quota.to_string());
    assert_eq!((&set["max_bytes"], &set["used_bytes"]), (&json!(1000), &json!(600)));

    // PutObject, by length, by chunks of unknown length, and with a body that is never sent.
    s3.put("/full/b", vec![1; 401]).expect_error(403, CODE);
    let refused =
        s3.call(&Request::new("PUT", "/full/b").header("expect", "100-continue").length(401));
    refused.expect_error(403, CODE);
    let mut s3 = server.client();
    s3.put("/full/b", vec![1; 300]).expect(200);
    // What is replaced makes room for what comes.
    s3.put("/full/a", vec![1; 700]).expect(200);
    s3.put("/full/a", vec![1; 701]).expect_error(403, CODE);
    // CopyObject.
    copy(&mut s3, "/full/c", "full/a").expect_error(403, CODE);
    copy(&mut s3, "/full/a", "full/b").expect(200);
    copy(&mut s3, "/full/c", "full/a").expect(200);
    // Appends.
    let append = |bytes: usize, at: u64| {
        Request::new("PUT", "/full/c")
            .header("x-amz-write-offset-bytes", &at.to_string())
            .body(vec![1; bytes])
    };
    s3.call(&append(101, 300)).expect_error(403, CODE);
    s3.call(&append(100, 300)).expect(200);
    // As many objects as may be: 4.
    s3.put("/full/d", "").expect_error(403, CODE);
    s3.put("/full/a", "").expect(200);
    s3.delete("/full/begin").expect(204);
    s3.put("/full/d", "").expect(200);

    // Uploads: a part that could not become part of an object, and the whole.
    s3.delete("/full/d").expect(204);
    let used = api.get("buckets/full/quota");
    assert_eq!((&used["used_bytes"], &used["used_objects"]), (&json!(700), &json!(3)));
    let id = s3.post("/full/up?uploads=", "").expect(200).element("UploadId").unwrap();
    let part = |number: u16| format!("/full/up?partNumber={number}&uploadId={id}");
    s3.put(&part(1), vec![1; 301]).expect_error(403, CODE);
    let etag = s3.put(&part(1), vec![1; 200]).expect(200).header("etag").unwrap().to_owned();
    s3.put(&part(2), vec![1; 101]).expect_error(403, CODE);
    let by_copy = Request::new("PUT", &part(2)).header("x-amz-copy-source", "full/b");
    s3.call(&by_copy).expect_error(403, CODE);
    s3.put("/full/d", vec![1; 150]).expect(200);
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let complete = format!("/full/up?uploadId={id}");
    s3.post(&complete, document.clone()).expect_error(403, CODE);
    s3.delete("/full/d").expect(204);
    s3.post(&complete, document).expect(200);

    // Forms.
    form(&mut s3, 150).expect_error(403, CODE);
    api.expect(200, "PUT", "buckets/full/quota", r#"{"max_bytes": 2000}"#);
    form(&mut s3, 150).expect(204);

    // What is over its quota may be read and made smaller, and all is well without a quota.
    api.expect(200, "PUT", "buckets/full/quota", r#"{"max_bytes": 1}"#);
    s3.put("/full/b", vec![1; 300]).expect(200);
    s3.put("/full/b", vec![1; 299]).expect(200);
    s3.put("/full/e", "1").expect_error(403, CODE);
    api.expect(200, "DELETE", "buckets/full/quota", "");
    s3.put("/full/e", "1").expect(200);
    server.stop();
}

fn copy(s3: &mut Client, to: &str, from: &str) -> ringfort_tests::harness::client::Answer {
    let copy = Request::new("PUT", to)
        .header("x-amz-copy-source", from)
        .header("x-amz-metadata-directive", "REPLACE");
    s3.call(&copy)
}

/// A form of root's, whose file has an unknown length.
fn form(s3: &mut Client, bytes: usize) -> ringfort_tests::harness::client::Answer {
    use base64::Engine as _;
    let signing = ringfort_tests::harness::client::Signing::default();
    let stamp = signing.stamp();
    let policy = json!({
        "expiration": "2099-01-01T00:00:00Z",
        "conditions": [
            {"bucket": "full"},
            ["starts-with", "$key", ""],
            {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
            {"x-amz-credential": signing.credential()},
            {"x-amz-date": stamp},
        ],
    });
    let policy = base64::engine::general_purpose::STANDARD.encode(policy.to_string());
    let fields = [
        ("key", "form".to_owned()),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-credential", signing.credential()),
        ("x-amz-date", stamp),
        ("x-amz-signature", signing.sign_policy(&policy)),
        ("policy", policy),
    ];
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    body += &"x".repeat(bytes);
    body += "\r\n--B--\r\n";
    let request = Request::new("POST", "/full")
        .signed_by(None)
        .header("content-type", "multipart/form-data; boundary=B")
        .body(body);
    s3.call(&request)
}

#[test]
fn a_quota_is_of_its_bucket_and_outlives_a_restart() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/versions", "").expect(200);
    s3.put("/free", "").expect(200);
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.put("/versions?versioning=", enabled).expect(200);
    api.expect(200, "PUT", "buckets/versions/quota", r#"{"max_objects": 2}"#);
    server.stop();

    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    // Each version is an object.
    s3.put("/versions/k", "1").expect(200);
    let second = s3.put("/versions/k", "2").expect(200);
    s3.put("/versions/k", "3").expect_error(403, CODE);
    s3.put("/free/k", "1").expect(200);
    s3.delete("/versions/k").expect(204);
    s3.put("/versions/k", "3").expect_error(403, CODE);
    let id = second.header("x-amz-version-id").unwrap();
    s3.delete(&format!("/versions/k?versionId={id}")).expect(204);
    s3.put("/versions/k", "3").expect(200);

    for (body, says) in [
        (json!({}), "max_bytes"),
        (json!({"max_bytes": -1}), "max_bytes: "),
        (json!({"max_objects": "many"}), "max_objects: "),
        (json!({"max_keys": 1}), "max_keys"),
    ] {
        api.refuse(400, "PUT", "buckets/versions/quota", &body, says);
    }
    api.refuse(404, "PUT", "buckets/nowhere/quota", &json!({"max_bytes": 1}), "bucket");
    api.refuse(404, "GET", "buckets/nowhere/quota", &Value::Null, "bucket");
    server.stop();
}
