#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use serde_json::Value;
use std::fs;

fn config(target: AuditTarget) -> AuditConfig {
    AuditConfig { target, requests: AuditedRequests::All, is_required: true }
}

/// A log in a directory of its own.
fn start() -> (tempfile::TempDir, PathBuf, AuditThread) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let thread = Audit::start(&config(AuditTarget::File(path.clone()))).unwrap();
    (dir, path, thread)
}

fn line(number: usize) -> String {
    format!("{{\"n\":{number}}}\n")
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn numbers(path: &PathBuf) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    let value = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|line| value(line)["n"].as_u64().unwrap()).collect()
}

#[test]
fn lines_are_written_in_their_order_and_all_of_them_at_the_end() {
    let (_dir, path, thread) = start();
    for number in 0..10_000 {
        thread.audit().add(line(number));
    }
    thread.finish();
    assert_eq!(numbers(&path), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let (_dir, path, thread) = start();
    thread.audit().add(line(1));
    thread.finish();
    let thread = Audit::start(&config(AuditTarget::File(path.clone()))).unwrap();
    thread.audit().add(line(2));
    thread.finish();
    assert_eq!(numbers(&path), [1, 2]);
}

#[test]
fn a_file_that_was_moved_away_is_made_anew_when_that_is_asked_for() {
    let (dir, path, thread) = start();
    let audit = thread.audit();
    audit.add(line(1));
    wait_until("the first line", || fs::read(&path).unwrap() == line(1).as_bytes());
    let moved = dir.path().join("audit.log.1");
    fs::rename(&path, &moved).unwrap();
    audit.add(line(2));
    wait_until("the second line", || numbers(&moved).len() == 2);
    audit.reopen();
    wait_until("the new file", || path.exists());
    audit.add(line(3));
    thread.finish();
    assert_eq!((numbers(&moved), numbers(&path)), (vec![1, 2], vec![3]));
}

#[test]
fn what_cannot_be_written_waits_and_what_has_no_room_is_counted_and_told() {
    let full = config(AuditTarget::File(PathBuf::from("/dev/full")));
    let thread = Audit::start(&AuditConfig { is_required: false, ..full }).unwrap();
    let audit = thread.audit();
    audit.add(line(0));
    wait_until("the failure", || audit.0.state.is_failing.load(Ordering::Relaxed));
    let big = "x".repeat(AUDIT_WAITING_BYTES_MAX / 2);
    audit.add(big.clone());
    audit.add(big);
    let state = &audit.0.state;
    assert_eq!(state.dropped.load(Ordering::Relaxed), 1);
    assert!(state.waiting_bytes.load(Ordering::Relaxed) <= AUDIT_WAITING_BYTES_MAX);
    assert_eq!(state.untold.load(Ordering::Relaxed), 1);
    let dropped = audit.samples().into_iter().find(|s| s.name == "audit_log_dropped_total");
    assert_eq!(dropped.unwrap().value, 1.0);
}

#[test]
fn the_log_tells_how_many_lines_are_missing_where_they_are_missing() {
    let (_dir, path, thread) = start();
    thread.finish();
    let loose = AuditConfig { is_required: false, ..config(AuditTarget::File(path.clone())) };
    let thread = Audit::start(&loose).unwrap();
    let audit = thread.audit();
    let too_long = "x".repeat(AUDIT_WAITING_BYTES_MAX + 1);
    audit.add(line(6));
    audit.add(too_long.clone());
    audit.add(too_long.clone());
    audit.add(line(7));
    audit.add(line(8));
    audit.add(too_long);
    thread.finish();
    let text = fs::read_to_string(&path).unwrap();
    let told = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["n"].as_i64().unwrap_or_else(|| -line["lost_lines"].as_i64().unwrap())
    };
    assert_eq!(text.lines().map(told).collect::<Vec<_>>(), [6, -2, 7, 8, -1]);
}

#[test]
fn a_line_that_a_process_left_half_does_not_spoil_the_next_one() {
    let (_dir, path, thread) = start();
    thread.finish();
    fs::write(&path, "{\"n\":1}\n{\"cut").unwrap();
    let thread = Audit::start(&config(AuditTarget::File(path.clone()))).unwrap();
    thread.audit().add(line(2));
    thread.finish();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":1}\n{\"cut\n{\"n\":2}\n");
}

#[test]
fn a_stop_does_not_wait_for_a_log_that_cannot_be_written() {
    let thread = Audit::start(&config(AuditTarget::File(PathBuf::from("/dev/full")))).unwrap();
    let audit = thread.audit();
    audit.add(line(0));
    wait_until("the failure", || audit.refuses());
    let began = Instant::now();
    thread.finish();
    assert!(began.elapsed() < AUDIT_STOP_PATIENCE / 2, "{:?}", began.elapsed());
}

#[test]
fn requests_are_refused_without_a_log_only_where_it_is_required() {
    let target = AuditTarget::File(PathBuf::from("/dev/full"));
    let thread = Audit::start(&AuditConfig { is_required: false, ..config(target) }).unwrap();
    let audit = thread.audit();
    audit.add(line(0));
    wait_until("the failure", || audit.0.state.is_failing.load(Ordering::Relaxed));
    assert!(!audit.refuses());
}

#[test]
fn changes_and_refusals_are_told_where_only_those_are_wanted() {
    let (_dir, path, thread) = start();
    let requests = AuditedRequests::Changes;
    let changes = AuditConfig { requests, ..config(AuditTarget::File(path)) };
    let changes = Audit::start(&changes).unwrap().audit();
    for (method, status, expected) in [
        (Method::Get, 200, false),
        (Method::Head, 404, false),
        (Method::Options, 200, false),
        (Method::Get, 403, true),
        (Method::Get, 401, true),
        (Method::Put, 200, true),
        (Method::Post, 500, true),
        (Method::Delete, 204, true),
    ] {
        assert_eq!(changes.wants(method, status), expected, "{method:?} {status}");
        assert!(thread.audit().wants(method, status));
    }
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    let nowhere = AuditTarget::File(PathBuf::from("/nowhere/audit.log"));
    let error = Audit::start(&config(nowhere)).unwrap_err().to_string();
    assert!(error.contains("--audit-log"), "{error}");
}
