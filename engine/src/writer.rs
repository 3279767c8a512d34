//! Receives a body straight into the engine's buffers and makes it an object or a part.
//!
//! A small object is gathered in memory and travels to its owner with the commit. A large one goes
//! chunk by chunk, with direct I/O from this core, into space that the owner granted; the owner syncs
//! its files before it logs the commit ([`crate::data_sync`]).
//!
//! Invariants: memory is taken from the budget before the first byte, for as many chunks as may be
//! written at once and the one that is being filled; a writer that is dropped gives its space back once
//! its last write has returned, and stores nothing.

use crate::budget::Permit;
use crate::checksum::{Md5, lanes};
use crate::engine::{Engine, check_attributes};
use crate::error::{Error, Result};
use crate::format::chunk::{chunk_bytes, seal_chunk};
use crate::format::manifest::{Extent, ManifestPart, extent_chunks, push_extent};
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, CHUNK_PAYLOAD_MAX, CHUNK_UNITS_MAX,
    CHUNK_WRITES_IN_FLIGHT, CHUNK_WRITES_IN_FLIGHT_MAX, GRANT_UNITS_MAX, INLINE_BYTES_MAX,
    MD5_PIECE_BYTES_MIN, UNIT_BYTES,
};
use crate::md5_batch::Lent;
use crate::metrics::count;
use crate::platform::{File, Platform};
use crate::request::{Reply, Request, mismatched};
use crate::shard::{Body, Committed, Put, Target};
use crate::types::{BucketId, Commit};
use crate::wait::Event;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// Why a buffer is there outside of [`ObjectWriter::update_md5`].
const NOT_LENT: &str = "who gives up the future of `update_md5` gives up the writer";
/// Room behind the announced end of a body, so that a longer one is noticed.
const OVERRUN_BYTES: usize = 64;

#[derive(Debug)]
pub struct ObjectWriter<P: Platform> {
    engine: Engine<P>,
    shard: u16,
    bucket: BucketId,
    key: Vec<u8>,
    target: Target,
    /// Announced length.
    announced: Option<u64>,
    written: u64,
    form: Form<P>,
    /// Chunks that may be being written at once: memory was taken for so many, and one more.
    chunk_writes: usize,
    permit: Permit,
}

#[derive(Debug)]
enum Form<P: Platform> {
    /// The first `written` bytes are the body's.
    Inline(Vec<u8>),
    Chunks(Chunks<P>),
}

#[derive(Debug)]
struct Chunks<P: Platform> {
    space: Rc<Space<P>>,
    /// The chunk being filled; `None` when the announced end is reached.
    current: Option<Filling<P>>,
    overrun: [u8; OVERRUN_BYTES],
    tag: u64,
    next_index: u32,
    /// Granted places that are not used yet.
    granted: VecDeque<Extent>,
    /// Places of the chunks in the order of the body.
    used: Vec<Extent>,
}

#[derive(Debug)]
struct Filling<P: Platform> {
    /// Not there while an MD5 is computed of it, and never again if who waited for that has gone.
    buffer: Option<P::WriteBuffer>,
    place: Extent,
    /// Payload bytes filled, and how many fit.
    filled: usize,
    capacity: usize,
}

/// The granted space of one writer, shared with its writes under way.
#[derive(Debug)]
struct Space<P: Platform> {
    engine: Engine<P>,
    shard: u16,
    /// To be given back when the last user is gone.
    owned: RefCell<Vec<Extent>>,
    in_flight: Cell<usize>,
    in_flight_max: usize,
    failed: Cell<bool>,
    event: Event,
}

impl<P: Platform> Drop for Space<P> {
    fn drop(&mut self) {
        let extents = self.owned.take();
        if !extents.is_empty() {
            self.engine.tell(self.shard, Request::Release(extents));
        }
    }
}

impl<P: Platform> ObjectWriter<P> {
    pub(crate) async fn open(
        engine: Engine<P>,
        shard: u16,
        bucket: BucketId,
        key: Vec<u8>,
        target: Target,
        announced: Option<u64>,
    ) -> Result<Self> {
        let inline = target == Target::Object
            && announced.is_none_or(|size| size <= INLINE_BYTES_MAX as u64);
        Self::open_as(engine, shard, bucket, key, target, announced, inline).await
    }

