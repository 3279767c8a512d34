//! From a request and its answer to a line of the audit log.
//!
//! Invariant: an answer whose body is still to be sent gets its line when that is over, well or not, with the
//! bytes that were really given out.

use std::time::Instant;

use engine::platform::Platform;
use http::{Method, Payload, Peer, RequestHead};

use super::Audit;
use super::entry::{self, Draft, Entry, Who};
use crate::access::{Caller, Subject};
use crate::admin::api_keys::ApiCaller;
use crate::admin::console::Person;
use crate::auth::sigv4;
use crate::error::Code;
use crate::ops::Answer;
use crate::route::Route;
use crate::workers::access_log::record::Deleted;

const MANAGEMENT: &str = "management";

/// What a client sent may be cut: an audit line is not to grow with it.
const TEXT_BYTES_MAX: usize = 1024;

/// A request of S3's.
#[derive(Debug, Clone, Copy)]
pub struct S3Request<'a> {
    pub head: &'a RequestHead,
    /// None if there is no such operation.
    pub route: Option<&'a Route>,
    /// Who it was, if that was found out.
    pub caller: Option<&'a Caller>,
    /// It came by the management port, which knows who it was.
    pub is_vouched: bool,
    pub peer: Peer,
    pub request_id: &'a str,
}

/// Adds a line for a request that was answered.
pub fn record<P: Platform>(
    audit: &Audit,
    request: &S3Request<'_>,
    (error, received, started): (Option<Code>, u64, Instant),
    answer: &mut Answer<P>,
) {
    if !audit.wants(request.head.method(), answer.status()) {
        return;
    }
    let version_id = answer.get_header("x-amz-version-id").and_then(text);
    let claimed = claimed(request);
    let entry = Entry {
        version_id: version_id.or_else(|| request.route?.query.get("versionId").map(cut)),
        status: answer.status(),
        error: error.map(Code::name),
        bytes_in: received,
        ..of_request(request, claimed.as_deref())
    };
    let mut pending = Pending {
        audit: audit.clone(),
        draft: entry.draft(),
        bytes: 0,
        expected: if request.head.method() == Method::Head { 0 } else { answer.payload.length() },
        started,
    };
    match &mut answer.payload {
        Payload::Stream { source, .. } if request.head.method() != Method::Head => {
            source.audit_when_sent(pending);
        }
        _ => pending.bytes = pending.expected,
    }
}

/// Adds a line for each of the objects that a DeleteObjects names, beside that of the request itself.
pub fn record_deleted<'a>(
    audit: &Audit,
    request: &S3Request<'_>,
    objects: impl Iterator<Item = Deleted<'a>>,
) {
    for object in objects {
        let entry = Entry {
            operation: "DeleteObjects.Object",
            key: Some(cut(object.key)),
            version_id: object.version_id.filter(|id| !id.is_empty()).map(cut),
            status: object.error.map_or(204, Code::status),
            error: object.error.map(Code::name),
            ..of_request(request, None)
        };
        audit.add(entry.draft().finish(0, 0.0, true));
    }
}

/// Who asks something of the management port itself.
#[derive(Debug, Clone, Copy)]
pub enum Manager<'a> {
    /// By the key that the request shows, or in a session.
    Known(&'a ApiCaller),
    Person(&'a Person),
    /// With the access key that somebody tried to sign in with, if it was one.
    Unknown(Option<&'a str>),
}

/// A request of the management port that is none of S3's.
#[derive(Debug, Clone, Copy)]
pub struct ManagementRequest<'a> {
    pub head: &'a RequestHead,
    pub operation: &'a str,
    pub manager: Manager<'a>,
    pub peer: Peer,
    pub bytes_in: u64,
    pub started: Instant,
}

/// Adds a line for a request of the management port.
pub fn record_managed(
    audit: &Audit,
    request: &ManagementRequest<'_>,
    (status, bytes_out): (u16, u64),
) {
    let ManagementRequest { head, peer, .. } = *request;
    if !audit.wants(head.method(), status) {
        return;
    }
    let who = match request.manager {
        Manager::Known(caller) => manager(caller),
        Manager::Person(person) => Who {
            kind: if person.is_root { "root" } else { "user" },
            name: Some(&person.name),
            access_key: Some(&person.access_key),
            id: Some(&person.id),
            claimed_access_key: None,
        },
        Manager::Unknown(key) => {
            Who { kind: "unknown", claimed_access_key: key.map(cut), ..Who::default() }
        }
    };
    let entry = Entry {
        time: entry::now(),
        port: MANAGEMENT,
        trace_id: trace_id(head),
        operation: request.operation,
        method: head.method_name(),
        path: head.target().split('?').next().map(cut),
        who,
        source: peer.address,
        proxy: peer.proxy,
        is_secure: peer.is_secure,
        user_agent: head.header("user-agent").and_then(text),
        status,
        bytes_in: request.bytes_in,
        ..Entry::default()
    };
    audit.add(entry.draft().finish(bytes_out, request.started.elapsed().as_secs_f64(), true));
}

fn manager(caller: &ApiCaller) -> Who<'_> {
    Who { kind: "manager", name: Some(&caller.name), id: caller.id.as_deref(), ..Who::default() }
}

