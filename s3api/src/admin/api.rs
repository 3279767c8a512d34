//! The management API: JSON over HTTP below `/api/v1/`, for who has the key.
//!
//! Here are the request and answer that its operations see, and the one table of its resources. An
//! operation has a file of its own beside this one, and calls the engine of core 0.
//!
//! Invariants: nothing of a request is read before it is authorised (`AdminService`); its body is
//! bounded and is JSON or absent; every answer is JSON.
//!
//! Not here: what the operations mean.

use engine::platform::Platform;
use http::{Method, Peer, RequestBody, RequestHead, Stream};
use serde::Deserialize;
use serde_json::Value;

use super::api_keys::{self, ApiCaller};
use super::management::Management;
use super::{
    backup, buckets, kms, latency, limits, objects, openapi, origin, presigned_urls, quota, scrub,
};
use super::{server_settings, shards, stats, uploads};
use crate::error::S3Error;
use crate::limits::{API_BODY_BYTES_MAX, API_LIST_BYTES_MAX, API_QUERY_PAIRS_MAX};
use crate::metrics::Metrics;
use crate::percent;

/// Where the API begins.
pub(super) const PREFIX: &str = "/api/v1/";

/// One request of the API, read and understood as far as HTTP goes.
#[derive(Clone, PartialEq, Eq)]
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
    /// The host by which the client found the management port, without its port.
    pub host: Option<String>,
}

impl std::fmt::Debug for ApiRequest {
    /// Bodies hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A request, and what is known beside it.
#[derive(Debug)]
pub struct Asked<'a> {
    pub request: &'a ApiRequest,
    pub caller: &'a ApiCaller,
    pub peer: Peer,
    pub metrics: &'a Metrics,
}

impl ApiRequest {
    /// The first value of that name in the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The body as an object of its type, whose fields are all known.
    pub fn document<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ApiAnswer> {
        // An array would be taken for the fields in their order.
        if !self.body.is_object() {
            return Err(ApiAnswer::problem(400, "the body: it must be a JSON object"));
        }
        serde_path_to_error::deserialize(&self.body).map_err(|error| {
            let field = error.path().to_string();
            let place = if field == "." { "the body" } else { &field };
            ApiAnswer::problem(400, format!("{place}: {}", error.inner()))
        })
    }

    /// The same, where a request without a body says nothing.
    pub fn optional_document<'a, T: Deserialize<'a> + Default>(&'a self) -> Result<T, ApiAnswer> {
        if self.text.is_empty() { Ok(T::default()) } else { self.document() }
    }

    /// The rows of a page that the query asks for, from 1 to `most`.
    pub fn limit(&self, usual: usize, most: usize) -> Result<usize, ApiAnswer> {
        let name = "limit";
        let Some(text) = self.query(name) else { return Ok(usual) };
        text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
            ApiAnswer::problem(400, format!("{name}: it must be a number from 1 to {most}"))
        })
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
        let host = head.host().and_then(host_name).map(str::to_owned);
        Ok(Self { method: head.method(), path, query, body, text, host })
    }
}

/// The answer to a request of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiAnswer {
    pub status: u16,
    pub content: ApiContent,
}

#[derive(Clone, PartialEq)]
pub enum ApiContent {
    Json(Value),
    /// JSON that is to stay as it was written.
    JsonText(String),
    /// An error: its cause in one sentence.
    Problem(String),
    /// An error: what the resource does understand.
    Allow(&'static str),
    /// An error: too much has failed; so many seconds are to be waited.
    Wait(u64),
}

impl std::fmt::Debug for ApiContent {
    /// Answers hold secrets when those are made.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(_) | Self::JsonText(_) => f.write_str("Json"),
            Self::Problem(detail) => f.debug_tuple("Problem").field(detail).finish(),
            Self::Wait(seconds) => f.debug_tuple("Wait").field(seconds).finish(),
            Self::Allow(methods) => f.debug_tuple("Allow").field(methods).finish(),
        }
    }
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
    /// As S3's clients are told it: nothing of the inside.
    fn from(error: engine::Error) -> Self {
        S3Error::from(error).into()
    }
}

