//! From a location to a verified stream of buffers.
//!
//! Invariants: no byte leaves before its block's checksum has matched; a record must name the key
//! and version that were asked for; the space read from is pinned until the reader is dropped and its
//! last read has returned.
//!
//! Budget of a small read: one read of the record's blocks, no copy of the data. Of a large one: the
//! record, then one read per window, some windows ahead, no copy.

use crate::budget::Permit;
use crate::core::CoreContext;
use crate::engine::PinGuard;
use crate::error::{Error, Result};
use crate::format::checkpoint::Displaced;
use crate::format::chunk::ChunkHeader;
use crate::format::manifest::{ChunkPlace, Manifest, ManifestPart, extent_chunks};
use crate::format::record::{Head, Location, Sections, peek_head_bytes};
use crate::format::{Malformed, Salt};
use crate::hot::Name;
use crate::limits::{
    CHUNK_HEADER_BYTES, PART_READS_IN_FLIGHT, READ_AHEAD_WINDOWS, READ_AHEAD_WINDOWS_MAX,
    READ_WINDOW_BYTES,
};
use crate::metrics::count;
use crate::multipart::PartRow;
use crate::platform::{BLOCK_BYTES, File, Platform};
use crate::shard::Located;
use crate::slots::Rank;
use crate::types::{BucketId, ObjectInfo, PartInfo, RecordPlace, Version};
use crate::wait::{Event, join_all};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::rc::Rc;

/// The most that a window and its chunk's header take.
const WINDOW_MEMORY_BYTES: usize = READ_WINDOW_BYTES + CHUNK_HEADER_BYTES;
/// Blocks before the wanted ones are read along with the header if they are at most so many bytes.
const GAP_BYTES_MAX: usize = 128 << 10;
/// What is read first of a record whose data is not wanted.
const HEAD_READ_BYTES: u64 = 8 << 10;

/// Bytes as they were read, or as they have been kept in memory since; clones share them.
#[derive(Debug)]
enum Buffer<P: Platform> {
    Read(P::ReadBuffer),
    Kept(Rc<[u8]>),
}

impl<P: Platform> Clone for Buffer<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Read(buffer) => Self::Read(buffer.clone()),
            Self::Kept(bytes) => Self::Kept(bytes.clone()),
        }
    }
}

impl<P: Platform> Deref for Buffer<P> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(buffer) => buffer,
            Self::Kept(bytes) => bytes,
        }
    }
}

/// A record's bytes.
#[derive(Debug)]
pub(crate) struct RecordBytes<P: Platform> {
    buffer: Buffer<P>,
    at: usize,
}

impl<P: Platform> RecordBytes<P> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.at..]
    }
}

async fn read_blocks<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    segment: u32,
    range: Range<u64>,
    rank: Option<Rank>,
) -> Result<(P::ReadBuffer, usize)> {
    let start = range.start - range.start % BLOCK_BYTES as u64;
    let bytes = (range.end - start).next_multiple_of(BLOCK_BYTES as u64) as usize;
    count(&context.counters.reads_total, 1);
    count(&context.counters.read_bytes_total, bytes as u64);
    let read = async {
        let file = context.files.get(shard, segment).await?;
        let place = || format!("read segment {segment} of shard {shard} at {start}");
        let _turn = context.read_turn(shard, bytes, rank).await;
        file.read_at(start, bytes).await.map_err(|source| Error::io(place(), source))
    };
    match read.await {
        Ok(buffer) => Ok((buffer, (range.start - start) as usize)),
        Err(error) => {
            count(&context.counters.read_errors_total, 1);
            context.suspect_drive(shard);
            Err(error)
        }
    }
}

/// Reads a record, whole or only its head.
pub(crate) async fn record<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    location: Location,
    whole: bool,
) -> Result<RecordBytes<P>> {
    let offset = location.offset();
    let span = u64::from(location.span_bytes);
    let first = if whole { span } else { span.min(HEAD_READ_BYTES) };
    let (buffer, at) =
        read_blocks(context, shard, location.segment, offset..offset + first, None).await?;
    let record = RecordBytes { buffer: Buffer::Read(buffer), at };
    let head_bytes = peek_head_bytes(record.bytes())
        .map_err(|malformed| corrupt(context, shard, location, &malformed))?
        as u64;
    if head_bytes <= first || head_bytes > span {
        return Ok(record);
    }
    let range = offset..offset + head_bytes;
    let (buffer, at) = read_blocks(context, shard, location.segment, range, None).await?;
    Ok(RecordBytes { buffer: Buffer::Read(buffer), at })
}

