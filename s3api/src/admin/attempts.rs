//! Wrong API keys and failed sign-ins, by the address that they came from and what was tried there.
//!
//! Invariants: what failed too often from an address waits for the end of its window, whatever is sent
//! then, and so does all of an address that failed far more often; the table is bounded. A success
//! forgives nothing: else whoever has one account could try others without a limit. Of API keys those
//! count that differ: a script that shows a revoked one again and again guesses nothing, and keeps
//! nobody out.
//!
//! Not here: who is behind a proxy that is not trusted to tell (`crate::proxies`): all of them count as the proxy.
//! Therefore one access key that fails does not keep the others of its address out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::api_keys::KeyDigest;
use crate::limits::{
    SIGN_IN_FAILURES_MAX, SIGN_IN_FAILURES_PER_ADDRESS_MAX, SIGN_IN_SOURCES_MAX, SIGN_IN_WINDOW,
};

#[derive(Debug, Default)]
pub(super) struct Attempts {
    rows: HashMap<Row, Failures>,
    pub(super) refused: Refused,
}

/// How many were refused since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    pub(super) wrong_keys: u64,
    pub(super) failed_sign_ins: u64,
    /// Not heard, because too much had failed before.
    pub(super) waiting: u64,
}

/// An address, and the digest of what was tried there; none for all that was.
type Row = (Option<IpAddr>, Option<[u8; 32]>);

/// What somebody tries to get in with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tried<'a> {
    AccessKey(&'a str),
    /// Of whomever: a key that is wrong belongs to nobody.
    ApiKey(&'a KeyDigest),
}

impl<'a> Tried<'a> {
    /// With which access key, if it was one.
    pub(super) fn access_key(self) -> Option<&'a str> {
        match self {
            Self::AccessKey(key) => Some(key),
            Self::ApiKey(_) => None,
        }
    }

    fn digest(self) -> [u8; 32] {
        match self {
            Self::AccessKey(key) => Sha256::digest(key.as_bytes()).into(),
            Self::ApiKey(_) => [0; 32],
        }
    }
}

#[derive(Debug)]
struct Failures {
    count: u32,
    first: Instant,
    /// The API keys among them; as many as count at most.
    keys: Vec<KeyDigest>,
}

impl Failures {
    fn new(first: Instant) -> Self {
        Self { count: 0, first, keys: Vec::new() }
    }

    /// What is left of their window.
    fn rest(&self, now: Instant) -> Duration {
        SIGN_IN_WINDOW.saturating_sub(now.saturating_duration_since(self.first))
    }
}

impl Attempts {
    /// How long who tries this from an address has to wait, if they have to; they are then refused.
    pub(super) fn wait(
        &mut self,
        address: Option<IpAddr>,
        tried: Tried<'_>,
        now: Instant,
    ) -> Option<Duration> {
        let waits = rows(address, tried).into_iter().filter_map(|(row, max)| {
            let failures = self.rows.get(&row)?;
            let rest = failures.rest(now);
            (failures.count >= max && !rest.is_zero()).then_some(rest)
        });
        let wait = waits.max()?;
        self.refused.waiting += 1;
        Some(wait)
    }

    pub(super) fn failed(&mut self, address: Option<IpAddr>, tried: Tried<'_>, now: Instant) {
        match tried {
            Tried::AccessKey(_) => self.refused.failed_sign_ins += 1,
            Tried::ApiKey(_) => self.refused.wrong_keys += 1,
        }
        let [(row, max), (address_row, _)] = rows(address, tried);
        let failures = self.row(row, now);
        if let Tried::ApiKey(key) = tried {
            // Public digests of what is wrong: there is no secret here to compare with care.
            if failures.keys.contains(key) {
                return;
            }
            if failures.keys.len() < max as usize {
                failures.keys.push(*key);
            }
        }
        failures.count += 1;
        self.row(address_row, now).count += 1;
    }

    /// The failures of a row whose window has not ended.
    fn row(&mut self, row: Row, now: Instant) -> &mut Failures {
        if self.rows.len() >= SIGN_IN_SOURCES_MAX && !self.rows.contains_key(&row) {
            self.make_room(now);
        }
        let failures = self.rows.entry(row).or_insert_with(|| Failures::new(now));
        if failures.rest(now).is_zero() {
            *failures = Failures::new(now);
        }
        failures
    }

    fn make_room(&mut self, now: Instant) {
        self.rows.retain(|_, failures| !failures.rest(now).is_zero());
        if self.rows.len() >= SIGN_IN_SOURCES_MAX
            && let Some(oldest) = self.rows.iter().min_by_key(|(_, failures)| failures.first)
        {
            let oldest = *oldest.0;
            self.rows.remove(&oldest);
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
        assert_eq!(attempts.wait(address("2001:db8::2"), Tried::ApiKey(&[1; 32]), start), None);
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
        assert_eq!(
            attempts.wait(address("::1"), Tried::ApiKey(&[1; 32]), start),
            Some(SIGN_IN_WINDOW)
        );
        assert_eq!(attempts.wait(address("10.0.0.1"), Tried::ApiKey(&[1; 32]), start), None);
    }

    /// A dashboard on the operator's host that shows a revoked key each second locked the operator out.
    #[test]
    fn a_wrong_api_key_counts_once_however_often_it_is_shown() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for _ in 0..1000 {
            attempts.failed(address("::1"), Tried::ApiKey(&[1; 32]), start);
        }
        assert_eq!(attempts.wait(address("::1"), Tried::ApiKey(&[2; 32]), start), None);
        for number in 2..=u8::try_from(SIGN_IN_FAILURES_MAX).unwrap() {
            assert_eq!(attempts.wait(address("::1"), Tried::ApiKey(&[0; 32]), start), None);
            attempts.failed(address("::1"), Tried::ApiKey(&[number; 32]), start);
        }
        let wait = attempts.wait(address("::1"), Tried::ApiKey(&[0; 32]), start);
        assert_eq!(wait, Some(SIGN_IN_WINDOW));
        let later = start + SIGN_IN_WINDOW;
        assert_eq!(attempts.wait(address("::1"), Tried::ApiKey(&[1; 32]), later), None);
        attempts.failed(address("::1"), Tried::ApiKey(&[1; 32]), later);
        let counted = attempts.refused;
        assert_eq!((counted.wrong_keys, counted.failed_sign_ins, counted.waiting), (1010, 0, 1));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for number in 0..u32::try_from(SIGN_IN_SOURCES_MAX).unwrap() {
            attempts.failed(Some(IpAddr::V4(number.into())), Tried::ApiKey(&[1; 32]), start);
        }
        assert_eq!(attempts.rows.len(), SIGN_IN_SOURCES_MAX);
    }
}
