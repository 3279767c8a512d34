//! HTTP/1.1, server side, over abstract streams and an abstract clock.
//!
//! Invariants: every answer carries its exact length or the connection is cut; a request whose
//! framing is in doubt is refused and its connection closed; nothing that a peer sends can panic;
//! every buffer, loop and wait is bounded in `limits.rs`.
//! Deliberately absent: sockets, runtimes, timers, S3, routing, compression, chunked answers.

mod answer;
mod body;
mod chunked;
mod connection;
mod control;
mod error;
mod headers;
mod limits;
mod parse;
mod response;
mod service;
mod stream;
mod time;
mod wire;
mod workspace;

#[cfg(test)]
mod tests;

pub use body::RequestBody;
pub use connection::{Closed, Connection};
pub use control::{Control, Phase};
pub use error::{Error, Rejection, Result};
pub use headers::{Method, RequestHead, Version};
pub use limits::Limits;
pub use response::{NoBody, Payload, Response, ResponseBody, reason_phrase};
pub use service::Service;
pub use stream::{Peer, Stream};
pub use time::{Clock, Time};
pub use workspace::Workspaces;
