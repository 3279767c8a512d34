//! Makes the checksums of a changed file fit what it holds, as one who can write them would: then the changes reach
//! what trusts checksums.

use crate::targets::disk::repair_records;
use engine::checksum::{block_checksum, salted};
use engine::format::Salt;
use engine::format::checkpoint::FRAME_HEADER_BYTES;
use engine::format::codec::set;
use engine::format::group::GROUP_HEADER_BYTES;
use engine::limits::{CHUNK_HEADER_BYTES, UNIT_BYTES};
use engine::platform::BLOCK_BYTES;
use std::path::Path;

pub(super) fn file(salt: Salt, path: &Path, bytes: &mut [u8]) {
    if path.ends_with("superblock") {
        for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
            seal(block, BLOCK_BYTES - 8);
        }
    }
    let ends_with = |end: &str| path.extension().is_some_and(|extension| extension == end);
    if bytes.len() < BLOCK_BYTES {
        return;
    }
    if ends_with("seg") {
        seal(&mut bytes[..BLOCK_BYTES], 504);
        groups(salt, bytes);
        chunks(salt, bytes);
    }
    if ends_with("ckp") {
        seal(&mut bytes[..BLOCK_BYTES], 504);
        frames(salt, bytes);
    }
}

/// Blank blocks stay blank.
fn seal(block: &mut [u8], at: usize) {
    if block.iter().any(|byte| *byte != 0) {
        let checksum = block_checksum(&block[..at]);
        set(block, at, checksum.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..at + 4)
        .map_or(0, |four| u32::from_le_bytes(four.try_into().expect("four")) as usize)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |eight| u64::from_le_bytes(eight.try_into().expect("eight")))
}

/// The groups from the segment's beginning on; each names the checksum of the one before it.
fn groups(salt: Salt, bytes: &mut [u8]) {
    let mut at = BLOCK_BYTES;
    let mut before = None;
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(b"RFGR")) {
        let end = at + (GROUP_HEADER_BYTES + u32_at(bytes, at + 12)).min(bytes.len() - at);
        let group = &mut bytes[at..end];
        if group.len() < GROUP_HEADER_BYTES {
            return;
        }
        repair_records(salt, group);
        let epoch = salt.with(u64_at(group, 24));
        let content = salted(epoch, &[&group[GROUP_HEADER_BYTES..]]);
        set(group, 56, content.to_le_bytes());
        // The first one's is that of another segment, which the header names.
        if let Some(before) = before {
            set(group, 48, u64::to_le_bytes(before));
        }
        let checksum = salted(epoch, &[&group[..120]]);
        set(group, 120, checksum.to_le_bytes());
        before = Some(checksum);
        at += u32_at(bytes, at + 8).max(1).next_multiple_of(BLOCK_BYTES);
    }
}

fn chunks(salt: Salt, bytes: &mut [u8]) {
    for at in (UNIT_BYTES..bytes.len()).step_by(UNIT_BYTES) {
        let chunk = &mut bytes[at..];
        if !chunk.starts_with(b"RFCH") || chunk.len() < CHUNK_HEADER_BYTES {
            continue;
        }
        let payload_bytes = u32_at(chunk, 8).min(chunk.len() - CHUNK_HEADER_BYTES);
        let (header, payload) = chunk.split_at_mut(CHUNK_HEADER_BYTES);
        let places = (32..CHUNK_HEADER_BYTES - 8).step_by(8);
        for (block, place) in payload[..payload_bytes].chunks(BLOCK_BYTES).zip(places) {
            set(header, place, block_checksum(block).to_le_bytes());
        }
        let tag = salt.with(u64_at(header, 16));
        let checksum = salted(tag, &[&header[..CHUNK_HEADER_BYTES - 8]]);
        set(header, CHUNK_HEADER_BYTES - 8, checksum.to_le_bytes());
    }
}

fn frames(salt: Salt, bytes: &mut [u8]) {
    for at in (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES) {
        let frame = &mut bytes[at..];
        if !frame.starts_with(b"RFCF") {
            continue;
        }
        let end = (FRAME_HEADER_BYTES + u32_at(frame, 16)).min(frame.len());
        let (header, content) = frame[..end].split_at_mut(FRAME_HEADER_BYTES);
        let checksum = salted(salt.with(u64_at(header, 24)), &[&header[..40], content]);
        set(header, 40, checksum.to_le_bytes());
    }
}
