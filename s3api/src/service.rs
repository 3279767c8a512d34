//! The pipeline of every request: route, authenticate, run the operation (which asks `throttle` and
//! `access`), answer.
//!
//! Invariants: every answer carries `x-amz-request-id` and `x-amz-id-2`; an error is an XML document
//! with the same ids, or no body at all for HEAD; nothing of the body is read before the request is
//! authenticated; what is counted is counted once per request.
//!
//! Not here: what the operations do (`ops`), connections (`http`), what becomes of the numbers
//! (`metrics`).

use crate::access::{Caller, Subject};
use crate::admin::api::Asked as Managing;
use crate::admin::api_keys::ApiCaller;
use crate::admin::management::{Management, Server};
use crate::audit::{self, Audit, record::S3Request};
use crate::auth::{Authenticator, PayloadReader};
use crate::error::{Code, Result, S3Error};
use crate::metrics::Recorder;
use crate::ops::{self, Answer, Body, Context, CrossOrigin, Ids, ObjectBody, Owner};
use crate::proxies::Proxies;
use crate::readiness::Readiness;
use crate::repeated;
use crate::route::{self, Operation, Route, Target};
use crate::server_timing::{self, Phases, TimedBody};
use crate::services::Services;
use crate::throttle::{Admission, Pace, PacedBody};
use crate::users::Users;
use crate::website;
use crate::workers::access_log::{self, record::Answered, record::Asked};
use engine::Engine;
use engine::platform::Platform;
use http::{Method, Payload, Peer, RequestBody, RequestHead, Response, Service, Stream};
use std::rc::Rc;
use std::time::Instant;

const SERVER: &str = "Ringfort";
/// Under which requests are counted that could not be routed.
const UNKNOWN_OPERATION: &str = "Unknown";
const NANOSECONDS: u64 = 1_000_000_000;

/// What the operator decides about the S3 port.
#[derive(Debug, Clone)]
pub struct Settings {
    pub region: String,
    /// Host names, in lower case, under which buckets are addressed as subdomains.
    pub domains: Vec<String>,
    /// Host names, in lower case, whose subdomains are websites.
    pub website_domains: Vec<String>,
    pub proxies: Proxies,
    /// Owner of all buckets and objects.
    pub owner: Rc<Owner>,
    /// What `x-amz-id-2` says of this server.
    pub host_id: String,
}

/// The S3 port of one core.
pub struct S3Service<P: Platform> {
    engine: Engine<P>,
    authenticator: Rc<Authenticator>,
    settings: Rc<Settings>,
    services: Rc<Services>,
    recorder: Rc<Recorder>,
    readiness: Readiness,
}

/// Somebody who needs no signature.
#[derive(Debug, Clone, Copy)]
pub struct Vouched<'a> {
    pub access_key: &'a str,
    /// With whose API key they have signed in, if they have with one.
    pub manager: Option<&'a ApiCaller>,
}

/// Whom a request comes from.
struct Sender<'a> {
    /// Somebody whom the management port has signed in.
    vouched: Option<Vouched<'a>>,
    /// Found out on the way.
    caller: Option<Caller>,
    /// By the limits of their user and their bucket.
    admission: Admission,
}

impl<P: Platform> S3Service<P> {
    pub fn new(
        engine: Engine<P>,
        authenticator: Rc<Authenticator>,
        settings: Rc<Settings>,
        services: Rc<Services>,
        recorder: Rc<Recorder>,
        readiness: Readiness,
    ) -> Self {
        Self { engine, authenticator, settings, services, recorder, readiness }
    }

    /// What requests are authenticated with.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Answers a request of somebody whom the management port has signed in: the same as on the S3
    /// port, with paths alone for addresses, and without the rules of other origins.
    pub async fn call_as<S: Stream>(
        &self,
        vouched: Vouched<'_>,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
    ) -> Response<ObjectBody<P>> {
        self.respond(head, body, Some(vouched)).await
    }

