//! A data directory of each format version that was ever written, kept as it was, and what this build
//! makes of it: whole, and with damage of every kind.
//!
//! `tests/golden/v2.image` is a store of two shards whose segments were compacted and used again, with
//! checkpoints, objects of all kinds, an upload under way and two buckets; `v2.json` says what is in it.
//! Both were made once, by `make_the_golden_directory`, and change only with the format version.

mod damage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::{Answer, Client, Request};
use ringfort_tests::harness::{Server, Site, image, repository, ringfort, wait_until};
use serde_json::{Value, json};

/// Inline in a record, at the threshold, in chunks.
const OBJECTS: [(&str, usize); 8] = [
    ("empty", 0),
    ("one-byte", 1),
    ("small", 4095),
    ("dir/with spaces & ümlauts", 5000),
    ("dir/inline", 131_072),
    ("extents", 131_073),
    ("dir/extents", 300_000),
    ("late", 700),
];
const UPLOADED: (&str, usize) = ("dir/uploaded", 200_000);
const UNDER_WAY: (&str, usize) = ("under-way", 150_000);
/// Bodies by which the segments are filled, again and again.
const CHURN_BYTES: usize = 120_000;
/// Bytes from one mark of a body to the next.
const MARKED_EVERY: usize = 100_000;

/// A body that is nearly all zeroes, so that its image is small, and yet no other's.
fn body(key: &str, size: usize) -> Vec<u8> {
    let seed = key.bytes().fold(size as u64, |seed, byte| seed << 7 ^ seed >> 31 ^ u64::from(byte));
    let mut bytes = vec![0; size];
    for (block, number) in bytes.chunks_mut(MARKED_EVERY).zip(0..) {
        let mark = Chance::new(seed ^ number << 48).bytes(16.min(block.len()));
        block[..mark.len()].copy_from_slice(&mark);
    }
    bytes
}

fn target(key: &str) -> String {
    let encoded = key.replace(' ', "%20").replace('&', "%26").replace('ü', "%C3%BC");
    format!("/golden/{encoded}")
}

fn golden(name: &str) -> PathBuf {
    repository().join("tests/golden").join(name)
}

/// A copy of the golden directory, on a real disk.
fn copied() -> Site {
    let site = Site::new().flags(&["--scrub-rate", "0"]);
    image::unpack(&fs::read(golden("v2.image")).unwrap(), &site.data_dir());
    site
}

fn contents() -> Value {
    serde_json::from_slice(&fs::read(golden("v2.json")).unwrap()).unwrap()
}

