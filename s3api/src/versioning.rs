//! Versions of objects as S3 shows them: the state of a bucket, and the ids of versions.
//!
//! Invariants: an id is opaque to clients, stands for one version of one key for ever, and is the same
//! after a restart; the version that no versioning has made is called `null`.
//!
//! Not here: which operations read or make versions (`ops`), and how versions are kept (the engine).
//!
//! Source: AWS, "Retaining multiple versions of objects with S3 Versioning".

use crate::error::{Code, Result, S3Error};
use crate::settings::{BucketSetting, tag};
use engine::{Current, Version, Versioning, Which};
use serde::{Deserialize, Serialize};

/// The id of the version that no versioning has made.
pub const NULL_VERSION: &str = "null";

/// The setting of a bucket whose versioning was ever switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersioningSetting {
    /// Else it is suspended.
    pub enabled: bool,
    /// Whether versions are removed, and this setting is changed, only with a code of the root's device;
    /// none where nobody has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_delete: Option<bool>,
}

impl VersioningSetting {
    pub fn has_mfa_delete(&self) -> bool {
        self.mfa_delete == Some(true)
    }
}

impl BucketSetting for VersioningSetting {
    const TAG: u16 = tag::VERSIONING;
}

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Versioning was never switched on.
    Off,
    Enabled,
    Suspended,
}

impl Status {
    pub fn of(setting: Option<&VersioningSetting>) -> Self {
        match setting {
            None => Self::Off,
            Some(VersioningSetting { enabled: true, .. }) => Self::Enabled,
            Some(_) => Self::Suspended,
        }
    }

    /// What a write does to the versions that are there.
    pub fn of_write(self) -> Versioning {
        match self {
            Self::Enabled => Versioning::Kept,
            Self::Off | Self::Suspended => Versioning::Null,
        }
    }

    /// The id that an answer tells of a version; none where the bucket has never had versions.
    pub fn shown_id(self, current: &Current) -> Option<String> {
        (self != Self::Off).then(|| id_of(current))
    }

    /// As [`Self::shown_id`], of what was just written.
    pub fn written_id(self, version: Version) -> Option<String> {
        match self {
            Self::Off => None,
            Self::Suspended => Some(NULL_VERSION.to_owned()),
            Self::Enabled => Some(text_of(version)),
        }
    }
}

/// The id of a version.
pub fn id_of(current: &Current) -> String {
    if current.is_null { NULL_VERSION.to_owned() } else { text_of(current.version) }
}

/// The id of a version that is not the null one.
pub fn text_of(version: Version) -> String {
    format!("{:016x}", version.0)
}

/// The version that an id names, be it there or not.
///
/// `InvalidArgument` for what is no id of this server's.
pub fn parse_id(text: &str) -> Result<Which> {
    if text == NULL_VERSION {
        return Ok(Which::Null);
    }
    let is_canonical = text.len() == 16
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match u64::from_str_radix(text, 16) {
        Ok(version) if is_canonical => Ok(Which::Exactly(Version(version))),
        _ => Err(S3Error::invalid_argument("Invalid version id specified", "versionId", text)),
    }
}

/// The version that a parameter names; the latest without one.
pub fn which(text: Option<&str>) -> Result<Which> {
    text.map_or(Ok(Which::Latest), parse_id)
}

/// A version that is not there.
pub fn no_such_version(key: &str, text: &str) -> S3Error {
    S3Error::from(Code::NoSuchVersion).field("Key", key).field("VersionId", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Etag;

    fn current(version: u64, is_null: bool) -> Current {
        let etag = Etag::default();
        Current { size: 0, etag, version: Version(version), label: 0, is_null, is_marker: false }
    }

    #[test]
    fn an_id_names_the_version_that_it_was_made_of() {
        for version in [0, 1, 1_764_412_000_000_000_000, u64::MAX] {
            let id = id_of(&current(version, false));
            assert_eq!(parse_id(&id), Ok(Which::Exactly(Version(version))), "{id}");
            assert_eq!(id_of(&current(version, true)), NULL_VERSION);
        }
        assert_eq!(parse_id(NULL_VERSION), Ok(Which::Null));
        assert_eq!(which(None), Ok(Which::Latest));
    }

    #[test]
    fn settings_say_of_mfa_delete_what_was_said() {
        for (stored, mfa_delete) in [
            (r#"{"enabled":true}"#, None),
            (r#"{"enabled":true,"mfa_delete":false}"#, Some(false)),
            (r#"{"enabled":true,"mfa_delete":true}"#, Some(true)),
        ] {
            let setting = VersioningSetting { enabled: true, mfa_delete };
            assert_eq!(serde_json::from_str(stored).ok(), Some(setting), "{stored}");
            assert_eq!(serde_json::to_string(&setting).ok().as_deref(), Some(stored));
            assert_eq!(setting.has_mfa_delete(), mfa_delete == Some(true));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "1", "Null", "000000000000000G", "+00000000000000f", "00000000000000AA"] {
            let code = parse_id(text).map_err(|error| error.code);
            assert_eq!(code, Err(Code::InvalidArgument), "{text}");
        }
    }

    #[test]
    fn ids_are_told_only_where_versioning_ever_was() {
        let (enabled, suspended) = (
            VersioningSetting { enabled: true, mfa_delete: None },
            VersioningSetting { enabled: false, mfa_delete: None },
        );
        for (setting, status, shown, written) in [
            (None, Status::Off, None, None),
            (Some(&enabled), Status::Enabled, Some("null"), Some("0000000000000007")),
            (Some(&suspended), Status::Suspended, Some("null"), Some("null")),
        ] {
            assert_eq!(Status::of(setting), status);
            assert_eq!(status.shown_id(&current(7, true)).as_deref(), shown);
            assert_eq!(status.written_id(Version(7)).as_deref(), written);
        }
    }
}
