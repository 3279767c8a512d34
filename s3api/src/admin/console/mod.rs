//! The console: a management page for browsers on the management port, and what it asks for.
//!
//! `/console/` and its files are open, and tell nothing. `/console/session` signs in and out. With a
//! session, `/console/s3/` and `/console/view/` are S3 as on the S3 port, in the name of who has signed
//! in, `/console/links` makes presigned URLs, and sessions of root and of API keys may use the management API too.
//!
//! Invariants: a request within a session is let through only if its browser does not say that another
//! origin's page has sent it; one that changes something must carry the session's CSRF token; its holder
//! is looked up each time, so that a user who is gone or inactive can do nothing more at once; no answer
//! redirects to a place that a request has named; transfers leave connections for the port's other uses.
//!
//! Not here: what S3's operations and the management API do, and what the pages look like
//! (`s3api/console`).

mod flight;
mod guard;
mod links;
mod pages;
mod pass;
mod session;
mod sign_in;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use http::{Method, NoBody, Peer, RequestBody, RequestHead, Response, Service};

use super::api::{ApiAnswer, read_body};
use super::api_keys::{ApiCaller, KeyDigest, Rights};
use super::attempts::Attempts;
use super::{OpenedPart, api_response, problem, unaudited};
use crate::audit::Audit;
use crate::audit::record::{ManagementRequest, Manager, record_managed};
use crate::client_stream::ClientStream;
use crate::serve::Application;
use crate::service::Vouched;
use flight::{Flight, Placed, placed};
use links::Order;
use pass::Passed;
use session::{Holder, Sessions};

/// In lower case; `X-Ringfort-CSRF`.
const CSRF_HEADER: &str = "x-ringfort-csrf";

/// Of S3's uploads by HTML forms (PostObject).
const FORM_TYPE: &str = "multipart/form-data";

/// What an application answers with.
pub(super) type BodyOf<A> = Placed<<<A as Application>::Service as Service<ClientStream>>::Body>;

/// Who asks the management API within a session; or why nobody may, and who it was.
pub(super) type Admitted = Result<ApiCaller, (ApiAnswer, Option<Person>)>;

/// Somebody who may use the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub access_key: String,
    /// The canonical id.
    pub id: String,
    pub name: String,
    pub is_root: bool,
}

#[derive(Debug)]
pub(super) struct Console {
    sessions: RefCell<Sessions>,
    flight: Flight,
    /// Of the S3 port, for links.
    s3_port: u16,
    audit: Option<Audit>,
}

/// What the console works with beside its own: core 0's part, whose an API key is, and what has failed.
pub(super) struct Desk<'a, A: Application> {
    pub(super) attempts: &'a RefCell<Attempts>,
    pub(super) part: Option<OpenedPart<A>>,
    pub(super) caller_of_key: &'a dyn Fn(&KeyDigest) -> Option<ApiCaller>,
}

/// A request within a session, whose holder was looked up.
struct SignedIn<A: Application> {
    application: A,
    service: Rc<A::Service>,
    /// In whose name it is; root's for an API key.
    person: Person,
    /// As whom it asks the management API: root and API keys alone may.
    manager: Option<ApiCaller>,
    holder: Holder,
    csrf: String,
    token: String,
}

/// A session as a request found it.
struct Found {
    token: String,
    holder: Holder,
    csrf: String,
    /// Whether the request carries the CSRF token.
    has_csrf: bool,
}

impl<A: Application> SignedIn<A> {
    fn is_by_api_key(&self) -> bool {
        matches!(self.holder, Holder::ApiKey(_))
    }

    /// The person, as S3's operations know them.
    fn vouched(&self) -> Vouched<'_> {
        let manager = self.manager.as_ref().filter(|_| self.is_by_api_key());
        Vouched { access_key: &self.person.access_key, manager }
    }

    /// The holder, as the audit log names them.
    fn told(&self) -> Manager<'_> {
        match &self.manager {
            Some(manager) if self.is_by_api_key() => Manager::Known(manager),
            _ => Manager::Person(&self.person),
        }
    }

    /// Whether the rights of the holder are for such requests at all: the one place where those of an
    /// API key count for S3. What a person may do is judged by policies.
    fn check_rights(&self, method: Method) -> Result<(), ApiAnswer> {
        match &self.manager {
            Some(manager) if !manager.may(method) => {
                let detail = format!("the API key `{}` may only read", manager.name);
                Err(ApiAnswer::problem(403, detail))
            }
            _ => Ok(()),
        }
    }
}