    /// As [`Self::open`]; `inline`: the body is gathered in memory, whatever the target.
    pub(crate) async fn open_as(
        engine: Engine<P>,
        shard: u16,
        bucket: BucketId,
        key: Vec<u8>,
        target: Target,
        announced: Option<u64>,
        inline: bool,
    ) -> Result<Self> {
        let (permit, chunk_writes) = match announced {
            Some(size) if inline => {
                (engine.context().take_memory(size as usize + OVERRUN_BYTES).await?, 1)
            }
            Some(size) if size < CHUNK_BYTES_MAX as u64 => {
                (engine.context().take_memory(chunk_bytes(size as usize)).await?, 1)
            }
            _ => memory_for_chunks(&engine).await?,
        };
        let form = if inline {
            let room = announced.map_or(INLINE_BYTES_MAX, |size| size as usize);
            Form::Inline(vec![0; room + OVERRUN_BYTES])
        } else {
            Form::Chunks(Chunks::new(&engine, shard, announced, chunk_writes).await?)
        };
        let written = 0;
        Ok(Self {
            engine,
            shard,
            bucket,
            key,
            target,
            announced,
            written,
            form,
            chunk_writes,
            permit,
        })
    }

    /// Bytes received so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where the next bytes of the body go; never empty.
    pub fn spare(&mut self) -> &mut [u8] {
        match &mut self.form {
            Form::Inline(bytes) => bytes.get_mut(self.written as usize..).unwrap_or_default(),
            Form::Chunks(Chunks {
                current: Some(Filling { buffer: Some(buffer), filled, capacity, .. }),
                ..
            }) => &mut buffer[CHUNK_HEADER_BYTES + *filled..CHUNK_HEADER_BYTES + *capacity],
            Form::Chunks(chunks) => &mut chunks.overrun,
        }
    }

    /// Takes a range of [`Self::spare`], filled but not yet said to be, into an MD5: together with other
    /// uploads' bytes, if there are enough of them. If the future is dropped the body is lost.
    pub async fn update_md5(&mut self, md5: &mut Md5, range: Range<usize>) {
        let lent = match &mut self.form {
            _ if range.len() < MD5_PIECE_BYTES_MIN => None,
            // Where each goes alone, waiting costs more than it gains.
            Form::Inline(_) if lanes() == 1 => None,
            Form::Inline(bytes) => {
                Some((Lent::Inline(std::mem::take(bytes)), self.written as usize))
            }
            Form::Chunks(Chunks { current: Some(filling), .. }) => filling
                .buffer
                .take()
                .map(|buffer| (Lent::Chunk(buffer), CHUNK_HEADER_BYTES + filling.filled)),
            Form::Chunks(_) => None,
        };
        let Some((buffer, start)) = lent else {
            return md5.update(&self.spare()[range]);
        };
        let range = start + range.start..start + range.end;
        let batch = &self.engine.context().md5_batch;
        let (stream, buffer) = batch.update(std::mem::take(md5), buffer, range).await;
        *md5 = stream;
        match (&mut self.form, buffer) {
            (Form::Inline(bytes), Lent::Inline(buffer)) => *bytes = buffer,
            (Form::Chunks(Chunks { current: Some(filling), .. }), Lent::Chunk(buffer)) => {
                filling.buffer = Some(buffer);
            }
            // It is given back in the form in which it was lent.
            _ => {}
        }
    }

    /// Says that the first `bytes` of [`Self::spare`] were filled.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the body is longer than announced; errors of the grant and of writes.
    pub async fn advance(&mut self, bytes: usize) -> Result<()> {
        self.written += bytes as u64;
        if self.announced.is_some_and(|size| self.written > size) {
            return Err(Error::TooLarge("the body is longer than was announced"));
        }
        match &mut self.form {
            Form::Inline(body) => {
                if self.announced.is_some() || self.written <= INLINE_BYTES_MAX as u64 {
                    return Ok(());
                }
                body.truncate(self.written as usize);
                let body = std::mem::take(body);
                let writes = self.chunk_writes;
                let mut chunks = Chunks::new(&self.engine, self.shard, None, writes).await?;
                chunks.copy(&body).await?;
                self.form = Form::Chunks(chunks);
                Ok(())
            }
            Form::Chunks(chunks) => {
                let left = self.announced.map(|size| size - self.written);
                chunks.advance(bytes, left).await
            }
        }
    }

    /// Makes the body visible as the object or part; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Condition`] if the commit's condition does not hold, [`Error::NoSuchBucket`] or
    /// [`Error::NoSuchUpload`] if it is gone, [`Error::TooLarge`] if the attributes are,
    /// [`Error::OutOfSpace`], [`Error::ReadOnly`]. Nothing is
    /// stored then, except after `ReadOnly`, when it is not known before the next start.
    pub async fn finish(self, commit: Commit) -> Result<Committed> {
        check_attributes(&commit.attributes)?;
        let (engine, shard) = (self.engine.clone(), self.shard);
        let (bucket, target) = (self.bucket, self.target);
        let (key, sealed) = self.seal().await?;
        let (body, permit) = sealed.into_body();
        let put = Put { bucket, key, target, body, commit };
        let reply = engine.ask(shard, Request::Put(Box::new(put))).await?;
        drop(permit);
        match reply {
            Reply::Committed(committed) => Ok(committed),
            _ => Err(mismatched()),
        }
    }

