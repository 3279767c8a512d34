//! The people of the matrix: who they are to the server, and how they sign.

use super::model::{Style, Who};
use ringfort_tests::harness::client::{Client, Request, Signing};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Users of one worker, so that what is set of them disturbs nobody else.
pub(super) struct Cast {
    pub(super) owner: Person,
    pub(super) other: Person,
    /// The user who was switched off.
    inactive: Person,
    deleted: Person,
    sessions: [(Who, Session); 3],
}

/// Of the console.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) cookie: String,
    /// Against requests of other pages.
    pub(super) token: String,
}

impl Session {
    /// A new one.
    pub(super) fn new(address: SocketAddr, proof: &Value) -> Self {
        let request = Request::new("POST", "/console/session").signed_by(None);
        let request = request.header("content-type", "application/json").body(proof.to_string());
        let answer = Client::new(address).call(&request).expect(200);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        Self { cookie, token: told["csrf"].as_str().unwrap().to_owned() }
    }

    pub(super) fn of(address: SocketAddr, signing: &Signing) -> Self {
        let Signing { access_key, secret_key, .. } = signing;
        Self::new(address, &json!({ "access_key": access_key, "secret_key": secret_key }))
    }
}

pub(super) struct Person {
    pub(super) name: String,
    /// By which the management API knows them.
    pub(super) number: u64,
    pub(super) canonical_id: String,
}

impl Person {
    pub(super) fn signing(&self) -> Signing {
        Signing::new(&format!("{}-key", self.name), &format!("{}-secret", self.name))
    }
}

/// A client of the management port.
pub(super) struct Manager(Client);

impl Manager {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self(Client::new(address))
    }

    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::new(method, &format!("/api/v1/{path}"))
            .signed_by(None)
            .header("authorization", "Bearer test-key")
            .body(body);
        let answer = self.0.call(&request);
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    pub(super) fn expect(&mut self, status: u16, method: &str, path: &str, body: &str) -> Value {
        let (found, answer) = self.ask(method, path, body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        answer
    }

    pub(super) fn make(&mut self, name: &str) -> Person {
        let order = json!({
            "user_name": name,
            "access_key": format!("{name}-key"),
            "secret_key": format!("{name}-secret"),
        });
        let made = self.expect(201, "POST", "credentials", &order.to_string());
        Person {
            name: name.to_owned(),
            number: made["id"].as_u64().unwrap(),
            canonical_id: made["canonical_id"].as_str().unwrap().to_owned(),
        }
    }
}

impl Cast {
    /// `root`: a session of root's, of whom there is one for all.
    pub(super) fn new(
        manager: &mut Manager,
        worker: usize,
        console: SocketAddr,
        root: &Session,
    ) -> Self {
        let mut make = |role: &str| manager.make(&format!("{role}{worker}"));
        let (owner, other) = (make("owner"), make("other"));
        let (inactive, deleted) = (make("inactive"), make("deleted"));
        let sessions = [
            (Who::Root, root.clone()),
            (Who::Owner, Session::of(console, &owner.signing())),
            (Who::Other, Session::of(console, &other.signing())),
        ];
        let cast = Self { owner, other, inactive, deleted, sessions };
        let path = |person: &Person| format!("credentials/{}", person.number);
        manager.expect(200, "PATCH", &path(&cast.inactive), r#"{"is_active": false}"#);
        manager.expect(200, "DELETE", &path(&cast.deleted), "");
        cast
    }

    pub(super) fn person(&self, who: Who) -> &Person {
        match who {
            Who::Owner => &self.owner,
            Who::Other => &self.other,
            other => panic!("{other:?} is no user"),
        }
    }

    pub(super) fn session(&self, who: Who) -> &Session {
        let found = self.sessions.iter().find(|(holder, _)| *holder == who);
        &found.unwrap_or_else(|| panic!("{who:?} has no session")).1
    }

    /// How somebody signs; none if they do not.
    pub(super) fn signing(&self, who: Who, style: Style) -> Option<Signing> {
        const HOUR_SECONDS: i64 = 3600;
        let with = |secret: &str| Some(Signing::new(&self.owner.signing().access_key, secret));
        match who {
            Who::Root => Some(Signing::default()),
            Who::Owner => Some(self.owner.signing()),
            Who::Other => Some(self.other.signing()),
            Who::Anonymous => None,
            // The time of a form is that of its policy.
            Who::Stale | Who::Early if style.is_form() => Some(self.owner.signing()),
            Who::Stale => Some(self.owner.signing().skewed(-HOUR_SECONDS)),
            Who::Early => Some(self.owner.signing().skewed(HOUR_SECONDS)),
            Who::Inactive => Some(self.inactive.signing()),
            Who::Deleted => Some(self.deleted.signing()),
            Who::Unknown => Some(Signing::new("nobodys-key", "nobodys-secret")),
            Who::WrongSecret => with("wrong"),
            Who::OthersSecret => with(&self.other.signing().secret_key),
        }
    }
}