/// Counts and describes bytes that do not verify.
pub(crate) fn corrupt<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    location: Location,
    malformed: &Malformed,
) -> Error {
    count(&context.counters.checksum_failures_total, 1);
    let message = format!(
        "shard {shard}, segment {}, offset {}: {malformed}",
        location.segment,
        location.offset()
    );
    tracing::error!(place = message, "stored data does not verify");
    Error::Corrupt(message)
}

/// The manifest of a record, which must be of that version: its extents are about to be freed.
pub(crate) async fn manifest<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    displaced: Displaced,
) -> Result<Manifest> {
    let Displaced { location, version } = displaced;
    Ok(sections(context, shard, location, Some(Version(version)))
        .await?
        .manifest
        .unwrap_or_default())
}

/// The sections of the record at a location, which must be of that version if it is known: no two
/// records of a shard have the same, so that no other one passes for it.
pub(crate) async fn sections<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    location: Location,
    version: Option<Version>,
) -> Result<Sections> {
    let record = record(context, shard, location, false).await?;
    Head::decode(context.salt, record.bytes())
        .and_then(|head| match version.is_none_or(|version| version.0 == head.version) {
            true => head.sections(),
            false => Err(Malformed("the record is another one")),
        })
        .map_err(|malformed| corrupt(context, shard, location, &malformed))
}

/// The sections of many records, in their order, a bounded number of reads at once.
pub(crate) async fn many_sections<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    rows: &[PartRow],
) -> Result<Vec<Sections>> {
    let mut all = Vec::with_capacity(rows.len());
    for batch in rows.chunks(PART_READS_IN_FLIGHT) {
        let reads = batch
            .iter()
            .map(|row| sections(context, shard, row.location, Some(row.current.version)));
        for sections in join_all(reads).await {
            all.push(sections?);
        }
    }
    Ok(all)
}

/// Bytes ready to be sent; clones of the buffer share them.
#[derive(Debug)]
pub struct Chunk<P: Platform> {
    buffer: Buffer<P>,
    range: Range<usize>,
    _permit: Option<Permit>,
    _share: Option<Rc<Permit>>,
}

impl<P: Platform> AsRef<[u8]> for Chunk<P> {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

/// An opened object: its record, and a pinned, verified stream of its bytes.
#[derive(Debug)]
pub struct ObjectReader<P: Platform> {
    context: Rc<CoreContext<P>>,
    shard: u16,
    location: Location,
    info: ObjectInfo,
    /// Opened for its record alone.
    head_only: bool,
    source: Source<P>,
    /// What is still to be given.
    selected: Range<u64>,
    /// Of the memory budget, for the windows of large bodies.
    share: Option<Rc<Permit>>,
}

#[derive(Debug)]
enum Source<P: Platform> {
    Inline {
        record: RecordBytes<P>,
        data: Range<usize>,
        permit: Option<Permit>,
        /// Kept until the reader is dropped.
        _pin: PinGuard<P>,
    },
    Extents {
        manifest: Manifest,
        walk: Walk,
        /// The chunk whose windows are being requested, and what of its payload is still wanted.
        opened: Option<(Rc<OpenChunk>, Range<usize>)>,
        ahead: VecDeque<Rc<Pending<P>>>,
        /// Kept until the reader is dropped and its last read has returned.
        pin: Rc<PinGuard<P>>,
    },
}

/// A chunk that is being read, shared by the reads of its windows.
#[derive(Debug)]
struct OpenChunk {
    tag: u64,
    place: ChunkPlace,
    /// Of all its windows: where many bodies are under way, chunks are read in the order in which they were begun.
    /// If the windows of all took turns, all would be done together at last.
    rank: Rank,
    /// Read and verified by the first window; the others wait for it.
    header: RefCell<HeaderState>,
    event: Event,
}

#[derive(Debug)]
enum HeaderState {
    Awaited,
    Verified(Rc<ChunkHeader>),
    Failed,
}

/// Where the next chunk is found.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    part: usize,
    /// Position in the object of the part's first byte.
    part_start: u64,
    /// Among the part's extents, and the chunk's place within it.
    extent: usize,
    chunk_of_extent: usize,
    /// Position of the chunk within the part.
    chunk: u32,
    /// Position in the object of the chunk's first byte.
    chunk_start: u64,
}

