//! Real executors and sockets under a trivial application: serving, draining, failing.
#![allow(clippy::unwrap_used)]

use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use http::{NoBody, RequestBody, RequestHead, Response};

use crate::config::{Layers, serve_command};

/// Answers with its core's number; `/slow` takes a while, `/panic` does not come back.
#[derive(Debug, Clone, Default)]
struct Echo {
    fails_to_open: Option<usize>,
    panics_on_open: Option<usize>,
    log: Arc<Mutex<Vec<&'static str>>>,
    slow_requests: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct EchoService {
    context: CoreContext,
    application: Echo,
}

impl Application for Echo {
    type Service = EchoService;

    async fn open(&self, core: CoreContext) -> Result<(EchoService, Opened), StartError> {
        if self.fails_to_open == Some(core.core) {
            return Err(StartError::Host("a broken disk".to_string()));
        }
        assert!(self.panics_on_open != Some(core.core), "as asked");
        self.log.lock().unwrap().push("open");
        let service = EchoService { context: core, application: self.clone() };
        Ok((service, Opened { shards: 4, free_bytes: 1 << 30 }))
    }

    fn health(&self, _service: &EchoService) -> engine::Health {
        engine::Health::default()
    }

    fn samples(&self, _service: &EchoService) -> Vec<Sample> {
        vec![Sample { name: "echo", help: "An echo.", labels: Vec::new(), value: 7.0 }]
    }

    async fn manage(&self, _service: &EchoService, asked: &Asked<'_>) -> ApiAnswer {
        let request = asked.request;
        match request.path.as_slice() {
            [echo, text] if echo == "echo" => ApiAnswer::json(200, text.as_str().into()),
            _ => ApiAnswer::not_found(),
        }
    }

    async fn close(&self, _service: &EchoService) -> Result<(), StartError> {
        self.log.lock().unwrap().push("close");
        Ok(())
    }
}

impl http::Service<ClientStream> for EchoService {
    type Body = NoBody;

    async fn call(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Response<NoBody> {
        let mut received = vec![0; 1024];
        let length = body.read(&mut received).await.unwrap_or(0);
        match head.target() {
            "/slow" => {
                self.application.slow_requests.fetch_add(1, Ordering::Release);
                glommio::timer::sleep(Duration::from_millis(400)).await;
            }
            "/panic" => panic!("as asked"),
            _ => {}
        }
        self.context.recorder.record("Echo", 200, 1000, length as u64, length as u64);
        received.truncate(length);
        Response::new(200).with_bytes(received)
    }

    fn error_body(&self, status: u16, _reason: &str) -> Response<NoBody> {
        Response::new(status)
    }
}

/// A server in a thread of its own, as the tests' machine can carry it.
struct Running {
    started: Started,
    stop: Stop,
    result: JoinHandle<Result<(), StartError>>,
}

fn prepare(flags: &[&str]) -> (Config, Plan, Sockets) {
    let small = ["serve", "--io-memory", "1MiB", "--ring-depth", "128", "--placement", "unbound"];
    let anywhere = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let arguments = small.iter().chain(&anywhere).chain(flags);
    let matches = serve_command().try_get_matches_from(arguments).unwrap();
    let config = Config::resolve(&Layers::gather(&matches, &|_| None).unwrap()).unwrap();
    let device = DeviceTuning::default();
    let plan = Plan { cores: 2, cpus: None, memory_bytes: 64 << 20, device };
    let sockets = Sockets::bind(&config, plan.cores).unwrap();
    (config, plan, sockets)
}

fn start(application: Echo, flags: &[&str]) -> Running {
    let (config, plan, sockets) = prepare(flags);
    let stop = Stop::default();
    let (sender, receiver) = mpsc::channel();
    let result = thread::spawn({
        let stop = stop.clone();
        move || {
            let key = "test-key".to_string();
            run(&config, &plan, sockets, application, key, stop, |started| {
                sender.send(started.clone()).unwrap();
            })
        }
    });
    let started = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    Running { started, stop, result }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends one request and reads the head and the body of its answer.
fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream)
}

fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn put(target: &str, body: &str) -> String {
    format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0))
}

#[test]
fn requests_are_served_and_a_stop_drains() {
    let application = Echo::default();
    let running = start(application.clone(), &[]);
    assert_eq!((running.started.cores, running.started.shards), (2, 8));
    let mut idle = connect(running.started.listen);
    for body in ["first", "second"] {
        let answer = exchange(&mut idle, &put("/x", body));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(body), "{answer}");
    }
    // A panic costs its own connection at most.
    let mut broken = connect(running.started.listen);
    broken.write_all(get("/panic", "").as_bytes()).unwrap();
    assert!(broken.read(&mut [0; 64]).is_ok());
    drop(broken);

    let mut busy = connect(running.started.listen);
    busy.write_all(get("/slow", "").as_bytes()).unwrap();
    while application.slow_requests.load(Ordering::Acquire) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    let begin = Instant::now();
    running.stop.request();
    assert!(is_closed(&mut idle));
    assert!(begin.elapsed() < Duration::from_millis(350), "idle connections end at once");
    assert!(read_answer(&mut busy).starts_with("HTTP/1.1 200 "));
    assert!(is_closed(&mut busy));
    drop((idle, busy));
    running.result.join().unwrap().unwrap();
    assert!(TcpStream::connect(running.started.listen).is_err());
    assert_eq!(*application.log.lock().unwrap(), ["open", "open", "close", "close"]);
}

