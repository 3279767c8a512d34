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

/// Room behind the announced end of a body, so that a longer one is noticed.
const OVERRUN_BYTES: usize = 64;

/// Where encrypted bytes go.
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait Sink {
    /// Where the next bytes go. The same until [`Self::advance`] is called.
    fn spare(&mut self) -> &mut [u8];
    /// Says that the first `bytes` of the spare were filled.
    async fn advance(&mut self, bytes: usize) -> Result<(), S3Error>;
}

impl<P: Platform> Sink for ObjectWriter<P> {
    fn spare(&mut self) -> &mut [u8] {
        ObjectWriter::spare(self)
    }

    async fn advance(&mut self, bytes: usize) -> Result<(), S3Error> {
        Ok(ObjectWriter::advance(self, bytes).await?)
    }
}

/// One stream on its way into a sink.
pub struct Sealer<S> {
    sink: S,
    cipher: StreamCipher,
    /// Plain bytes of the whole stream.
    size: u64,
    /// The block being filled; none when the last one is sealed.
    block: Option<Block>,
    /// Plain bytes in that block.
    filled: usize,
    /// Plain bytes received.
    written: u64,
    /// Of a block for which the sink has no room in one piece. Empty until it is needed.
    gathered: Vec<u8>,
    overrun: [u8; OVERRUN_BYTES],
    tags: Md5,
}

impl<S: Sink> Sealer<S> {
    pub fn new(sink: S, cipher: StreamCipher, size: u64) -> Self {
        Self {
            sink,
            cipher,
            size,
            block: Block::of_stream(size, 0),
            filled: 0,
            written: 0,
            gathered: Vec::new(),
            overrun: [0; OVERRUN_BYTES],
            tags: Md5::new(),
        }
    }

    /// Plain bytes received so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where the next plain bytes go; never empty.
    pub fn spare(&mut self) -> &mut [u8] {
        let Some(block) = self.block.filter(|block| self.filled < block.plain_bytes) else {
            return &mut self.overrun;
        };
        let room = self.sink.spare();
        if room.len() >= block.sealed_bytes() {
            return &mut room[self.filled..block.plain_bytes];
        }
        if self.gathered.is_empty() {
            self.gathered = vec![0; SEALED_BLOCK_BYTES];
        }
        &mut self.gathered[self.filled..block.plain_bytes]
    }

    /// Says that the first `bytes` of the spare were filled.
    pub async fn advance(&mut self, bytes: usize) -> Result<(), S3Error> {
        self.written += bytes as u64;
        if self.written > self.size {
            let message = "the body is longer than was announced";
            return Err(S3Error::new(Code::EntityTooLarge, message));
        }
        self.filled += bytes;
        match self.block {
            Some(block) if self.filled == block.plain_bytes && bytes > 0 => self.seal(block).await,
            _ => Ok(()),
        }
    }

    /// Gives the sink back, and the MD5 of all tags: 16 bytes that depend on every encrypted byte and
    /// tell nothing of the plain ones.
    pub async fn finish(mut self) -> Result<(S, [u8; 16]), S3Error> {
        if let Some(block) = self.block.filter(|block| self.filled == block.plain_bytes) {
            self.seal(block).await?;
        }
        if self.block.is_some() {
            return Err(Code::IncompleteBody.into());
        }
        Ok((self.sink, self.tags.finish()))
    }

    async fn seal(&mut self, block: Block) -> Result<(), S3Error> {
        let room = self.sink.spare();
        if room.len() >= block.sealed_bytes() {
            seal_in(&self.cipher, &mut self.tags, &block, room)?;
            self.sink.advance(block.sealed_bytes()).await?;
        } else {
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
        }
        self.block = Block::of_stream(self.size, block.number + 1);
        self.filled = 0;
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
