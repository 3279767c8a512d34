//! A store that is filled to its last byte, and what must still work then.

use crate::model::{Guard, Op};
use crate::sim_client::Client;
use crate::sim_world::{BUCKETS, Place};
use engine::platform::Platform;
use engine::{Deletion, Error};
use std::time::Duration;

/// Puts that are refused one after the other before the store counts as full: some are larger than
/// what is left.
const REFUSALS: u32 = 6;

/// What must find room then.
const SMALL_BYTES: u64 = 1000;

/// Within this time after half of a full store was deleted, new data must be accepted.
const RELIEF_MAX: Duration = Duration::from_secs(60);

impl Client<'_> {
    /// Fills the store until puts are refused; then everything can be read, half of it can be deleted,
    /// and puts work again. Nobody else may be at work.
    pub(crate) async fn fill_and_relieve(&self) {
        if !self.fill_up().await || !self.is_sound().await {
            return;
        }
        self.audit().await;
        let mut deleted = 0;
        for place in self.places().step_by(2) {
            deleted += u64::from(self.delete_all(place).await);
        }
        if deleted == 0 {
            return;
        }
        let deadline_ns = self.platform().monotonic_ns() + RELIEF_MAX.as_nanos() as u64;
        while !self.try_put((0, 0), SMALL_BYTES).await {
            if self.platform().monotonic_ns() > deadline_ns {
                if !self.has_its_reserve() {
                    return;
                }
                let figures = self.running.quiet().await;
                self.world.fail(format!(
                    "{deleted} objects of a full store were deleted, and it takes no others: {figures:?}"
                ));
                return;
            }
            self.platform().sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether all shards take writes; then whatever has no answer now never had an effect, or has it
    /// already.
    pub(crate) async fn is_sound(&self) -> bool {
        let figures = self.running.quiet().await;
        let sound = figures.shards_read_only == 0 && figures.drives_offline == 0;
        if sound {
            self.world.stop();
        }
        sound
    }

    /// Where the filesystem refuses to give what was configured, the reserve may never have been.
    fn has_its_reserve(&self) -> bool {
        !self.world.shape.overcommitted && !self.world.tolerance.get().faults
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let keys = self.world.keys().len();
        (0..BUCKETS.len()).flat_map(move |bucket| (0..keys).map(move |key| (bucket, key)))
    }

    /// Puts new values into all keys until several are refused; false if all found room.
    async fn fill_up(&self) -> bool {
        let mut refusals = 0;
        for place in self.places() {
            refusals =
                if self.try_put(place, self.world.any_size()).await { 0 } else { refusals + 1 };
            if refusals == REFUSALS {
                return true;
            }
        }
        false
    }

    /// Whether there was room for a new value.
    async fn try_put(&self, place: Place, size: u64) -> bool {
        !matches!(self.put_sized(place, Guard::Always, size).await, Some(Err(Error::OutOfSpace)))
    }

    /// A delete, which must not be refused for want of space; whether something was there.
    async fn delete_all(&self, place: Place) -> bool {
        let Some(bucket) = self.bucket(place) else {
            return false;
        };
        let op = self.world.begin(place, Op::Write { guard: Guard::Always, value: None });
        let result =
            self.engine().delete(bucket, self.world.key(place), Deletion::NULL, None).await;
        if matches!(result, Err(Error::OutOfSpace)) && self.has_its_reserve() {
            let name = self.world.name(place);
            let figures = self.running.quiet().await;
            self.world.fail(format!("{name}: a full store refuses to delete: {figures:?}"));
        }
        self.world.end_write(place, op, result.as_ref().map(|deleted| deleted.existed));
        result.is_ok_and(|deleted| deleted.existed)
    }
}
