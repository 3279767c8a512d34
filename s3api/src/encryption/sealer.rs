//! Encrypts a body while it is received, in the buffers in which it will be written.
//!
//! Where the sink has room for a whole block in one piece, the plain bytes are read into that room and
//! encrypted there. Where it has not (at the end of a chunk: one block of sixteen), the block is
//! gathered and encrypted beside it and then copied.
//!
//! Invariants: nothing is handed to the sink that was not encrypted; each block is sealed once.
//!
//! Not here: digests of the plain bytes (`ops::receive`), the form of a block (`blocks`).

use super::blocks::{BLOCK_BYTES, Block, SEALED_BLOCK_BYTES, StreamCipher};
use super::secret::{CryptoFailed, TAG_BYTES};
use crate::error::{Code, S3Error};
use engine::ObjectWriter;
use engine::checksum::Md5;
use engine::platform::Platform;
use std::ops::Range;

/// Room behind the announced end of a body, so that a longer one is noticed; and for the first bytes
/// behind a full block of a body of unknown length, which tell that it is not the last one.
const BEYOND_BYTES: usize = 64;

/// Where encrypted bytes go.
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait Sink {
    /// Where the next bytes go. The same until [`Self::advance`] is called.
    fn spare(&mut self) -> &mut [u8];
    /// Says that the first `bytes` of the spare were filled.
    async fn advance(&mut self, bytes: usize) -> Result<(), S3Error>;
    /// Takes a range of the spare into an MD5.
    async fn update_md5(&mut self, md5: &mut Md5, range: Range<usize>);
}

impl<P: Platform> Sink for ObjectWriter<P> {
    fn spare(&mut self) -> &mut [u8] {
        ObjectWriter::spare(self)
    }

    async fn advance(&mut self, bytes: usize) -> Result<(), S3Error> {
        Ok(ObjectWriter::advance(self, bytes).await?)
    }

    async fn update_md5(&mut self, md5: &mut Md5, range: Range<usize>) {
        ObjectWriter::update_md5(self, md5, range).await;
    }
}

/// One stream on its way into a sink.
pub struct Sealer<S> {
    sink: S,
    cipher: StreamCipher,
    /// Plain bytes of the whole stream, if that is known.
    size: Option<u64>,
    /// The number of the block being filled, or of the one that would come behind the last.
    number: u64,
    /// Plain bytes in that block.
    filled: usize,
    /// Plain bytes received.
    written: u64,
    /// Of a block for which the sink has no room in one piece. Empty until it is needed.
    gathered: Vec<u8>,
    beyond: [u8; BEYOND_BYTES],
    tags: Md5,
}

impl<S: Sink> Sealer<S> {
    pub fn new(sink: S, cipher: StreamCipher, size: Option<u64>) -> Self {
        Self {
            sink,
            cipher,
            size,
            number: 0,
            filled: 0,
            written: 0,
            gathered: Vec::new(),
            beyond: [0; BEYOND_BYTES],
            tags: Md5::new(),
        }
    }

    /// Plain bytes received so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where the next plain bytes go; never empty.
    pub fn spare(&mut self) -> &mut [u8] {
        let (start, end) = (self.filled, self.block_bytes());
        if start == end {
            return &mut self.beyond;
        }
        if self.is_in_place() {
            return &mut self.sink.spare()[start..end];
        }
        if self.gathered.is_empty() {
            self.gathered = vec![0; SEALED_BLOCK_BYTES];
        }
        &mut self.gathered[start..end]
    }

    /// Takes the first `bytes` of the spare, which are plain still, into an MD5.
    pub async fn update_md5(&mut self, md5: &mut Md5, bytes: usize) {
        let start = self.filled;
        if start < self.block_bytes() && self.is_in_place() {
            self.sink.update_md5(md5, start..start + bytes).await;
        } else {
            // One block of sixteen, not worth a way of its own into the company of others.
            md5.update(&self.spare()[..bytes]);
        }
    }

