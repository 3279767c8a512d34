//! From a request and its answer to a line.
//!
//! Invariant: an answer whose body is still to be sent is logged when that is over, well or not, with
//! the bytes that were really given out.

use super::document::Logging;
use super::line::{Draft, Entry, Sent};
use super::{AccessLog, Key, operation};
use crate::access::Caller;
use crate::access::authorise::BucketOwner;
use crate::error::Code;
use crate::ops::{Answer, Ids};
use crate::route::{Operation, Route};
use crate::services::Services;
use crate::workers::lifecycle::Day;
use engine::platform::Platform;
use engine::{Engine, Version};
use http::{Method, Payload, RequestHead};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

/// What was asked, and by whom.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub head: &'a RequestHead,
    pub route: &'a Route,
    /// Who it was, if that was found out.
    pub caller: Option<&'a Caller>,
    pub source: Option<IpAddr>,
    pub ids: &'a Ids<'a>,
    /// The id of root, who owns what no user owns.
    pub root: &'a str,
}

/// A request that was answered.
pub struct Answered<'a> {
    pub asked: Asked<'a>,
    pub error: Option<Code>,
    /// Of the body, as it was sent.
    pub received: u64,
    pub started: Instant,
}

/// One of the objects that DeleteObjects names, and what came of it.
#[derive(Debug, Clone, Copy)]
pub struct Deleted<'a> {
    pub key: &'a str,
    pub version_id: Option<&'a str>,
    pub error: Option<Code>,
    /// Of what was removed.
    pub size: Option<u64>,
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("route", self.route).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answered").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// Logs a request, if its bucket wants that.
pub fn record<P: Platform>(
    engine: &Engine<P>,
    services: &Services,
    answered: &Answered<'_>,
    answer: &mut Answer<P>,
) {
    let Answered { asked, started, .. } = answered;
    let Some(log) = Log::of_bucket(engine, services, asked) else { return };
    let elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(0);
    let came_ns = engine.platform().wall_clock_ns().saturating_sub(elapsed_ns);
    let time = crate::dates::seconds(Version(came_ns));
    let mut pending = Pending {
        key: log.key(time),
        draft: draft(answered, answer, &log.owner, time),
        log: services.access_log.clone(),
        logging: log.logging,
        bytes: 0,
        started: *started,
        now_ns: engine.platform().monotonic_ns(),
    };
    let is_head = asked.head.method() == Method::Head;
    match &mut answer.payload {
        Payload::Stream { source, .. } if !is_head => source.log_when_sent(pending),
        payload => pending.bytes = if is_head { 0 } else { payload.length() },
    }
}

/// Logs what came of the objects that a DeleteObjects names, beside the line of the request itself.
pub fn record_deleted<'a, P: Platform>(
    engine: &Engine<P>,
    services: &Services,
    asked: &Asked<'_>,
    objects: impl Iterator<Item = Deleted<'a>>,
) {
    let Some(log) = Log::of_bucket(engine, services, asked) else { return };
    let time = crate::dates::seconds(Version(engine.platform().wall_clock_ns()));
    let now_ns = engine.platform().monotonic_ns();
    let remote_ip = remote_ip(asked);
    for object in objects {
        let entry = Entry {
            operation: "BATCH.DELETE.OBJECT",
            key: object.key,
            status: object.error.map_or(204, Code::status),
            error_code: object.error.map(Code::name).unwrap_or_default(),
            object_size: object.size,
            version_id: object.version_id.unwrap_or_default(),
            ..entry(asked, &log.owner, time, &remote_ip)
        };
        let line = entry.draft().finish(Sent::default());
        services.access_log.add(log.key(time), Rc::clone(&log.logging), line, now_ns);
    }
}

/// The log of a bucket that wants one.
struct Log {
    bucket: String,
    /// The id of the bucket's owner.
    owner: String,
    logging: Rc<Logging>,
}

