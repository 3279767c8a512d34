//! Requests to the management API of a running server, for the subcommands that ask it.
//!
//! Over TLS the server's certificate is verified, by the host's roots or by those in `RINGFORT_ADMIN_CA`; to a
//! port that asks for one, the certificate in `RINGFORT_ADMIN_CERT` and `RINGFORT_ADMIN_CERT_KEY` is shown.
//!
//! Invariants: an answer is bounded; the key is sent only to the address that was named: no proxy, no
//! redirect.

mod local;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use serde_json::Value;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;

use crate::start_error::StartError;
use local::Local;

/// The environment's name of the key.
pub const KEY_VARIABLE: &str = "RINGFORT_ADMIN_API_KEY";
/// Files with the roots of the server's certificate, and with what is shown to it.
const CA_VARIABLE: &str = "RINGFORT_ADMIN_CA";
const CERT_VARIABLE: &str = "RINGFORT_ADMIN_CERT";
const CERT_KEY_VARIABLE: &str = "RINGFORT_ADMIN_CERT_KEY";
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug)]
pub struct AdminClient {
    agent: ureq::Agent,
    /// Scheme, host and port.
    base: String,
    /// As it was named.
    named: String,
    key: String,
}

impl AdminClient {
    /// `url`: `http://host:port`, `https://host:port` or `unix:PATH`.
    pub fn new(url: &str, key: String) -> Result<Self, StartError> {
        let local =
            url.strip_prefix("unix:").map(|path| Local { path: path.into(), patience: PATIENCE });
        let base = if local.is_some() { "http://127.0.0.1" } else { url.trim_end_matches('/') };
        let authority = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        let is_plain = |rest: &str| !rest.is_empty() && !rest.contains(['/', '@', '\r', '\n', ' ']);
        if !authority.is_some_and(is_plain) {
            let reason = "it is to be of the form http://host:port, https://host:port or unix:PATH";
            return Err(StartError::Config { place: "--admin".into(), reason: reason.into() });
        }
        if key.is_empty() || key.contains(['\r', '\n']) {
            let reason =
                format!("the key of the management API is needed: --api-key or {KEY_VARIABLE}");
            return Err(StartError::Config { place: "--api-key".into(), reason });
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("ringfort/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls()?)
            .build();
        let agent = match local {
            None => agent.new_agent(),
            Some(local) => ureq::Agent::with_parts(agent, local, DefaultResolver::default()),
        };
        Ok(Self { agent, base: base.to_owned(), named: url.to_owned(), key })
    }

    /// Sends a request; gives the status and the answer's JSON.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), StartError> {
        let failed = |source| StartError::io(format!("ask the server at {}", self.named), source);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.key))
            .header("Content-Type", "application/json")
            .body(body)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let mut answer = self.agent.run(request).map_err(|error| failed(error.into_io()))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let text = text.map_err(|error| failed(error.into_io()))?;
        let value = serde_json::from_slice(&text).map_err(|_| {
            let reason = "what it answers is not the management API's";
            failed(io::Error::new(io::ErrorKind::InvalidData, reason))
        })?;
        Ok((status, value))
    }
}

/// Whom to trust, and what to show, as the environment says.
fn tls() -> Result<TlsConfig, StartError> {
    let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty());
    let mut config = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(RootCerts::PlatformVerifier);
    if let Some(path) = variable(CA_VARIABLE) {
        let (roots, _) = pem(CA_VARIABLE, path.as_ref())?;
        config = config.root_certs(RootCerts::new_with_certs(&roots));
    }
    match (variable(CERT_VARIABLE), variable(CERT_KEY_VARIABLE)) {
        (None, None) => {}
        (Some(chain), Some(key)) => {
            let (chain, _) = pem(CERT_VARIABLE, chain.as_ref())?;
            let (_, key) = pem(CERT_KEY_VARIABLE, key.as_ref())?;
            let key =
                key.ok_or_else(|| refuse(CERT_KEY_VARIABLE, "there is no private key in it"))?;
            config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        _ => return Err(refuse(CERT_VARIABLE, "certificate and key are needed, or neither")),
    }
    Ok(config.build())
}

/// The certificates of a file, and a private key if it has one.
fn pem(
    variable: &str,
    path: &Path,
) -> Result<(Vec<Certificate<'static>>, Option<PrivateKey<'static>>), StartError> {
    let failed = |reason: String| refuse(variable, &format!("{}: {reason}", path.display()));
    let text = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in parse_pem(&text) {
        match item.map_err(|error| failed(error.to_string()))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            PemItem::PrivateKey(found) => key = Some(found),
            _ => {}
        }
    }
    if certificates.is_empty() && key.is_none() {
        return Err(failed("there is neither certificate nor key in it".to_owned()));
    }
    Ok((certificates, key))
}

fn refuse(variable: &str, reason: &str) -> StartError {
    StartError::Config { place: variable.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_or_no_key_is_refused() {
        for url in ["http://127.0.0.1:9001/", "https://store.example:9001", "unix:/run/admin.sock"]
        {
            assert!(AdminClient::new(url, "k".into()).is_ok(), "{url}");
        }
        for url in ["ftp://127.0.0.1", "127.0.0.1:9001", "http://", "http://a/b", "https://u@h"] {
            assert!(AdminClient::new(url, "k".into()).is_err(), "{url}");
        }
        assert!(AdminClient::new("http://127.0.0.1:9001", String::new()).is_err());
    }
}
