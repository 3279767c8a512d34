//! Back-pressure: writers wait while there is no room for them and background work makes some.
//!
//! Invariants: no wait is longer than its bound, and nobody waits for work that gives no hope.
//!
//! Not here: what is done to make room (`maintenance`).

use crate::limits::{RESERVED_SEGMENTS, SPACE_WAIT_MAX};
use crate::maintenance::Work;
use crate::platform::Platform;
use crate::segments::{Need, Stage};
use crate::shard::Shard;
use futures_lite::FutureExt;
use std::time::Duration;

impl<P: Platform> Shard<P> {
    /// Waits while the log has no room for a write and background work is about to make some, and
    /// while one of these keys is on its way to another place.
    pub(crate) async fn await_turn(&self, need: Need, keys: &[&[u8]]) {
        let begun_ns = self.platform.monotonic_ns();
        self.await_displaced().await;
        loop {
            self.await_space(need).await;
            self.await_relocation(keys).await;
            // Others may have taken the room meanwhile.
            let may_wait = self.may_wait_on(begun_ns) && self.is_gaining_space();
            if !self.log_is_tight(need) || !may_wait {
                return;
            }
            self.platform.yield_now().await;
        }
    }

    /// Whether a write that began then may go on waiting for space.
    pub(crate) fn may_wait_on(&self, begun_ns: u64) -> bool {
        let waited_ns = self.platform.monotonic_ns().saturating_sub(begun_ns);
        waited_ns < SPACE_WAIT_MAX.as_nanos() as u64
    }

    /// Whether segments are so few that a write which was let in may be refused all the same.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.state.borrow().segments.obtainable() <= RESERVED_SEGMENTS + 2
    }

    /// Waits while the log has no room for a write and background work is about to make some.
    async fn await_space(&self, need: Need) {
        if !self.log_is_tight(need) {
            return;
        }
        let maintenance = &self.maintenance;
        maintenance.waiting.set(maintenance.waiting.get() + 1);
        let room = maintenance.space_event.wait_until(|| {
            let hopeless = !self.is_gaining_space();
            (!self.log_is_tight(need) || hopeless).then_some(())
        });
        maintenance.event.notify();
        room.or(self.platform.sleep(SPACE_WAIT_MAX)).await;
        maintenance.waiting.set(maintenance.waiting.get() - 1);
    }

    /// Waits while the relocation log has no room for an amendment and background work is about to make
    /// some, for a time.
    pub(crate) async fn await_amend_room(&self) {
        let begun_ns = self.platform.monotonic_ns();
        let maintenance = &self.maintenance;
        while !self.may_relocate(Need::Data)
            && self.may_wait_on(begun_ns)
            && self.is_gaining_space()
        {
            maintenance.waiting.set(maintenance.waiting.get() + 1);
            let room = maintenance.space_event.wait_until(|| {
                (self.may_relocate(Need::Data) || !self.is_gaining_space()).then_some(())
            });
            maintenance.event.notify();
            room.or(self.platform.sleep(SPACE_WAIT_MAX)).await;
            maintenance.waiting.set(maintenance.waiting.get() - 1);
            // Others may be quicker, again and again.
            self.platform.yield_now().await;
        }
    }

    /// Waits while too many displaced records are to be dealt with, for a time.
    async fn await_displaced(&self) {
        let is_over = || self.is_latched() || self.context.stopping.get();
        let is_long = || self.state.borrow().displaced.is_long() && !is_over();
        if is_long() {
            let shorter = self.maintenance.space_event.wait_until(|| (!is_long()).then_some(()));
            shorter.or(self.platform.sleep(SPACE_WAIT_MAX)).await;
        }
    }

    /// Waits while there are no units for a large body and background work is about to free some; false
    /// if there is no hope, or it has taken too long since the wait began.
    pub(crate) async fn await_units(&self, begun_ns: u64) -> bool {
        let waited_ns = self.platform.monotonic_ns() - begun_ns;
        let left = SPACE_WAIT_MAX.saturating_sub(Duration::from_nanos(waited_ns));
        if left.is_zero() || self.context.stopping.get() || !self.is_gaining_space() {
            return false;
        }
        let maintenance = &self.maintenance;
        maintenance.waiting.set(maintenance.waiting.get() + 1);
        let room = maintenance.space_event.wait_until(|| {
            let has_room = self.state.borrow().segments.may_give_units();
            (has_room || !self.is_gaining_space()).then_some(())
        });
        maintenance.event.notify();
        room.or(self.platform.sleep(left)).await;
        maintenance.waiting.set(maintenance.waiting.get() - 1);
        // Others may be quicker, again and again.
        self.platform.yield_now().await;
        true
    }

    /// Whether background work makes room, or is about to.
    fn is_gaining_space(&self) -> bool {
        let work = self.maintenance.work().or_else(|| self.next_work());
        if work == Some(Work::Stop) {
            return false;
        }
        work.is_some_and(|work| work == Work::Spare || work.gains_space())
            || self.work_is_held_off()
            || self.awaits_others()
    }

    /// Whether space comes as soon as readers or a queue have moved on, or a segment is opened.
    fn awaits_others(&self) -> bool {
        let state = self.state.borrow();
        let emptied = state.segments.log_at(|stage| stage == Stage::Emptied);
        !state.displaced.is_empty() || !emptied.is_empty() || state.segments.opening > 0
    }

    /// The log cannot go on in another segment, and the present one is nearly full.
    pub(crate) fn log_is_tight(&self, need: Need) -> bool {
        let segment_bytes = self.context.layout.segment_bytes;
        let log = self.log.borrow();
        let taken = log.at.offset + log.gathered_bytes as u64;
        let left = segment_bytes.saturating_sub(taken);
        let low = match need {
            Need::Data => segment_bytes / 4,
            _ => segment_bytes / 16,
        };
        left < low && !self.state.borrow().segments.may_take(need)
    }

    /// Whether the log holds as much that is alive as it may.
    pub(crate) fn log_is_full(&self) -> bool {
        let alive = self.state.borrow().segments.log_use().1;
        let percent = u64::from(self.context.options.log_utilisation_max_percent);
        alive >= self.log_capacity_bytes() / 100 * percent
    }
}
