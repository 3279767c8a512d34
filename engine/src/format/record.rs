//! A record: one change of one key, the unit of meaning in the log.
//!
//! ```text
//! at a multiple of 8 bytes in a group's content
//!    0  head bytes                u32   everything but the inline data; a multiple of 8
//!    4  data bytes                u32   inline data behind the head
//!    8  kind, flags               u8 u8    flags: 1 relocated, 2 void, 4 versioned, 8 shown size
//!   10  key bytes                 u16
//!   12  bucket                    u32
//!   16  version                   u64
//!   24  epoch                     u64   of the group
//!   32  size                      u64   of the object or part, as it is told
//!   40  ETag                      16
//!   56  ETag's part count         u16
//!   58  label                     u8, reserved 1
//!   60  sections bytes            u32
//!   64  upload                    u64   multipart: the upload; of a bucket: the change's number; of a
//!                                       tombstone: the version that is gone, or 0; else 0
//!   72  head checksum             u64   salted CRC-64/NVME of the head without these 8 bytes
//!   80  key, sections, zeroes to a multiple of 8
//!       data checksums            u64 for each 4096 bytes of data, CRC-64/NVME
//!       data
//!       zeroes to a multiple of 8
//! ```
//!
//! A section is tag u16, reserved u16, length u32, bytes. An unknown kind, flag or section is refused:
//! a later build wrote it.
//!
//! **Relocated** records are copies of records that were written before: the same key and version, so they
//! change nothing but where the record lies, and, if it was amended, its attributes and label. A **void**
//! record is what compaction leaves of a dead one whose `killed` still names something on disk: this copy
//! of the key at this version is gone. A **versioned** record stands beside the other versions of its key;
//! one that is not is the key's null version and supersedes the null version before. **Shown size**: as many
//! bytes are stored as manifest or data say, and `size` is another number.
//!
//! **Placement.** A record that would touch more blocks than it must begins at the next block; the
//! gap is zeroes, and `head bytes` zero therefore means: go on at the next block.

use super::codec::{Reader, Write, counter, set};
use super::manifest::Manifest;
use super::{Malformed, Salt};
use crate::checksum::{block_checksum, salted};
use crate::limits::{INLINE_BYTES_MAX, KEY_BYTES_MAX, RECORD_HEAD_BYTES_MAX};
use crate::platform::BLOCK_BYTES;
use crate::types::Etag;
use std::collections::BTreeMap;

pub const RECORD_HEAD_MIN: usize = 80;
const CHECKSUM_AT: usize = 72;

/// What a record does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// The object becomes this one.
    Object = 1,
    /// A version of the object is gone: the null version, or the one that `upload` names.
    Tombstone = 2,
    /// The object counts as deleted; its other versions stay.
    DeleteMarker = 3,
    /// A multipart upload begins.
    UploadBegin = 4,
    /// A part of an upload becomes this one.
    Part = 5,
    /// An upload and its parts are gone.
    UploadAbort = 6,
    /// A bucket is made, or its settings become these.
    Bucket = 7,
    /// A bucket is gone.
    BucketDelete = 8,
}

impl RecordKind {
    fn of(byte: u8) -> Result<Self, Malformed> {
        Ok(match byte {
            1 => Self::Object,
            2 => Self::Tombstone,
            3 => Self::DeleteMarker,
            4 => Self::UploadBegin,
            5 => Self::Part,
            6 => Self::UploadAbort,
            7 => Self::Bucket,
            8 => Self::BucketDelete,
            _ => return Err(Malformed("the record is of an unknown kind")),
        })
    }
}

/// Tags of sections.
mod section {
    pub(super) const ATTRIBUTES: u16 = 1;
    pub(super) const MANIFEST: u16 = 2;
    pub(super) const PART_NUMBER: u16 = 3;
    pub(super) const KILLED: u16 = 4;
    pub(super) const SETTINGS: u16 = 5;
}

/// What there is to know of a record besides its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// A copy of a record that was written before.
    pub relocated: bool,
    /// This copy of the key at this version is gone; kept for what it killed.
    pub void: bool,
    /// A version beside the others; without it, the null version.
    pub versioned: bool,
    /// The size is what the caller said, not what is stored.
    pub shown_size: bool,
}

const FLAG_RELOCATED: u8 = 1;
const FLAG_VOID: u8 = 2;
const FLAG_VERSIONED: u8 = 4;
const FLAG_SHOWN_SIZE: u8 = 8;
const FLAGS_KNOWN: u8 = FLAG_RELOCATED | FLAG_VOID | FLAG_VERSIONED | FLAG_SHOWN_SIZE;

