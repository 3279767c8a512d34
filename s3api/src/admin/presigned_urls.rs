//! `/api/v1/presigned-urls`: URLs that carry their own permission for a while.
//!
//! `POST presigned-urls {"bucket_name", "object_key", "method", "expires_in", "access_key", "host",
//! "query"}` signs one as the credential of that access key would: `method` is GET unless it is PUT, POST,
//! DELETE or HEAD, `expires_in` 3600 seconds unless said otherwise (a week at most), `host` where the
//! S3 port is found (by default the configured address, or the name by which the management port was
//! reached, with the S3 port), `query` further parameters, such as `uploads` or `versionId`. What the
//! URL may do is decided when it is used. `GET presigned-urls?marker=&limit=` lists those that were made
//! here and have not expired.
//!
//! Invariants: the list holds no signature; it is bounded. It is kept in memory: after a restart it is
//! empty, though the URLs go on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use engine::platform::Platform;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiAnswer, ApiRequest};
use super::management::Management;
use crate::auth::presigned::{self, Permission};
use crate::dates::iso_time;
use crate::limits::{LIST_ROWS_MAX, PRESIGNED_SECONDS_MAX, PRESIGNED_URLS_KEPT_MAX};
use crate::names;
use crate::percent::encode_all;

const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
const USUAL_SECONDS: i64 = 3600;
const HOST_BYTES_MAX: usize = 260;

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

/// What was made, by the second in which it ends and a number that counts up.
#[derive(Debug, Default)]
pub struct PresignedUrls {
    kept: RefCell<BTreeMap<(i64, u64), Record>>,
    last: Cell<u64>,
}

#[derive(Debug)]
struct Record {
    bucket: String,
    key: String,
    method: &'static str,
    access_key: String,
    created: i64,
}

impl PresignedUrls {
    /// How many have not expired.
    pub(super) fn count(&self, now: i64) -> usize {
        self.forget_expired(now);
        self.kept.borrow().len()
    }

    /// A URL is good until the last second of its life.
    fn forget_expired(&self, now: i64) {
        let mut kept = self.kept.borrow_mut();
        *kept = kept.split_off(&(now, 0));
    }

