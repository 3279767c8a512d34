//! One connection's loop: take the next start, pick an operation, carry it out, judge the answer.
//!
//! **Invariant:** an answer counts as a success only if its status is the expected one and its
//! content is right; each other outcome is counted in exactly one place (errors, mismatches).

use crate::client::{Answer, Connection, Failure, Receive};
use crate::content::{Content, Pattern, Verifier};
use crate::keyspace::{KeyWrite, Keyspace, WriteEnd, content_hash, name_key};
use crate::ledger::LedgerWriter;
use crate::limits;
use crate::options::{Payload, RunOptions};
use crate::pace::{Pace, Start};
use crate::request::{Head, RequestWriter};
use crate::sign::{EMPTY_SHA256, UNSIGNED_PAYLOAD};
use crate::stats::{Completion, Stats};
use crate::workload::{Mix, Operation, Random};
use glommio::timer::sleep;
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
    connection: Connection,
    /// `/BUCKET/KEY`, and the same up to the key's number.
    path: String,
    path_prefix: String,
    head: Vec<u8>,
    collected: Vec<u8>,
}

impl Worker {
    pub(crate) fn new(shared: Rc<Shared>, connection: Connection) -> Self {
        let path_prefix = format!("/{}/{}", shared.options.bucket, shared.options.key_prefix);
        let path = String::with_capacity(path_prefix.len() + 16);
        let (head, collected) = (Vec::with_capacity(1024), Vec::new());
        Self { shared, connection, path, path_prefix, head, collected }
    }

