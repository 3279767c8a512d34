//! Structures on disk, with the checksums that belong to what an input holds, so that what is behind a checksum is
//! reached; and as the input has them.
//!
//! Oracles: what is accepted stands, when it is encoded again, byte for byte where it stood, reserved bytes aside; and
//! what says more than its fields (a group's records, a manifest's chunks, the runs of a map) is within its bounds.

use crate::reader::Reader;
use engine::checksum::{block_checksum, salted};
use engine::format::Salt;
use engine::format::checkpoint::{CheckpointHeader, DisplacedRow, SegmentRow};
use engine::format::chunk::{ChunkHeader, chunk_bytes, seal_chunk};
use engine::format::codec;
use engine::format::group::{GROUP_HEADER_BYTES, GroupHeader, group_bytes};
use engine::format::intent::Intent;
use engine::format::manifest::{ChunkPlace, Manifest};
use engine::format::packed::PackedHeader;
use engine::format::record::{Encoded, Head, RECORD_HEAD_MIN, Record, Records, peek_head_bytes};
use engine::format::segment::{Header, SegmentHeader};
use engine::format::superblock::{Copy, Superblock};
use engine::limits::{CHUNK_HEADER_BYTES, CHUNK_PAYLOAD_MAX, UNIT_BYTES};
use engine::platform::BLOCK_BYTES;
use std::ops::Range;

/// The store that all of it belongs to.
const STORE: [u8; 16] = *b"a store to fuzz.";

fn salt() -> Salt {
    Salt::of_store(&STORE)
}

/// Headers that fill a block. The first byte says which; the rest is the block, as far as it goes.
pub fn headers(input: &[u8]) {
    let Some((kind, fields)) = input.split_first() else { return };
    let mut block = vec![0; BLOCK_BYTES];
    let count = fields.len().min(BLOCK_BYTES);
    block[..count].copy_from_slice(&fields[..count]);
    match kind % 4 {
        0 => superblock(block),
        1 => segment(block),
        2 => packed(block),
        _ => checkpoint(block),
    }
}

fn superblock(mut block: Vec<u8>) {
    // Whatever it is, it is judged.
    Superblock::decode(&block);
    seal(&mut block, &[12..16, 46..48, 80..4088], 4088);
    if let Copy::Valid(superblock) = Superblock::decode(&block) {
        assert_eq!(superblock.check(), Ok(()));
        same(&block, |again| superblock.encode(again));
    }
}

fn segment(mut block: Vec<u8>) {
    SegmentHeader::decode(&block);
    seal(&mut block, &[14..16, 34..40, 44..48, 88..504, 512..BLOCK_BYTES], 504);
    if let Header::Valid(header) = SegmentHeader::decode(&block) {
        same(&block, |again| header.encode(again));
    }
}

fn packed(mut block: Vec<u8>) {
    // A block that is cut short is judged as well.
    drop(PackedHeader::decode(&block[..4090]));
    seal(&mut block, &[14..16, 2112..4088], 4088);
    if let Ok(header) = PackedHeader::decode(&block) {
        let runs: u64 = header.runs().map(|(_, units)| u64::from(units)).sum();
        assert_eq!(runs, u64::from(header.units()));
        let end = header.runs().last().map_or(0, |(first, units)| u64::from(first + units));
        assert!(end * UNIT_BYTES as u64 <= header.segment_bytes);
        same(&block, |again| header.encode(again));
    }
}

fn checkpoint(mut block: Vec<u8>) {
    let _ = CheckpointHeader::decode(&block);
    // Without a next LSN there is no position of the relocation log.
    if block[160..168] == [0; 8] {
        block[136..176].fill(0);
    }
    let reserved = [14..16, 100..104, 140..144, 176..504, 512..BLOCK_BYTES];
    seal(&mut block, &reserved, 504);
    if let Ok(Some(header)) = CheckpointHeader::decode(&block) {
        assert!(header.leaf_frames <= header.frames && header.leaf_bytes <= header.body_bytes);
        same(&block, |again| header.encode(again));
    }
}

/// Clears reserved bytes and completes the block with the checksum of all before it.
fn seal(block: &mut [u8], reserved: &[Range<usize>], checksum_at: usize) {
    reserved.iter().for_each(|range| block[range.clone()].fill(0));
    let checksum = block_checksum(&block[..checksum_at]);
    codec::set(block, checksum_at, checksum.to_le_bytes());
}

fn same(block: &[u8], encode: impl FnOnce(&mut [u8])) {
    let mut again = vec![0xAA; block.len()];
    encode(&mut again);
    assert!(block == again, "it is not encoded as it was read");
}

