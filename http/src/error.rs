//! What can go wrong on a connection, as the service and the server must tell it apart.
//!
//! A `Rejection` is the peer's breach of HTTP with the status that answers it; S3's codes are
//! not here.

use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A request that breaks HTTP or a limit. It is answered with `status`, and the connection is
/// closed: where one message ends and the next begins is no longer certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    pub status: u16,
    /// One English phrase, safe to show to the client.
    pub reason: &'static str,
}

impl Rejection {
    pub(crate) const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self::new(400, reason)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request's head or the framing of its body is not acceptable.
    #[error("request rejected with {}: {}", .0.status, .0.reason)]
    Rejected(Rejection),
    /// The stream ended in the middle of a head or a body.
    #[error("the peer ended the stream in the middle of a request")]
    UnexpectedEnd,
    /// The peer was slower than `limits.rs` allows.
    #[error("the peer was too slow")]
    TimedOut,
    /// The answer could not be made in full after its head was sent, so the connection was cut.
    #[error("the answer's body failed: {0}")]
    Answer(io::Error),
    #[error("connection: {0}")]
    Io(#[from] io::Error),
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
