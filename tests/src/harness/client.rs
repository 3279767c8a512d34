//! A raw S3 client on a blocking socket: it signs what it is told to send, be it nonsense.
//!
//! It knows no S3: tests write paths, queries and headers out, in canonical form, and judge status
//! and body themselves. Signing is the load generator's, so that nothing of the server is trusted.
//!
//! Deliberately absent: retries, redirects, and any care for what the server would like to receive.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use loadgen::sign::{Signer, ToSign, UNSIGNED_PAYLOAD};
use sha2::Digest as _;

use super::{ACCESS_KEY, PATIENCE, REGION, SECRET_KEY};

/// One connection, opened with the first request and again after a failure.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element of that name in the body.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let rest = text.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }

    /// The S3 error code of the body.
    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}\n{}", self.text());
        self
    }

    /// Fails the test unless this is that error.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        self
    }
}

/// By whom a request is signed, for which region, and when.
#[derive(Debug, Clone)]
pub struct Signing {
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
    /// `YYYYMMDDTHHMMSSZ`; `None`: now.
    pub stamp: Option<String>,
}

impl Default for Signing {
    fn default() -> Self {
        Self::new(ACCESS_KEY, SECRET_KEY)
    }
}

impl Signing {
    pub fn new(access_key: &str, secret_key: &str) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            region: REGION.to_owned(),
            stamp: None,
        }
    }

    pub fn region(mut self, region: &str) -> Self {
        region.clone_into(&mut self.region);
        self
    }

    /// Signed by a clock that is so far ahead of ours, or behind it.
    pub fn skewed(mut self, seconds: i64) -> Self {
        let then = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        self.stamp = Some(stamp(then));
        self
    }

    /// `YYYYMMDDTHHMMSSZ`.
    pub fn stamp(&self) -> String {
        self.stamp.clone().unwrap_or_else(|| stamp(jiff::Timestamp::now()))
    }

    fn signer(&self) -> Signer {
        Signer::new(&self.access_key, &self.secret_key, &self.region)
    }

    /// Signs a text as a form's policy is: the fields that go with it, and the signature.
    pub fn sign_policy(&self, policy: &str) -> String {
        hex::encode(self.signer().sign(&self.stamp()[..8], policy.as_bytes()))
    }

    /// The credential as a form or a query gives it.
    pub fn credential(&self) -> String {
        format!("{}/{}/{}/s3/aws4_request", self.access_key, &self.stamp()[..8], self.region)
    }
}

fn stamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A request to be signed and sent.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Encoded, with its slashes.
    pub path: String,
    /// Sorted and encoded.
    pub query: String,
    /// Beside `host`, `x-amz-date` and `x-amz-content-sha256`; names in lower case.
    pub headers: Vec<(String, String)>,
    pub payload_hash: String,
    pub body: Vec<u8>,
    /// What `content-length` says; `None`: nothing.
    pub content_length: Option<u64>,
    /// Path and query as they are sent, where that is not the canonical form.
    pub sent: Option<String>,
    /// The `host` header, where that is not the server's address.
    pub host: Option<String>,
    /// `None`: by nobody.
    pub signing: Option<Signing>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            payload_hash: UNSIGNED_PAYLOAD.to_owned(),
            body: Vec::new(),
            content_length: None,
            sent: None,
            host: None,
            signing: Some(Signing::default()),
        }
    }

    /// A request whose target is sent as it stands and signed in its canonical form.
    pub fn uncanonical(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|piece| !piece.is_empty())
            .map(|piece| {
                let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                format!("{}={}", canonical(name, b"-._~"), canonical(value, b"-._~"))
            })
            .collect();
        pairs.sort();
        let canonical = format!("{}?{}", canonical(path, b"-._~/"), pairs.join("&"));
        Self { sent: Some(target.to_owned()), ..Self::new(method, &canonical) }
    }

    pub fn signed_by(mut self, signing: Option<Signing>) -> Self {
        self.signing = signing;
        self
    }

    /// Signs the body too.
    pub fn with_payload_hash(self) -> Self {
        let hash = hex::encode(sha2::Sha256::digest(&self.body));
        self.payload_hash(&hash)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.content_length = Some(self.body.len() as u64);
        self
    }

    /// Says another length than that of the body.
    pub fn length(mut self, bytes: u64) -> Self {
        self.content_length = Some(bytes);
        self
    }

    pub fn payload_hash(mut self, hash: &str) -> Self {
        hash.clone_into(&mut self.payload_hash);
        self
    }

    /// The signed head as it goes over the wire.
    pub fn head(&self, host: &str) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or(host);
        let stamp = self.signing.as_ref().map(Signing::stamp).unwrap_or_default();
        let mut headers: Vec<(&str, &str)> = vec![("host", host)];
        if self.signing.is_some() {
            headers.push(("x-amz-content-sha256", &self.payload_hash));
            headers.push(("x-amz-date", &stamp));
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        headers.sort_unstable();
        let mark = if self.query.is_empty() { "" } else { "?" };
        let target = format!("{}{mark}{}", self.path, self.query);
        let target = self.sent.as_deref().unwrap_or(&target);
        let mut head = format!("{} {target} HTTP/1.1\r\n", self.method);
        for (name, value) in &headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if let Some(length) = self.content_length {
            write!(head, "content-length: {length}\r\n").unwrap();
        }
        if let Some(signing) = &self.signing {
            let to_sign = self.to_sign(&self.query, &headers, &self.payload_hash, &stamp);
            let mut authorization = Vec::new();
            signing.signer().authorization(&to_sign, &mut authorization);
            let authorization = String::from_utf8(authorization).unwrap();
            write!(head, "authorization: {authorization}\r\n").unwrap();
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The target of a presigned request, which anyone may send for so long.
    pub fn presigned(&self, host: &str, seconds: i64) -> String {
        let signing = self.signing.as_ref().expect("somebody signs");
        let stamp = signing.stamp();
        let mut headers: Vec<(&str, &str)> = vec![("host", self.host.as_deref().unwrap_or(host))];
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        headers.sort_unstable();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let encode = |text: &str| canonical(text, b"-._~");
        let mut pairs: Vec<String> =
            self.query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
        pairs.extend([
            "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned(),
            format!("X-Amz-Credential={}", encode(&signing.credential())),
            format!("X-Amz-Date={stamp}"),
            format!("X-Amz-Expires={seconds}"),
            format!("X-Amz-SignedHeaders={}", encode(&names.join(";"))),
        ]);
        pairs.sort();
        let query = pairs.join("&");
        let to_sign = self.to_sign(&query, &headers, UNSIGNED_PAYLOAD, &stamp);
        let mut authorization = Vec::new();
        signing.signer().authorization(&to_sign, &mut authorization);
        let authorization = String::from_utf8(authorization).unwrap();
        let signature = authorization.rsplit_once("Signature=").unwrap().1;
        format!("{}?{query}&X-Amz-Signature={signature}", self.path)
    }

    fn to_sign<'a>(
        &'a self,
        query: &'a str,
        headers: &'a [(&'a str, &'a str)],
        payload_hash: &'a str,
        stamp: &'a str,
    ) -> ToSign<'a> {
        ToSign { method: &self.method, path: &self.path, query, headers, payload_hash, stamp }
    }
}

