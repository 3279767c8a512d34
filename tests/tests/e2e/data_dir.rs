//! Data directories that cannot be served as they are: a clear word, an exit code, nothing changed.

use std::fs;
use std::path::{Path, PathBuf};

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::Request;
use ringfort_tests::harness::snapshot::Snapshot;
use ringfort_tests::harness::{Site, wait_until};

const BLOCK: usize = 4096;

/// A store with something in all kinds of places, as an orderly stop leaves it.
fn filled() -> Site {
    let site = Site::new().flags(&["--shards", "2", "--segment-size", "1MiB"]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let mut chance = Chance::new(1);
    for number in 0..60 {
        let size = [100, 5000, 60_000, 400_000][number % 4];
        client.put(&format!("/bucket/{number}"), chance.bytes(size)).expect(200);
    }
    server.stop();
    site
}

/// The server must refuse the directory, say all of `words`, and leave every byte as it was.
fn check_refused(site: &Site, words: &[&str]) {
    let before = Snapshot::of(&site.data_dir());
    let (code, said) = site.start_refused();
    assert_eq!(code, 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    let changes = before.changes(&Snapshot::of(&site.data_dir()));
    assert!(changes.is_empty(), "{changes:?}\n{said}");
}

fn change(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// The files of one shard's segments, in order.
fn segments(site: &Site, shard: u16) -> Vec<PathBuf> {
    let shards = fs::read_dir(site.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let mut shards: Vec<PathBuf> = shards.filter(|path| path.is_dir()).collect();
    shards.sort();
    let files = fs::read_dir(&shards[usize::from(shard)]).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 2, "{files:?}");
    files
}

/// Segments of one kind, by the byte behind the header's version (engine/FORMAT.md).
fn segments_of_kind(site: &Site, kind: u8) -> Vec<PathBuf> {
    let all = [segments(site, 0), segments(site, 1)].concat();
    let found: Vec<PathBuf> =
        all.into_iter().filter(|path| fs::read(path).unwrap()[12] == kind).collect();
    assert!(!found.is_empty());
    found
}

const LOG: u8 = 1;
const SLAB: u8 = 2;

#[test]
fn a_directory_of_something_else_is_refused() {
    let site = Site::new();
    fs::create_dir_all(site.data_dir().join("photos")).unwrap();
    fs::write(site.data_dir().join("photos/cat.jpg"), "meow").unwrap();
    check_refused(&site, &["photos", "not a Ringfort data directory"]);
}

#[test]
fn a_directory_of_something_else_is_not_given_credentials() {
    let site = Site::new().without_credentials();
    fs::create_dir_all(site.data_dir()).unwrap();
    fs::write(site.data_dir().join("cat.jpg"), "meow").unwrap();
    check_refused(&site, &["cat.jpg", "not a Ringfort data directory"]);
}

#[test]
fn a_file_that_only_has_the_name_of_a_superblock_is_refused() {
    let site = Site::new();
    fs::create_dir_all(site.data_dir()).unwrap();
    fs::write(site.data_dir().join("superblock"), vec![7; 4 * BLOCK]).unwrap();
    check_refused(&site, &["superblock"]);
    fs::write(site.data_dir().join("superblock"), "short").unwrap();
    check_refused(&site, &["superblock"]);
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let site = filled();
    change(&site.data_dir().join("superblock"), |bytes| {
        bytes.chunks_mut(BLOCK).for_each(|copy| copy[8..12].copy_from_slice(&99u32.to_le_bytes()));
    });
    check_refused(&site, &["version 99"]);
}

#[test]
fn a_directory_in_use_is_refused_and_its_server_not_disturbed() {
    let site = Site::new();
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    client.put("/bucket/k", "before").expect(200);
    let (code, said) = site.start_refused();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another process uses it"), "{said}");
    client.put("/bucket/k", "after").expect(200);
    assert_eq!(client.get("/bucket/k").expect(200).body, b"after");
    server.kill();
    let server = site.start();
    assert_eq!(server.client().get("/bucket/k").expect(200).body, b"after");
}

#[test]
fn any_missing_segment_is_refused_by_its_name() {
    let site = filled();
    for path in [segments(&site, 0), segments(&site, 1)].concat() {
        let bytes = fs::read(&path).unwrap();
        // One that was made in advance holds nothing that could be missed.
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        fs::remove_file(&path).unwrap();
        check_refused(&site, &[path.file_name().unwrap().to_str().unwrap()]);
        fs::write(&path, bytes).unwrap();
    }
    let server = site.start();
    server.client().get("/bucket/7").expect(200);
}

#[test]
fn a_missing_shard_is_refused() {
    let site = filled();
    let shard = segments(&site, 1)[0].parent().unwrap().to_owned();
    fs::remove_dir_all(&shard).unwrap();
    check_refused(&site, &[shard.file_name().unwrap().to_str().unwrap(), "missing"]);
}

#[test]
fn a_missing_superblock_is_refused() {
    let site = filled();
    fs::remove_file(site.data_dir().join("superblock")).unwrap();
    check_refused(&site, &["no superblock"]);
}

#[test]
fn one_intact_copy_of_the_superblock_is_enough() {
    let site = filled().expect_log("copies of the superblock are damaged");
    for copy in 0..3 {
        change(&site.data_dir().join("superblock"), |bytes| bytes[copy * BLOCK + 50] ^= 4);
    }
    let server = site.start();
    assert!(server.log().contains("copies of the superblock are damaged"));
    server.client().get("/bucket/7").expect(200);
    server.stop();
    change(&site.data_dir().join("superblock"), |bytes| bytes[3 * BLOCK + 50] ^= 4);
    check_refused(&site, &["no copy of its superblock is valid"]);
}

#[test]
fn a_flipped_bit_in_a_segment_header_is_refused() {
    let site = filled();
    for path in [segments_of_kind(&site, LOG), segments_of_kind(&site, SLAB)].concat() {
        for at in [0, 8, 20, 50, 4090] {
            change(&path, |bytes| bytes[at] ^= 1);
            check_refused(&site, &[path.file_name().unwrap().to_str().unwrap()]);
            change(&path, |bytes| bytes[at] ^= 1);
        }
    }
}

/// Bytes that a durable group covers: everything up to the last group, which a witness follows.
#[test]
fn a_flipped_bit_in_the_log_is_never_served_nor_forgotten() {
    let site = filled();
    let mut chance = Chance::new(3);
    for path in segments_of_kind(&site, LOG) {
        let bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        // The last two blocks may belong to groups that nothing vouches for.
        let end = used.saturating_sub(2 * BLOCK);
        if end <= BLOCK {
            continue;
        }
        for _ in 0..4 {
            let at = BLOCK + chance.below((end - BLOCK) as u64) as usize;
            if bytes[at & !7..(at & !7) + 8].iter().all(|byte| *byte == 0) {
                continue; // most likely padding, of which nothing is read
            }
            change(&path, |bytes| bytes[at] ^= 16);
            check_refused(&site, &["damaged", path.file_name().unwrap().to_str().unwrap()]);
            change(&path, |bytes| bytes[at] ^= 16);
        }
    }
    let server = site.start();
    server.client().get("/bucket/7").expect(200);
}

#[test]
fn a_flipped_bit_in_a_large_body_is_an_error_and_no_wrong_byte() {
    let site = filled()
        .expect_log("stored data does not verify")
        .expect_log("the answer failed: InternalError")
        .expect_log("a request failed inside the store");
    let good = {
        let server = site.start();
        let bodies: Vec<Vec<u8>> = (0..60)
            .map(|n| server.client().get(&format!("/bucket/{n}")).expect(200).body)
            .collect();
        server.stop();
        bodies
    };
    // Every 64 KiB unit of every slab segment loses one bit, where something is stored.
    let mut chance = Chance::new(4);
    for path in segments_of_kind(&site, SLAB) {
        change(&path, |bytes| {
            for unit in bytes.chunks_mut(64 << 10).skip(1) {
                let at = chance.below(unit.len() as u64) as usize;
                unit[at] ^= u8::from(unit.iter().any(|byte| *byte != 0));
            }
        });
    }
    let server = site.start();
    let mut failed = 0;
    for (number, good) in good.iter().enumerate() {
        // Either an error before the first byte, or an answer that ends early: never wrong bytes.
        let answer = server.client().send(&Request::new("GET", &format!("/bucket/{number}")));
        match answer {
            Ok(answer) if answer.status == 200 => assert!(answer.body == *good, "{number}"),
            Ok(answer) => {
                answer.expect_error(500, "InternalError");
                failed += 1;
            }
            Err(_) => failed += 1,
        }
    }
    assert!(failed >= 10, "only {failed} large objects failed");
    wait_until("the fault to be logged", || server.log().contains("does not verify"));
    server.client().put("/bucket/new", "the server goes on").expect(200);
    server.stop();
}