    fn add(&self, ends: i64, record: Record) {
        self.forget_expired(record.created);
        let number = self.last.get() + 1;
        self.last.set(number);
        let mut kept = self.kept.borrow_mut();
        kept.insert((ends, number), record);
        if kept.len() > PRESIGNED_URLS_KEPT_MAX {
            kept.pop_first();
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    bucket_name: String,
    object_key: String,
    method: Option<String>,
    expires_in: Option<i64>,
    access_key: String,
    host: Option<String>,
    #[serde(default)]
    query: BTreeMap<String, String>,
}

pub(super) fn list<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let limit = request.limit(LIST_ROWS_MAX, LIST_ROWS_MAX)?;
    let after = request.query("marker").map(parse_marker).transpose()?;
    let urls = &store.services.presigned_urls;
    urls.forget_expired(store.now());
    let kept = urls.kept.borrow();
    let mut rest = kept.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let is_truncated = rest.next().is_some();
    let last = page.last().filter(|_| is_truncated);
    let rows: Vec<Value> = page.iter().map(|((ends, _), record)| describe(*ends, record)).collect();
    let answer = json!({
        "urls": rows,
        "is_truncated": is_truncated,
        "next_marker": last.map(|((ends, number), _)| format!("{ends}.{number}")),
    });
    Ok(ApiAnswer::json(200, answer))
}

fn parse_marker(text: &str) -> Result<(i64, u64)> {
    let parts = text
        .split_once('.')
        .and_then(|(ends, number)| Some((ends.parse().ok()?, number.parse().ok()?)));
    parts.ok_or_else(|| refused("marker", "it is none that this list gave"))
}

fn describe(ends: i64, record: &Record) -> Value {
    json!({
        "bucket_name": record.bucket,
        "object_key": record.key,
        "method": record.method,
        "access_key": record.access_key,
        "expires_at": iso_time(ends),
        "created_at": iso_time(record.created),
    })
}

pub(super) fn create<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let order: Order = request.document()?;
    let method = order.method.as_deref().unwrap_or("GET");
    let method = METHODS
        .into_iter()
        .find(|known| *known == method)
        .ok_or_else(|| refused("method", "it must be GET, PUT, POST, DELETE or HEAD"))?;
    let seconds = order.expires_in.unwrap_or(USUAL_SECONDS);
    if !(1..=PRESIGNED_SECONDS_MAX).contains(&seconds) {
        return Err(refused("expires_in", "it must be 1 to 604800 seconds"));
    }
    names::check_key(&order.object_key).map_err(|error| refused("object_key", &error.message))?;
    if order.query.keys().any(|name| name.is_empty() || is_reserved(name)) {
        return Err(refused("query", "a parameter of the signature's own, or without a name"));
    }
    let host = match &order.host {
        Some(host) => check_host(host).map(|()| host.clone())?,
        None => usual_host(store, request),
    };
    let bucket = store.bucket(&order.bucket_name)?;
    let now = store.now();
    let path = presigned::path(&bucket.name, &order.object_key);
    let pairs = order.query.iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", encode_all(name), encode_all(value)));
    let query = pairs.collect::<Vec<_>>().join("&");
    let permission = Permission { method, host: &host, path: &path, query: &query, seconds };
    let credentials = store.authenticator.credentials();
    credentials.refresh(&order.access_key, &store.users())?;
    let url = presigned::presign(&permission, credentials, &order.access_key, now);
    let url = url
        .ok_or_else(|| refused("access_key", "there is no active credential of this access key"))?;
    let ends = now + seconds;
    store.services.presigned_urls.add(
        ends,
        Record {
            bucket: bucket.name.clone(),
            key: order.object_key,
            method,
            access_key: order.access_key,
            created: now,
        },
    );
    let answer = json!({
        "url": url,
        "absolute_url": format!("{}://{host}{url}", scheme(store)),
        "method": method,
        "host": host,
        "expires_at": iso_time(ends),
    });
    Ok(ApiAnswer::json(201, answer))
}

fn refused(field: &str, reason: &str) -> ApiAnswer {
    ApiAnswer::problem(400, format!("{field}: {reason}"))
}

fn is_reserved(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

fn check_host(host: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(allowed) {
        return Ok(());
    }
    Err(refused(
        "host",
        "it must be a host name or address, with its port unless that is the scheme's own",
    ))
}

fn scheme<P: Platform>(store: &Management<'_, P>) -> &'static str {
    if store.server.config.tls.is_some() { "https" } else { "http" }
}

/// Where the S3 port is, as far as this server can know, as clients write it in `Host`.
fn usual_host<P: Platform>(store: &Management<'_, P>, request: &ApiRequest) -> String {
    let listen = store.server.listen;
    let name = match &request.host {
        Some(name) if listen.ip().is_unspecified() => name.clone(),
        _ if listen.is_ipv6() => format!("[{}]", listen.ip()),
        _ => listen.ip().to_string(),
    };
    presigned::host_of(&name, listen.port(), scheme(store) == "https")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_ends() {
        let urls = PresignedUrls::default();
        let record = |created| Record {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            method: "GET",
            access_key: "a".to_owned(),
            created,
        };
        for ends in 10..=(PRESIGNED_URLS_KEPT_MAX as i64 + 20) {
            urls.add(ends, record(1));
        }
        assert_eq!(urls.count(1), PRESIGNED_URLS_KEPT_MAX);
        assert!(urls.kept.borrow().keys().next().unwrap().0 > 10);
        let last = PRESIGNED_URLS_KEPT_MAX as i64 + 20;
        assert_eq!((urls.count(last), urls.count(last + 1)), (1, 0));
    }
}
