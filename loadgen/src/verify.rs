//! Reads back every key of a ledger and judges what it finds; then compares the listing with it.
//!
//! **Invariant:** nothing is taken on trust: a key counts as intact only after every byte of an
//! acceptable version was received.

use crate::body::Body;
use crate::client::Connection;
use crate::content::{Pattern, Verifier};
use crate::error::Result;
use crate::keyspace::content_hash;
use crate::ledger::{Event, KeyRecord, Ledger};
use crate::limits;
use crate::options::{Signing, Target, VerifyOptions};
use crate::request::{Head, RequestWriter};
use crate::runtime::{Watch, sleep, spawn};
use crate::setup::{TICK, on_executor, ticks_in, wait_until_ready};
use crate::stats::Tally;
use crate::stream::ReceiveBuffer;
use crate::verify_listing::{Lister, common_prefix, walk};
use crate::worker::Receiver;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// How many keys there are of each kind, and the first bad ones in full.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Verification {
    pub keys: u64,
    /// As last acknowledged, or rightly absent.
    pub intact: u64,
    /// An unacknowledged write had been carried out: as right as its absence.
    pub maybe_applied: u64,
    /// An acknowledged object is not there.
    pub lost: u64,
    /// An older version than the acknowledged one, or one that was never written.
    pub wrong_version: u64,
    /// Bytes that were never written so, or an ETag other than the acknowledged one.
    pub corrupt: u64,
    /// No usable answer.
    pub unreadable: u64,
    /// Readable, but not in the bucket's listing.
    pub not_listed: u64,
    /// In the listing, but not readable.
    pub wrongly_listed: u64,
    pub samples: Vec<String>,
}

impl Verification {
    pub fn bad(&self) -> u64 {
        let listing = self.not_listed + self.wrongly_listed;
        self.lost + self.wrong_version + self.corrupt + self.unreadable + listing
    }
}

enum Verdict {
    Intact,
    MaybeApplied,
    Lost,
    WrongVersion(String),
    Corrupt(String),
    Unreadable(String),
    NotListed,
    WronglyListed,
}

/// Reads the ledger's keys; what is wrong is in the result, an `Err` says that nothing was verified.
pub fn verify_ledger(options: &VerifyOptions) -> Result<Verification> {
    options.check()?;
    let target = options.endpoint.targets()?.swap_remove(0);
    let ledger = Ledger::read(&options.ledger)?;
    wait_until_ready(&options.endpoint, &target, &ledger.bucket)?;
    on_executor(verify_all(options, target, ledger))
}

/// What the readers share.
struct Shared {
    ledger: Ledger,
    pattern: Pattern,
    host: String,
    next: Cell<usize>,
    writer: RefCell<RequestWriter>,
    result: RefCell<Verification>,
    samples: RefCell<Tally>,
    /// By place of the key in the ledger: whether GET found an object; `None` while that is unknown.
    found: RefCell<Vec<Option<bool>>>,
}

async fn verify_all(
    options: &VerifyOptions,
    target: Target,
    ledger: Ledger,
) -> Result<Verification> {
    let keys = ledger.keys.len() as u64;
    let shared = Rc::new(Shared {
        ledger,
        pattern: Pattern::new(),
        host: target.host.clone(),
        next: Cell::new(0),
        writer: RefCell::new(RequestWriter::new(&options.endpoint, Signing::Header)),
        result: RefCell::new(Verification { keys, ..Verification::default() }),
        samples: RefCell::default(),
        found: RefCell::new(vec![None; keys as usize]),
    });
    let (target, timeout) = (Rc::new(target), options.endpoint.timeout);
    let watches: Vec<Rc<Watch>> = (0..options.concurrency).map(|_| Rc::default()).collect();
    let buffer = ReceiveBuffer::for_bodies(limits::RECEIVE_BYTES_MAX as u64);
    let connect =
        |watch: &Rc<Watch>| Connection::new(Rc::clone(&target), Rc::clone(watch), &buffer);
    let mut listing_connection = watches.first().map(connect);
    let readers: Vec<_> =
        watches.iter().map(|watch| spawn(read_keys(Rc::clone(&shared), connect(watch)))).collect();
    let ticker = spawn(async move {
        loop {
            sleep(TICK).await;
            watches.iter().for_each(|watch| watch.tick(ticks_in(timeout)));
        }
    });
    for reader in readers {
        reader.await;
    }
    if let (Some(connection), false) = (&mut listing_connection, options.no_list) {
        let writer = RequestWriter::new(&options.endpoint, Signing::Header);
        compare_listing(&shared, connection, writer).await;
    }
    ticker.cancel();
    let mut result = shared.result.take();
    result.samples = shared.samples.take().samples;
    Ok(result)
}

