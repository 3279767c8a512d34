//! Intents: what the catalogue says of renames under way, and what a start makes of those that a crash has cut
//! short.

use crate::catalog::Catalog;
use crate::engine::Engine;
use crate::error::{ConditionFailure, Error, Result};
use crate::format::intent::Intent;
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