    /// Where a request goes, and whether it is a visit to a website.
    fn route(&self, head: &RequestHead, is_vouched: bool) -> (Result<Route>, bool) {
        let target = Target {
            method: head.method_name(),
            host: head.host(),
            target: head.target(),
            copy: head.header("x-amz-copy-source").is_some(),
        };
        if is_vouched {
            return (route::route(target, &[]), false);
        }
        match route::website(target, &self.settings.website_domains) {
            Some(page) => (page, true),
            None => (route::route(target, &self.settings.domains), false),
        }
    }

    /// Everything behind routing.
    async fn run<S: Stream>(
        &self,
        route: &Route,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
        ids: &Ids<'_>,
        sender: &mut Sender<'_>,
        phases: &mut Phases,
    ) -> Result<Answer<P>> {
        if route.operation == Operation::Preflight {
            return self.cross_origin(route, head).preflight();
        }
        repeated::refuse(head)?;
        // Refused before anything was spent on it: there are many of them then.
        if route.operation.lists_objects() && self.engine.refuses_listings() {
            return Err(engine::Error::Busy.into());
        }
        let now = i64::try_from(self.engine.platform().wall_clock_ns() / NANOSECONDS);
        let now = now.unwrap_or(i64::MAX);
        let authenticated = match sender.vouched {
            Some(vouched) => self.authenticator.vouched(head, vouched.access_key)?,
            None => self.authenticator.authenticate(head, now, &self.users())?,
        };
        let caller = Caller {
            peer: body.peer(),
            is_presigned: authenticated.presigned,
            is_vouched: sender.vouched.is_some(),
            manager: sender.vouched.and_then(|vouched| vouched.manager.cloned()).map(Rc::new),
            signed_at: authenticated.signed_at,
            now,
            ..Caller::of_access_key(&self.users(), authenticated.access_key.as_deref())?
        };
        let caller = &*sender.caller.insert(caller);
        let context = Context {
            engine: &self.engine,
            region: &self.settings.region,
            owner: &self.settings.owner,
            caller,
            admission: &sender.admission,
            services: &self.services,
            authenticator: &self.authenticator,
            ids,
            head,
            route,
        };
        let size_bytes = authenticated.payload.size_bytes(head.content_length());
        let clock = || self.engine.platform().monotonic_ns();
        let mut paced = PacedBody {
            body,
            admission: &sender.admission,
            platform: self.engine.platform(),
            readiness: &self.readiness,
        };
        let mut body = TimedBody::new(&mut paced, phases.is_wanted.then_some(clock));
        if phases.is_wanted {
            phases.auth_ns = clock().saturating_sub(phases.started_ns);
        }
        let reader = PayloadReader::new(authenticated.payload, &mut body);
        let result = ops::run(&context, Body { reader, size_bytes }).await;
        phases.body_ns = body.spent_ns();
        result
    }

    /// A visit to a website: whoever it is counts as nobody.
    async fn visit(
        &self,
        route: &Route,
        head: &RequestHead,
        peer: Peer,
        ids: &Ids<'_>,
        sender: &mut Sender<'_>,
    ) -> Result<Answer<P>> {
        if route.operation == Operation::Preflight {
            return self.cross_origin(route, head).preflight();
        }
        repeated::refuse(head)?;
        let now = i64::try_from(self.engine.platform().wall_clock_ns() / NANOSECONDS);
        let now = now.unwrap_or(i64::MAX);
        let caller = Caller { peer, now, ..Caller::new(Subject::Anonymous, None) };
        let caller = &*sender.caller.insert(caller);
        ops::visit(&Context {
            engine: &self.engine,
            region: &self.settings.region,
            owner: &self.settings.owner,
            caller,
            admission: &sender.admission,
            services: &self.services,
            authenticator: &self.authenticator,
            ids,
            head,
            route,
        })
        .await
    }

