//! `/api/v1/kms/keys`: the key ring of SSE-KMS.
//!
//! `GET kms/keys` lists, and tells whether there is a master key (`has_master_key`), `POST kms/keys
//! {"id": "..."}` makes a key (of a random id, if none is given), `GET kms/keys/ID` shows it, `PUT
//! kms/keys/ID {"enabled": false}` disables and enables it,
//! `POST kms/keys/ID/rotate` gives it a new backing key. A key is shown as
//!
//! ```json
//! {"id": "...", "enabled": true, "versions": 1, "created": "...", "rotated": "...", "is_default": false}
//! ```
//!
//! There is no way to take a key away: what it encrypted would be lost.
//!
//! Not here: the ring itself (`encryption::ring`).

use engine::platform::Platform;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiAnswer, ApiRequest};
use crate::encryption::kms::{DEFAULT_KEY_ID, is_id};
use crate::encryption::ring::{KeyRing, KeyState, RingError};

const RANDOM_ID_BYTES: usize = 16;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: bool,
}

pub(super) fn list<P: Platform>(ring: &KeyRing<'_, P>) -> ApiAnswer {
    match ring.all() {
        Ok(keys) => {
            let keys: Vec<Value> = keys.iter().map(describe).collect();
            ApiAnswer::json(200, json!({ "keys": keys, "has_master_key": ring.has_master() }))
        }
        Err(error) => refused(&error),
    }
}

pub(super) async fn create<P: Platform>(ring: &KeyRing<'_, P>, request: &ApiRequest) -> ApiAnswer {
    let order: NewKey = match request.optional_document() {
        Ok(order) => order,
        Err(problem) => return problem,
    };
    let id = match order.id {
        Some(id) if is_id(&id) => id,
        Some(_) => {
            let detail = "an id is 1 to 128 letters, digits, dots, dashes and underscores";
            return ApiAnswer::problem(400, detail);
        }
        None => {
            let mut bytes = [0; RANDOM_ID_BYTES];
            if getrandom::fill(&mut bytes).is_err() {
                return ApiAnswer::problem(500, "the system gave no random bytes");
            }
            hex::encode(bytes)
        }
    };
    answer(201, ring.create(&id).await)
}

pub(super) fn show<P: Platform>(ring: &KeyRing<'_, P>, id: &str) -> ApiAnswer {
    answer(200, ring.find(id))
}

pub(super) async fn change<P: Platform>(
    ring: &KeyRing<'_, P>,
    id: &str,
    request: &ApiRequest,
) -> ApiAnswer {
    match request.document() {
        Ok(Change { enabled }) => answer(200, ring.set_enabled(id, enabled).await),
        Err(problem) => problem,
    }
}

pub(super) async fn rotate<P: Platform>(ring: &KeyRing<'_, P>, id: &str) -> ApiAnswer {
    answer(200, ring.rotate(id).await)
}

fn answer(status: u16, state: Result<KeyState, RingError>) -> ApiAnswer {
    match state {
        Ok(state) => ApiAnswer::json(status, describe(&state)),
        Err(error) => refused(&error),
    }
}

fn refused(error: &RingError) -> ApiAnswer {
    let status = match error {
        RingError::NotFound(_) => 404,
        RingError::Exists | RingError::TooMany | RingError::NoMaster | RingError::Disabled(_) => {
            409
        }
        RingError::Unwrap(_) => 503,
        RingError::Store(error) => error.code.status(),
    };
    ApiAnswer::problem(status, error.to_string())
}

fn describe(state: &KeyState) -> Value {
    json!({
        "id": state.id,
        "enabled": state.key.enabled,
        "versions": state.versions,
        "created": time(state.key.created),
        "rotated": time(state.rotated),
        "is_default": state.id == DEFAULT_KEY_ID,
    })
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}
