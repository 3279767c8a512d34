//! Load generator for any S3 endpoint: closed and open loop, HDR percentiles, verified content, and
//! a ledger of acknowledged writes for crash tests.
//!
//! **Invariant:** imports none of the project's other crates, and signs requests by its own code, so
//! that it is an independent witness of the server that it drives.
//! **Invariant:** it costs less CPU than what it measures: its runtime does nothing but tasks, timers and
//! sockets, and a request allocates nothing.
//! **Invariant:** every run is bounded, by count or by duration, and goes to loopback unless the user
//! says otherwise.
//!
//! Deliberately absent: TLS, retries (a failed request is a finding, not something to hide).

pub mod body;
pub mod chart;
pub mod checksum;
pub mod client;
pub mod compare;
pub mod content;
pub mod error;
pub mod histogram;
pub mod html;
pub mod keyspace;
pub mod ledger;
pub mod limits;
pub mod observe;
pub mod options;
pub mod output;
pub(crate) mod pace;
pub mod process;
pub mod report;
pub mod request;
pub mod runner;
mod runtime;
pub mod samples;
pub(crate) mod setup;
pub mod sign;
pub mod stats;
mod stream;
pub mod sweep;
pub mod verify;
mod verify_listing;
mod worker;
pub mod workload;
pub mod zipf;

pub use error::{Error, Result};