/// A window that is being read.
#[derive(Debug)]
struct Pending<P: Platform> {
    outcome: RefCell<Option<Result<Window<P>>>>,
    event: Event,
}

/// A window that was read. It is verified just before it is sent, so that its bytes come from memory once: windows
/// that were read ahead have left the processor's caches by then.
#[derive(Debug)]
struct Window<P: Platform> {
    header: Rc<ChunkHeader>,
    place: ChunkPlace,
    blocks: P::ReadBuffer,
    /// Where the payload's block `first_block` begins in `blocks`.
    blocks_from: usize,
    first_block: usize,
    /// Of the payload.
    wanted: Range<usize>,
    permit: Rc<Permit>,
}

/// A record that is to be opened.
struct Wanted<'a> {
    bucket: BucketId,
    key: &'a [u8],
    located: Located,
    /// Its data will be wanted.
    whole: bool,
}

/// What a record holds, verified.
struct Examined {
    sections: Sections,
    /// Where its data is, from its beginning on.
    data: Range<usize>,
}

impl Wanted<'_> {
    fn with_data(&self) -> bool {
        // The data of an object in extents is not in its record.
        self.whole && !self.located.has_extents
    }

    fn examine(&self, salt: Salt, bytes: &[u8]) -> std::result::Result<Examined, Malformed> {
        let head = Head::decode(salt, bytes)?;
        let expected = (self.bucket.0, self.key, self.located.current.version.0);
        if (head.bucket, head.key, head.version) != expected {
            return Err(Malformed("the record is another one"));
        }
        let sections = head.sections()?;
        if self.located.has_extents && sections.manifest.is_none() {
            return Err(Malformed("the record has no manifest"));
        }
        let data = head.head_bytes..head.head_bytes + head.data_bytes;
        if self.with_data() {
            head.verify_data(bytes.get(data.clone()).ok_or(Malformed("too short"))?)?;
        }
        Ok(Examined { sections, data })
    }
}

/// A record from memory, if it is there and verifies, else from the disk.
async fn find_record<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    wanted: &Wanted<'_>,
) -> Result<(RecordBytes<P>, Examined)> {
    let Located { location, epoch, current, has_extents, .. } = wanted.located;
    let name = Name { shard, location, epoch, version: current.version };
    let may_be_hot = !has_extents && context.hot.is_on();
    if may_be_hot && let Some(bytes) = context.hot.get(&name) {
        if let Ok(examined) = wanted.examine(context.salt, &bytes) {
            count(&context.counters.hot_hits_total, 1);
            return Ok((RecordBytes { buffer: Buffer::Kept(bytes), at: 0 }, examined));
        }
        context.hot.forget(&name);
    }
    let record = record(context, shard, location, wanted.with_data()).await?;
    let examined = wanted
        .examine(context.salt, record.bytes())
        .map_err(|malformed| corrupt(context, shard, location, &malformed))?;
    if may_be_hot && wanted.with_data() {
        count(&context.counters.hot_misses_total, 1);
        let span = record.bytes().get(..location.span_bytes as usize);
        context.hot.keep(name, span.unwrap_or(record.bytes()));
    }
    Ok((record, examined))
}

