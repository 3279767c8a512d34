//! Laying out and encoding one group of a log, for both of a shard's logs.
//!
//! Pure arithmetic and copying; when and where a group is written is decided elsewhere.
//!
//! Budget: one buffer, one copy of the inline data.

use crate::format::Salt;
use crate::format::checkpoint::LogPosition;
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader, group_bytes};
use crate::format::record::{Encoded, Location, place};
use crate::format::segment::Stream;
use crate::platform::Platform;

/// Where the records of a group go.
#[derive(Debug)]
pub(crate) struct GroupLayout {
    /// From the start of the group.
    offsets: Vec<usize>,
    pub(crate) content_bytes: usize,
    /// Of the whole group.
    pub(crate) bytes: usize,
}

impl GroupLayout {
    pub(crate) fn of<'a>(records: impl Iterator<Item = &'a Encoded>) -> Self {
        let mut end = GROUP_HEADER_BYTES;
        let offsets = records
            .map(|record| {
                let span = record.span_bytes();
                let at = place(end, span);
                end = at + span;
                at
            })
            .collect();
        let content_bytes = end - GROUP_HEADER_BYTES;
        Self { offsets, content_bytes, bytes: group_bytes(content_bytes) }
    }

    pub(crate) fn empty() -> Self {
        Self::of(std::iter::empty())
    }

    /// Bytes of the records without gaps.
    pub(crate) fn record_bytes<'a>(records: impl Iterator<Item = &'a Encoded>) -> u64 {
        records.map(|record| record.span_bytes() as u64).sum()
    }

    /// Where the records of a group at `position` will lie, in their order.
    pub(crate) fn locations<'a>(
        &'a self,
        position: &LogPosition,
        records: impl Iterator<Item = &'a Encoded> + 'a,
    ) -> impl Iterator<Item = Location> + 'a {
        let LogPosition { segment, offset, .. } = *position;
        self.offsets.iter().zip(records).map(move |(at, record)| Location {
            segment,
            offset_units: ((offset + *at as u64) / 8) as u32,
            span_bytes: record.span_bytes() as u32,
        })
    }
}

/// What a group says beside its records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupFacts {
    pub(crate) shard: u16,
    pub(crate) stream: Stream,
    pub(crate) durable_lsn: u64,
    /// A seal: the log goes on there.
    pub(crate) next_segment: Option<u32>,
}

/// Encodes the group that stands at `position`, and moves the position behind it.
pub(crate) fn encode<'a, P: Platform>(
    platform: &P,
    salt: Salt,
    position: &mut LogPosition,
    facts: GroupFacts,
    layout: &GroupLayout,
    records: impl Iterator<Item = &'a Encoded>,
) -> P::WriteBuffer {
    let mut buffer = platform.allocate(layout.bytes);
    let mut end = GROUP_HEADER_BYTES;
    for (record, &at) in records.zip(&layout.offsets) {
        buffer[end..at].fill(0);
        end = at + record.span_bytes();
        record.write(salt, position.epoch, &mut buffer[at..end]);
    }
    let mut header = GroupHeader {
        group_bytes: layout.bytes as u32,
        content_bytes: layout.content_bytes as u32,
        record_count: layout.offsets.len() as u32,
        segment: position.segment,
        epoch: position.epoch,
        lsn: position.next_lsn,
        durable_lsn: facts.durable_lsn,
        chain_before: position.chain,
        content_checksum: 0,
        shard: facts.shard,
        stream: facts.stream,
        next_segment: facts.next_segment,
        written_ns: platform.wall_clock_ns(),
    };
    position.chain = header.seal_group(salt, &mut buffer);
    position.next_lsn += 1;
    position.offset += layout.bytes as u64;
    buffer
}
