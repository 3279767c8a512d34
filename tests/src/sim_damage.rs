//! Damage to the medium of a simulated machine: where it may strike, and what it strikes there.
//!
//! Not here: what an engine may answer afterwards.

use crate::sim::Machine;
use crate::sim_world::World;
use engine::format::Salt;
use engine::format::group::GroupHeader;
use engine::format::segment::{Header, SegmentHeader, SegmentKind};
use engine::format::superblock::{COPIES, Copy, Superblock};
use engine::limits::GROUPS_IN_FLIGHT_MAX;
use engine::platform::BLOCK_BYTES;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A place on the medium and what is done to it.
#[derive(Debug, Clone)]
pub struct Damage {
    pub target: Target,
    path: PathBuf,
    offset: u64,
    /// What was there before.
    was: Vec<u8>,
    becomes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Superblock,
    LogHeader,
    SlabHeader,
    GroupHeader,
    GroupContent,
    Seal,
    Slab,
}

pub const TARGETS: [Target; 7] = [
    Target::Superblock,
    Target::LogHeader,
    Target::SlabHeader,
    Target::GroupHeader,
    Target::GroupContent,
    Target::Seal,
    Target::Slab,
];

/// A group of the log as it lies on the medium.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    offset: u64,
    header: GroupHeader,
    /// A later group says that it was durable.
    told: bool,
}

impl Damage {
    /// Damage that the engine must notice or survive: a bit flipped or a block zeroed, somewhere in
    /// the target. `None` if there is no such place.
    ///
    /// Of the last groups, of which no later one says that they were durable, nothing can be proven:
    /// damage looks like a write that was cut short. They are left alone.
    pub fn choose(machine: &Machine, world: &World, target: Target) -> Option<Self> {
        let (path, start, bytes) = place(machine, world, target)?;
        let disk = machine.sim.disk();
        let at = start + world.below(bytes);
        // A block that holds zeroes already would not be damaged by zeroing it.
        let block = at - at % BLOCK_BYTES as u64;
        let whole = disk.read(&path, block, BLOCK_BYTES);
        let zeroed = world.one_in(3) && target != Target::Superblock;
        let (offset, was, becomes) = if zeroed && whole.iter().any(|byte| *byte != 0) {
            (block, whole, vec![0; BLOCK_BYTES])
        } else {
            let byte = whole[(at - block) as usize];
            (at, vec![byte], vec![byte ^ (1 << world.below(8))])
        };
        Some(Self { target, path, offset, was, becomes })
    }

    pub fn strike(&self, machine: &Machine) {
        machine.sim.disk().overwrite(&self.path, self.offset, &self.becomes);
    }

    pub fn repair(&self, machine: &Machine) {
        machine.sim.disk().overwrite(&self.path, self.offset, &self.was);
    }
}

/// A file and a range of it that is of the target's kind.
fn place(machine: &Machine, world: &World, target: Target) -> Option<(PathBuf, u64, u64)> {
    let block = BLOCK_BYTES as u64;
    let pick = |count: usize| world.below(count as u64) as usize;
    match target {
        Target::Superblock => {
            let path = machine.dirs[pick(machine.dirs.len())].join("superblock");
            Some((path, 0, COPIES as u64 * block))
        }
        Target::LogHeader | Target::SlabHeader | Target::Slab => {
            let kind = match target {
                Target::LogHeader => SegmentKind::Log,
                _ => SegmentKind::Slab,
            };
            let paths = segments(machine, kind);
            let path = paths.get(pick(paths.len().max(1)))?.clone();
            let bytes = machine.sim.disk().length(&path);
            let whole = target == Target::Slab;
            Some(if whole { (path, block, bytes - block) } else { (path, 0, block) })
        }
        Target::GroupHeader | Target::GroupContent | Target::Seal => {
            let wanted = |group: &Group| {
                let is_right = match target {
                    Target::Seal => group.header.next_segment.is_some(),
                    Target::GroupContent => group.header.content_bytes > 0,
                    _ => true,
                };
                group.told && is_right
            };
            let groups: Vec<Group> = groups(machine).into_iter().filter(wanted).collect();
            let group = groups.get(pick(groups.len().max(1)))?;
            let (from, bytes) = match target {
                Target::GroupContent => (128, u64::from(group.header.content_bytes)),
                _ => (0, 128),
            };
            Some((group.path.clone(), group.offset + from, bytes))
        }
    }
}

