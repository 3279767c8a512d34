//! Requests of S3's within a session: the way to the same operations that the S3 port has, and the
//! dress in which their answers leave.
//!
//! Invariants: no bytes of an object can run as a page, a script or a style of the console's origin;
//! cookie and tokens of the session go no further than here; bodies stream both ways.
//!
//! A browser folds `..` and `.` within a path, however they are encoded, and both are keys. Therefore
//! the console writes bucket and key as one segment, with `%2F` for every slash.

use std::borrow::Cow;

use http::{RequestHead, Response};

use crate::percent;

/// Objects leave as attachments.
const AS_ATTACHMENT: &str = "/console/s3/";
/// Pictures, sounds and plain text may be looked at in place.
const AS_VIEW: &str = "/console/view/";

const CONTENT_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// Headers that are between the browser and the console.
const OWN_HEADERS: [&str; 5] = ["cookie", "authorization", "origin", "referer", super::CSRF_HEADER];

/// Types that hold no script, whoever shows them, beside all of audio and video.
const VIEWABLE: [&str; 8] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/bmp",
    "image/x-icon",
    "text/plain",
];

/// Where a request of the console's is for S3.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Path and query as on the S3 port.
    pub(super) target: String,
    pub(super) is_view: bool,
}

impl Passed {
    /// None for a target that is none of S3's.
    pub(super) fn read(target: &str) -> Option<Self> {
        let (prefix, is_view) = match target {
            _ if target.starts_with(AS_ATTACHMENT) => (AS_ATTACHMENT, false),
            _ if target.starts_with(AS_VIEW) => (AS_VIEW, true),
            _ => return None,
        };
        let rest = target.strip_prefix(prefix)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (first, behind) = rest.split_at(end);
        let slash = first.as_bytes().windows(3).position(|code| code.eq_ignore_ascii_case(b"%2F"));
        let first = match slash.and_then(|at| Some((first.get(..at)?, first.get(at + 3..)?))) {
            Some((bucket, key)) => Cow::Owned(format!("{bucket}/{key}")),
            None => Cow::Borrowed(first),
        };
        Some(Self { target: format!("/{first}{behind}"), is_view })
    }

    /// The request as S3 sees it.
    pub(super) fn head(&self, head: &RequestHead) -> RequestHead {
        head.handed_on(&self.target, |name| {
            !OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
                && !name.to_ascii_lowercase().starts_with("sec-")
        })
    }

    /// Makes an answer safe to hand out on the console's origin.
    pub(super) fn dress<B>(&self, answer: &mut Response<B>, is_get: bool) {
        let kind = answer.get_header("content-type").map(|kind| kind.to_ascii_lowercase());
        let kind = kind.and_then(|kind| String::from_utf8(kind).ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_shown = self.is_view && is_viewable(kind);
        let is_document = kind == "application/xml" && answer.get_header("etag").is_none();
        // The type that was checked goes out, and nothing that came with it: browsers that find a
        // list of types behind a parameter take the last.
        match kind {
            "text/plain" if is_shown => {
                answer.replace_header("Content-Type", "text/plain; charset=utf-8");
            }
            kind if is_shown => answer.replace_header("Content-Type", kind),
            _ if is_get && is_document => answer.replace_header("Content-Type", kind),
            _ if is_get => answer.replace_header("Content-Type", "application/octet-stream"),
            _ => {}
        }
        let disposition = if is_shown { "inline" } else { "attachment" };
        let disposition = format!("{disposition}; filename*=UTF-8''{}", self.file_name());
        answer.replace_header("Content-Disposition", disposition);
        answer.replace_header("Content-Security-Policy", CONTENT_POLICY);
        super::pages::harden(answer);
    }

    /// The end of the key, percent-encoded as RFC 8187 has it.
    fn file_name(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        let path = percent::decode_path(path).unwrap_or_default();
        let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("object");
        percent::encode(name)
    }
}

/// Of a type in lower case, without its parameters.
fn is_viewable(kind: &str) -> bool {
    let subtype = kind.strip_prefix("audio/").or_else(|| kind.strip_prefix("video/"));
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_byte);
    VIEWABLE.contains(&kind) || subtype.is_some_and(is_token)
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http::NoBody;

