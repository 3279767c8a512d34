//! A filesystem that is full before the store's configured capacity is: writes are refused with the right
//! error, and everything else works.

use std::collections::BTreeSet;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::volume::Volume;
use ringfort_tests::harness::{Server, Site};

const OBJECT_BYTES: usize = 1 << 20;
const VOLUME_BYTES: u64 = 128 << 20;
/// Keys refused in a row: every shard was asked then, as good as certainly.
const REFUSALS: u32 = 24;

fn name(number: u64) -> String {
    format!("/bucket/{number}")
}

fn body(number: u64) -> Vec<u8> {
    Chance::new(number).bytes(OBJECT_BYTES)
}

/// Writes objects until no shard takes any; which were taken, and the next number.
fn fill(server: &Server<'_>, from: u64) -> (BTreeSet<u64>, u64) {
    let mut client = server.client();
    let mut taken = BTreeSet::new();
    let (mut number, mut refusals) = (from, 0);
    while refusals < REFUSALS {
        let answer = client.put(&name(number), body(number));
        if answer.status == 200 {
            taken.insert(number);
            refusals = 0;
        } else {
            answer.expect_error(507, "InsufficientStorage");
            refusals += 1;
        }
        number += 1;
        let bytes = taken.len() * OBJECT_BYTES;
        assert!((bytes as u64) < VOLUME_BYTES, "the volume holds more than it has room for");
    }
    (taken, number)
}

/// Exactly these objects are there, and right.
fn check(server: &Server<'_>, numbers: &BTreeSet<u64>) {
    let mut client = server.client();
    for number in numbers {
        assert!(client.get(&name(*number)).expect(200).body == body(*number), "{number}");
    }
    let page = client.get("/bucket?list-type=2").expect(200).text();
    assert_eq!(page.matches("<Key>").count(), numbers.len());
}

#[test]
fn a_full_filesystem_refuses_writes_and_nothing_else() {
    let mut site = Site::new()
        .flags(&["--capacity", "1GiB"])
        .expect_log("the filesystem has no space for another segment");
    let Some(volume) = Volume::new(&site, "drive", VOLUME_BYTES) else { return };
    site = site.data_dirs(vec![volume.path().to_owned()]);
    let server = site.start();
    server.client().put("/bucket", "").expect(200);
    let (mut present, next) = fill(&server, 0);
    let count = present.len();
    assert!(count > 40, "only {count} objects were taken");
    check(&server, &present);
    server.kill();

    // The same after a kill at full.
    let server = site.start();
    check(&server, &present);
    let (more, next) = fill(&server, next);
    assert!(more.len() < count / 10, "{} objects more after the kill", more.len());
    present.extend(more);
    let doomed: Vec<u64> = present.iter().copied().step_by(2).collect();
    for number in &doomed {
        server.client().delete(&name(*number)).expect(204);
        present.remove(number);
    }
    check(&server, &present);
    let (refilled, _) = fill(&server, next);
    assert!(refilled.len() >= doomed.len() * 3 / 4, "{} for {}", refilled.len(), doomed.len());
    present.extend(refilled);
    server.stop();

    let server = site.start();
    check(&server, &present);
    server.stop();
}