impl Flags {
    fn encode(self) -> u8 {
        u8::from(self.relocated) * FLAG_RELOCATED
            + u8::from(self.void) * FLAG_VOID
            + u8::from(self.versioned) * FLAG_VERSIONED
            + u8::from(self.shown_size) * FLAG_SHOWN_SIZE
    }

    fn decode(byte: u8) -> Result<Self, Malformed> {
        if byte & !FLAGS_KNOWN != 0 {
            return Err(Malformed("the record has an unknown flag"));
        }
        Ok(Self {
            relocated: byte & FLAG_RELOCATED != 0,
            void: byte & FLAG_VOID != 0,
            versioned: byte & FLAG_VERSIONED != 0,
            shown_size: byte & FLAG_SHOWN_SIZE != 0,
        })
    }
}

/// Where a record lies in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Location {
    pub segment: u32,
    /// In units of 8 bytes from the start of the segment.
    pub offset_units: u32,
    /// Head and data.
    pub span_bytes: u32,
}

impl Location {
    pub fn offset(&self) -> u64 {
        u64::from(self.offset_units) * 8
    }
}

/// A record that another one superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Killed {
    pub location: Location,
    pub version: u64,
    /// Of the use of its segment: in a later one it is gone.
    pub epoch: u64,
}

const KILLED_BYTES: usize = 28;

/// The parts of a record that only some kinds have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sections {
    pub attributes: Vec<u8>,
    pub manifest: Option<Manifest>,
    pub part_number: Option<u16>,
    /// What the record superseded: it must outlive that, so that a rebuild from segments alone cannot
    /// bring it back. A span of zero bytes names nothing.
    pub killed: Vec<Killed>,
    pub settings: Option<BTreeMap<u16, Vec<u8>>>,
}

/// A record about to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: RecordKind,
    pub flags: Flags,
    pub bucket: u32,
    pub key: Vec<u8>,
    pub version: u64,
    pub size: u64,
    pub etag: Etag,
    pub label: u8,
    /// The multipart upload that is concerned; of a bucket the number of the change; of a tombstone the
    /// version that is gone, zero for the null version; else zero.
    pub upload: u64,
    pub sections: Sections,
    pub data: Vec<u8>,
}

impl Record {
    /// A record of a key and nothing else.
    pub fn new(kind: RecordKind, bucket: u32, key: Vec<u8>) -> Self {
        Self {
            kind,
            flags: Flags::default(),
            bucket,
            key,
            version: 0,
            size: 0,
            etag: Etag::default(),
            label: 0,
            upload: 0,
            sections: Sections::default(),
            data: Vec::new(),
        }
    }

    /// A copy of a record that was read, without its data.
    pub fn of_head(head: &Head<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            flags: head.flags,
            version: head.version,
            size: head.size,
            etag: head.etag,
            label: head.label,
            upload: head.upload,
            sections: head.sections()?,
            ..Self::new(head.kind, head.bucket, head.key.to_vec())
        })
    }
}

/// A record with its sections encoded: its length is known.
#[derive(Debug)]
pub struct Encoded {
    pub record: Record,
    sections: Vec<u8>,
    head_bytes: usize,
}

impl Encoded {
    /// `None` if the head would exceed its bound.
    pub fn new(record: Record) -> Option<Self> {
        assert!(record.key.len() <= KEY_BYTES_MAX && record.data.len() <= INLINE_BYTES_MAX);
        let sections = record.sections.encode();
        let head_bytes = (RECORD_HEAD_MIN + record.key.len() + sections.len()).next_multiple_of(8)
            + record.data.len().div_ceil(BLOCK_BYTES) * 8;
        (head_bytes <= RECORD_HEAD_BYTES_MAX).then_some(Self { record, sections, head_bytes })
    }

    /// Head and data, without padding.
    pub fn span_bytes(&self) -> usize {
        self.head_bytes + self.record.data.len()
    }

    /// Names what the record supersedes, where as many places were kept for it.
    pub fn set_killed(&mut self, killed: Vec<Killed>) {
        assert_eq!(killed.len(), self.record.sections.killed.len());
        self.record.sections.killed = killed;
        self.sections = self.record.sections.encode();
    }

