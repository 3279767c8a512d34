//! Signature Version 4 of a request: in its `Authorization` header, and in its query.
//!
//! An input says what is requested and how its client writes that (which bytes it encodes, how it spaces), and which
//! byte of the head is changed on the way. The load generator signs; it shares no code with the server.
//!
//! Oracles: what was signed is found good, as whose it is; what was changed is refused, or asks for the same: method,
//! path, parameters, host and every signed header. `tests/botocore.rs` compares the canonical form with botocore's.

use crate::chance::Chance;
use crate::reader::Reader;
use http::RequestHead;
use loadgen::sign::{Signer, ToSign, UNSIGNED_PAYLOAD, push_hex};
use s3api::auth::{Authenticated, Authenticator, Credentials};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

pub(crate) const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const STAMP: &str = "20130524T000000Z";
pub(crate) const NOW: i64 = 1_369_353_600;
const HOST: &str = "bucket.example.com:9000";
const METHODS: [&str; 6] = ["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS"];
/// Headers that are signed and whose values an input chooses.
const NAMES: [&str; 4] = ["range", "x-amz-acl", "x-amz-meta-a", "x-amz-meta-b"];

pub(crate) fn authenticator() -> Authenticator {
    let credentials = Credentials::new(REGION);
    credentials.insert(ACCESS_KEY, SECRET_KEY);
    Authenticator::new(credentials)
}

/// What an input asks for.
struct Wanted {
    method: &'static str,
    path: Vec<u8>,
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names may come more than once.
    headers: Vec<(&'static str, String)>,
    /// Where the head is changed, and how.
    at: usize,
    change: u8,
}

impl Wanted {
    fn read(input: &[u8]) -> Self {
        let mut reader = Reader::new(input);
        let (method, at, change) = (reader.pick(&METHODS), reader.u16().into(), reader.u8());
        let path = [b"/", reader.short()].concat();
        let counts = reader.u8();
        let parameter =
            |reader: &mut Reader<'_>| (reader.short().to_vec(), reader.short().to_vec());
        let parameters = (0..counts % 4).map(|_| parameter(&mut reader)).collect();
        let header = |reader: &mut Reader<'_>| {
            let name = reader.pick(&NAMES);
            // What may stand in a header and that every client writes alike.
            let value = reader.short().iter().map(|byte| char::from(b' ' + byte % 95)).collect();
            (name, value)
        };
        let headers = (0..counts / 4 % 4).map(|_| header(&mut reader)).collect();
        Self { method, path, parameters, headers, at, change }
    }

    fn canonical_path(&self) -> String {
        canonical(&self.path, true)
    }

    fn canonical_query(&self, more: &[(Vec<u8>, Vec<u8>)]) -> String {
        let pairs = self.parameters.iter().chain(more);
        let mut pairs: Vec<(String, String)> =
            pairs.map(|(name, value)| (canonical(name, false), canonical(value, false))).collect();
        pairs.sort();
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }

    /// The signed headers but those that signing needs, joined and folded.
    fn signed_headers(&self) -> BTreeMap<&'static str, String> {
        let mut joined: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in &self.headers {
            let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
            joined.entry(*name).or_default().push(words.join(" "));
        }
        joined.into_iter().map(|(name, values)| (name, values.join(","))).collect()
    }

    /// Path and query as a client may write them.
    fn target(&self, chance: &mut Chance, more: &str) -> String {
        let mut target = written(chance, &self.path, true);
        let parameter = |(name, value): &(Vec<u8>, Vec<u8>)| {
            let (name, written_value) =
                (written(chance, name, false), written(chance, value, false));
            // A parameter without a value may come without its sign.
            let is_short = value.is_empty() && !name.is_empty() && chance.one_in(2);
            if is_short { name } else { format!("{name}={written_value}") }
        };
        let mut parameters: Vec<String> = self.parameters.iter().map(parameter).collect();
        if !more.is_empty() {
            parameters.insert(chance.below(parameters.len() + 1), more.to_owned());
        }
        if !parameters.is_empty() {
            write!(target, "?{}", parameters.join("&")).expect("a string takes all");
        }
        target
    }

    fn changed(&self, head: &str) -> Vec<u8> {
        let mut bytes = head.as_bytes().to_vec();
        let at = self.at % bytes.len();
        match self.change % 3 {
            0 => bytes[at] ^= 1 << (self.change >> 5),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, self.change),
        }
        bytes
    }
}

