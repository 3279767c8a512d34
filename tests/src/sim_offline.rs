//! What is done to a simulated store that nobody serves: it is checked, its index is rebuilt from
//! segments alone, its newest checkpoint is spoilt.
//!
//! Not here: what a start must say afterwards. After all of this it must be what it would be without.

use crate::sim::Machine;
use crate::sim_world::World;
use engine::format::checkpoint::CheckpointHeader;
use engine::platform::BLOCK_BYTES;
use engine::verify::{Listener, RebuildOptions, check, rebuild};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Checkpoints that were spoilt, by file and sequence number.
pub type Spoilt = BTreeSet<(PathBuf, u64)>;

/// Checks a store on an undamaged medium: nothing may be found.
pub fn verify(machine: &Machine, world: &World) {
    let platform = machine.sim.platform();
    let checked = machine.sim.run_until(check(&platform, &machine.dirs, Listener::default()));
    match checked {
        Ok(Ok(report)) if report.is_clean() => {}
        other => world.fail(format!("a sound store does not pass its check: {other:?}")),
    }
}

/// Makes all indexes anew from the segments.
pub fn rebuild_all(machine: &Machine, world: &World) {
    let platform = machine.sim.platform();
    let options = RebuildOptions::default();
    let done = rebuild(&platform, &machine.dirs, options, Listener::default());
    match machine.sim.run_until(done) {
        Ok(Ok(rebuilt)) if rebuilt.report.is_clean() => {}
        other => world.fail(format!("a sound store cannot be rebuilt: {other:?}")),
    }
}

/// Spoils the newest checkpoint of some shards, where another one is left: the start must do with that.
/// Not of those whose last spoilt one still counts: then nothing would be left.
pub fn spoil_checkpoints(machine: &Machine, world: &World, spoilt: &mut Spoilt) {
    let disk = machine.sim.disk();
    for shard_dir in shard_dirs(machine) {
        let slots = (0..3).map(|slot| shard_dir.join(format!("checkpoint-{slot}.ckp")));
        let files = disk.files();
        let mut whole: Vec<(u64, PathBuf, u64)> = slots
            .filter(|path| files.contains(path) && disk.length(path) >= BLOCK_BYTES as u64)
            .filter_map(|path| {
                let header = CheckpointHeader::decode(&disk.read(&path, 0, BLOCK_BYTES));
                let header = header.ok()??;
                Some((header.sequence, path, header.body_bytes))
            })
            .collect();
        whole.sort();
        let is_spoilt = spoilt.iter().any(|(path, sequence)| {
            let block = disk.read(path, 0, BLOCK_BYTES);
            let header = CheckpointHeader::decode(&block).ok().flatten();
            let is_replaced = header.is_some_and(|header| header.sequence != *sequence);
            path.starts_with(&shard_dir) && !is_replaced
        });
        if is_spoilt || whole.len() < 2 || world.one_in(2) {
            continue;
        }
        let Some((sequence, path, body_bytes)) = whole.pop() else { continue };
        let offset = world.below(BLOCK_BYTES as u64 + body_bytes);
        disk.flip_bit(&path, offset, world.below(8) as u8);
        spoilt.insert((path, sequence));
    }
}

fn shard_dirs(machine: &Machine) -> BTreeSet<PathBuf> {
    let files = machine.sim.disk().files();
    let segments = files.iter().filter(|path| path.extension().is_some_and(|end| end == "seg"));
    segments.filter_map(|path| path.parent()).map(Path::to_owned).collect()
}
