//! The console: a management page for browsers on the management port, and what it asks for.
//!
//! `/console/` and its files are open, and tell nothing. `/console/session` signs in and out. With a
//! session, `/console/s3/` and `/console/view/` are S3 as on the S3 port, in the name of who has signed
//! in, `/console/links` makes presigned URLs, and sessions of root and of API keys may use the management API too.
//!
//! Invariants: a request within a session is let through only if its browser does not say that another
//! origin's page has sent it; one that changes something must carry the session's CSRF token; its holder
//! is looked up each time, so that a user who is gone or inactive can do nothing more at once; no answer
//! redirects to a place that a request has named.
//!
//! Not here: what S3's operations and the management API do, and what the pages look like
//! (`s3api/console`).

mod attempts;
mod guard;
mod links;
mod pages;
mod pass;
mod session;
mod sign_in;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use http::{Method, NoBody, RequestBody, RequestHead, Response, Service};

use super::api::{ApiAnswer, read_body};
use super::api_keys::{ApiCaller, Rights};
use super::{OpenedPart, api_response, problem};
use crate::serve::Application;
use crate::stream::TcpConnection;
use attempts::Attempts;
use links::Order;
use pass::Passed;
use session::{Holder, Sessions};

/// In lower case; `X-Ringfort-CSRF`.
const CSRF_HEADER: &str = "x-ringfort-csrf";

/// What an application answers with.
pub(super) type BodyOf<A> = <<A as Application>::Service as Service<TcpConnection>>::Body;

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
    attempts: RefCell<Attempts>,
    /// Of the S3 port, for links.
    s3_port: u16,
}

/// What the console works with beside its own: core 0's part, and whose an API key is.
pub(super) struct Desk<'a, A: Application> {
    pub(super) part: Option<OpenedPart<A>>,
    pub(super) caller_of_key: &'a dyn Fn(&str) -> Option<ApiCaller>,
}

/// A request within a session, whose holder was looked up.
struct SignedIn<A: Application> {
    application: A,
    service: Rc<A::Service>,
    /// In whose name it is; root's for an API key.
    person: Person,
    /// As whom it asks the management API: root and API keys alone may.
    manager: Option<ApiCaller>,
    is_api_key: bool,
    csrf: String,
    token: String,
}

impl<A: Application> SignedIn<A> {
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
    pub(super) fn new(s3_port: u16) -> Self {
        Self { sessions: RefCell::default(), attempts: RefCell::default(), s3_port }
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
        body: &mut RequestBody<'_, TcpConnection>,
    ) -> Response<BodyOf<A>> {
        if let Some(passed) = Passed::read(head.target()) {
            return match self.pass(desk, &passed, head, body).await {
                Ok(answer) => answer,
                Err(problem) => hardened(api_response(problem)).without_stream(),
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
    ) -> Option<Result<ApiCaller, ApiAnswer>> {
        let carries = guard::cookies(head, guard::cookie_name(is_secure)).next().is_some();
        if !carries || head.header("authorization").is_some() {
            return None;
        }
        let session = self.signed_in(desk, head, is_secure);
        let not_root = || ApiAnswer::problem(403, "the management API is for root alone");
        Some(session.and_then(|session| session.manager.ok_or_else(not_root)))
    }

    /// A request of S3's.
    async fn pass<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        passed: &Passed,
        head: &RequestHead,
        body: &mut RequestBody<'_, TcpConnection>,
    ) -> Result<Response<BodyOf<A>>, ApiAnswer> {
        let session = self.signed_in(desk, head, body.peer().is_secure)?;
        session.check_rights(head.method())?;
        let is_read = matches!(head.method(), Method::Get | Method::Head);
        if head.method() == Method::Options || (passed.is_view && !is_read) {
            return Err(ApiAnswer::not_allowed("GET, HEAD"));
        }
        if !guard::is_harmless_destination(head) {
            return Err(ApiAnswer::problem(403, "objects are not embedded in pages from here"));
        }
        let handed_on = passed.head(head);
        let SignedIn { application, service, person, .. } = &session;
        let mut answer = application.browse(service, person, &handed_on, body).await;
        passed.dress(&mut answer, head.method() == Method::Get);
        Ok(answer)
    }

    async fn link<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        body: &mut RequestBody<'_, TcpConnection>,
    ) -> Response<NoBody> {
        api_response(self.make_link(desk, head, body).await.unwrap_or_else(|problem| problem))
    }

    async fn make_link<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        body: &mut RequestBody<'_, TcpConnection>,
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
        let SignedIn { application, service, person, .. } = &session;
        let target = application.presign(service, person, &order.permission());
        let target = target.ok_or_else(|| ApiAnswer::problem(500, "the link cannot be signed"))?;
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
        let part = desk.part.clone().ok_or_else(not_open)?;
        let nobody = || ApiAnswer::problem(401, "sign in at /console/");
        let (token, holder, csrf, has_csrf) =
            self.find_session(head, is_secure).ok_or_else(nobody)?;
        let Some((person, manager)) = look_up(desk, &part, &holder) else {
            self.sessions.borrow_mut().end(&token);
            return Err(nobody());
        };
        if !is_read && !has_csrf {
            return Err(ApiAnswer::problem(403, "X-Ringfort-CSRF: it is not the session's token"));
        }
        let is_api_key = matches!(holder, Holder::ApiKey(_));
        let (application, service) = part;
        Ok(SignedIn { application, service, person, manager, is_api_key, csrf, token })
    }

    /// Token, holder, CSRF token, and whether the request carries that.
    fn find_session(
        &self,
        head: &RequestHead,
        is_secure: bool,
    ) -> Option<(String, Holder, String, bool)> {
        let mut sessions = self.sessions.borrow_mut();
        let tokens = guard::cookies(head, guard::cookie_name(is_secure));
        for token in tokens.take(crate::limits::CONSOLE_COOKIES_MAX) {
            if let Some(session) = sessions.find(token, Instant::now()) {
                let has_csrf = head.header(CSRF_HEADER).is_some_and(|sent| session.is_csrf(sent));
                let csrf = session.csrf().to_owned();
                return Some((token.to_owned(), session.holder.clone(), csrf, has_csrf));
            }
        }
        None
    }
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

fn hardened(mut answer: Response<NoBody>) -> Response<NoBody> {
    pages::harden(&mut answer);
    answer.replace_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    answer
}

/// A body of JSON, which its request must say that it is: pages of other origins cannot send that
/// unasked.
async fn read_json(
    head: &RequestHead,
    body: &mut RequestBody<'_, TcpConnection>,
) -> Result<serde_json::Value, ApiAnswer> {
    let kind = head.header_str("content-type").unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiAnswer::problem(415, "Content-Type: it must be application/json"));
    }
    let bytes = read_body(head, body).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiAnswer::problem(400, format!("the body is not JSON: {error}")))
}
