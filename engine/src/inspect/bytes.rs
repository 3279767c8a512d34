//! The bytes of one segment file: large reads, and small ones where a large one fails, so that an
//! unreadable sector hides no more than its blocks.

use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use std::path::Path;

/// Read at once.
const WINDOW_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct SegmentBytes<P: Platform> {
    file: P::File,
    file_bytes: u64,
    end: u64,
    /// Where the buffer begins.
    start: u64,
    buffer: Option<P::ReadBuffer>,
}

impl<P: Platform> SegmentBytes<P> {
    pub(crate) async fn open(
        platform: &P,
        path: &Path,
        segment_bytes: u64,
    ) -> Result<Self, String> {
        let failed = |error| format!("{} cannot be opened: {error}", path.display());
        let file = platform.open(path, OpenMode::READ).await.map_err(failed)?;
        let file_bytes = file.len().await.map_err(failed)?;
        let whole_blocks = file_bytes - file_bytes % BLOCK_BYTES as u64;
        let end = whole_blocks.min(segment_bytes);
        Ok(Self { file, file_bytes, end, start: 0, buffer: None })
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where the readable part ends: whole blocks, at most a segment.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The `count` bytes at `offset`, a multiple of the block size.
    pub(crate) async fn at(&mut self, offset: u64, count: usize) -> Result<&[u8], String> {
        let held = self.buffer.as_ref().map_or(0, |buffer| buffer.len()) as u64;
        let end = offset.saturating_add(count as u64);
        if end > self.end {
            return Err("the file ends too early".into());
        }
        if offset < self.start || end > self.start + held {
            self.fill(offset, count).await?;
        }
        let from = (offset - self.start) as usize;
        let buffer = self.buffer.as_ref();
        buffer.and_then(|b| b.get(from..from + count)).ok_or_else(|| "too short".into())
    }

    async fn fill(&mut self, offset: u64, count: usize) -> Result<(), String> {
        let exact = count.next_multiple_of(BLOCK_BYTES);
        let wide = exact.max(WINDOW_BYTES).min((self.end - offset) as usize);
        self.buffer = None;
        let buffer = match self.file.read_at(offset, wide).await {
            Err(_) if wide > exact => self.file.read_at(offset, exact).await,
            read => read,
        };
        self.buffer = Some(buffer.map_err(|error| format!("it cannot be read: {error}"))?);
        self.start = offset;
        Ok(())
    }
}
