//! What the buckets of one user may take of the catalogue, which is in memory whole, and whose list of buckets is copied
//! at each change of one.
//!
//! Budget: a walk over all buckets for each that a user makes, and for each setting of a user's bucket that grows.
//!
//! Invariant: root's own are the operator's affair, and have no bound. Requests under way at the same time may each be let
//! in by what was there before them.

use crate::access::authorise::BucketOwner;
use crate::error::{Code, Result, S3Error};
use crate::limits::{BUCKETS_PER_USER, SETTINGS_BYTES_PER_USER_MAX};
use crate::settings::{BucketSetting, encode};
use engine::platform::Platform;
use engine::{Bucket, Engine};
use std::sync::Arc;

/// The bounds for each user.
#[derive(Debug, Clone, Copy)]
pub struct Holdings {
    pub buckets_max: usize,
    /// Of all settings of all of a user's buckets, as they are stored.
    pub settings_bytes_max: usize,
}

impl Default for Holdings {
    fn default() -> Self {
        Self { buckets_max: BUCKETS_PER_USER, settings_bytes_max: SETTINGS_BYTES_PER_USER_MAX }
    }
}

impl Holdings {
    /// Whether a user may have one bucket more.
    ///
    /// # Errors
    /// `TooManyBuckets`.
    pub fn check_bucket<P: Platform>(self, engine: &Engine<P>, owner: &BucketOwner) -> Result<()> {
        let owner = encode(owner)?;
        let catalog = engine.catalog();
        match catalog.buckets().filter(|bucket| is_of(bucket, &owner)).count() < self.buckets_max {
            true => Ok(()),
            false => Err(Code::TooManyBuckets.into()),
        }
    }

    /// Whether a bucket may have this setting, as far as what its owner's buckets have beside it goes.
    ///
    /// # Errors
    /// `InvalidRequest`.
    pub fn check_setting<P: Platform, T: BucketSetting>(
        self,
        engine: &Engine<P>,
        bucket: &Bucket,
        value: &T,
    ) -> Result<()> {
        let Some(owner) = bucket.settings.get(&BucketOwner::TAG) else { return Ok(()) };
        let (new, old) = (encode(value)?.len(), bucket.settings.get(&T::TAG).map_or(0, Vec::len));
        if new <= old {
            return Ok(());
        }
        let catalog = engine.catalog();
        let own = catalog.buckets().filter(|other| is_of(other, owner));
        let bytes: usize =
            own.map(|bucket| bucket.settings.values().map(Vec::len).sum::<usize>()).sum();
        if bytes + (new - old) <= self.settings_bytes_max {
            return Ok(());
        }
        let most = self.settings_bytes_max;
        let message = format!("All settings of all buckets of one owner may have {most} bytes");
        Err(S3Error::new(Code::InvalidRequest, message))
    }
}

/// Whether a bucket says this of its owner: a user's access key never changes.
fn is_of(bucket: &Arc<Bucket>, owner: &[u8]) -> bool {
    bucket.settings.get(&BucketOwner::TAG).is_some_and(|setting| setting == owner)
}
