//! Renaming: an object gets another key of its bucket, with all that it is but its version.
//!
//! The two keys may lie in shards on different drives, so the bytes are copied first, as an upload would
//! bring them. Then both keys are held, and four writes follow each other, each durable before the next:
//!
//! 1. an entry of the catalogue, the intent, which names both keys, the version that goes and the version
//!    that the new record will have;
//! 2. the record under the new key;
//! 3. the tombstone of the former key;
//! 4. the removal of the intent.
//!
//! A start that finds an intent looks for the record of 2. If it is there, 3 follows, else nothing has
//! happened. So after a crash the object has one of its keys, never both and never none.
//!
//! Invariants: from before 2 until 3 is published the former key answers nobody, so whoever has seen the
//! object under its new key does not find it under the former one. Only that very version goes, and only
//! for that very record: what was written to either key after a failure is not touched.
//!
//! Not here: keys with several versions. A listing that is under way meanwhile may show both names or none.
//!
//! Budget: a copy of the bytes; four flushes, one after the other, and eleven hops at most.

mod copy;
mod holds;
mod intent;

pub use copy::ObjectCopy;
pub(crate) use holds::{Holds, RenameStep};

use crate::engine::{Engine, check_attributes};
use crate::error::{ConditionFailure, Error, Result};
use crate::format::intent::Intent;
use crate::platform::Platform;
use crate::request::{Reply, Request, mismatched};
use crate::segments::Need;
use crate::shard::{Committed, Put, Target};
use crate::types::{Commit, Guard, Version};
use crate::wait::to_the_end;

/// A key that is held in its shard; let go when dropped.
#[derive(Debug)]
struct RemoteHold<P: Platform> {
    engine: Engine<P>,
    shard: u16,
    hold: u64,
    reserved: Version,
}

impl<P: Platform> Drop for RemoteHold<P> {
    fn drop(&mut self) {
        self.engine.tell(self.shard, Request::EndHold(self.hold));
    }
}

impl<P: Platform> Engine<P> {
    /// Gives an object the key that its copy was made for, in the place of the object that is there, if
    /// any. `guard` is asked about the attributes that the object has at that moment; the condition of the
    /// commit is about the object under the new key. Keys with several versions are not for this.
    ///
    /// # Errors
    /// [`Error::Condition`]: with `NoSuchKey` if the object is gone, `Superseded` if it is no longer the one
    /// that was copied, or what guard and condition say. Then nothing was changed, and after
    /// the other refusals of a write neither. After [`Error::ReadOnly`] it is not known before the next
    /// start.
    pub async fn rename(
        &self,
        from: &[u8],
        guard: Guard,
        copy: ObjectCopy<P>,
        commit: Commit,
    ) -> Result<Committed> {
        check_attributes(&commit.attributes)?;
        // Cut short between its steps it would leave the object with two keys until the next start.
        let (engine, from) = (self.clone(), from.to_vec());
        let renamed = async move { engine.rename_whole(from, guard, copy, commit).await };
        to_the_end(self.platform(), renamed).await
    }

    async fn rename_whole(
        &self,
        from: Vec<u8>,
        guard: Guard,
        copy: ObjectCopy<P>,
        mut commit: Commit,
    ) -> Result<Committed> {
        let (bucket, version) = (copy.bucket, copy.source);
        if from == copy.key {
            return Err(Error::Condition(ConditionFailure::Superseded));
        }
        let source_shard = self.shard_of(bucket, &from)?;
        for (shard, need) in [(source_shard, Need::Reserve), (copy.shard, Need::Data)] {
            self.ask(shard, Request::Rename(RenameStep::AwaitRoom { need })).await?;
        }
        let hold_source = RenameStep::HoldSource { bucket, key: from.clone(), version, guard };
        let condition = commit.condition.take();
        let hold_target = RenameStep::HoldTarget { bucket, key: copy.key.clone(), condition };
        // In the order of the keys: of renames that need each other's keys none waits for one that waits.
        let (source, target) = if from < copy.key {
            let source = self.hold(source_shard, hold_source).await?;
            (source, self.hold(copy.shard, hold_target).await?)
        } else {
            let target = self.hold(copy.shard, hold_target).await?;
            (self.hold(source_shard, hold_source).await?, target)
        };
        let intent = Intent {
            bucket,
            from: from.clone(),
            version,
            to: copy.key.clone(),
            reserved: target.reserved,
            attributes_hash: copy.attributes_hash,
        };
        let name = self.note_intent(copy.shard, &intent).await?;
        let moved = self.move_held(&source, &target, from, copy, commit).await;
        if moved.as_ref().err().is_none_or(is_refusal) {
            self.forget_intent(name).await;
        }
        moved
    }

    async fn hold(&self, shard: u16, step: RenameStep) -> Result<RemoteHold<P>> {
        match self.ask(shard, Request::Rename(step)).await? {
            Reply::Held { hold, reserved } => {
                Ok(RemoteHold { engine: self.clone(), shard, hold, reserved })
            }
            _ => Err(mismatched()),
        }
    }

    async fn move_held(
        &self,
        source: &RemoteHold<P>,
        target: &RemoteHold<P>,
        from: Vec<u8>,
        copy: ObjectCopy<P>,
        commit: Commit,
    ) -> Result<Committed> {
        let (bucket, hold) = (copy.bucket, source.hold);
        self.ask(source.shard, Request::Rename(RenameStep::Hide { hold })).await?;
        let key = copy.key.clone();
        let (body, permits) = copy.into_body();
        let put =
            Put { bucket, key, target: Target::Held { version: target.reserved }, body, commit };
        let reply = self.ask(target.shard, Request::Put(Box::new(put))).await?;
        drop(permits);
        let Reply::Committed(committed) = reply else { return Err(mismatched()) };
        let remove = RenameStep::Remove { hold, bucket, key: from };
        match self.ask(source.shard, Request::Rename(remove)).await {
            Ok(_) => Ok(committed),
            // The next start does it.
            Err(error) => {
                let cause = format!("the object has both keys until the next start: {error}");
                Err(Error::ReadOnly { shard: source.shard, cause })
            }
        }
    }
}

/// Whether a write that failed so has surely not happened.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Condition(_)
            | Error::NoSuchBucket
            | Error::Busy
            | Error::IndexFull
            | Error::OutOfSpace
            | Error::TooLarge(_)
    )
}
