//! The key ring of SSE-KMS: finds keys, makes, rotates and disables them.
//!
//! Invariants: nothing is done with a disabled key; of all who make the same key or the same backing key
//! at once, one succeeds and the others take what it made.
//!
//! Not here: the form of the entries (`kms`), the routes that manage them (`admin::kms`).

use super::Encryption;
use super::kms::{BackingKey, DEFAULT_KEY_ID, KmsKey, backing_id, newest_version};
use super::master::{MissingMaster, NOT_CONFIGURED, UnwrapFailed};
use super::secret::SecretKey;
use crate::error::{Code, S3Error};
use crate::limits::{KMS_KEY_VERSIONS_MAX, KMS_KEYS_MAX};
use crate::settings::SettingsCache;
use crate::system;
use engine::Engine;
use engine::platform::Platform;
use std::rc::Rc;

const NANOSECONDS: u64 = 1_000_000_000;

/// The ring, as one request sees it.
#[derive(Debug, Clone, Copy)]
pub struct KeyRing<'a, P: Platform> {
    pub engine: &'a Engine<P>,
    pub cache: &'a SettingsCache,
    pub encryption: &'a Encryption,
}

/// A key with what its newest backing key tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    pub id: String,
    pub key: Rc<KmsKey>,
    /// How many backing keys it has.
    pub versions: u32,
    /// When the newest one was made, in seconds since the Unix epoch.
    pub rotated: i64,
}

/// Why the ring did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingError {
    NoMaster,
    Exists,
    NotFound(String),
    Disabled(String),
    TooMany,
    /// A backing key is damaged or is wrapped by a master key that is not there.
    Unwrap(UnwrapFailed),
    Store(S3Error),
}

type Result<T> = std::result::Result<T, RingError>;

impl<P: Platform> KeyRing<'_, P> {
    /// Whether keys can be made, rotated and used.
    pub fn has_master(&self) -> bool {
        !self.encryption.masters.is_empty()
    }

    /// All keys in order of id.
    pub fn all(&self) -> Result<Vec<KeyState>> {
        let keys = system::all::<P, KmsKey>(self.engine, self.cache)?;
        keys.into_iter().map(|(id, key)| self.state(id, key)).collect()
    }

    /// The state of one key.
    pub fn find(&self, id: &str) -> Result<KeyState> {
        self.state(id.to_owned(), self.key(id)?)
    }

    /// Makes a key with its first backing key.
    pub async fn create(&self, id: &str) -> Result<KeyState> {
        if !self.has_master() {
            return Err(RingError::NoMaster);
        }
        if system::all::<P, KmsKey>(self.engine, self.cache)?.len() >= KMS_KEYS_MAX {
            return Err(RingError::TooMany);
        }
        let key = KmsKey { created: self.now(), enabled: true };
        if !system::create(self.engine, id, &key).await? {
            return Err(RingError::Exists);
        }
        self.add_version(id, 1).await?;
        self.find(id)
    }

    /// Adds a backing key.
    pub async fn rotate(&self, id: &str) -> Result<KeyState> {
        self.key(id)?;
        let version = self.version(id) + 1;
        if version as usize > KMS_KEY_VERSIONS_MAX {
            return Err(RingError::TooMany);
        }
        self.add_version(id, version).await?;
        self.find(id)
    }

    pub async fn set_enabled(&self, id: &str, enabled: bool) -> Result<KeyState> {
        let key = KmsKey { enabled, ..KmsKey::clone(&*self.key(id)?) };
        if !system::update(self.engine, id, &key).await? {
            return Err(RingError::NotFound(id.to_owned()));
        }
        self.find(id)
    }

    /// The backing key for a new object, and its number. The default key is made if it is not there.
    pub async fn for_writing(&self, id: &str) -> Result<(u32, SecretKey)> {
        if !self.has_master() {
            return Err(RingError::NoMaster);
        }
        if id == DEFAULT_KEY_ID && matches!(self.key(id), Err(RingError::NotFound(_))) {
            match self.create(id).await {
                Ok(_) | Err(RingError::Exists) => {}
                Err(error) => return Err(error),
            }
        }
        self.enabled_key(id)?;
        let version = match self.version(id) {
            // Whoever makes the key has not made its backing key yet, or was stopped before.
            0 => {
                self.add_version(id, 1).await?;
                1
            }
            version => version,
        };
        Ok((version, self.backing(id, version)?))
    }

    /// The backing key that an object was encrypted with.
    pub fn for_reading(&self, id: &str, version: u32) -> Result<SecretKey> {
        self.enabled_key(id)?;
        self.backing(id, version)
    }

    fn backing(&self, id: &str, version: u32) -> Result<SecretKey> {
        let entry = self.entry(id, version)?.ok_or(RingError::Unwrap(UnwrapFailed::Refused))?;
        entry.open(id, version, &self.encryption.masters).map_err(RingError::Unwrap)
    }

    /// Makes a backing key; that somebody else made it meanwhile is as good.
    async fn add_version(&self, id: &str, version: u32) -> Result<()> {
        let master = self.encryption.masters.current().ok_or(RingError::NoMaster)?;
        let backing = BackingKey::create(id, version, self.now(), master);
        let backing = backing.map_err(|failed| RingError::Store(failed.into()))?;
        system::create(self.engine, &backing_id(id, version), &backing).await?;
        Ok(())
    }

    fn key(&self, id: &str) -> Result<Rc<KmsKey>> {
        let key = system::get::<P, KmsKey>(self.engine, self.cache, id)?;
        key.ok_or_else(|| RingError::NotFound(id.to_owned()))
    }

    fn enabled_key(&self, id: &str) -> Result<()> {
        if self.key(id)?.enabled { Ok(()) } else { Err(RingError::Disabled(id.to_owned())) }
    }

    fn entry(&self, id: &str, version: u32) -> Result<Option<Rc<BackingKey>>> {
        Ok(system::get::<P, BackingKey>(self.engine, self.cache, &backing_id(id, version))?)
    }

    fn version(&self, id: &str) -> u32 {
        newest_version(|version| matches!(self.entry(id, version), Ok(Some(_))))
    }

    fn state(&self, id: String, key: Rc<KmsKey>) -> Result<KeyState> {
        let versions = self.version(&id);
        let newest = self.entry(&id, versions)?;
        let rotated = newest.map_or(key.created, |newest| newest.created);
        Ok(KeyState { id, key, versions, rotated })
    }

    fn now(&self) -> i64 {
        let seconds = self.engine.platform().wall_clock_ns() / NANOSECONDS;
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }
}

