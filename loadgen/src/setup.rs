//! What happens before the load: waiting for the endpoint, making the bucket.

use crate::body::Body;
use crate::client::{Answer, Connection, Failure, Receive, Watch};
use crate::error::{Error, Result};
use crate::limits;
use crate::options::{EndpointOptions, RunOptions, Signing, Target};
use crate::request::{Head, RequestWriter};
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement, Task};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Pace of each executor's ticker, which finds requests that stand still.
pub(crate) const TICK: Duration = Duration::from_millis(50);

pub(crate) fn ticks_in(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Runs a future on an executor of its own, on this thread.
pub(crate) fn on_executor<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20).ring_depth(512);
    let executor = builder.make().map_err(|error| Error::Runtime(error.to_string()))?;
    executor.run(future)
}

/// Creates the bucket if it is missing, after waiting for the endpoint as long as the options allow.
pub(crate) fn ensure_bucket(options: &RunOptions, target: &Target) -> Result<()> {
    let path = format!("/{}", options.bucket);
    on_executor(async {
        let mut caller = Caller::new(&options.endpoint, options.setup_signing(), target);
        let result = caller.ensure_bucket(&path, options.endpoint.wait_ready).await;
        caller.ticker.cancel().await;
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
        caller.ticker.cancel().await;
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
            glommio::spawn_local(async move {
                loop {
                    sleep(TICK).await;
                    watch.tick(ticks_max);
                }
            })
        };
        let connection = Connection::new(Rc::new(target.clone()), watch, 0, endpoint.timeout);
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
        let mut collector = Collector(&mut self.body);
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

struct Collector<'a>(&'a mut Vec<u8>);

impl Receive for Collector<'_> {
    fn start(&mut self, _: &Answer) {}

    fn piece(&mut self, bytes: &[u8]) {
        let room = limits::SAMPLE_BYTES_MAX - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}