impl Log {
    fn of_bucket<P: Platform>(
        engine: &Engine<P>,
        services: &Services,
        asked: &Asked<'_>,
    ) -> Option<Self> {
        let catalog = engine.catalog();
        let bucket = catalog.bucket(&asked.route.bucket)?;
        // A setting that cannot be read was logged; there is nobody to tell here.
        let logging = services.settings.get::<Logging>(bucket).ok()??;
        let owner = services.settings.get::<BucketOwner>(bucket).ok()?;
        let owner = owner.as_ref().map_or(asked.root, |owner| &owner.id).to_owned();
        Some(Self { bucket: bucket.name.clone(), owner, logging })
    }

    /// Where a line of that time goes.
    fn key(&self, time: i64) -> Key {
        let by_day = self.logging.is_by_event_day();
        let day = if by_day { Day::REAL.midnight_before(time) } else { 0 };
        Key { bucket: self.bucket.clone(), day }
    }
}

fn remote_ip(asked: &Asked<'_>) -> String {
    asked.source.map(|address| address.to_string()).unwrap_or_default()
}

/// What all lines of a request have in common.
fn entry<'a>(asked: &Asked<'a>, owner: &'a str, time: i64, remote_ip: &'a str) -> Entry<'a> {
    let Asked { head, route, caller, ids, .. } = *asked;
    let (signature_version, authentication) = match caller {
        Some(caller) if caller.is_presigned => ("SigV4", "QueryString"),
        Some(_) if head.header("authorization").is_some() => ("SigV4", "AuthHeader"),
        _ => ("", ""),
    };
    Entry {
        bucket_owner: owner,
        bucket: &route.bucket,
        time,
        remote_ip,
        requester: caller
            .and_then(|caller| caller.subject.person())
            .map_or("", |person| person.id.as_str()),
        request_id: &ids.request,
        host_id: ids.host,
        signature_version,
        authentication,
        host: head.host().unwrap_or_default(),
        ..Entry::default()
    }
}

fn draft<P: Platform>(
    answered: &Answered<'_>,
    answer: &Answer<P>,
    owner: &str,
    time: i64,
) -> Draft {
    let Asked { head, route, .. } = answered.asked;
    let header = |name| head.header(name).unwrap_or_default();
    let told = |name| {
        let value = answer.get_header(name).and_then(|value| std::str::from_utf8(value).ok());
        value.unwrap_or_default()
    };
    let remote_ip = remote_ip(&answered.asked);
    let turn_around = answered.started.elapsed().as_millis();
    let entry = Entry {
        operation: operation::name(route.operation),
        key: &route.key,
        method: head.method_name(),
        target: head.target(),
        status: answer.status(),
        error_code: answered.error.map(Code::name).unwrap_or_default(),
        object_size: object_size(answered, answer),
        turn_around_ms: u64::try_from(turn_around).ok(),
        referer: header("referer"),
        user_agent: header("user-agent"),
        version_id: told("x-amz-version-id"),
        ..entry(&answered.asked, owner, time, &remote_ip)
    };
    entry.draft()
}

/// The size of the whole object that was read or written, where the answer or the request tells it.
fn object_size<P: Platform>(answered: &Answered<'_>, answer: &Answer<P>) -> Option<u64> {
    match answered.asked.route.operation {
        _ if answered.error.is_some() => None,
        Operation::GetObject | Operation::HeadObject => {
            let Some(range) = answer.get_header("content-range") else {
                return Some(answer.payload.length());
            };
            std::str::from_utf8(range).ok()?.rsplit('/').next()?.parse().ok()
        }
        Operation::PutObject | Operation::UploadPart => {
            let decoded = answered.asked.head.header_str("x-amz-decoded-content-length");
            decoded.and_then(|text| text.parse().ok()).or(Some(answered.received))
        }
        _ => None,
    }
}

/// A line that is added to the log when its answer has been sent: when this is dropped.
#[derive(Debug)]
pub struct Pending {
    log: AccessLog,
    logging: Rc<Logging>,
    key: Key,
    draft: Draft,
    bytes: u64,
    started: Instant,
    now_ns: u64,
}

impl Pending {
    /// So many more bytes of the body were given out.
    pub fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let total_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = self.draft.finish(Sent { bytes: self.bytes, total_ms: Some(total_ms) });
        self.log.add(self.key.clone(), Rc::clone(&self.logging), line, self.now_ns);
    }
}
