//! The management port: health, metrics, and the place of the management API and of the console.
//!
//! Invariants: health, metrics and the console's own files are open to whoever reaches the port;
//! everything else asks for the API key or a session of the console first, so that nothing about what
//! exists is learnt without it. Health therefore tells its causes, which name paths, with the key only.
//! Who has shown too many wrong keys is not heard with any for a while (`attempts`), wherever they show them.
//!
//! Not here: what S3 does for the console. The port is served by core 0 alone; what it says comes from
//! what all cores publish.

pub mod api;
pub mod api_keys;
mod as_root;
mod attempts;
pub mod backup;
mod buckets;
pub mod console;
pub mod credentials;
mod health;
mod kms;
mod latency;
mod limits;
pub mod management;
mod metrics_text;
mod objects;
mod openapi;
mod origin;
mod present;
pub mod presigned_urls;
mod process;
mod quota;
mod scrub;
mod server_settings;
mod shards;
mod stats;
mod uploads;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, NoBody, Peer, RequestBody, RequestHead, Response, Stream};
use subtle::ConstantTimeEq;

use crate::audit::Audit;
use crate::audit::record::{ManagementRequest, Manager, record_managed};
use crate::client_stream::ClientStream;
use crate::metrics::Metrics;
use crate::proxies::Proxies;
use crate::readiness::Readiness;
use crate::serve::Application;
use api::{ApiAnswer, ApiContent, ApiRequest, Asked};
use api_keys::{ApiCaller, KeyDigest, Rights, digest};
use attempts::{Attempts, Tried};
use console::{Admitted, BodyOf, Console, Desk};
use process::Process;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug)]
pub struct AdminService<A: Application> {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    api_key: ApiKey,
    managed: Managed<A>,
    console: Console,
    attempts: RefCell<Attempts>,
    proxies: Proxies,
    audit: Option<Audit>,
}

/// Who a request says that it comes from, by the API key that it shows.
enum Shown {
    /// A key that is one.
    Key(ApiCaller),
    /// No key, or one that is none.
    Nobody,
    /// Whatever key: it was not looked at.
    Waits(Duration),
}

/// What the management API works on: nothing before core 0 has opened its part of the store, and
/// nothing once that is to be closed.
pub struct Managed<A: Application>(Rc<RefCell<Option<OpenedPart<A>>>>);

/// The application, and core 0's part of it.
type OpenedPart<A> = (A, Rc<<A as Application>::Service>);

impl<A: Application> Managed<A> {
    pub fn set(&self, opened: Option<OpenedPart<A>>) {
        *self.0.borrow_mut() = opened;
    }
}

impl<A: Application> Clone for Managed<A> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<A: Application> Default for Managed<A> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<A: Application> std::fmt::Debug for Managed<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managed").field("is_open", &self.0.borrow().is_some()).finish()
    }
}

/// Shows itself to nobody.
struct ApiKey(KeyDigest);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey")
    }
}

impl ApiKey {
    fn is(&self, key: &KeyDigest) -> bool {
        key.ct_eq(&self.0).into()
    }
}

/// The key that a request shows. RFC 6750, section 2.1; the scheme's case does not matter.
fn bearer(authorization: Option<&[u8]>) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, key) = authorization?.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
}

type Answer = Response<NoBody>;

impl<A: Application> AdminService<A> {
    pub fn new(
        metrics: Arc<Metrics>,
        readiness: Readiness,
        api_key: String,
        managed: Managed<A>,
        s3_port: u16,
        (proxies, audit): (Proxies, Option<Audit>),
    ) -> Self {
        let api_key = ApiKey(digest(api_key.as_bytes()));
        let console = Console::new(s3_port, audit.clone());
        let attempts = RefCell::default();
        Self { metrics, readiness, api_key, managed, console, attempts, proxies, audit }
    }

    async fn answer<S: Stream>(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
        admitted: Option<Admitted>,
    ) -> Answer {
        let path = head.target().split('?').next().unwrap_or_default();
        let open: Option<fn(&Self, &RequestHead, Peer) -> Answer> = match path {
            "/health" => Some(Self::health),
            "/health/live" => Some(|_, _, _| text(200, "live")),
            "/health/ready" => Some(|service, _, _| service.ready()),
            "/metrics" => Some(|service, _, _| service.metrics()),
            _ => None,
        };
        match open {
            Some(answer) if matches!(head.method(), Method::Get | Method::Head) => {
                answer(self, head, body.peer())
            }
            Some(_) => problem(405, "only GET and HEAD are answered here")
                .with_header("Allow", "GET, HEAD"),
            None => self.guarded(head, body, admitted).await,
        }
    }

