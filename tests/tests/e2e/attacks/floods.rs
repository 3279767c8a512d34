//! Many at once, and much at once: crowds that hold on, dribble and never read, floods of pipelined
//! requests, heads without end.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{answers, talk, with_canary};
use crate::bad_clients::Baseline;
use ringfort_tests::harness::client::{Client, Request, connect, receive};
use ringfort_tests::harness::{Site, wait_within};
use socket2::SockRef;

const MIB: u64 = 1 << 20;

/// The server's windows for heads and bodies are 30 s; each may take two, and a busy machine some more.
const CUT_OFF: Duration = Duration::from_secs(100);

/// One of a crowd: what it sends, a byte at a time.
struct Dribbler {
    stream: TcpStream,
    rest: Vec<u8>,
    sent: usize,
}

impl Dribbler {
    /// Sends `first` at once; the rest will dribble.
    fn new(address: std::net::SocketAddr, first: &[u8], rest: &[u8]) -> Self {
        let mut stream = connect(address).unwrap();
        stream.write_all(first).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, rest: rest.to_vec(), sent: 0 }
    }

    /// Whether the server still holds it, after another byte.
    fn goes_on(&mut self) -> bool {
        let mut said = [0; 4096];
        match self.stream.read(&mut said) {
            Ok(0) => return false,
            Ok(count) => {
                let said = String::from_utf8_lossy(&said[..count]);
                assert!(said.contains(" 408 ") || said.contains(" 400 "), "{said}");
                return false;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let byte = self.rest[self.sent % self.rest.len()];
        self.sent += 1;
        !matches!(self.stream.write(&[byte]), Err(error) if error.kind() != ErrorKind::WouldBlock)
    }
}

#[test]
fn a_crowd_that_holds_on_dribbles_and_never_reads_keeps_nobody_waiting() {
    let site = Site::new().flags(&["--idle-timeout", "20", "--memory", "1GiB"]);
    let server = site.start();
    let mut root = with_canary(&server);
    root.put("/bucket/large", vec![7; 8 << 20]).expect(200);
    root.get("/bucket/large").expect(200);
    drop(root);
    let baseline = Baseline::of(&server);
    let before = server.resident_bytes();
    let host = server.listen.to_string();
    let idle: Vec<TcpStream> = (0..3000).map(|_| connect(server.listen).unwrap()).collect();
    let head =
        Request::new("GET", "/bucket/canary").header("x-long", &"y".repeat(4000)).head(&host);
    // Who may upload takes memory for what they say will come; SECURITY.md says what that allows.
    let upload = Request::new("PUT", "/bucket/slow").body("").length(64 << 10).head(&host);
    let mut dribblers: Vec<Dribbler> = (0..500)
        .map(|number| match number % 2 {
            0 => Dribbler::new(server.listen, &head[..20], &head[20..]),
            _ => Dribbler::new(server.listen, &upload, &[7]),
        })
        .collect();
    let large = Request::new("GET", "/bucket/large").head(&host);
    let deaf: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = connect(server.listen).unwrap();
            stream.write_all(&large).unwrap();
            stream
        })
        .collect();

    // A client who means well, all the while.
    let mut client = server.client();
    let mut worst = Duration::ZERO;
    let mut most = 0;
    let begin = Instant::now();
    let mut next_byte = begin;
    let mut served = 0;
    while !dribblers.is_empty() {
        assert!(begin.elapsed() < CUT_OFF, "{} dribblers are still held", dribblers.len());
        if Instant::now() > next_byte {
            next_byte += Duration::from_secs(1);
            dribblers.retain_mut(Dribbler::goes_on);
            most = most.max(server.resident_bytes());
        }
        let asked = Instant::now();
        assert_eq!(client.get("/bucket/canary").expect(200).body, super::CANARY);
        client.put("/bucket/well", "meant").expect(200);
        worst = worst.max(asked.elapsed());
        served += 1;
        thread::sleep(Duration::from_millis(5));
    }
    let seconds = begin.elapsed().as_secs_f64();
    assert!(worst < Duration::from_secs(5), "a client waited {worst:?} among {served}");
    assert!(f64::from(served) > 10.0 * seconds, "{served} requests in {seconds} s");
    let grown = most.saturating_sub(before);
    // 3,550 connections, of which 550 hold 8 KiB and more, bodies under way of up to 1 MiB within the budget,
    // answers under way.
    assert!(grown < 200 * MIB, "{} MiB more", grown / MIB);
    // The idle ones were cut off by now, from the server's side.
    for mut stream in idle {
        assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
    }
    drop(deaf);
    drop(client);
    baseline.is_reached_again(&server);
    server.stop();
}

/// What a CDN or a pool keeps open costs little: buffers are for connections with a request.
#[test]
fn a_connection_that_has_been_answered_holds_little() {
    const COUNT: u64 = 2000;
    let site = Site::new();
    let server = site.start();
    drop(with_canary(&server));
    let serve_one = || {
        let mut client = Client::new(server.listen);
        client.get("/bucket/canary").expect(200);
        // Its last bytes are read as such, and nothing says that there are no more.
        client.put("/bucket/body", vec![7; 20 << 10]).expect(200);
        client
    };
    let first: Vec<Client> = (0..100).map(|_| serve_one()).collect();
    let before = server.resident_bytes();
    let crowd: Vec<Client> = (0..COUNT).map(|_| serve_one()).collect();
    let each = server.resident_bytes().saturating_sub(before) / COUNT;
    assert!(each < 10 << 10, "{each} bytes for each connection");
    drop((first, crowd));
    server.stop();
}

