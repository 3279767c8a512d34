//! Bodies: lengths, chunks, `Expect: 100-continue`, and what becomes of unread ones.

use std::io::ErrorKind;

use futures_lite::future::poll_once;

use super::support::*;
use crate::*;

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const NEXT: &str = "GET /echo?next HTTP/1.1\r\nHost: a\r\n\r\n";

fn put(path: &str, headers: &str, body: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
}

fn next_answer() -> String {
    ok("GET /echo?next|")
}

#[test]
fn bodies_are_read_to_their_end_and_not_beyond() {
    let body = "0123456789abcdefghijklmnopqrstuvwxyz";
    let plain = put("/echo", "Content-Length: 36\r\n", body);
    let chunked = format!("a;x=y\r\n{}\r\n1A\r\n{}\r\n0\r\nt: u\r\n\r\n", &body[..10], &body[10..]);
    let chunked = put("/echo", "Transfer-Encoding: chunked\r\n", &chunked);
    for (input, header) in [(plain, "Content-Length=36"), (chunked, "Transfer-Encoding=chunked")] {
        let outcome = Run::default().input(input + NEXT);
        let expected = ok(&format!("PUT /echo {header}|{body}")) + &next_answer();
        assert_eq!(outcome.output, expected);
        assert_eq!(outcome.result.unwrap(), Closed::Done);
    }
}

#[test]
fn long_chunks_pass_by_the_input_buffer() {
    struct Count;
    impl<S: Stream> Service<S> for Count {
        type Body = NoBody;
        async fn call(&self, _: &RequestHead, body: &mut RequestBody<'_, S>) -> Response<NoBody> {
            let (mut buffer, mut total) = (vec![0; 100_000], 0);
            loop {
                assert_eq!(body.received(), total as u64);
                match body.read(&mut buffer).await.unwrap() {
                    0 => return Response::new(200).with_bytes(format!("{total}").into_bytes()),
                    bytes => total += bytes,
                }
            }
        }
        fn error_body(&self, status: u16, _: &str) -> Response<NoBody> {
            Response::new(status)
        }
    }
    let chunk = format!("{:x}\r\n{}\r\n", 300_000, "z".repeat(300_000));
    let body = format!("{chunk}5\r\nhello\r\n{chunk}0\r\n\r\n");
    let input = put("/", "Transfer-Encoding: chunked\r\n", &body)
        + &put("/", "Content-Length: 250000\r\n", &chunk[..250_000]);
    let output = Run::default().serve_with(&Count, [send(input)]).1;
    assert_eq!(output, ok("600005") + &ok("250000"));
}

#[test]
fn a_read_dropped_midway_loses_the_body() {
    struct Impatient;
    impl<S: Stream> Service<S> for Impatient {
        type Body = NoBody;
        async fn call(&self, _: &RequestHead, body: &mut RequestBody<'_, S>) -> Response<NoBody> {
            let mut buffer = [0; 100];
            assert!(poll_once(body.read(&mut buffer)).await.is_none());
            assert!(matches!(body.read(&mut buffer).await, Err(Error::UnexpectedEnd)));
            Response::new(200)
        }
        fn error_body(&self, status: u16, _: &str) -> Response<NoBody> {
            Response::new(status)
        }
    }
    for headers in ["Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"] {
        let steps = [send(put("/", headers, "")), send("body"), send(NEXT)];
        let output = Run::default().serve_with(&Impatient, steps).1;
        let headers = "Content-Length: 0\r\nConnection: close\r\n";
        assert_eq!(output, answer("200 OK", headers, ""));
    }
}

#[test]
fn short_bodies_are_errors() {
    for input in [
        put("/echo", "Content-Length: 5\r\n", "1234"),
        put("/echo", "Transfer-Encoding: chunked\r\n", "5\r\n1234"),
        put("/echo", "Transfer-Encoding: chunked\r\n", "4\r\n1234\r\n0\r\n"),
    ] {
        let outcome = Run::default().input(input);
        assert_eq!(outcome.errors, ["UnexpectedEnd"]);
        assert!(outcome.output.starts_with("HTTP/1.1 400 Bad Request"));
        assert!(outcome.output.contains("Connection: close"));
    }
}

#[test]
fn malformed_and_failing_bodies_end_the_connection() {
    let head = put("/echo", "Transfer-Encoding: chunked\r\n", "");
    let outcome = Run::default().input(head.clone() + "3\r\nabcd\r\n0\r\n\r\n" + NEXT);
    assert!(outcome.errors[0].contains("malformed chunked body"), "{:?}", outcome.errors);
    assert_eq!(
        outcome.output,
        answer("400 Bad Request", "Content-Length: 0\r\nConnection: close\r\n", "")
    );

    let outcome = Run::default().steps([send(head), Step::Fail(ErrorKind::ConnectionReset)]);
    assert!(outcome.errors[0].contains("ConnectionReset"), "{:?}", outcome.errors);
}

