//! What can go wrong: with the import as a whole (`Error`), and with one request or object (`Failure`).
//!
//! Invariant: neither ever holds a secret.

use std::io;

use crate::limits::MESSAGE_BYTES_MAX;

/// Why an import did not begin, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line, the environment, or what they name is not usable.
    #[error("{0}")]
    Refused(String),
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
    /// A request without which nothing goes on.
    #[error("{context}: {failure}")]
    Request { context: String, failure: Failure },
    #[error("{0}")]
    GaveUp(String),
}

impl Error {
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }

    pub fn request(context: impl Into<String>, failure: Failure) -> Self {
        Self::Request { context: context.into(), failure }
    }
}

/// Why one request or one object failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An endpoint answered with an error that trying again does not mend.
    #[error("{side} answered {status} {code} {message}")]
    Refused { side: &'static str, status: u16, code: String, message: String },
    /// It could not be reached, broke off or asked for patience, as often as it was tried.
    #[error("{side}: {reason}")]
    Unavailable { side: &'static str, reason: String },
    /// What is copied was written anew or removed meanwhile.
    #[error("the source changed while it was copied: {0}")]
    Changed(String),
    /// Bytes that are not those that the source says they are.
    #[error("wrong bytes: {0}")]
    Corrupt(String),
    /// An answer that cannot be meant.
    #[error("{side} does not answer as S3 does: {reason}")]
    Protocol { side: &'static str, reason: String },
    /// A file or name that cannot be imported.
    #[error("{0}")]
    Local(String),
}

/// What an endpoint said, as much of it as is told.
pub fn cut(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
        text.push_str("...");
    }
    text
}

impl Failure {
    /// The word of the report.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::Changed(_) => "changed",
            Self::Corrupt(_) => "corrupt",
            Self::Protocol { .. } => "protocol",
            Self::Local(_) => "unreadable",
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("ü".into()), "ü");
        let text = cut(format!("a{}", "ü".repeat(MESSAGE_BYTES_MAX)));
        assert_eq!((text.len(), text.ends_with("ü...")), (MESSAGE_BYTES_MAX - 1 + 3, true));
    }
}
