//! Settings of buckets: what their configurations say, as the engine's catalogue keeps it.
//!
//! A setting is a value of a type of its own, stored as JSON under the number of its type. The catalogue
//! is one immutable snapshot in memory, so a setting that is not there costs one look into a small map;
//! one that is there is parsed once on each core and kept until it changes.
//!
//! Invariants: a setting was validated whole before it is stored, and is stored in one durable change;
//! what is stored and cannot be read is an error, never the absence of the setting.
//!
//! Not here: the meaning of any setting, and the documents by which clients give them.

use crate::error::{Code, Result, S3Error};
use crate::limits::SETTINGS_KEPT_MAX;
use engine::platform::Platform;
use engine::{Bucket, BucketId, Engine};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// The numbers of settings in the catalogue. They are on disks: none is ever used again.
pub mod tag {
    pub const OWNER: u16 = 1;
    pub const VERSIONING: u16 = 2;
    pub const OBJECT_LOCK: u16 = 3;
    pub const TAGGING: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const ACL: u16 = 6;
    pub const PUBLIC_ACCESS_BLOCK: u16 = 7;
    pub const OWNERSHIP: u16 = 8;
    pub const CORS: u16 = 9;
    pub const ENCRYPTION: u16 = 10;
    pub const LIFECYCLE: u16 = 11;
    pub const LOGGING: u16 = 12;
    pub const NOTIFICATION: u16 = 13;
    pub const WEBSITE: u16 = 14;
    pub const REQUEST_PAYMENT: u16 = 15;
    pub const QUOTA: u16 = 16;
    pub const LIMITS: u16 = 17;
    pub const ORIGIN: u16 = 18;
}

/// A setting of a bucket.
pub trait BucketSetting: Serialize + DeserializeOwned + 'static {
    /// One of [`tag`].
    const TAG: u16;
}

/// One core's parsed settings.
#[derive(Default)]
pub struct SettingsCache {
    kept: RefCell<HashMap<(BucketId, u16), Kept>>,
}

struct Kept {
    /// The state of the bucket in which the value was found.
    bucket: Arc<Bucket>,
    value: Rc<dyn Any>,
}

impl SettingsCache {
    /// A bucket's setting; none where it was never set.
    pub fn get<T: BucketSetting>(&self, bucket: &Arc<Bucket>) -> Result<Option<Rc<T>>> {
        self.parsed(bucket, T::TAG)
    }

    /// The value of any type under a number.
    pub(crate) fn parsed<T: DeserializeOwned + 'static>(
        &self,
        bucket: &Arc<Bucket>,
        tag: u16,
    ) -> Result<Option<Rc<T>>> {
        let Some(encoded) = bucket.settings.get(&tag) else { return Ok(None) };
        let mut kept = self.kept.borrow_mut();
        if let Some(found) = kept.get_mut(&(bucket.id, tag)) {
            let is_same = Arc::ptr_eq(&found.bucket, bucket)
                || found.bucket.settings.get(&tag) == Some(encoded);
            if is_same && let Ok(value) = found.value.clone().downcast::<T>() {
                if !Arc::ptr_eq(&found.bucket, bucket) {
                    found.bucket = bucket.clone();
                }
                return Ok(Some(value));
            }
        }
        let value: Rc<T> = Rc::new(serde_json::from_slice(encoded).map_err(|error| {
            tracing::error!(bucket = bucket.name, tag, %error, "a stored setting cannot be read");
            S3Error::from(Code::InternalError)
        })?);
        if kept.len() >= SETTINGS_KEPT_MAX {
            kept.clear();
        }
        kept.insert((bucket.id, tag), Kept { bucket: bucket.clone(), value: value.clone() });
        Ok(Some(value))
    }
}

impl std::fmt::Debug for SettingsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingsCache").field("kept", &self.kept.borrow().len()).finish()
    }
}

/// As the catalogue stores it.
pub fn encode<T: BucketSetting>(value: &T) -> Result<Vec<u8>> {
    to_json(value)
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "a setting cannot be stored");
        Code::InternalError.into()
    })
}

