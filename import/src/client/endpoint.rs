//! Where requests go: an endpoint's address, how buckets stand in it, and who signs.
//!
//! Invariant: a secret is never shown, nor sent.

use std::fmt;
use std::net::IpAddr;

use crate::client::percent;

/// How a bucket stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Path,
    VirtualHost,
}

#[derive(Clone)]
pub struct Keys {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
pub struct Endpoint {
    scheme: &'static str,
    /// Host, and the port unless it is the scheme's own.
    authority: String,
    pub style: Style,
    pub region: String,
    /// None: requests are anonymous.
    pub keys: Option<Keys>,
}

impl Endpoint {
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(
        url: &str,
        style: Style,
        region: String,
        keys: Option<Keys>,
    ) -> Result<Self, &'static str> {
        let (scheme, rest, port) = match url.split_once("://") {
            Some(("http", rest)) => ("http", rest, ":80"),
            Some(("https", rest)) => ("https", rest, ":443"),
            _ => return Err("it is to begin with http:// or https://"),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err("credentials do not belong in a URL");
        }
        if authority.contains(['/', '?', '#']) {
            return Err(
                "it is to end after host and port: buckets and prefixes have options of their own",
            );
        }
        let authority = authority.strip_suffix(port).unwrap_or(authority);
        let address: Result<ureq::http::uri::Authority, _> = authority.parse();
        if !address.is_ok_and(|address| !address.host().is_empty()) {
            return Err("it has no host, or a wrong one");
        }
        Ok(Self { scheme, authority: authority.to_ascii_lowercase(), style, region, keys })
    }

    pub fn is_loopback(&self) -> bool {
        let authority: Result<ureq::http::uri::Authority, _> = self.authority.parse();
        authority.is_ok_and(|authority| {
            let host = authority.host();
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            let is_local = host == "localhost" || host.ends_with(".localhost");
            is_local || address.is_ok_and(|address| address.is_loopback())
        })
    }

    /// Host and path, without a query. `bucket` may be empty: the service.
    pub fn address(&self, bucket: &str, key: &str) -> Address {
        let key = percent::path(key);
        let (host, path) = match self.style {
            _ if bucket.is_empty() => (self.authority.clone(), "/".to_owned()),
            Style::VirtualHost => (format!("{bucket}.{}", self.authority), format!("/{key}")),
            Style::Path if key.is_empty() => (self.authority.clone(), format!("/{bucket}")),
            Style::Path => (self.authority.clone(), format!("/{bucket}/{key}")),
        };
        Address { url: format!("{}://{host}{path}", self.scheme), host }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub url: String,
    pub host: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn endpoint(url: &str, style: Style) -> Result<Endpoint, &'static str> {
        Endpoint::new(url, style, "us-east-1".into(), None)
    }

    #[test]
    fn buckets_and_keys_stand_where_the_style_says() {
        let path = endpoint("http://127.0.0.1:9000/", Style::Path).unwrap();
        assert_eq!(path.address("b", "").url, "http://127.0.0.1:9000/b");
        assert_eq!(path.address("b", "/a//../ü").url, "http://127.0.0.1:9000/b//a//../%C3%BC");
        assert_eq!(path.address("", "").url, "http://127.0.0.1:9000/");
        let host = endpoint("https://S3.example.com:443", Style::VirtualHost).unwrap();
        assert_eq!(host.address("b", "k").url, "https://b.s3.example.com/k");
        assert_eq!(host.address("b", "k").host, "b.s3.example.com");
        assert_eq!(host.to_string(), "https://s3.example.com");
    }

    #[test]
    fn what_is_no_endpoint_is_told() {
        for (url, word) in [
            ("127.0.0.1:9000", "http://"),
            ("ftp://host", "http://"),
            ("http://", "host"),
            ("http://:80", "host"),
            ("http://a b", "host"),
            ("http://host/bucket", "end after"),
            ("http://key:secret@host", "credentials"),
        ] {
            let reason = endpoint(url, Style::Path).unwrap_err();
            assert!(reason.contains(word), "{url}: {reason}");
        }
    }

    #[test]
    fn hosts_of_this_machine_are_known() {
        for (url, expected) in [
            ("http://127.0.0.1:9000", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:9000", true),
            ("https://localhost", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1:9000", false),
        ] {
            assert_eq!(endpoint(url, Style::Path).unwrap().is_loopback(), expected, "{url}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let keys = Keys {
            access_key: "AK".into(),
            secret_key: "hidden".into(),
            session_token: Some("hidden".into()),
        };
        let endpoint = Endpoint::new("http://h", Style::Path, "r".into(), Some(keys)).unwrap();
        let shown = format!("{endpoint:?} {endpoint}");
        assert!(shown.contains("AK") && !shown.contains("hidden"), "{shown}");
    }
}