    /// Writes the record into a slice of [`Self::span_bytes`].
    pub fn write(&self, salt: Salt, epoch: u64, out: &mut [u8]) {
        let record = &self.record;
        let (head, data) = out.split_at_mut(self.head_bytes);
        data.copy_from_slice(&record.data);
        set(head, 0, (self.head_bytes as u32).to_le_bytes());
        set(head, 4, (record.data.len() as u32).to_le_bytes());
        head[8] = record.kind as u8;
        head[9] = record.flags.encode();
        set(head, 10, (record.key.len() as u16).to_le_bytes());
        set(head, 12, record.bucket.to_le_bytes());
        set(head, 16, record.version.to_le_bytes());
        set(head, 24, epoch.to_le_bytes());
        set(head, 32, record.size.to_le_bytes());
        set(head, 40, record.etag.md5);
        set(head, 56, record.etag.parts.to_le_bytes());
        head[58] = record.label;
        head[59] = 0;
        set(head, 60, (self.sections.len() as u32).to_le_bytes());
        set(head, 64, record.upload.to_le_bytes());
        let (fixed, variable) = head.split_at_mut(RECORD_HEAD_MIN);
        let (key, rest) = variable.split_at_mut(record.key.len());
        key.copy_from_slice(&record.key);
        let (sections, rest) = rest.split_at_mut(self.sections.len());
        sections.copy_from_slice(&self.sections);
        let checksums_at = rest.len() - record.data.len().div_ceil(BLOCK_BYTES) * 8;
        let (padding, checksums) = rest.split_at_mut(checksums_at);
        padding.fill(0);
        for (place, block) in checksums.chunks_exact_mut(8).zip(record.data.chunks(BLOCK_BYTES)) {
            place.copy_from_slice(&block_checksum(block).to_le_bytes());
        }
        let checksum = salted(salt.with(epoch), &[&fixed[..CHECKSUM_AT], variable]);
        set(fixed, CHECKSUM_AT, checksum.to_le_bytes());
    }
}

/// Where a record of `span_bytes` begins if `offset` is free: see *Placement* above. Offsets are
/// relative to a block's start.
pub fn place(offset: usize, span_bytes: usize) -> usize {
    let offset = offset.next_multiple_of(8);
    let touched = (offset % BLOCK_BYTES + span_bytes).div_ceil(BLOCK_BYTES);
    if touched > span_bytes.div_ceil(BLOCK_BYTES) {
        offset.next_multiple_of(BLOCK_BYTES)
    } else {
        offset
    }
}

/// A record's verified head.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    pub kind: RecordKind,
    pub flags: Flags,
    pub bucket: u32,
    pub key: &'a [u8],
    pub version: u64,
    pub epoch: u64,
    pub size: u64,
    pub etag: Etag,
    pub label: u8,
    pub upload: u64,
    pub head_bytes: usize,
    pub data_bytes: usize,
    sections: &'a [u8],
    checksums: &'a [u8],
}

/// The length of the head that begins here, from its first four bytes.
pub fn peek_head_bytes(bytes: &[u8]) -> Result<usize, Malformed> {
    let head_bytes = Reader::new(bytes).u32()? as usize;
    if (RECORD_HEAD_MIN..=RECORD_HEAD_BYTES_MAX).contains(&head_bytes)
        && head_bytes.is_multiple_of(8)
    {
        Ok(head_bytes)
    } else {
        Err(Malformed("the record's head has an impossible length"))
    }
}

impl<'a> Head<'a> {
    /// Reads and verifies the head at the start of `bytes`; the data need not be there.
    pub fn decode(salt: Salt, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let head_bytes = peek_head_bytes(bytes)?;
        let head = bytes.get(..head_bytes).ok_or(Malformed("too short"))?;
        let (fixed, variable) = head.split_at(RECORD_HEAD_MIN);
        let mut reader = Reader::new(fixed);
        reader.u32()?;
        let data_bytes = reader.u32()? as usize;
        let (kind, flags) = (reader.u8()?, reader.u8()?);
        let key_bytes = usize::from(reader.u16()?);
        let bucket = reader.u32()?;
        let (version, epoch, size) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let etag = Etag { md5: reader.array()?, parts: reader.u16()? };
        let label = reader.u8()?;
        reader.u8()?;
        let sections_bytes = reader.u32()? as usize;
        let upload = reader.u64()?;
        let checksum = reader.u64()?;
        if salted(salt.with(epoch), &[&fixed[..CHECKSUM_AT], variable]) != checksum {
            return Err(Malformed("the record head's checksum does not match"));
        }
        if data_bytes > INLINE_BYTES_MAX || key_bytes > KEY_BYTES_MAX {
            return Err(Malformed("a length in the record is out of range"));
        }
        let mut reader = Reader::new(variable);
        let key = reader.take(key_bytes)?;
        let sections = reader.take(sections_bytes)?;
        let used = RECORD_HEAD_MIN + key_bytes + sections_bytes;
        reader.take(used.next_multiple_of(8) - used)?;
        let checksums = reader.take(data_bytes.div_ceil(BLOCK_BYTES) * 8)?;
        if !reader.is_empty() {
            return Err(Malformed("the record's lengths contradict each other"));
        }
        let kind = RecordKind::of(kind)?;
        let (version, epoch, size) = (counter(version)?, counter(epoch)?, counter(size)?);
        let upload = counter(upload)?;
        Ok(Self {
            kind,
            flags: Flags::decode(flags)?,
            bucket,
            key,
            version,
            epoch,
            size,
            etag,
            label,
            upload,
            head_bytes,
            data_bytes,
            sections,
            checksums,
        })
    }

