//! Writes that the device acknowledged and lost or put elsewhere: what a store can know of them.
//!
//! Every structure says whose it is and has a checksum, so that whoever looks where something should
//! be notices that it is not. One thing cannot be noticed: the last groups of a log, if nothing that
//! was written later tells that they were durable. Then their absence looks like a write that was cut
//! short and never acknowledged. That, and nothing else, is exempt.

use crate::sim::Machine;
use crate::sim_damage::{log_of, scan_groups, store_salt, told_lsns};
use engine::format::group::GroupHeader;
use engine::platform::sim::{Landing, StrayWrite};

/// Whether what is left on the medium proves that a stray write is missing, or that what it landed on
/// was something else.
pub fn is_provable(machine: &Machine, stray: &StrayWrite) -> bool {
    let Some(salt) = store_salt(machine) else {
        // The superblock's copies are four; without any the store does not open.
        return true;
    };
    let told = told_lsns(machine, salt);
    let is_told =
        |group: &GroupHeader| told.get(&log_of(group)).is_some_and(|lsn| group.lsn <= *lsn);
    let missing = GroupHeader::decode(salt, &stray.bytes).ok();
    let replaced = stray.landing.iter().flat_map(|Landing { offset, was, .. }| {
        let (start, end) = (*offset, *offset + stray.bytes.len() as u64);
        let groups = scan_groups(salt, was).into_iter();
        groups
            .filter(move |(at, group)| *at < end && start < at + u64::from(group.group_bytes))
            .map(|(_, group)| group)
    });
    missing.into_iter().map(|(group, _)| group).chain(replaced).all(|group| is_told(&group))
}
