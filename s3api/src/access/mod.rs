//! Who a request comes from, and what they may do.
//!
//! Not here: how a caller proves who they are (`auth`).

use crate::ops::Owner;
use std::net::IpAddr;
use std::rc::Rc;

/// Whose request it is.
#[derive(Debug, Clone)]
pub struct Caller {
    pub identity: Identity,
    /// The signature came in the query.
    pub is_presigned: bool,
    /// The other end of the connection.
    pub source: Option<IpAddr>,
}

#[derive(Debug, Clone)]
pub enum Identity {
    /// May do everything.
    Root(Rc<Owner>),
}

impl Caller {
    /// As what the caller owns things, and is shown in documents.
    pub fn owner(&self) -> &Owner {
        match &self.identity {
            Identity::Root(owner) => owner,
        }
    }
}
