//! Whole runs against a small S3 server inside the test, which can be told to misbehave: a load
//! generator that misses a fault is worse than none.

#![allow(clippy::unwrap_used)]

use clap::Parser;
use loadgen::options::{Cli, Command};
use loadgen::report::Report;
use loadgen::verify::Verification;
use loadgen::{Result, runner, verify};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the server misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// One bit of the last byte of every GET is wrong.
    FlipsBit,
    /// A key keeps its first content for ever.
    KeepsOld,
    /// Every tenth PUT is acknowledged and forgotten.
    Forgets,
    /// Every tenth PUT is carried out, and the connection closed without an answer.
    LosesAnswers,
    /// Every tenth PUT gets 503.
    Refuses,
    /// Listings leave out one key.
    HidesKey,
    /// GETs are never answered.
    Hangs,
    /// Every GET takes 20 ms.
    Slow,
    /// Answers come in pieces of a few bytes: no fault, but a test of every buffer's edge.
    Trickles,
}

struct Server {
    fault: Fault,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    puts: AtomicU64,
}

impl Server {
    fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Self { fault, objects: Mutex::default(), puts: AtomicU64::new(0) });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.serve(stream));
            }
        });
        address
    }

    /// Answers requests until the connection ends.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut buffer = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    break end + 4;
                }
                receive(&mut stream, &mut buffer)?;
            };
            let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
            let length = header(&head, "content-length: ").map_or(0, |text| text.parse().unwrap());
            while buffer.len() < end + length {
                receive(&mut stream, &mut buffer)?;
            }
            let body = buffer[end..end + length].to_vec();
            buffer.drain(..end + length);
            let answer = self.answer(&head, body)?;
            let piece = if self.fault == Fault::Trickles { 7 } else { answer.len() };
            for bytes in answer.chunks(piece) {
                stream.write_all(bytes).ok()?;
            }
        }
    }

    /// `None`: the connection ends without an answer.
    fn answer(&self, head: &str, body: Vec<u8>) -> Option<Vec<u8>> {
        assert!(head.contains("authorization: AWS4-HMAC-SHA256 Credential=id/"), "{head}");
        let (method, rest) = head.split_once(' ').unwrap();
        let (path, query) = rest
            .split(' ')
            .next()
            .unwrap()
            .split_once('?')
            .unwrap_or_else(|| (rest.split(' ').next().unwrap(), ""));
        if path == "/loadgen" {
            return Some(if method == "GET" { self.list(query) } else { reply(200, b"", true) });
        }
        let mut objects = self.objects.lock().unwrap();
        match method {
            "PUT" => self.put(&mut objects, path, body),
            "DELETE" => {
                objects.remove(path);
                Some(reply(204, b"", true))
            }
            _ => {
                let object = objects.get(path).cloned();
                drop(objects);
                self.read(method, object)
            }
        }
    }

    fn put(
        &self,
        objects: &mut BTreeMap<String, Vec<u8>>,
        path: &str,
        body: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let tenth = self.puts.fetch_add(1, Ordering::Relaxed) % 10 == 9;
        match self.fault {
            Fault::Refuses if tenth => {
                return Some(reply(503, b"<Error><Code>SlowDown</Code></Error>", true));
            }
            Fault::Forgets if tenth => return Some(reply(200, b"", true)),
            Fault::KeepsOld => _ = objects.entry(path.to_owned()).or_insert(body),
            _ => _ = objects.insert(path.to_owned(), body),
        }
        (self.fault != Fault::LosesAnswers || !tenth).then(|| reply(200, b"", true))
    }

    fn read(&self, method: &str, object: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(mut body) = object else {
            let document = b"<Error><Code>NoSuchKey</Code></Error>";
            return Some(reply(404, document, method == "GET"));
        };
        match self.fault {
            Fault::FlipsBit => _ = body.last_mut().map(|byte| *byte ^= 1),
            Fault::Hangs => std::thread::sleep(Duration::from_secs(3)),
            Fault::Slow => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
        Some(reply(200, &body, method == "GET"))
    }

    /// One page, in chunks of a few bytes, as some servers send it.
    fn list(&self, query: &str) -> Vec<u8> {
        let value = |name: &str| {
            let found = query.split('&').find_map(|part| part.strip_prefix(name));
            found.unwrap_or("").replace("%2F", "/")
        };
        let (after, prefix) = (value("start-after="), value("prefix="));
        let max: usize = value("max-keys=").parse().unwrap();
        let mut page = String::from("<ListBucketResult>");
        let objects = self.objects.lock().unwrap();
        let keys = objects.keys().filter_map(|path| path.strip_prefix("/loadgen/"));
        let mut keys = keys.filter(|key| key.starts_with(&prefix) && **key > *after);
        for key in keys.by_ref().take(max) {
            if self.fault != Fault::HidesKey || !key.ends_with("25") {
                write!(page, "<Contents><Key>{key}</Key></Contents>").unwrap();
            }
        }
        let truncated = keys.next().is_some();
        write!(page, "<IsTruncated>{truncated}</IsTruncated></ListBucketResult>").unwrap();
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in page.as_bytes().chunks(37) {
            write!(answer, "{:x}\r\n", chunk.len()).unwrap();
            answer.extend_from_slice(chunk);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        answer
    }
}

fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 65_536];
    let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
    buffer.extend_from_slice(&bytes[..count]);
    Some(())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name))
}

