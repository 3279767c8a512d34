//! One request to the management API of a running server, for the subcommands that ask it.
//!
//! Plain HTTP/1.1 on a blocking socket, one connection a request. Invariants: an answer is bounded; the
//! key is sent only to the address that was named.
//!
//! Not here: TLS; the management port has none.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use crate::start_error::StartError;

/// The environment's name of the key.
pub const KEY_VARIABLE: &str = "RINGFORT_ADMIN_API_KEY";
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug)]
pub struct AdminClient {
    /// Host and port.
    authority: String,
    key: String,
}

impl AdminClient {
    /// `url`: `http://host:port`.
    pub fn new(url: &str, key: String) -> Result<Self, StartError> {
        let refused =
            |reason: &str| StartError::Config { place: "--admin".into(), reason: reason.into() };
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| !rest.is_empty() && !rest.contains(['/', '\r', '\n', ' ']))
            .ok_or_else(|| refused("it is to be of the form http://host:port"))?;
        if key.is_empty() || key.contains(['\r', '\n']) {
            let reason =
                format!("the key of the management API is needed: --api-key or {KEY_VARIABLE}");
            return Err(StartError::Config { place: "--api-key".into(), reason });
        }
        Ok(Self { authority: authority.to_owned(), key })
    }

    /// Sends a request; gives the status and the answer's JSON.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), StartError> {
        let context = || format!("ask the server at {}", self.authority);
        let answer = self.exchange(method, path, body);
        let answer = answer.map_err(|source| StartError::io(context(), source))?;
        parse(&answer).ok_or_else(|| {
            let reason = "what it answers is not the management API's";
            StartError::io(context(), io::Error::new(io::ErrorKind::InvalidData, reason))
        })
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> io::Result<Vec<u8>> {
        let address = self.authority.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.authority,
            self.key,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// The status and the body of an answer that ends with its connection.
fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&answer[..end]).ok()?, &answer[end + 4..]);
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, serde_json::from_slice(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(parse(answer), Some((202, serde_json::json!({"a": 1}))));
        for other in
            [&b"HTTP/1.1 200 OK\r\n"[..], b"SSH-2.0\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\n<a>"]
        {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn what_is_no_address_or_no_key_is_refused() {
        assert!(AdminClient::new("http://127.0.0.1:9001/", "k".into()).is_ok());
        for url in ["https://127.0.0.1:9001", "127.0.0.1:9001", "http://", "http://a/b"] {
            assert!(AdminClient::new(url, "k".into()).is_err(), "{url}");
        }
        assert!(AdminClient::new("http://127.0.0.1:9001", String::new()).is_err());
    }
}
