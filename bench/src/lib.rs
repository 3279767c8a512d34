//! What the benchmarks share: keys, the process's memory, and an engine to fill.
//!
//! The criterion benches stand in `benches/parts/`, whole programs in `src/bin/`, scenarios over a
//! running server in `scripts/`; `README.md` says how they measure.
//! Not here: verdicts. What is measured is printed; targets stand in the README.

pub mod error;
pub mod keys;
pub mod limits;
pub mod memory;
pub mod report;
pub mod store;

pub use error::{Error, Result};
