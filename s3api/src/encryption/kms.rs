//! The key ring of SSE-KMS: its keys, as they are kept in the catalogue.
//!
//! A key has an id and backing keys, each wrapped by a master key. New objects get the newest backing
//! key; rotation adds one, and the older ones still open what they encrypted.
//!
//! Invariants: backing keys are never stored unwrapped, and never removed. A disabled key encrypts
//! and decrypts nothing.
//!
//! Not here: where entries are stored (`system`), the routes that change them (`admin`).

use super::master::{MasterKeys, UnwrapFailed};
use super::secret::{CryptoFailed, SecretKey, WRAPPED_BYTES};
use crate::limits::KMS_KEY_VERSIONS_MAX;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The key of those who name none; its alias is the one that AWS gives it.
pub const DEFAULT_KEY_ID: &str = "aws-s3";
const DEFAULT_KEY_ALIAS: &str = "alias/aws/s3";

const ID_BYTES_MAX: usize = 128;

/// One key of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsKey {
    pub id: String,
    /// Seconds since the Unix epoch.
    pub created: i64,
    pub enabled: bool,
    /// The oldest first, numbered from 1; never empty.
    versions: Vec<BackingKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackingKey {
    created: i64,
    /// Which master key wrapped it.
    master: String,
    /// Base64.
    wrapped: String,
}

/// Why a key could not be made or rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingError {
    NoMaster,
    TooManyVersions,
    Failed,
}

impl From<CryptoFailed> for RingError {
    fn from(_: CryptoFailed) -> Self {
        Self::Failed
    }
}

impl KmsKey {
    /// A new key; the id was checked.
    pub fn create(id: &str, now: i64, masters: &MasterKeys) -> Result<Self, RingError> {
        let mut key = Self { id: id.to_owned(), created: now, enabled: true, versions: Vec::new() };
        key.rotate(now, masters)?;
        Ok(key)
    }

    /// Adds a backing key, with which objects are encrypted from now on.
    pub fn rotate(&mut self, now: i64, masters: &MasterKeys) -> Result<(), RingError> {
        if self.versions.len() == KMS_KEY_VERSIONS_MAX {
            return Err(RingError::TooManyVersions);
        }
        let (master, wrapping) = masters.current().ok_or(RingError::NoMaster)?;
        let binding = backing_binding(&self.id, self.version() + 1);
        let wrapped = wrapping.wrap(&SecretKey::random()?, &binding)?;
        self.versions.push(BackingKey {
            created: now,
            master: master.to_owned(),
            wrapped: BASE64_STANDARD.encode(wrapped),
        });
        Ok(())
    }

    /// The number of the newest backing key.
    pub fn version(&self) -> u32 {
        self.versions.len() as u32
    }

    /// When the newest backing key was made, in seconds since the Unix epoch.
    pub fn rotated(&self) -> i64 {
        self.versions.last().map_or(self.created, |newest| newest.created)
    }

    /// The backing key of that number.
    pub fn backing_key(
        &self,
        version: u32,
        masters: &MasterKeys,
    ) -> Result<SecretKey, UnwrapFailed> {
        let index = (version as usize).checked_sub(1).ok_or(UnwrapFailed::Refused)?;
        let backing = self.versions.get(index).ok_or(UnwrapFailed::Refused)?;
        let wrapped = BASE64_STANDARD.decode(&backing.wrapped).ok();
        let wrapped: [u8; WRAPPED_BYTES] =
            wrapped.and_then(|bytes| bytes.try_into().ok()).ok_or(UnwrapFailed::Refused)?;
        masters.unwrap(&backing.master, &wrapped, &backing_binding(&self.id, version))
    }
}

fn backing_binding(id: &str, version: u32) -> Vec<u8> {
    [b"kms".as_slice(), &version.to_be_bytes(), id.as_bytes()].concat()
}

