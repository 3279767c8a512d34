//! What happens before the load: waiting for the endpoint, making the bucket.

use crate::body::Body;
use crate::client::{Answer, Connection, Failure, Receive};
use crate::content::Pattern;
use crate::error::{Error, Result};
use crate::keyspace::content_hash;
use crate::limits;
use crate::options::{EndpointOptions, RunOptions, Signing, Target};
use crate::request::{Head, RequestWriter};
use crate::runtime::{Task, Watch, run, sleep, spawn};
use crate::stream::ReceiveBuffer;
use crate::worker::{Receiver, elements};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Pace of each executor's ticker, which finds requests that stand still.
pub(crate) const TICK: Duration = Duration::from_millis(50);

pub(crate) fn ticks_in(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Runs a future on a runtime of its own, on this thread.
pub(crate) fn on_executor<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    run(future).map_err(|error| Error::Runtime(error.to_string()))?
}

/// Creates the bucket if it is missing, after waiting for the endpoint as long as the options allow.
/// Refuses one that holds what this generator has not written, unless the options allow that.
pub(crate) fn ensure_bucket(
    options: &RunOptions,
    target: &Target,
    pattern: &Pattern,
) -> Result<()> {
    let path = format!("/{}", options.bucket);
    on_executor(async {
        let mut caller = Caller::new(&options.endpoint, options.setup_signing(), target);
        let mut result = caller.ensure_bucket(&path, options.endpoint.wait_ready).await;
        if result.is_ok() && !options.allow_non_empty {
            result = caller.refuse_foreign(options, &path, pattern).await;
        }
        caller.ticker.cancel();
        result
    })
}

/// Waits as long as the options allow until the endpoint answers, and changes nothing.
pub(crate) fn wait_until_ready(
    endpoint: &EndpointOptions,
    target: &Target,
    bucket: &str,
) -> Result<()> {
    let path = format!("/{bucket}");
    on_executor(async {
        let mut caller = Caller::new(endpoint, Signing::Header, target);
        let result = caller.until_ready("HEAD", &path, endpoint.wait_ready).await;
        caller.ticker.cancel();
        match result? {
            200..300 | 404 => Ok(()),
            status => Err(refused("HEAD", &path, status, &caller.body)),
        }
    })
}

/// Single requests whose answers are looked at as a whole.
struct Caller {
    host: String,
    connection: Connection,
    writer: RequestWriter,
    head: Vec<u8>,
    body: Vec<u8>,
    ticker: Task<()>,
}

impl Caller {
    fn new(endpoint: &EndpointOptions, signing: Signing, target: &Target) -> Self {
        let watch = Rc::new(Watch::default());
        let ticker = {
            let (watch, ticks_max) = (Rc::clone(&watch), ticks_in(endpoint.timeout));
            spawn(async move {
                loop {
                    sleep(TICK).await;
                    watch.tick(ticks_max);
                }
            })
        };
        let buffer = ReceiveBuffer::for_bodies(0);
        let connection = Connection::new(Rc::new(target.clone()), watch, &buffer);
        let writer = RequestWriter::new(endpoint, signing);
        let host = target.host.clone();
        Self { host, connection, writer, head: Vec::new(), body: Vec::new(), ticker }
    }

    async fn ensure_bucket(&mut self, path: &str, wait: Duration) -> Result<()> {
        match self.until_ready("HEAD", path, wait).await? {
            200..300 => return Ok(()),
            404 => {}
            status => return Err(refused("HEAD", path, status, &self.body)),
        }
        match self.call("PUT", path).await {
            // 409: another process has just made it.
            Ok(200..300 | 409) => Ok(()),
            Ok(status) => Err(refused("PUT", path, status, &self.body)),
            Err(failure) => Err(Error::Prepare(format!("PUT {path}: {failure}"))),
        }
    }

