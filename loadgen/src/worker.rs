//! One connection's loop: take the next start, pick an operation, carry it out, judge the answer.
//!
//! **Invariant:** an answer counts as a success only if its status is the expected one and its
//! content is right; each other outcome is counted in exactly one place (errors, mismatches).

mod list;
mod multipart;
mod read;
mod write;

use crate::client::{Answer, Connection, ContentRange, Failure, Receive};
use crate::content::{Content, Pattern, SLICE_CANDIDATES_MAX, SliceVerifier, Verifier};
use crate::keyspace::{Keyspace, content_hash, name_key};
use crate::ledger::LedgerWriter;
use crate::limits;
use crate::options::{RunOptions, Target};
use crate::pace::{Pace, Start};
use crate::request::RequestWriter;
use crate::runtime::sleep;
use crate::stats::{Completion, Stats};
use crate::workload::{Mix, Operation, Random, Sizes};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the workers of one executor share. No borrow of a cell lives across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Arc<RunOptions>,
    pub(crate) pattern: Arc<Pattern>,
    pub(crate) mix: Mix,
    /// Every key is known to exist and none is deleted, so listings are known too.
    pub(crate) listings_known: bool,
    pub(crate) keyspace: RefCell<Keyspace>,
    pub(crate) stats: RefCell<Stats>,
    pub(crate) random: RefCell<Random>,
    pub(crate) requests: RefCell<RequestWriter>,
    pub(crate) ledger: Option<RefCell<LedgerWriter>>,
    pub(crate) pace: Pace,
}

/// How an operation ended, for the loop.
enum End {
    Done,
    /// The server could not be reached.
    Unreachable,
    /// There was no key to write.
    Skipped,
}

pub(crate) struct Worker {
    shared: Rc<Shared>,
    target: Rc<Target>,
    connection: Connection,
    /// For parts that go beside each other; empty where there are none.
    part_connections: Vec<Connection>,
    /// `/BUCKET/KEY`, and the same up to the key's number.
    path: String,
    path_prefix: String,
    head: Vec<u8>,
    collected: Vec<u8>,
    /// The value of a request's one special header.
    header_value: String,
}

impl Worker {
    pub(crate) fn new(
        shared: Rc<Shared>,
        target: Rc<Target>,
        connection: Connection,
        part_connections: Vec<Connection>,
    ) -> Self {
        let path_prefix = format!("/{}/{}", shared.options.bucket, shared.options.key_prefix);
        Self {
            shared,
            target,
            connection,
            part_connections,
            path: String::with_capacity(path_prefix.len() + 16),
            path_prefix,
            head: Vec::with_capacity(1024),
            collected: Vec::new(),
            header_value: String::with_capacity(64),
        }
    }

