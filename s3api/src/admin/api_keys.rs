//! `/api/v1/api-keys`: who may use the management API.
//!
//! `GET api-keys` lists, `POST api-keys {"name": ..., "rights": "full" | "read-only", "expires_in":
//! SECONDS}` makes one (`expires_in` may be left out: it does not end), `GET api-keys/ID` shows one,
//! `DELETE api-keys/ID` revokes it. `GET whoami` tells the caller's name and rights. The configured key
//! is shown as `configured`; it is full and not to be revoked here.
//!
//! Invariants: a key is told once, in the answer that made it, and the store has its SHA-256 only: it
//! has 250 random bits, so that no salt and no slow hash is needed; a key that was revoked or has expired
//! opens nothing from the moment of the answer on.
//!
//! Not here: what needs which rights, beyond this: `read-only` is for GET and HEAD. When a key was used
//! last is known in memory only, since the server's start.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use engine::Engine;
use engine::platform::Platform;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::api::{ApiAnswer, ApiRequest};
use super::management::Management;
use super::present::done;
use crate::dates::iso_time;
use crate::limits::{API_KEY_SECONDS, API_KEYS_MAX};
use crate::root_credentials::random_text;
use crate::services::Services;
use crate::system::{self, SystemEntry};

/// What a key begins with, so that people and scanners know one.
const PREFIX: &str = "rfk_";
/// 62 symbols carry 5.95 bits each.
const RANDOM_CHARACTERS: usize = 42;
/// Digits of the hash by which a key is named.
const ID_DIGITS: usize = 16;
/// The id of the key that the server was started with.
const CONFIGURED: &str = "configured";
const NAME_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rights {
    Full,
    ReadOnly,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCaller {
    pub name: String,
    pub rights: Rights,
    /// Of the key; none of the configured one.
    pub id: Option<String>,
}

impl ApiCaller {
    pub fn may(&self, method: Method) -> bool {
        self.rights == Rights::Full || matches!(method, Method::Get | Method::Head)
    }
}

/// A key, under its hash in hex digits.
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    name: String,
    rights: Rights,
    /// Seconds since the Unix epoch.
    created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
}

impl SystemEntry for Key {
    const KIND: &'static str = "api-key";
}

impl Key {
    fn has_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// When each key was used last, by its hash. It has as many rows as there are keys.
#[derive(Debug, Default)]
pub struct KeyUses(RefCell<HashMap<String, i64>>);

/// The SHA-256 of a key, by which it is known.
pub type KeyDigest = [u8; 32];

pub(crate) fn digest(key: &[u8]) -> KeyDigest {
    Sha256::digest(key).into()
}

/// Whose a key is, if it is one.
pub(crate) fn caller<P: Platform>(
    engine: &Engine<P>,
    services: &Services,
    key: &KeyDigest,
) -> Option<ApiCaller> {
    let hash = hex::encode(key);
    // An entry that cannot be read was logged, and opens nothing.
    let found: Rc<Key> = system::get(engine, &services.settings, &hash).ok()??;
    let now = crate::dates::seconds(engine::Version(engine.platform().wall_clock_ns()));
    if found.has_expired(now) {
        return None;
    }
    let id = Some(id_of(&hash).to_owned());
    services.key_uses.0.borrow_mut().insert(hash, now);
    Some(ApiCaller { name: found.name.clone(), rights: found.rights, id })
}

fn hash_of(key: &[u8]) -> String {
    hex::encode(digest(key))
}

fn id_of(hash: &str) -> &str {
    hash.get(..ID_DIGITS).unwrap_or(hash)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    rights: Rights,
    expires_in: Option<u64>,
}

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

pub(super) fn whoami(caller: &ApiCaller) -> ApiAnswer {
    let id = caller.id.as_deref().unwrap_or(CONFIGURED);
    ApiAnswer::json(200, json!({ "id": id, "name": caller.name, "rights": caller.rights }))
}

pub(super) fn list<P: Platform>(store: &Management<'_, P>) -> Result<ApiAnswer> {
    let mut keys = all(store)?;
    keys.sort_by(|(_, one), (_, other)| {
        (one.created, &one.name).cmp(&(other.created, &other.name))
    });
    let stored = keys.iter().map(|(hash, key)| describe(store, hash, key));
    let shown: Vec<Value> = std::iter::once(configured()).chain(stored).collect();
    Ok(ApiAnswer::json(200, json!({ "api_keys": shown })))
}

pub(super) async fn create<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let order: NewKey = request.document()?;
    check_name(&order.name)?;
    if order.expires_in.is_some_and(|seconds| !API_KEY_SECONDS.contains(&seconds)) {
        let most = API_KEY_SECONDS.end();
        return Err(refused(400, format!("expires_in: it must be 1 to {most} seconds")));
    }
    let random =
        random_text(RANDOM_CHARACTERS).map_err(|_| refused(500, "no randomness is to be had"))?;
    let (text, now) = (format!("{PREFIX}{random}"), store.now());
    let hash = hash_of(text.as_bytes());