/// The resources of the API, and who answers for each.
pub async fn answer<P: Platform>(store: &Management<'_, P>, request: &ApiRequest) -> ApiAnswer {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let result = match path.as_slice() {
        ["credentials", rest @ ..] => of_credentials(store, request, rest).await,
        ["buckets", rest @ ..] => of_buckets(store, request, rest).await,
        ["kms", rest @ ..] => Ok(of_kms(store, request, rest).await),
        path => of_server(store, request, path).await,
    };
    result.unwrap_or_else(|problem| problem)
}

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

/// A resource's methods stand together, and behind them the answer to all others.
async fn of_server<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
    path: &[&str],
) -> Result<ApiAnswer> {
    match (path, request.method) {
        (["openapi.json"], Method::Get) => Ok(openapi::show()),
        (["openapi.json"], _) => Ok(ApiAnswer::not_allowed("GET")),
        (["whoami"], Method::Get) => Ok(api_keys::whoami(store.caller)),
        (["whoami"], _) => Ok(ApiAnswer::not_allowed("GET")),
        (["api-keys"], Method::Get) => api_keys::list(store),
        (["api-keys"], Method::Post) => api_keys::create(store, request).await,
        (["api-keys"], _) => Ok(ApiAnswer::not_allowed("GET, POST")),
        (["api-keys", id], Method::Get) => api_keys::show(store, id),
        (["api-keys", id], Method::Delete) => api_keys::revoke(store, id).await,
        (["api-keys", _], _) => Ok(ApiAnswer::not_allowed("GET, DELETE")),
        (["stats"], Method::Get) => stats::show(store).await,
        (["stats"], _) => Ok(ApiAnswer::not_allowed("GET")),
        (["shards"], Method::Get) => shards::list(store).await,
        (["shards"], _) => Ok(ApiAnswer::not_allowed("GET")),
        (["latency"], Method::Get) => Ok(latency::show(store.metrics)),
        (["latency"], _) => Ok(ApiAnswer::not_allowed("GET")),
        (["settings"], Method::Get) => Ok(server_settings::show(store)),
        (["settings"], Method::Put) => server_settings::change(store, request),
        (["settings"], _) => Ok(ApiAnswer::not_allowed("GET, PUT")),
        (["presigned-urls"], Method::Get) => presigned_urls::list(store, request),
        (["presigned-urls"], Method::Post) => presigned_urls::create(store, request),
        (["presigned-urls"], _) => Ok(ApiAnswer::not_allowed("GET, POST")),
        (["scrub"], Method::Get) => Ok(scrub::state(store.engine)),
        (["scrub"], Method::Post) => Ok(scrub::start(store.engine)),
        (["scrub"], _) => Ok(ApiAnswer::not_allowed("GET, POST")),
        (["backup"], Method::Get) => Ok(backup::show(store.engine)),
        (["backup"], Method::Post) => Ok(backup::begin(store.engine, request)),
        (["backup"], _) => Ok(ApiAnswer::not_allowed("GET, POST")),
        _ => Ok(ApiAnswer::not_found()),
    }
}

async fn of_credentials<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
    path: &[&str],
) -> Result<ApiAnswer> {
    let credentials = store.credentials();
    match (path, request.method) {
        ([], Method::Get) => credentials.list(),
        ([], Method::Post) => credentials.create(request).await,
        ([], _) => Ok(ApiAnswer::not_allowed("GET, POST")),
        ([id], Method::Get) => credentials.show(id).await,
        ([id], Method::Put | Method::Patch) => credentials.change(id, request).await,
        ([id], Method::Delete) => credentials.remove(id).await,
        ([_], _) => Ok(ApiAnswer::not_allowed("GET, PUT, PATCH, DELETE")),
        ([id, "policies"], Method::Get) => credentials.policies(id),
        ([_, "policies"], _) => Ok(ApiAnswer::not_allowed("GET")),
        ([id, "policies", name], Method::Get) => credentials.policy(id, name),
        ([id, "policies", name], Method::Put) => credentials.put_policy(id, name, request).await,
        ([id, "policies", name], Method::Delete) => credentials.remove_policy(id, name).await,
        ([_, "policies", _], _) => Ok(ApiAnswer::not_allowed("GET, PUT, DELETE")),
        ([id, "limits"], Method::Get) => credentials.limits(id),
        ([id, "limits"], Method::Put) => credentials.put_limits(id, request).await,
        ([id, "limits"], Method::Delete) => credentials.remove_limits(id).await,
        ([_, "limits"], _) => Ok(ApiAnswer::not_allowed("GET, PUT, DELETE")),
        _ => Ok(ApiAnswer::not_found()),
    }
}