    /// Runs until the pace says that it is over.
    pub(crate) async fn run(mut self) {
        let mut unreachable = 0;
        while let Some(start) = self.shared.pace.next(&self.shared.stats).await {
            self.connection.refresh(start.real);
            let operation = self.shared.mix.pick(&mut self.shared.random.borrow_mut());
            let end = match operation {
                Operation::Put => self.put(start).await,
                Operation::Delete => self.delete(start).await,
                Operation::Get => self.get(start).await,
                Operation::Head => self.head(start).await,
                Operation::Range => self.range(start).await,
                Operation::Conditional => self.conditional(start).await,
                Operation::List => self.list(start).await,
                Operation::Multipart | Operation::Part => self.multipart(start).await,
            };
            unreachable = if matches!(end, End::Unreachable) { unreachable + 1 } else { 0 };
            if unreachable >= self.shared.options.connect_failures {
                self.shared.pace.stop();
            }
            match end {
                End::Done => {}
                End::Unreachable => sleep(limits::CONNECT_PAUSE).await,
                End::Skipped => sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Any key, for a read: sets the path, and returns what the judgements need.
    fn pick(&mut self) -> Picked {
        let mut keyspace = self.shared.keyspace.borrow_mut();
        let slot = keyspace.pick(&mut self.shared.random.borrow_mut());
        name_key(&mut self.path, &self.path_prefix, keyspace.index(slot));
        let hash = content_hash(&self.path);
        Picked { slot, floor: keyspace.floor(slot), hash }
    }

    fn complete(&self, operation: Operation, start: Start, answer: &Answer, bytes: u64) {
        self.shared.complete(operation, start, answer, bytes);
    }

    /// Counts a request that failed; warm-up or not, an error is a finding.
    fn fail(&self, operation: Operation, start: Start, result: Result<Answer, Failure>) -> End {
        if let Ok(answer) = &result
            && answer.status == 503
        {
            let took = answer.first_byte.saturating_duration_since(start.real);
            self.shared.stats.borrow_mut().refusals.record(took);
        }
        self.shared.fail(operation, &self.path, &self.collected, result)
    }

    fn mismatch(&self, operation: Operation, reason: &str) {
        let (name, path) = (operation.name(), &self.path);
        let sample = || format!("{name} {path}: {reason}");
        self.shared.stats.borrow_mut().mismatches.add(name, sample);
    }

    /// Appends to the ledger, if there is one. A ledger that cannot be written ends the run, since
    /// what it would say is no longer true.
    fn log(&self, append: impl FnOnce(&mut LedgerWriter, &str) -> crate::Result<()>) {
        let Some(ledger) = &self.shared.ledger else { return };
        let key = &self.path[self.shared.options.bucket.len() + 2..];
        if let Err(error) = append(&mut ledger.borrow_mut(), key) {
            self.shared.stats.borrow_mut().errors.add("ledger", || error.to_string());
            self.shared.pace.stop();
        }
    }

    fn log_acknowledged(&self, version: u64) {
        self.log(|ledger, key| ledger.acknowledged(version, &self.connection.etag, key));
    }
}

impl Shared {
    fn complete(&self, operation: Operation, start: Start, answer: &Answer, bytes: u64) {
        let now = Instant::now();
        self.stats.borrow_mut().record(&Completion {
            operation,
            latency: now.saturating_duration_since(start.intended),
            first_byte: answer.first_byte.saturating_duration_since(start.real),
            bytes,
            started_in_window: start.in_window,
            ended_in_window: self.pace.in_window(now),
        });
    }

    fn fail(
        &self,
        operation: Operation,
        path: &str,
        body: &[u8],
        result: Result<Answer, Failure>,
    ) -> End {
        let name = operation.name();
        let (kind, sample, end) = match result {
            Ok(answer) => {
                let body = String::from_utf8_lossy(body);
                let code = elements(&body, "<Code>", "</Code>").next().unwrap_or("");
                let kind = format!("{name}: {} {code}", answer.status);
                (kind, format!("{name} {path}: {} {body}", answer.status), End::Done)
            }
            Err(failure) => {
                let unreachable = failure.nothing_was_sent();
                let end = if unreachable { End::Unreachable } else { End::Done };
                (format!("{name}: {failure}"), format!("{name} {path}: {failure}"), end)
            }
        };
        self.stats.borrow_mut().errors.add(kind.trim_end(), || sample);
        end
    }
}

/// A key that is being read.
#[derive(Debug, Clone, Copy)]
struct Picked {
    slot: usize,
    floor: u32,
    hash: u64,
}

/// What a slice is judged by, when it comes.
#[derive(Debug)]
pub(crate) struct SliceContext<'a> {
    keyspace: &'a RefCell<Keyspace>,
    sizes: &'a Sizes,
    picked: Picked,
}

impl SliceContext<'_> {
    /// `None`: the slice cannot be judged, because the key was not written in this run, or because
    /// the outcome of too many writes of it is unknown.
    fn verifier(&self, range: ContentRange) -> Option<SliceVerifier> {
        let Picked { slot, floor, hash } = self.picked;
        let keyspace = self.keyspace.borrow();
        if floor == 0 || keyspace.candidates(slot, floor).count() > SLICE_CANDIDATES_MAX {
            return None;
        }
        let contents = keyspace.candidates(slot, floor).filter_map(|version| {
            let size = self.sizes.of(hash, version);
            (size == range.size).then(|| Content::new(hash, version, size))
        });
        Some(SliceVerifier::new(contents, range.from, range.end))
    }
}

/// Verifies an object's body as it passes; keeps any other body, up to a bound.
pub(crate) struct Receiver<'a> {
    pattern: &'a Pattern,
    collected: &'a mut Vec<u8>,
    /// Set for a GET: a body that comes with status 200 is the object's.
    pub(crate) key_hash: Option<u64>,
    pub(crate) verifier: Option<Verifier>,
    /// Set for a GET of a slice: a body that comes with status 206 is one.
    slice: Option<SliceContext<'a>>,
    slice_verifier: Option<SliceVerifier>,
}

impl<'a> Receiver<'a> {
    pub(crate) fn collecting(pattern: &'a Pattern, collected: &'a mut Vec<u8>) -> Self {
        collected.clear();
        Self {
            pattern,
            collected,
            key_hash: None,
            verifier: None,
            slice: None,
            slice_verifier: None,
        }
    }
}

impl Receive for Receiver<'_> {
    fn start(&mut self, answer: &Answer) {
        if let (200, Some(hash), Some(length)) =
            (answer.status, self.key_hash, answer.content_length)
        {
            self.verifier = Some(Verifier::new(hash, length));
        }
        if let (206, Some(slice), Some(range)) = (answer.status, &self.slice, answer.content_range)
        {
            self.slice_verifier = slice.verifier(range);
        }
    }

    fn piece(&mut self, bytes: &[u8]) {
        match (&mut self.verifier, &mut self.slice_verifier) {
            (Some(verifier), _) => verifier.feed(self.pattern, bytes),
            (None, Some(verifier)) => verifier.feed(self.pattern, bytes),
            (None, None) => {
                let room = limits::COLLECTED_BYTES_MAX - self.collected.len();
                self.collected.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
    }
}

/// The texts of all elements of one name, in an XML document in which they are flat and plain.
pub(crate) fn elements<'a>(
    text: &'a str,
    open: &'a str,
    close: &'a str,
) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}