    let _changing = store.services.user_changes.begin()?;
    let keys = all(store)?;
    if order.name == CONFIGURED || keys.iter().any(|(_, key)| key.name == order.name) {
        return Err(refused(409, "name: another API key has it"));
    }
    if keys.len() >= API_KEYS_MAX {
        return Err(refused(409, format!("there are {API_KEYS_MAX} API keys already")));
    }
    let lifetime = order.expires_in.and_then(|seconds| i64::try_from(seconds).ok());
    let key = Key {
        name: order.name,
        rights: order.rights,
        created: now,
        expires: lifetime.map(|seconds| now.saturating_add(seconds)),
    };
    if !system::create(store.engine, &hash, &key).await? {
        return Err(refused(500, "the random key was one that is there already"));
    }
    let mut shown = describe(store, &hash, &key);
    if let Value::Object(fields) = &mut shown {
        fields.insert("key".into(), text.into());
    }
    Ok(ApiAnswer::json(201, shown))
}

pub(super) fn show<P: Platform>(store: &Management<'_, P>, id: &str) -> Result<ApiAnswer> {
    if id == CONFIGURED {
        return Ok(ApiAnswer::json(200, configured()));
    }
    let (hash, key) = find(store, id)?;
    Ok(ApiAnswer::json(200, describe(store, &hash, &key)))
}

pub(super) async fn revoke<P: Platform>(store: &Management<'_, P>, id: &str) -> Result<ApiAnswer> {
    if id == CONFIGURED {
        let detail = "the configured key is changed where the server is configured";
        return Err(refused(409, detail));
    }
    let _changing = store.services.user_changes.begin()?;
    let (hash, _) = find(store, id)?;
    let is_gone = system::remove::<P, Key>(store.engine, &hash).await?;
    store.services.key_uses.0.borrow_mut().remove(&hash);
    if is_gone { Ok(done()) } else { Err(no_such_key()) }
}

fn all<P: Platform>(store: &Management<'_, P>) -> Result<Vec<(String, Rc<Key>)>> {
    Ok(system::all(store.engine, &store.services.settings)?)
}

fn find<P: Platform>(store: &Management<'_, P>, id: &str) -> Result<(String, Rc<Key>)> {
    let mut keys = all(store)?.into_iter();
    keys.find(|(hash, _)| id_of(hash) == id).ok_or_else(no_such_key)
}

fn configured() -> Value {
    json!({
        "id": CONFIGURED,
        "name": CONFIGURED,
        "rights": Rights::Full,
        "is_revocable": false,
        "is_expired": false,
        "created_at": null,
        "expires_at": null,
        "last_used_at": null,
    })
}

fn describe<P: Platform>(store: &Management<'_, P>, hash: &str, key: &Key) -> Value {
    let last_used = store.services.key_uses.0.borrow().get(hash).copied();
    json!({
        "id": id_of(hash),
        "name": key.name,
        "rights": key.rights,
        "is_revocable": true,
        "is_expired": key.has_expired(store.now()),
        "created_at": iso_time(key.created),
        "expires_at": key.expires.map(iso_time),
        "last_used_at": last_used.map(iso_time),
    })
}

fn refused(status: u16, detail: impl Into<String>) -> ApiAnswer {
    ApiAnswer::problem(status, detail)
}

fn no_such_key() -> ApiAnswer {
    refused(404, "there is no API key of this id")
}

fn check_name(name: &str) -> Result<()> {
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if is_good {
        return Ok(());
    }
    let detail = format!("name: it must be 1 to {NAME_BYTES_MAX} bytes without control characters");
    Err(refused(400, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_only_read_changes_nothing() {
        let caller = |rights| ApiCaller { name: "n".to_owned(), rights, id: None };
        for (method, is_reading) in [
            (Method::Get, true),
            (Method::Head, true),
            (Method::Post, false),
            (Method::Put, false),
            (Method::Patch, false),
            (Method::Delete, false),
            (Method::Other, false),
        ] {
            assert!(caller(Rights::Full).may(method));
            assert_eq!(caller(Rights::ReadOnly).may(method), is_reading, "{method:?}");
        }
    }

    #[test]
    fn a_key_ends_at_its_second() {
        let key = |expires| Key { name: String::new(), rights: Rights::Full, created: 0, expires };
        assert!(!key(None).has_expired(i64::MAX));
        assert!(!key(Some(10)).has_expired(9));
        assert!(key(Some(10)).has_expired(10));
    }
}