#[test]
fn ten_thousand_requests_in_a_row_are_answered_in_order_and_bounded_memory() {
    const COUNT: usize = 10_000;
    let site = Site::new();
    let server = site.start();
    let mut root = with_canary(&server);
    for number in 0..10 {
        root.put(&format!("/bucket/{number}"), number.to_string().repeat(1000)).expect(200);
    }
    let before = server.resident_bytes();
    let stream = connect(server.listen).unwrap();
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..COUNT {
                let digit = number * 7 % 10;
                let get = format!(
                    "GET /bucket/{digit} HTTP/1.1\r\nHost: a\r\nX-Pad: {}\r\n\r\n",
                    "p".repeat(500)
                );
                writer.write_all(get.as_bytes()).unwrap();
            }
        });
        // Nothing is read until the server has stopped taking more: it holds what the sockets do not.
        let mut counted = -1.0;
        wait_within(Duration::from_secs(30), "the server to stop at what nobody reads", || {
            thread::sleep(Duration::from_millis(1500));
            let now = server.metric("ringfort_requests_total");
            std::mem::replace(&mut counted, now) == now
        });
        assert!(counted < COUNT as f64, "all of {counted} were answered before one was read");
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 24 * MIB, "{} MiB for answers that nobody reads", grown / MIB);
        // Others are served meanwhile.
        assert_eq!(
            Client::new(server.listen).get("/bucket/canary").expect(200).body,
            super::CANARY
        );
        let mut reader = BufReader::new(stream);
        for number in 0..COUNT {
            let answer = receive(&mut reader, false).unwrap();
            assert_eq!(answer.status, 200, "{number}");
            let digit = (number * 7 % 10).to_string();
            assert!(answer.text() == digit.repeat(1000), "{number} has another's answer");
        }
    });
    drop(root);
    server.stop();
}

/// A flood that is read as fast as it is answered does not keep the others of its core waiting.
#[test]
fn a_flood_of_pipelined_requests_leaves_room_for_others() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_canary(&server);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let requests = "GET /-/live HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    thread::scope(|scope| {
        for _ in 0..4 {
            let stream = connect(server.listen).unwrap();
            let mut reader = stream.try_clone().unwrap();
            let (is_over, requests) = (&is_over, requests.as_bytes());
            scope.spawn(move || {
                let mut stream = stream;
                while !is_over.load(relaxed) && stream.write_all(requests).is_ok() {}
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
            scope.spawn(
                move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|count| count > 0) {},
            );
        }
        let mut waits: Vec<Duration> = (0..300)
            .map(|_| {
                let asked = Instant::now();
                // A new connection each time, on whichever core.
                assert_eq!(server.client().get("/bucket/canary").expect(200).body, super::CANARY);
                asked.elapsed()
            })
            .collect();
        is_over.store(true, relaxed);
        waits.sort();
        let (middle, worst) = (waits[150], waits[299]);
        assert!(
            middle < Duration::from_millis(500) && worst < Duration::from_secs(5),
            "{middle:?} {worst:?}"
        );
    });
    root.get("/bucket/canary").expect(200);
    server.stop();
}

#[test]
fn heads_are_taken_up_to_their_bounds_and_cost_no_more() {
    const HEAD_BYTES_MAX: usize = 32 << 10;
    let site = Site::new();
    let server = site.start();
    let _root = with_canary(&server);
    let padded = |bytes: usize| {
        let head = |pad: &str| {
            format!(
                "GET /bucket/canary HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {pad}\r\n\r\n"
            )
        };
        head(&"p".repeat(bytes - head("").len()))
    };
    let lines = |count: usize| {
        let more: String = (0..count - 2).map(|number| format!("h{number}: v\r\n")).collect();
        format!("GET /bucket/canary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n")
    };
    let before = server.resident_bytes();
    for (head, status) in [
        (padded(HEAD_BYTES_MAX), 200),
        (padded(HEAD_BYTES_MAX + 1), 431),
        (padded(HEAD_BYTES_MAX * 4), 431),
        (lines(128), 200),
        (lines(129), 431),
        (lines(5000), 431),
        (format!("GET /bucket/{} HTTP/1.1\r\nHost: a\r\n\r\n", "k".repeat(40_000)), 431),
        (
            format!(
                "GET /bucket/canary?{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                "a=b&".repeat(7000)
            ),
            200,
        ),
        ("A".repeat(200_000), 431),
        ("\r\n".repeat(100_000), 400),
    ] {
        let answers = answers(&talk(server.listen, head.as_bytes()));
        let short: String = head.chars().take(80).collect();
        assert_eq!(answers[0].0, status, "{short}: {:?}", String::from_utf8_lossy(&answers[0].1));
        assert_eq!(answers.len(), 1, "{short}");
    }
    // A head without an end, of a million lines: it is cut off where it is too long, not where it ends.
    let begin = Instant::now();
    for _ in 0..20 {
        let mut stream = connect(server.listen).unwrap();
        // What is on its way is not taken: the kernel would keep four million bytes here, and tell of an end only then.
        SockRef::from(&stream).set_send_buffer_size(64 << 10).unwrap();
        let _ = stream.write_all(b"GET /bucket/canary HTTP/1.1\r\nHost: a\r\n");
        let lines = "a: b\r\n".repeat(1000);
        let sent = (0..1000).take_while(|_| stream.write_all(lines.as_bytes()).is_ok()).count();
        assert!(sent < 1000, "six million bytes of head were taken");
    }
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB, "{} MiB for heads", grown / MIB);
    server.stop();
}