/// Segments whose header says that they are of a kind.
pub fn segments(machine: &Machine, kind: SegmentKind) -> Vec<PathBuf> {
    let disk = machine.sim.disk();
    let is_of_kind = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "seg")
            && disk.length(path) >= BLOCK_BYTES as u64
            && matches!(
                SegmentHeader::decode(&disk.read(path, 0, BLOCK_BYTES)),
                Header::Valid(header) if header.kind == kind
            )
    };
    disk.files().into_iter().filter(is_of_kind).collect()
}

/// The salt of the store on a machine, by any copy of its superblock.
pub fn store_salt(machine: &Machine) -> Option<Salt> {
    let path = machine.dirs[0].join("superblock");
    let disk = machine.sim.disk();
    let exists =
        disk.files().contains(&path) && disk.length(&path) >= (COPIES * BLOCK_BYTES) as u64;
    let copies = if exists { disk.read(&path, 0, COPIES * BLOCK_BYTES) } else { Vec::new() };
    copies.chunks(BLOCK_BYTES).find_map(|copy| match Superblock::decode(copy) {
        Copy::Valid(superblock) => Some(Salt::of_store(&superblock.store_uuid)),
        _ => None,
    })
}

/// Every group header in the bytes of a file, in the chain or not, and where it stands.
pub fn scan_groups(salt: Salt, bytes: &[u8]) -> Vec<(u64, GroupHeader)> {
    let blocks = (0..).step_by(BLOCK_BYTES).zip(bytes.chunks(BLOCK_BYTES));
    blocks.filter_map(|(at, block)| Some((at, GroupHeader::decode(salt, block).ok()?.0))).collect()
}

/// Up to which LSN anything on the medium says, for each shard, that groups were durable: in so many
/// words, or by having been written when only as many may be in flight.
pub fn told_lsns(machine: &Machine, salt: Salt) -> BTreeMap<u16, u64> {
    let disk = machine.sim.disk();
    let mut told: BTreeMap<u16, u64> = BTreeMap::new();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    // What an earlier use of a segment left behind tells of earlier groups, which is true as well.
    for path in disk.files().into_iter().filter(is_segment) {
        let bytes = disk.read(&path, 0, disk.length(&path) as usize);
        for (_, group) in scan_groups(salt, &bytes) {
            let lsn = group.durable_lsn.max(group.lsn.saturating_sub(GROUPS_IN_FLIGHT_MAX as u64));
            let known = told.entry(group.shard).or_default();
            *known = lsn.max(*known);
        }
    }
    told
}

fn groups(machine: &Machine) -> Vec<Group> {
    let Some(salt) = store_salt(machine) else {
        return Vec::new();
    };
    let mut groups = Vec::new();
    for path in segments(machine, SegmentKind::Log) {
        groups.extend(groups_of(machine, salt, &path));
    }
    let told = told_lsns(machine, salt);
    for group in &mut groups {
        group.told = told.get(&group.header.shard).is_some_and(|told| group.header.lsn <= *told);
    }
    groups
}

/// The groups that stand one behind the other from the start of a segment.
fn groups_of(machine: &Machine, salt: Salt, path: &Path) -> Vec<Group> {
    let disk = machine.sim.disk();
    let end = disk.length(path);
    let mut groups = Vec::new();
    let mut offset = BLOCK_BYTES as u64;
    let mut lsn = 0;
    while offset + BLOCK_BYTES as u64 <= end {
        let bytes = disk.read(path, offset, BLOCK_BYTES);
        let Ok((header, _)) = GroupHeader::decode(salt, &bytes) else {
            break;
        };
        if header.lsn <= lsn {
            break;
        }
        lsn = header.lsn;
        let next = offset + u64::from(header.group_bytes);
        groups.push(Group { path: path.to_owned(), offset, header, told: false });
        offset = next;
    }
    groups
}