fn of_request<'a>(request: &S3Request<'a>, claimed: Option<&'a str>) -> Entry<'a> {
    let S3Request { head, route, caller, is_vouched, peer, request_id } = *request;
    let name = |name: &'a str| Some(name).filter(|name| !name.is_empty());
    let shown_by = match caller {
        _ if is_vouched => None,
        Some(caller) if caller.is_presigned => Some("query"),
        Some(caller) if caller.is_form => Some("form"),
        Some(caller) if caller.subject.person().is_some() => Some("header"),
        _ => None,
    };
    Entry {
        time: entry::now(),
        port: if is_vouched { MANAGEMENT } else { "s3" },
        request_id,
        trace_id: trace_id(head),
        operation: route.map_or("Unknown", |route| route.operation.name()),
        method: head.method_name(),
        bucket: route.and_then(|route| name(&route.bucket)).map(cut),
        key: route.and_then(|route| name(&route.key)).map(cut),
        copy_source: head.header("x-amz-copy-source").and_then(text),
        who: who(caller, claimed),
        manager: caller.and_then(|caller| caller.manager.as_deref()).map(manager),
        shown_by,
        source: peer.address,
        proxy: peer.proxy,
        is_secure: peer.is_secure,
        user_agent: head.header("user-agent").and_then(text),
        ..Entry::default()
    }
}

fn who<'a>(caller: Option<&'a Caller>, claimed: Option<&'a str>) -> Who<'a> {
    let Some(caller) = caller else {
        return Who { kind: "unknown", claimed_access_key: claimed, ..Who::default() };
    };
    let kind = match caller.subject {
        Subject::Root(_) => "root",
        Subject::User(_) => "user",
        Subject::Anonymous => "anonymous",
    };
    let person = caller.subject.person();
    Who {
        kind,
        name: person.map(|person| person.display_name.as_str()),
        access_key: person.map(|person| person.access_key.as_str()),
        id: person.map(|person| person.id.as_str()),
        claimed_access_key: None,
    }
}

/// The access key that a request names, if it was not found to be who it says.
fn claimed(request: &S3Request<'_>) -> Option<String> {
    if request.caller.is_some() {
        return None;
    }
    let key = sigv4::claimed_access_key(request.head)?;
    Some(cut(&key).to_owned())
}

/// The second field of `traceparent`: 32 hex digits in lower case, not all zero.
fn trace_id(head: &RequestHead) -> Option<&str> {
    let id = head.header_str("traceparent")?.split('-').nth(1)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (id.len() == 32 && id.bytes().all(is_digit) && id.bytes().any(|byte| byte != b'0'))
        .then_some(id)
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(cut)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

/// A line that is added when its answer has been sent: when this is dropped.
#[derive(Debug)]
pub struct Pending {
    audit: Audit,
    draft: Draft,
    bytes: u64,
    expected: u64,
    started: Instant,
}

impl Pending {
    /// So many more bytes of the body were given out.
    pub fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let is_whole = self.bytes >= self.expected;
        self.audit.add(self.draft.finish(self.bytes, seconds, is_whole));
    }
}
