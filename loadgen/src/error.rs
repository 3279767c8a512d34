//! What stops the load generator itself. Failed requests are not errors here: they are counted by
//! `stats` and reported.

use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that cannot be done.
    #[error("{0}")]
    Usage(String),
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
    #[error("ledger line {line}: {reason}")]
    Ledger { line: u64, reason: &'static str },
    /// The endpoint could not be brought to the state from which the run starts.
    #[error("preparation failed: {0}")]
    Prepare(String),
    #[error("the runtime failed: {0}")]
    Runtime(String),
}

impl Error {
    /// An I/O error with what was being done.
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}
