//! API keys: made, shown once, good for what they are for, revoked, gone with their time.

use super::{Api, Site, json};
use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::{tree, wait_until};
use serde_json::Value;

#[test]
fn keys_are_told_once_and_open_what_they_are_for() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let made = api.post(201, "api-keys", &json!({"name": "ci", "rights": "full"}));
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.len() > 40, "{key}");
    let reader = api.post(201, "api-keys", &json!({"name": "dash", "rights": "read-only"}));
    let mut reading = Api::with_key(&server, reader["key"].as_str().unwrap());
    assert_eq!(
        reading.get("whoami"),
        json!({"id": reader["id"], "name": "dash", "rights": "read-only"})
    );
    assert_eq!(api.get("whoami")["name"], "configured");
    let listed = api.get("api-keys");
    let names: Vec<&str> = listed["api_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["configured", "ci", "dash"]);
    let used = |api: &mut Api, id: &Value| {
        api.get(&format!("api-keys/{}", id.as_str().unwrap()))["last_used_at"].clone()
    };
    assert!(used(&mut api, &reader["id"]).is_string());
    assert!(used(&mut api, &made["id"]).is_null());

    // Reading is all that the one may do, whatever is asked of.
    for (method, path) in [
        ("POST", "credentials"),
        ("POST", "buckets"),
        ("POST", "api-keys"),
        ("POST", "presigned-urls"),
        ("POST", "scrub"),
        ("DELETE", "credentials/1"),
        ("PUT", "credentials/1"),
        ("PATCH", "credentials/1"),
    ] {
        reading.refuse(403, method, path, &json!({}), "may only read");
    }
    reading.get("stats");

    // No answer but the first holds a key, and nothing on the disk does.
    let shown = api.get(&format!("api-keys/{}", made["id"].as_str().unwrap()));
    assert!(!format!("{listed}{shown}").contains(&key));
    let mut other = Api::with_key(&server, &key);
    other.get("credentials");
    server.stop();
    for file in tree::files(&site.data_dir()) {
        let bytes = std::fs::read(site.data_dir().join(file)).unwrap();
        assert!(!bytes.windows(key.len()).any(|piece| piece == key.as_bytes()));
    }

    // They outlive a restart, until they are revoked.
    let server = site.start();
    let (mut api, mut other) = (Api::new(&server), Api::with_key(&server, &key));
    other.get("stats");
    let path = format!("api-keys/{}", made["id"].as_str().unwrap());
    api.expect(200, "DELETE", &path, "");
    other.expect(401, "GET", "stats", "");
    api.refuse(404, "DELETE", &path, &Value::Null, "no API key");
    server.stop();
}

#[test]
fn what_is_no_key_opens_nothing() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    for key in ["", "test-ke", "test-key2", "rfk_", &"x".repeat(4000)] {
        let mut wrong = Api::with_key(&server, key);
        wrong.expect(401, "GET", "stats", "");
        wrong.expect(401, "POST", "buckets", "{");
        wrong.expect(401, "GET", "no-such-thing", "");
    }
    let bare = Request::new("GET", "/api/v1/whoami").signed_by(None);
    Client::new(server.admin_listen).call(&bare).expect(401);

    let brief = api.post(201, "api-keys", &json!({"name":"b","rights":"full","expires_in":1}));
    assert!(brief["expires_at"].is_string());
    let mut ending = Api::with_key(&server, brief["key"].as_str().unwrap());
    wait_until("the key to end", || ending.call("GET", "stats", "").0 == 401);
    let path = format!("api-keys/{}", brief["id"].as_str().unwrap());
    assert_eq!(api.get(&path)["is_expired"], true);

    for (body, says) in [
        (json!({"name": "x"}), "rights"),
        (json!({"rights": "full"}), "name"),
        (json!({"name": "", "rights": "full"}), "name"),
        (json!({"name": "x", "rights": "all"}), "rights: unknown variant `all`"),
        (json!({"name": 5, "rights": "full"}), "name: invalid type"),
        (json!({"name": "x", "rights": "full", "more": 1}), "more"),
        (json!({"name": "x", "rights": "full", "expires_in": 0}), "expires_in"),
        (json!({"name": "a\nb", "rights": "full"}), "name"),
        (json!([]), "the body"),
    ] {
        api.refuse(400, "POST", "api-keys", &body, says);
    }
    let again = json!({"name": "b", "rights": "full"});
    api.refuse(409, "POST", "api-keys", &again, "name");
    api.refuse(409, "DELETE", "api-keys/configured", &Value::Null, "configured");
    api.expect(405, "PUT", "api-keys", "{}");
    server.stop();
}
