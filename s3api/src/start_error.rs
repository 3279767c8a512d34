//! What keeps the server from starting, or makes it stop, as its operator must read it.
//!
//! Clients never see these; what they see is in `error`.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value of the configuration was refused; `place` says where it stands.
    #[error("{place}: {reason}")]
    Config { place: String, reason: String },
    /// The root credentials cannot be used.
    #[error("root credentials: {0}")]
    Credentials(String),
    /// The master keys of server-side encryption cannot be used.
    #[error("master keys: {0}")]
    MasterKey(String),
    /// The host lacks something without which the server cannot run.
    #[error("this host cannot run the server: {0}")]
    Host(String),
    /// A running server has refused what it was asked for.
    #[error("the server answered {status}: {detail}")]
    Refused { status: u16, detail: String },
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
    #[error("the store: {0}")]
    Engine(#[from] engine::Error),
    /// The runtime of one core could not be set up, or its thread ended in a panic.
    #[error("core {core}: {reason}")]
    Core { core: usize, reason: String },
}

impl StartError {
    /// An I/O error with what was being done.
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}
