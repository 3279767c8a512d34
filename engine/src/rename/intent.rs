//! Intents: what the catalogue says of renames under way, and what a start makes of those that a crash has cut
//! short.

use crate::catalog::Catalog;
use crate::engine::Engine;
use crate::error::{ConditionFailure, Error, Result};
use crate::format::Malformed;
use crate::format::codec::{Reader, Write};
use crate::platform::Platform;
use crate::request::BucketChange;
use crate::store::Mutation;
use crate::types::{BucketId, Deletion, Guard, Version, Which};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// What the names of intents begin with in the catalogue; no bucket's name begins with a dot.
const PREFIX: &str = ".rename/";

/// Under which an intent has its value.
const VALUE: u16 = 0;
/// Set where the new record was found, and the former key could not be asked.
const HAPPENED: u16 = 1;

/// A rename that is to happen whole or not at all.
///
/// ```text
/// bucket: u32, version of the object: u64, version of the new record: u64, xxh3 of the object's attributes: u64,
/// former key and new key, each behind its length as u32; little-endian
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) bucket: BucketId,
    pub(super) from: Vec<u8>,
    /// The version that goes.
    pub(super) version: Version,
    pub(super) to: Vec<u8>,
    /// The version that the record of the new key has, and no other record of its shard.
    pub(super) reserved: Version,
    /// Of the attributes that the object had: whoever changes them after a failed rename is not ignored.
    pub(super) attributes_hash: u64,
}

impl Intent {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(self.bucket.0);
        bytes.put_u64(self.version.0);
        bytes.put_u64(self.reserved.0);
        bytes.put_u64(self.attributes_hash);
        bytes.put_string(&self.from);
        bytes.put_string(&self.to);
        bytes
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let bucket = BucketId(reader.u32()?);
        let (version, reserved) = (Version(reader.u64()?), Version(reader.u64()?));
        let attributes_hash = reader.u64()?;
        let (from, to) = (reader.string()?.to_vec(), reader.string()?.to_vec());
        if !reader.is_empty() {
            return Err(Malformed("an intent is too long"));
        }
        Ok(Self { bucket, from, version, to, reserved, attributes_hash })
    }
}

impl<P: Platform> Engine<P> {
    /// Makes an intent durable, and gives its name. `shard`: of the new key.
    pub(super) async fn note_intent(&self, shard: u16, intent: &Intent) -> Result<String> {
        let name = format!("{PREFIX}{shard:04x}{:016x}", intent.reserved.0);
        if self.context().mutation() != Some(Mutation::RenameWithoutIntent) {
            let settings = BTreeMap::from([(VALUE, intent.encode())]);
            self.change_bucket(BucketChange::Create { name: name.clone(), settings }).await?;
        }
        Ok(name)
    }

    pub(super) async fn forget_intent(&self, name: String) {
        match self.change_bucket(BucketChange::FinishDelete { name }).await {
            Ok(_) | Err(Error::NoSuchBucket) => {}
            // The next start will see that nothing is left to be done.
            Err(error) => tracing::warn!(%error, "the note of a rename stays"),
        }
    }

    /// Ends the renames that a crash has cut short; before any request is served. Those that need a shard
    /// which is not there are left for a later start.
    pub(crate) async fn resolve_renames(&self, catalog: &Catalog) {
        let entries: Vec<_> = catalog.named_from(PREFIX).cloned().collect();
        for entry in entries {
            let value = entry.settings.get(&VALUE).map_or(&[][..], Vec::as_slice);
            let resolved = match Intent::decode(value) {
                Ok(intent) => {
                    let is_told = entry.settings.contains_key(&HAPPENED);
                    self.resolve(&entry.name, &intent, is_told).await
                }
                Err(malformed) => Err(Error::Corrupt(malformed.to_string())),
            };
            match resolved {
                Ok(()) => self.forget_intent(entry.name.clone()).await,
                Err(error) => tracing::error!(%error, "a rename could not be ended"),
            }
        }
    }

    /// Ends what an intent tells of; `is_told`: that it has happened was found before.
    async fn resolve(&self, name: &str, intent: &Intent, is_told: bool) -> Result<()> {
        let Intent { bucket, from, version, to, reserved, attributes_hash } = intent;
        if !is_told {
            let renamed = self.lookup(*bucket, to, Which::Latest).await?;
            if renamed.is_none_or(|renamed| renamed.version != *reserved) {
                return Ok(());
            }
        }
        match self.resolve_source(*bucket, from, *version, *attributes_hash).await {
            // The new key may be written to before the drive of the former one is back.
            Err(error @ Error::Offline { .. }) if !is_told => {
                self.put_bucket_setting(name, HAPPENED, Some(Vec::new())).await?;
                Err(error)
            }
            resolved => resolved,
        }
    }

    async fn resolve_source(
        &self,
        bucket: BucketId,
        from: &[u8],
        version: Version,
        attributes_hash: u64,
    ) -> Result<()> {
        let former = self.lookup(bucket, from, Which::Latest).await?;
        if former.is_none_or(|former| former.version != version) {
            return Ok(());
        }
        let guard: Guard =
            Box::new(move |attributes| match xxh3_64(attributes) == attributes_hash {
                true => Ok(()),
                false => Err(ConditionFailure::Superseded),
            });
        let removal = Deletion::Remove { which: Which::Null, guard: Some(guard) };
        match self.delete(bucket, from, removal, None).await {
            Ok(_) => Ok(()),
            Err(Error::Condition(_)) => {
                let key = String::from_utf8_lossy(from);
                tracing::warn!(%key, "an object was changed after its rename had failed: it has both keys");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a rename to this key has begun and is not known to be ended.
    pub fn is_renaming(&self, bucket: BucketId, to: &[u8]) -> bool {
        let catalog = self.catalog();
        let mut intents = catalog.named_from(PREFIX).filter_map(|entry| {
            Intent::decode(entry.settings.get(&VALUE).map_or(&[][..], Vec::as_slice)).ok()
        });
        intents.any(|intent| intent.bucket == bucket && intent.to == to)
    }
}