    #[test]
    fn targets_are_those_of_the_s3_port() {
        for (target, expected) in [
            ("/console/s3/", Some(("/", false))),
            ("/console/s3/?prefix=a", Some(("/?prefix=a", false))),
            ("/console/s3/bucket?acl", Some(("/bucket?acl", false))),
            ("/console/s3/bucket/a%2Fb", Some(("/bucket/a%2Fb", false))),
            ("/console/s3/bucket%2F..%2Fb?x=%2F", Some(("/bucket/..%2Fb?x=%2F", false))),
            ("/console/s3/bucket%2f%2F", Some(("/bucket/%2F", false))),
            ("/console/view/bucket%2Fü", Some(("/bucket/ü", true))),
            ("/console/s3", None),
            ("/console/s3x/bucket", None),
        ] {
            let found = Passed::read(target);
            let found = found.as_ref().map(|passed| (passed.target.as_str(), passed.is_view));
            assert_eq!(found, expected, "{target}");
        }
    }

    #[test]
    fn what_belongs_to_the_session_goes_no_further() {
        let text = "GET /console/s3/b HTTP/1.1\r\nHost: h\r\nCookie: s=1\r\nAuthorization: x\r\n\
                    X-Ringfort-CSRF: t\r\nSec-Fetch-Site: same-origin\r\nRange: bytes=0-1\r\n\r\n";
        let head = RequestHead::parse(text.as_bytes()).unwrap();
        let head = Passed::read(head.target()).unwrap().head(&head);
        let names: Vec<&str> = head.headers().map(|(name, _)| name).collect();
        assert_eq!((head.target(), names), ("/b", vec!["Host", "Range"]));
    }

    fn dressed(target: &str, kind: &str, etag: bool) -> (String, String) {
        let mut answer = Response::<NoBody>::new(200).with_header("Content-Type", kind);
        if etag {
            answer.header("ETag", "\"1\"");
        }
        Passed::read(target).unwrap().dress(&mut answer, true);
        assert_eq!(answer.get_header("content-security-policy"), Some(CONTENT_POLICY.as_bytes()));
        assert_eq!(answer.get_header("x-content-type-options"), Some(&b"nosniff"[..]));
        let text = |name| String::from_utf8_lossy(answer.get_header(name).unwrap()).into_owned();
        (text("content-type"), text("content-disposition"))
    }

    #[test]
    fn objects_leave_as_attachments_unless_they_are_safe_to_view() {
        for (target, kind, expected, disposition) in [
            ("/console/s3/b/k", "text/html", "application/octet-stream", "attachment"),
            ("/console/s3/b/k", "image/png", "application/octet-stream", "attachment"),
            ("/console/s3/b/k", "application/xml", "application/octet-stream", "attachment"),
            ("/console/view/b/k", "image/png", "image/png", "inline"),
            ("/console/view/b/k", "Video/MP4; x", "video/mp4", "inline"),
            ("/console/view/b/k", "image/png;x, text/html", "image/png", "inline"),
            ("/console/view/b/k", "audio/x, text/html", "application/octet-stream", "attachment"),
            ("/console/view/b/k", "audio/x;, text/html", "audio/x", "inline"),
            ("/console/view/b/k", "audio/", "application/octet-stream", "attachment"),
            ("/console/view/b/k", "image/png, text/html", "application/octet-stream", "attachment"),
            ("/console/view/b/k", "text/plain; x", "text/plain; charset=utf-8", "inline"),
            ("/console/view/b/k", "image/svg+xml", "application/octet-stream", "attachment"),
            ("/console/view/b/k", "text/html", "application/octet-stream", "attachment"),
            ("/console/view/b/k", "", "application/octet-stream", "attachment"),
        ] {
            let found = dressed(target, kind, true);
            let whole = format!("{disposition}; filename*=UTF-8''k");
            assert_eq!(found, (expected.to_owned(), whole), "{target} {kind}");
        }
        for kind in ["application/xml", "application/xml;x, text/html"] {
            assert_eq!(dressed("/console/s3/b?acl", kind, false).0, "application/xml");
        }
        let odd = dressed("/console/s3/b/a%2F%22%0A%3B%2F", "", true).1;
        assert_eq!(odd, "attachment; filename*=UTF-8''%22%0A%3B");
    }
}
