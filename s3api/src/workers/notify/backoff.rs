//! How long a target that failed is left alone.

use crate::limits::{NOTIFY_BACKOFF_MAX, NOTIFY_BACKOFF_MIN};
use std::time::Duration;

/// The pause behind so many failures in a row: doubled each time up to a bound, and shortened by up to
/// half at random, so that many servers do not come back to a target all at once.
pub(super) fn pause(failures: u32, random: u64) -> Duration {
    let doubled = NOTIFY_BACKOFF_MIN.saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
    let whole = doubled.min(NOTIFY_BACKOFF_MAX);
    let share = u32::try_from(random % 1024).unwrap_or(0);
    whole - whole / 2 * share / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_shortened_by_half_at_most() {
        assert_eq!(pause(1, 0), NOTIFY_BACKOFF_MIN);
        assert_eq!(pause(2, 0), NOTIFY_BACKOFF_MIN * 2);
        assert_eq!(pause(4, 0), NOTIFY_BACKOFF_MIN * 8);
        assert_eq!(pause(u32::MAX, 0), NOTIFY_BACKOFF_MAX);
        for random in [1, 512, 1023, 1024, u64::MAX] {
            let pause = pause(3, random);
            let whole = NOTIFY_BACKOFF_MIN * 4;
            assert!(pause <= whole && pause >= whole / 2, "{random}: {pause:?}");
        }
    }
}
