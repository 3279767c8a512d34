//! `/console/session`: `POST` signs in, `GET` tells who has, `DELETE` signs out.
//!
//! `POST` takes `{"access_key": ..., "secret_key": ...}` of root or a user, or `{"api_key": ...}`. The
//! answer sets the cookie and tells the CSRF token, as that of `GET` does.
//!
//! Invariants: secrets are compared in constant time, and one answer fits all that are wrong; an
//! address that was wrong too often with an access key, or with API keys, is not heard with them for a
//! while, right or not; whoever signs in has that session alone.

use std::time::Instant;

use http::{Method, NoBody, Peer, RequestBody, RequestHead, Response};
use serde_json::{Value, json};

use super::session::Holder;
use super::{Console, Desk, SignedIn, guard, hardened, links, look_up, not_open, read_json};
use crate::admin::api::ApiAnswer;
use crate::admin::api_keys::{KeyDigest, digest};
use crate::admin::attempts::Tried;
use crate::admin::{api_response, too_many_failures};
use crate::audit::record::Manager;
use crate::client_stream::ClientStream;
use crate::serve::Application;

/// An answer and what becomes of the cookie: a new value, or none to take it away.
type Answered = (ApiAnswer, Option<String>);

/// Where a cookie of the session's name would go before the console's own.
const OTHER_PATHS: [&str; 3] = ["/console", "/console/", "/console/s3"];

/// What somebody signs in with.
enum Proof<'a> {
    Keys { access_key: &'a str, secret_key: &'a str },
    ApiKey(KeyDigest),
}

impl<'a> Proof<'a> {
    fn read(body: &'a Value) -> Result<Self, ApiAnswer> {
        let wrong = || {
            let detail = "the body must have access_key and secret_key, or api_key, as texts";
            ApiAnswer::problem(400, detail)
        };
        let fields = body.as_object().ok_or_else(wrong)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        match (text("access_key"), text("secret_key"), text("api_key"), fields.len()) {
            (Some(access_key), Some(secret_key), None, 2) => {
                Ok(Self::Keys { access_key, secret_key })
            }
            (None, None, Some(api_key), 1) => Ok(Self::ApiKey(digest(api_key.as_bytes()))),
            _ => Err(wrong()),
        }
    }

    fn tried(&self) -> Tried<'_> {
        match self {
            Self::Keys { access_key, .. } => Tried::AccessKey(access_key),
            Self::ApiKey(key) => Tried::ApiKey(key),
        }
    }
}

impl Console {
    pub(super) async fn session<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Response<NoBody> {
        let is_secure = body.peer().is_secure;
        let cookie = guard::cookie_name(is_secure);
        let attributes = if is_secure { "; Secure" } else { "" };
        let attributes = format!("; HttpOnly; SameSite=Strict{attributes}");
        let answered = match head.method() {
            Method::Post => self.sign_in(desk, head, body).await,
            Method::Delete => self.sign_out(desk, head, body.peer()),
            Method::Get | Method::Head => {
                let tell = |session| (self.describe(&session, head, is_secure), None);
                return plain(self.signed_in(desk, head, is_secure).map(tell));
            }
            _ => return plain(Err(ApiAnswer::not_allowed("GET, POST, DELETE"))),
        };
        let set = match &answered {
            Ok((_, Some(token))) => format!("{cookie}={token}; Path=/{attributes}"),
            Ok((_, None)) => format!("{cookie}=; Max-Age=0; Path=/{attributes}"),
            Err(_) => return plain(answered),
        };
        let mut answer = plain(answered).with_header("Set-Cookie", set);
        // What another port of the host may have set goes. With TLS the name allows no other path.
        for path in if is_secure { &[][..] } else { &OTHER_PATHS } {
            answer.header("Set-Cookie", format!("{cookie}=; Max-Age=0; Path={path}{attributes}"));
        }
        answer
    }

    async fn sign_in<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Result<Answered, ApiAnswer> {
        if !guard::is_own_change(head) {
            return Err(ApiAnswer::problem(403, "the request comes from another origin's page"));
        }
        let peer = body.peer();
        let proof = read_json(head, body).await?;
        let proof = Proof::read(&proof)?;
        let (application, service) = desk.part.clone().ok_or_else(not_open)?;
        self.check_audit()?;
        let (now, tried) = (Instant::now(), proof.tried());
        // From here on nothing waits, so that no other attempt comes between.
        if let Some(wait) = desk.attempts.borrow_mut().wait(peer.address, tried, now) {
            self.tell(head, peer, "SignIn", Manager::Unknown(tried.access_key()), 429);
            return Err(too_many_failures(wait));
        }
        let holder = match &proof {
            Proof::Keys { access_key, secret_key } => application
                .sign_in(&service, access_key, secret_key)
                .map(|person| Holder::Person { access_key: person.access_key, id: person.id }),
            Proof::ApiKey(key) => Some(Holder::ApiKey(*key)),
        };
        let part = (application, service);
        let found = holder.and_then(|holder| Some((look_up(desk, &part, &holder)?, holder)));
        let Some(((person, manager), holder)) = found else {
            desk.attempts.borrow_mut().failed(peer.address, tried, now);
            self.tell(head, peer, "SignIn", Manager::Unknown(tried.access_key()), 401);
            tracing::info!(address = ?peer.address, "a sign-in at the console failed");
            return Err(ApiAnswer::problem(401, "no such credentials, or they may not be used"));
        };
        self.end_carried(head, peer.is_secure);
        tracing::info!(name = %person.name, address = ?peer.address, "signed in at the console");
        let (application, service) = part;
        let begun = self.sessions.borrow_mut().begin(holder.clone(), now);
        let begun = begun.map_err(|_| ApiAnswer::problem(500, "no randomness is to be had"))?;
        let token = begun.token.clone();
        let csrf = begun.csrf;
        let session = SignedIn { application, service, person, manager, holder, csrf, token };
        self.tell(head, peer, "SignIn", session.told(), 200);
        Ok((self.describe(&session, head, peer.is_secure), Some(begun.token)))
    }

    fn sign_out<A: Application>(
        &self,
        desk: &Desk<'_, A>,
        head: &RequestHead,
        peer: Peer,
    ) -> Result<Answered, ApiAnswer> {
        let session = self.signed_in(desk, head, peer.is_secure)?;
        self.sessions.borrow_mut().end(&session.token);
        self.tell(head, peer, "SignOut", session.told(), 200);
        Ok((ApiAnswer::json(200, json!({ "message": "signed out" })), None))
    }

    fn describe<A: Application>(
        &self,
        session: &SignedIn<A>,
        head: &RequestHead,
        is_secure: bool,
    ) -> ApiAnswer {
        ApiAnswer::json(
            200,
            json!({
                "name": session.person.name,
                "access_key": session.person.access_key,
                "by": if session.is_by_api_key() { "api_key" } else { "access_key" },
                "may_manage": session.manager.is_some(),
                "api_key": session.manager.as_ref().filter(|_| session.is_by_api_key()).map(
                    |key| json!({ "name": key.name, "rights": key.rights }),
                ),
                "csrf": session.csrf,
                "endpoint": links::usual_endpoint(head, is_secure, self.s3_port),
                "version": env!("CARGO_PKG_VERSION"),
            }),
        )
    }
}

fn plain(answered: Result<Answered, ApiAnswer>) -> Response<NoBody> {
    let answer = answered.map_or_else(|problem| problem, |(answer, _)| answer);
    hardened(api_response(answer))
}
