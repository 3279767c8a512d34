//! The documents that describe what a user of Ringfort comes from, walked example by example: each
//! request as the document has it (hosts, buckets and keys adapted, and signed), and what must come back.
//!
//! The examples stand in `tests/seeds/*.http`; `exchange/script.rs` says how they are to be read. What is
//! not yet built stands in `tests/seeds/AWAITED`, and only that: an example that has begun to work must
//! leave the list.

use std::path::PathBuf;

use ringfort_tests::harness::repository;

use super::exchange::{examples, walk};

const DOCUMENTS: [&str; 5] = [
    "idrive-e2-s3-api",
    "ionos-s3-api-objects",
    "k2-cloud-s3-api-buckets",
    "k2-cloud-s3-api-objects",
    "s3-server-with-management-console-openapi",
];

#[test]
fn idrive_e2() {
    check(DOCUMENTS[0]);
}

#[test]
fn ionos_objects() {
    check(DOCUMENTS[1]);
}

#[test]
fn k2_buckets() {
    check(DOCUMENTS[2]);
}

#[test]
fn k2_objects() {
    check(DOCUMENTS[3]);
}

#[test]
fn management_console() {
    check(DOCUMENTS[4]);
}

fn path(document: &str) -> PathBuf {
    repository().join(format!("tests/seeds/{document}.http"))
}

/// How the list names an example.
fn entry(document: &str, title: &str) -> String {
    format!("{document}: {title}")
}

/// Examples that do not work yet.
fn awaited() -> Vec<String> {
    let text = std::fs::read_to_string(repository().join("tests/seeds/AWAITED")).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[track_caller]
fn check(document: &str) {
    let awaited = awaited();
    let mut faults = Vec::new();
    for (title, fault) in walk(&path(document)) {
        let entry = entry(document, &title);
        match (fault, awaited.contains(&entry)) {
            (None, true) => faults.push(format!("works, and is awaited: {entry}")),
            (Some(why), false) => faults.push(format!("fault: {entry}\n{why}")),
            (None, false) | (Some(_), true) => {}
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
}

/// Titles name one example each, what is awaited names an example, and the README counts right.
#[test]
fn the_lists_of_examples_agree() {
    let readme = std::fs::read_to_string(repository().join("tests/README.md")).unwrap();
    let mut known = Vec::new();
    for document in DOCUMENTS {
        let examples = examples(&path(document));
        let shown = examples.iter().filter(|(_, is_shown)| *is_shown).count();
        let row = format!("| `{document}` | {shown} | {} |", examples.len() - shown);
        assert!(readme.contains(&row), "tests/README.md lacks the row {row}");
        for (title, _) in examples {
            let entry = entry(document, &title);
            assert!(!known.contains(&entry), "twice: {entry}");
            known.push(entry);
        }
    }
    for entry in awaited() {
        assert!(known.contains(&entry), "there is no such example: {entry}");
    }
}
