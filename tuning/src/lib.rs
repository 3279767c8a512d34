//! What the host must give Ringfort: facts read from the machine, rules about them, what to set.
//!
//! `facts` looks and never judges; `rules` judges and never looks, so that every rule is tested by a
//! table; `apply` writes what was asked for and says how to undo it; `measure` finds out what a device
//! gives, and `profile` keeps that for the engine. Nothing is printed here: the caller decides who hears
//! of a finding, and whether an error stops the start.

pub mod apply;
pub mod error;
pub mod facts;
pub mod limits;
pub mod measure;
pub mod profile;
pub mod rules;
mod sys;

pub use error::{Error, Result};
pub use facts::{Facts, Host, Root};
pub use profile::DeviceProfile;
pub use rules::{Family, Finding, Needs, Setting, Severity, advise, check};