/// A key may come with its slashes encoded or as they are.
async fn of_buckets<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
    path: &[&str],
) -> Result<ApiAnswer> {
    match (path, request.method) {
        ([], Method::Get) => buckets::list(store, request).await,
        ([], Method::Post) => buckets::create(store, request).await,
        ([], _) => Ok(ApiAnswer::not_allowed("GET, POST")),
        ([name], Method::Get) => buckets::show(store, name).await,
        ([name], Method::Delete) => buckets::remove(store, name).await,
        ([_], _) => Ok(ApiAnswer::not_allowed("GET, DELETE")),
        ([name, "objects"], Method::Get) => objects::list(store, name, request).await,
        ([_, "objects"], _) => Ok(ApiAnswer::not_allowed("GET")),
        ([name, "objects", key @ ..], Method::Get) => {
            objects::show(store, name, &key.join("/"), request).await
        }
        ([name, "objects", key @ ..], Method::Delete) => {
            objects::remove(store, name, &key.join("/"), request).await
        }
        ([_, "objects", ..], _) => Ok(ApiAnswer::not_allowed("GET, DELETE")),
        ([name, "delete-objects"], Method::Post) => {
            objects::remove_many(store, name, request).await
        }
        ([_, "delete-objects"], _) => Ok(ApiAnswer::not_allowed("POST")),
        ([name, "quota"], Method::Get) => quota::show(store, name).await,
        ([name, "quota"], Method::Put) => quota::put(store, name, request).await,
        ([name, "quota"], Method::Delete) => quota::remove(store, name).await,
        ([_, "quota"], _) => Ok(ApiAnswer::not_allowed("GET, PUT, DELETE")),
        ([name, "origin"], Method::Get) => origin::show(store, name),
        ([name, "origin"], Method::Put) => origin::put(store, name, request).await,
        ([name, "origin"], Method::Delete) => origin::remove(store, name).await,
        ([_, "origin"], _) => Ok(ApiAnswer::not_allowed("GET, PUT, DELETE")),
        ([name, "limits"], Method::Get) => limits::show(store, name),
        ([name, "limits"], Method::Put) => limits::put(store, name, request).await,
        ([name, "limits"], Method::Delete) => limits::remove(store, name).await,
        ([_, "limits"], _) => Ok(ApiAnswer::not_allowed("GET, PUT, DELETE")),
        ([name, "uploads"], Method::Get) => uploads::list(store, name, request).await,
        ([_, "uploads"], _) => Ok(ApiAnswer::not_allowed("GET")),
        ([name, "uploads", id], Method::Delete) => uploads::abort(store, name, id, request).await,
        ([_, "uploads", _], _) => Ok(ApiAnswer::not_allowed("DELETE")),
        _ => Ok(ApiAnswer::not_found()),
    }
}

async fn of_kms<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
    path: &[&str],
) -> ApiAnswer {
    let ring = store.key_ring();
    match (path, request.method) {
        (["keys"], Method::Get) => kms::list(&ring),
        (["keys"], Method::Post) => kms::create(&ring, request).await,
        (["keys"], _) => ApiAnswer::not_allowed("GET, POST"),
        (["keys", id], Method::Get) => kms::show(&ring, id),
        (["keys", id], Method::Put) => kms::change(&ring, id, request).await,
        (["keys", _], _) => ApiAnswer::not_allowed("GET, PUT"),
        (["keys", id, "rotate"], Method::Post) => kms::rotate(&ring, id).await,
        (["keys", _, "rotate"], _) => ApiAnswer::not_allowed("POST"),
        _ => ApiAnswer::not_found(),
    }
}

/// The name in `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`.
fn host_name(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    host.get(..end).filter(|name| !name.is_empty())
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
    let path = head.target().split('?').next().unwrap_or_default();
    let is_list = path.ends_with("/delete-objects");
    let most = if is_list { API_LIST_BYTES_MAX } else { API_BODY_BYTES_MAX };
    let too_long = || ApiAnswer::problem(413, "the body is too long");
    if head.content_length().is_some_and(|length| length > most as u64) {
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
        if bytes.len() + new.len() > most {
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
