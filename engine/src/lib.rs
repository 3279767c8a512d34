//! The storage engine: keys, bytes, versions and durability; nothing of HTTP, XML or users.
//!
//! `ARCHITECTURE.md` at the workspace root is the map; `engine/README.md` states the guarantees;
//! `engine/FORMAT.md` draws every byte on disk.

pub mod checksum;
pub mod error;
pub mod index;
pub mod platform;
pub mod types;

pub use error::{ConditionFailure, Error, Result};
pub use types::*;