    pub fn span_bytes(&self) -> usize {
        self.head_bytes + self.data_bytes
    }

    /// Verifies the inline data, whole.
    pub fn verify_data(&self, data: &[u8]) -> Result<(), Malformed> {
        if data.len() != self.data_bytes {
            return Err(Malformed("too short"));
        }
        for (block, checksum) in data.chunks(BLOCK_BYTES).zip(self.checksums.chunks_exact(8)) {
            if block_checksum(block).to_le_bytes() != *checksum {
                return Err(Malformed("a data block's checksum does not match"));
            }
        }
        Ok(())
    }

    pub fn sections(&self) -> Result<Sections, Malformed> {
        Sections::decode(self.sections)
    }
}

impl Sections {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.attributes.is_empty() {
            put_section(&mut out, section::ATTRIBUTES, &self.attributes);
        }
        if let Some(manifest) = &self.manifest {
            put_section(&mut out, section::MANIFEST, &manifest.encode());
        }
        if let Some(number) = self.part_number {
            put_section(&mut out, section::PART_NUMBER, &number.to_le_bytes());
        }
        if !self.killed.is_empty() {
            let mut body = Vec::with_capacity(self.killed.len() * KILLED_BYTES);
            for Killed { location, version, epoch } in &self.killed {
                body.put_u32(location.segment);
                body.put_u32(location.offset_units);
                body.put_u32(location.span_bytes);
                body.put_u64(*version);
                body.put_u64(*epoch);
            }
            put_section(&mut out, section::KILLED, &body);
        }
        if let Some(settings) = &self.settings {
            let mut body = Vec::new();
            for (tag, value) in settings {
                body.put_u16(*tag);
                body.put_string(value);
            }
            put_section(&mut out, section::SETTINGS, &body);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut sections = Self::default();
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let tag = reader.u16()?;
            reader.u16()?;
            let body = reader.string()?;
            let mut inner = Reader::new(body);
            match tag {
                section::ATTRIBUTES => sections.attributes = body.to_vec(),
                section::MANIFEST => sections.manifest = Some(Manifest::decode(body)?),
                section::PART_NUMBER => sections.part_number = Some(inner.u16()?),
                section::KILLED => {
                    while !inner.is_empty() {
                        let location = Location {
                            segment: inner.u32()?,
                            offset_units: inner.u32()?,
                            span_bytes: inner.u32()?,
                        };
                        let (version, epoch) = (inner.counter()?, inner.counter()?);
                        sections.killed.push(Killed { location, version, epoch });
                    }
                }
                section::SETTINGS => {
                    let mut settings = BTreeMap::new();
                    while !inner.is_empty() {
                        settings.insert(inner.u16()?, inner.string()?.to_vec());
                    }
                    sections.settings = Some(settings);
                }
                _ => return Err(Malformed("the record has an unknown section")),
            }
        }
        Ok(sections)
    }
}

fn put_section(out: &mut Vec<u8>, tag: u16, body: &[u8]) {
    out.put_u16(tag);
    out.put_u16(0);
    out.put_string(body);
}

/// Walks the records of a group's content. Yields each record's offset from the start of the group.
#[derive(Debug)]
pub struct Records<'a> {
    salt: Salt,
    group: &'a [u8],
    offset: usize,
    end: usize,
    remaining: u32,
}

impl<'a> Records<'a> {
    /// `group` begins with its header, `end` is where the content ends.
    pub fn new(salt: Salt, group: &'a [u8], start: usize, end: usize, count: u32) -> Self {
        Self { salt, group, offset: start, end: end.min(group.len()), remaining: count }
    }