/// Whom a holder is now, and as whom they ask the management API; none who may do nothing any more.
fn look_up<A: Application>(
    desk: &Desk<'_, A>,
    (application, service): &OpenedPart<A>,
    holder: &Holder,
) -> Option<(Person, Option<ApiCaller>)> {
    match holder {
        Holder::ApiKey(key) => {
            let manager = (desk.caller_of_key)(key)?;
            Some((application.person(service, None)?, Some(manager)))
        }
        Holder::Person { access_key, id } => {
            let person = application.person(service, Some(access_key))?;
            let root = ApiCaller { name: person.name.clone(), rights: Rights::Full, id: None };
            (person.id == *id).then(|| (person.clone(), person.is_root.then_some(root)))
        }
    }
}

impl Console {
    pub(super) fn new(s3_port: u16, audit: Option<Audit>) -> Self {
        Self { sessions: RefCell::default(), flight: Flight::default(), s3_port, audit }
    }

    /// What the audit log cannot be told of is not done where the log is required.
    fn check_audit(&self) -> Result<(), ApiAnswer> {
        match &self.audit {
            Some(audit) if audit.refuses() => Err(unaudited()),
            _ => Ok(()),
        }
    }

    /// Tells the audit log of something that is neither the management API's nor S3's.
    fn tell(
        &self,
        head: &RequestHead,
        peer: Peer,
        operation: &str,
        manager: Manager<'_>,
        status: u16,
    ) {
        if let Some(audit) = &self.audit {
            let started = Instant::now();
            let bytes_in = head.content_length().unwrap_or(0);
            let request = ManagementRequest { head, operation, manager, peer, bytes_in, started };
            record_managed(audit, &request, (status, 0));
        }
    }

    /// Whether a path is the console's.
    pub(super) fn owns(path: &str) -> bool {
        path == "/" || path == "/console" || path.starts_with("/console/")
    }

    /// Answers a request whose path is the console's.
    pub(super) async fn answer<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Response<BodyOf<A>> {
        if let Some(passed) = Passed::read(head.target()) {
            return match self.pass(desk, &passed, head, body).await {
                Ok(answer) => answer,
                Err(problem) => {
                    let peer = body.peer();
                    let session = self.signed_in(desk, head, peer.is_secure).ok();
                    let who = session.as_ref().map_or(Manager::Unknown(None), SignedIn::told);
                    self.tell(head, peer, "Browse", who, problem.status);
                    hardened(api_response(problem)).without_stream()
                }
            };
        }
        let path = head.target().split('?').next().unwrap_or_default();
        let answer = match path {
            "/" | "/console" => Response::new(302).with_header("Location", "/console/"),
            "/console/session" => return self.session(desk, head, body).await.without_stream(),
            "/console/links" => self.link(desk, head, body).await,
            _ => file(path, head),
        };
        let is_page = answer.get_header("etag").is_some();
        (if is_page { answer } else { hardened(answer) }).without_stream()
    }