/// The exit code of `ringfort verify`, and what it said.
fn verify(data_dir: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(ringfort());
    let output = command.arg("verify").arg("--data-dir").arg(data_dir).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_store_of_the_present_version_is_served_with_all_that_is_in_it() {
    let site = copied();
    let (code, said) = verify(&site.data_dir());
    assert_eq!(code, Some(0), "{said}");
    let server = site.start();
    let contents = contents();
    let objects = contents["objects"].as_object().unwrap();
    assert_eq!(objects.len(), OBJECTS.len() + 2);
    for (key, expected) in objects {
        let answer = server.client().get(&target(key)).expect(200);
        assert_eq!(described(&answer), *expected, "{key}");
        assert!(answer.body == body_of(key), "{key}");
    }
    check_listings(&server, &contents);
    // It is not only read.
    server.client().put(&target("small"), "other").expect(200);
    server.client().delete(&target("extents")).expect(204);
    server.kill();
    let server = site.start();
    assert_eq!(server.client().get(&target("small")).expect(200).body, b"other");
    server.client().get(&target("extents")).expect(404);
    server.stop();
}

fn body_of(key: &str) -> Vec<u8> {
    let all = OBJECTS.iter().chain([&UPLOADED]);
    let origin = if key == "copy" { "dir/extents" } else { key };
    let (key, size) = all.into_iter().find(|(name, _)| *name == origin).unwrap();
    body(key, *size)
}

/// What a client is told of an object beside its bytes.
fn described(answer: &Answer) -> Value {
    let names = ["etag", "content-type", "content-length", "x-amz-meta-number", "last-modified"];
    let headers: BTreeMap<_, _> = names.iter().map(|name| (*name, answer.header(name))).collect();
    json!(headers)
}

fn check_listings(server: &Server<'_>, contents: &Value) {
    let mut client = server.client();
    let buckets = client.get("/").expect(200).text();
    assert!(buckets.contains("<Name>empty</Name>") && buckets.contains("<Name>golden</Name>"));
    let listed = client.get("/golden?list-type=2").expect(200).text();
    let objects = contents["objects"].as_object().unwrap();
    assert_eq!(listed.matches("<Key>").count(), objects.len(), "{listed}");
    let id = contents["upload"].as_str().unwrap();
    let uploads = client.get("/golden?uploads=").expect(200).text();
    assert_eq!(uploads.matches("<UploadId>").count(), 1, "{uploads}");
    assert!(uploads.contains(id), "{uploads}");
    let parts = client.get(&format!("{}?uploadId={id}", target(UNDER_WAY.0))).expect(200).text();
    assert!(parts.contains("<PartNumber>3</PartNumber>"), "{parts}");
    assert!(parts.contains(&format!("<Size>{}</Size>", UNDER_WAY.1)), "{parts}");
}

/// Makes the files anew: for a new format version only. Their bytes differ from run to run.
#[test]
#[ignore = "the golden files are kept as they are"]
fn make_the_golden_directory() {
    let site = Site::new()
        .flags(&["--shards", "2", "--segment-size", "1MiB", "--capacity", "20MiB"])
        .flags(&["--checkpoint-log", "64KiB", "--checkpoint-records", "20"]);
    let server = site.start();
    let mut client = server.client();
    client.put("/golden", "").expect(200);
    client.put("/empty", "").expect(200);
    // Some before the churn, so that they are moved, and some behind it.
    for (key, size) in &OBJECTS[..4] {
        put(&mut client, key, *size);
    }
    churn(&server, &mut client);
    for (key, size) in &OBJECTS[4..7] {
        put(&mut client, key, *size);
    }
    let copy =
        Request::new("PUT", &target("copy")).header("x-amz-copy-source", &target("dir/extents"));
    client.call(&copy).expect(200);
    let id = upload(&mut client, UPLOADED, 7);
    let etag =
        client.get(&format!("{}?uploadId={id}", target(UPLOADED.0))).element("ETag").unwrap();
    let whole = format!(
        "<CompleteMultipartUpload><Part><PartNumber>7</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    client.post(&format!("{}?uploadId={id}", target(UPLOADED.0)), whole).expect(200);
    let under_way = upload(&mut client, UNDER_WAY, 3);
    put(&mut client, OBJECTS[7].0, OBJECTS[7].1);
    let names = OBJECTS.iter().map(|(key, _)| *key).chain(["copy", UPLOADED.0]);
    let objects: BTreeMap<_, _> =
        names.map(|key| (key, described(&client.get(&target(key)).expect(200)))).collect();
    server.stop();
    let contents = json!({ "objects": objects, "upload": under_way });
    fs::create_dir_all(golden("")).unwrap();
    fs::write(golden("v2.json"), serde_json::to_string_pretty(&contents).unwrap() + "\n").unwrap();
    let left_out = ["lock", "root-credentials.json"];
    fs::write(golden("v2.image"), image::pack(&site.data_dir(), &left_out)).unwrap();
}

fn put(client: &mut Client, key: &str, size: usize) {
    let request = Request::new("PUT", &target(key))
        .header("content-type", "text/golden")
        .header("x-amz-meta-number", &size.to_string())
        .body(body(key, size));
    client.call(&request).expect(200);
}

/// Begins an upload and sends one part.
fn upload(client: &mut Client, (key, size): (&str, usize), number: usize) -> String {
    let begun = client.post(&format!("{}?uploads=", target(key)), "").expect(200);
    let id = begun.element("UploadId").unwrap();
    let part = format!("{}?partNumber={number}&uploadId={id}", target(key));
    client.put(&part, body(key, size)).expect(200);
    id
}

/// Writes and deletes until each core has used a segment again.
fn churn(server: &Server<'_>, client: &mut Client) {
    let mut admin = Client::new(server.admin_listen);
    wait_until("both shards to use segments again", || {
        for number in 0..12 {
            client.put(&target(&format!("churn-{number}")), body("churn", CHURN_BYTES)).expect(200);
        }
        let page = admin.get("/metrics").expect(200).text();
        let recycled = |line: &&str| line.starts_with("ringfort_segments_recycled_total{");
        page.lines().filter(recycled).filter(|line| !line.ends_with(" 0")).count() == 2
    });
    for number in 0..12 {
        client.delete(&target(&format!("churn-{number}"))).expect(204);
    }
}
