//! A moving view of one segment, for recovery and for background work: large reads, small looks.

use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::limits::{BACKGROUND_IO_BYTES, REPLAY_WINDOW_BYTES};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Window<P: Platform> {
    file: P::File,
    segment_bytes: u64,
    start: u64,
    buffer: Option<P::ReadBuffer>,
    /// Read at once.
    read_bytes: usize,
    name: String,
}

impl<P: Platform> Window<P> {
    pub(crate) async fn open(
        context: &Rc<CoreContext<P>>,
        shard: u16,
        segment: u32,
    ) -> Result<Self> {
        let path = context.layout.segment_path(shard, segment);
        let name = path.display().to_string();
        let file = context
            .platform
            .open(&path, OpenMode::READ)
            .await
            .map_err(|source| Error::io(format!("open {name}"), source))?;
        let segment_bytes = context.layout.segment_bytes;
        let read_bytes = REPLAY_WINDOW_BYTES;
        Ok(Self { file, segment_bytes, start: 0, buffer: None, read_bytes, name })
    }

    /// Reads in pieces that requests hardly notice.
    pub(crate) fn gently(self) -> Self {
        Self { read_bytes: BACKGROUND_IO_BYTES, ..self }
    }

    /// The `count` bytes at `offset`, a multiple of the block size within the segment.
    pub(crate) async fn at(&mut self, offset: u64, count: usize) -> Result<&[u8]> {
        let end = offset + count as u64;
        let held = self.buffer.as_ref().map_or(0, |buffer| buffer.len()) as u64;
        if self.buffer.is_none() || offset < self.start || end > self.start + held {
            let wanted = count.max(self.read_bytes).next_multiple_of(BLOCK_BYTES) as u64;
            let bytes = wanted.min(self.segment_bytes - offset) as usize;
            let read = self.file.read_at(offset, bytes).await;
            self.buffer =
                Some(read.map_err(|source| {
                    Error::io(format!("read {} at {offset}", self.name), source)
                })?);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        self.buffer
            .as_ref()
            .and_then(|buffer| buffer.get(from..from + count))
            .ok_or_else(|| Error::Corrupt(format!("{}: the segment ends too early", self.name)))
    }
}