    /// What only those may ask who have shown who they are.
    async fn guarded<S: Stream>(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
        admitted: Option<Admitted>,
    ) -> Answer {
        let started = Instant::now();
        let path = head.target().split('?').next().unwrap_or_default();
        let is_api = path.starts_with(api::PREFIX);
        let caller = match (admitted, self.shown(head, body.peer())) {
            (Some(admitted), _) => admitted.map(Some),
            (None, Shown::Key(caller)) => Ok(Some(caller)),
            (None, Shown::Nobody) => Ok(None),
            (None, Shown::Waits(wait)) => Err((too_many_failures(wait), None)),
        };
        let answer = match &caller {
            Err((refused, _)) => api_response(refused.clone()),
            Ok(None) => problem(401, "send `Authorization: Bearer` with an API key that is valid")
                .with_header("WWW-Authenticate", "Bearer"),
            Ok(Some(caller)) if is_api => api_response(self.manage(head, body, caller).await),
            Ok(Some(_)) => problem(404, "there is nothing of that name"),
        };
        if let Some(audit) = &self.audit {
            let manager = match &caller {
                Ok(Some(caller)) => Manager::Known(caller),
                Err((_, Some(person))) => Manager::Person(person),
                _ => Manager::Unknown(None),
            };
            let request = ManagementRequest {
                head,
                operation: "Manage",
                manager,
                peer: body.peer(),
                bytes_in: body.received(),
                started,
            };
            record_managed(audit, &request, (answer.status(), answer.payload.length()));
        }
        answer
    }

    async fn manage<S: Stream>(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
        caller: &ApiCaller,
    ) -> ApiAnswer {
        if !caller.may(head.method()) {
            let detail = format!("the API key `{}` may only read", caller.name);
            return ApiAnswer::problem(403, detail);
        }
        let peer = body.peer();
        let is_read = matches!(head.method(), Method::Get | Method::Head);
        if !is_read && self.audit.as_ref().is_some_and(Audit::refuses) {
            return unaudited();
        }
        let request = match ApiRequest::read(head, body).await {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        let managed = self.managed.0.borrow().clone();
        let Some((application, service)) = managed else {
            return ApiAnswer::problem(503, format!("the server is {}", self.readiness.describe()));
        };
        let asked = Asked { request: &request, caller, peer, metrics: &self.metrics };
        let answer = application.manage(&service, &asked).await;
        if !matches!(request.method, Method::Get | Method::Head) {
            let path = request.path.join("/");
            let (status, address) = (answer.status, peer.address);
            tracing::info!(by = %caller.name, ?address, method = ?request.method, path, status, "managed");
        }
        answer
    }

    fn ready_status(&self) -> u16 {
        if self.readiness.is_ready() { 200 } else { 503 }
    }

    /// A server that serves some keys is ready: to take it out of service would lose the others too.
    fn ready(&self) -> Answer {
        let is_degraded = self.readiness.is_ready() && !self.metrics.health().is_well();
        let word = if is_degraded { "degraded" } else { self.readiness.describe() };
        text(self.ready_status(), word)
    }

    fn health(&self, head: &RequestHead, peer: Peer) -> Answer {
        let with_causes = matches!(self.shown(head, peer), Shown::Key(_));
        let page = health::page(&self.metrics.health(), self.readiness.describe(), with_causes);
        Response::new(self.ready_status())
            .with_header("Content-Type", "application/json")
            .with_header("Cache-Control", "no-store")
            .with_bytes(page.into_bytes())
    }

    fn metrics(&self) -> Answer {
        let page = metrics_text::page(
            &self.metrics.snapshot(),
            &Process::read(),
            self.readiness.is_ready(),
            self.attempts.borrow().refused,
        );
        Response::new(200).with_header("Content-Type", METRICS_TYPE).with_bytes(page.into_bytes())
    }

    /// Who asks, if the key that they show is one and their address has not shown too many that are none:
    /// then not even the right one is looked at, since it could be the next guess.
    fn shown(&self, head: &RequestHead, peer: Peer) -> Shown {
        let Some(key) = bearer(head.header("authorization")).map(digest) else {
            return Shown::Nobody;
        };
        let (tried, now) = (Tried::ApiKey(&key), Instant::now());
        let wait = self.attempts.borrow_mut().wait(peer.address, tried, now);
        if let Some(wait) = wait {
            return Shown::Waits(wait);
        }
        match self.caller_of_key(&key) {
            Some(caller) => Shown::Key(caller),
            None => {
                self.attempts.borrow_mut().failed(peer.address, tried, now);
                Shown::Nobody
            }
        }
    }

    /// Whose a key is, and what it may.
    fn caller_of_key(&self, key: &KeyDigest) -> Option<ApiCaller> {
        if self.api_key.is(key) {
            return Some(ApiCaller {
                name: "configured".to_owned(),
                rights: Rights::Full,
                id: None,
            });
        }
        let managed = self.managed.0.borrow().clone();
        let (application, service) = managed?;
        application.api_caller(&service, key)
    }
}

impl<A: Application> http::Service<ClientStream> for AdminService<A> {
    type Body = BodyOf<A>;