    /// Routes, runs, answers, counts and logs one request. `vouched`: who needs no signature.
    async fn respond<S: Stream>(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
        vouched: Option<Vouched<'_>>,
    ) -> Response<ObjectBody<P>> {
        let started_ns = self.engine.platform().monotonic_ns();
        let ids = self.ids();
        let started = Instant::now();
        let mut sender = Sender { vouched, caller: None, admission: Admission::default() };
        let (route, is_visit) = self.route(head, vouched.is_some());
        let is_wanted = server_timing::is_wanted(head, route.as_ref().ok());
        let mut phases = Phases { is_wanted, started_ns, ..Phases::default() };
        // One that is refused for want of a log takes no room of those that are under way.
        let is_audited = !self.services.audit.as_ref().is_some_and(Audit::refuses_now);
        let result = match &route {
            Ok(_) if !is_audited => Err(unaudited()),
            Ok(route) if is_visit => self.visit(route, head, body.peer(), &ids, &mut sender).await,
            Ok(route) => self.run(route, head, body, &ids, &mut sender, &mut phases).await,
            Err(error) => Err(error.clone()),
        };
        let error = result.as_ref().err().map(|error| error.code);
        let mut answer = result.unwrap_or_else(|error| match is_visit {
            true => self.error_page(&error, &ids),
            false => self.error_answer(&error, head, &ids),
        });
        if let Ok(route) = &route
            && route.operation != Operation::Preflight
            && vouched.is_none()
        {
            self.cross_origin(route, head).grant(&mut answer);
        }
        write_ids(&ids, &mut answer);
        let total_ns = self.engine.platform().monotonic_ns().saturating_sub(started_ns);
        if is_wanted {
            answer.header("Server-Timing", phases.value(total_ns));
        }
        self.recorder.record(
            route.as_ref().map_or(UNKNOWN_OPERATION, |route| route.operation.name()),
            answer.status(),
            total_ns,
            body.received(),
            bytes_out(head.method(), &answer.payload),
        );
        if let Some(code) = error.filter(|code| code.is_of_a_signature()) {
            self.recorder.signature_refused(code);
        }
        if let Some(audit) = self.services.audit.as_ref().filter(|_| is_audited) {
            let request = S3Request {
                head,
                route: route.as_ref().ok(),
                caller: sender.caller.as_ref().map(Caller::in_the_end),
                is_vouched: vouched.is_some(),
                peer: body.peer(),
                request_id: &ids.request,
            };
            let how = (error, body.received(), started);
            audit::record::record(audit, &request, how, &mut answer);
        }
        if let Ok(route) = &route {
            let asked = Asked {
                head,
                route,
                caller: sender.caller.as_ref().map(Caller::in_the_end),
                source: body.peer().address,
                ids: &ids,
                root: &self.settings.owner.id,
            };
            let answered = Answered { asked, error, received: body.received(), started };
            access_log::record::record(&self.engine, &self.services, &answered, &mut answer);
        }
        self.hold(sender.admission, &mut answer);
        answer
    }

    /// Leaves what the request was let in by with its answer, for as long as that is sent.
    fn hold(&self, admission: Admission, answer: &mut Answer<P>) {
        match &mut answer.payload {
            Payload::Stream { source, .. } if admission.is_paced() => {
                let platform = self.engine.platform().clone();
                source.pace(Pace { admission, platform, readiness: self.readiness.clone() });
            }
            _ if admission.is_held() => answer.keep(Box::new(admission)),
            _ => {}
        }
    }