/// A group: its header as the input has it, the records behind it. Of each record the input has head and data.
pub fn group(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut header = reader.array::<GROUP_HEADER_BYTES>();
    let content = reader.rest();
    let mut group = vec![0; group_bytes(content.len())];
    group[GROUP_HEADER_BYTES..][..content.len()].copy_from_slice(content);
    drop(GroupHeader::decode(salt(), &header));
    repair_records(salt(), &mut group[..GROUP_HEADER_BYTES + content.len()]);

    // Lengths that fit, or those of the input.
    if header[8..12] == [0; 4] {
        codec::set(&mut header, 8, (group.len() as u32).to_le_bytes());
        codec::set(&mut header, 12, (content.len() as u32).to_le_bytes());
    }
    let epoch = u64::from_le_bytes(header[24..32].try_into().expect("eight bytes"));
    let epoch_salt = salt().with(epoch);
    let repaired = &group[GROUP_HEADER_BYTES..][..content.len()];
    codec::set(&mut header, 56, salted(epoch_salt, &[repaired]).to_le_bytes());
    header[80..120].fill(0);
    let checksum = salted(epoch_salt, &[&header[..120]]);
    codec::set(&mut header, 120, checksum.to_le_bytes());
    group[..GROUP_HEADER_BYTES].copy_from_slice(&header);

    let Ok((found, checksum)) = GroupHeader::decode(salt(), &group) else { return };
    assert_eq!(found.group_bytes as usize, group_bytes(found.content_bytes as usize));
    assert!(found.durable_lsn < found.lsn);
    if found.content(salt(), &group).is_ok() {
        same_group(found.clone(), checksum, &group);
    }
    let end = GROUP_HEADER_BYTES + found.content_bytes as usize;
    let mut behind = GROUP_HEADER_BYTES;
    for record in Records::new(salt(), &group, GROUP_HEADER_BYTES, end, found.record_count) {
        let Ok((at, head)) = record else { break };
        assert!(at >= behind && at.is_multiple_of(8), "records overlap");
        behind = at + head.span_bytes();
        assert!(behind <= end && behind <= group.len(), "a record reaches beyond its group");
        same_record(&head, &group[at..behind]);
    }
}

fn same_group(mut header: GroupHeader, checksum: u64, group: &[u8]) {
    let known_flags = group[6..8] == u16::from(header.next_segment.is_some()).to_le_bytes();
    let known_next = header.next_segment.is_some() || group[68..72] == [0; 4];
    if group.len() == header.group_bytes as usize && known_flags && known_next {
        let mut again = group.to_vec();
        again[..GROUP_HEADER_BYTES].fill(0xAA);
        assert_eq!(header.seal_group(salt(), &mut again), checksum);
        assert!(again == group, "the group is not sealed as it was read");
    }
}

/// What is read of a record is written so that the same is read.
fn same_record(head: &Head<'_>, span: &[u8]) {
    let data = &span[head.head_bytes..];
    let intact = head.verify_data(data).is_ok();
    let Ok(mut record) = Record::of_head(head) else { return };
    if let Some(manifest) = &record.sections.manifest {
        check_manifest(manifest);
    }
    record.data = data.to_vec();
    let encoded = Encoded::new(record.clone()).expect("a head that was read is not too long");
    let mut again = vec![0; encoded.span_bytes()];
    encoded.write(salt(), head.epoch, &mut again);
    let head_again = Head::decode(salt(), &again).expect("what is written can be read");
    head_again.verify_data(data).expect("what is written verifies");
    let record_again =
        Record { data: record.data.clone(), ..Record::of_head(&head_again).expect("sections") };
    assert_eq!(record_again, record, "another record is read than was written");
    assert_eq!(head_again.epoch, head.epoch);
    if intact && again.len() == span.len() && again[..RECORD_HEAD_MIN] == span[..RECORD_HEAD_MIN] {
        assert!(again == span, "the same head stands before other bytes");
    }
}

/// Gives each record, from the start of a group's content on, the checksums of what it holds.
pub(crate) fn repair_records(salt: Salt, group: &mut [u8]) {
    let mut at = GROUP_HEADER_BYTES;
    while let Some(rest) = group.get_mut(at..) {
        if rest.get(..4) == Some(&[0; 4]) {
            let next = at.next_multiple_of(BLOCK_BYTES);
            if next == at {
                break;
            }
            at = next;
            continue;
        }
        let Some(span) = repair_record(salt, rest) else { break };
        at = (at + span).next_multiple_of(8);
    }
}

/// The length of the record, if it has one.
fn repair_record(salt: Salt, bytes: &mut [u8]) -> Option<usize> {
    let head_bytes = peek_head_bytes(bytes).ok().filter(|head_bytes| *head_bytes <= bytes.len())?;
    let (head, behind) = bytes.split_at_mut(head_bytes);
    let data_bytes = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
    let epoch = u64::from_le_bytes(head[24..32].try_into().ok()?);
    let checksums_bytes = data_bytes.div_ceil(BLOCK_BYTES) * 8;
    if let Some(data) = behind.get(..data_bytes)
        && let Some(from) =
            head_bytes.checked_sub(checksums_bytes).filter(|from| *from >= RECORD_HEAD_MIN)
    {
        for (place, block) in head[from..].chunks_exact_mut(8).zip(data.chunks(BLOCK_BYTES)) {
            place.copy_from_slice(&block_checksum(block).to_le_bytes());
        }
    }
    let checksum = salted(salt.with(epoch), &[&head[..72], &head[RECORD_HEAD_MIN..]]);
    codec::set(head, 72, checksum.to_le_bytes());
    Some(head_bytes.saturating_add(data_bytes))
}

