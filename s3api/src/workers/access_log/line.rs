//! One line of an access log, in S3's server access log format.
//!
//! Invariants: a line has 26 fields in the format's order, whatever a request holds: what comes from
//! clients is encoded so that it can end neither its field nor its line; no signature and no token
//! stands in it.
//!
//! Encoding: keys by percent-encoding, as S3 has it; in the quoted fields quotation marks, control
//! characters and bytes beyond ASCII become `%XX`.
//!
//! A line that stands for a part of a request (one key of DeleteObjects) has neither the request's line
//! and agent nor its times, as S3 has it: they are in the line of the whole.

use crate::percent;
use std::fmt::Write as _;

/// What a line says of a request. Empty texts are shown as `-`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    pub bucket_owner: &'a str,
    pub bucket: &'a str,
    /// When the request came, in seconds since the Unix epoch.
    pub time: i64,
    pub remote_ip: &'a str,
    pub requester: &'a str,
    pub request_id: &'a str,
    /// As in `REST.GET.OBJECT`.
    pub operation: &'a str,
    pub key: &'a str,
    /// Empty in a line that stands for a part of a request.
    pub method: &'a str,
    /// The request's target as it came.
    pub target: &'a str,
    pub status: u16,
    pub error_code: &'a str,
    pub object_size: Option<u64>,
    /// None where no answer's first byte was ready.
    pub turn_around_ms: Option<u64>,
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    pub version_id: &'a str,
    pub host_id: &'a str,
    pub signature_version: &'a str,
    pub cipher: &'a str,
    pub authentication: &'a str,
    pub host: &'a str,
    pub tls_version: &'a str,
    pub access_point: &'a str,
    pub acl_required: bool,
}

/// What is known of a request only when its answer has been sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    pub bytes: u64,
    /// None of a part of a request.
    pub total_ms: Option<u64>,
}

/// A line that lacks what only the end of the answer shows.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    front: String,
    object_size: String,
    back: String,
}

impl Draft {
    /// The line with its end.
    pub fn finish(&self, sent: Sent) -> String {
        let Self { front, object_size, back } = self;
        let bytes = if sent.bytes == 0 { "-".to_owned() } else { sent.bytes.to_string() };
        let total = sent.total_ms.map_or_else(|| "-".to_owned(), |time| time.to_string());
        format!("{front}{bytes} {object_size}{total} {back}\n")
    }
}

impl Entry<'_> {
    /// All that is known before the answer is sent.
    pub fn draft(&self) -> Draft {
        let mut draft = Draft::default();
        let line = &mut draft.front;
        put(line, self.bucket_owner);
        put(line, self.bucket);
        let _ = write!(line, "[{}] ", log_time(self.time));
        put(line, self.remote_ip);
        put(line, self.requester);
        put(line, self.request_id);
        put(line, self.operation);
        put(line, &percent::encode(self.key));
        if self.is_part() {
            put(line, "");
        } else {
            let uri = format!("{} {} HTTP/1.1", self.method, redacted(self.target));
            put_quoted(line, uri.as_bytes());
        }
        let _ = write!(line, "{} ", self.status);
        put(line, self.error_code);

        let size = self.object_size.map(|size| size.to_string()).unwrap_or_default();
        put(&mut draft.object_size, &size);

        let line = &mut draft.back;
        let turn_around = self.turn_around_ms.map(|time| time.to_string()).unwrap_or_default();
        put(line, &turn_around);
        for text in [self.referer, self.user_agent] {
            if self.is_part() { put(line, "") } else { put_quoted(line, text) }
        }
        put(line, self.version_id);
        put(line, self.host_id);
        put(line, self.signature_version);
        put(line, self.cipher);
        put(line, self.authentication);
        put(line, self.host);
        put(line, self.tls_version);
        put(line, self.access_point);
        line.push_str(if self.acl_required { "Yes" } else { "-" });
        draft
    }

    fn is_part(&self) -> bool {
        self.method.is_empty()
    }
}

/// `06/Feb/2019:00:00:38 +0000`
fn log_time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string())
        .unwrap_or_default()
}

/// A field that ends at the next space.
fn put(line: &mut String, text: &str) {
    if text.is_empty() {
        line.push('-');
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' {
            line.push(char::from(byte));
        } else {
            let _ = write!(line, "%{byte:02X}");
        }
    }
    line.push(' ');
}

/// A field between quotation marks.
fn put_quoted(line: &mut String, text: &[u8]) {
    line.push('"');
    if text.is_empty() {
        line.push('-');
    }
    for byte in text {
        if matches!(byte, b' '..=b'~') && *byte != b'"' {
            line.push(char::from(*byte));
        } else {
            let _ = write!(line, "%{byte:02X}");
        }
    }
    line.push_str("\" ");
}

/// Parameters of a query that let others do what its sender may.
const SECRETS: [&str; 5] = [
    "x-amz-signature",
    "x-amz-security-token",
    "signature",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
];

