//! What one request of the management API works with: core 0's part of the store, and who asks.
//!
//! Not here: what the resources mean; each has a file of its own.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use engine::platform::Platform;
use engine::{Bucket, Engine};
use http::Peer;

use super::api::ApiAnswer;
use super::api_keys::ApiCaller;
use super::credentials::Credentials;
use crate::access::authorise::BucketOwner;
use crate::access::subject::Owner;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::encryption::ring::KeyRing;
use crate::metrics::Metrics;
use crate::serve::Plan;
use crate::services::Services;
use crate::system;
use crate::users::Users;

const NANOSECONDS: u64 = 1_000_000_000;

pub struct Management<'a, P: Platform> {
    pub engine: &'a Engine<P>,
    pub services: &'a Services,
    pub authenticator: &'a Authenticator,
    /// Root.
    pub owner: &'a Rc<Owner>,
    pub region: &'a str,
    /// What `x-amz-id-2` says of this core.
    pub host_id: &'a str,
    pub server: Server<'a>,
    pub caller: &'a ApiCaller,
    pub peer: Peer,
    pub metrics: &'a Metrics,
}

/// How the server was started.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// Where the S3 port listens.
    pub listen: SocketAddr,
    pub config: &'a Config,
    pub plan: &'a Plan,
}

impl<P: Platform> std::fmt::Debug for Management<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Management").field("caller", self.caller).finish_non_exhaustive()
    }
}

impl<'a, P: Platform> Management<'a, P> {
    pub fn users(&self) -> Users<'a, P> {
        Users { engine: self.engine, cache: &self.services.settings, root: self.owner }
    }

    pub fn credentials(&self) -> Credentials<'a, P> {
        Credentials {
            users: self.users(),
            changes: &self.services.user_changes,
            region: self.region,
        }
    }

    pub fn key_ring(&self) -> KeyRing<'a, P> {
        let Services { settings: cache, encryption, .. } = self.services;
        KeyRing { engine: self.engine, cache, encryption }
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        let now = self.engine.platform().wall_clock_ns() / NANOSECONDS;
        i64::try_from(now).unwrap_or(i64::MAX)
    }

    pub fn bucket(&self, name: &str) -> Result<Arc<Bucket>, ApiAnswer> {
        if let Some(bucket) = self.engine.catalog().bucket(name).filter(|_| !system::is_entry(name))
        {
            return Ok(bucket.clone());
        }
        self.engine.require_catalog()?;
        Err(ApiAnswer::problem(404, "bucket: there is none of this name"))
    }

    /// Whose a bucket is, as people know them.
    pub fn owner_name(&self, bucket: &Arc<Bucket>) -> Result<String, ApiAnswer> {
        let Some(owner) = self.services.settings.get::<BucketOwner>(bucket)? else {
            return Ok(self.owner.display_name.clone());
        };
        match self.users().by_access_key(&owner.access_key)? {
            Some(user) if user.owner.id == owner.id => Ok(user.owner.display_name.clone()),
            _ => Ok(owner.access_key.clone()),
        }
    }
}