    /// Ends the body: all of it is written, or gathered. Gives the key back too.
    pub(crate) async fn seal(self) -> Result<(Vec<u8>, Sealed<P>)> {
        let Self { key, target, written, form, permit, .. } = self;
        let (body, space, permit) = match form {
            Form::Inline(mut bytes) => {
                assert!(bytes.len() as u64 >= written, "{NOT_LENT}");
                bytes.truncate(written as usize);
                (Body::Inline(bytes), None, Some(permit))
            }
            Form::Chunks(chunks) => {
                let (tag, extents, space) = chunks.finish().await?;
                let number = match target {
                    Target::Part { number, .. } => number,
                    Target::Object | Target::Growth { .. } | Target::Held { .. } => 0,
                };
                let part = ManifestPart { number, tag, size: written, attributes: vec![], extents };
                // Its buffers are gone.
                (Body::Extents(vec![part]), Some(space), None)
            }
        };
        Ok((key, Sealed { body, space, permit }))
    }
}

/// A body that is there whole and belongs to no record yet; dropped, it gives its space back.
#[derive(Debug)]
pub(crate) struct Sealed<P: Platform> {
    body: Body,
    space: Option<Rc<Space<P>>>,
    /// For bytes that are in memory.
    permit: Option<Permit>,
}

impl<P: Platform> Sealed<P> {
    /// From here on it is the owner that gives the extents back if it refuses them.
    pub(crate) fn into_body(self) -> (Body, Option<Permit>) {
        if let Some(space) = self.space {
            space.owned.take();
        }
        (self.body, self.permit)
    }
}

/// Memory for a body of many chunks, and how many of them are written at once: as many as were
/// configured while there is plenty, else as many as by default.
async fn memory_for_chunks<P: Platform>(engine: &Engine<P>) -> Result<(Permit, usize)> {
    let bytes = |writes: usize| CHUNK_BYTES_MAX * (1 + writes);
    let context = engine.context();
    let configured = context.options.chunk_writes_in_flight.clamp(1, CHUNK_WRITES_IN_FLIGHT_MAX);
    if configured > CHUNK_WRITES_IN_FLIGHT
        && let Some(permit) = context.budget.spare(bytes(configured))
    {
        return Ok((permit, configured));
    }
    let writes = configured.min(CHUNK_WRITES_IN_FLIGHT);
    Ok((engine.context().take_memory(bytes(writes)).await?, writes))
}

/// Units that a chunk with so much payload needs.
fn units_for(payload_bytes: usize) -> usize {
    (CHUNK_HEADER_BYTES + payload_bytes).div_ceil(UNIT_BYTES)
}

/// Units for the rest of a body.
fn units_for_rest(left: Option<u64>) -> usize {
    let Some(left) = left else {
        return CHUNK_UNITS_MAX;
    };
    let full = (left / CHUNK_PAYLOAD_MAX as u64) as usize;
    if full >= GRANT_UNITS_MAX / CHUNK_UNITS_MAX {
        return GRANT_UNITS_MAX;
    }
    let rest = (left % CHUNK_PAYLOAD_MAX as u64) as usize;
    full * CHUNK_UNITS_MAX + if rest > 0 { units_for(rest) } else { 0 }
}

impl<P: Platform> Chunks<P> {
    async fn new(
        engine: &Engine<P>,
        shard: u16,
        left: Option<u64>,
        in_flight_max: usize,
    ) -> Result<Self> {
        let space = Rc::new(Space {
            engine: engine.clone(),
            shard,
            owned: RefCell::default(),
            in_flight: Cell::new(0),
            in_flight_max,
            failed: Cell::new(false),
            event: Event::default(),
        });
        let mut this = Self {
            space,
            current: None,
            overrun: [0; OVERRUN_BYTES],
            tag: engine.platform().random_u64(),
            next_index: 0,
            granted: VecDeque::new(),
            used: Vec::new(),
        };
        this.begin_chunk(left).await?;
        Ok(this)
    }

    /// Prepares the next chunk's buffer and place, unless nothing is left to receive.
    async fn begin_chunk(&mut self, left: Option<u64>) -> Result<()> {
        if left == Some(0) {
            return Ok(());
        }
        if self.granted.is_empty() {
            let request = Request::Grant { units: units_for_rest(left) };
            let Reply::Granted(extents) = self.space.engine.ask(self.space.shard, request).await?
            else {
                return Err(mismatched());
            };
            self.space.owned.borrow_mut().extend(&extents);
            self.granted.extend(extents);
        }
        let place = self.granted.pop_front().ok_or(Error::OutOfSpace)?;
        let room = usize::from(place.units) * UNIT_BYTES - CHUNK_HEADER_BYTES;
        let capacity = left.map_or(room, |left| room.min(left.min(room as u64) as usize));
        let buffer = self.space.engine.platform().allocate(chunk_bytes(capacity));
        self.current = Some(Filling { buffer: Some(buffer), place, filled: 0, capacity });
        Ok(())
    }

