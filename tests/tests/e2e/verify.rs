//! `ringfort verify` on the files of a real store: exit codes, names, and the rebuilt index.
//!
//! A thousand flips in every structure are made on the simulator (`engine/tests/verify.rs`); here a few
//! go through the binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfort_tests::harness::binaries::ringfort;
use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::snapshot::Snapshot;
use ringfort_tests::harness::{Site, setting, wait_until};
use serde_json::Value;

const SIZES: [usize; 4] = [100, 5000, 60_000, 400_000];
/// Bytes by which an object is found in the files.
const SAMPLE: usize = 64;

struct Filled {
    site: Site,
    objects: Vec<(String, Vec<u8>)>,
}

/// Objects of all sizes, some deleted, and an upload under way; stopped in order.
fn filled(seed: u64) -> Filled {
    let site = Site::new().flags(&["--shards", "2", "--segment-size", "1MiB"]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let mut chance = Chance::new(seed);
    let mut objects = Vec::new();
    for number in 0..40 {
        let (key, body) = (format!("key-{number}"), chance.bytes(SIZES[number % 4]));
        client.put(&format!("/bucket/{key}"), body.clone()).expect(200);
        if number % 10 == 9 {
            client.delete(&format!("/bucket/{key}")).expect(204);
        } else {
            objects.push((key, body));
        }
    }
    let begun = client.post("/bucket/upload?uploads=", "").expect(200);
    let id = begun.element("UploadId").unwrap();
    let part = chance.bytes(200_000);
    client.put(&format!("/bucket/upload?partNumber=7&uploadId={id}"), part.clone()).expect(200);
    server.stop();
    objects.push(("upload".into(), part));
    Filled { site, objects }
}

/// The exit code and what was said on standard output.
fn verify(site: &Site, flags: &[&str]) -> (i32, String) {
    let mut command = Command::new(ringfort());
    let output =
        command.arg("verify").args(flags).arg("--data-dir").arg(site.data_dir()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("no exit code: {said}"));
    (code, String::from_utf8(output.stdout).unwrap())
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Where the first bytes of a body lie.
fn place_of(site: &Site, body: &[u8]) -> (PathBuf, usize) {
    for path in files_below(&site.data_dir()) {
        let bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(SAMPLE).position(|window| window == &body[..SAMPLE]) {
            return (path, at);
        }
    }
    panic!("the body is in no file");
}

fn flip(path: &Path, at: usize, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_store_is_told_to_be_sound_and_is_left_as_it_was() {
    let Filled { site, .. } = filled(1);
    let before = Snapshot::of(&site.data_dir());
    let (code, said) = verify(&site, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("no damage;"), "{said}");
    let (code, said) = verify(&site, &["--json"]);
    let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((code, &summary["damaged"], &summary["doubtful"]), (0, &0.into(), &0.into()));
    assert!(before.changes(&Snapshot::of(&site.data_dir())).is_empty());
}

#[test]
fn flipped_bits_are_found_and_the_objects_named() {
    let Filled { site, objects } = filled(2);
    let mut chance = Chance::new(3);
    for _ in 0..setting("RINGFORT_E2E_FLIPS", 20) {
        let (key, body) = chance.of(&objects);
        let (path, at) = place_of(&site, body);
        let (at, bit) = (at + chance.below(SAMPLE as u64) as usize, chance.below(8));
        flip(&path, at, bit);
        let (code, said) = verify(&site, &[]);
        assert_eq!(code, 1, "{key}: {said}");
        assert!(said.contains(&format!("bucket/{key}")), "{key}: {said}");
        let (code, said) = verify(&site, &["--json"]);
        let names_it = |line: &str| {
            let finding: Value = serde_json::from_str(line).unwrap();
            finding["concerns"]["key"] == **key
        };
        assert!(code == 1 && said.lines().any(names_it), "{key}: {said}");
        flip(&path, at, bit);
    }
    assert_eq!(verify(&site, &[]).0, 0);
}

#[test]
fn a_store_without_its_checkpoints_is_rebuilt() {
    let Filled { site, objects } = filled(4);
    for path in files_below(&site.data_dir()) {
        if path.extension().is_some_and(|extension| extension == "ckp") {
            fs::write(path, "nonsense").unwrap();
        }
    }
    let before = Snapshot::of(&site.data_dir());
    assert_eq!(verify(&site, &["--rebuild"]).0, 2);
    let (code, said) = verify(&site, &["--rebuild", "--dry-run"]);
    assert!(code == 0 && said.contains("would be rebuilt"), "{said}");
    assert!(before.changes(&Snapshot::of(&site.data_dir())).is_empty());

    let (code, said) = verify(&site, &["--rebuild", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = verify(&site, &[]);
    assert_eq!(code, 0, "{said}");
    let server = site.start();
    let mut client = server.client();
    for (key, body) in objects.iter().filter(|(key, _)| key != "upload") {
        assert!(client.get(&format!("/bucket/{key}")).expect(200).body == *body, "{key}");
    }
    client.get("/bucket/key-9").expect(404);
    assert!(client.get("/bucket?uploads=").expect(200).text().contains("upload"));
    server.stop();
    assert_eq!(verify(&site, &[]).0, 0);
}

#[test]
fn a_store_in_use_is_not_checked() {
    let Filled { site, .. } = filled(5);
    let server = site.start();
    assert_eq!(verify(&site, &[]).0, 2);
    server.stop();
}

#[test]
fn a_running_store_is_scrubbed_when_that_is_asked_for() {
    let Filled { site, objects } = filled(6);
    let site = site.expect_log("scrubbing found damage");
    // Of an object in a slab: it is alive whatever the log's tail is.
    let (key, body) = objects.iter().find(|(_, body)| body.len() == SIZES[3]).unwrap();
    let (path, at) = place_of(&site, body);
    flip(&path, at, 3);
    let server = site.start();
    let mut admin = Client::new(server.admin_listen);
    let ask = |method: &str| {
        Request::new(method, "/api/v1/scrub").header("Authorization", "Bearer test-key")
    };
    admin.get("/api/v1/scrub").expect(401);
    admin.call(&ask("POST")).expect(202);
    let mut state = Value::Null;
    wait_until("the pass to end", || {
        state = serde_json::from_slice(&admin.call(&ask("GET")).expect(200).body).unwrap();
        state["passes"] == 1
    });
    assert_eq!((&state["state"], &state["percent"]), (&"waiting".into(), &100.into()), "{state}");
    assert_eq!(state["findings_total"], 1, "{state}");
    assert_eq!(state["findings"][0]["concerns"]["key"], **key, "{state}");
    wait_until("the metrics to say it", || {
        let page = admin.get("/metrics").text();
        page.lines()
            .any(|line| line.starts_with("ringfort_scrub_findings_total{") && line.ends_with(" 1"))
    });
    server.stop();
}