impl From<S3Error> for RingError {
    fn from(error: S3Error) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for RingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMaster => f.write_str(NOT_CONFIGURED),
            Self::Exists => f.write_str("there is a key of this id already"),
            Self::NotFound(id) => write!(f, "Invalid keyId '{id}'"),
            Self::Disabled(id) => write!(f, "The key {id} is disabled."),
            Self::TooMany => f.write_str("the ring, or the key, has as many as it can have"),
            Self::Unwrap(UnwrapFailed::Missing(MissingMaster(id))) => {
                write!(f, "The master key {id}, which this needs, is not configured.")
            }
            Self::Unwrap(UnwrapFailed::Refused) => f.write_str("a stored key does not open"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

/// As a client of S3 hears it.
impl From<RingError> for S3Error {
    fn from(error: RingError) -> Self {
        let code = match error {
            RingError::NoMaster => Code::NotImplemented,
            RingError::NotFound(_) => Code::KmsNotFound,
            RingError::Disabled(_) => Code::KmsDisabled,
            RingError::Unwrap(failed) => return failed.into(),
            RingError::Store(error) => return error,
            RingError::Exists | RingError::TooMany => Code::InternalError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<UnwrapFailed> for S3Error {
    fn from(failed: UnwrapFailed) -> Self {
        match failed {
            // It may come back with the next start, as a drive that is offline does.
            UnwrapFailed::Missing(missing) => {
                tracing::warn!(master = missing.0, "a master key that is needed is not configured");
                Self::new(
                    Code::ServiceUnavailable,
                    format!("The master key {}, which this needs, is not configured.", missing.0),
                )
            }
            UnwrapFailed::Refused => {
                tracing::error!("a stored key does not open: it is damaged, or of another store");
                Code::InternalError.into()
            }
        }
    }
}