fn reply(status: u16, body: &[u8], send_body: bool) -> Vec<u8> {
    let length =
        if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("HTTP/1.1 {status} Some Reason\r\nETag: \"e\"\r\n{length}\r\n");
    let mut answer = head.into_bytes();
    answer.extend_from_slice(if send_body { body } else { b"" });
    answer
}

fn command(address: SocketAddr, subcommand: &str, arguments: &str) -> Command {
    let endpoint = format!("http://{address}");
    let fixed =
        ["x", subcommand, "--access-key", "id", "--secret-key", "s", "--endpoint", &endpoint];
    Cli::try_parse_from(fixed.into_iter().chain(arguments.split_whitespace())).unwrap().command
}

fn run_on(address: SocketAddr, arguments: &str) -> Result<Report> {
    match command(address, "run", &format!("{arguments} --quiet")) {
        Command::Run(options) => runner::run(*options),
        Command::VerifyLedger(_) => unreachable!(),
    }
}

fn run(fault: Fault, arguments: &str) -> Report {
    run_on(Server::start(fault), arguments).unwrap()
}

fn verify_on(address: SocketAddr, arguments: &str) -> Verification {
    match command(address, "verify-ledger", arguments) {
        Command::VerifyLedger(options) => verify::verify_ledger(&options).unwrap(),
        Command::Run(_) => unreachable!(),
    }
}

const ALL: &str = "mixed --mix put=30,get=40,head=10,delete=10,list=10 --objects 100";

#[test]
fn every_operation_on_a_right_server_is_clean() {
    let report = run(Fault::None, &format!("{ALL} --size 0,9,20,4KiB,200KiB --count 2000"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.requests, 2000);
    assert_eq!(report.operations.len(), 5);
    assert!(report.verified_bytes > 0 && report.absent > 0);
}

#[test]
fn answers_in_small_pieces_are_put_together() {
    let report = run(Fault::Trickles, &format!("{ALL} --size 0,9,20,3000 --count 500"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.requests, 500);
}

#[test]
fn bodies_longer_than_every_buffer_are_whole() {
    let report = run(Fault::None, "get --size 9MB --objects 3 --count 12 --concurrency 3");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.verified_bytes, 12 * 9_000_000);
}

#[test]
fn each_workload_alone_is_clean() {
    for workload in ["put", "get", "head", "list", "delete"] {
        let arguments =
            format!("{workload} --objects 100 --count 100 --payload signed --size 3000");
        let report = run(Fault::None, &arguments);
        assert!(report.is_clean(), "{workload}: {report}");
        assert_eq!(report.requests, 100, "{workload}");
        assert!(report.operations[workload].latency_us.p99 > 0.0);
    }
}

#[test]
fn several_executors_share_the_work() {
    let report = run(Fault::None, "mixed --executors 3 --concurrency 7 --count 500 --objects 50");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.requests, 500);
}