    /// Names alone prove nothing, so the first object is read: its content shows who wrote it. One that
    /// is too short to show it is taken by its name.
    async fn refuse_foreign(
        &mut self,
        options: &RunOptions,
        path: &str,
        pattern: &Pattern,
    ) -> Result<()> {
        let prefix = &options.key_prefix;
        let foreign = |key: &str| {
            let (bucket, text) = (&options.bucket, "--allow-non-empty permits the run");
            Error::Prepare(format!("{bucket} holds {key}, not written by this generator; {text}"))
        };
        let first = self.list_keys(path, "").await?;
        // Keys of this generator sort between these two, so what lies behind the second is not its own.
        let behind = self.list_keys(path, &format!("{prefix}:")).await?;
        if let Some(key) = behind.first() {
            return Err(foreign(key));
        }
        if let Some(key) = first.iter().find(|key| !is_own_name(key, prefix)) {
            return Err(foreign(key));
        }
        let Some(key) = first.first() else { return Ok(()) };
        let path = format!("{path}/{key}");
        let mut collected = Vec::new();
        let mut receiver = Receiver::collecting(pattern, &mut collected);
        receiver.key_hash = Some(content_hash(&path));
        let head = Head::plain("GET", &self.host, &path);
        self.writer.write(&head, &mut self.head);
        let exchange = self.connection.exchange(&mut self.head, Body::None, false, &mut receiver);
        let answer =
            exchange.await.map_err(|failure| Error::Prepare(format!("GET {path}: {failure}")))?;
        match (answer.status, receiver.verifier) {
            (200, Some(verifier)) if verifier.finish().is_ok() => Ok(()),
            _ => Err(foreign(key)),
        }
    }

    /// One page of keys behind `after`.
    async fn list_keys(&mut self, path: &str, after: &str) -> Result<Vec<String>> {
        let mut query = String::from("list-type=2&max-keys=1000");
        if !after.is_empty() {
            query.push_str("&start-after=");
            query.push_str(&after.replace('/', "%2F").replace(':', "%3A"));
        }
        let head = Head { query: &query, ..Head::plain("GET", &self.host, path) };
        self.writer.write(&head, &mut self.head);
        self.body.clear();
        let mut collector = Collector { body: &mut self.body, most: limits::COLLECTED_BYTES_MAX };
        let exchange = self.connection.exchange(&mut self.head, Body::None, false, &mut collector);
        match exchange.await.map(|answer| answer.status) {
            Ok(200) => {
                let text = String::from_utf8_lossy(&self.body);
                Ok(elements(&text, "<Key>", "</Key>").map(str::to_owned).collect())
            }
            Ok(status) => Err(refused("GET", path, status, &self.body)),
            Err(failure) => Err(Error::Prepare(format!("GET {path}: {failure}"))),
        }
    }

    /// Repeats the request while the endpoint is unreachable or answers with a server error.
    async fn until_ready(&mut self, method: &str, path: &str, wait: Duration) -> Result<u16> {
        let deadline = Instant::now() + wait;
        loop {
            let result = self.call(method, path).await;
            let ready = result.as_ref().is_ok_and(|status| *status < 500);
            if ready || Instant::now() >= deadline {
                return result
                    .map_err(|failure| Error::Prepare(format!("{method} {path}: {failure}")));
            }
            sleep(limits::CONNECT_PAUSE).await;
        }
    }

    async fn call(&mut self, method: &str, path: &str) -> Result<u16, Failure> {
        let content_length = (method == "PUT").then_some(0);
        let head = Head { content_length, ..Head::plain(method, &self.host, path) };
        self.writer.write(&head, &mut self.head);
        self.body.clear();
        let mut collector = Collector { body: &mut self.body, most: limits::SAMPLE_BYTES_MAX };
        let to_head = method == "HEAD";
        let exchange =
            self.connection.exchange(&mut self.head, Body::None, to_head, &mut collector);
        Ok(exchange.await?.status)
    }
}

fn refused(method: &str, path: &str, status: u16, body: &[u8]) -> Error {
    let body = String::from_utf8_lossy(body);
    Error::Prepare(format!("{method} {path}: status {status} {body}"))
}

/// Whether the key is one of those that `name_key` gives.
fn is_own_name(key: &str, prefix: &str) -> bool {
    let number = key.strip_prefix(prefix);
    number.is_some_and(|number| number.len() == 10 && number.bytes().all(|b| b.is_ascii_digit()))
}

struct Collector<'a> {
    body: &'a mut Vec<u8>,
    most: usize,
}

impl Receive for Collector<'_> {
    fn start(&mut self, _: &Answer) {}

    fn piece(&mut self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.body.len());
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}