async fn read_keys(shared: Rc<Shared>, mut connection: Connection) {
    let (mut head, mut collected) = (Vec::new(), Vec::new());
    loop {
        let place = shared.next.replace(shared.next.get() + 1);
        let Some((key, record)) = shared.ledger.keys.get(place) else { return };
        let path = format!("/{}/{key}", shared.ledger.bucket);
        let request = Head::plain("GET", &shared.host, &path);
        shared.writer.borrow_mut().write(&request, &mut head);
        let mut receiver = Receiver::collecting(&shared.pattern, &mut collected);
        receiver.key_hash = Some(content_hash(&path));
        let result = connection.exchange(&mut head, Body::None, false, &mut receiver).await;
        if let Ok(answer) = &result {
            let found = matches!(answer.status, 200 | 404).then_some(answer.status == 200);
            shared.found.borrow_mut()[place] = found;
        }
        let verdict = match (result, &receiver.verifier) {
            (Ok(answer), Some(verifier)) if answer.status == 200 => {
                judge(record, verifier, &connection.etag)
            }
            (Ok(answer), _) if answer.status == 404 => judge_absent(record),
            (Ok(answer), _) => Verdict::Unreadable(format!("status {}", answer.status)),
            (Err(failure), _) => Verdict::Unreadable(failure.to_string()),
        };
        note(&shared, key, verdict);
    }
}

/// Nothing writes meanwhile, so the listing must agree with what the GETs have found.
async fn compare_listing(shared: &Shared, connection: &mut Connection, mut writer: RequestWriter) {
    let keys = &shared.ledger.keys;
    let (Some((first, _)), Some((last, _))) = (keys.first(), keys.last()) else { return };
    let prefix = common_prefix(first, last);
    let mut listed = vec![false; keys.len()];
    let mark = |key: &str| {
        if let Ok(place) = keys.binary_search_by(|(name, _)| name.as_str().cmp(key)) {
            listed[place] = true;
        }
    };
    let bucket = &shared.ledger.bucket;
    let mut lister = Lister { connection, writer: &mut writer, host: &shared.host };
    let walked = walk(&mut lister, &shared.pattern, bucket, prefix, mark).await;
    if let Err(reason) = walked {
        return note(shared, "the listing", Verdict::Unreadable(reason));
    }
    for (((key, _), listed), found) in keys.iter().zip(listed).zip(&*shared.found.borrow()) {
        match (found, listed) {
            (Some(true), false) => note(shared, key, Verdict::NotListed),
            (Some(false), true) => note(shared, key, Verdict::WronglyListed),
            _ => {}
        }
    }
}

fn note(shared: &Shared, key: &str, verdict: Verdict) {
    let result = &mut *shared.result.borrow_mut();
    let (count, kind, reason) = match verdict {
        Verdict::Intact => return result.intact += 1,
        Verdict::MaybeApplied => return result.maybe_applied += 1,
        Verdict::Lost => (&mut result.lost, "lost", "acknowledged, and not there".to_owned()),
        Verdict::WrongVersion(reason) => (&mut result.wrong_version, "wrong version", reason),
        Verdict::Corrupt(reason) => (&mut result.corrupt, "corrupt", reason),
        Verdict::Unreadable(reason) => (&mut result.unreadable, "unreadable", reason),
        Verdict::NotListed => {
            (&mut result.not_listed, "listing", "read, but not listed".to_owned())
        }
        Verdict::WronglyListed => {
            (&mut result.wrongly_listed, "listing", "listed, but not there".to_owned())
        }
    };
    *count += 1;
    shared.samples.borrow_mut().add(kind, || format!("{key}: {kind}: {reason}"));
}

