//! Where cores find the limiter of a user or bucket that they have not seen before.
//!
//! Invariants: while anybody holds a limiter, nobody gets another one for the same key; one that nobody holds is
//! forgotten only when it says as little as a new one. There are at most twice as many as are held or not yet idle,
//! or [`LIMITERS_PRUNED_FROM`].

use super::limiter::Limiter;
use crate::limits::LIMITERS_PRUNED_FROM;
use engine::BucketId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Whose limits they are. Neither number is ever given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// By the number that the management port names it by.
    User(u64),
    Bucket(BucketId),
}

/// The limiters of a server.
#[derive(Debug, Default)]
pub struct Registry(Mutex<Known>);

#[derive(Debug)]
struct Known {
    limiters: HashMap<Key, Arc<Limiter>>,
    /// When so many are known, it is looked which can be forgotten.
    prune_at: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { limiters: HashMap::new(), prune_at: LIMITERS_PRUNED_FROM }
    }
}

impl Registry {
    /// The limiter of a key; a new one, if there is none.
    pub(super) fn limiter(&self, key: Key, now_ns: u64) -> Arc<Limiter> {
        // A panic cannot leave the map half changed.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.limiters.len() >= known.prune_at && !known.limiters.contains_key(&key) {
            known
                .limiters
                .retain(|_, limiter| Arc::strong_count(limiter) > 1 || !limiter.is_idle(now_ns));
            known.prune_at = LIMITERS_PRUNED_FROM.max(2 * known.limiters.len());
        }
        Arc::clone(known.limiters.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::throttle::TrafficLimits;

    const SECOND: u64 = 1_000_000_000;

    fn count(registry: &Registry) -> usize {
        registry.0.lock().unwrap().limiters.len()
    }

    #[test]
    fn what_nobody_holds_is_forgotten_when_it_says_nothing() {
        let registry = Registry::default();
        let held = registry.limiter(Key::User(0), 0);
        let limits = TrafficLimits { requests_per_second: Some(1), ..TrafficLimits::default() };
        for number in 1..LIMITERS_PRUNED_FROM as u64 {
            let limiter = registry.limiter(Key::User(number), 0);
            // Two of them have something to say for a second.
            if number <= 2 {
                assert!(Limiter::enter(&limiter, &limits, 0).is_ok());
            }
        }
        assert_eq!(count(&registry), LIMITERS_PRUNED_FROM);
        registry.limiter(Key::Bucket(BucketId(1)), SECOND / 2);
        assert_eq!(count(&registry), 4);
        assert!(Arc::ptr_eq(&held, &registry.limiter(Key::User(0), 0)));
        let one = registry.limiter(Key::User(1), SECOND / 2);
        assert!(Limiter::enter(&one, &limits, SECOND / 2).is_err());
    }

    #[test]
    fn more_than_the_bound_are_known_while_all_are_held() {
        let registry = Registry::default();
        let most = 3 * LIMITERS_PRUNED_FROM as u64;
        let held: Vec<_> = (0..most).map(|number| registry.limiter(Key::User(number), 0)).collect();
        assert_eq!(count(&registry), held.len());
        drop(held);
        for number in most..most + 4 * LIMITERS_PRUNED_FROM as u64 {
            registry.limiter(Key::User(number), 0);
        }
        assert!(count(&registry) <= 4 * LIMITERS_PRUNED_FROM);
    }
}
