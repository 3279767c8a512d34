//! Sessions of the console: who has signed in, in memory alone, so that a restart ends them.
//!
//! Invariants: a session is found by the digest of its token, so that neither a look at memory nor the
//! time that a search takes tells a token; their number is bounded, of all and of one holder; each ends
//! when it was not used for a while, and after a fixed time in any case.
//!
//! Not here: whether its holder may still do anything. Each request asks that anew.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::admin::api_keys::KeyDigest;
use crate::limits::{
    CONSOLE_IDLE_MAX, CONSOLE_SESSION_MAX, CONSOLE_SESSIONS_MAX, CONSOLE_SESSIONS_PER_HOLDER_MAX,
};

/// Of tokens.
const TOKEN_BYTES: usize = 32;

/// Whose a session is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// Whoever has the API key of this digest, so that one that was revoked or has expired ends its sessions.
    ApiKey(KeyDigest),
    /// Root or a user. The id is compared too: an access key may be given again.
    Person { access_key: String, id: String },
}

/// Shows no key.
impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ApiKey(_) => f.write_str("ApiKey"),
            Self::Person { access_key, .. } => f.debug_tuple("Person").field(access_key).finish(),
        }
    }
}

/// What a new session is told by.
pub(super) struct Begun {
    /// What the cookie carries.
    pub(super) token: String,
    pub(super) csrf: String,
}

pub(super) struct Session {
    pub(super) holder: Holder,
    csrf: String,
    began: Instant,
    used: Instant,
}

impl Session {
    /// What requests that change something carry in a header, which no other origin can send.
    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }

    pub(super) fn is_csrf(&self, token: &[u8]) -> bool {
        self.csrf.as_bytes().ct_eq(token).into()
    }

    fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < CONSOLE_IDLE_MAX
            && now.saturating_duration_since(self.began) < CONSOLE_SESSION_MAX
    }
}

#[derive(Default)]
pub(super) struct Sessions(HashMap<[u8; 32], Session>);

impl Sessions {
    pub(super) fn begin(
        &mut self,
        holder: Holder,
        now: Instant,
    ) -> Result<Begun, getrandom::Error> {
        let (token, csrf) = (random_token()?, random_token()?);
        self.0.retain(|_, session| session.is_alive(now));
        while self.count_of(&holder) >= CONSOLE_SESSIONS_PER_HOLDER_MAX {
            self.end_oldest(|session| session.holder == holder);
        }
        while self.0.len() >= CONSOLE_SESSIONS_MAX {
            let Some(most) = self.holder_of_most() else { break };
            self.end_oldest(|session| session.holder == most);
        }
        let session = Session { holder, csrf: csrf.clone(), began: now, used: now };
        self.0.insert(digest(&token), session);
        Ok(Begun { token, csrf })
    }

    /// The session of a token, which counts as used.
    pub(super) fn find(&mut self, token: &str, now: Instant) -> Option<&Session> {
        let id = digest(token);
        if !self.0.get(&id)?.is_alive(now) {
            self.0.remove(&id);
            return None;
        }
        let session = self.0.get_mut(&id)?;
        session.used = now;
        Some(session)
    }

    pub(super) fn end(&mut self, token: &str) {
        self.0.remove(&digest(token));
    }

    fn count_of(&self, holder: &Holder) -> usize {
        self.0.values().filter(|session| session.holder == *holder).count()
    }

    /// Who has the most sessions; the one whose session was used longest ago, if several have.
    fn holder_of_most(&self) -> Option<Holder> {
        let mut counts: HashMap<&Holder, (usize, Reverse<Instant>)> = HashMap::new();
        for session in self.0.values() {
            let of_holder = counts.entry(&session.holder).or_insert((0, Reverse(session.used)));
            *of_holder = (of_holder.0 + 1, of_holder.1.max(Reverse(session.used)));
        }
        counts.into_iter().max_by_key(|(_, rank)| *rank).map(|(holder, _)| holder.clone())
    }

    fn end_oldest(&mut self, is_meant: impl Fn(&Session) -> bool) {
        let meant = self.0.iter().filter(|(_, session)| is_meant(session));
        if let Some(id) = meant.min_by_key(|(_, session)| session.used).map(|(id, _)| *id) {
            self.0.remove(&id);
        }
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("count", &self.0.len()).finish()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn random_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::time::Duration;

    fn person(name: &str) -> Holder {
        Holder::Person { access_key: name.to_owned(), id: format!("id of {name}") }
    }

    #[test]
    fn a_session_ends_when_idle_when_old_and_when_told() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let begun = sessions.begin(person("a"), start).unwrap();
        let found = sessions.find(&begun.token, start).unwrap();
        assert!(found.is_csrf(begun.csrf.as_bytes()) && !found.is_csrf(b""));
        assert!(sessions.find("another", start).is_none());
        assert!(sessions.find(&begun.csrf, start).is_none());

        let step = CONSOLE_IDLE_MAX - Duration::from_secs(1);
        let mut now = start;
        while now + step < start + CONSOLE_SESSION_MAX {
            now += step;
            assert!(sessions.find(&begun.token, now).is_some());
        }
        assert!(sessions.find(&begun.token, start + CONSOLE_SESSION_MAX).is_none());

        let idle = sessions.begin(person("a"), now).unwrap();
        assert!(sessions.find(&idle.token, now + CONSOLE_IDLE_MAX).is_none());
        let told = sessions.begin(person("a"), now).unwrap();
        sessions.end(&told.token);
        assert!(sessions.find(&told.token, now).is_none());
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let first = sessions.begin(person("first"), start).unwrap();
        let tokens: Vec<String> = (0..CONSOLE_SESSIONS_PER_HOLDER_MAX + 1)
            .map(|_| sessions.begin(person("many"), Instant::now()).unwrap().token)
            .collect();
        assert!(sessions.find(&tokens[0], Instant::now()).is_none());
        assert!(sessions.find(&tokens[1], Instant::now()).is_some());
        assert!(sessions.find(&first.token, Instant::now()).is_some(), "of somebody else");
        for number in 0..CONSOLE_SESSIONS_MAX - CONSOLE_SESSIONS_PER_HOLDER_MAX {
            sessions.begin(person(&number.to_string()), Instant::now()).unwrap();
        }
        let now = Instant::now();
        assert!(sessions.find(&first.token, now).is_some(), "who has many goes first");
        assert!(sessions.find(&tokens[2], now).is_none(), "the others were used later");
        assert!(sessions.find(&tokens[1], now).is_some());
        for number in 0..CONSOLE_SESSIONS_MAX * 2 {
            sessions.begin(person(&format!("x{number}")), Instant::now()).unwrap();
        }
        assert_eq!(sessions.0.len(), CONSOLE_SESSIONS_MAX);
        assert!(!format!("{sessions:?}").contains(&first.token));
    }
}
