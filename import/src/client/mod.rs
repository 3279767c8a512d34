//! One S3 endpoint over blocking HTTP: requests are signed, sent, and sent again while that may help.
//!
//! Invariants: a request that is tried again is the same request; what an endpoint refuses for good (4xx)
//! is not tried again; every wait has a bound; redirects are not followed, for a signature is for one host.
//!
//! Not here: what the operations of S3 look like (`operations`, `listing`).

pub mod endpoint;
pub mod listing;
pub mod operations;
pub mod percent;
pub mod sign;
pub mod xml;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use ureq::http::{self, HeaderMap, HeaderValue};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::error::{Failure, cut};
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, ERROR_BYTES_MAX, XML_BYTES_MAX};
pub use endpoint::{Endpoint, Keys, Style};
pub use sign::Payload;
use xml::Element;

/// A request without its body.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: &'static str,
    pub bucket: String,
    pub key: String,
    pub query: Vec<(&'static str, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn new(method: &'static str, bucket: &str, key: &str) -> Self {
        Self { method, bucket: bucket.to_owned(), key: key.to_owned(), ..Self::default() }
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// `versionId`, if there is one.
    pub fn version(self, version: Option<&str>) -> Self {
        match version {
            Some(version) => self.query("versionId", version),
            None => self,
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn headers<'a>(mut self, more: impl IntoIterator<Item = &'a (String, String)>) -> Self {
        self.headers.extend(more.into_iter().cloned());
        self
    }
}

/// A body that is made while it is sent.
pub struct Stream<'a> {
    pub reader: &'a mut dyn Read,
    pub length: u64,
    pub payload: Payload<'a>,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("length", &self.length).finish_non_exhaustive()
    }
}

/// An answer that is no error; its body is still to be read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Answer {
    /// A header's value, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(text_of)
    }
}