#[test]
fn wrong_bytes_are_found() {
    let report = run(Fault::FlipsBit, "get --objects 10 --count 50");
    assert_eq!(report.mismatches.by_kind["get"], 50);
}

#[test]
fn stale_reads_are_found_in_long_and_short_bodies() {
    for size in [8, 1000] {
        let arguments = format!("mixed --objects 5 --count 500 --concurrency 2 --size {size}");
        assert!(run(Fault::KeepsOld, &arguments).mismatches.total > 0, "{size}");
    }
}

#[test]
fn a_key_missing_from_a_listing_is_found() {
    let report = run(Fault::HidesKey, "list --objects 50 --list-keys 20 --count 50");
    assert!(report.mismatches.by_kind["list"] > 0);
}

#[test]
fn errors_are_counted_by_status_and_code() {
    let report = run(Fault::Refuses, "put --count 100 --objects 100 --concurrency 3");
    assert_eq!(report.errors.by_kind["put: 503 SlowDown"], 10);
    assert!(report.errors.samples[0].contains("SlowDown"));
}

#[test]
fn a_request_that_stands_still_is_given_up() {
    let report = run(Fault::Hangs, "get --objects 2 --count 2 --timeout 200ms --warmup 0s");
    assert_eq!(report.errors.by_kind["get: no byte moved within the timeout"], 2, "{report}");
}

#[test]
fn an_open_loop_counts_the_wait_for_a_connection() {
    // One connection serves 50 per second and 100 arrive: the wait grows to half a second.
    let arguments = "get --objects 5 --rate 100 --concurrency 1 --duration 1s --warmup 0s";
    let report = run(Fault::Slow, arguments);
    let open_loop = report.open_loop.as_ref().unwrap();
    assert!(open_loop.unserved > 20 && open_loop.backlog_max > 20, "{report}");
    assert!(report.operations["get"].latency_us.max > 300_000.0, "{report}");
    assert!(report.operations["get"].first_byte_us.p50 < 200_000.0, "{report}");
}

#[test]
fn a_full_backlog_drops_arrivals() {
    let arguments =
        "get --objects 5 --rate 200 --backlog 5 --concurrency 1 --duration 1s --warmup 0s";
    let report = run(Fault::Slow, arguments);
    assert!(report.open_loop.as_ref().unwrap().dropped > 20, "{report}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(run_on(address, "put --count 1").is_err());
}

fn ledger_verdict(fault: Fault) -> (Report, Verification) {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger");
    let ledger = ledger.to_str().unwrap();
    let address = Server::start(fault);
    let mix = "mixed --mix put=80,delete=10,get=10 --no-prepare --size 8,100,10KiB";
    let arguments = format!("{mix} --objects 2000 --count 5000 --ledger {ledger}");
    let report = run_on(address, &arguments).unwrap();
    (report, verify_on(address, ledger))
}

#[test]
fn a_ledger_of_a_right_server_verifies() {
    let (_, verification) = ledger_verdict(Fault::None);
    assert_eq!(verification.bad(), 0, "{verification}");
    assert!(verification.keys > 1500 && verification.keys == verification.intact);
}

#[test]
fn writes_without_an_answer_are_right_either_way() {
    let (report, verification) = ledger_verdict(Fault::LosesAnswers);
    assert!(report.errors.by_kind["put: closed by the server"] > 10, "{report}");
    assert_eq!(verification.bad(), 0, "{verification}");
    assert!(verification.maybe_applied > 10, "{verification}");
}

#[test]
fn an_acknowledged_write_that_is_missing_is_found() {
    let (_, verification) = ledger_verdict(Fault::Forgets);
    assert!(verification.lost + verification.wrong_version > 0, "{verification}");
}

#[test]
fn a_listing_that_disagrees_with_the_objects_is_found() {
    let (_, verification) = ledger_verdict(Fault::HidesKey);
    assert!(verification.not_listed > 5, "{verification}");
    assert_eq!(verification.bad(), verification.not_listed, "{verification}");
}
