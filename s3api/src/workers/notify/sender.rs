//! The thread of a target: blocking clients, away from the executors.
//!
//! Invariants: a thread has one batch at most, and one place for its outcome, which is taken before the
//! next batch is given; each message is sent whole and confirmed before the next (those that a cache takes
//! together are sent so); the first that is not taken now ends the batch, one that will never be taken does
//! not. Every wait for a peer has a bound. The thread ends when its sender is dropped.

use super::purge::{Purge, Verdict};
use super::target::{TargetConfig, TargetKind};
use crate::limits::{NOTIFY_ANSWER_BYTES_MAX, NOTIFY_CONNECT_TIMEOUT, NOTIFY_SEND_TIMEOUT};
use rustls::crypto::aws_lc_rs;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Of the messages from its start that are done with.
    pub(super) fates: Vec<Fate>,
    /// Why the next one is not.
    pub(super) error: Option<String>,
}

/// How a message was done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    /// The target will never take it, and why.
    Refused(String),
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// It is to be tried again.
    NotNow(String),
    /// It is to be given up.
    Refused(String),
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::NotNow(error)
    }
}

type Slot = Arc<Mutex<Option<Outcome>>>;

/// The executor's side of a target's thread.
#[derive(Debug)]
pub(super) struct Sender {
    batches: SyncSender<Vec<Vec<u8>>>,
    outcome: Slot,
}

impl Sender {
    pub(super) fn start(target: &TargetConfig) -> io::Result<Self> {
        let (batches, receiver) = sync_channel(1);
        let outcome = Slot::default();
        let (slot, kind) = (Arc::clone(&outcome), target.kind.clone());
        thread::Builder::new()
            .name(format!("notify-{}", target.name))
            .spawn(move || serve(&receiver, &slot, &mut *client(kind)))?;
        Ok(Self { batches, outcome })
    }

    /// Gives a batch to the thread; false if that has ended.
    pub(super) fn send(&self, batch: Vec<Vec<u8>>) -> bool {
        self.batches.try_send(batch).is_ok()
    }

    /// What became of the batch, once it is known.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn serve(batches: &Receiver<Vec<Vec<u8>>>, outcome: &Slot, client: &mut dyn Client) {
    while let Ok(batch) = batches.recv() {
        let mut result = Outcome::default();
        for messages in batch.chunks(client.together()) {
            let fate = match client.send(messages) {
                Ok(()) => Fate::Delivered,
                Err(Failure::Refused(error)) => Fate::Refused(error),
                Err(Failure::NotNow(error)) => {
                    result.error = Some(error);
                    break;
                }
            };
            result.fates.resize(result.fates.len() + messages.len(), fate);
        }
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
}

/// A way to one target.
trait Client {
    /// Messages that it takes at once; at least one.
    fn together(&self) -> usize {
        1
    }

