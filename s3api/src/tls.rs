//! TLS of a port: its certificates, read and checked at the start and again while the server runs.
//!
//! Invariants: what a connection is given was checked as a whole (the chain is there, and the key is the
//! certificate's); files that cannot be used leave what is served as it was; connections that are open keep
//! what they began with.
//!
//! Not here: the bytes (`connection.rs`), and whether a chain leads to somebody whom clients trust.

mod connection;

pub use connection::TlsConnection;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::start_error::StartError;

/// Plaintext that a connection encrypts before it sends. More is fewer system calls; but that much is sent whole
/// before it counts as progress, which a client of the least pace that is allowed must manage in time
/// (`http::Limits`), and is memory for as long as the client is slow.
const ENCRYPTED_BYTES_MAX: usize = 48 << 10;

/// Where the certificates of a port lie, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead to its root.
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Who signs the certificates that clients must show; none: they need not.
    pub client_ca: Option<ClientCa>,
}

/// Who signs the certificates that clients of a port must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// The field of the configuration that names the file.
    pub field: &'static str,
    pub path: PathBuf,
}

/// The files of both ports, which show the same certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFiles {
    pub s3: TlsFiles,
    pub admin: TlsFiles,
}

/// The certificates of a port, as new connections are given them.
#[derive(Debug)]
pub struct Certificates {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    looked: Mutex<Looked>,
}

/// What was there when the files were looked at.
#[derive(Debug)]
struct Looked {
    /// As they were when they were last read, whether they could be used or not.
    read: Stamp,
    last: Stamp,
}

/// Tells that a file has changed.
type Stamp = Vec<Option<(u64, i64, i64, u64)>>;

impl Certificates {
    pub fn load(files: TlsFiles) -> Result<Self, StartError> {
        let stamp = stamp(&files);
        let current = ArcSwap::from_pointee(read(&files)?);
        let looked = Mutex::new(Looked { read: stamp.clone(), last: stamp });
        Ok(Self { files, current, looked })
    }

    /// The server's side of a new connection.
    fn begin(&self) -> io::Result<ServerConnection> {
        let mut connection =
            ServerConnection::new(self.current.load_full()).map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(ENCRYPTED_BYTES_MAX));
        Ok(connection)
    }

    /// Reads the files again if that was asked for, or if they have changed and look no different from the last
    /// time: who replaces them may be in the midst of it.
    pub fn refresh(&self, is_asked: bool) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.files);
        let has_settled = now == looked.last;
        looked.last.clone_from(&now);
        if !is_asked && (now == looked.read || !has_settled) {
            return;
        }
        looked.read = now;
        drop(looked);
        let path = self.files.chain.display();
        match read(&self.files) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!(%path, "the certificate was read again and counts from now on");
            }
            Err(error) => {
                tracing::error!(%error, "a new certificate cannot be used; the one before stays");
            }
        }
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    let of = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
    };
    [Some(&files.chain), Some(&files.key), files.client_ca.as_ref().map(|ca| &ca.path)]
        .into_iter()
        .flatten()
        .map(of)
        .collect()
}

fn read(files: &TlsFiles) -> Result<ServerConfig, StartError> {
    let chain = certificates(&files.chain, "tls-cert")?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| refuse("tls-key", &files.key, pem_reason(&error, "private key")))?;
    warn_of_readers(&files.key);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse("tls-cert", &files.chain, error.to_string()))?;
    let verifier: Arc<dyn ClientCertVerifier> = match &files.client_ca {
        None => Arc::new(NoClientAuth),
        Some(ca) => client_verifier(ca, provider)?,
    };
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| refuse("tls-cert", &files.chain, certificate_reason(&error)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients keep their sessions themselves, so that cores share nothing but the key of the tickets.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()
        .map_err(|error| refuse("tls-cert", &files.chain, error.to_string()))?;
    Ok(config)
}

fn certificates(path: &Path, field: &str) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(field, path, pem_reason(&error, "certificate")))?;
    if found.is_empty() {
        return Err(refuse(field, path, "there is no certificate in it".to_owned()));
    }
    Ok(found)
}

fn client_verifier(
    ClientCa { field, path }: &ClientCa,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, field)? {
        roots.add(certificate).map_err(|error| refuse(field, path, error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| refuse(field, path, error.to_string()))
}

fn pem_reason(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {what} in it"),
        error => error.to_string(),
    }
}

fn certificate_reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "the private key is not this certificate's".to_owned()
        }
        error => error.to_string(),
    }
}

fn refuse(field: &str, path: &Path, reason: String) -> StartError {
    StartError::Config { place: format!("--{field} {}", path.display()), reason }
}

fn warn_of_readers(key: &Path) {
    let is_open_to_all = fs::metadata(key).is_ok_and(|file| file.mode() & 0o007 != 0);
    if is_open_to_all {
        tracing::warn!(path = %key.display(), "every user of this host can read the private key");
    }
}

#[cfg(test)]
mod tests;