fn judge_absent(record: &KeyRecord) -> Verdict {
    let settled_absent = record.settled.as_ref().is_none_or(|event| event.size.is_none());
    match (settled_absent, record.may_be_absent()) {
        (true, _) => Verdict::Intact,
        (false, true) => Verdict::MaybeApplied,
        (false, false) => Verdict::Lost,
    }
}

fn judge(record: &KeyRecord, verifier: &Verifier, etag: &[u8]) -> Verdict {
    let version = match verifier.finish() {
        Ok(version) => version,
        Err(mismatch) => return Verdict::Corrupt(mismatch.to_string()),
    };
    let is_found = |event: &&Event| {
        event.size == Some(verifier.size())
            && version.map_or_else(|| verifier.is_version(event.version), |v| v == event.version)
    };
    let Some(event) = record.acceptable().find(is_found) else {
        return judge_unlisted(record, version, verifier.size());
    };
    if event.etag.as_ref().is_some_and(|expected| expected.as_bytes() != etag) {
        let found = String::from_utf8_lossy(etag);
        return Verdict::Corrupt(format!("ETag {found}, acknowledged was {:?}", event.etag));
    }
    if record.settled.as_ref() == Some(event) { Verdict::Intact } else { Verdict::MaybeApplied }
}

/// Whole content, but of none of the acceptable writes. It may be older than the ledger, if nothing
/// in the ledger was acknowledged since.
fn judge_unlisted(record: &KeyRecord, version: Option<u64>, size: u64) -> Verdict {
    if record.settled.is_none() && version.is_none_or(|version| version < record.first_version) {
        return Verdict::Intact;
    }
    let expected: Vec<String> = record
        .acceptable()
        .map(|event| format!("version {} size {:?}", event.version, event.size))
        .collect();
    let expected = expected.join(" or ");
    Verdict::WrongVersion(format!("found version {version:?} size {size}, acceptable: {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;

    fn event(version: u64, size: Option<u64>) -> Event {
        Event { version, size, etag: None }
    }

    fn found(version: u64, size: u64, record: &KeyRecord) -> &'static str {
        let pattern = Pattern::new();
        let content = Content::new(1, version, size);
        let mut verifier = Verifier::new(1, size);
        verifier.feed(&pattern, content.header());
        verifier.feed(&pattern, content.window(&pattern, content.header().len() as u64));
        name(&judge(record, &verifier, b""))
    }

    fn name(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Intact => "intact",
            Verdict::MaybeApplied => "maybe",
            Verdict::Lost => "lost",
            Verdict::WrongVersion(_) => "wrong version",
            Verdict::Corrupt(_) => "corrupt",
            Verdict::Unreadable(_) => "unreadable",
            Verdict::NotListed | Verdict::WronglyListed => "listing",
        }
    }

    #[test]
    fn old_and_new_are_right_around_a_lost_answer_and_nothing_else_is() {
        let record = KeyRecord {
            settled: Some(event(5, Some(100))),
            maybes: vec![event(6, Some(200))],
            first_version: 5,
        };
        assert_eq!(found(5, 100, &record), "intact");
        assert_eq!(found(6, 200, &record), "maybe");
        for (version, size) in [(4, 100), (5, 200), (6, 100), (7, 200)] {
            assert_eq!(found(version, size, &record), "wrong version", "{version} {size}");
        }
        assert_eq!(name(&judge_absent(&record)), "lost");
    }

    #[test]
    fn short_bodies_are_judged_by_candidates() {
        let record =
            KeyRecord { settled: Some(event(5, Some(4))), maybes: Vec::new(), first_version: 5 };
        assert_eq!(found(5, 4, &record), "intact");
        assert_eq!(found(6, 4, &record), "wrong version");
    }

    #[test]
    fn what_an_open_delete_leaves_is_right_either_way() {
        let record = KeyRecord {
            settled: Some(event(5, Some(100))),
            maybes: vec![event(6, None)],
            first_version: 5,
        };
        assert_eq!(name(&judge_absent(&record)), "maybe");
        assert_eq!(found(5, 100, &record), "intact");
    }
}