impl<P: Platform> ObjectReader<P> {
    /// Reads the record of a located object. `whole`: its data will be wanted.
    pub(crate) async fn open(
        context: Rc<CoreContext<P>>,
        shard: u16,
        bucket: BucketId,
        key: &[u8],
        located: Located,
        pin: PinGuard<P>,
        whole: bool,
    ) -> Result<Self> {
        let location = located.location;
        let permit = context.take_memory(location.span_bytes as usize).await?;
        let wanted = Wanted { bucket, key, located, whole };
        let (record, examined) = find_record(&context, shard, &wanted).await?;
        let Examined { sections, data } = examined;
        let source = match sections.manifest {
            Some(manifest) => Source::Extents {
                manifest,
                walk: Walk::default(),
                opened: None,
                ahead: VecDeque::new(),
                pin: Rc::new(pin),
            },
            None => {
                let data = record.at + data.start..record.at + data.end;
                Source::Inline { data, record, permit: Some(permit), _pin: pin }
            }
        };
        let (parts, stored_bytes) = match &source {
            Source::Extents { manifest, .. } => (part_infos(manifest), manifest.bytes()),
            Source::Inline { data, .. } => (Vec::new(), data.len() as u64),
        };
        let selected = 0..if whole { stored_bytes } else { 0 };
        let (current, attributes) = (located.current, sections.attributes);
        let info = ObjectInfo { current, stored_bytes, attributes, parts };
        let head_only = !whole;
        Ok(Self { context, shard, location, info, head_only, source, selected, share: None })
    }

    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// Where the record lay when it was found.
    pub fn place(&self) -> RecordPlace {
        RecordPlace {
            shard: self.shard,
            file: self.context.layout.segment_path(self.shard, self.location.segment),
            offset: self.location.offset(),
        }
    }

    /// The pieces of which the stored bytes are made; none if they lie in the record.
    pub(crate) fn manifest_parts(&self) -> Option<Vec<ManifestPart>> {
        match &self.source {
            Source::Extents { manifest, .. } => Some(manifest.parts.clone()),
            Source::Inline { .. } => None,
        }
    }

    /// Chooses which bytes `next` gives; ends beyond the object are cut, and a reader that was opened
    /// for its record alone has none. To be called before the first `next`.
    pub fn select(&mut self, range: Range<u64>) {
        let size = if self.head_only { 0 } else { self.info.stored_bytes };
        self.selected = range.start.min(size)..range.end.min(size);
    }

    /// Waits for the memory that giving the selected bytes takes from now to its end. Who calls this before
    /// the answer has begun can still say that the store is busy; `next` calls it otherwise.
    ///
    /// # Errors
    /// [`Error::Busy`] if there was none for too long.
    pub async fn admit(&mut self) -> Result<()> {
        let selected = self.selected.end.saturating_sub(self.selected.start);
        let is_inline = matches!(self.source, Source::Inline { .. });
        if is_inline || self.share.is_some() || selected == 0 {
            return Ok(());
        }
        let permit = self.context.take_memory(windows_bytes(selected)).await?;
        self.share = Some(Rc::new(permit));
        Ok(())
    }

    /// The next bytes, verified; `None` when all were given.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what is stored does not verify, [`Error::Io`] if it cannot be read,
    /// [`Error::Busy`] if there was no memory for it.
    pub async fn next(&mut self) -> Result<Option<Chunk<P>>> {
        if let Source::Inline { record, data, permit, .. } = &mut self.source {
            let Range { start, end } = std::mem::replace(&mut self.selected, 0..0);
            if start >= end {
                return Ok(None);
            }
            let range = data.start + start as usize..data.start + end as usize;
            let chunk = Chunk {
                buffer: record.buffer.clone(),
                range,
                _permit: permit.take(),
                _share: None,
            };
            return Ok(Some(chunk));
        }
        self.admit().await?;
        self.request_ahead();
        let Source::Extents { ahead, .. } = &mut self.source else {
            return Ok(None);
        };
        // Taken out only once it is here: who stops waiting and asks again gets the same bytes.
        let Some(pending) = ahead.front().cloned() else {
            return Ok(None);
        };
        let outcome = pending.event.wait_until(|| pending.outcome.borrow_mut().take()).await;
        ahead.pop_front();
        let window = outcome?;
        self.request_ahead();
        window.verify(&self.context, self.shard).map(Some)
    }