    /// Who sends a request for the management API within a session; none if it carries no session, so
    /// that it must show its API key.
    pub(super) fn admit<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        is_secure: bool,
    ) -> Option<Admitted> {
        let carries = guard::cookies(head, guard::cookie_name(is_secure)).next().is_some();
        if !carries || head.header("authorization").is_some() {
            return None;
        }
        let not_root = || ApiAnswer::problem(403, "the management API is for root alone");
        Some(match self.signed_in(desk, head, is_secure) {
            Err(problem) => Err((problem, None)),
            Ok(session) => session.manager.ok_or_else(|| (not_root(), Some(session.person))),
        })
    }

    /// A request of S3's.
    async fn pass<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        passed: &Passed,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Result<Response<BodyOf<A>>, ApiAnswer> {
        let session = self.signed_in(desk, head, body.peer().is_secure)?;
        session.check_rights(head.method())?;
        let is_read = matches!(head.method(), Method::Get | Method::Head);
        if head.method() == Method::Options || (passed.is_view && !is_read) {
            return Err(ApiAnswer::not_allowed("GET, HEAD"));
        }
        // Its signature would name another than who has signed in.
        if head.method() == Method::Post && media_type(head).eq_ignore_ascii_case(FORM_TYPE) {
            let detail =
                "Content-Type: forms are posted to the S3 port, with a policy of their own";
            return Err(ApiAnswer::problem(400, detail));
        }
        let place = self.flight.enter(&session.holder);
        let place = place.map_err(|why| ApiAnswer::problem(503, why))?;
        let handed_on = passed.head(head);
        let SignedIn { application, service, .. } = &session;
        let mut answer = application.browse(service, session.vouched(), &handed_on, body).await;
        passed.dress(&mut answer, head.method() == Method::Get);
        Ok(placed(answer, place))
    }

    async fn link<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Response<NoBody> {
        api_response(self.make_link(desk, head, body).await.unwrap_or_else(|problem| problem))
    }

    async fn make_link<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Result<ApiAnswer, ApiAnswer> {
        if head.method() != Method::Post {
            return Err(ApiAnswer::not_allowed("POST"));
        }
        let is_secure = body.peer().is_secure;
        let session = self.signed_in(desk, head, is_secure)?;
        session.check_rights(head.method())?;
        let order = read_json(head, body).await?;
        let usual = links::usual_endpoint(head, is_secure, self.s3_port);
        let order = Order::read(&order, &usual)?;
        self.check_audit()?;
        let SignedIn { application, service, person, .. } = &session;
        let target = application.presign(service, person, &order.permission());
        let target = target.ok_or_else(|| ApiAnswer::problem(500, "the link cannot be signed"))?;
        self.tell(head, body.peer(), "MakeLink", session.told(), 200);
        Ok(order.answer(&target))
    }

    /// The session of a request, checked for where it comes from and whose it is.
    fn signed_in<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        is_secure: bool,
    ) -> Result<SignedIn<A>, ApiAnswer> {
        let is_read = matches!(head.method(), Method::Get | Method::Head);
        let is_own = if is_read { guard::is_own_read(head) } else { guard::is_own_change(head) };
        if !is_own {
            return Err(ApiAnswer::problem(403, "the request comes from another origin's page"));
        }
        if !guard::is_harmless_destination(head) {
            return Err(ApiAnswer::problem(403, "nothing is embedded in pages from here"));
        }
        let part = desk.part.clone().ok_or_else(not_open)?;
        let Found { token, holder, csrf, has_csrf } = self.find_session(head, is_secure)?;
        let Some((person, manager)) = look_up(desk, &part, &holder) else {
            self.sessions.borrow_mut().end(&token);
            return Err(nobody());
        };
        if !is_read && !has_csrf {
            return Err(ApiAnswer::problem(403, "X-Ringfort-CSRF: it is not the session's token"));
        }
        let (application, service) = part;
        Ok(SignedIn { application, service, person, manager, holder, csrf, token })
    }

    /// The one live session of a request. Another port of the host may have set a cookie of the same
    /// name: of two that live nobody can tell which is meant, and neither is ended for it.
    fn find_session(&self, head: &RequestHead, is_secure: bool) -> Result<Found, ApiAnswer> {
        let mut sessions = self.sessions.borrow_mut();
        let mut found: Option<Found> = None;
        for token in guard::cookies(head, guard::cookie_name(is_secure)) {
            if found.as_ref().is_some_and(|found| found.token == token) {
                continue;
            }
            let Some(session) = sessions.find(token, Instant::now()) else { continue };
            if found.is_some() {
                let detail = "the request carries the cookies of several sessions: sign in again";
                return Err(ApiAnswer::problem(409, detail));
            }
            found = Some(Found {
                token: token.to_owned(),
                holder: session.holder.clone(),
                csrf: session.csrf().to_owned(),
                has_csrf: head.header(CSRF_HEADER).is_some_and(|sent| session.is_csrf(sent)),
            });
        }
        found.ok_or_else(nobody)
    }

    /// Ends the sessions whose cookies a request carries.
    fn end_carried(&self, head: &RequestHead, is_secure: bool) {
        let mut sessions = self.sessions.borrow_mut();
        for token in guard::cookies(head, guard::cookie_name(is_secure)) {
            sessions.end(token);
        }
    }
}

fn nobody() -> ApiAnswer {
    ApiAnswer::problem(401, "sign in at /console/")
}

fn not_open() -> ApiAnswer {
    ApiAnswer::problem(503, "the store is not open")
}

fn file(path: &str, head: &RequestHead) -> Response<NoBody> {
    if !matches!(head.method(), Method::Get | Method::Head) {
        return problem(405, "only GET and HEAD are answered here")
            .with_header("Allow", "GET, HEAD");
    }
    let name = path.strip_prefix("/console/").unwrap_or_default();
    pages::file(name, head).unwrap_or_else(|| problem(404, "there is nothing of that name"))
}

/// What every answer within a session carries, which no page may embed.
pub(super) fn hardened(mut answer: Response<NoBody>) -> Response<NoBody> {
    pages::harden(&mut answer);
    answer.replace_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    answer
}

/// Of a request's body, without its parameters.
fn media_type(head: &RequestHead) -> &str {
    let kind = head.header_str("content-type").unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

/// A body of JSON, which its request must say that it is: pages of other origins cannot send that
/// unasked.
async fn read_json(
    head: &RequestHead,
    body: &mut RequestBody<'_, ClientStream>,
) -> Result<serde_json::Value, ApiAnswer> {
    if !media_type(head).eq_ignore_ascii_case("application/json") {
        return Err(ApiAnswer::problem(415, "Content-Type: it must be application/json"));
    }
    let bytes = read_body(head, body).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiAnswer::problem(400, format!("the body is not JSON: {error}")))
}
