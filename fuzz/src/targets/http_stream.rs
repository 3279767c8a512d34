//! The bytes of one connection: heads, bodies of both framings, pipelining.
//!
//! Oracles: the service sees the requests that the reference finds, no other and nothing else of them (so no byte of
//! one request passes for another's, and nothing is accepted that two parties could read in two ways); answers and
//! requests do not depend on how the bytes were cut into reads.

use crate::chance::Chance;
use crate::reference::http::{Bounds, Request, requests};
use futures_lite::future::block_on;
use http::{
    Clock, Connection, Control, Limits, NoBody, RequestBody, RequestHead, Response, Service,
    Stream, Time, Workspaces,
};
use std::cell::RefCell;
use std::io;

/// Small, so that inputs reach it.
const HEAD_BYTES_MAX: usize = 1024;
/// The bounds that `http/src/limits.rs` has besides.
const BOUNDS: Bounds = Bounds {
    head_bytes_max: HEAD_BYTES_MAX,
    headers_max: 128,
    chunk_extension_bytes_max: 256,
    trailer_bytes_max: 8 << 10,
    empty_lines_max: 4,
};
/// Longer inputs would reach the bound of trailers, which is counted otherwise than here.
const INPUT_BYTES_MAX: usize = 6 << 10;

pub fn run(input: &[u8]) {
    let input = &input[..input.len().min(INPUT_BYTES_MAX)];
    let mut chance = Chance::of(input);
    let whole = serve(vec![input], 4096);
    assert_eq!(whole.requests, requests(input, BOUNDS), "the service saw other requests");
    let pieces = chance.cut(input);
    let buffer_bytes = 1 + chance.below(100);
    assert_eq!(whole, serve(pieces, buffer_bytes), "how the bytes were cut made a difference");
    assert_eq!(whole, serve(input.chunks(1).collect(), 1), "single bytes made a difference");
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Request>,
    output: String,
    end: String,
}

fn serve(mut pieces: Vec<&[u8]>, buffer_bytes: usize) -> Outcome {
    pieces.retain(|piece| !piece.is_empty());
    pieces.reverse();
    let limits = Limits { head_bytes_max: HEAD_BYTES_MAX, ..Limits::default() };
    let control = Control::new(Time::new(NoClock), &limits);
    let mut stream = Pieces { pieces, written: Vec::new() };
    let service = Record { seen: RefCell::default(), buffer_bytes };
    let workspaces = Workspaces::new(&limits);
    let end = block_on(Connection::serve(&mut stream, &service, &limits, &control, &workspaces));
    // Whether a client is asked to go on depends on whether it did already.
    let output =
        String::from_utf8_lossy(&stream.written).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    Outcome { requests: service.seen.take(), output, end: format!("{end:?}") }
}

struct NoClock;

impl Clock for NoClock {
    fn monotonic_ms(&self) -> u64 {
        0
    }

    fn unix_seconds(&self) -> u64 {
        784_111_777
    }
}

/// A client that sends its pieces, the last one first in the list, and hears out the answers.
struct Pieces<'a> {
    pieces: Vec<&'a [u8]>,
    written: Vec<u8>,
}

impl Stream for Pieces<'_> {
    async fn readable(&mut self) {}

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.pop() else { return Ok(0) };
        let (given, rest) = piece.split_at(piece.len().min(buffer.len()));
        buffer[..given.len()].copy_from_slice(given);
        if !rest.is_empty() {
            self.pieces.push(rest);
        }
        Ok(given.len())
    }

    async fn write_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(first);
        self.written.extend_from_slice(second);
        Ok(first.len() + second.len())
    }

    async fn finish_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Notes every request that it is given.
struct Record {
    seen: RefCell<Vec<Request>>,
    buffer_bytes: usize,
}

impl<S: Stream> Service<S> for Record {
    type Body = NoBody;

    async fn call(&self, head: &RequestHead, body: &mut RequestBody<'_, S>) -> Response<NoBody> {
        let mut buffer = vec![0; self.buffer_bytes];
        let mut data = Vec::new();
        let is_whole = loop {
            match body.read(&mut buffer).await {
                Ok(0) => break true,
                Ok(count) => data.extend_from_slice(&buffer[..count]),
                Err(_) => break false,
            }
        };
        let headers = head.headers().map(|(name, value)| (name.to_owned(), value.to_vec()));
        self.seen.borrow_mut().push(Request {
            method: head.method_name().to_owned(),
            target: head.target().to_owned(),
            host: head.host().map(str::to_owned),
            headers: headers.collect(),
            body: is_whole.then_some(data),
        });
        Response::new(if is_whole { 200 } else { 400 })
    }

    fn error_body(&self, status: u16, reason: &str) -> Response<NoBody> {
        Response::new(status).with_bytes(reason.as_bytes().to_vec())
    }
}