/// A chunk: the fields of its header, and a payload that begins as the input does and goes on in its way.
pub fn chunk(input: &[u8]) {
    let mut reader = Reader::new(input);
    let fields = reader.array::<32>();
    let flaw = reader.u32();
    let payload_bytes = (reader.u32() as usize) % (CHUNK_PAYLOAD_MAX + 1);
    let pattern = reader.rest();
    let tag = u64::from_le_bytes(fields[16..24].try_into().expect("eight bytes"));
    let index = u32::from_le_bytes(fields[12..16].try_into().expect("four bytes"));
    let mut chunk = vec![0; chunk_bytes(payload_bytes)];
    let payload = &mut chunk[CHUNK_HEADER_BYTES..][..payload_bytes];
    payload.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = *from);
    seal_chunk(salt(), tag, index, payload_bytes, &mut chunk);
    let place = ChunkPlace { segment: 0, offset: 0, bytes: chunk.len(), index };
    let payload = &chunk[CHUNK_HEADER_BYTES..][..payload_bytes];
    let header = ChunkHeader::decode(salt(), tag, &place, &chunk).expect("it was sealed so");
    assert_eq!(header.payload_bytes, payload_bytes);
    header.verify(0, payload).expect("its payload was sealed so");
    assert_eq!(ChunkHeader::verify_alone(salt(), &chunk), Ok(chunk.len()));

    // Nothing that is flawed passes, from whichever block on it is read.
    let mut flawed = chunk.clone();
    let at = flaw as usize % flawed.len();
    flawed[at] ^= 1 << (flaw >> 29);
    if at < CHUNK_HEADER_BYTES {
        assert!(
            ChunkHeader::decode(salt(), tag, &place, &flawed).is_err(),
            "a flaw at {at} passes"
        );
    } else if at < CHUNK_HEADER_BYTES + payload_bytes {
        let first = flaw as usize % 7;
        let from = (CHUNK_HEADER_BYTES + first * BLOCK_BYTES).min(at - at % BLOCK_BYTES);
        let block = (from - CHUNK_HEADER_BYTES) / BLOCK_BYTES;
        let payload = &flawed[from..CHUNK_HEADER_BYTES + payload_bytes];
        assert!(header.verify(block, payload).is_err(), "a flaw at {at} passes");
    }

    // The fields of the input under a checksum that fits.
    let (head, _) = chunk.split_at_mut(CHUNK_HEADER_BYTES);
    head[..12].copy_from_slice(&fields[..12]);
    head[24..32].copy_from_slice(&fields[24..32]);
    let sealed = salted(salt().with(tag), &[&head[..CHUNK_HEADER_BYTES - 8]]);
    codec::set(head, CHUNK_HEADER_BYTES - 8, sealed.to_le_bytes());
    if let Ok(bytes) = ChunkHeader::verify_alone(salt(), &chunk) {
        assert!(
            bytes <= chunk.len().next_multiple_of(BLOCK_BYTES),
            "it is longer than what was verified"
        );
    }
    if let Ok(header) = ChunkHeader::decode(salt(), tag, &place, &chunk) {
        assert!(header.payload_bytes <= place.payload_max());
    }
}

/// A manifest, the rows of a checkpoint, and the intent of a rename. The first byte says which.
pub fn rows(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Ok(manifest) = Manifest::decode(bytes) {
                check_manifest(&manifest);
                assert!(manifest.encode() == bytes, "the manifest is not encoded as it was read");
            }
        }
        1 => {
            let mut reader = codec::Reader::new(bytes);
            while let Ok(row) = SegmentRow::decode(&mut reader) {
                let mut again = Vec::new();
                row.encode(&mut again);
                assert_eq!(SegmentRow::decode(&mut codec::Reader::new(&again)), Ok(row));
            }
        }
        2 => {
            let mut reader = codec::Reader::new(bytes);
            while let Ok(row) = DisplacedRow::decode(&mut reader) {
                let mut again = Vec::new();
                row.encode(&mut again);
                assert_eq!(DisplacedRow::decode(&mut codec::Reader::new(&again)), Ok(row));
            }
        }
        _ => {
            if let Ok(intent) = Intent::decode(bytes) {
                assert!(intent.encode() == bytes, "the intent is not encoded as it was read");
            }
        }
    }
}

fn check_manifest(manifest: &Manifest) {
    for part in &manifest.parts {
        let mut room = 0;
        for (chunk, index) in part.chunks().zip(0..) {
            assert_eq!(chunk.index, index);
            assert!(chunk.bytes > CHUNK_HEADER_BYTES && chunk.payload_max() <= CHUNK_PAYLOAD_MAX);
            room += chunk.payload_max() as u64;
        }
        assert!(part.size <= room);
    }
    let sum = manifest.parts.iter().map(|part| u128::from(part.size)).sum::<u128>();
    assert_eq!(u128::from(manifest.bytes()), sum);
}
