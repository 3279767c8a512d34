//! The management API over HTTP: keys and what they open, buckets, objects, uploads, presigned URLs,
//! with the document's own example bodies.

mod buckets;
mod command;
mod keys;
mod limits;
mod objects;
mod origin;
mod presigned;
mod quota;
mod server;

use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::{Server, Site};
use serde_json::{Value, json};

/// A client of the management port with a key.
pub(crate) struct Api {
    client: Client,
    key: String,
}

impl Api {
    pub(crate) fn new(server: &Server<'_>) -> Self {
        Self::with_key(server, "test-key")
    }

    fn with_key(server: &Server<'_>, key: &str) -> Self {
        Self { client: Client::new(server.admin_listen), key: key.to_owned() }
    }

    fn call(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::new(method, &format!("/api/v1/{path}"))
            .signed_by(None)
            .header("authorization", &format!("Bearer {}", self.key))
            .body(body);
        let answer = self.client.call(&request);
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// Calls, and expects this status.
    pub(crate) fn expect(&mut self, status: u16, method: &str, path: &str, body: &str) -> Value {
        let (found, answer) = self.call(method, path, body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        if status >= 400 {
            assert_eq!(answer["status"], status, "{method} {path}: no problem document: {answer}");
        }
        answer
    }

    fn get(&mut self, path: &str) -> Value {
        self.expect(200, "GET", path, "")
    }

    fn post(&mut self, status: u16, path: &str, body: &Value) -> Value {
        self.expect(status, "POST", path, &body.to_string())
    }

    /// Expects a refusal that says this.
    fn refuse(&mut self, status: u16, method: &str, path: &str, body: &Value, says: &str) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.expect(status, method, path, &text);
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{method} {path}: {detail}");
    }
}

/// A key as it stands in a path: what is no letter or digit is encoded, but for its slashes.
fn encode(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let of = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    key.bytes().map(of).collect()
}

/// The document's credential.
fn example_credential() -> Value {
    json!({
        "user_name": "john-doe",
        "access_key": "AKIAIOSFODNN7EXAMPLE",
        "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    })
}

/// Whether a value has all fields of an example, with values of the same kind.
fn assert_like(answer: &Value, example: &Value) {
    let fields = example.as_object().unwrap();
    for (name, value) in fields {
        let found = answer.get(name).unwrap_or_else(|| panic!("no {name}: {answer}"));
        let is_same_kind = std::mem::discriminant(found) == std::mem::discriminant(value);
        assert!(is_same_kind, "{name} is {found}, and {value} in the document");
    }
}

fn example_bucket() -> Value {
    json!({
        "name": "my-bucket",
        "region": "us-east-1",
        "owner": "john-doe",
        "created_at": "2023-01-15T10:30:00Z",
        "object_count": 150,
        "total_size": 1_073_741_824,
        "total_size_human": "1.0 GB",
    })
}

fn example_object() -> Value {
    json!({
        "key": "photos/vacation.jpg",
        "size": 1_024_000,
        "size_human": "1.0 MB",
        "content_type": "image/jpeg",
        "etag": "9bb58f26192e4ba00f01e2e7b136bbd8",
        "is_multipart": false,
        "created_at": "2023-01-15T10:30:00Z",
    })
}

/// Numbers that follow from what was done, over a restart too.
#[test]
fn stats_count_what_is_there() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let empty = api.get("stats");
    assert_eq!((&empty["buckets"], &empty["objects"]), (&json!(0), &json!(0)));
    api.post(201, "credentials", &example_credential());
    let mut s3 = server.client();
    for bucket in ["/one", "/two"] {
        s3.put(bucket, "").expect(200);
    }
    s3.put("/one/a", vec![1; 300_000]).expect(200);
    s3.put("/one/b", vec![1; 100]).expect(200);
    s3.put("/two/a", vec![1; 1000]).expect(200);
    s3.put("/one/b", vec![1; 200]).expect(200);
    let begun = s3.post("/one/upload?uploads=", "").expect(200);
    let id = begun.element("UploadId").unwrap();
    s3.put(&format!("/one/upload?partNumber=1&uploadId={id}"), "part").expect(200);
    s3.post("/two/upload?uploads=", "").expect(200);
    let expected = json!({
        "credentials": 1,
        "buckets": 2,
        "objects": 3,
        "total_storage": 301_200,
        "total_storage_human": "294.1 KB",
        "active_multipart_uploads": 2,
        "active_presigned_urls": 0,
        "delete_markers": 0,
    });
    assert_eq!(api.get("stats"), expected);
    server.stop();

    let server = site.start();
    let mut api = Api::new(&server);
    assert_eq!(api.get("stats"), expected);
    let mut s3 = server.client();
    s3.delete(&format!("/one/upload?uploadId={id}")).expect(204);
    s3.delete("/one/a").expect(204);
    let stats = api.get("stats");
    assert_eq!((&stats["objects"], &stats["total_storage"]), (&json!(2), &json!(1200)));
    assert_eq!(stats["active_multipart_uploads"], 1);
    server.stop();
}
