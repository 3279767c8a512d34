//! `POST /console/links`: a presigned URL, in the name of who has signed in.
//!
//! Invariants: a link can do nothing that its maker may not do, since it is signed with the maker's key
//! and judged when it is used; it is good for seven days at most; what one has shown by the browser is shown
//! by the S3 port's origin and as a PDF, never as a page.
//!
//! Not here: a list of links. Nothing of them is kept.

use http::RequestHead;
use serde_json::{Value, json};

use crate::admin::api::ApiAnswer;
use crate::auth::presigned::{self, Permission};
use crate::limits::{KEY_BYTES_MAX, PRESIGNED_SECONDS_MAX};
use crate::names::check_bucket_name;
use crate::percent::encode_all;

const METHODS: [&str; 4] = ["GET", "HEAD", "PUT", "DELETE"];
const ENDPOINT_BYTES_MAX: usize = 300;
const SECONDS_DEFAULT: i64 = 3600;
const PDF: &str = "application/pdf";
/// Has an object shown by the browser as a PDF, whatever type it was stored with.
const AS_PDF: &str = "response-content-disposition=inline&response-content-type=application%2Fpdf";

/// What a link is ordered with, found good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// `http` or `https`.
    scheme: &'static str,
    /// Host and port of the S3 port, as whoever gets the link reaches it.
    host: String,
    method: String,
    path: String,
    query: String,
    seconds: i64,
}

impl Order {
    /// Reads a body; `usual` is the endpoint where it names none.
    pub(super) fn read(body: &Value, usual: &str) -> Result<Self, ApiAnswer> {
        let Value::Object(fields) = body else { return Err(wrong("the body", "be an object")) };
        let known = ["bucket", "key", "method", "expires_in", "version_id", "endpoint", "show_as"];
        if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(ApiAnswer::problem(400, format!("{name}: there is no such field")));
        }
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(wrong(name, "be a text")),
        };
        let bucket = text("bucket")?.filter(|name| check_bucket_name(name).is_ok());
        let bucket = bucket.ok_or_else(|| wrong("bucket", "be the name of a bucket"))?;
        let key = text("key")?.filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| wrong("key", "be 1 to 1024 bytes of text"))?;
        let method = text("method")?.unwrap_or("GET");
        if !METHODS.contains(&method) {
            return Err(wrong("method", "be GET, HEAD, PUT or DELETE"));
        }
        let seconds = match fields.get("expires_in") {
            None | Some(Value::Null) => Some(SECONDS_DEFAULT),
            Some(seconds) => seconds.as_i64(),
        };
        let seconds = seconds.filter(|seconds| (1..=PRESIGNED_SECONDS_MAX).contains(seconds));
        let seconds = seconds.ok_or_else(|| wrong("expires_in", "be 1 to 604800 seconds"))?;
        let shown = match (text("show_as")?, method) {
            (None, _) => None,
            (Some(PDF), "GET") => Some(AS_PDF.to_owned()),
            (Some(PDF), _) => return Err(wrong("show_as", "go with GET")),
            (Some(_), _) => return Err(wrong("show_as", "be application/pdf")),
        };
        let version = text("version_id")?.map(|id| format!("versionId={}", encode_all(id)));
        let query: Vec<String> = shown.into_iter().chain(version).collect();
        let (scheme, host) = endpoint(text("endpoint")?.unwrap_or(usual))
            .ok_or_else(|| wrong("endpoint", "be http:// or https:// with a host"))?;
        Ok(Self {
            scheme,
            host,
            method: method.to_owned(),
            path: presigned::path(bucket, key),
            query: query.join("&"),
            seconds,
        })
    }

    pub(super) fn permission(&self) -> Permission<'_> {
        Permission {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: &self.query,
            seconds: self.seconds,
        }
    }

    pub(super) fn answer(&self, target: &str) -> ApiAnswer {
        let url = format!("{}://{}{target}", self.scheme, self.host);
        ApiAnswer::json(200, json!({ "url": url, "expires_in": self.seconds }))
    }
}

/// Where the S3 port is reached by who has reached the console, as far as can be told.
pub(super) fn usual_endpoint(head: &RequestHead, is_secure: bool, s3_port: u16) -> String {
    let scheme = if is_secure { "https" } else { "http" };
    let host = head.host().unwrap_or("localhost");
    // The last colon of a host that is no bare IPv6 address stands before its port.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    format!("{scheme}://{}", presigned::host_of(name, s3_port, is_secure))
}

fn wrong(name: &str, what: &str) -> ApiAnswer {
    ApiAnswer::problem(400, format!("{name}: it must {what}"))
}

fn endpoint(text: &str) -> Option<(&'static str, String)> {
    let (scheme, rest) = match text.split_once("://")? {
        ("http", rest) => ("http", rest),
        ("https", rest) => ("https", rest),
        _ => return None,
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    let is_good = !host.is_empty() && text.len() <= ENDPOINT_BYTES_MAX && host.bytes().all(is_host);
    is_good.then(|| (scheme, host.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_order_is_checked_field_by_field() {
        let usual = "http://localhost:9000";
        let whole = json!({ "bucket": "photos", "key": "a/../ü", "method": "GET",
            "expires_in": 60, "version_id": "1+2", "endpoint": "https://s3.test/" });
        let order = Order::read(&whole, usual).unwrap();
        assert_eq!((order.scheme, order.host.as_str()), ("https", "s3.test"));
        assert_eq!(order.path, "/photos/a%2F..%2F%C3%BC");
        assert_eq!((order.query.as_str(), order.seconds), ("versionId=1%2B2", 60));
        let mut pdf = whole.clone();
        pdf["show_as"] = json!("application/pdf");
        assert_eq!(Order::read(&pdf, usual).unwrap().query, format!("{AS_PDF}&versionId=1%2B2"));
        pdf["method"] = json!("PUT");
        assert!(format!("{:?}", Order::read(&pdf, usual).unwrap_err()).contains("show_as"));
        let short = Order::read(&json!({ "bucket": "photos", "key": "a/b c" }), usual).unwrap();
        assert_eq!(
            (short.host.as_str(), short.path.as_str()),
            ("localhost:9000", "/photos/a/b%20c")
        );
        for (field, value) in [
            ("bucket", json!("UP")),
            ("bucket", json!(null)),
            ("key", json!("")),
            ("key", json!("k".repeat(1025))),
            ("key", json!(7)),
            ("method", json!("TRACE")),
            ("expires_in", json!(0)),
            ("expires_in", json!(604_801)),
            ("expires_in", json!("1")),
            ("endpoint", json!("ftp://h")),
            ("endpoint", json!("http://h/path")),
            ("endpoint", json!("http://")),
            ("show_as", json!("text/html")),
            ("show_as", json!("application/pdf, text/html")),
            ("other", json!(1)),
        ] {
            let mut body = whole.clone();
            body[field] = value.clone();
            let answer = Order::read(&body, usual).unwrap_err();
            let text = format!("{answer:?}");
            assert!(answer.status == 400 && text.contains(field), "{field} {value}: {text}");
        }
    }

    #[test]
    fn the_endpoint_is_guessed_from_the_host() {
        for (host, expected) in [
            ("h:9001", "http://h:9000"),
            ("h", "http://h:9000"),
            ("[::1]:9001", "http://[::1]:9000"),
            ("[::1]", "http://[::1]:9000"),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let head = RequestHead::parse(text.as_bytes()).unwrap();
            assert_eq!(usual_endpoint(&head, false, 9000), expected);
        }
    }
}