    pub(crate) async fn run(mut self) {
        let mut unreachable = 0;
        while let Some(start) = self.shared.pace.next(&self.shared.stats).await {
            self.connection.refresh(start.real);
            let operation = self.shared.mix.pick(&mut self.shared.random.borrow_mut());
            let end = match operation {
                Operation::Put => self.put(start).await,
                Operation::Delete => self.delete(start).await,
                Operation::Get | Operation::Head => self.read(operation, start).await,
                Operation::List => self.list(start).await,
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

    async fn put(&mut self, start: Start) -> End {
        let Some(write) = self.begin_write(false) else { return End::Skipped };
        let hash = content_hash(&self.path);
        let size = self.shared.options.size.of(hash, write.version);
        let content = Content::new(hash, write.version, size);
        self.log(|ledger, key| ledger.put(write.version, size, key));
        let digest = (self.shared.options.payload == Payload::Signed)
            .then(|| hex::encode(content.sha256(&self.shared.pattern)));
        let payload_hash = digest.as_deref().unwrap_or(UNSIGNED_PAYLOAD);
        self.write_head("PUT", payload_hash, Some(size));
        let body = Some((&content, &*self.shared.pattern));
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let result = self.connection.exchange(&mut self.head, body, false, &mut receiver).await;
        self.end_write(Operation::Put, write, start, size, result)
    }

    async fn delete(&mut self, start: Start) -> End {
        if self.shared.pace.deletes_once && self.shared.keyspace.borrow().passed_once() {
            self.shared.pace.finish();
            return End::Done;
        }
        let Some(write) = self.begin_write(true) else { return End::Skipped };
        self.log(|ledger, key| ledger.delete(write.version, key));
        self.write_head("DELETE", EMPTY_SHA256, None);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let result = self.connection.exchange(&mut self.head, None, false, &mut receiver).await;
        self.end_write(Operation::Delete, write, start, 0, result)
    }

    fn begin_write(&mut self, delete: bool) -> Option<KeyWrite> {
        let mut keyspace = self.shared.keyspace.borrow_mut();
        let write = keyspace.begin_write(delete, &mut self.shared.random.borrow_mut());
        match write {
            Some(write) => name_key(&mut self.path, &self.path_prefix, keyspace.index(write.slot)),
            None => self.shared.stats.borrow_mut().skipped += 1,
        }
        write
    }

    fn end_write(
        &mut self,
        operation: Operation,
        write: KeyWrite,
        start: Start,
        bytes: u64,
        result: Result<Answer, Failure>,
    ) -> End {
        let end = match &result {
            Ok(answer) => match answer.status {
                200..300 => WriteEnd::Acknowledged,
                500.. => WriteEnd::Unknown,
                _ => WriteEnd::Refused,
            },
            Err(failure) if failure.nothing_was_sent() => WriteEnd::Refused,
            Err(_) => WriteEnd::Lost,
        };
        match end {
            WriteEnd::Acknowledged => self.log_acknowledged(write.version),
            WriteEnd::Refused => self.log(|ledger, key| ledger.refused(write.version, key)),
            WriteEnd::Unknown | WriteEnd::Lost => {}
        }
        self.shared.keyspace.borrow_mut().end_write(write, end);
        match result {
            Ok(answer) if end == WriteEnd::Acknowledged => {
                self.complete(operation, start, &answer, bytes);
                End::Done
            }
            other => self.fail(operation, other),
        }
    }

    /// GET or HEAD.
    async fn read(&mut self, operation: Operation, start: Start) -> End {
        let (slot, floor) = {
            let mut keyspace = self.shared.keyspace.borrow_mut();
            let slot = keyspace.pick(&mut self.shared.random.borrow_mut());
            name_key(&mut self.path, &self.path_prefix, keyspace.index(slot));
            (slot, keyspace.floor(slot))
        };
        let to_head = operation == Operation::Head;
        self.write_head(if to_head { "HEAD" } else { "GET" }, EMPTY_SHA256, None);
        let hash = content_hash(&self.path);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        receiver.key_hash = (!to_head).then_some(hash);
        let result = self.connection.exchange(&mut self.head, None, to_head, &mut receiver).await;
        let verifier = receiver.verifier;
        let answer = match result {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) if answer.status == 404 && self.may_be_absent(slot, floor) => {
                self.shared.stats.borrow_mut().absent += 1;
                self.complete(operation, start, &answer, 0);
                return End::Done;
            }
            other => return self.fail(operation, other),
        };
        let judged = match (&verifier, answer.content_length) {
            (Some(verifier), _) => self.judge_body(slot, floor, hash, verifier),
            (None, Some(length)) if to_head => self.judge_size(length),
            (None, _) => Err("the answer has no Content-Length".to_owned()),
        };
        match judged {
            Ok(bytes) => {
                self.shared.stats.borrow_mut().verified_bytes += bytes;
                self.complete(operation, start, &answer, bytes);
            }
            Err(reason) => self.mismatch(operation, &reason),
        }
        End::Done
    }

    fn may_be_absent(&self, slot: usize, floor: u32) -> bool {
        self.shared.keyspace.borrow().may_be_absent(slot, floor)
    }

    /// The body's bytes are those of some version of this key; that version must be a right one.
    fn judge_body(
        &self,
        slot: usize,
        floor: u32,
        hash: u64,
        verifier: &Verifier,
    ) -> Result<u64, String> {
        let keyspace = self.shared.keyspace.borrow();
        let sizes = &self.shared.options.size;
        match verifier.finish().map_err(|mismatch| mismatch.to_string())? {
            Some(version) => {
                keyspace.judge(slot, floor, version)?;
                if keyspace.is_of_this_run(version) && sizes.of(hash, version) != verifier.size() {
                    return Err("the size is not that of this version".to_owned());
                }
            }
            None if floor == 0 => {}
            None => {
                let mut versions = keyspace.candidates(slot, floor);
                if !versions.any(|version| {
                    sizes.of(hash, version) == verifier.size() && verifier.is_version(version)
                }) {
                    return Err("not the content of an acceptable version".to_owned());
                }
            }
        }
        Ok(verifier.size())
    }

    fn judge_size(&self, length: u64) -> Result<u64, String> {
        if self.shared.options.size.contains(length) {
            return Ok(0);
        }
        Err(format!("Content-Length {length} is none of the sizes written"))
    }

    /// One page of keys, from a random key on.
    async fn list(&mut self, start: Start) -> End {
        let after = self.shared.random.borrow_mut().below(self.shared.options.objects);
        self.write_list_head(after);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let result = self.connection.exchange(&mut self.head, None, false, &mut receiver).await;
        let answer = match result {
            Ok(answer) if answer.status == 200 => answer,
            other => return self.fail(Operation::List, other),
        };
        match self.judge_page(after) {
            Ok(()) => {
                let bytes = self.collected.len() as u64;
                self.complete(Operation::List, start, &answer, bytes);
            }
            Err(reason) => self.mismatch(Operation::List, &reason),
        }
        End::Done
    }

    fn write_list_head(&mut self, after: u64) {
        let options = Arc::clone(&self.shared.options);
        let prefix = options.key_prefix.replace('/', "%2F");
        let mut marker = String::new();
        name_key(&mut marker, &prefix, after);
        let (count, bucket) = (options.list_keys, &options.bucket);
        let query = format!("list-type=2&max-keys={count}&prefix={prefix}&start-after={marker}");
        self.path.clear();
        self.path.push('/');
        self.path.push_str(bucket);
        self.write_head_with("GET", &query, EMPTY_SHA256, None);
    }

    /// Keys ascend and follow the marker; where every key is known to exist, none is missing.
    fn judge_page(&self, after: u64) -> Result<(), String> {
        let options = &self.shared.options;
        let text = std::str::from_utf8(&self.collected).map_err(|_| "not UTF-8".to_owned())?;
        let mut name = String::new();
        name_key(&mut name, &options.key_prefix, after);
        let (mut previous, mut count) = (name.clone(), 0u64);
        for key in elements(text, "<Key>", "</Key>") {
            if key <= previous.as_str() || !key.starts_with(&options.key_prefix) {
                return Err(format!("{key} does not belong behind {previous}"));
            }
            count += 1;
            if self.shared.listings_known && after + count < options.objects {
                name_key(&mut name, &options.key_prefix, after + count);
                if key != name {
                    return Err(format!("{name} is missing: {key} was listed in its place"));
                }
            }
            key.clone_into(&mut previous);
        }
        let expected = u64::from(options.list_keys).min(options.objects - 1 - after);
        if self.shared.listings_known && count < expected {
            return Err(format!("{count} keys behind {name}, expected at least {expected}"));
        }
        Ok(())
    }

    fn write_head(&mut self, method: &str, payload_hash: &str, content_length: Option<u64>) {
        self.write_head_with(method, "", payload_hash, content_length);
    }

    fn write_head_with(
        &mut self,
        method: &str,
        query: &str,
        payload_hash: &str,
        content_length: Option<u64>,
    ) {
        let head = Head { method, path: &self.path, query, payload_hash, content_length };
        self.shared.requests.borrow_mut().write(&head, &mut self.head);
    }

    fn complete(&self, operation: Operation, start: Start, answer: &Answer, bytes: u64) {
        let now = Instant::now();
        self.shared.stats.borrow_mut().record(&Completion {
            operation,
            latency: now.saturating_duration_since(start.intended),
            first_byte: answer.first_byte.saturating_duration_since(start.real),
            bytes,
            started_in_window: start.in_window,
            ended_in_window: self.shared.pace.in_window(now),
        });
    }

    /// Counts a request that failed; warm-up or not, an error is a finding.
    fn fail(&self, operation: Operation, result: Result<Answer, Failure>) -> End {
        let name = operation.name();
        let path = &self.path;
        let (kind, sample, end) = match result {
            Ok(answer) => {
                let body = String::from_utf8_lossy(&self.collected);
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
        self.shared.stats.borrow_mut().errors.add(kind.trim_end(), || sample);
        end
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

/// Verifies an object's body as it passes; keeps any other body, up to a bound.
pub(crate) struct Receiver<'a> {
    pattern: &'a Pattern,
    collected: &'a mut Vec<u8>,
    /// Set for a GET: a body that comes with status 200 is the object's.
    pub(crate) key_hash: Option<u64>,
    pub(crate) verifier: Option<Verifier>,
}

impl<'a> Receiver<'a> {
    pub(crate) fn collecting(pattern: &'a Pattern, collected: &'a mut Vec<u8>) -> Self {
        collected.clear();
        Self { pattern, collected, key_hash: None, verifier: None }
    }
}

impl Receive for Receiver<'_> {
    fn start(&mut self, answer: &Answer) {
        if let (200, Some(hash), Some(length)) =
            (answer.status, self.key_hash, answer.content_length)
        {
            self.verifier = Some(Verifier::new(hash, length));
        }
    }

    fn piece(&mut self, bytes: &[u8]) {
        match &mut self.verifier {
            Some(verifier) => verifier.feed(self.pattern, bytes),
            None => {
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