    /// Keeps reads of the next windows under way.
    fn request_ahead(&mut self) {
        let Source::Extents { manifest, walk, opened, ahead, pin } = &mut self.source else {
            return;
        };
        let windows = self.context.options.read_ahead_windows.clamp(1, READ_AHEAD_WINDOWS_MAX);
        while ahead.len() < windows {
            // Beyond the usual windows memory is there at once, or they are not read.
            let usual = self.share.clone().filter(|_| ahead.len() < READ_AHEAD_WINDOWS);
            let spare = || self.context.budget.spare(WINDOW_MEMORY_BYTES).map(Rc::new);
            let Some(permit) = usual.or_else(spare) else { return };
            let leads = opened.is_none();
            if leads {
                let rank = || self.context.read_rank(self.shard);
                *opened = open_next(walk, manifest, &mut self.selected, rank);
            }
            let Some((chunk, rest)) = opened else {
                return;
            };
            let (chunk, window) = (chunk.clone(), first_window(rest));
            rest.start = window.end;
            if rest.start == rest.end {
                *opened = None;
            }
            let pending = Rc::new(Pending { outcome: RefCell::new(None), event: Event::default() });
            ahead.push_back(pending.clone());
            let (context, shard, pin) = (self.context.clone(), self.shard, pin.clone());
            self.context.platform.spawn(async move {
                let outcome = read_window(&context, shard, &chunk, window, leads, permit).await;
                if leads && outcome.is_err() {
                    chunk.set_header(HeaderState::Failed);
                }
                drop(pin);
                *pending.outcome.borrow_mut() = Some(outcome);
                pending.event.notify();
            });
        }
    }
}

/// The memory that giving so many bytes of a large body takes: what is given out, and what is read ahead of it. The
/// selection may begin within a block, and somewhat behind the header that is read with it.
pub(crate) fn windows_bytes(selected: u64) -> usize {
    let most = (READ_AHEAD_WINDOWS + 1) * WINDOW_MEMORY_BYTES;
    let around = CHUNK_HEADER_BYTES + GAP_BYTES_MAX + 2 * BLOCK_BYTES;
    usize::try_from(selected.saturating_add(around as u64)).unwrap_or(most).min(most)
}

/// The next chunk that holds selected bytes, and which of its payload they are.
fn open_next(
    walk: &mut Walk,
    manifest: &Manifest,
    selected: &mut Range<u64>,
    rank: impl FnOnce() -> Rank,
) -> Option<(Rc<OpenChunk>, Range<usize>)> {
    while selected.start < selected.end {
        let (tag, place, chunk) = walk.next(manifest, selected.start)?;
        if chunk.end <= selected.start {
            continue;
        }
        let from = (selected.start - chunk.start) as usize;
        let to = (selected.end.min(chunk.end) - chunk.start) as usize;
        selected.start = chunk.start + to as u64;
        let header = RefCell::new(HeaderState::Awaited);
        let opened = OpenChunk { tag, place, rank: rank(), header, event: Event::default() };
        return Some((Rc::new(opened), from..to));
    }
    None
}

/// The bytes of a chunk's payload up to the end of the window in which they begin.
fn first_window(wanted: &Range<usize>) -> Range<usize> {
    let begin = CHUNK_HEADER_BYTES + wanted.start;
    let end = (begin + 1).next_multiple_of(READ_WINDOW_BYTES) - CHUNK_HEADER_BYTES;
    wanted.start..end.min(wanted.end)
}

impl OpenChunk {
    fn set_header(&self, state: HeaderState) {
        *self.header.borrow_mut() = state;
        self.event.notify();
    }

    /// The header that the first window's read verified.
    async fn header(&self) -> Result<Rc<ChunkHeader>> {
        let verified = || match &*self.header.borrow() {
            HeaderState::Awaited => None,
            HeaderState::Verified(header) => Some(Some(header.clone())),
            HeaderState::Failed => Some(None),
        };
        let header = self.event.wait_until(verified).await;
        header.ok_or_else(|| Error::Corrupt("the chunk's header could not be read".into()))
    }
}

fn part_infos(manifest: &Manifest) -> Vec<PartInfo> {
    manifest
        .parts
        .iter()
        .filter(|part| part.number > 0)
        .map(|part| PartInfo {
            number: part.number,
            size: part.size,
            attributes: part.attributes.clone(),
        })
        .collect()
}