    async fn call(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Response<Self::Body> {
        if let Some(client) = self.proxies.client(body.peer(), head) {
            body.speaks_for(client);
        }
        let path = head.target().split('?').next().unwrap_or_default();
        let caller_of_key = |key: &KeyDigest| self.caller_of_key(key);
        let desk = Desk {
            attempts: &self.attempts,
            part: self.managed.0.borrow().clone(),
            caller_of_key: &caller_of_key,
        };
        if Console::owns(path) {
            return self.console.answer(&desk, head, body).await;
        }
        let admitted = match path.starts_with(api::PREFIX) {
            true => self.console.admit(&desk, head, body.peer().is_secure),
            false => None,
        };
        drop(desk);
        let is_in_session = admitted.is_some();
        let answer = self.answer(head, body, admitted).await;
        (if is_in_session { console::hardened(answer) } else { answer }).without_stream()
    }

    fn error_body(&self, status: u16, reason: &str) -> Response<Self::Body> {
        problem(status, reason).without_stream()
    }
}

fn text(status: u16, body: &'static str) -> Answer {
    Response::new(status)
        .with_header("Content-Type", "text/plain")
        .with_header("Cache-Control", "no-store")
        .with_payload(http::Payload::Static(body.as_bytes()))
}

/// The answer to who has to wait, because too much has failed before.
fn too_many_failures(wait: Duration) -> ApiAnswer {
    ApiAnswer { status: 429, content: ApiContent::Wait(wait.as_secs() + 1) }
}

fn unaudited() -> ApiAnswer {
    ApiAnswer::problem(503, "the audit log cannot be written, and nothing is done without it")
}

/// An error as RFC 9457 has it.
fn problem(status: u16, detail: &str) -> Answer {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": http::reason_phrase(status),
        "status": status,
        "detail": detail,
    });
    Response::new(status)
        .with_header("Content-Type", "application/problem+json")
        .with_bytes(body.to_string().into_bytes())
}

fn api_response(answer: ApiAnswer) -> Answer {
    let ApiAnswer { status, content } = answer;
    match content {
        ApiContent::Json(body) => Response::new(status)
            .with_header("Content-Type", "application/json")
            .with_header("Cache-Control", "no-store")
            .with_bytes(body.to_string().into_bytes()),
        ApiContent::JsonText(body) => Response::new(status)
            .with_header("Content-Type", "application/json")
            .with_header("Cache-Control", "no-store")
            .with_bytes(body.into_bytes()),
        ApiContent::Problem(detail) => problem(status, &detail),
        ApiContent::Wait(seconds) => {
            let detail = format!(
                "too many wrong keys or failed sign-ins came from this address; try again in \
                 {seconds} seconds"
            );
            problem(status, &detail).with_header("Retry-After", seconds.to_string())
        }
        ApiContent::Allow(allow) => {
            problem(status, "the resource has no such method").with_header("Allow", allow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_opens() {
        let key = ApiKey(digest(b"the-key"));
        for (value, expected) in [
            (Some("Bearer the-key"), true),
            (Some("bearer the-key "), true),
            (Some("Bearer the-ke"), false),
            (Some("Bearer the-key2"), false),
            (Some("Bearer"), false),
            (Some("Bearer "), false),
            (Some("Basic the-key"), false),
            (Some(""), false),
            (None, false),
        ] {
            let is_open =
                bearer(value.map(str::as_bytes)).is_some_and(|shown| key.is(&digest(shown)));
            assert_eq!(is_open, expected, "{value:?}");
        }
        assert!(!format!("{key:?}").contains("the-key"));
    }
}
