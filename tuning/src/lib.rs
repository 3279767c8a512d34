//! What the host must give Ringfort: facts read from the machine, rules about them, what to set.
//!
//! `facts` looks and never judges; `rules` judges and never looks, so that every rule is tested by a
//! table; `apply` changes the few things that a process may change for itself. Nothing is printed
//! here: the caller decides who hears of a finding, and whether an error stops the start.

pub mod apply;
pub mod error;
pub mod facts;
pub mod limits;
pub mod rules;
mod sys;

pub use error::{Error, Result};
pub use facts::Facts;
pub use rules::{Finding, Needs, Severity, check};