impl Walk {
    /// The next chunk, but none of a part that ends before `from`: its part's tag, its place, and
    /// which bytes of the object it holds.
    fn next(&mut self, manifest: &Manifest, from: u64) -> Option<(u64, ChunkPlace, Range<u64>)> {
        loop {
            let part = manifest.parts.get(self.part)?;
            let part_end = self.part_start + part.size;
            if self.chunk_start.max(from) < part_end
                && let Some(place) = self.place(part)
            {
                let start = self.chunk_start;
                let end = (start + place.payload_max() as u64).min(part_end);
                self.chunk += 1;
                self.chunk_start = end;
                return Some((part.tag, place, start..end));
            }
            *self = Self {
                part: self.part + 1,
                part_start: part_end,
                chunk_start: part_end,
                ..Self::default()
            };
        }
    }

    fn place(&mut self, part: &ManifestPart) -> Option<ChunkPlace> {
        loop {
            let extent = part.extents.get(self.extent)?;
            if let Some(place) = extent_chunks(extent).nth(self.chunk_of_extent) {
                self.chunk_of_extent += 1;
                return Some(ChunkPlace { index: self.chunk, ..place });
            }
            (self.extent, self.chunk_of_extent) = (self.extent + 1, 0);
        }
    }
}

/// Reads the bytes `wanted` of one chunk's payload. `leads`: the chunk's header is read with them, and verified. The
/// permit is for their memory.
async fn read_window<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    chunk: &OpenChunk,
    wanted: Range<usize>,
    leads: bool,
    permit: Rc<Permit>,
) -> Result<Window<P>> {
    let place = &chunk.place;
    let first_block = wanted.start / BLOCK_BYTES;
    let first = first_block * BLOCK_BYTES;
    let header_end = place.offset + CHUNK_HEADER_BYTES as u64;
    let body = header_end + first as u64..header_end + wanted.end as u64;
    let read = |range| read_blocks(context, shard, place.segment, range, Some(chunk.rank));
    let decode = |bytes: &[u8]| -> Result<Rc<ChunkHeader>> {
        let header = ChunkHeader::decode(context.salt, chunk.tag, place, bytes)
            .map_err(|malformed| corrupt_chunk(context, shard, place, &malformed))?;
        let header = Rc::new(header);
        chunk.set_header(HeaderState::Verified(header.clone()));
        Ok(header)
    };
    let (header, blocks, blocks_from) = if !leads {
        let (header, blocks) = futures_lite::future::zip(chunk.header(), read(body)).await;
        (header?, blocks?.0, 0)
    } else if first <= GAP_BYTES_MAX {
        let (blocks, _) = read(place.offset..body.end).await?;
        (decode(&blocks)?, blocks, CHUNK_HEADER_BYTES + first)
    } else {
        let reads = futures_lite::future::zip(read(place.offset..header_end), read(body)).await;
        (decode(&reads.0?.0)?, reads.1?.0, 0)
    };
    Ok(Window { header, place: *place, blocks, blocks_from, first_block, wanted, permit })
}

impl<P: Platform> Window<P> {
    fn verify(self, context: &Rc<CoreContext<P>>, shard: u16) -> Result<Chunk<P>> {
        let Self { header, place, blocks, blocks_from, first_block, wanted, permit } = self;
        let first = first_block * BLOCK_BYTES;
        let check = || {
            if header.payload_bytes < wanted.end {
                return Err(Malformed("the chunk is shorter than its manifest says"));
            }
            // The last block is checked whole, as far as the payload goes.
            let checked =
                wanted.end.next_multiple_of(BLOCK_BYTES).min(header.payload_bytes) - first;
            let body = blocks.get(blocks_from..blocks_from + checked);
            header.verify(first_block, body.ok_or(Malformed("too short"))?)
        };
        check().map_err(|malformed| corrupt_chunk(context, shard, &place, &malformed))?;
        let range = blocks_from + wanted.start - first..blocks_from + wanted.end - first;
        Ok(Chunk { buffer: Buffer::Read(blocks), range, _permit: None, _share: Some(permit) })
    }
}

/// As [`corrupt`], of a chunk.
fn corrupt_chunk<P: Platform>(
    context: &Rc<CoreContext<P>>,
    shard: u16,
    place: &ChunkPlace,
    malformed: &Malformed,
) -> Error {
    let offset_units = (place.offset / 8) as u32;
    let location = Location { segment: place.segment, offset_units, span_bytes: 0 };
    corrupt(context, shard, location, malformed)
}
