//! What the buckets of one user may take of the catalogue, which is in memory whole, and whose list of buckets is copied
//! at each change of one.
//!
//! Budget: a walk over all buckets, and a lock that all cores share, for each bucket that a user makes and each setting of
//! a user's bucket that grows.
//!
//! Invariants: what is being stored counts from when it was let in, on whatever core, so that many at once are no way
//! round a bound; who has more than a bound allows may still take away, shorten, and set what is [`SMALL_BYTES`] long.
//! Root's own are the operator's affair and have no bound, nor has what comes by the management port.

use crate::access::authorise::BucketOwner;
use crate::error::{Code, Result, S3Error};
use crate::limits::{BUCKETS_PER_USER, SETTINGS_BYTES_PER_BUCKET, SETTINGS_BYTES_PER_USER};
use crate::settings::BucketSetting;
use engine::platform::Platform;
use engine::{Bucket, Engine};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// A setting that is no longer than this is stored whatever there is: who suspends versioning or blocks public access is
/// not to be told that there is too much.
const SMALL_BYTES: usize = 256;

/// The bounds for each user; clones share what is under way.
#[derive(Debug, Clone)]
pub struct Holdings {
    pub buckets_max: usize,
    /// Of all settings of all of a user's buckets, as they are stored.
    pub settings_bytes_max: usize,
    /// What is being stored, by owner as buckets tell it.
    pending: Arc<Mutex<HashMap<Vec<u8>, Share>>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    buckets: usize,
    bytes: usize,
}

/// What is being stored, until this is dropped.
#[derive(Debug)]
pub struct Pending {
    pending: Arc<Mutex<HashMap<Vec<u8>, Share>>>,
    owner: Vec<u8>,
    share: Share,
}

impl Default for Holdings {
    fn default() -> Self {
        Self::of(BUCKETS_PER_USER)
    }
}

impl Holdings {
    /// The bounds where a user may have so many buckets.
    pub fn of(buckets_max: usize) -> Self {
        let settings_bytes_max = SETTINGS_BYTES_PER_USER
            .saturating_add(buckets_max.saturating_mul(SETTINGS_BYTES_PER_BUCKET));
        Self { buckets_max, settings_bytes_max, pending: Arc::default() }
    }

    /// Lets a bucket with these settings be made, if it is a user's. To be held until it is.
    ///
    /// # Errors
    /// `TooManyBuckets`, or `InvalidRequest` for too many settings.
    pub fn admit_bucket<P: Platform>(
        &self,
        engine: &Engine<P>,
        settings: &BTreeMap<u16, Vec<u8>>,
    ) -> Result<Option<Pending>> {
        let Some(owner) = settings.get(&BucketOwner::TAG) else { return Ok(None) };
        let bytes = bytes_of(settings);
        self.admit(engine, owner, Share { buckets: 1, bytes }, bytes > owner.len() + SMALL_BYTES)
            .map(Some)
    }

    /// Lets a setting of so many bytes be stored, if the bucket is a user's. To be held until it is.
    ///
    /// # Errors
    /// `InvalidRequest` for too many settings.
    pub fn admit_setting<P: Platform, T: BucketSetting>(
        &self,
        engine: &Engine<P>,
        bucket: &Bucket,
        bytes: usize,
    ) -> Result<Option<Pending>> {
        let Some(owner) = bucket.settings.get(&BucketOwner::TAG) else { return Ok(None) };
        let catalog = engine.catalog();
        // The caller's view may be older than its request's body.
        let now = catalog.bucket(&bucket.name);
        let old = now.and_then(|now| now.settings.get(&T::TAG)).map_or(0, Vec::len);
        let share = Share { buckets: 0, bytes: bytes.saturating_sub(old) };
        if share.bytes == 0 {
            return Ok(None);
        }
        self.admit(engine, owner, share, bytes > SMALL_BYTES).map(Some)
    }

    fn admit<P: Platform>(
        &self,
        engine: &Engine<P>,
        owner: &[u8],
        share: Share,
        is_long: bool,
    ) -> Result<Pending> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: what was stored meanwhile is in the one or in the other.
        let catalog = engine.catalog();
        let own = catalog.buckets().filter(|bucket| {
            bucket.settings.get(&BucketOwner::TAG).is_some_and(|setting| setting == owner)
        });
        let mut held = pending.get(owner).copied().unwrap_or_default();
        held.add(share);
        for bucket in own {
            held.add(Share { buckets: 1, bytes: bytes_of(&bucket.settings) });
        }
        if share.buckets > 0 && held.buckets > self.buckets_max {
            return Err(Code::TooManyBuckets.into());
        }
        if is_long && held.bytes > self.settings_bytes_max {
            let most = self.settings_bytes_max;
            let message = format!("All settings of all buckets of one owner may have {most} bytes");
            return Err(S3Error::new(Code::InvalidRequest, message));
        }
        pending.entry(owner.to_vec()).or_default().add(share);
        Ok(Pending { pending: Arc::clone(&self.pending), owner: owner.to_vec(), share })
    }
}

impl Share {
    fn add(&mut self, other: Self) {
        self.buckets += other.buckets;
        self.bytes += other.bytes;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = pending.get_mut(&self.owner) {
            held.buckets -= self.share.buckets;
            held.bytes -= self.share.bytes;
            if *held == Share::default() {
                pending.remove(&self.owner);
            }
        }
    }
}

fn bytes_of(settings: &BTreeMap<u16, Vec<u8>>) -> usize {
    settings.values().map(Vec::len).sum()
}
