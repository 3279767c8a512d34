//! Where the time of one request went, told to a client that asks (`x-ringfort-server-timing`, as a
//! header or as a parameter of the query): `Server-Timing: auth;dur=0.031, body;dur=1.2, ...`.
//!
//! Durations are in milliseconds. `auth` is routing, signature and permission; `body` the wait for the
//! request's body and its decoding; `engine` the rest of the operation, up to the head of the answer;
//! `total` all of it. What is sent behind the head is not known when the head leaves.
//!
//! Invariant: a request that does not ask pays for a look at its query and its headers, not for clocks.
//!
//! Source: W3C, "Server Timing".

use crate::auth::payload::RawBody;
use crate::route::Route;
use http::RequestHead;

/// By which a client asks.
const NAME: &str = "x-ringfort-server-timing";
const NANOSECONDS_PER_MICROSECOND: u64 = 1000;

/// Whether the request asks to be told.
pub fn is_wanted(head: &RequestHead, route: Option<&Route>) -> bool {
    head.header(NAME).is_some() || route.is_some_and(|route| route.query.get(NAME).is_some())
}

/// What is known of one request's time, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Else nothing but the start is filled in.
    pub is_wanted: bool,
    /// By the monotonic clock.
    pub started_ns: u64,
    pub auth_ns: u64,
    pub body_ns: u64,
}

impl Phases {
    /// The value of `Server-Timing`.
    pub fn value(&self, total_ns: u64) -> String {
        let engine_ns = total_ns.saturating_sub(self.auth_ns).saturating_sub(self.body_ns);
        let phases = [
            ("auth", self.auth_ns),
            ("body", self.body_ns),
            ("engine", engine_ns),
            ("total", total_ns),
        ];
        let texts = phases.map(|(name, duration_ns)| {
            let microseconds = duration_ns / NANOSECONDS_PER_MICROSECOND;
            format!("{name};dur={}.{:03}", microseconds / 1000, microseconds % 1000)
        });
        texts.join(", ")
    }
}

/// A body whose reads are timed, if anybody wants to know.
#[derive(Debug)]
pub struct TimedBody<'a, B, C> {
    body: &'a mut B,
    /// Gives monotonic nanoseconds.
    clock: Option<C>,
    spent_ns: u64,
}

impl<'a, B, C: Fn() -> u64> TimedBody<'a, B, C> {
    pub fn new(body: &'a mut B, clock: Option<C>) -> Self {
        Self { body, clock, spent_ns: 0 }
    }

    /// What reading took until now.
    pub fn spent_ns(&self) -> u64 {
        self.spent_ns
    }
}

impl<B: RawBody, C: Fn() -> u64> RawBody for TimedBody<'_, B, C> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
        let Some(clock) = &self.clock else { return self.body.read(buffer).await };
        let started = clock();
        let outcome = self.body.read(buffer).await;
        self.spent_ns += clock().saturating_sub(started);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use std::cell::Cell;

    #[test]
    fn durations_are_in_milliseconds() {
        let phases = Phases { auth_ns: 31_999, body_ns: 1_200_000, ..Phases::default() };
        assert_eq!(
            phases.value(12_000_000),
            "auth;dur=0.031, body;dur=1.200, engine;dur=10.768, total;dur=12.000"
        );
        assert!(Phases { body_ns: 5, ..Phases::default() }.value(0).contains("engine;dur=0.000"));
    }

    struct Nothing;

    impl RawBody for Nothing {
        async fn read(&mut self, _: &mut [u8]) -> Result<usize, http::Error> {
            Ok(0)
        }
    }

    #[test]
    fn reads_are_timed_only_if_asked() {
        let now = Cell::new(0);
        let clock = || now.replace(now.get() + 7);
        let mut nothing = Nothing;
        let mut body = TimedBody::new(&mut nothing, Some(clock));
        for _ in 0..3 {
            assert!(matches!(block_on(body.read(&mut [0])), Ok(0)));
        }
        assert_eq!((body.spent_ns(), now.get()), (21, 42));
        let mut body = TimedBody::new(&mut nothing, None::<fn() -> u64>);
        assert!(matches!(block_on(body.read(&mut [0])), Ok(0)));
        assert_eq!(body.spent_ns(), 0);
    }
}