/// Stores a setting, durably; every core sees it when this returns.
///
/// `OperationAborted` if the bucket is somebody else's by now.
pub async fn put<P: Platform, T: BucketSetting>(
    engine: &Engine<P>,
    bucket: &Bucket,
    value: &T,
) -> Result<()> {
    put_judged(engine, bucket, value, &[]).await
}

/// Stores a setting that was judged by others of its bucket, which are given by their numbers.
///
/// `OperationAborted` if one of them is not what it was, or the bucket is somebody else's by now.
pub async fn put_judged<P: Platform, T: BucketSetting>(
    engine: &Engine<P>,
    bucket: &Bucket,
    value: &T,
    judged: &[u16],
) -> Result<()> {
    put_encoded::<P, T>(engine, bucket, encode(value)?, judged).await
}

/// The same for one that is [encoded](encode) already.
pub async fn put_encoded<P: Platform, T: BucketSetting>(
    engine: &Engine<P>,
    bucket: &Bucket,
    value: Vec<u8>,
    judged: &[u16],
) -> Result<()> {
    change(engine, bucket, (T::TAG, Some(value)), judged).await
}

/// Takes a setting away; it is no error if it was not there.
///
/// `OperationAborted` if the bucket is somebody else's by now.
pub async fn remove<P: Platform, T: BucketSetting>(
    engine: &Engine<P>,
    bucket: &Bucket,
) -> Result<()> {
    if !bucket.settings.contains_key(&T::TAG) {
        return Ok(());
    }
    change(engine, bucket, (T::TAG, None), &[]).await
}

/// Makes one change if all that it was judged by still holds. That is the owner in any case: somebody
/// else's bucket may have taken the name since the caller was let in.
async fn change<P: Platform>(
    engine: &Engine<P>,
    bucket: &Bucket,
    change: (u16, Option<Vec<u8>>),
    judged: &[u16],
) -> Result<()> {
    let judged = judged.iter().chain([&tag::OWNER]);
    let expected = judged.map(|tag| (*tag, bucket.settings.get(tag).cloned())).collect();
    match engine.put_bucket_settings(&bucket.name, BTreeMap::from([change]), expected).await {
        Err(engine::Error::Condition(_)) => Err(Code::OperationAborted.into()),
        changed => Ok(changed?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use engine::Version;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
    struct Colour(String);

    impl BucketSetting for Colour {
        const TAG: u16 = 60_000;
    }

    fn bucket(settings: &[(u16, &[u8])]) -> Arc<Bucket> {
        let settings: BTreeMap<_, _> =
            settings.iter().map(|(tag, value)| (*tag, value.to_vec())).collect();
        Arc::new(Bucket { id: BucketId(1), name: "b".into(), created: Version(1), settings })
    }

    #[test]
    fn a_setting_is_parsed_once_and_again_when_it_changed() {
        let cache = SettingsCache::default();
        assert_eq!(cache.get::<Colour>(&bucket(&[])).unwrap(), None);
        let red = bucket(&[(Colour::TAG, b"\"red\"")]);
        let first = cache.get::<Colour>(&red).unwrap().unwrap();
        assert_eq!(first.0, "red");
        assert!(Rc::ptr_eq(&first, &cache.get(&red).unwrap().unwrap()));
        // Another setting of the bucket changed.
        let other = bucket(&[(Colour::TAG, b"\"red\""), (1, b"1")]);
        assert!(Rc::ptr_eq(&first, &cache.get(&other).unwrap().unwrap()));
        let blue = bucket(&[(Colour::TAG, b"\"blue\"")]);
        assert_eq!(cache.get::<Colour>(&blue).unwrap().unwrap().0, "blue");
        assert_eq!(cache.get::<Colour>(&bucket(&[])).unwrap(), None);
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_not_taken_as_absent() {
        let cache = SettingsCache::default();
        let error = cache.get::<Colour>(&bucket(&[(Colour::TAG, b"{")])).unwrap_err();
        assert_eq!(error.code, Code::InternalError);
    }
}