/// Whether a key may have this id.
pub fn is_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// The id of the key that a request names: an id, the alias of the default key, or the ARN of either.
/// None if it can be no key's.
pub fn id_of_request(text: &str) -> Option<&str> {
    let name = match text.strip_prefix("arn:") {
        // arn:partition:kms:region:account:key/ID or :alias/NAME
        Some(rest) => match rest.splitn(5, ':').collect::<Vec<_>>().as_slice() {
            [_, "kms", _, _, name @ ..] => {
                let name = *name.first()?;
                if name.starts_with("alias/") { name } else { name.strip_prefix("key/")? }
            }
            _ => return None,
        },
        None => text,
    };
    if name == DEFAULT_KEY_ALIAS {
        return Some(DEFAULT_KEY_ID);
    }
    is_id(name).then_some(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn masters() -> MasterKeys {
        MasterKeys::parse(&format!("m:{}", "05".repeat(32))).unwrap()
    }

    #[test]
    fn rotation_keeps_the_older_backing_keys() {
        let masters = masters();
        let mut key = KmsKey::create("k", 10, &masters).unwrap();
        let first = key.backing_key(1, &masters).unwrap();
        key.rotate(20, &masters).unwrap();
        assert_eq!((key.version(), key.created, key.rotated()), (2, 10, 20));
        assert_eq!(key.backing_key(1, &masters).unwrap().bytes(), first.bytes());
        assert_ne!(key.backing_key(2, &masters).unwrap().bytes(), first.bytes());
        for version in [0, 3, u32::MAX] {
            assert_eq!(key.backing_key(version, &masters).err(), Some(UnwrapFailed::Refused));
        }
        let json = serde_json::to_vec(&key).unwrap();
        assert_eq!(serde_json::from_slice::<KmsKey>(&json).unwrap(), key);
    }

    #[test]
    fn backing_keys_of_another_key_or_version_do_not_open() {
        let masters = masters();
        let mut key = KmsKey::create("k", 0, &masters).unwrap();
        key.rotate(0, &masters).unwrap();
        key.versions.swap(0, 1);
        assert_eq!(key.backing_key(1, &masters).err(), Some(UnwrapFailed::Refused));
        key.versions.swap(0, 1);
        key.id = "other".to_owned();
        assert_eq!(key.backing_key(1, &masters).err(), Some(UnwrapFailed::Refused));
        let none = MasterKeys::default();
        assert!(matches!(key.backing_key(1, &none), Err(UnwrapFailed::Missing(_))));
        assert_eq!(KmsKey::create("k", 0, &none), Err(RingError::NoMaster));
    }

    #[test]
    fn versions_are_bounded() {
        let masters = masters();
        let mut key = KmsKey::create("k", 0, &masters).unwrap();
        (1..KMS_KEY_VERSIONS_MAX).for_each(|_| key.rotate(0, &masters).unwrap());
        assert_eq!(key.rotate(0, &masters), Err(RingError::TooManyVersions));
    }

    #[test]
    fn a_key_is_named_by_id_alias_or_arn() {
        let id = |text: &str| id_of_request(text).map(str::to_owned);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(id("p7n5_ch_idrivee2-48_com"), some("p7n5_ch_idrivee2-48_com"));
        assert_eq!(
            id("arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab"),
            some("1234abcd-12ab")
        );
        for text in ["alias/aws/s3", "arn:aws:kms:us-east-1:1:alias/aws/s3"] {
            assert_eq!(id(text), some(DEFAULT_KEY_ID), "{text}");
        }
        for text in [
            "",
            "a b",
            "a/b",
            "alias/mine",
            "arn:aws:kms:us-east-1:1:alias/mine",
            "arn:aws:s3:::bucket",
            "arn:aws:kms:us-east-1:1:a",
            "arn:aws:kms:us-east-1:1:key/a:b",
            "arn:aws:kms:r:1",
        ] {
            assert_eq!(id(text), None, "{text}");
        }
        assert_eq!(id(&"a".repeat(129)), None);
    }
}
