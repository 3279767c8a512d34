//! Failed sign-ins, by the address that they came from and what was tried there.
//!
//! Invariants: what failed too often from an address waits for the end of its window, whatever is sent
//! then, and so does all of an address that failed far more often; the table is bounded. A success
//! forgives nothing: else whoever has one account could try others without a limit.
//!
//! Not here: who is behind a proxy that is not trusted to tell (`crate::proxies`): all of them count as the proxy.
//! Therefore one access key that fails does not keep the others of its address out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::limits::{
    SIGN_IN_FAILURES_MAX, SIGN_IN_FAILURES_PER_ADDRESS_MAX, SIGN_IN_SOURCES_MAX, SIGN_IN_WINDOW,
};

#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<Row, Failures>);

/// An address, and the digest of what was tried there; none for all that was.
type Row = (Option<IpAddr>, Option<[u8; 32]>);

/// What somebody tries to sign in with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tried<'a> {
    AccessKey(&'a str),
    /// Whichever: a key that is wrong belongs to nobody.
    ApiKey,
}

impl<'a> Tried<'a> {
    /// With which access key, if it was one.
    pub(super) fn access_key(self) -> Option<&'a str> {
        match self {
            Self::AccessKey(key) => Some(key),
            Self::ApiKey => None,
        }
    }

    fn digest(self) -> [u8; 32] {
        match self {
            Self::AccessKey(key) => Sha256::digest(key.as_bytes()).into(),
            Self::ApiKey => [0; 32],
        }
    }
}

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
    /// How long who tries this from an address has to wait, if they have to.
    pub(super) fn wait(
        &self,
        address: Option<IpAddr>,
        tried: Tried<'_>,
        now: Instant,
    ) -> Option<Duration> {
        let waits = rows(address, tried).into_iter().filter_map(|(row, max)| {
            let failures = self.0.get(&row)?;
            let rest = failures.rest(now);
            (failures.count >= max && !rest.is_zero()).then_some(rest)
        });
        waits.max()
    }

    pub(super) fn failed(&mut self, address: Option<IpAddr>, tried: Tried<'_>, now: Instant) {
        for (row, _) in rows(address, tried) {
            if self.0.len() >= SIGN_IN_SOURCES_MAX && !self.0.contains_key(&row) {
                self.make_room(now);
            }
            let failures = self.0.entry(row).or_insert(Failures { count: 0, first: now });
            if failures.rest(now).is_zero() {
                *failures = Failures { count: 0, first: now };
            }
            failures.count += 1;
        }
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

/// Where an attempt counts, and how often it may fail there.
fn rows(address: Option<IpAddr>, tried: Tried<'_>) -> [(Row, u32); 2] {
    let source = source(address);
    [
        ((source, Some(tried.digest())), SIGN_IN_FAILURES_MAX),
        ((source, None), SIGN_IN_FAILURES_PER_ADDRESS_MAX),
    ]
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
    fn what_failed_too_often_waits_and_keeps_no_other_out() {
        let (root, other) = (Tried::AccessKey("root"), Tried::AccessKey("other"));
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for _ in 0..SIGN_IN_FAILURES_MAX {
            assert_eq!(attempts.wait(address("2001:db8::1"), root, start), None);
            attempts.failed(address("2001:db8::1"), root, start);
        }
        assert_eq!(attempts.wait(address("2001:db8::2"), root, start), Some(SIGN_IN_WINDOW));
        assert_eq!(attempts.wait(address("2001:db8::2"), other, start), None);
        assert_eq!(attempts.wait(address("2001:db8::2"), Tried::ApiKey, start), None);
        assert_eq!(attempts.wait(address("2001:db8:0:1::1"), root, start), None);
        let later = start + SIGN_IN_WINDOW;
        assert_eq!(attempts.wait(address("2001:db8::1"), root, later), None);
        attempts.failed(address("2001:db8::1"), root, later);
        assert_eq!(attempts.wait(address("2001:db8::1"), root, later), None);
    }

    #[test]
    fn an_address_that_tries_many_waits() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for number in 0..SIGN_IN_FAILURES_PER_ADDRESS_MAX {
            let name = number.to_string();
            assert_eq!(attempts.wait(address("::1"), Tried::AccessKey(&name), start), None);
            attempts.failed(address("::1"), Tried::AccessKey(&name), start);
        }
        assert_eq!(attempts.wait(address("::1"), Tried::ApiKey, start), Some(SIGN_IN_WINDOW));
        assert_eq!(attempts.wait(address("10.0.0.1"), Tried::ApiKey, start), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for number in 0..u32::try_from(SIGN_IN_SOURCES_MAX).unwrap() {
            attempts.failed(Some(IpAddr::V4(number.into())), Tried::ApiKey, start);
        }
        assert_eq!(attempts.0.len(), SIGN_IN_SOURCES_MAX);
    }
}
