//! Failed sign-ins, by the address that they came from.
//!
//! Invariants: an address that failed too often waits for the end of its window, whatever it sends
//! then; the table is bounded. A success forgives nothing: else whoever has one account could try
//! others without a limit.
//!
//! Not here: addresses behind a proxy, which count as the proxy's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits::{SIGN_IN_FAILURES_MAX, SIGN_IN_SOURCES_MAX, SIGN_IN_WINDOW};

#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<Option<IpAddr>, Failures>);

#[derive(Debug)]
struct Failures {
    count: u32,
    first: Instant,
}

impl Failures {
    /// What is left of their window.
    fn rest(&self, now: Instant) -> Duration {
        SIGN_IN_WINDOW.saturating_sub(now.saturating_duration_since(self.first))
    }
}

impl Attempts {
    /// How long an address has to wait, if it has to.
    pub(super) fn wait(&self, address: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let failures = self.0.get(&source(address))?;
        let rest = failures.rest(now);
        (failures.count >= SIGN_IN_FAILURES_MAX && !rest.is_zero()).then_some(rest)
    }

    pub(super) fn failed(&mut self, address: Option<IpAddr>, now: Instant) {
        if self.0.len() >= SIGN_IN_SOURCES_MAX {
            self.make_room(now);
        }
        let failures = self.0.entry(source(address)).or_insert(Failures { count: 0, first: now });
        if failures.rest(now).is_zero() {
            *failures = Failures { count: 0, first: now };
        }
        failures.count += 1;
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, failures| !failures.rest(now).is_zero());
        if self.0.len() >= SIGN_IN_SOURCES_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, failures)| failures.first)
        {
            let oldest = *oldest.0;
            self.0.remove(&oldest);
        }
    }
}

/// Whoever has one IPv6 address has its network of 64 bits.
fn source(address: Option<IpAddr>) -> Option<IpAddr> {
    match address {
        Some(IpAddr::V6(address)) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Some(IpAddr::V6(network.into()))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_that_failed_too_often_waits() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for _ in 0..SIGN_IN_FAILURES_MAX {
            assert_eq!(attempts.wait(address("2001:db8::1"), start), None);
            attempts.failed(address("2001:db8::1"), start);
        }
        assert_eq!(attempts.wait(address("2001:db8::2"), start), Some(SIGN_IN_WINDOW));
        assert_eq!(attempts.wait(address("2001:db8:0:1::1"), start), None);
        let later = start + SIGN_IN_WINDOW;
        assert_eq!(attempts.wait(address("2001:db8::1"), later), None);
        attempts.failed(address("2001:db8::1"), later);
        assert_eq!(attempts.wait(address("2001:db8::1"), later), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for number in 0..2 * u32::try_from(SIGN_IN_SOURCES_MAX).unwrap() {
            attempts.failed(Some(IpAddr::V4(number.into())), start);
        }
        assert_eq!(attempts.0.len(), SIGN_IN_SOURCES_MAX);
    }
}
