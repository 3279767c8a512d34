//! Answers: framing, streams that fail, connections kept and closed, panics.

use super::support::*;
use crate::*;
use std::cell::Cell;
use std::rc::Rc;

const LAST: &str = "Connection: close\r\n";

fn get(target: &str) -> String {
    request("GET", target, "")
}

fn request(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

/// A service's answer of 200 in these tests.
fn tested(length: usize, more: &str, body: &str) -> String {
    answer("200 OK", &format!("Content-Length: {length}\r\nX-Test: 1\r\n{more}"), body)
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let input = get("/echo?1")
        + &request("PUT", "/echo", "Content-Length: 3\r\n")
        + "abc"
        + &get("/stream?6,ab,cd,ef")
        + &request("HEAD", "/status?200", "")
        + &get("/nothing");
    let outcome = Run::default().input(input);
    let expected = ok("GET /echo?1|")
        + &ok("PUT /echo Content-Length=3|abc")
        + &tested(6, "", "abcdef")
        + &tested(4, "", "")
        + &answer("404 Not Found", "Content-Length: 0\r\nX-Test: 1\r\n", "");
    assert_eq!(outcome.output, expected);
    assert_eq!(outcome.result.unwrap(), Closed::Done);
}

#[test]
fn head_and_first_bytes_leave_in_one_send() {
    assert_eq!(Run::default().input(get("/ignore")).writes, 1);
    assert_eq!(Run::default().input(get("/stream?4,ab,,cd")).writes, 2);
    assert_eq!(Run::default().input(get("/stream?0")).writes, 1);
}

#[test]
fn short_writes_are_continued() {
    let input = get("/stream?9,abc,def,ghi") + &get("/ignore");
    let whole = Run::default().input(&input).output;
    for write_bytes_max in [1, 2, 3, 50, 111] {
        let run = Run { write_bytes_max, ..Run::default() };
        assert_eq!(run.input(&input).output, whole);
    }
}

#[test]
fn answers_without_a_body_by_definition_have_none() {
    for (status, text) in [(204, "204 No Content"), (304, "304 Not Modified")] {
        let outcome = Run::default().input(get(&format!("/status?{status}")) + &get("/ignore"));
        let expected = answer(text, "X-Test: 1\r\n", "") + &tested(7, "", "ignored");
        assert_eq!(outcome.output, expected);
    }
    for (target, length) in [("/stream?6,ab", 6), ("/length?77", 77), ("/ignore", 7)] {
        let outcome = Run::default().input(request("HEAD", target, "") + &get("/ignore"));
        assert_eq!(outcome.output, tested(length, "", "") + &tested(7, "", "ignored"));
    }
}

#[test]
fn a_stream_that_fails_midway_cuts_the_connection() {
    for script in ["6,ab,fail", "6,ab", "6,ab,cdefg", "6,ab,panic"] {
        let outcome = Run::default().input(get(&format!("/stream?{script}")) + &get("/ignore"));
        assert_eq!(outcome.output, tested(6, "", "ab"), "{script}");
        assert!(matches!(outcome.result, Err(Error::Answer(_))), "{script}");
    }
}

#[test]
fn a_stream_that_fails_at_once_is_answered_with_500() {
    for script in ["6,fail", "6", "6,abcdefg", "6,panic", "6,,fail"] {
        let outcome = Run::default().input(get(&format!("/stream?{script}")) + &get("/ignore"));
        assert_eq!(outcome.output, refused("500 Internal Server Error", "internal error"));
        assert_eq!(outcome.result.unwrap(), Closed::Done);
    }
    let outcome = Run::default().input(get("/length?5"));
    assert_eq!(outcome.output, refused("500 Internal Server Error", "internal error"));
}

/// Answers that keep something, and bodies that look whether it is still kept.
#[derive(Default)]
struct Keeping {
    held: Rc<Cell<u32>>,
    calls: Cell<u32>,
}

struct Watching {
    chunks: Chunks,
    held: Rc<Cell<u32>>,
}

struct Kept(Rc<Cell<u32>>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl ResponseBody for Watching {
    type Chunk = Vec<u8>;

    async fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        assert_eq!(self.held.get(), 1, "it was let go while the answer is sent");
        self.chunks.next().await
    }
}

impl<S: Stream> Service<S> for Keeping {
    type Body = Watching;

    async fn call(&self, head: &RequestHead, _: &mut RequestBody<'_, S>) -> Response<Watching> {
        assert_eq!(self.held.get(), 0, "the answer before still keeps it");
        self.calls.set(self.calls.get() + 1);
        self.held.set(1);
        let mut response = Response::new(200);
        response.keep(Box::new(Kept(Rc::clone(&self.held))));
        let chunk = |word: &str| match word {
            "fail" => Err(std::io::Error::other("asked to fail")),
            word => Ok(word.as_bytes().to_vec()),
        };
        let chunks = Chunks(head.target()[1..].split(',').map(chunk).collect());
        let source = Watching { chunks, held: Rc::clone(&self.held) };
        response.map_payload(|_: Payload<Watching>| Payload::Stream { length: 6, source })
    }

    fn error_body(&self, status: u16, _: &str) -> Response<Watching> {
        assert_eq!(self.held.get(), 0, "an answer that failed still keeps it");
        Response::new(status)
    }
}

#[test]
fn what_an_answer_keeps_is_let_go_when_it_was_sent_or_cannot_be() {
    for (method, target, write_ms, calls) in [
        ("GET", "/ab,cd,ef", 0, 2),
        ("HEAD", "/ab,cd,ef", 0, 2),
        ("GET", "/ab,fail", 0, 1),
        ("GET", "/fail", 0, 1),
        ("GET", "/ab,cd,ef", 1_000_000, 1),
    ] {
        let service = Keeping::default();
        let run = Run { write_bytes_max: 7, write_ms, ..Run::default() };
        let input = request(method, target, "") + &get("/ab,cd,ef");
        let (_, output) = run.serve_with(&service, [send(input)]);
        assert_eq!((service.held.get(), service.calls.get()), (0, calls), "{method} {target}");
        assert_eq!(output.ends_with("abcdef"), calls == 2, "{method} {target}: {output}");
    }
}

#[test]
fn a_panic_is_answered_with_500_and_ends_the_connection() {
    let outcome = Run::default().input(get("/panic") + &get("/ignore"));
    assert_eq!(outcome.output, refused("500 Internal Server Error", "internal error"));
    assert_eq!(outcome.result.unwrap(), Closed::Done);
    let outcome = Run::default().input(request("HEAD", "/panic", ""));
    assert!(outcome.output.ends_with("\r\n\r\n"), "{}", outcome.output);
}

#[test]
fn an_error_answer_that_panics_or_streams_is_made_harmless() {
    struct Broken;
    impl<S: Stream> Service<S> for Broken {
        type Body = Chunks;
        async fn call(&self, _: &RequestHead, _: &mut RequestBody<'_, S>) -> Response<Chunks> {
            panic!("once");
        }
        fn error_body(&self, status: u16, _: &str) -> Response<Chunks> {
            assert_ne!(status, 500, "twice");
            let source = Chunks(Default::default());
            Response::new(200).with_payload(Payload::Stream { length: 5, source })
        }
    }
    let empty = "Content-Length: 0\r\nConnection: close\r\n";
    let (result, output) = Run::default().serve_with(&Broken, [send(get("/"))]);
    assert_eq!(output, answer("500 Internal Server Error", empty, ""));
    assert_eq!(result.unwrap(), Closed::Done);
    let (_, output) = Run::default().serve_with(&Broken, [send("GET\r\n")]);
    assert_eq!(output, answer("400 Bad Request", empty, ""));
}

#[test]
fn connections_are_closed_when_either_side_says_so() {
    let next = get("/ignore");
    for header in ["close", "Close", "keep-alive, close", "foo ,close"] {
        let first = request("GET", "/ignore", &format!("Connection: {header}\r\n"));
        assert_eq!(Run::default().input(first + &next).output, tested(7, LAST, "ignored"));
    }
    assert_eq!(Run::default().input(get("/close") + &next).output, tested(0, LAST, ""));
}

#[test]
fn http_1_0_closes_unless_asked_to_keep() {
    let old = "GET /ignore HTTP/1.0\r\n\r\n";
    assert_eq!(Run::default().input(old.repeat(2)).output, tested(7, LAST, "ignored"));
    let kept = "GET /ignore HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let kept_answer = tested(7, "Connection: keep-alive\r\n", "ignored");
    assert_eq!(Run::default().input(kept.repeat(2)).output, kept_answer.repeat(2));
}

#[test]
fn a_request_cut_off_in_its_head_gets_no_answer() {
    let outcome = Run::default().input("GET / HTTP/1.1\r\nHost");
    assert!(matches!(outcome.result, Err(Error::UnexpectedEnd)));
    assert_eq!(outcome.output, "");
    assert_eq!(Run::default().input("").result.unwrap(), Closed::Done);
    assert_eq!(Run::default().input("\r\n").result.unwrap(), Closed::Done);
}
