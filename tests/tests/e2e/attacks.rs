//! The server attacked on purpose, as a hostile client would: each module is one way in.
//!
//! What there was tried, with how many inputs, and what came of it stands in SECURITY.md. The oracles are
//! what the server has done, not what it says: objects that are still there or never came, lines of the
//! audit log, the processor time and the memory that a request cost.

mod documents;
mod elsewhere;
mod floods;
mod front;
mod injection;
mod management;
mod paths;
mod signatures;
mod smuggling;
mod timing;

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use ringfort_tests::harness::client::{Client, connect};
use ringfort_tests::harness::{Server, Site};
use serde_json::Value;

/// Lets everybody do with the objects of `bucket` what they like, so that a smuggled request needs no
/// signature to do harm.
const OPEN_POLICY: &str = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::bucket/*"}}"#;

const CANARY: &[u8] = b"the canary sings";

/// A bucket that is open to everybody, with one object.
fn with_canary(server: &Server<'_>) -> Client {
    let mut root = server.client();
    root.put("/bucket", "").expect(200);
    root.put("/bucket?policy=", OPEN_POLICY).expect(204);
    root.put("/bucket/canary", CANARY).expect(200);
    root
}

/// What came back for bytes on a connection of their own, up to the server's end of it. That it does not
/// end is a fault.
fn talk(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut stream = connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may close before it has read all, and is free to.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => said,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => said,
        Err(error) => panic!(
            "the connection was not closed ({error}) after {:?}; it said {:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(300)]),
            String::from_utf8_lossy(&said[..said.len().min(2000)]),
        ),
    }
}

/// The answers in what a server said, by status and body.
fn answers(said: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = said;
    while !rest.is_empty() {
        let answer = ringfort_tests::harness::client::receive(&mut rest, false);
        let answer = answer.unwrap_or_else(|error| {
            panic!("half an answer ({error}) in {:?}", String::from_utf8_lossy(said))
        });
        found.push((answer.status, answer.body));
    }
    found
}

/// The keys of `bucket`, as its listing has them.
fn keys(root: &mut Client) -> Vec<String> {
    let page = root.get("/bucket?encoding-type=url&list-type=2").expect(200).text();
    page.split("<Key>")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()))
        .collect()
}

/// The lines of an audit log.
fn audit_lines(site: &Site) -> Vec<Value> {
    let text = std::fs::read_to_string(site.path("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Seconds of processor time that a server has used.
fn cpu_seconds(server: &Server<'_>) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in ticks of a hundredth of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
