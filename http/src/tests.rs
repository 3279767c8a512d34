//! The connection as a whole, over a scripted stream and a clock that stands still.
#![allow(clippy::unwrap_used)]

mod answers;
mod bodies;
mod heads;
mod splits;
mod support;
mod timeouts;