fn canonical(bytes: &[u8], is_path: bool) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push((*byte).into())
            }
            b'/' if is_path => text.push('/'),
            _ => write!(text, "%{byte:02X}").expect("a string takes all"),
        }
    }
    text
}

/// Bytes as some client may encode them.
fn written(chance: &mut Chance, bytes: &[u8], is_path: bool) -> String {
    let mut text = String::new();
    for (position, byte) in bytes.iter().enumerate() {
        let plain = match byte {
            // The first slash makes it a path.
            b'/' if is_path && position == 0 => true,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                !chance.one_in(8)
            }
            b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b',' | b':' | b';' | b'@' => {
                chance.one_in(2)
            }
            b'+' | b'=' | b'&' => is_path && chance.one_in(2),
            _ => false,
        };
        match (plain, byte) {
            (true, _) => text.push((*byte).into()),
            (false, b' ') if !is_path && chance.one_in(2) => text.push('+'),
            (false, _) if chance.one_in(2) => {
                write!(text, "%{byte:02x}").expect("a string takes all")
            }
            (false, _) => write!(text, "%{byte:02X}").expect("a string takes all"),
        }
    }
    text
}

/// The `Authorization` header.
pub fn header(input: &[u8]) {
    let wanted = Wanted::read(input);
    let mut chance = Chance::of(input);
    let mut headers = wanted.signed_headers();
    headers.insert("host", HOST.to_owned());
    headers.insert("x-amz-content-sha256", UNSIGNED_PAYLOAD.to_owned());
    headers.insert("x-amz-date", STAMP.to_owned());
    let to_sign: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut authorization = Vec::new();
    Signer::new(ACCESS_KEY, SECRET_KEY, REGION).authorization(
        &ToSign {
            method: wanted.method,
            path: &wanted.canonical_path(),
            query: &wanted.canonical_query(&[]),
            headers: &to_sign,
            payload_hash: UNSIGNED_PAYLOAD,
            stamp: STAMP,
        },
        &mut authorization,
    );
    let authorization = String::from_utf8(authorization).expect("a signature is text");
    let target = wanted.target(&mut chance, "");
    let mut head = format!(
        "{} {target} HTTP/1.1\r\nHost: {HOST}\r\nX-Amz-Content-SHA256: {UNSIGNED_PAYLOAD}\r\n\
         x-amz-date: {STAMP}\r\nAuthorization: {authorization}\r\nUser-Agent: a\r\n",
        wanted.method
    );
    for (name, value) in &wanted.headers {
        write!(head, "{name}:{value}\r\n").expect("a string takes all");
    }
    head.push_str("\r\n");
    judge(&wanted, &head, headers.keys().copied().collect());
}

/// The signature in the query.
pub fn query(input: &[u8]) {
    let wanted = Wanted::read(input);
    let mut chance = Chance::of(input);
    let mut headers = wanted.signed_headers();
    headers.insert("host", HOST.to_owned());
    let to_sign: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut signer = Signer::new(ACCESS_KEY, SECRET_KEY, REGION);
    let mut parameters = String::new();
    signer.push_presigned_query(STAMP, Duration::from_secs(60), &to_sign, &mut parameters);
    let more: Vec<(Vec<u8>, Vec<u8>)> = parameters
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name, true), decoded(value, true)))
        .collect();
    let signature = signer.signature(&ToSign {
        method: wanted.method,
        path: &wanted.canonical_path(),
        query: &wanted.canonical_query(&more),
        headers: &to_sign,
        payload_hash: UNSIGNED_PAYLOAD,
        stamp: STAMP,
    });
    let mut digits = Vec::new();
    push_hex(&mut digits, &signature);
    let signature = String::from_utf8(digits).expect("digits are text");
    let target = wanted.target(&mut chance, &format!("{parameters}&X-Amz-Signature={signature}"));
    let mut head =
        format!("{} {target} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: a\r\n", wanted.method);
    for (name, value) in &wanted.headers {
        write!(head, "{name}:{value}\r\n").expect("a string takes all");
    }
    head.push_str("\r\n");
    judge(&wanted, &head, headers.keys().copied().collect());
}

