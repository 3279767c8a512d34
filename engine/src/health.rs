//! What of a store does not work now, in the operator's words.
//!
//! Not here: how much of anything (`metrics`), and what a request is told (`error`).

use crate::core::CoreContext;
use crate::error::Error;
use crate::platform::Platform;
use std::path::PathBuf;

/// What does not work; all empty when all is well.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Health {
    pub drives_offline: Vec<OfflineDrive>,
    /// Shards on those drives: requests for their keys are refused.
    pub shards_offline: Vec<u16>,
    /// Shards that take no writes until the store is reopened.
    pub shards_read_only: Vec<ReadOnlyShard>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineDrive {
    pub data_dir: PathBuf,
    pub cause: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnlyShard {
    pub shard: u16,
    pub cause: String,
}

impl Health {
    pub fn is_well(&self) -> bool {
        self.drives_offline.is_empty() && self.shards_read_only.is_empty()
    }

    /// Adds what another core says.
    pub fn add(&mut self, other: Self) {
        self.drives_offline.extend(other.drives_offline);
        self.shards_offline.extend(other.shards_offline);
        self.shards_read_only.extend(other.shards_read_only);
    }
}

impl<P: Platform> CoreContext<P> {
    /// What this core says of its shards; the drives are everybody's, so one core speaks of them.
    pub(crate) fn health(&self, speaks_of_drives: bool) -> Health {
        let mut health = Health::default();
        for shard in self.own_shards().iter().filter(|shard| shard.is_latched()) {
            if let Error::ReadOnly { shard, cause } = shard.read_only_error() {
                health.shards_read_only.push(ReadOnlyShard { shard, cause });
            }
        }
        if !speaks_of_drives {
            return health;
        }
        for (data_dir, drive) in self.layout.data_dirs.iter().zip(0..) {
            if let Some(cause) = self.drives.cause(drive) {
                let (data_dir, cause) = (data_dir.clone(), cause.as_str().to_owned());
                health.drives_offline.push(OfflineDrive { data_dir, cause });
            }
        }
        let shards = 0..self.layout.shard_count;
        health.shards_offline =
            shards.filter(|shard| self.offline_cause(*shard).is_some()).collect();
        health
    }
}
