//! The keys of SSE-KMS, as entries of the catalogue.
//!
//! A key has an id and backing keys, numbered from 1, each wrapped by a master key. New objects get the
//! newest backing key; rotation adds one, and the older ones open what they encrypted.
//!
//! Invariants: a backing key is never stored unwrapped. It is an entry of its own that is made once and
//! never changed or removed, so that nothing that goes on at the same time can lose one with which an
//! object was encrypted.
//!
//! Not here: finding, making and rotating them (`ring`).

use super::master::{MasterKeys, UnwrapFailed};
use super::secret::{CryptoFailed, SecretKey, WRAPPED_BYTES};
use crate::system::SystemEntry;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The key of those who name none; its alias is the one that AWS gives it.
pub const DEFAULT_KEY_ID: &str = "aws-s3";
const DEFAULT_KEY_ALIAS: &str = "alias/aws/s3";

const ID_BYTES_MAX: usize = 128;

/// What is known of a key beside its backing keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsKey {
    /// Seconds since the Unix epoch.
    pub created: i64,
    /// A disabled key encrypts and decrypts nothing.
    pub enabled: bool,
}

impl SystemEntry for KmsKey {
    const KIND: &'static str = "kms";
}

/// One backing key, under [`backing_id`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackingKey {
    /// Seconds since the Unix epoch.
    pub created: i64,
    /// The id of the master key that wrapped it.
    pub master: String,
    /// Base64.
    wrapped: String,
}

impl SystemEntry for BackingKey {
    const KIND: &'static str = "kms-backing";
}

/// The id of a backing key's entry.
pub fn backing_id(id: &str, version: u32) -> String {
    format!("{id}.{version}")
}

impl BackingKey {
    /// A new backing key of that number, wrapped by the current master key.
    pub fn create(
        id: &str,
        version: u32,
        now: i64,
        (master, wrapping): (&str, &SecretKey),
    ) -> Result<Self, CryptoFailed> {
        let wrapped = wrapping.wrap(&SecretKey::random()?, &binding(id, version))?;
        let wrapped = BASE64_STANDARD.encode(wrapped);
        Ok(Self { created: now, master: master.to_owned(), wrapped })
    }

    pub fn open(
        &self,
        id: &str,
        version: u32,
        masters: &MasterKeys,
    ) -> Result<SecretKey, UnwrapFailed> {
        let wrapped = BASE64_STANDARD.decode(&self.wrapped).ok();
        let wrapped: Option<[u8; WRAPPED_BYTES]> = wrapped.and_then(|bytes| bytes.try_into().ok());
        let wrapped = wrapped.ok_or(UnwrapFailed::Refused)?;
        masters.unwrap(&self.master, &wrapped, &binding(id, version))
    }
}

fn binding(id: &str, version: u32) -> Vec<u8> {
    [b"kms".as_slice(), &version.to_be_bytes(), id.as_bytes()].concat()
}

/// The number of the newest backing key where `exists` tells of each whether it is there; they have no
/// gaps. 0: there is none.
pub fn newest_version(exists: impl Fn(u32) -> bool) -> u32 {
    let mut step = 1;
    let mut newest = 0;
    while exists(newest + step) {
        newest += step;
        step *= 2;
    }
    while step > 1 {
        step /= 2;
        if exists(newest + step) {
            newest += step;
        }
    }
    newest
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
        Some(rest) => {
            let mut fields = rest.splitn(5, ':');
            let (service, name) = (fields.nth(1)?, fields.nth(2)?);
            match name.strip_prefix("key/") {
                _ if service != "kms" => return None,
                Some(id) => id,
                None if name.starts_with("alias/") => name,
                None => return None,
            }
        }
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
    fn a_backing_key_opens_as_itself_alone() {
        let masters = masters();
        let key = BackingKey::create("k", 1, 10, masters.current().unwrap()).unwrap();
        let opened = key.open("k", 1, &masters).unwrap();
        let json = serde_json::to_vec(&key).unwrap();
        let read: BackingKey = serde_json::from_slice(&json).unwrap();
        assert_eq!(read.open("k", 1, &masters).unwrap().bytes(), opened.bytes());
        assert_eq!(key.open("k", 2, &masters).err(), Some(UnwrapFailed::Refused));
        assert_eq!(key.open("l", 1, &masters).err(), Some(UnwrapFailed::Refused));
        let missing = key.open("k", 1, &MasterKeys::default());
        assert!(matches!(missing, Err(UnwrapFailed::Missing(_))));
    }

    #[test]
    fn the_newest_version_is_found() {
        for newest in [0, 1, 2, 3, 4, 5, 7, 8, 9, 100, 255, 256, 257] {
            assert_eq!(newest_version(|version| version <= newest), newest);
        }
    }

    #[test]
    fn a_key_is_named_by_id_alias_or_arn() {
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(id_of_request(text), expected, "{text}");
        }
        check("p7n5_ch_idrivee2-48_com", Some("p7n5_ch_idrivee2-48_com"));
        check("arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab", Some("1234abcd-12ab"));
        check("alias/aws/s3", Some(DEFAULT_KEY_ID));
        check("arn:aws:kms:us-east-1:1:alias/aws/s3", Some(DEFAULT_KEY_ID));
        for text in [
            "",
            "a b",
            "a/b",
            "alias/mine",
            "arn:aws:kms:us-east-1:1:alias/mine",
            "arn:aws:s3:::bucket",
            "arn:aws:s3:us-east-1:1:key/a",
            "arn:aws:kms:us-east-1:1:a",
            "arn:aws:kms:us-east-1:1:key/a:b",
            "arn:aws:kms:r:1",
        ] {
            check(text, None);
        }
        check(&"a".repeat(129), None);
    }
}
