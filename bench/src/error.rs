//! Why a measurement could not be made.

use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error("the engine: {0}")]
    Engine(#[from] engine::Error),
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
    #[error("the executor: {0}")]
    Executor(String),
    /// The child process, which fills the store, did not do so.
    #[error("the filling process: {0}")]
    Child(String),
    /// The store does not hold what was put into it.
    #[error(
        "{expected} keys were put; after recovery the index holds {entries} entries, and of {checked} keys {present} are there"
    )]
    KeysLost { expected: u64, entries: u64, checked: u64, present: u64 },
}

impl Error {
    /// An I/O error with what was being done.
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}