/// The head is found good, and a changed one only if it asks for the same.
fn judge(wanted: &Wanted, head: &str, signed: Vec<&str>) {
    let authenticator = authenticator();
    let authenticate = |head: &RequestHead| -> Option<Authenticated> {
        let found = authenticator.authenticate(head, NOW, &()).ok()?;
        found.access_key.is_some().then_some(found)
    };
    let parsed = RequestHead::parse(head.as_bytes()).expect("the head is well-formed");
    // A client's own parameter may be one of those that signing uses, or version 2 of it: it is then no request to sign.
    let is_reserved = |name: &[u8]| name.starts_with(b"X-Amz-") || name == b"AWSAccessKeyId";
    let uses_reserved = wanted.parameters.iter().any(|(name, _)| is_reserved(name));
    let found = authenticate(&parsed);
    if uses_reserved {
        return;
    }
    let found = found.unwrap_or_else(|| {
        panic!(
            "what was signed is refused: {:?}\n{head}",
            authenticator.authenticate(&parsed, NOW, &())
        )
    });
    assert_eq!(found.access_key.as_deref(), Some(ACCESS_KEY));
    let Ok(changed) = RequestHead::parse(&wanted.changed(head)) else { return };
    if let Some(found) = authenticate(&changed) {
        assert_eq!(found.access_key.as_deref(), Some(ACCESS_KEY));
        let (before, after) = (meaning(&parsed, &signed), meaning(&changed, &signed));
        assert_eq!(after, before, "another request passes for the one that was signed");
    }
}

/// Method, path, parameters, headers.
type Meaning = (String, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, Vec<String>);

/// What a request asks for, in a form that does not depend on how it is written.
fn meaning(head: &RequestHead, signed: &[&str]) -> Meaning {
    let (path, query) = head.target().split_once('?').unwrap_or((head.target(), ""));
    let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (decoded(name, true), decoded(value, true)))
        .collect();
    parameters.sort();
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in head.headers() {
        let name = name.to_ascii_lowercase();
        if name != "host" && (signed.contains(&name.as_str()) || name.starts_with("x-amz-")) {
            let value = String::from_utf8_lossy(value).into_owned();
            let words: Vec<&str> =
                value.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            headers.entry(name).or_default().push(words.join(" "));
        }
    }
    // The server does not tell a signed header without a value from one that did not come
    // (`auth::canonical`): clients sign some that they then leave out.
    headers.retain(|_, values| values.iter().any(|value| !value.is_empty()));
    headers.insert("host".to_owned(), vec![head.host().unwrap_or_default().to_owned()]);
    let headers = headers.iter().map(|(name, values)| format!("{name}:{}", values.join(",")));
    (head.method_name().to_owned(), decoded(path, false), parameters, headers.collect())
}

/// Percent codes decoded once; what is none stays as it is.
pub(crate) fn decoded(text: &str, plus_is_space: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = |digit: u8| char::from(digit).to_digit(16);
        rest = behind;
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) if code(*high).is_some() && code(*low).is_some() => {
                let digits = [code(*high), code(*low)].map(Option::unwrap_or_default);
                bytes.push((digits[0] * 16 + digits[1]) as u8);
                rest = behind;
            }
            (b'+', _) if plus_is_space => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    bytes
}