    /// Says that the first `bytes` of the spare were filled.
    pub async fn advance(&mut self, bytes: usize) -> Result<(), S3Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.written += bytes as u64;
        if self.size.is_some_and(|size| self.written > size) {
            let message = "the body is longer than was announced";
            return Err(S3Error::new(Code::EntityTooLarge, message));
        }
        if self.filled == self.block_bytes() {
            return self.go_on(bytes).await;
        }
        self.filled += bytes;
        // Where the length is not known, a full block may be the last.
        if let Some(size) = self.size
            && self.filled == self.block_bytes()
        {
            self.seal(self.written == size).await?;
        }
        Ok(())
    }

    /// Seals what is left when the body has ended. Gives the MD5 of all tags: 16 bytes that depend on
    /// every encrypted byte and tell nothing of the plain ones.
    pub async fn close(&mut self) -> Result<[u8; 16], S3Error> {
        if self.size.is_some_and(|size| self.written != size) {
            return Err(Code::IncompleteBody.into());
        }
        if self.filled > 0 || self.written == 0 {
            self.seal(true).await?;
        }
        Ok(self.tags.clone().finish())
    }

    /// The sink, of a sealer that was closed.
    pub fn into_sink(self) -> S {
        self.sink
    }

    /// The first bytes behind a full block have come.
    async fn go_on(&mut self, bytes: usize) -> Result<(), S3Error> {
        self.seal(false).await?;
        let beyond = self.beyond;
        let mut rest = beyond.get(..bytes).unwrap_or_default();
        while !rest.is_empty() {
            let spare = self.spare();
            let count = spare.len().min(rest.len());
            spare[..count].copy_from_slice(&rest[..count]);
            self.filled += count;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Plain bytes that the block being filled can have.
    fn block_bytes(&self) -> usize {
        let Some(size) = self.size else { return BLOCK_BYTES };
        let start = self.number * BLOCK_BYTES as u64;
        size.saturating_sub(start).min(BLOCK_BYTES as u64) as usize
    }

    /// Whether the sink has room for the block that is being filled, with its tag.
    fn is_in_place(&mut self) -> bool {
        self.sink.spare().len() >= self.block_bytes() + TAG_BYTES
    }

    /// Seals what was filled.
    async fn seal(&mut self, is_last: bool) -> Result<(), S3Error> {
        let block = Block { number: self.number, is_last, plain_bytes: self.filled };
        let is_in_place = self.is_in_place();
        self.number += 1;
        self.filled = 0;
        if is_in_place {
            seal_in(&self.cipher, &mut self.tags, &block, self.sink.spare())?;
            return self.sink.advance(block.sealed_bytes()).await;
        }
        // Of an empty body nothing was gathered.
        self.gathered.resize(SEALED_BLOCK_BYTES, 0);
        seal_in(&self.cipher, &mut self.tags, &block, &mut self.gathered)?;
        let mut rest = &self.gathered[..block.sealed_bytes()];
        while !rest.is_empty() {
            let room = self.sink.spare();
            let count = room.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            room[..count].copy_from_slice(now);
            self.sink.advance(count).await?;
            rest = later;
        }
        Ok(())
    }
}

/// Encrypts the block at the start of `room` and puts its tag behind it.
fn seal_in(
    cipher: &StreamCipher,
    tags: &mut Md5,
    block: &Block,
    room: &mut [u8],
) -> Result<(), CryptoFailed> {
    let (text, rest) = room.split_at_mut(block.plain_bytes);
    let tag = cipher.seal(block, text)?;
    tags.update(&tag);
    rest[..TAG_BYTES].copy_from_slice(&tag);
    Ok(())
}

impl<S> std::fmt::Debug for Sealer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("size", &self.size)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

const _: () = assert!(BLOCK_BYTES + TAG_BYTES == SEALED_BLOCK_BYTES);