    async fn advance(&mut self, bytes: usize, left: Option<u64>) -> Result<()> {
        let Some(filling) = &mut self.current else {
            return Ok(());
        };
        filling.filled += bytes;
        if filling.filled < filling.capacity {
            return Ok(());
        }
        self.write_current().await?;
        self.begin_chunk(left).await
    }

    /// Takes over bytes that were gathered elsewhere.
    async fn copy(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty()
            && let Some(filling) = &mut self.current
        {
            let count = bytes.len().min(filling.capacity - filling.filled);
            let start = CHUNK_HEADER_BYTES + filling.filled;
            let buffer = filling.buffer.as_mut().expect(NOT_LENT);
            buffer[start..start + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.advance(count, None).await?;
        }
        Ok(())
    }

    /// Starts the write of the chunk that was filled; waits if too many are under way.
    async fn write_current(&mut self) -> Result<()> {
        let Some(Filling { buffer, place, filled, .. }) = self.current.take() else {
            return Ok(());
        };
        if filled == 0 {
            self.granted.push_front(place);
            return Ok(());
        }
        let buffer = buffer.expect(NOT_LENT);
        // Units beyond the payload stay in `owned` only.
        let units = units_for(filled) as u16;
        let used = Extent { units, ..place };
        if units < place.units {
            let rest = Extent { unit: place.unit + units, units: place.units - units, ..place };
            self.granted.push_front(rest);
        }
        let index = self.next_index;
        self.next_index += 1;
        self.used.push(used);
        let space = self.space.clone();
        let has_room = || (space.in_flight.get() < space.in_flight_max).then_some(());
        space.event.wait_until(has_room).await;
        self.space.check()?;
        space.in_flight.set(space.in_flight.get() + 1);
        let (tag, task_space) = (self.tag, space.clone());
        space.engine.platform().spawn(async move {
            write_chunk(&task_space, buffer, used, filled, tag, index).await;
        });
        Ok(())
    }

    /// Writes the rest and waits for all writes; the owner makes them durable. Returns the part's tag, its
    /// extents, and the space, whose unused part is given back when it is dropped.
    async fn finish(mut self) -> Result<(u64, Vec<Extent>, Rc<Space<P>>)> {
        self.write_current().await?;
        let space = self.space.clone();
        space.event.wait_until(|| (space.in_flight.get() == 0).then_some(())).await;
        space.check()?;
        let unused: Vec<Extent> = self.granted.into();
        if !unused.is_empty() {
            space.engine.tell(space.shard, Request::Release(unused));
        }
        // What is used and what was just given back is no longer the space's to release.
        space.owned.borrow_mut().clear();
        // The caller empties this once the owner has taken the extents over.
        space.owned.borrow_mut().extend(&self.used);
        let mut joined = Vec::new();
        self.used.iter().for_each(|extent| push_extent(&mut joined, *extent));
        Ok((self.tag, joined, space.clone()))
    }
}

impl<P: Platform> Space<P> {
    fn check(&self) -> Result<()> {
        if self.failed.get() {
            return Err(Error::ReadOnly {
                shard: self.shard,
                cause: "writing a chunk failed".into(),
            });
        }
        Ok(())
    }

    /// Latches the shard; the space is never given back, its state on disk is not known.
    fn fail(&self, cause: &str) -> Error {
        self.failed.set(true);
        self.owned.take();
        self.engine.tell(self.shard, Request::Latch(cause.into()));
        Error::ReadOnly { shard: self.shard, cause: cause.into() }
    }
}

async fn write_chunk<P: Platform>(
    space: &Space<P>,
    mut buffer: P::WriteBuffer,
    place: Extent,
    payload_bytes: usize,
    tag: u64,
    index: u32,
) {
    let context = space.engine.context();
    let bytes = chunk_bytes(payload_bytes);
    seal_chunk(context.salt, tag, index, payload_bytes, &mut buffer[..bytes]);
    let buffer = if buffer.len() == bytes {
        buffer
    } else {
        // The body ended before its chunk was full: only the last chunk of a body comes here.
        let mut exact = context.platform.allocate(bytes);
        exact.copy_from_slice(&buffer[..bytes]);
        exact
    };
    let offset = extent_chunks(&place).next().map_or(0, |chunk| chunk.offset);
    let written = match context.files.get(space.shard, place.segment).await {
        Ok(file) => file.write_at(buffer, offset).await.map(drop).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = written {
        space.fail(&format!("writing a chunk in segment {} failed: {error}", place.segment));
    }
    count(&context.counters.chunks_written_total, 1);
    space.in_flight.set(space.in_flight.get() - 1);
    space.event.notify();
}
