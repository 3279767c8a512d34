//! Who a request comes from, and what they may do.
//!
//! `subject` and `caller` say who; `action` and `needs` what an operation does; `policy`, `acl`,
//! `ownership` and `public_access_block` are what may be set; `decision` says what follows from it, and
//! `authorise` asks for that on behalf of a request.
//!
//! Not here: how a caller proves who they are (`auth`).

pub mod acl;
pub mod action;
pub mod authorise;
pub mod caller;
pub mod decision;
mod facts;
pub mod needs;
pub mod network;
mod origin;
pub mod ownership;
pub mod policy;
pub mod public_access_block;
pub mod subject;

pub use authorise::authorise;
pub use caller::Caller;
pub use facts::{Given, Other};
pub use subject::{Owner, Subject};