    /// Returns when the target has confirmed these messages. The failure tells no secret.
    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure>;
}

fn client(kind: TargetKind) -> Box<dyn Client> {
    match kind {
        TargetKind::Webhook { url, authorization } => {
            Box::new(Webhook { agent: agent(), url, authorization })
        }
        TargetKind::Redis { url, list } => Box::new(Redis { url, list, connection: None }),
        TargetKind::Purge(purge) => Box::new(Cache { agent: agent(), purge }),
    }
}

/// A client of HTTP. Redirects are not followed: they would carry events, and their authorisation, to where the
/// operator has not sent them.
fn agent() -> ureq::Agent {
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
        .build();
    ureq::Agent::config_builder()
        .timeout_global(Some(NOTIFY_SEND_TIMEOUT))
        .timeout_connect(Some(NOTIFY_CONNECT_TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .user_agent(concat!("ringfort/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .new_agent()
}

/// The status of an answer, whose body is read to its end: or the connection cannot be used again.
fn status_of(mut answer: ureq::http::Response<ureq::Body>) -> u16 {
    let body = answer.body_mut().with_config().limit(NOTIFY_ANSWER_BYTES_MAX);
    let _ = body.read_to_vec();
    answer.status().as_u16()
}

/// Posts each message; any 2xx confirms it.
struct Webhook {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
}

impl Client for Webhook {
    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        for message in messages {
            let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
            if let Some(value) = &self.authorization {
                request = request.header("Authorization", value);
            }
            let answer = request.send(message).map_err(|error| without_url(&error, &self.url))?;
            let status = status_of(answer);
            if !(200..300).contains(&status) {
                return Err(answered(status).into());
            }
        }
        Ok(())
    }
}

/// Asks a cache to forget what messages tell of.
struct Cache {
    agent: ureq::Agent,
    purge: Purge,
}

impl Client for Cache {
    fn together(&self) -> usize {
        self.purge.service.objects_max()
    }

    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        let Some(asked) = self.purge.request(messages) else { return Ok(()) };
        let mut request =
            ureq::http::Request::builder().method(asked.method.as_str()).uri(&asked.url);
        if let Some((name, value)) = self.purge.credential() {
            request = request.header(name, value);
        }
        let answer = match asked.body {
            None => request.body(()).map(|request| self.agent.run(request)),
            Some(body) => request
                .header("Content-Type", "application/json")
                .body(body)
                .map(|request| self.agent.run(request)),
        };
        let answer =
            answer.map_err(|_| "the request cannot be made of its configuration".to_owned())?;
        let status = status_of(answer.map_err(|error| without_url(&error, &asked.url))?);
        match self.purge.verdict(status, asked.is_odd) {
            Verdict::Confirmed => Ok(()),
            Verdict::Refused => Err(Failure::Refused(answered(status))),
            Verdict::NotNow => Err(Failure::NotNow(answered(status))),
        }
    }
}

fn answered(status: u16) -> String {
    format!("it answered {status}")
}

/// The library's errors may quote the URL, which may hold a password.
fn without_url(error: &ureq::Error, url: &str) -> String {
    error.to_string().replace(url, "its URL")
}

/// Appends each message to a list; the reply confirms it.
struct Redis {
    url: String,
    list: String,
    connection: Option<redis::Connection>,
}

impl Redis {
    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        let client = redis::Client::open(self.url.as_str())?;
        let connection = client.get_connection_with_timeout(NOTIFY_CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(NOTIFY_SEND_TIMEOUT))?;
        connection.set_write_timeout(Some(NOTIFY_SEND_TIMEOUT))?;
        Ok(connection)
    }

    fn append(&mut self, message: &[u8]) -> redis::RedisResult<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        redis::cmd("RPUSH").arg(&self.list).arg(message).exec(&mut connection)?;
        // Kept only if all went well.
        self.connection = Some(connection);
        Ok(())
    }
}

impl Client for Redis {
    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        let mut results = messages.iter().map(|message| self.append(message));
        let sent = results.try_for_each(|result| result);
        sent.map_err(|error| error.to_string().replace(&self.url, "its URL").into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    struct Script(Vec<Result<(), Failure>>);

    impl Client for Script {
        fn send(&mut self, _: &[Vec<u8>]) -> Result<(), Failure> {
            self.0.remove(0)
        }
    }

    fn check(
        answers: Vec<Result<(), Failure>>,
        fates: Vec<Fate>,
        error: Option<&str>,
        unsent: usize,
    ) {
        let (sender, receiver) = sync_channel(1);
        let slot = Slot::default();
        sender.send(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]).unwrap();
        drop(sender);
        let mut script = Script(answers);
        serve(&receiver, &slot, &mut script);
        let expected = Outcome { fates, error: error.map(str::to_owned) };
        assert_eq!(slot.lock().unwrap().take(), Some(expected));
        assert_eq!(script.0.len(), unsent);
    }

    #[test]
    fn the_first_that_is_not_taken_now_ends_a_batch() {
        let down = Err(Failure::NotNow("down".to_owned()));
        check(vec![Ok(()), down, Ok(())], vec![Fate::Delivered], Some("down"), 1);
    }

    #[test]
    fn what_is_refused_for_good_holds_up_nothing() {
        let never = || "never".to_owned();
        let fates = vec![Fate::Delivered, Fate::Refused(never()), Fate::Delivered];
        check(vec![Ok(()), Err(Failure::Refused(never())), Ok(())], fates, None, 0);
    }
}
