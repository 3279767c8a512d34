//! The checkpoints of a shard, each whole.
//!
//! The two newest count. The third is the one that is written over next: what is wrong with it is a doubt.
//! A header is never torn, so one that does not verify is damaged, and may have been the newest.

use super::{At, Grade, Run, Structure};
use crate::checkpoint::slot_path;
use crate::format::checkpoint::SLOTS;
use crate::platform::{BLOCK_BYTES, Platform};
use crate::recover::load::{load, read_slot_header};

/// Checkpoints that a start may use.
const RETAINED: usize = 2;

impl<P: Platform> Run<'_, P> {
    pub(super) async fn slots(&self, shard: u16) {
        let mut slots = Vec::new();
        for slot in 0..SLOTS {
            match read_slot_header(self.context, shard, slot).await {
                Ok(Ok(Some(header))) => slots.push((slot, header)),
                Ok(Ok(None)) => {}
                Ok(Err(malformed)) => {
                    self.find_in_slot(shard, slot, Grade::Damage, malformed.0);
                }
                Err(error) => self.find_in_slot(shard, slot, Grade::Damage, &error.to_string()),
            }
        }
        slots.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
        for ((slot, header), place) in slots.into_iter().zip(0..) {
            let bytes = header.body_bytes + BLOCK_BYTES as u64;
            let grade = if place < RETAINED { Grade::Damage } else { Grade::Doubt };
            match load(self.context, shard, slot, header).await {
                Ok(Ok(_)) => {}
                Ok(Err(malformed)) => self.find_in_slot(shard, slot, grade, malformed.0),
                Err(error) => self.find_in_slot(shard, slot, grade, &error.to_string()),
            }
            self.count(|counts| {
                counts.checkpoints += 1;
                counts.bytes_read += bytes;
            });
        }
    }

    fn find_in_slot(&self, shard: u16, slot: u64, grade: Grade, reason: &str) {
        let path = slot_path(&self.context.layout.shard_dir(shard), slot);
        let structure = Structure::Checkpoint;
        let at = At { shard: Some(shard), structure, path: &path, offset: None };
        self.find(grade, at, reason, None);
    }
}
