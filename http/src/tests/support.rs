//! A scripted peer, a hand-moved clock, and a service that reflects what it got.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use futures_lite::future::{block_on, yield_now};

use crate::*;

/// What the peer does when the connection reads.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// So many milliseconds pass in silence, then the sweeper looks.
    Wait(u64),
    /// Bytes that arrive after so many milliseconds, just as the sweeper has looked.
    Late(u64, Vec<u8>),
    /// The server begins to drain, and the sweeper looks.
    Drain,
    Fail(io::ErrorKind),
}

#[derive(Debug, Clone, Default)]
pub(super) struct TestClock {
    pub(super) now_ms: Rc<Cell<u64>>,
}

impl Clock for TestClock {
    fn monotonic_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn unix_seconds(&self) -> u64 {
        784_111_777
    }
}

/// The peer: reads follow the script, writes are recorded.
#[derive(Debug)]
pub(super) struct Script {
    steps: VecDeque<Step>,
    clock: TestClock,
    control: Rc<Control>,
    /// Bytes taken per write.
    write_bytes_max: usize,
    /// Milliseconds that each write takes.
    write_ms: u64,
    shut: Option<Shutdown>,
    written: Vec<u8>,
    writes: usize,
    finished: bool,
}

impl Script {
    fn output(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    fn sweep(&mut self) {
        if let Some(shutdown) = self.control.expired(self.clock.now_ms.get()) {
            self.shut = Some(shutdown);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.clock.now_ms.set(self.clock.now_ms.get() + ms);
        self.sweep();
    }
}

impl Stream for Script {
    async fn readable(&mut self) {
        yield_now().await;
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        yield_now().await;
        loop {
            match self.steps.pop_front() {
                None => return Ok(0),
                Some(Step::Send(mut bytes)) => {
                    let count = bytes.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&bytes[..count]);
                    if count < bytes.len() {
                        self.steps.push_front(Step::Send(bytes.split_off(count)));
                    }
                    return Ok(count);
                }
                Some(Step::Wait(ms)) => self.pass(ms),
                Some(Step::Late(ms, bytes)) => {
                    self.pass(ms);
                    self.steps.push_front(Step::Send(bytes));
                    continue;
                }
                Some(Step::Drain) => {
                    self.control.drain();
                    self.sweep();
                }
                Some(Step::Fail(kind)) => return Err(kind.into()),
            }
            if self.shut.is_some() {
                return Ok(0);
            }
        }
    }

    async fn write_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        yield_now().await;
        self.pass(self.write_ms);
        if self.shut == Some(Shutdown::Both) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!self.finished, "a write after the end of writing");
        let before = self.written.len();
        self.written.extend(first.iter().chain(second).take(self.write_bytes_max));
        self.writes += 1;
        Ok(self.written.len() - before)
    }

    async fn finish_write(&mut self) -> io::Result<()> {
        self.finished = true;
        Ok(())
    }
}

/// A streamed body by script.
#[derive(Debug)]
pub(super) struct Chunks(pub(super) VecDeque<io::Result<Vec<u8>>>);

impl ResponseBody for Chunks {
    type Chunk = Vec<u8>;

    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        yield_now().await;
        self.0.pop_front().transpose().inspect(|chunk| {
            assert!(chunk.as_deref() != Some(b"panic"), "asked to panic");
        })
    }
}

/// Answers as the target's path says; `/echo` tells all that it saw of the request.
#[derive(Debug, Default)]
pub(super) struct Reflect {
    /// How each body read failed.
    pub(super) errors: RefCell<Vec<String>>,
}

impl Reflect {
    async fn echo<S: Stream>(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
    ) -> Response<Chunks> {
        let mut seen = format!("{} {}", head.method_name(), head.target()).into_bytes();
        for (name, value) in head.headers().filter(|(name, _)| !name.starts_with("Host")) {
            seen.extend_from_slice(format!(" {name}=").as_bytes());
            seen.extend_from_slice(value);
        }
        seen.push(b'|');
        let mut buffer = [0; 11];
        loop {
            match body.read(&mut buffer).await {
                Ok(0) => break,
                Ok(bytes) => seen.extend_from_slice(&buffer[..bytes]),
                Err(error) => {
                    self.errors.borrow_mut().push(format!("{error:?}"));
                    assert!(body.read(&mut buffer).await.is_err(), "an error is final");
                    return Response::new(400);
                }
            }
        }
        assert_eq!(body.read(&mut buffer).await.unwrap(), 0, "the end stays the end");
        Response::new(200).with_bytes(seen)
    }
}

