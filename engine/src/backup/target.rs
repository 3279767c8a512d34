//! One file of a backup while it is written: from its beginning to its end, checksummed, durable.
//!
//! Invariant: [`Target::finish`] returns when the content is durable; that of the name is the caller's
//! work, for a whole directory at once.

use super::progress::Order;
use crate::checksum::Crc64;
use crate::error::{Error, Result};
use crate::limits::BACKUP_WINDOW_BYTES;
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Target<'a, P: Platform> {
    platform: &'a P,
    order: &'a Order,
    path: PathBuf,
    file: P::File,
    buffer: Vec<u8>,
    offset: u64,
    checksum: Crc64,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
}

pub(crate) fn file_error(what: &str, path: &Path, source: std::io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()), source)
}

/// Makes a file anew; one that was left over is removed.
pub(crate) async fn create<P: Platform>(platform: &P, path: &Path) -> Result<P::File> {
    match platform.remove(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file_error("remove", path, error));
        }
        _ => {}
    }
    let created = platform.open(path, OpenMode::CREATE).await;
    created.map_err(|source| file_error("create", path, source))
}

impl<'a, P: Platform> Target<'a, P> {
    pub(super) async fn create(platform: &'a P, order: &'a Order, path: &Path) -> Result<Self> {
        Ok(Self {
            platform,
            order,
            file: create(platform, path).await?,
            path: path.to_owned(),
            buffer: Vec::with_capacity(BACKUP_WINDOW_BYTES),
            offset: 0,
            checksum: Crc64::new(),
        })
    }

    /// Appends whole blocks.
    pub(super) async fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = BACKUP_WINDOW_BYTES - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BACKUP_WINDOW_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.order.check()?;
        self.checksum.update(&self.buffer);
        let bytes = self.buffer.len();
        let wait_ns = self.order.progress.pace(self.platform.monotonic_ns(), bytes as u64);
        if wait_ns > 0 {
            self.platform.sleep(Duration::from_nanos(wait_ns)).await;
        }
        let mut block = self.platform.allocate(bytes.next_multiple_of(BLOCK_BYTES));
        block.copy_from_slice(&self.buffer);
        self.buffer.clear();
        let written = self.file.write_at(block, self.offset).await;
        written.map_err(|source| file_error("write", &self.path, source))?;
        self.offset += bytes as u64;
        self.order.progress.add_copied(bytes as u64);
        self.platform.yield_now().await;
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Written> {
        self.flush().await?;
        let Self { path, file, offset: bytes, checksum, .. } = self;
        let failed = |source| file_error("sync", &path, source);
        file.sync().await.map_err(failed)?;
        file.close().await.map_err(failed)?;
        Ok(Written { bytes, checksum: checksum.finish() })
    }
}

/// The checksum of a file as it can be read now, and its length.
pub(crate) async fn read_back<P: Platform>(platform: &P, path: &Path) -> Result<Written> {
    let mut checksum = Crc64::new();
    let bytes = for_each_window(platform, path, async |_, window| {
        checksum.update(window);
        Ok(())
    });
    let bytes = bytes.await?;
    Ok(Written { bytes, checksum: checksum.finish() })
}

/// Reads a file from its beginning to its end; gives its length.
pub(crate) async fn for_each_window<P: Platform>(
    platform: &P,
    path: &Path,
    mut use_it: impl AsyncFnMut(u64, &[u8]) -> Result<()>,
) -> Result<u64> {
    let failed = |source| file_error("read", path, source);
    let file = platform.open(path, OpenMode::READ).await.map_err(failed)?;
    let length = file.len().await.map_err(failed)?;
    if !length.is_multiple_of(BLOCK_BYTES as u64) {
        return Err(Error::Backup(format!(
            "{}: its length is no multiple of 4096",
            path.display()
        )));
    }
    let mut offset = 0;
    while offset < length {
        let bytes = (length - offset).min(BACKUP_WINDOW_BYTES as u64) as usize;
        let window = file.read_at(offset, bytes).await.map_err(failed)?;
        use_it(offset, &window).await?;
        offset += bytes as u64;
    }
    file.close().await.map_err(failed)?;
    Ok(length)
}