    fn cross_origin<'a>(&'a self, route: &'a Route, head: &'a RequestHead) -> CrossOrigin<'a, P> {
        CrossOrigin { engine: &self.engine, services: &self.services, head, route }
    }

    /// What a request of the management port works with.
    pub fn management<'a>(
        &'a self,
        asked: &'a Managing<'a>,
        server: Server<'a>,
    ) -> Management<'a, P> {
        Management {
            engine: &self.engine,
            services: &self.services,
            authenticator: &self.authenticator,
            owner: &self.settings.owner,
            region: &self.settings.region,
            host_id: &self.settings.host_id,
            server,
            caller: asked.caller,
            peer: asked.peer,
            metrics: asked.metrics,
        }
    }

    pub fn users(&self) -> Users<'_, P> {
        Users { engine: &self.engine, cache: &self.services.settings, root: &self.settings.owner }
    }

    /// The error document.
    fn error_answer(&self, error: &S3Error, head: &RequestHead, ids: &Ids<'_>) -> Answer<P> {
        let mut answer = Response::new(error.code.status());
        for (name, value) in &error.headers {
            answer.header(name, value);
        }
        answer.header("Content-Type", "application/xml");
        // The client may not have sent its body, and botocore takes the answer to its next
        // `Expect` on the same connection for this one. AWS closes too.
        if head.header("expect").is_some() {
            answer.close();
        }
        if head.method() == Method::Head {
            return answer;
        }
        let path = head.target().split('?').next().unwrap_or_default();
        answer.with_bytes(error.body(path, &ids.request, ids.host))
    }

    /// What a visitor of a website sees of an error.
    fn error_page(&self, error: &S3Error, ids: &Ids<'_>) -> Answer<P> {
        let mut answer = Response::new(error.code.status());
        for (name, value) in &error.headers {
            answer.header(name, value);
        }
        answer.header("x-amz-error-code", error.code.name());
        answer.header("x-amz-error-message", error.message.as_bytes());
        answer.header("Content-Type", "text/html; charset=utf-8");
        answer.with_bytes(website::error_page(error, &ids.request, ids.host))
    }

    /// What load balancers ask; no bucket can have this name. Under a bucket's own host name it is a key.
    fn health(&self, head: &RequestHead) -> Option<u16> {
        let status = match (head.method(), head.target()) {
            (Method::Get | Method::Head, "/-/live") => 200,
            (Method::Get | Method::Head, "/-/ready") if self.readiness.is_ready() => 200,
            (Method::Get | Method::Head, "/-/ready") => 503,
            _ => return None,
        };
        let host = head.host().unwrap_or_default();
        let Settings { domains, website_domains, .. } = &*self.settings;
        let is_buckets = |domains| route::bucket_of_host(host, domains).is_some();
        (!is_buckets(domains) && !is_buckets(website_domains)).then_some(status)
    }

    fn ids(&self) -> Ids<'_> {
        Ids {
            request: format!("{:016X}", self.engine.platform().random_u64()),
            host: &self.settings.host_id,
        }
    }
}

fn unaudited() -> S3Error {
    let message = "The audit log cannot be written, and this server does nothing without it.";
    S3Error::new(Code::ServiceUnavailable, message.to_owned())
}

fn write_ids<P: Platform>(ids: &Ids<'_>, answer: &mut Answer<P>) {
    answer.header("x-amz-request-id", &ids.request);
    answer.header("x-amz-id-2", ids.host);
    answer.header("Server", SERVER);
}

impl<P: Platform, S: Stream> Service<S> for S3Service<P> {
    type Body = ObjectBody<P>;

    async fn call(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
    ) -> Response<Self::Body> {
        match self.health(head) {
            Some(status) => {
                let mut answer = Response::new(status);
                write_ids(&self.ids(), &mut answer);
                answer
            }
            None => {
                if let Some(client) = self.settings.proxies.client(body.peer(), head) {
                    body.speaks_for(client);
                }
                self.respond(head, body, None).await
            }
        }
    }

    fn error_body(&self, status: u16, reason: &str) -> Response<Self::Body> {
        let ids = self.ids();
        let error = S3Error::new(code_of_status(status), reason.to_owned());
        let mut answer = Response::new(status)
            .with_header("Content-Type", "application/xml")
            .with_bytes(error.body("/", &ids.request, ids.host));
        write_ids(&ids, &mut answer);
        answer
    }
}

/// The bytes of an answer's body. HEAD tells the length that GET would have and sends none.
fn bytes_out<B>(method: Method, payload: &Payload<B>) -> u64 {
    if method == Method::Head { 0 } else { payload.length() }
}

/// The code for a request that HTTP itself refused.
fn code_of_status(status: u16) -> Code {
    match status {
        408 => Code::RequestTimeout,
        411 => Code::MissingContentLength,
        501 => Code::NotImplemented,
        503 => Code::ServiceUnavailable,
        500..=599 => Code::InternalError,
        _ => Code::BadRequest,
    }
}

impl<P: Platform> std::fmt::Debug for S3Service<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Service").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::NoBody;

    #[test]
    fn an_answer_to_head_sends_no_bytes_whatever_length_it_tells() {
        let payload = Payload::<NoBody>::LengthOnly(1 << 40);
        assert_eq!(bytes_out(Method::Head, &payload), 0);
        assert_eq!(bytes_out(Method::Get, &Payload::<NoBody>::Static(b"four")), 4);
    }
}
