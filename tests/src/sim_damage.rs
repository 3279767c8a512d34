//! Damage to the medium of a simulated machine: where it may strike, and what it strikes there.
//!
//! Not here: what an engine may answer afterwards.

use crate::sim::Machine;
use crate::sim_shape::Form;
use crate::sim_world::World;
use engine::format::Salt;
use engine::format::checkpoint::CheckpointHeader;
use engine::format::group::GroupHeader;
use engine::format::segment::{Header, SegmentHeader, SegmentKind, Stream};
use engine::format::superblock::{COPIES, Copy, Superblock};
use engine::limits::GROUPS_IN_FLIGHT_MAX;
use engine::platform::BLOCK_BYTES;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is done to the medium: at one place, or at one place of each of several checkpoints.
#[derive(Debug, Clone)]
pub struct Damage {
    pub target: Target,
    patches: Vec<Patch>,
}

/// Bytes of a file that become others.
#[derive(Debug, Clone)]
struct Patch {
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
    RelocationHeader,
    SlabHeader,
    FreeHeader,
    GroupHeader,
    GroupContent,
    Seal,
    RelocationGroup,
    Slab,
    CheckpointHeader,
    /// Of the newest checkpoint of a shard.
    CheckpointFrame,
    /// Of every checkpoint of a shard.
    AllCheckpoints,
}

pub const TARGETS: [Target; 13] = [
    Target::Superblock,
    Target::LogHeader,
    Target::RelocationHeader,
    Target::SlabHeader,
    Target::FreeHeader,
    Target::GroupHeader,
    Target::GroupContent,
    Target::Seal,
    Target::RelocationGroup,
    Target::Slab,
    Target::CheckpointHeader,
    Target::CheckpointFrame,
    Target::AllCheckpoints,
];

impl Target {
    /// The form of a seed's history, if not any will do: only where space is used again there is such a
    /// thing, or is a log not whole without a checkpoint.
    pub fn form(self, seed: u64) -> Option<Form> {
        let is_of_compaction =
            matches!(self, Self::RelocationHeader | Self::FreeHeader | Self::RelocationGroup);
        let needs_checkpoints = self == Self::AllCheckpoints && seed.is_multiple_of(2);
        (is_of_compaction || needs_checkpoints).then_some(Form::Tight)
    }

    /// Whether it may be struck while the store is served.
    pub fn may_be_hot(self) -> bool {
        matches!(self, Self::Slab | Self::GroupContent | Self::RelocationGroup)
    }
}

/// A group of a log as it lies on the medium.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    offset: u64,
    header: GroupHeader,
    /// A later group says that it was durable.
    told: bool,
}

/// A file and a range of it.
type Place = (PathBuf, u64, u64);

impl Damage {
    /// Damage that the engine must notice or survive: a bit flipped or a block zeroed, somewhere in
    /// the target. `None` if there is no such place.
    ///
    /// Of the last groups, of which no later one says that they were durable, nothing can be proven:
    /// damage looks like a write that was cut short. They are left alone.
    pub fn choose(machine: &Machine, world: &World, target: Target) -> Option<Self> {
        let places = places(machine, world, target);
        let patches: Vec<Patch> =
            places.into_iter().map(|place| Patch::choose(machine, world, place, target)).collect();
        (!patches.is_empty()).then_some(Self { target, patches })
    }

    pub fn strike(&self, machine: &Machine) {
        for Patch { path, offset, becomes, .. } in &self.patches {
            machine.sim.disk().overwrite(path, *offset, becomes);
        }
    }

    pub fn repair(&self, machine: &Machine) {
        for Patch { path, offset, was, .. } in &self.patches {
            machine.sim.disk().overwrite(path, *offset, was);
        }
    }
}

impl Patch {
    fn choose(machine: &Machine, world: &World, place: Place, target: Target) -> Self {
        let (path, start, bytes) = place;
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
        Self { path, offset, was, becomes }
    }
}

