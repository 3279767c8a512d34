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
        }
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
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers: Vec<(&str, &str)> = vec![
            ("host", host),
            ("x-amz-content-sha256", &self.payload_hash),
            ("x-amz-date", &stamp),
        ];
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        headers.sort_unstable();
        let to_sign = ToSign {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            payload_hash: &self.payload_hash,
            stamp: &stamp,
        };
        let mut authorization = Vec::new();
        Signer::new(ACCESS_KEY, SECRET_KEY, REGION).authorization(&to_sign, &mut authorization);
        let mark = if self.query.is_empty() { "" } else { "?" };
        let mut head = format!("{} {}{mark}{} HTTP/1.1\r\n", self.method, self.path, self.query);
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if let Some(length) = self.content_length {
            write!(head, "content-length: {length}\r\n").unwrap();
        }
        let authorization = String::from_utf8(authorization).unwrap();
        write!(head, "authorization: {authorization}\r\n\r\n").unwrap();
        head.into_bytes()
    }
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
