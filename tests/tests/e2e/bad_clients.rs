//! Clients that stop half-way, dribble, never read, or only hold on: each costs what it costs while it
//! is there, and nothing afterwards.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use ringfort_tests::harness::client::{Client, Request, connect, receive};
use ringfort_tests::harness::{PATIENCE, Server, Site, wait_within};

/// The server's windows are 30 s for what it receives and 60 s for what it sends; each may take two,
/// and a busy machine some more.
const CUT_OFF: Duration = Duration::from_secs(200);

#[test]
fn clients_that_leave_half_way_leave_nothing_behind() {
    let site = Site::new();
    let server = with_objects(&site);
    let baseline = Baseline::of(&server);
    for round in 0..200 {
        let head = Request::new("PUT", "/bucket/half").body("").length(10 << 20);
        let mut bytes = head.head(&server.listen.to_string());
        bytes.resize(bytes.len() + [0, 1, 5000, 200_000, 1_500_000][round % 5], 7);
        let mut stream = connect(server.listen).unwrap();
        let _ = stream.write_all(&bytes);
        // Dropped: half of a request, or of an answer, was all.
        let mut stream = connect(server.listen).unwrap();
        let get = Request::new("GET", "/bucket/large").head(&server.listen.to_string());
        stream.write_all(&get).unwrap();
        let _ = stream.read_exact(&mut vec![0; [1, 100, 100_000][round % 3]]);
    }
    baseline.is_reached_again(&server);
    has_only_its_objects(&server);
    server.stop();
}

#[test]
fn clients_that_only_hold_on_do_not_keep_others_out() {
    let site = Site::new().flags(&["--idle-timeout", "3"]);
    let server = with_objects(&site);
    let baseline = Baseline::of(&server);
    let idle: Vec<TcpStream> = (0..2000).map(|_| connect(server.listen).unwrap()).collect();
    assert_eq!(server.client().get("/bucket/small").expect(200).body, b"small");
    // They are cut off after the idle time, from the server's side.
    baseline.is_reached_again(&server);
    for mut stream in idle {
        assert!(matches!(stream.read(&mut [0; 100]), Ok(0) | Err(_)), "an idle client was told of");
    }
    has_only_its_objects(&server);
    server.stop();
}

#[test]
fn beyond_the_limit_of_connections_clients_hear_so() {
    let site = Site::new().flags(&["--max-connections", "20"]);
    let server = with_objects(&site);
    let get = Request::new("GET", "/bucket/small").head(&server.listen.to_string());
    let ask = |stream: &mut TcpStream| {
        let _ = stream.write_all(&get);
        let answer = receive(&mut BufReader::new(stream), false)?;
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
        Ok::<_, std::io::Error>(answer.status)
    };
    // Twenty whose requests are under way: their bodies are still to come.
    let upload = Request::new("PUT", "/bucket/slow").body("").length(64 << 10);
    let upload = upload.header("expect", "100-continue").head(&server.listen.to_string());
    let open: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(server.listen).unwrap();
            stream.write_all(&upload).unwrap();
            let mut said = [0; 25];
            stream.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
            stream
        })
        .collect();
    for _ in 0..20 {
        let answer = ask(&mut connect(server.listen).unwrap());
        assert!(matches!(answer, Ok(503) | Err(_)), "{answer:?}");
    }
    drop(open);
    wait_within(PATIENCE, "room for a connection", || {
        ask(&mut connect(server.listen).unwrap()).is_ok_and(|status| status == 200)
    });
    server.stop();
}

/// Whoever only holds on gives way to who has something to ask.
#[test]
fn idle_connections_up_to_the_limit_keep_nobody_out() {
    let site = Site::new().flags(&["--max-connections", "20"]);
    let server = with_objects(&site);
    let idle: Vec<TcpStream> = (0..200).map(|_| connect(server.listen).unwrap()).collect();
    // In the moment of the rush all that could give way may be on its way out: then a client asks again.
    let mut refused = 0;
    for _ in 0..50 {
        wait_within(PATIENCE, "a place among idle connections", || {
            let answer = server.client().send(&Request::new("GET", "/bucket/small"));
            refused += usize::from(!answer.as_ref().is_ok_and(|answer| answer.status == 200));
            answer.is_ok_and(|answer| answer.body == b"small")
        });
    }
    assert!(refused < 25, "{refused} refused");
    drop(idle);
    // The management port has 256 places, and its operator gets one of them as well.
    let idle: Vec<TcpStream> = (0..600).map(|_| connect(server.admin_listen).unwrap()).collect();
    wait_within(PATIENCE, "a place at the management port", || {
        let live = Client::new(server.admin_listen).send(&Request::new("GET", "/health/live"));
        live.is_ok_and(|answer| answer.status == 200)
    });
    for _ in 0..50 {
        assert!(server.metric("ringfort_ready") > 0.0);
    }
    drop(idle);
    server.stop();
}