impl<S: Stream> Service<S> for Reflect {
    type Body = Chunks;

    async fn call(&self, head: &RequestHead, body: &mut RequestBody<'_, S>) -> Response<Chunks> {
        let (path, argument) = head.target().split_once('?').unwrap_or((head.target(), ""));
        let mut response = Response::new(200).with_header("X-Test", "1");
        match path {
            "/echo" => return self.echo(head, body).await,
            "/ignore" => response = response.with_bytes(b"ignored".to_vec()),
            "/close" => response.close(),
            "/status" => {
                response.set_status(argument.parse().unwrap());
                response.payload = Payload::Static(b"body");
            }
            "/length" => response.payload = Payload::LengthOnly(argument.parse().unwrap()),
            "/panic" => panic!("asked to panic"),
            "/stream" => response.payload = streamed(argument),
            _ => {
                // Read all the same, or what becomes of chunks would depend on their arrival.
                self.echo(head, body).await;
                response.set_status(404);
            }
        }
        response
    }

    fn error_body(&self, status: u16, reason: &str) -> Response<Chunks> {
        Response::new(status).with_bytes(format!("error: {reason}").into_bytes())
    }
}

/// `10,abc,def,fail`: the announced length, then chunks, of which `fail` is an error.
fn streamed(argument: &str) -> Payload<Chunks> {
    let mut words = argument.split(',');
    let length = words.next().unwrap().parse().unwrap_or_default();
    let chunk = |word: &str| match word {
        "fail" => Err(io::Error::other("asked to fail")),
        word => Ok(word.as_bytes().to_vec()),
    };
    Payload::Stream { length, source: Chunks(words.map(chunk).collect()) }
}

/// One connection's run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Closed>,
    pub(super) output: String,
    pub(super) writes: usize,
    pub(super) finished: bool,
    /// What the client had not sent when the connection ended.
    pub(super) unsent: usize,
    pub(super) errors: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) limits: Limits,
    pub(super) write_bytes_max: usize,
    pub(super) write_ms: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self { limits: Limits::default(), write_bytes_max: usize::MAX, write_ms: 0 }
    }
}

impl Run {
    pub(super) fn steps(&self, steps: impl IntoIterator<Item = Step>) -> Outcome {
        let service = Reflect::default();
        let (result, stream) = self.serve(&service, steps);
        let unsent = stream.steps.iter().map(|step| match step {
            Step::Send(bytes) => bytes.len(),
            _ => 0,
        });
        Outcome {
            result,
            unsent: unsent.sum(),
            output: stream.output(),
            writes: stream.writes,
            finished: stream.finished,
            errors: service.errors.take(),
        }
    }

    /// With another service: how it ended, and what it sent.
    pub(super) fn serve_with<V: Service<Script>>(
        &self,
        service: &V,
        steps: impl IntoIterator<Item = Step>,
    ) -> (Result<Closed>, String) {
        let (result, stream) = self.serve(service, steps);
        (result, stream.output())
    }

    fn serve<V: Service<Script>>(
        &self,
        service: &V,
        steps: impl IntoIterator<Item = Step>,
    ) -> (Result<Closed>, Script) {
        let clock = TestClock::default();
        let control = Control::new(Time::new(clock.clone()), &self.limits);
        let mut stream = Script {
            steps: steps.into_iter().collect(),
            clock,
            control: control.clone(),
            write_bytes_max: self.write_bytes_max,
            write_ms: self.write_ms,
            shut: None,
            written: Vec::new(),
            writes: 0,
            finished: false,
        };
        let workspaces = Workspaces::new(&self.limits);
        let served = Connection::serve(&mut stream, service, &self.limits, &control, &workspaces);
        (block_on(served), stream)
    }

    /// The client sends `input` in one piece and then ends its direction.
    pub(super) fn input(&self, input: impl AsRef<[u8]>) -> Outcome {
        self.steps([Step::Send(input.as_ref().to_vec())])
    }
}

pub(super) fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().to_vec())
}

const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

/// A plain answer of 200 with `body`.
pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An answer made of its parts; `headers` are whole lines, `Date` is added.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{DATE}{headers}\r\n{body}")
}

/// The answer to a request that was refused.
pub(super) fn refused(status: &str, reason: &str) -> String {
    let body = format!("error: {reason}");
    let headers = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    answer(status, &headers, &body)
}
