//! GET, whole and in slices, with and without a condition, and HEAD.

use super::{End, Picked, Receiver, SliceContext, Worker};
use crate::body::Body;
use crate::client::{Answer, ContentRange};
use crate::content::Verifier;
use crate::pace::Start;
use crate::request::Head;
use crate::workload::Operation;
use std::fmt::Write;

/// Of conditional reads, so many ask with an ETag that cannot match.
const OTHER_ETAG_ONE_IN: u64 = 16;

impl Worker {
    pub(super) async fn get(&mut self, start: Start) -> End {
        let picked = self.pick();
        self.header_value.clear();
        self.get_object(Operation::Get, start, picked, None).await
    }

    /// A GET with the ETag last seen, if there is one. Whether the object comes or 304 must fit the
    /// versions that may be there. Now and then the ETag is one that never was, for a server that says
    /// 304 to everything.
    pub(super) async fn conditional(&mut self, start: Start) -> End {
        let picked = self.pick();
        let seen = self.pick_condition(picked.slot);
        self.get_object(Operation::Conditional, start, picked, seen).await
    }

    /// Sets the value of If-None-Match; the version that it is of, if it is of any.
    fn pick_condition(&mut self, slot: usize) -> Option<u64> {
        self.header_value.clear();
        if self.shared.random.borrow_mut().below(OTHER_ETAG_ONE_IN) == 0 {
            self.header_value.push_str("\"none\"");
            return None;
        }
        let keyspace = self.shared.keyspace.borrow();
        let (version, etag) = keyspace.etag(slot)?;
        self.header_value.push_str(etag);
        Some(version)
    }

    /// With If-None-Match if there is something in `header_value`. `seen`: the version whose ETag it
    /// is, which the answer is not to repeat.
    async fn get_object(
        &mut self,
        operation: Operation,
        start: Start,
        picked: Picked,
        seen: Option<u64>,
    ) -> End {
        let condition = Some(("if-none-match", self.header_value.as_str()));
        let unsigned = condition.filter(|(_, etag)| !etag.is_empty());
        let head = Head { unsigned, ..Head::plain("GET", &self.target.host, &self.path) };
        self.shared.requests.borrow_mut().write(&head, &mut self.head);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        receiver.key_hash = Some(picked.hash);
        let exchange = self.connection.exchange(&mut self.head, Body::None, false, &mut receiver);
        let result = exchange.await;
        let verifier = receiver.verifier;
        let answer = match (result, seen) {
            (Ok(answer), _) if answer.status == 200 => answer,
            (Ok(answer), Some(version)) if answer.status == 304 => {
                return self.not_modified(start, picked, version, &answer);
            }
            (Ok(answer), _) if self.is_rightly_absent(picked, &answer) => {
                return self.absent(operation, start, &answer);
            }
            (other, _) => return self.fail(operation, start, other),
        };
        let judged = match verifier {
            Some(verifier) => self.judge_body(picked, &verifier, seen),
            None => Err("the answer has no Content-Length".to_owned()),
        };
        self.end_read(operation, start, &answer, judged)
    }

    fn not_modified(&self, start: Start, picked: Picked, version: u64, answer: &Answer) -> End {
        let judged = self.shared.keyspace.borrow().judge(picked.slot, picked.floor, version);
        match judged {
            Ok(()) => {
                self.shared.stats.borrow_mut().not_modified += 1;
                self.complete(Operation::Conditional, start, answer, 0);
            }
            Err(reason) => self.mismatch(Operation::Conditional, reason),
        }
        End::Done
    }