#[test]
fn what_outlasts_the_drain_is_cut() {
    let application = Echo::default();
    let running = start(application.clone(), &["--drain-timeout", "0"]);
    // A client that sends its body too slowly.
    let mut slow = connect(running.started.listen);
    slow.write_all(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345").unwrap();
    thread::sleep(Duration::from_millis(100));
    let begin = Instant::now();
    running.stop.request();
    running.result.join().unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(3));
    let _ = slow.read(&mut [0; 64]);
}

#[test]
fn an_idle_connection_is_ended_and_a_busy_one_is_not() {
    let running = start(Echo::default(), &["--idle-timeout", "1"]);
    let mut idle = connect(running.started.listen);
    let mut busy = connect(running.started.listen);
    assert!(exchange(&mut idle, &put("/x", "a")).starts_with("HTTP/1.1 200 "));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        assert!(exchange(&mut busy, &put("/x", "a")).starts_with("HTTP/1.1 200 "));
        thread::sleep(Duration::from_millis(100));
    }
    assert!(is_closed(&mut idle));
    running.stop.request();
    running.result.join().unwrap().unwrap();
}

#[test]
fn connections_beyond_the_limit_are_turned_away() {
    let running = start(Echo::default(), &["--max-connections", "1"]);
    let mut first = connect(running.started.listen);
    // A request is under way: its body is still to come.
    first
        .write_all(
            b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        )
        .unwrap();
    assert!(read_answer(&mut first).starts_with("HTTP/1.1 100 "));
    let mut second = connect(running.started.listen);
    assert!(read_answer(&mut second).starts_with("HTTP/1.1 503 "));
    drop(first);
    // The place is free again as soon as the server has noticed.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut third = connect(running.started.listen);
        let _ = third.write_all(put("/x", "b").as_bytes());
        let mut answer = [0; 12];
        let read = third.read_exact(&mut answer);
        if read.is_ok() && &answer == b"HTTP/1.1 200" {
            break;
        }
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    running.stop.request();
    running.result.join().unwrap().unwrap();
}

/// Idle connections took all places of a port for as long as whoever held them wished.
#[test]
fn connections_that_only_hold_on_give_way() {
    // Enough for each core to have some: each makes room among its own.
    let running = start(Echo::default(), &["--max-connections", "16"]);
    let mut served = connect(running.started.listen);
    assert!(exchange(&mut served, &put("/x", "a")).starts_with("HTTP/1.1 200 "));
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut silent = connect(running.started.listen);
            silent.write_all(b"PUT /x HT").unwrap();
            silent
        })
        .collect();
    // In the moment of the rush all that could give way are on their way out, and a client asks again.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut answered = 0;
    while answered < 20 {
        assert!(Instant::now() < deadline, "{answered} were answered");
        let mut other = connect(running.started.listen);
        let _ = other.write_all(put("/x", "a").as_bytes());
        let mut answer = [0; 12];
        let read = other.read_exact(&mut answer);
        answered += usize::from(read.is_ok() && &answer == b"HTTP/1.1 200");
    }
    drop(silent);
    assert!(is_closed(&mut served));
    running.stop.request();
    running.result.join().unwrap().unwrap();
}

#[test]
fn the_management_port_answers() {
    let running = start(Echo::default(), &[]);
    let mut client = connect(running.started.listen);
    exchange(&mut client, &put("/x", "abc"));
    let mut admin = connect(running.started.admin_listen);
    let key = "Authorization: Bearer test-key\r\n";
    for (request, status, part) in [
        (get("/health/live", ""), 200, "live"),
        (get("/health/ready", ""), 200, "ready"),
        (get("/health", ""), 200, "\"degraded\":false"),
        (get("/metrics", ""), 200, "ringfort_ready 1"),
        (put("/metrics", ""), 405, "problem"),
        (get("/api/v1/stats", ""), 401, "Bearer"),
        (get("/api/v1/stats", "Authorization: Bearer wrong\r\n"), 401, "Bearer"),
        (get("/api/v1/stats", key), 404, "no such resource"),
        (get("/api/v1/echo/a%20b", key), 200, "a b"),
        (put("/api/v1/echo", "x"), 401, "Bearer"),
        (get("/stats", key), 404, "problem"),
    ] {
        let answer = exchange(&mut admin, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
        assert!(answer.contains(part), "{request}{answer}");
    }
    // What cores count is published every second.
    let deadline = Instant::now() + Duration::from_secs(10);
    let line = "ringfort_requests_total{operation=\"Echo\",status=\"200\"} 1";
    while !exchange(&mut admin, &get("/metrics", "")).contains(line) {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(100));
    }
    let page = exchange(&mut admin, &get("/metrics", ""));
    assert!(page.contains("ringfort_echo{core=\"1\"} 7"), "{page}");
    running.stop.request();
    running.result.join().unwrap().unwrap();
}

#[test]
fn a_core_that_cannot_open_stops_all_of_them() {
    let application = Echo { fails_to_open: Some(1), ..Echo::default() };
    let (config, plan, sockets) = prepare(&[]);
    let never = |_: &Started| panic!("never ready");
    let key = "test-key".to_string();
    let result = run(&config, &plan, sockets, application, key, Stop::default(), never);
    assert!(result.unwrap_err().to_string().contains("a broken disk"));
}

#[test]
fn a_core_that_panics_stops_all_of_them() {
    let application = Echo { panics_on_open: Some(1), ..Echo::default() };
    let (config, plan, sockets) = prepare(&[]);
    let never = |_: &Started| panic!("never ready");
    let key = "test-key".to_string();
    let result = run(&config, &plan, sockets, application.clone(), key, Stop::default(), never);
    assert!(matches!(result, Err(StartError::Core { .. })), "{result:?}");
    assert_eq!(*application.log.lock().unwrap(), ["open", "close"]);
}
