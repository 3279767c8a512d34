//! The storage engine: keys, bytes, versions and durability; nothing of HTTP, XML or users.
//!
//! `ARCHITECTURE.md` at the workspace root is the map; `engine/README.md` states the guarantees;
//! `engine/FORMAT.md` draws every byte on disk.

mod append;
mod bucket_ops;
mod budget;
mod catalog;
mod checkpoint;
pub mod checksum;
mod clock;
mod compact;
mod core;
mod data_sync;
mod displaced;
mod drives;
pub mod engine;
pub mod error;
mod files;
pub mod format;
mod health;
pub mod index;
mod index_key;
pub mod inspect;
pub mod limits;
mod listing;
mod log_group;
mod mailbox;
mod maintenance;
mod metrics;
mod multipart;
mod pace;
mod pins;
pub mod platform;
mod read;
mod recover;
mod relocation;
mod request;
mod scan;
mod segments;
mod shard;
mod slab;
mod state;
pub mod store;
pub mod types;
mod wait;
mod window;
mod writer;

pub use catalog::Catalog;
pub use engine::{Engine, Recovered, Shared};
pub use error::{ConditionFailure, Error, Result};
pub use health::{Health, OfflineDrive, ReadOnlyShard};
pub use metrics::EngineMetrics;
pub use read::{Chunk, ObjectReader};
pub use shard::Committed;
pub use types::*;
pub use writer::ObjectWriter;