/// The text of a header's value; metadata may be UTF-8.
pub fn text_of(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// A failed attempt, and whether another may succeed.
#[derive(Debug)]
pub struct Attempt {
    pub failure: Failure,
    pub again: bool,
}

#[derive(Debug)]
pub struct Client {
    pub endpoint: Endpoint,
    /// As messages call it.
    pub side: &'static str,
    agent: Agent,
    retries: u32,
    /// Attempts that failed and were made again.
    pub retried: AtomicU64,
}

impl Client {
    pub fn new(
        endpoint: Endpoint,
        side: &'static str,
        (jobs, retries, timeout): (usize, u32, Duration),
    ) -> Self {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        // What is on this host is not sought by a proxy elsewhere.
        let proxy = if endpoint.is_loopback() { None } else { Proxy::try_from_env() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .timeout_connect(Some(timeout))
            .timeout_per_read(Some(timeout))
            .timeout_per_write(Some(timeout))
            .max_idle_connections(jobs + 4)
            .max_idle_connections_per_host(jobs + 4)
            .proxy(proxy)
            .user_agent(concat!("ringfort-import/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::new_with_config(config);
        Self { endpoint, side, agent, retries, retried: AtomicU64::new(0) }
    }

    /// Sends a request whose body can be sent again, until it is answered for good.
    ///
    /// # Errors
    /// The endpoint refused it, or could not be reached as often as that was tried.
    pub fn send(&self, request: &Request, body: &[u8]) -> Result<Answer, Failure> {
        self.persist(|| self.attempt(request, body))
    }

    /// Makes attempts until one succeeds, cannot succeed, or was the last.
    ///
    /// # Errors
    /// That of the last one.
    pub fn persist<T>(&self, mut make: impl FnMut() -> Result<T, Attempt>) -> Result<T, Failure> {
        let mut tried = 0;
        loop {
            match make() {
                Ok(made) => return Ok(made),
                Err(Attempt { failure, again }) if !again || tried >= self.retries => {
                    return Err(failure);
                }
                Err(_) => self.pause(tried),
            }
            tried += 1;
        }
    }

    /// Waits before the next attempt: longer each time, and never as long as others.
    pub fn pause(&self, tried: u32) {
        self.retried.fetch_add(1, Ordering::Relaxed);
        let most = BACKOFF_FIRST.saturating_mul(1 << tried.min(16)).min(BACKOFF_MAX);
        let part = getrandom::u32().unwrap_or(u32::MAX / 2);
        thread::sleep(most.mul_f64(0.5 + 0.5 * f64::from(part) / f64::from(u32::MAX)));
    }

    /// As [`Client::send`], or one attempt of it.
    ///
    /// # Errors
    /// The last attempt's.
    pub fn send_body(
        &self,
        request: &Request,
        body: &[u8],
        retries: u32,
    ) -> Result<Answer, Attempt> {
        let mut tried = 0;
        loop {
            match self.attempt(request, body) {
                Err(attempt) if attempt.again && tried < retries => self.pause(tried),
                done => return done,
            }
            tried += 1;
        }
    }

    pub fn retries(&self) -> u32 {
        self.retries
    }

    fn attempt(&self, request: &Request, body: &[u8]) -> Result<Answer, Attempt> {
        let head = self.head(request, Payload::Bytes(body))?;
        // GET, HEAD and DELETE have no body, rather than an empty one.
        let sent = match request.method {
            "PUT" | "POST" => self.agent.run(with_body(head, body)?),
            _ => self.agent.run(with_body(head, ())?),
        };
        self.judge(sent.map_err(|error| self.broken(&error))?)
    }

    /// Sends a request with a body that can be sent once only.
    pub fn attempt_stream(&self, request: &Request, stream: Stream<'_>) -> Result<Answer, Attempt> {
        let request = request.clone().header("content-length", stream.length.to_string());
        let head = self.head(&request, stream.payload)?;
        let sent = self.agent.run(with_body(head, SendBody::from_reader(stream.reader))?);
        self.judge(sent.map_err(|error| self.broken(&error))?)
    }

    fn head(
        &self,
        request: &Request,
        payload: Payload<'_>,
    ) -> Result<http::request::Builder, Attempt> {
        let address = self.endpoint.address(&request.bucket, &request.key);
        let mut url = address.url;
        for (place, (name, value)) in request.query.iter().enumerate() {
            let sign = if place == 0 { '?' } else { '&' };
            url.push_str(&format!("{sign}{}={}", percent::query(name), percent::query(value)));
        }
        let mut headers = request.headers.clone();
        headers.push(("host".into(), address.host));
        if let Some(keys) = &self.endpoint.keys {
            let place = (keys, self.endpoint.region.as_str());
            let more = sign::signature(place, (request.method, &url), &headers, payload)
                .map_err(|reason| unsendable(&reason))?;
            headers.extend(more);
        }
        let mut head = http::Request::builder().method(request.method).uri(url);
        for (name, value) in &headers {
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| unsendable(&format!("the value of {name} has control characters")))?;
            head = head.header(name, value);
        }
        Ok(head)
    }

    fn judge(&self, answer: http::Response<Body>) -> Result<Answer, Attempt> {
        let (parts, mut body) = answer.into_parts();
        let status = parts.status.as_u16();
        if parts.status.is_success() {
            return Ok(Answer { status, headers: parts.headers, body });
        }
        let text = body.with_config().limit(ERROR_BYTES_MAX).read_to_vec().unwrap_or_default();
        let told = Element::parse(&text).filter(|element| element.name == "Error");
        let of = |name| told.as_ref().map_or("", |told| told.text_of(name)).to_owned();
        let of = |name| cut(of(name));
        let (mut code, message) = (of("Code"), of("Message"));
        let wants_patience = matches!(
            code.as_str(),
            "SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "Throttling"
        );
        let again = matches!(status, 408 | 425 | 429 | 500 | 502..=504) || wants_patience;
        // The answer to a HEAD has no more.
        if code.is_empty() {
            code = parts.status.canonical_reason().unwrap_or_default().to_owned();
        }
        let side = self.side;
        let failure = if again {
            let reason = format!("it answered {status} {code} {message}").trim_end().to_owned();
            Failure::Unavailable { side, reason }
        } else {
            Failure::Refused { side, status, code, message }
        };
        Err(Attempt { failure, again })
    }

    /// A connection that was not made or broke off.
    pub fn broken(&self, error: &ureq::Error) -> Attempt {
        // What the maker of a body had to say goes before what became of the connection.
        if let ureq::Error::Io(error) = error
            && let Some(failure) = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>())
        {
            // Reads have been tried again already.
            return Attempt { failure: failure.clone(), again: false };
        }
        let failure = Failure::Unavailable { side: self.side, reason: error.to_string() };
        let hopeless = matches!(error, ureq::Error::Tls(_) | ureq::Error::BadUri(_));
        Attempt { failure, again: !hopeless }
    }

    pub fn odd(&self, reason: impl Into<String>) -> Failure {
        Failure::Protocol { side: self.side, reason: cut(reason.into()) }
    }

    /// Sends a request and reads the XML that answers it.
    ///
    /// # Errors
    /// As of [`Client::send`]; or the answer is no XML with this root.
    pub fn send_for_xml(
        &self,
        request: &Request,
        body: &[u8],
        root: &str,
    ) -> Result<Element, Failure> {
        self.persist(|| self.attempt_for_xml(request, body, root).map(|(element, _)| element))
    }

    /// One attempt of it, and the version that the answer names.
    fn attempt_for_xml(
        &self,
        request: &Request,
        body: &[u8],
        root: &str,
    ) -> Result<(Element, Option<String>), Attempt> {
        let mut answer = self.attempt(request, body)?;
        let version = answer.header("x-amz-version-id").map(str::to_owned);
        let text = answer.body.with_config().limit(XML_BYTES_MAX).read_to_vec();
        let text = text.map_err(|error| self.broken(&error))?;
        match Element::parse(&text) {
            Some(element) if element.name == root => Ok((element, version)),
            // Long operations answer 200 before they know how they end.
            Some(element) if element.name == "Error" => {
                let reason = format!("{}: {}", element.text_of("Code"), element.text_of("Message"));
                let reason = cut(reason);
                let failure = Failure::Unavailable { side: self.side, reason };
                Err(Attempt { failure, again: true })
            }
            _ => Err(Attempt { failure: self.odd(format!("no {root} document")), again: false }),
        }
    }
}

fn with_body<B>(head: http::request::Builder, body: B) -> Result<http::Request<B>, Attempt> {
    head.body(body).map_err(|error| unsendable(&error.to_string()))
}

fn unsendable(reason: &str) -> Attempt {
    let failure = Failure::Local(format!("the request cannot be made: {reason}"));
    Attempt { failure, again: false }
}
