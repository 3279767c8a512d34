//! Making the chunks of large bodies durable before their manifest is logged.
//!
//! Any core writes chunks, only the owner of the shard syncs them: one sync of a file at a time, and one
//! for all who asked while the one before was under way.
//!
//! One at a time because a failed sync takes with it what any writer had written to the file: a second
//! sync that overlaps it may then find nothing to do and succeed. In a row, whoever is told of success
//! was told of it before the failing one began, and whoever comes later finds the shard latched.

use crate::error::{Error, Result};
use crate::metrics::count;
use crate::platform::{File, Platform};
use crate::shard::Shard;
use crate::store::Mutation;
use crate::wait::join_all;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// The syncs of one segment. Forgotten when nobody waits for any.
#[derive(Debug, Default)]
struct Turns {
    /// Number of the last sync that was asked for, and of the last one that is done.
    asked: u64,
    done: u64,
    running: bool,
    waiting: usize,
}

/// By segment.
#[derive(Debug, Default)]
pub(crate) struct DataSyncs(HashMap<u32, Turns>);

/// What a waiter does next.
enum Turn {
    Done,
    /// It runs the sync for all that were asked for up to this number.
    Lead(u64),
}

impl DataSyncs {
    fn ask(&mut self, segment: u32) -> u64 {
        let turns = self.0.entry(segment).or_default();
        turns.asked += 1;
        turns.waiting += 1;
        turns.asked
    }

    fn look(&mut self, segment: u32, mine: u64) -> Option<Turn> {
        let turns = self.0.get_mut(&segment)?;
        if turns.done >= mine {
            return Some(Turn::Done);
        }
        if turns.running {
            return None;
        }
        turns.running = true;
        Some(Turn::Lead(turns.asked))
    }

    fn ended(&mut self, segment: u32, target: u64) {
        if let Some(turns) = self.0.get_mut(&segment) {
            turns.running = false;
            turns.done = target;
        }
    }

    fn leave(&mut self, segment: u32) {
        if let Some(turns) = self.0.get_mut(&segment) {
            turns.waiting -= 1;
            if turns.waiting == 0 {
                self.0.remove(&segment);
            }
        }
    }
}

impl<P: Platform> Shard<P> {
    /// Makes everything durable that was written to these segments before.
    pub(crate) async fn sync_data(self: &Rc<Self>, segments: BTreeSet<u32>) -> Result<()> {
        if self.context.mutation() == Some(Mutation::SkipDataSync) {
            return Ok(());
        }
        let syncs = segments.into_iter().map(|segment| self.sync_segment(segment));
        join_all(syncs).await.into_iter().collect()
    }

    async fn sync_segment(self: &Rc<Self>, segment: u32) -> Result<()> {
        let mine = self.data_syncs.borrow_mut().ask(segment);
        let result = loop {
            let look = || {
                if self.is_latched() {
                    return Some(Err(self.read_only_error()));
                }
                self.data_syncs.borrow_mut().look(segment, mine).map(Ok)
            };
            match self.sync_event.wait_until(look).await {
                Ok(Turn::Lead(target)) => {
                    if let Err(error) = self.sync_file(segment).await {
                        self.latch(format!("syncing segment {segment} failed: {error}"));
                    }
                    self.data_syncs.borrow_mut().ended(segment, target);
                    self.sync_event.notify();
                }
                Ok(Turn::Done) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.data_syncs.borrow_mut().leave(segment);
        result
    }

    async fn sync_file(&self, segment: u32) -> Result<()> {
        let file = self.context.files.get(self.id, segment).await?;
        count(&self.context.counters.flushes_total, 1);
        file.sync().await.map_err(|source| Error::io(format!("sync segment {segment}"), source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_during_a_sync_waits_for_the_next_one() {
        let mut syncs = DataSyncs::default();
        let first = syncs.ask(7);
        assert!(matches!(syncs.look(7, first), Some(Turn::Lead(1))));
        let (second, third) = (syncs.ask(7), syncs.ask(7));
        assert!(syncs.look(7, second).is_none());
        syncs.ended(7, 1);
        assert!(matches!(syncs.look(7, first), Some(Turn::Done)));
        assert!(matches!(syncs.look(7, third), Some(Turn::Lead(3))));
        assert!(syncs.look(7, second).is_none());
        syncs.ended(7, 3);
        assert!(matches!(syncs.look(7, second), Some(Turn::Done)));
        (0..3).for_each(|_| syncs.leave(7));
        assert!(syncs.0.is_empty());
    }
}
