//! The checkpoints of a shard, each whole.
//!
//! The two newest count. The third is the one that is written over next, and a crash while that went on
//! leaves it damaged; what is wrong with it is a doubt.

use super::salvage::is_one_bit_off;
use super::{At, Grade, Run, Structure};
use crate::checkpoint::slot_path;
use crate::format::checkpoint::{CheckpointHeader, SLOTS};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::recover::load::{load, read_slot_header};

/// Checkpoints that a start may use.
const RETAINED: usize = 2;

impl<P: Platform> Run<'_, P> {
    pub(super) async fn slots(&self, shard: u16) {
        let mut slots = Vec::new();
        let mut unreadable = Vec::new();
        for slot in 0..SLOTS {
            match read_slot_header(self.context, shard, slot).await {
                Ok(Ok(Some(header))) => slots.push((slot, header)),
                Ok(Ok(None)) => {}
                Ok(Err(malformed)) => unreadable.push((slot, malformed.0.to_owned(), false)),
                Err(error) => unreadable.push((slot, error.to_string(), true)),
            }
        }
        slots.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
        for (slot, reason, is_certain) in unreadable {
            // A header's own write may have been torn, but not so that one bit is wrong.
            let is_damage =
                is_certain || slots.len() < RETAINED || self.slot_is_one_bit_off(shard, slot).await;
            let grade = if is_damage { Grade::Damage } else { Grade::Doubt };
            self.find_in_slot(shard, slot, grade, &reason);
        }
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

    async fn slot_is_one_bit_off(&self, shard: u16, slot: u64) -> bool {
        let path = slot_path(&self.context.layout.shard_dir(shard), slot);
        let Ok(file) = self.context.platform.open(&path, OpenMode::READ).await else {
            return true;
        };
        let Ok(block) = file.read_at(0, BLOCK_BYTES).await else { return true };
        is_one_bit_off(&block, |copy| matches!(CheckpointHeader::decode(copy), Ok(Some(_))))
    }

    fn find_in_slot(&self, shard: u16, slot: u64, grade: Grade, reason: &str) {
        let path = slot_path(&self.context.layout.shard_dir(shard), slot);
        let structure = Structure::Checkpoint;
        let at = At { shard: Some(shard), structure, path: &path, offset: None };
        self.find(grade, at, reason, None);
    }
}
