//! Users: who has an access key beside root, and what policies and limits they have.
//!
//! A user is a system entry under its access key, so that finding one costs a look into the catalogue
//! that is in memory, and a change or a removal counts on every core at once.
//!
//! Invariants: a canonical id is random and never given again: whoever gets the key of a user that is
//! gone does not get what that user owned. A secret never appears in an error, a log line or a `Debug`
//! text. Secrets lie in the store as root's do in its file: who can read the data directory has them.
//!
//! Not here: the management port's routes (`admin::credentials`).

use crate::access::policy::Policy;
use crate::access::subject::Owner;
use crate::error::Result;
use crate::settings::SettingsCache;
use crate::system::{self, SystemEntry};
use crate::throttle::TrafficLimits;
use engine::Engine;
use engine::platform::Platform;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct User {
    /// How the management port names it; 1 or more.
    pub number: u64,
    pub owner: Rc<Owner>,
    pub secret_key: String,
    pub is_active: bool,
    /// Seconds since the Unix epoch.
    pub created: i64,
    pub policies: BTreeMap<String, Policy>,
    pub limits: Option<TrafficLimits>,
}

impl SystemEntry for User {
    const KIND: &'static str = "user";
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("number", &self.number)
            .field("owner", &self.owner)
            .field("is_active", &self.is_active)
            .finish_non_exhaustive()
    }
}

/// A user as the catalogue keeps it.
#[derive(Serialize, Deserialize)]
struct Stored {
    number: u64,
    access_key: String,
    secret_key: String,
    canonical_id: String,
    name: String,
    is_active: bool,
    created: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    policies: BTreeMap<String, Policy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limits: Option<TrafficLimits>,
}

impl From<Stored> for User {
    fn from(stored: Stored) -> Self {
        let owner = Owner {
            id: stored.canonical_id,
            display_name: stored.name,
            access_key: stored.access_key,
        };
        Self {
            number: stored.number,
            owner: Rc::new(owner),
            secret_key: stored.secret_key,
            is_active: stored.is_active,
            created: stored.created,
            policies: stored.policies,
            limits: stored.limits,
        }
    }
}

impl From<User> for Stored {
    fn from(user: User) -> Self {
        let owner = Rc::unwrap_or_clone(user.owner);
        Self {
            number: user.number,
            access_key: owner.access_key,
            secret_key: user.secret_key,
            canonical_id: owner.id,
            name: owner.display_name,
            is_active: user.is_active,
            created: user.created,
            policies: user.policies,
            limits: user.limits,
        }
    }
}

/// The users of a server, as one core sees them.
pub struct Users<'a, P: Platform> {
    pub engine: &'a Engine<P>,
    pub cache: &'a SettingsCache,
    pub root: &'a Rc<Owner>,
}

impl<P: Platform> Users<'_, P> {
    /// The user of an access key, active or not.
    pub fn by_access_key(&self, access_key: &str) -> Result<Option<Rc<User>>> {
        system::get(self.engine, self.cache, access_key)
    }

    /// All of them, in order of access key.
    pub fn all(&self) -> Result<Vec<Rc<User>>> {
        let users = system::all::<P, User>(self.engine, self.cache)?;
        Ok(users.into_iter().map(|(_, user)| user).collect())
    }

    /// Whom a canonical id stands for.
    pub fn owner_of_id(&self, id: &str) -> Result<Option<Rc<Owner>>> {
        if self.root.id == id {
            return Ok(Some(self.root.clone()));
        }
        let found = self.all()?.into_iter().find(|user| user.owner.id == id);
        Ok(found.map(|user| user.owner.clone()))
    }
}

impl<P: Platform> std::fmt::Debug for Users<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("root", self.root).finish_non_exhaustive()
    }
}

impl<P: Platform> crate::access::acl::Directory for Users<'_, P> {
    fn name_of(&self, id: &str) -> Option<String> {
        Some(self.owner_of_id(id).ok()??.display_name.clone())
    }

    fn id_of_name(&self, name: &str) -> Option<String> {
        let users = self.all().ok()?;
        let mut named = users.iter().filter(|user| user.owner.display_name == name);
        match (named.next(), named.next()) {
            (Some(user), None) => Some(user.owner.id.clone()),
            _ => None,
        }
    }
}

impl<P: Platform> crate::auth::Secrets for Users<'_, P> {
    fn secret_of(&self, access_key: &str) -> Result<Option<String>> {
        let user = self.by_access_key(access_key)?.filter(|user| user.is_active);
        Ok(user.map(|user| user.secret_key.clone()))
    }
}