    fn step(&mut self) -> Result<(usize, Head<'a>), Malformed> {
        self.offset = self.offset.next_multiple_of(8);
        let group = self.group.get(..self.end).ok_or(Malformed("too short"))?;
        let mut rest = group.get(self.offset..).ok_or(Malformed("too short"))?;
        if rest.get(..4) == Some(&[0; 4]) {
            self.offset = self.offset.next_multiple_of(BLOCK_BYTES);
            rest = group.get(self.offset..).ok_or(Malformed("too short"))?;
        }
        let head = Head::decode(self.salt, rest)?;
        let at = self.offset;
        self.offset += head.span_bytes();
        if self.offset > self.end {
            return Err(Malformed("a record reaches beyond its group"));
        }
        Ok((at, head))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(usize, Head<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let item = self.step();
        if item.is_err() {
            self.remaining = 0;
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::manifest::{Extent, ManifestPart};
    use super::*;

    fn sample(data: usize) -> Record {
        let part = ManifestPart {
            number: 1,
            tag: 2,
            size: 3,
            attributes: vec![4],
            extents: vec![Extent { segment: 5, unit: 6, units: 7 }],
        };
        Record {
            kind: RecordKind::Object,
            flags: Flags { relocated: true, versioned: true, ..Flags::default() },
            bucket: 1,
            key: b"some/key".to_vec(),
            version: 77,
            size: data as u64,
            etag: Etag { md5: [9; 16], parts: 2 },
            label: 3,
            upload: 4,
            sections: Sections {
                attributes: vec![1, 2, 3],
                manifest: Some(Manifest { parts: vec![part] }),
                part_number: Some(12),
                killed: vec![
                    Killed {
                        location: Location { segment: 1, offset_units: 2, span_bytes: 3 },
                        version: 4,
                        epoch: 5,
                    },
                    Killed::default(),
                ],
                settings: Some(BTreeMap::from([(1, vec![1]), (2, vec![])])),
            },
            data: (0..data).map(|at| at as u8).collect(),
        }
    }

    fn written(data: usize) -> (Salt, Vec<u8>) {
        let salt = Salt::of_store(&[1; 16]);
        let encoded = Encoded::new(sample(data)).unwrap();
        let mut bytes = vec![0xEE; encoded.span_bytes()];
        encoded.write(salt, 5, &mut bytes);
        (salt, bytes)
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        for data in [0, 1, 4096, 4097, 100_000] {
            let (salt, bytes) = written(data);
            let head = Head::decode(salt, &bytes).unwrap();
            let expected = sample(data);
            assert_eq!((head.kind, head.key), (expected.kind, &expected.key[..]));
            assert_eq!((head.version, head.epoch, head.size), (77, 5, data as u64));
            assert_eq!(head.flags, expected.flags);
            assert_eq!(head.sections(), Ok(expected.sections));
            assert_eq!(head.verify_data(&bytes[head.head_bytes..]), Ok(()));
            assert_eq!(bytes[head.head_bytes..], expected.data);
        }
    }

    #[test]
    fn numbers_that_overflow_when_one_is_added_are_refused() {
        let salt = Salt::of_store(&[1; 16]);
        let change: [fn(&mut Record); 3] = [
            |record| record.version = u64::MAX,
            |record| record.size = u64::MAX,
            |record| record.upload = u64::MAX,
        ];
        for change in change {
            let mut record = sample(0);
            change(&mut record);
            let encoded = Encoded::new(record).unwrap();
            let mut bytes = vec![0; encoded.span_bytes()];
            encoded.write(salt, 5, &mut bytes);
            let found = Head::decode(salt, &bytes).map(drop);
            assert_eq!(found, Err(Malformed("a number is out of range")));
        }
    }

    #[test]
    fn flags_survive_the_round_trip_and_unknown_ones_are_refused() {
        for byte in 0..=u8::MAX {
            match Flags::decode(byte) {
                Ok(flags) => assert_eq!(flags.encode(), byte),
                Err(_) => assert!(byte > FLAGS_KNOWN),
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (salt, mut bytes) = written(300);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verdict = Head::decode(salt, &bytes)
                .and_then(|head| head.verify_data(bytes.get(head.head_bytes..).unwrap_or(&[])));
            assert!(verdict.is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn placement_touches_no_more_blocks_than_needed() {
        for span in [80, 4000, 4096, 4400, 9000] {
            for offset in (0..3 * BLOCK_BYTES).step_by(8) {
                let at = place(offset, span);
                let touched = (at % BLOCK_BYTES + span).div_ceil(BLOCK_BYTES);
                assert_eq!(touched, span.div_ceil(BLOCK_BYTES));
                assert!(at >= offset && at - offset < BLOCK_BYTES);
            }
        }
    }
}
