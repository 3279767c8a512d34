//! The management API: JSON over HTTP below `/api/v1/`, for who has the key.
//!
//! Here are the request and answer that its operations see, and the one table of its resources. An
//! operation has a file of its own beside this one, and calls the engine of core 0.
//!
//! Invariants: nothing of a request is read before it is authorised (`AdminService`); its body is
//! bounded and is JSON or absent; every answer is JSON.
//!
//! Not here: what the operations mean.

use engine::Engine;
use engine::platform::Platform;
use http::{Method, RequestBody, RequestHead, Stream};
use serde_json::Value;

use super::backup;
use super::credentials::Credentials;
use super::kms;
use super::scrub;
use crate::encryption::ring::KeyRing;
use crate::limits::{API_BODY_BYTES_MAX, API_QUERY_PAIRS_MAX};
use crate::percent;
use crate::services::Services;

/// Where the API begins.
pub(super) const PREFIX: &str = "/api/v1/";

/// One request of the API, read and understood as far as HTTP goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRequest {
    pub method: Method,
    /// Decoded, below [`PREFIX`], one item between slashes.
    pub path: Vec<String>,
    /// Decoded, in the order in which it was sent.
    pub query: Vec<(String, String)>,
    /// `Null` without a body.
    pub body: Value,
    /// The body as it was sent.
    pub text: String,
}

impl ApiRequest {
    /// The first value of that name in the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Reads a request whose target begins with [`PREFIX`].
    pub(super) async fn read<S: Stream>(
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
    ) -> Result<Self, ApiAnswer> {
        let (path, query) = split_target(head.target())?;
        let bytes = read_body(head, body).await?;
        let body = match bytes.as_slice() {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes).map_err(|error| {
                ApiAnswer::problem(400, format!("the body is not JSON: {error}"))
            })?,
        };
        // What is JSON is UTF-8.
        let text = String::from_utf8(bytes).unwrap_or_default();
        Ok(Self { method: head.method(), path, query, body, text })
    }
}

/// The answer to a request of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiAnswer {
    pub status: u16,
    pub content: ApiContent,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ApiContent {
    Json(Value),
    /// JSON that is to stay as it was written.
    JsonText(String),
    /// An error: its cause in one sentence.
    Problem(String),
    /// An error: what the resource does understand.
    Allow(&'static str),
}

impl ApiAnswer {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, content: ApiContent::Json(body) }
    }

    pub fn json_text(status: u16, text: String) -> Self {
        Self { status, content: ApiContent::JsonText(text) }
    }

    pub fn problem(status: u16, detail: impl Into<String>) -> Self {
        Self { status, content: ApiContent::Problem(detail.into()) }
    }

    /// The resource is there, but not for this method; `allow` are those that it is there for.
    pub fn not_allowed(allow: &'static str) -> Self {
        Self { status: 405, content: ApiContent::Allow(allow) }
    }

    pub fn not_found() -> Self {
        Self::problem(404, "the management API has no such resource")
    }
}

impl From<engine::Error> for ApiAnswer {
    fn from(error: engine::Error) -> Self {
        let status = match error {
            engine::Error::Stopping | engine::Error::OutOfSpace => 503,
            _ => 500,
        };
        Self::problem(status, error.to_string())
    }
}