/// Where a target lies.
fn places(machine: &Machine, world: &World, target: Target) -> Vec<Place> {
    let block = BLOCK_BYTES as u64;
    let pick = |count: usize| world.below(count.max(1) as u64) as usize;
    let one_of = |paths: Vec<PathBuf>| paths.get(pick(paths.len())).cloned();
    let header_of = |paths| one_of(paths).map(|path| (path, 0, block)).into_iter().collect();
    match target {
        Target::Superblock => {
            let path = machine.dirs[pick(machine.dirs.len())].join("superblock");
            vec![(path, 0, COPIES as u64 * block)]
        }
        Target::LogHeader => header_of(log_segments(machine, Stream::Foreground)),
        Target::RelocationHeader => header_of(log_segments(machine, Stream::Relocation)),
        Target::SlabHeader => header_of(segments(machine, SegmentKind::Slab)),
        Target::FreeHeader => header_of(segments(machine, SegmentKind::Free)),
        Target::Slab => {
            let behind_its_header = |path| {
                let bytes = machine.sim.disk().length(&path);
                (path, block, bytes - block)
            };
            one_of(segments(machine, SegmentKind::Slab))
                .map(behind_its_header)
                .into_iter()
                .collect()
        }
        Target::GroupHeader | Target::GroupContent | Target::Seal | Target::RelocationGroup => {
            let mut groups = groups(machine);
            groups.retain(|group| group.told && is_wanted(group, target));
            let whole = target == Target::RelocationGroup && world.one_in(2);
            let range = |group: &Group| match target {
                _ if whole => (0, 128 + u64::from(group.header.content_bytes)),
                Target::GroupContent => (128, u64::from(group.header.content_bytes)),
                _ => (0, 128),
            };
            let chosen = groups.get(pick(groups.len()));
            let place = |group: &Group| {
                let (from, bytes) = range(group);
                (group.path.clone(), group.offset + from, bytes)
            };
            chosen.map(place).into_iter().collect()
        }
        Target::CheckpointHeader | Target::CheckpointFrame | Target::AllCheckpoints => {
            let shards: Vec<Vec<FoundCheckpoint>> = checkpoints(machine).into_values().collect();
            let Some(mut found) = shards.get(pick(shards.len())).cloned() else {
                return Vec::new();
            };
            match target {
                Target::CheckpointHeader => found = vec![found.swap_remove(pick(found.len()))],
                Target::CheckpointFrame => found = found.split_off(found.len() - 1),
                _ => {}
            }
            let place = |checkpoint: FoundCheckpoint| match target {
                Target::CheckpointHeader => (checkpoint.path, 0, block),
                _ => (checkpoint.path, block, checkpoint.body_bytes),
            };
            found.into_iter().map(place).collect()
        }
    }
}

fn is_wanted(group: &Group, target: Target) -> bool {
    let is_relocation = group.header.stream == Stream::Relocation;
    match target {
        Target::RelocationGroup => is_relocation,
        Target::Seal => group.header.next_segment.is_some(),
        Target::GroupContent => group.header.content_bytes > 0,
        _ => true,
    }
}

/// A checkpoint whose header verifies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundCheckpoint {
    pub sequence: u64,
    pub path: PathBuf,
    pub body_bytes: u64,
}

/// The checkpoints of each shard's directory, oldest first.
pub fn checkpoints(machine: &Machine) -> BTreeMap<PathBuf, Vec<FoundCheckpoint>> {
    let disk = machine.sim.disk();
    let mut found: BTreeMap<PathBuf, Vec<FoundCheckpoint>> = BTreeMap::new();
    for path in disk.files() {
        let is_slot = path.extension().is_some_and(|extension| extension == "ckp");
        if !is_slot || disk.length(&path) < BLOCK_BYTES as u64 {
            continue;
        }
        let header = CheckpointHeader::decode(&disk.read(&path, 0, BLOCK_BYTES));
        if let (Ok(Some(header)), Some(dir)) = (header, path.parent()) {
            let (sequence, body_bytes) = (header.sequence, header.body_bytes);
            let checkpoint = FoundCheckpoint { sequence, path: path.clone(), body_bytes };
            found.entry(dir.to_owned()).or_default().push(checkpoint);
        }
    }
    found.values_mut().for_each(|checkpoints| checkpoints.sort());
    found
}

/// Segments whose header says that they are of a kind.
pub fn segments(machine: &Machine, kind: SegmentKind) -> Vec<PathBuf> {
    let found = segment_headers(machine);
    found.into_iter().filter(|(_, header)| header.kind == kind).map(|(path, _)| path).collect()
}

fn log_segments(machine: &Machine, stream: Stream) -> Vec<PathBuf> {
    let is_one =
        |header: &SegmentHeader| header.kind == SegmentKind::Log && header.stream == stream;
    let found = segment_headers(machine);
    found.into_iter().filter(|(_, header)| is_one(header)).map(|(path, _)| path).collect()
}

fn segment_headers(machine: &Machine) -> Vec<(PathBuf, SegmentHeader)> {
    let disk = machine.sim.disk();
    let header = |path: PathBuf| {
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        if !is_segment || disk.length(&path) < BLOCK_BYTES as u64 {
            return None;
        }
        match SegmentHeader::decode(&disk.read(&path, 0, BLOCK_BYTES)) {
            Header::Valid(header) => Some((path, header)),
            _ => None,
        }
    };
    disk.files().into_iter().filter_map(header).collect()
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

/// A log: its shard, and which of the shard's it is.
pub type Log = (u16, u8);

pub fn log_of(group: &GroupHeader) -> Log {
    (group.shard, group.stream.number())
}

/// Up to which LSN anything on the medium says, for each log, that groups were durable: in so many
/// words, or by having been written when only as many may be in flight.
pub fn told_lsns(machine: &Machine, salt: Salt) -> BTreeMap<Log, u64> {
    let disk = machine.sim.disk();
    let mut told: BTreeMap<Log, u64> = BTreeMap::new();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    // What an earlier use of a segment left behind tells of earlier groups, which is true as well.
    for path in disk.files().into_iter().filter(is_segment) {
        let bytes = disk.read(&path, 0, disk.length(&path) as usize);
        for (_, group) in scan_groups(salt, &bytes) {
            let lsn = group.durable_lsn.max(group.lsn.saturating_sub(GROUPS_IN_FLIGHT_MAX as u64));
            let known = told.entry(log_of(&group)).or_default();
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
        let told = told.get(&log_of(&group.header));
        group.told = told.is_some_and(|told| group.header.lsn <= *told);
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
