//! What clients rely on beyond single documents, where servers have failed them: written down in
//! `tests/rules/*.http`, which `exchange/script.rs` says how to read.

use ringfort_tests::harness::repository;

use super::exchange::walk;

#[test]
fn signatures() {
    check("signatures");
}

#[test]
fn conditions_and_ranges() {
    check("conditions");
}

#[test]
fn caches() {
    check("caches");
}

#[test]
fn listings_and_keys() {
    check("listings");
}

#[test]
fn limits() {
    check("limits");
}

#[test]
fn errors() {
    check("errors");
}

#[track_caller]
fn check(name: &str) {
    let verdicts = walk(&repository().join(format!("tests/rules/{name}.http")));
    let faults = verdicts.into_iter().filter_map(|(title, why)| Some(format!("{title}: {}", why?)));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
}