/// The resources of the API, and who answers for each.
pub async fn answer<P: Platform>(
    engine: &Engine<P>,
    services: &Services,
    credentials: &Credentials<'_, P>,
    request: &ApiRequest,
) -> ApiAnswer {
    let of = |result: Result<ApiAnswer, ApiAnswer>| result.unwrap_or_else(|problem| problem);
    let Services { settings: cache, encryption, .. } = services;
    let ring = KeyRing { engine, cache, encryption };
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (path.as_slice(), request.method) {
        // A resource's methods stand together, and behind them the answer to all others.
        (["scrub"], Method::Get) => scrub::state(engine),
        (["scrub"], Method::Post) => scrub::start(engine),
        (["scrub"], _) => ApiAnswer::not_allowed("GET, POST"),
        (["backup"], Method::Get) => backup::show(engine),
        (["backup"], Method::Post) => backup::begin(engine, request),
        (["backup"], _) => ApiAnswer::not_allowed("GET, POST"),
        (["credentials"], Method::Get) => of(credentials.list()),
        (["credentials"], Method::Post) => of(credentials.create(request).await),
        (["credentials"], _) => ApiAnswer::not_allowed("GET, POST"),
        (["credentials", id], Method::Get) => of(credentials.show(id).await),
        (["credentials", id], Method::Put | Method::Patch) => {
            of(credentials.change(id, request).await)
        }
        (["credentials", id], Method::Delete) => of(credentials.remove(id).await),
        (["credentials", _], _) => ApiAnswer::not_allowed("GET, PUT, PATCH, DELETE"),
        (["credentials", id, "policies"], Method::Get) => of(credentials.policies(id)),
        (["credentials", _, "policies"], _) => ApiAnswer::not_allowed("GET"),
        (["credentials", id, "policies", name], Method::Get) => of(credentials.policy(id, name)),
        (["credentials", id, "policies", name], Method::Put) => {
            of(credentials.put_policy(id, name, request).await)
        }
        (["credentials", id, "policies", name], Method::Delete) => {
            of(credentials.remove_policy(id, name).await)
        }
        (["credentials", _, "policies", _], _) => ApiAnswer::not_allowed("GET, PUT, DELETE"),
        (["kms", "keys"], Method::Get) => kms::list(&ring),
        (["kms", "keys"], Method::Post) => kms::create(&ring, request).await,
        (["kms", "keys"], _) => ApiAnswer::not_allowed("GET, POST"),
        (["kms", "keys", id], Method::Get) => kms::show(&ring, id),
        (["kms", "keys", id], Method::Put) => kms::change(&ring, id, request).await,
        (["kms", "keys", _], _) => ApiAnswer::not_allowed("GET, PUT"),
        (["kms", "keys", id, "rotate"], Method::Post) => kms::rotate(&ring, id).await,
        (["kms", "keys", _, "rotate"], _) => ApiAnswer::not_allowed("POST"),
        _ => ApiAnswer::not_found(),
    }
}

type Target = (Vec<String>, Vec<(String, String)>);

fn split_target(target: &str) -> Result<Target, ApiAnswer> {
    let malformed = || ApiAnswer::problem(400, "the target is not percent-encoded UTF-8");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_prefix(PREFIX).unwrap_or_default();
    let path = path.split('/').map(percent::decode_path).collect::<Option<_>>();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    if pairs.clone().count() > API_QUERY_PAIRS_MAX {
        return Err(ApiAnswer::problem(400, "the query is too long"));
    }
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((percent::decode_query(name)?, percent::decode_query(value)?))
    };
    let query = pairs.map(pair).collect::<Option<_>>();
    Ok((path.ok_or_else(malformed)?, query.ok_or_else(malformed)?))
}

/// The whole body, which is bounded.
pub(super) async fn read_body<S: Stream>(
    head: &RequestHead,
    body: &mut RequestBody<'_, S>,
) -> Result<Vec<u8>, ApiAnswer> {
    let too_long = || ApiAnswer::problem(413, "the body is too long");
    if head.content_length().is_some_and(|length| length > API_BODY_BYTES_MAX as u64) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let mut piece = vec![0; 4 << 10];
    loop {
        let count = body
            .read(&mut piece)
            .await
            .map_err(|error| ApiAnswer::problem(400, format!("reading the body: {error}")))?;
        let Some(new) = piece.get(..count).filter(|new| !new.is_empty()) else {
            return Ok(bytes);
        };
        if bytes.len() + new.len() > API_BODY_BYTES_MAX {
            return Err(too_long());
        }
        bytes.extend_from_slice(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split_and_decoded() {
        let text = |parts: &[&str]| parts.iter().map(|part| part.to_string()).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        for (target, path, query) in [
            ("/api/v1/scrub", text(&["scrub"]), vec![]),
            ("/api/v1/", text(&[""]), vec![]),
            (
                "/api/v1/a%2Fb/c?x=1%202&y&x=3",
                text(&["a/b", "c"]),
                vec![pair("x", "1 2"), pair("y", ""), pair("x", "3")],
            ),
        ] {
            assert_eq!(split_target(target), Ok((path, query)), "{target}");
        }
        for target in ["/api/v1/%", "/api/v1/a?%ff"] {
            assert_eq!(split_target(target).map_err(|answer| answer.status), Err(400), "{target}");
        }
        let many = format!("/api/v1/a?{}", "x&".repeat(API_QUERY_PAIRS_MAX + 1));
        assert_eq!(split_target(&many).map_err(|answer| answer.status), Err(400));
    }
}