/// All kinds at once, because each takes the server's time limit.
#[test]
fn clients_that_dribble_or_never_read_are_cut_off() {
    let site = Site::new();
    let server = with_objects(&site);
    let baseline = Baseline::of(&server);
    let host = server.listen.to_string();
    let head = Request::new("GET", "/bucket/small").head(&host);
    let upload = Request::new("PUT", "/bucket/slow").body("").length(1 << 20).head(&host);
    let large = Request::new("GET", "/bucket/large").head(&host);
    thread::scope(|scope| {
        // A byte a second of a head, and of a body after a whole head.
        scope.spawn(|| dribble(&server, &[], &head));
        scope.spawn(|| dribble(&server, &upload, &vec![7; 1 << 20]));
        // A part of a head, and of a body, and then nothing.
        scope.spawn(|| dribble(&server, &head[..30], &[]));
        scope.spawn(|| dribble(&server, &[&upload[..], &[7; 1000]].concat(), &[]));
        // Requests for more than the kernel holds, of which no answer is ever read.
        for _ in 0..5 {
            scope.spawn(|| never_read(&server, &large));
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            assert_eq!(server.client().get("/bucket/small").expect(200).body, b"small");
        }
    });
    baseline.is_reached_again(&server);
    has_only_its_objects(&server);
    server.stop();
}

/// Sends `first` at once and `rest` by a byte a second, until the server has had enough.
fn dribble(server: &Server<'_>, first: &[u8], rest: &[u8]) {
    let mut stream = connect(server.listen).unwrap();
    stream.write_all(first).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let begin = Instant::now();
    let mut rest = rest.iter();
    let mut answer = Vec::new();
    loop {
        assert!(begin.elapsed() < CUT_OFF, "a dribbling client was never cut off");
        let mut bytes = [0; 1000];
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if let Some(byte) = rest.next() {
                    let _ = stream.write_all(&[*byte]);
                }
            }
            Err(_) => break,
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let is_refused = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 408");
    assert!(answer.is_empty() || is_refused, "{answer}");
}

/// Asks and does not read; the server gives up on it by itself.
fn never_read(server: &Server<'_>, request: &[u8]) {
    let mut stream = connect(server.listen).unwrap();
    stream.write_all(request).unwrap();
    // What the kernels hold of it may be read afterwards; the whole must not be there.
    let socket = stream.local_addr().unwrap().port();
    wait_within(CUT_OFF, "a client that never reads to be cut off", || {
        thread::sleep(Duration::from_millis(500));
        !is_held_by_server(server, socket)
    });
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < LARGE, "all of it came");
}

/// Whether the server's end of the connection with this port of ours is still established.
pub(crate) fn is_held_by_server(server: &Server<'_>, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (ours, theirs) = (format!(":{:04X}", port), format!(":{:04X}", server.listen.port()));
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        matches!(fields[..], [_, local, remote, "01"]
            if local.ends_with(&theirs) && remote.ends_with(&ours))
    })
}

const LARGE: usize = 24 << 20;

fn with_objects(site: &Site) -> Server<'_> {
    let server = site.start();
    server.client().put("/bucket", "").expect(200);
    server.client().put("/bucket/small", "small").expect(200);
    server.client().put("/bucket/large", vec![7; LARGE]).expect(200);
    server.client().get("/bucket/large").expect(200);
    server
}

fn has_only_its_objects(server: &Server<'_>) {
    let page = server.client().get("/bucket?list-type=2").expect(200).text();
    assert_eq!(page.matches("<Key>").count(), 2, "{page}");
    assert_eq!(server.client().get("/bucket/small").expect(200).body, b"small");
}

/// All but those of segments, which the store keeps open up to a bound of its own.
fn other_descriptors(server: &Server<'_>) -> usize {
    server.descriptors().iter().filter(|target| !target.ends_with(".seg")).count()
}

/// What the process held when nobody was there.
pub(crate) struct Baseline {
    sockets: usize,
    descriptors: usize,
    resident_bytes: u64,
}

impl Baseline {
    pub(crate) fn of(server: &Server<'_>) -> Self {
        let mut sockets = usize::MAX;
        // The connections of the preparation are on their way out.
        wait_within(PATIENCE, "the preparation's connections to close", || {
            let now = server.sockets();
            now == std::mem::replace(&mut sockets, now) && now <= 4
        });
        Self {
            sockets,
            descriptors: other_descriptors(server),
            resident_bytes: server.resident_bytes(),
        }
    }

    /// Descriptors exactly; of memory there may be more, which allocators keep.
    pub(crate) fn is_reached_again(&self, server: &Server<'_>) {
        wait_within(PATIENCE, "all connections to be closed", || server.sockets() <= self.sockets);
        let descriptors = other_descriptors(server);
        assert!(descriptors <= self.descriptors, "{:?}", server.descriptors());
        let grown = server.resident_bytes().saturating_sub(self.resident_bytes);
        assert!(grown < 96 << 20, "{} MiB were not given back", grown >> 20);
    }
}
