//! What a shard does for a rename: it holds a key, hides it, and removes it.
//!
//! Invariant: a key is held from the answer to a hold until the asker lets it go, or is gone.

use crate::append::Outcome;
use crate::error::{ConditionFailure, Error, Result};
use crate::format::record::{Record, RecordKind};
use crate::index_key;
use crate::platform::Platform;
use crate::removal::HeldKey;
use crate::request::{Reply, mismatched};
use crate::segments::Need;
use crate::shard::{Shard, judge};
use crate::types::{BucketId, Condition, Current, Guard, Version};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

/// Between attempts to write a tombstone that had no room.
const REMOVAL_RETRY: Duration = Duration::from_millis(20);
const REMOVAL_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a rename asks of the shards of its keys.
pub(crate) enum RenameStep {
    /// Waits until there is room for what is to be written, as long as others wait for it: once a key is
    /// held, nobody waits.
    AwaitRoom { need: Need },
    /// Holds the former key, if that version is its latest and the guard lets it go.
    HoldSource { bucket: BucketId, key: Vec<u8>, version: Version, guard: Guard },
    /// Holds the new key, if the condition allows that it is written.
    HoldTarget { bucket: BucketId, key: Vec<u8>, condition: Option<Condition> },
    /// A held key answers no reader any more.
    Hide { hold: u64 },
    /// Removes the null version of a held key.
    Remove { hold: u64, bucket: BucketId, key: Vec<u8> },
}

/// Keys of one shard that renames hold.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    last: u64,
    /// Index keys.
    held: BTreeMap<u64, Vec<u8>>,
    /// Those of them that answer no readers.
    hidden: HashSet<Vec<u8>>,
}

impl<P: Platform> Shard<P> {
    pub(crate) async fn rename_step(self: &Rc<Self>, step: RenameStep) -> Result<Reply> {
        match step {
            RenameStep::AwaitRoom { need } => {
                self.await_turn(need, &[]).await;
                Ok(Reply::Done)
            }
            RenameStep::HoldSource { bucket, key, version, guard } => {
                let index_key = index_key::object(bucket, &key);
                let held = self.hold_key_now(&index_key).await?;
                self.check_tombstone(bucket, &key)?;
                let latest = self.state.borrow().published(&index_key);
                let failed = |failure| Err(Error::Condition(failure));
                match latest.filter(|latest| !latest.is_marker) {
                    Some(latest) if latest.is_null && latest.version == version => {}
                    Some(_) => return failed(ConditionFailure::Superseded),
                    None => return failed(ConditionFailure::NoSuchKey),
                }
                self.ask_guard_of_null(Some(&guard), &index_key).await?;
                Ok(self.keep_hold(held))
            }
            RenameStep::HoldTarget { bucket, key, condition } => {
                let index_key = index_key::object(bucket, &key);
                let held = self.hold_key_now(&index_key).await?;
                let record = Record::new(RecordKind::Object, bucket.0, key);
                self.check_writable(&record, Need::Data)?;
                let latest = self.state.borrow().published(&index_key);
                if let Some(failure) = judge(condition.as_ref(), latest.as_ref()) {
                    return Err(Error::Condition(failure));
                }
                Ok(self.keep_hold(held))
            }
            RenameStep::Hide { hold } => {
                let Holds { held, hidden, .. } = &mut *self.holds.borrow_mut();
                hidden.extend(held.get(&hold).cloned());
                Ok(Reply::Done)
            }
            RenameStep::Remove { hold, bucket, key } => {
                let index_key = index_key::object(bucket, &key);
                if !self.holds.borrow().held.contains_key(&hold) {
                    return Err(mismatched());
                }
                self.remove_held(bucket, key, &index_key).await?;
                Ok(Reply::Done)
            }
        }
    }

    /// Writes the tombstone of a key that is held. Compaction may be waiting for this very key, so it must not
    /// wait for what compaction would gain: if the reserve is used up, which is known without a wait for
    /// anything but I/O, it may take of what that has for itself. Should that be used up too, it is tried
    /// again for a moment.
    async fn remove_held(
        self: &Rc<Self>,
        bucket: BucketId,
        key: Vec<u8>,
        index_key: &[u8],
    ) -> Result<()> {
        let begun_ns = self.platform.monotonic_ns();
        let mut need = Need::Reserve;
        loop {
            match self.check_tombstone(bucket, &key) {
                Ok(()) | Err(Error::OutOfSpace) => {}
                Err(error) => return Err(error),
            }
            let record = Record::new(RecordKind::Tombstone, bucket.0, key.clone());
            let (_, ticket) = self.stage(record, index_key, need)?;
            let outcome = ticket.wait().await;
            if outcome == Outcome::OutOfSpace && need == Need::Reserve {
                need = Need::Compaction;
                continue;
            }
            let waited_ns = self.platform.monotonic_ns().saturating_sub(begun_ns);
            if outcome != Outcome::OutOfSpace || waited_ns > REMOVAL_WAIT_MAX.as_nanos() as u64 {
                return self.outcome(outcome);
            }
            self.platform.sleep(REMOVAL_RETRY).await;
        }
    }

    /// Refuses what could not be ended.
    fn check_tombstone(&self, bucket: BucketId, key: &[u8]) -> Result<()> {
        let record = Record::new(RecordKind::Tombstone, bucket.0, key.to_vec());
        self.check_writable(&record, Need::Reserve)
    }

    /// Holds a key beyond this request, until [`Self::end_hold`]. The version is later than all that the
    /// key has, and is given to nothing else.
    fn keep_hold(&self, held: HeldKey<P>) -> Reply {
        let reserved = self.clock.next(&self.platform);
        let mut holds = self.holds.borrow_mut();
        holds.last += 1;
        let hold = holds.last;
        holds.held.insert(hold, held.into_key());
        Reply::Held { hold, reserved }
    }

    pub(crate) fn end_hold(&self, hold: u64) {
        let ended = self.holds.borrow_mut().held.remove(&hold);
        if let Some(index_key) = ended {
            self.holds.borrow_mut().hidden.remove(&index_key);
            self.release_key(&index_key);
        }
    }

    /// Whether readers have to wait for what becomes of a key.
    pub(crate) fn is_hidden(&self, bucket: BucketId, key: &[u8]) -> bool {
        let Holds { hidden, .. } = &*self.holds.borrow();
        !hidden.is_empty() && hidden.contains(&index_key::object(bucket, key))
    }

    pub(crate) async fn await_shown(&self, bucket: BucketId, key: &[u8]) {
        let shown = || (!self.is_hidden(bucket, key)).then_some(());
        self.relocation_event.wait_until(shown).await;
    }

    /// Writes the record of a key that is held by who asks.
    pub(crate) async fn write_held(
        self: &Rc<Self>,
        record: Record,
        index_key: &[u8],
        version: Version,
    ) -> Result<(Version, Option<Current>, u64)> {
        self.check_writable(&record, Need::Data)?;
        let (before, size) = (self.state.borrow().published(index_key), record.size);
        let ticket = self.stage_as(version, record, index_key, Need::Data)?;
        self.outcome(ticket.wait().await).map(|()| (version, before, size))
    }
}
