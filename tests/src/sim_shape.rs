//! What a simulated history is like: how large the store is, how long the history lasts, how many keys
//! it has. The seed chooses.
//!
//! Most histories are short, so that many can be run; some take a thing to its end.

use crate::sim::{Machine, Random, mix};
use engine::limits::SEGMENTS_MIN;
use engine::platform::sim::{Sim, SimOptions};
use engine::store::FormatOptions;
use std::path::PathBuf;

/// The keys of every bucket, of every form; forms with more have made ones too.
const KEYS: [&str; 7] = ["a", "dir/b", "dir/c", "dir/deep/d", "e", "f/g", "zz"];

/// Sizes around which the engine changes its ways, with a third as many large ones.
const SIZES: [u64; 12] =
    [0, 1, 100, 4095, 4096, 5000, 20_000, 131_072, 131_073, 200_000, 983_040, 2_500_000];

/// A life in which tasks are polled more often spins.
const POLLS_MAX: u64 = 20_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A few lives of a few dozen operations: all kinds, all sizes, few keys.
    Short,
    /// A shard of a few segments and much written to it: space is used again and again, and is short.
    Tight,
    /// An index of many leaves.
    Wide,
    /// Thousands of operations over many lives.
    Long,
}

#[derive(Debug, Clone)]
pub struct Shape {
    pub form: Form,
    /// Of each bucket.
    pub keys: usize,
    pub lives: u64,
    pub clients_max: u64,
    /// Of one client in one life.
    pub actions_max: u64,
    pub format: FormatOptions,
    pub drives: u64,
    /// Refusals for want of space are in order.
    pub scarce: bool,
    /// The filesystem has less to give than was configured.
    pub overcommitted: bool,
    fill_ahead_bytes: u64,
    open_files_max: usize,
    body_budget_bytes: Option<usize>,
    checkpoint_log_bytes: u64,
    checkpoint_records: u64,
}

impl Shape {
    /// The shape of a seed's history; `form` if it must be that one.
    pub fn choose(seed: u64, form: Option<Form>) -> Self {
        let random = &mut Random::new(mix(seed) ^ 0x5ba9e);
        let any = match random.below(32) {
            0..24 => Form::Short,
            24..30 => Form::Tight,
            30 => Form::Wide,
            _ => Form::Long,
        };
        let form = form.unwrap_or(any);
        let (keys, lives, clients_max, actions_max) = match form {
            Form::Short => (KEYS.len() as u64, 2 + random.below(5), 5, 40),
            Form::Tight => (60 + random.below(120), 2 + random.below(4), 4, 200),
            Form::Wide => (200 + random.below(400), 2 + random.below(3), 5, 120),
            Form::Long => (KEYS.len() as u64 + random.below(20), 6 + random.below(8), 6, 250),
        };
        let is_small = match form {
            Form::Tight => true,
            Form::Long => random.one_in(2),
            Form::Short => random.one_in(8),
            Form::Wide => false,
        };
        let shard_count = 1 + random.below(if form == Form::Tight { 2 } else { 4 }) as u16;
        let drives = if shard_count.is_multiple_of(2) && random.one_in(3) { 2 } else { 1 };
        let per_shard = if is_small { 12 + random.below(12) } else { 160 };
        let capacity_bytes = (per_shard * u64::from(shard_count) / drives) << 20;
        let overcommitted = is_small && random.one_in(6);
        Self {
            form,
            keys: keys as usize,
            lives,
            clients_max,
            actions_max,
            format: FormatOptions { shard_count, segment_bytes: 1 << 20, capacity_bytes },
            drives,
            scarce: is_small,
            overcommitted,
            fill_ahead_bytes: [0, 64 << 10, 1 << 20][random.below(3) as usize],
            open_files_max: 1 + random.below(8) as usize,
            body_budget_bytes: random.one_in(3).then_some(4 << 20),
            checkpoint_log_bytes: [32 << 10, 128 << 10, 1 << 20][random.below(3) as usize],
            checkpoint_records: [5, 50, 1000][random.below(3) as usize],
        }
    }

    /// A shard as small as can be and a history of a few dozen operations, of which every I/O can be
    /// struck in turn.
    pub fn smallest() -> Self {
        Self {
            form: Form::Tight,
            keys: 5,
            lives: 1,
            clients_max: 1,
            actions_max: 1,
            format: FormatOptions {
                shard_count: 1,
                segment_bytes: 1 << 20,
                capacity_bytes: (SEGMENTS_MIN as u64 + 1) << 20,
            },
            drives: 1,
            scarce: true,
            overcommitted: false,
            fill_ahead_bytes: 64 << 10,
            open_files_max: 4,
            body_budget_bytes: None,
            checkpoint_log_bytes: 512 << 10,
            checkpoint_records: 20,
        }
    }

    /// The same on two drives, with as much space for each shard.
    pub fn on_two_drives(mut self) -> Self {
        let shards = u64::from(self.format.shard_count);
        let per_shard = self.format.capacity_bytes * self.drives / shards;
        let shards = shards.next_multiple_of(2);
        self.format.shard_count = shards as u16;
        self.format.capacity_bytes = per_shard * shards / 2;
        self.drives = 2;
        self
    }

    /// A machine of this shape.
    pub fn machine(&self, seed: u64) -> Machine {
        let mut machine = Machine::new(seed, self.format);
        let whole = self.format.capacity_bytes * self.drives;
        let disk_bytes = if self.overcommitted { whole * 3 / 4 } else { 4 << 30 };
        let options = SimOptions { disk_bytes, polls_max: POLLS_MAX, ..SimOptions::default() };
        machine.sim = Sim::new(seed, options);
        machine.dirs =
            (0..self.drives).map(|drive| PathBuf::from(format!("/data-{drive}"))).collect();
        machine.options.open_files_max = self.open_files_max;
        machine.options.fill_ahead_bytes = self.fill_ahead_bytes;
        machine.options.checkpoint_log_bytes = self.checkpoint_log_bytes;
        machine.options.checkpoint_records = self.checkpoint_records;
        if let Some(bytes) = self.body_budget_bytes {
            machine.options.body_budget_bytes = bytes;
        }
        machine
    }

    /// Whether a life begins with a write of every key.
    pub fn is_filled(&self) -> bool {
        matches!(self.form, Form::Tight | Form::Wide)
    }

    /// The names of a bucket's keys.
    pub fn key_names(&self) -> Vec<Vec<u8>> {
        (0..self.keys).map(key_name).collect()
    }

    /// The size of a new body.
    pub fn any_size(&self, random: &mut Random) -> u64 {
        let most = match self.form {
            Form::Tight if !random.one_in(8) => return 1000 + random.below(100_000),
            Form::Wide if !random.one_in(16) => return random.below(600),
            _ if random.one_in(3) => 12,
            _ => 8,
        };
        let size = SIZES[random.below(most) as usize];
        if random.one_in(3) { random.below(size + 1) } else { size }
    }
}

/// Keys of many lengths, a few of them in each of some directories.
fn key_name(index: usize) -> Vec<u8> {
    if let Some(name) = KEYS.get(index) {
        return name.as_bytes().to_vec();
    }
    let chance = mix(index as u64);
    let mut name = format!("dir-{}/{index:04}", chance % 23).into_bytes();
    match chance >> 8 & 15 {
        0 => name.resize(1024, b'x'),
        1..4 => name.resize(60 + (chance >> 16 & 127) as usize, b'y'),
        _ => {}
    }
    name
}
