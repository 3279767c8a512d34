//! The S3 server: the binary's library, its configuration, both ports.

pub mod admin;
pub mod attributes;
pub mod auth;
pub mod checksum_headers;
pub mod conditional;
pub mod config;
pub mod dates;
pub mod error;
pub mod inspect_command;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod names;
pub mod ops;
pub mod percent;
pub mod range;
pub mod readiness;
pub mod root_credentials;
pub mod route;
pub mod serve;
pub mod service;
pub mod start_error;
pub mod stream;
mod sys;
pub mod xml;