    pub(super) async fn head(&mut self, start: Start) -> End {
        let picked = self.pick();
        let head = Head::plain("HEAD", &self.target.host, &self.path);
        self.shared.requests.borrow_mut().write(&head, &mut self.head);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let exchange = self.connection.exchange(&mut self.head, Body::None, true, &mut receiver);
        let answer = match exchange.await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) if self.is_rightly_absent(picked, &answer) => {
                return self.absent(Operation::Head, start, &answer);
            }
            other => return self.fail(Operation::Head, start, other),
        };
        let judged = match answer.content_length {
            Some(length) if self.shared.options.size.contains(length) => Ok(0),
            Some(length) => Err(format!("Content-Length {length} is none of the sizes written")),
            None => Err("the answer has no Content-Length".to_owned()),
        };
        self.end_read(Operation::Head, start, &answer, judged)
    }

    /// A slice at a random place. An object of no bytes has none, and is read whole.
    pub(super) async fn range(&mut self, start: Start) -> End {
        let picked = self.pick();
        let size = self.size_at_floor(picked);
        self.header_value.clear();
        if size == Some(0) {
            return self.get_object(Operation::Range, start, picked, None).await;
        }
        let (from, end) = self.pick_slice(size);
        write!(self.header_value, "bytes={from}-{}", end - 1)
            .expect("writing to a String cannot fail");
        let unsigned = Some(("range", self.header_value.as_str()));
        let head = Head { unsigned, ..Head::plain("GET", &self.target.host, &self.path) };
        self.shared.requests.borrow_mut().write(&head, &mut self.head);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let (keyspace, sizes) = (&self.shared.keyspace, &self.shared.options.size);
        receiver.slice = Some(SliceContext { keyspace, sizes, picked });
        let exchange = self.connection.exchange(&mut self.head, Body::None, false, &mut receiver);
        let result = exchange.await;
        let verifier = receiver.slice_verifier;
        let answer = match result {
            Ok(answer) if answer.status == 206 => answer,
            Ok(answer) if answer.status == 416 && self.may_end_before(picked, from) => {
                return self.absent(Operation::Range, start, &answer);
            }
            Ok(answer) if self.is_rightly_absent(picked, &answer) => {
                return self.absent(Operation::Range, start, &answer);
            }
            other => return self.fail(Operation::Range, start, other),
        };
        let judged = judge_range(&answer, from, end).and_then(|length| {
            match &verifier {
                Some(verifier) => verifier.finish()?,
                None => self.shared.stats.borrow_mut().unverified += 1,
            }
            Ok(length)
        });
        self.end_read(Operation::Range, start, &answer, judged.map_err(str::to_owned))
    }

    /// What the last acknowledged write of a key has left; `None` if there was none in this run.
    fn size_at_floor(&self, picked: Picked) -> Option<u64> {
        let keyspace = self.shared.keyspace.borrow();
        let version = keyspace.candidates(picked.slot, picked.floor).next();
        let version = version.filter(|_| picked.floor > 0)?;
        Some(self.shared.options.size.of(picked.hash, version))
    }

    fn pick_slice(&self, size: Option<u64>) -> (u64, u64) {
        let mut random = self.shared.random.borrow_mut();
        let length = self.shared.options.range_size.at(random.number()).max(1);
        let Some(size) = size else { return (0, length) };
        let length = length.min(size);
        let from = random.below(size - length + 1);
        (from, from + length)
    }

    /// Whether one of the versions that a read may find is too short for a slice from there on.
    fn may_end_before(&self, picked: Picked, from: u64) -> bool {
        let keyspace = self.shared.keyspace.borrow();
        let mut versions = keyspace.candidates(picked.slot, picked.floor);
        let sizes = &self.shared.options.size;
        picked.floor == 0 || versions.any(|version| sizes.of(picked.hash, version) <= from)
    }

    fn is_rightly_absent(&self, picked: Picked, answer: &Answer) -> bool {
        let keyspace = self.shared.keyspace.borrow();
        answer.status == 404 && keyspace.may_be_absent(picked.slot, picked.floor)
    }

    fn absent(&self, operation: Operation, start: Start, answer: &Answer) -> End {
        self.shared.stats.borrow_mut().absent += 1;
        self.complete(operation, start, answer, 0);
        End::Done
    }

    fn end_read(
        &self,
        operation: Operation,
        start: Start,
        answer: &Answer,
        judged: Result<u64, String>,
    ) -> End {
        match judged {
            Ok(bytes) => {
                self.shared.stats.borrow_mut().verified_bytes += bytes;
                self.complete(operation, start, answer, bytes);
            }
            Err(reason) => self.mismatch(operation, &reason),
        }
        End::Done
    }

    /// The body's bytes are those of some version of this key; that version must be a right one, and
    /// not the one whose ETag was sent.
    fn judge_body(
        &self,
        picked: Picked,
        verifier: &Verifier,
        seen: Option<u64>,
    ) -> Result<u64, String> {
        let Picked { slot, floor, hash } = picked;
        let mut keyspace = self.shared.keyspace.borrow_mut();
        let sizes = &self.shared.options.size;
        match verifier.finish().map_err(|mismatch| mismatch.to_string())? {
            Some(version) => {
                keyspace.judge(slot, floor, version)?;
                if keyspace.is_of_this_run(version) && sizes.of(hash, version) != verifier.size() {
                    return Err("the size is not that of this version".to_owned());
                }
                if seen == Some(version) {
                    return Err("sent again, though its ETag was that of If-None-Match".to_owned());
                }
                keyspace.see_etag(slot, version, &self.connection.etag);
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
}

/// The slice that came must be the one that was asked for, cut where the object ends. Its length.
fn judge_range(answer: &Answer, from: u64, end: u64) -> Result<u64, &'static str> {
    let ContentRange { from: found, end: found_end, size } =
        answer.content_range.ok_or("206 without Content-Range")?;
    if found != from || found_end != end.min(size) {
        return Err("Content-Range is not what was asked for");
    }
    if answer.content_length.is_some_and(|length| length != found_end - found) {
        return Err("Content-Length is not that of Content-Range");
    }
    Ok(found_end - found)
}
