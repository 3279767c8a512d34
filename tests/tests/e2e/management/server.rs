//! The server itself: its shards, its latencies, its settings; and the document that describes all of
//! the API, held against the server by schemathesis.

use super::{Api, Site, json};
use ringfort_tests::harness::scripts::{Python, is_left_out, python, run};
use ringfort_tests::harness::{REGION, wait_until};
use serde_json::Value;

#[test]
fn shards_say_what_they_hold() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/b", "").expect_error(400, "InvalidBucketName");
    s3.put("/bucket", "").expect(200);
    for number in 0..20 {
        s3.put(&format!("/bucket/{number}"), vec![1; 1000]).expect(200);
    }
    let answer = api.get("shards");
    let shards = answer["shards"].as_array().unwrap();
    assert_eq!(shards.len(), server.ready["shards"].as_u64().unwrap() as usize);
    let sum = |name: &str| -> u64 {
        shards.iter().map(|shard| shard["state"][name].as_u64().unwrap()).sum()
    };
    // 20 objects and the bucket.
    assert_eq!(sum("index_entries"), 21);
    assert!(sum("log_live_bytes") > 20_000 && sum("log_live_bytes") <= sum("log_capacity_bytes"));
    let used = ["segments_free", "segments_log", "segments_slab"].map(sum).iter().sum::<u64>();
    assert!(used <= sum("segments") && sum("segments_log") >= shards.len() as u64, "{answer}");
    for (number, shard) in shards.iter().enumerate() {
        assert_eq!((&shard["shard"], &shard["is_online"]), (&json!(number), &json!(true)));
        assert!(shard["core"].as_u64().unwrap() < server.ready["cores"].as_u64().unwrap());
        assert_eq!(shard["state"]["is_read_only"], false);
    }
    server.stop();
}

#[test]
fn latencies_are_those_of_the_requests() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let mut s3 = server.client();
    s3.put("/bucket", "").expect(200);
    for _ in 0..10 {
        s3.put("/bucket/k", "123").expect(200);
    }
    s3.get("/bucket/none").expect(404);
    let find = |answer: &Value, name: &str| {
        let mut operations = answer["operations"].as_array().unwrap().iter();
        operations.find(|row| row["operation"] == name).cloned()
    };
    let mut found = Value::Null;
    wait_until("the requests to be published", || {
        found = api.get("latency");
        find(&found, "PutObject").is_some_and(|row| row["requests"] == 10)
            && find(&found, "GetObject").is_some()
    });
    let put = find(&found, "PutObject").unwrap();
    assert_eq!((&put["bytes_in"], &put["client_errors"]), (&json!(30), &json!(0)));
    let [half, most] = ["latency_us_p50", "latency_us_max"].map(|name| put[name].as_u64().unwrap());
    assert!(half > 0 && half <= most, "{put}");
    assert_eq!(find(&found, "GetObject").unwrap()["client_errors"], 1);
    server.stop();
}

#[test]
fn settings_are_shown_and_the_log_listens() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let shown = api.get("settings");
    assert_eq!((&shown["region"], &shown["log_filter"]), (&json!(REGION), &json!("info")));
    assert_eq!(shown["listen"], server.ready["listen"]);
    assert_eq!(shown["cores"], server.ready["cores"]);
    let changed = api.expect(200, "PUT", "settings", r#"{"log_filter": "s3api=debug,info"}"#);
    assert!(changed["log_filter"].as_str().unwrap().contains("s3api=debug"), "{changed}");
    assert!(server.log().contains("the filter of the log was changed"));
    // From now on nothing but errors is said, this change included.
    api.expect(200, "PUT", "settings", r#"{"log_filter": "error"}"#);
    let lines = server.log().lines().count();
    api.expect(200, "PUT", "settings", r#"{"log_filter": "error"}"#);
    assert_eq!(server.log().lines().count(), lines);
    for (body, says) in [
        (json!({"log_filter": "s3api=loud"}), "log_filter"),
        (json!({"region": "mars"}), "region"),
        (json!({}), "log_filter"),
    ] {
        api.refuse(400, "PUT", "settings", &body, says);
    }
    server.stop();
}

/// What no answer may do: fail with 5xx, have a status, a type, a header or a body that the document does
/// not have, be given to who shows no key, or be a success where the document does not allow what was sent.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,ignored_auth,\
                      unsupported_method,allow_header_conformance,missing_required_header,\
                      negative_data_rejection";

#[test]
fn the_document_is_true_of_every_answer() {
    if is_left_out("schemathesis") {
        return;
    }
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let site = Site::new().variable("RINGFORT_SSE_MASTER_KEY", key);
    let server = site.start();
    let mut api = Api::new(&server);
    // Things to be found: without them every answer would be a 404.
    let mut s3 = server.client();
    s3.put("/my-bucket", "").expect(200);
    s3.put("/my-bucket/file.txt", "1").expect(200);
    s3.post("/my-bucket/large?uploads=", "").expect(200);
    api.post(201, "credentials", &super::example_credential());
    api.post(201, "kms/keys", &json!({"id": "example-key"}));
    let document = format!("http://{}/api/v1/openapi.json", server.admin_listen);
    let mut command = python(Python::Schemathesis, &site);
    command.args(["-m", "schemathesis.cli", "run", &document]);
    command.args(["--header", "Authorization: Bearer test-key", "--checks", CHECKS]);
    // A backup would be written to whatever directory comes to its mind.
    command.args(["--exclude-operation-id", "beginBackup"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1"]);
    command.args(["--generation-database", "none", "--no-color", "--workers", "1"]);
    // It ends well only if no check failed.
    let said = run(&mut command);
    let cases = said.lines().find_map(|line| line.trim().split_once(" generated, "));
    let (count, outcome) = cases.unwrap_or_else(|| panic!("{said}"));
    assert!(count.parse::<u32>().unwrap() > 1000 && outcome.contains(" passed"), "{said}");
    server.stop();
}