#[test]
fn continue_is_sent_by_the_first_read_alone() {
    let expect = "Content-Length: 30\r\nExpect: 100-Continue\r\n";
    let body = "0123456789abcdefghij0123456789";
    let seen = ok(&format!("PUT /echo Content-Length=30 Expect=100-Continue|{body}"));
    let head = put("/echo", expect, "");
    let pieces = [send(&head), send(&body[..15]), send(&body[15..]), send(NEXT)];
    let outcome = Run::default().steps(pieces);
    assert_eq!(outcome.output, format!("{CONTINUE}{seen}{}", next_answer()));
    // Who sends at once is not told to.
    assert_eq!(Run::default().input(head + body).output, seen);
}

/// The AWS command line syncs empty files so. Answered without `100 Continue`, it waits for ever for
/// the answer to the next upload on that connection (botocore 1.43, `awsrequest.py`).
#[test]
fn continue_is_sent_for_an_empty_body_too() {
    let nothing = put("/echo", "Content-Length: 0\r\nExpect: 100-continue\r\n", "");
    let outcome = Run::default().steps([send(nothing), send(NEXT)]);
    let seen = ok("PUT /echo Content-Length=0 Expect=100-continue|");
    assert_eq!(outcome.output, format!("{CONTINUE}{seen}{}", next_answer()));
}

#[test]
fn continue_is_not_sent_where_it_has_no_meaning() {
    let old = "PUT /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let outcome = Run::default().steps([send(old), send("hi")]);
    assert!(outcome.output.ends_with("|hi"), "{}", outcome.output);
    assert!(!outcome.output.contains("100 Continue"));
}

#[test]
fn a_withheld_body_that_nobody_asked_for_ends_the_connection() {
    let expect = "Content-Length: 3\r\nExpect: 100-continue\r\n";
    let outcome = Run::default().steps([send(put("/ignore", expect, "")), send(NEXT)]);
    let headers = "Content-Length: 7\r\nX-Test: 1\r\nConnection: close\r\n";
    assert_eq!(outcome.output, answer("200 OK", headers, "ignored"));
    assert!(outcome.finished);
    assert_eq!((outcome.result.unwrap(), outcome.unsent), (Closed::Done, 0));
}

#[test]
fn unread_bodies_are_drained_up_to_the_bound() {
    let ignored = answer("200 OK", "Content-Length: 7\r\nX-Test: 1\r\n", "ignored");
    let closing =
        answer("200 OK", "Content-Length: 7\r\nX-Test: 1\r\nConnection: close\r\n", "ignored");
    let bound = Limits::default().drain_bytes_max as usize;
    let sized = |bytes: usize| {
        put("/ignore", &format!("Content-Length: {bytes}\r\n"), &"x".repeat(bytes)) + NEXT
    };
    assert_eq!(Run::default().input(sized(bound)).output, ignored.clone() + &next_answer());
    assert_eq!(Run::default().input(sized(bound + 1)).output, closing);

    let short = put("/ignore", "Content-Length: 9\r\n", "x");
    let outcome = Run::default().input(short);
    assert_eq!(outcome.output, ignored);
    assert!(matches!(outcome.result, Err(Error::UnexpectedEnd)));
}

#[test]
fn unread_chunks_are_used_if_they_have_arrived() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let ignored = answer("200 OK", "Content-Length: 7\r\nX-Test: 1\r\n", "ignored");
    let closing =
        answer("200 OK", "Content-Length: 7\r\nX-Test: 1\r\nConnection: close\r\n", "ignored");
    let whole = put("/ignore", chunked, "2\r\nab\r\n3\r\nabc\r\n0\r\n\r\n") + NEXT;
    assert_eq!(Run::default().input(whole).output, ignored + &next_answer());
    let part = put("/ignore", chunked, "2\r\nab\r\n3\r\na");
    let outcome = Run::default().steps([send(part), send("bc\r\n0\r\n\r\n"), send(NEXT)]);
    assert_eq!(outcome.output, closing);
}

#[test]
fn lingering_is_bounded() {
    let limits = Limits { linger_bytes_max: 10_000, ..Limits::default() };
    let endless = (0..100).map(|_| send("y".repeat(1000)));
    let head = put("/ignore", "Content-Length: 99999999\r\n", "");
    let outcome = Run { limits, ..Run::default() }.steps([send(head)].into_iter().chain(endless));
    assert_eq!(outcome.result.unwrap(), Closed::Done);
    assert_eq!(outcome.unsent, 90_000);
    assert!(outcome.finished);
}
