//! What the server itself keeps: users, keys for encryption and the like, as entries of the catalogue.
//!
//! An entry is a catalogue entry whose name begins with a dot, which the name of no bucket does:
//! `.KIND/ID`. So it is durable on every drive, changes in one step, and every core sees it at the cost
//! of one look into the snapshot that is in memory anyway.
//!
//! Invariant: no request of S3's reaches an entry by its name (`ops::Context::find_bucket`), and no
//! listing of buckets shows one.
//!
//! Not here: what the entries mean.

use crate::error::{Code, Result, S3Error};
use crate::settings::{SettingsCache, to_json};
use engine::platform::Platform;
use engine::{Bucket, Engine};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Under which an entry has its value.
const VALUE: u16 = 0;

/// A kind of entries.
pub trait SystemEntry: Serialize + DeserializeOwned + 'static {
    /// A short word in lower case. It is on disks.
    const KIND: &'static str;
}

/// Whether a name in the catalogue is an entry's and not a bucket's.
pub fn is_entry(name: &str) -> bool {
    name.starts_with('.')
}

fn name_of<T: SystemEntry>(id: &str) -> String {
    format!(".{}/{id}", T::KIND)
}

/// The entry of an id.
pub fn get<P: Platform, T: SystemEntry>(
    engine: &Engine<P>,
    cache: &SettingsCache,
    id: &str,
) -> Result<Option<Rc<T>>> {
    match engine.catalog().bucket(&name_of::<T>(id)) {
        Some(entry) => cache.parsed(entry, VALUE),
        None => Ok(None),
    }
}

/// All entries of a kind with their ids, in order of id.
pub fn all<P: Platform, T: SystemEntry>(
    engine: &Engine<P>,
    cache: &SettingsCache,
) -> Result<Vec<(String, Rc<T>)>> {
    let catalog = engine.catalog();
    let start = name_of::<T>("");
    let entries: Vec<&Arc<Bucket>> = catalog
        .buckets()
        .take_while(|entry| is_entry(&entry.name))
        .filter(|entry| entry.name.starts_with(&start))
        .collect();
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        if let (Some(id), Some(value)) =
            (entry.name.strip_prefix(&start), cache.parsed(entry, VALUE)?)
        {
            found.push((id.to_owned(), value));
        }
    }
    Ok(found)
}

/// Makes an entry; false if there is one of this id already.
pub async fn create<P: Platform, T: SystemEntry>(
    engine: &Engine<P>,
    id: &str,
    value: &T,
) -> Result<bool> {
    let settings = BTreeMap::from([(VALUE, to_json(value)?)]);
    match engine.create_bucket(&name_of::<T>(id), settings).await {
        Ok(_) => Ok(true),
        Err(engine::Error::BucketExists) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Changes an entry that is there; `NoSuchBucket` becomes false.
pub async fn update<P: Platform, T: SystemEntry>(
    engine: &Engine<P>,
    id: &str,
    value: &T,
) -> Result<bool> {
    match engine.put_bucket_setting(&name_of::<T>(id), VALUE, Some(to_json(value)?)).await {
        Ok(()) => Ok(true),
        Err(engine::Error::NoSuchBucket) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes an entry away; false if there was none.
pub async fn remove<P: Platform, T: SystemEntry>(engine: &Engine<P>, id: &str) -> Result<bool> {
    match engine.delete_bucket(&name_of::<T>(id)).await {
        Ok(()) => Ok(true),
        Err(engine::Error::NoSuchBucket) => Ok(false),
        Err(engine::Error::BucketNotEmpty) => {
            tracing::error!(id, "a system entry holds objects");
            Err(S3Error::from(Code::InternalError))
        }
        Err(error) => Err(error.into()),
    }
}