/// The canonical form of a part of a target, percent-encoded or not.
pub fn canonical(text: &str, kept: &[u8]) -> String {
    let (mut rest, mut out) = (text.as_bytes(), String::new());
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| *first == b'%');
        let decoded = pair
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        rest = if decoded.is_some() { &after[2..] } else { after };
        let byte = decoded.unwrap_or(*first);
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends a request and takes its answer. An error leaves the connection closed.
    pub fn send(&mut self, request: &Request) -> io::Result<Answer> {
        let mut bytes = request.head(&self.address.to_string());
        bytes.extend_from_slice(&request.body);
        self.exchange(&bytes, request.method == "HEAD")
    }

    /// Sends bytes as they are, and takes one answer.
    pub fn exchange(&mut self, bytes: &[u8], to_head: bool) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(connect(self.address)?),
        };
        // A server may refuse an upload and close before it has read it all: its answer counts.
        let sent = stream.get_mut().write_all(bytes);
        let answer = match receive(&mut stream, to_head) {
            Ok(answer) => answer,
            Err(error) => return Err(sent.err().unwrap_or(error)),
        };
        if sent.is_ok() && answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    // What most tests need, with the answer expected to arrive.

    pub fn call(&mut self, request: &Request) -> Answer {
        self.send(request)
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.call(&Request::new("GET", target))
    }

    pub fn put(&mut self, target: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call(&Request::new("PUT", target).body(body))
    }

    pub fn post(&mut self, target: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call(&Request::new("POST", target).body(body))
    }

    pub fn delete(&mut self, target: &str) -> Answer {
        self.call(&Request::new("DELETE", target))
    }
}

/// A socket that gives up after [`PATIENCE`].
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends bytes on a connection of their own, says that no more will come, and returns whatever the
/// server says until it closes. What it has not closed after `patience` is a fault of the server.
pub fn say(address: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    // It may close before it has read all, and is free to.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => Ok(answer),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(answer),
        Err(error) => Err(error),
    }
}

/// Reads one answer; informational ones before it are passed over.
pub fn receive(stream: &mut impl BufRead, to_head: bool) -> io::Result<Answer> {
    loop {
        let (status, headers) = receive_head(stream)?;
        if status < 200 {
            continue;
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let length = if to_head || matches!(status, 204 | 304) { 0 } else { length };
        assert!(
            headers.iter().all(|(name, _)| name != "transfer-encoding"),
            "answers carry their length"
        );
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        return Ok(Answer { status, headers, body });
    }
}

fn receive_head(stream: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    let mut next_line = || {
        line.clear();
        stream.read_line(&mut line)?;
        if !line.ends_with("\r\n") {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(line.trim_end().to_owned())
    };
    let status = next_line()?;
    let code = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let code = code.and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::other(format!("not a status line: {status}")))?;
    let mut headers = Vec::new();
    loop {
        let line = next_line()?;
        if line.is_empty() {
            return Ok((code, headers));
        }
        let (name, value) = line.split_once(':').expect("a header has a colon");
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