/// A target without what proves a presigned request to be its sender's.
fn redacted(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let redact = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=REDACTED"),
        _ => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(redact).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// The name may itself be encoded.
fn is_secret(name: &str) -> bool {
    let name = percent::decode_query(name).unwrap_or_else(|| name.to_owned());
    SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";

    fn check(entry: &Entry<'_>, bytes: u64, total_ms: u64, expected: &str) {
        let line = entry.draft().finish(Sent { bytes, total_ms: Some(total_ms) });
        assert_eq!(line, format!("{expected}\n"));
    }

    /// An example of AWS's guide, "Amazon S3 server access log format".
    fn example() -> Entry<'static> {
        Entry {
            bucket_owner: OWNER,
            bucket: "amzn-s3-demo-bucket1",
            time: 1_549_411_238,
            remote_ip: "192.0.2.3",
            requester: OWNER,
            request_id: "3E57427F3EXAMPLE",
            operation: "REST.GET.VERSIONING",
            method: "GET",
            target: "/amzn-s3-demo-bucket1?versioning",
            status: 200,
            user_agent: b"S3Console/0.4",
            host_id: "s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234=",
            signature_version: "SigV4",
            cipher: "ECDHE-RSA-AES128-GCM-SHA256",
            authentication: "AuthHeader",
            host: "amzn-s3-demo-bucket1.s3.us-west-1.amazonaws.com",
            tls_version: "TLSV1.2",
            access_point: "arn:aws:s3:us-west-1:123456789012:accesspoint/example-AP",
            acl_required: true,
            ..Entry::default()
        }
    }

    #[test]
    fn a_line_is_as_aws_writes_it() {
        check(
            &example(),
            113,
            7,
            &format!(
                "{OWNER} amzn-s3-demo-bucket1 [06/Feb/2019:00:00:38 +0000] 192.0.2.3 {OWNER} \
                 3E57427F3EXAMPLE REST.GET.VERSIONING - \
                 \"GET /amzn-s3-demo-bucket1?versioning HTTP/1.1\" 200 - 113 - 7 - \"-\" \
                 \"S3Console/0.4\" - s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/\
                 eTPFvsiP/XV/VLi31234= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader \
                 amzn-s3-demo-bucket1.s3.us-west-1.amazonaws.com TLSV1.2 \
                 arn:aws:s3:us-west-1:123456789012:accesspoint/example-AP Yes"
            ),
        );
    }

    #[test]
    fn a_line_of_a_part_leaves_the_request_to_the_line_of_the_whole() {
        let part = Entry {
            operation: "BATCH.DELETE.OBJECT",
            key: "a b",
            method: "",
            target: "",
            status: 204,
            object_size: Some(7),
            version_id: "null",
            tls_version: "",
            access_point: "",
            acl_required: false,
            ..example()
        };
        assert_eq!(
            part.draft().finish(Sent::default()),
            format!(
                "{OWNER} amzn-s3-demo-bucket1 [06/Feb/2019:00:00:38 +0000] 192.0.2.3 {OWNER} \
                 3E57427F3EXAMPLE BATCH.DELETE.OBJECT a%20b - 204 - - 7 - - - - null \
                 s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234= \
                 SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader \
                 amzn-s3-demo-bucket1.s3.us-west-1.amazonaws.com - - -\n"
            )
        );
    }

    #[test]
    fn what_clients_send_stays_in_its_field() {
        let entry = Entry {
            key: "a b/\"ü\n",
            method: "PUT",
            target: "/b/a\"b c",
            status: 404,
            error_code: "NoSuchKey",
            object_size: Some(0),
            turn_around_ms: Some(3),
            referer: b"http://x/\" 200 -\n",
            user_agent: b"agent \xff",
            host: "h ost",
            ..Entry::default()
        };
        check(
            &entry,
            0,
            0,
            "- - [01/Jan/1970:00:00:00 +0000] - - - - a%20b/%22%C3%BC%0A \
             \"PUT /b/a%22b c HTTP/1.1\" 404 NoSuchKey - 0 0 3 \"http://x/%22 200 -%0A\" \
             \"agent %FF\" - - - - - h%20ost - - -",
        );
    }

    #[test]
    fn nothing_that_proves_who_asked_is_written() {
        let check = |target: &str, expected: &str| assert_eq!(redacted(target), expected);
        check("/b/k", "/b/k");
        check("/b/k?X-Amz-Date=1&x", "/b/k?X-Amz-Date=1&x");
        check(
            "/b/k?X-Amz-Signature=abc&X-Amz-Expires=3&X-Amz-Security-Token=t",
            "/b/k?X-Amz-Signature=REDACTED&X-Amz-Expires=3&X-Amz-Security-Token=REDACTED",
        );
        check("/b/k?x-amz-%73ignature=abc", "/b/k?x-amz-%73ignature=REDACTED");
        check("/b/k?AWSAccessKeyId=a&Signature=s", "/b/k?AWSAccessKeyId=a&Signature=REDACTED");
    }
}
