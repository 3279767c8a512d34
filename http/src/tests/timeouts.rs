//! Deadlines: each phase's, the minimum rate in both directions, and draining.

use super::support::*;
use crate::*;

const GET: &str = "GET /ignore HTTP/1.1\r\nHost: a\r\n\r\n";

/// A client that sends `bytes` every `ms`, `count` times.
fn dribble(bytes: usize, ms: u64, count: usize) -> impl Iterator<Item = Step> {
    (0..count).flat_map(move |_| [Step::Wait(ms), send("z".repeat(bytes))])
}

fn put(bytes: usize) -> Step {
    send(format!("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n"))
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let outcome =
        Run::default().steps([send(GET), Step::Wait(74_000), send(GET), Step::Wait(75_000)]);
    assert_eq!(outcome.output.matches("200 OK").count(), 2);
    assert_eq!(outcome.result.unwrap(), Closed::Done);
    assert_eq!(Run::default().steps([Step::Wait(75_000)]).output, "");
}

#[test]
fn a_request_that_crosses_the_idle_deadline_is_served() {
    let late = Step::Late(75_000, GET.as_bytes().to_vec());
    assert!(Run::default().steps([late]).output.contains("200 OK"));
    let late = Step::Late(31_000, GET.as_bytes()[9..].to_vec());
    assert!(Run::default().steps([send(&GET[..9]), late]).output.contains(" 408 "));
}

#[test]
fn a_slow_head_is_answered_with_408() {
    let bytes = GET.bytes().flat_map(|byte| [send([byte]), Step::Wait(1_000)]);
    let outcome = Run::default().steps(bytes);
    assert_eq!(outcome.output, refused("408 Request Timeout", "the request head took too long"));
    assert!(matches!(outcome.result, Ok(Closed::Refused(Rejection { status: 408, .. }))));
    let bytes = GET.bytes().flat_map(|byte| [send([byte]), Step::Wait(500)]);
    assert!(Run::default().steps(bytes).output.contains("200 OK"));
}

#[test]
fn a_body_that_dribbles_is_cut_off() {
    let steps = [put(100_000)].into_iter().chain(dribble(1, 1_000, 100));
    let outcome = Run::default().steps(steps);
    assert_eq!(outcome.errors, ["TimedOut"]);
    assert!(outcome.output.starts_with("HTTP/1.1 400"));
    assert_eq!(outcome.result.unwrap(), Closed::Done);
}

#[test]
fn a_body_at_twice_the_least_rate_is_received() {
    let steps = [put(400_000)].into_iter().chain(dribble(2_000, 1_000, 200));
    let outcome = Run::default().steps(steps);
    assert!(outcome.output.starts_with("HTTP/1.1 200"), "{:?}", outcome.errors);
    // The window of one request does not shorten that of the next.
    let slow = || [put(20_000)].into_iter().chain(dribble(1_000, 1_000, 20));
    let outcome = Run::default().steps(slow().chain(slow()).chain(slow()));
    assert_eq!(outcome.output.matches("HTTP/1.1 200").count(), 3, "{:?}", outcome.errors);
}

#[test]
fn a_body_that_nobody_reads_has_a_heads_time() {
    let ignored = "PUT /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    let answers = |bytes: usize| {
        let body = dribble(bytes, 1_000, 200_000 / bytes);
        let steps = [send(ignored)].into_iter().chain(body).chain([send(GET)]);
        Run::default().steps(steps).output.matches("200 OK").count()
    };
    assert_eq!((answers(10_000), answers(4_000)), (2, 1));
}

#[test]
fn a_client_that_takes_its_answer_too_slowly_is_cut_off() {
    let big = format!(
        "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{}",
        "z".repeat(200_000)
    );
    let slow = Run { write_bytes_max: 500, write_ms: 1_000, ..Run::default() };
    let outcome = slow.input(&big);
    assert!(matches!(outcome.result, Err(Error::TimedOut)), "{:?}", outcome.result);
    let stuck = Run { write_bytes_max: 1, write_ms: 60_000, ..Run::default() };
    assert!(matches!(stuck.input(GET).result, Err(Error::TimedOut)));
    let steady = Run { write_bytes_max: 2_000, write_ms: 1_000, ..Run::default() };
    assert_eq!(steady.input(&big).result.unwrap(), Closed::Done);
}

#[test]
fn draining_ends_an_idle_connection_and_the_present_request_alone() {
    let outcome = Run::default().steps([send(GET), Step::Drain, send(GET)]);
    assert_eq!(outcome.output.matches("200 OK").count(), 1);
    assert!(!outcome.output.contains("close"));
    assert_eq!((outcome.result.unwrap(), outcome.unsent), (Closed::Done, GET.len()));

    let (start, rest) = GET.split_at(9);
    let outcome = Run::default().steps([send(start), Step::Drain, send(rest), send(GET)]);
    assert_eq!(outcome.output.matches("200 OK").count(), 1);
    assert!(outcome.output.contains("\r\nConnection: close\r\n"));
    assert!(outcome.finished);
}

/// A PUT that reached the socket just before an orderly stop shut it down was answered 400, as if the
/// client had sent too little (found by a loop of kills and stops of the real server).
#[test]
fn a_body_that_an_idle_connections_end_cut_off_gets_no_answer() {
    let head = "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let late = |text: String| Run::default().steps([Step::Late(75_000, text.into_bytes())]);
    let cut = late(format!("{head}ab"));
    assert_eq!((cut.output.as_str(), cut.result.unwrap()), ("", Closed::Done));
    assert!(late(format!("{head}abcde")).output.contains("200 OK"));
}

#[test]
fn lingering_ends_in_time() {
    let steps = [send("BAD\r\n"), Step::Wait(4_999), send("x"), Step::Wait(1), send("y")];
    let outcome = Run::default().steps(steps);
    assert!(matches!(outcome.result, Ok(Closed::Refused(_))));
    assert_eq!(outcome.unsent, 1);
}

#[test]
fn the_servers_own_time_has_no_deadline() {
    let clock = TestClock::default();
    let control = Control::new(Time::new(clock.clone()), &Limits::default());
    control.enter(Phase::Body);
    clock.now_ms.set(29_999);
    control.enter(Phase::Work);
    clock.now_ms.set(1_000_000);
    assert_eq!(control.expired(1_000_000), None);
    // One millisecond of the body's window is left.
    control.enter(Phase::Body);
    assert_eq!(control.expired(1_000_000), None);
    assert_eq!(control.expired(1_000_001), Some(std::net::Shutdown::Read));
    assert!(control.timed_out());
}
