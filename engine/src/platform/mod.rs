//! The platform seam: everything that the engine needs from the world.
//!
//! The engine reaches disk, clock, randomness and task spawning only through [`Platform`]. There are
//! two implementations: [`glommio`](self::glommio) (io_uring and direct I/O, one executor per core)
//! and [`sim`](self::sim) (a seeded single-threaded simulator with virtual time and a disk that
//! loses and tears what was not made durable).
//!
//! Invariants of every implementation:
//! - Offsets, lengths and buffer lengths are multiples of [`BLOCK_BYTES`]; anything else is a bug of
//!   the caller and panics. Buffers start on a [`BLOCK_BYTES`] boundary.
//! - A read or a write is whole or an error; there are no short transfers.
//! - `write_at` on a file opened with [`Durability::EachWrite`] returns only when the bytes (and the
//!   file metadata needed to read them back) are on stable storage. On a file opened with
//!   [`Durability::OnSync`] that is true only after `sync`.
//! - A created or renamed name is durable only after `sync_dir` of its directory.
//! - After an error of a write or of a sync nothing is known about the bytes concerned; the caller
//!   must not retry and believe.
//!
//! Not here: any knowledge of what the files hold.

pub mod glommio;
pub mod sim;
#[cfg(test)]
mod spike;

use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::task::Waker;
use std::time::Duration;

/// The unit of all I/O, in bytes. Devices may accept less (512); we never use less.
pub const BLOCK_BYTES: usize = 4096;

/// When a completed write is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When a later [`File::sync`] has returned.
    OnSync,
    /// When the write itself has returned (`O_DSYNC`).
    EachWrite,
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMode {
    /// Create the file; an existing one is an `AlreadyExists` error.
    pub create_new: bool,
    /// Open for writing too.
    pub write: bool,
    /// What a completed write means.
    pub durability: Durability,
}

impl OpenMode {
    /// Reading only.
    pub const READ: Self = Self { create_new: false, write: false, durability: Durability::OnSync };
    /// Reading and writing an existing file; durable on `sync`.
    pub const WRITE: Self = Self { create_new: false, write: true, durability: Durability::OnSync };
    /// Reading and writing an existing file; each write durable by itself.
    pub const WRITE_DURABLE: Self =
        Self { create_new: false, write: true, durability: Durability::EachWrite };
    /// Creating a file that must not exist; durable on `sync`.
    pub const CREATE: Self = Self { create_new: true, write: true, durability: Durability::OnSync };
}

/// Bytes and inodes of the filesystem under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesystemSpace {
    pub total_bytes: u64,
    /// Available to this process.
    pub available_bytes: u64,
}

/// Disk, clocks, randomness and tasks of one core. Cheap to clone; never leaves its core.
pub trait Platform: Clone + std::fmt::Debug + 'static {
    type File: File<WriteBuffer = Self::WriteBuffer, ReadBuffer = Self::ReadBuffer>;
    /// An aligned, owned, writable buffer.
    type WriteBuffer: DerefMut<Target = [u8]> + std::fmt::Debug + 'static;
    /// The result of a read; clones share the bytes.
    type ReadBuffer: Deref<Target = [u8]> + Clone + std::fmt::Debug + 'static;
    /// Held as long as the lock is.
    type Lock: std::fmt::Debug + 'static;

    /// A buffer of exactly `bytes` (a multiple of [`BLOCK_BYTES`]). Its content is unspecified: what
    /// reaches the disk must be written first, padding included.
    fn allocate(&self, bytes: usize) -> Self::WriteBuffer;

    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>>;
    /// Creates a directory whose parent exists; an existing one is an `AlreadyExists` error.
    fn create_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// The paths of a directory's entries, sorted. A missing directory is `NotFound`.
    fn list_dir(&self, path: &Path) -> impl Future<Output = io::Result<Vec<PathBuf>>>;
    /// Makes created and renamed names in a directory durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Renames atomically, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Takes an exclusive lock on a file, creating it if missing, without waiting: a lock held
    /// elsewhere is a `WouldBlock` error. Released when the value is dropped or the process ends.
    fn lock(&self, path: &Path) -> impl Future<Output = io::Result<Self::Lock>>;
    fn space(&self, path: &Path) -> impl Future<Output = io::Result<FilesystemSpace>>;

    /// Nanoseconds since the Unix epoch; may step back.
    fn wall_clock_ns(&self) -> u64;
    /// Nanoseconds since an arbitrary start; never steps back.
    fn monotonic_ns(&self) -> u64;
    fn random_u64(&self) -> u64;

    /// Runs a task on this core, detached. It is not polled before this returns. In production a
    /// task that panics is logged and ends alone; in the simulator it ends the simulation.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// What another core may wake instead of a task of this one. Only the task that got one last is sure to be
    /// woken by it.
    fn remote_waker(&self, task: &Waker) -> Waker {
        task.clone()
    }
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
    /// Lets other tasks of this core run and I/O complete. Costs microseconds: for the slices of long
    /// work, not for each of its steps.
    fn yield_now(&self) -> impl Future<Output = ()>;
}

/// An open file with direct I/O. All methods may run concurrently on one handle; concurrent writes to
/// overlapping ranges are a bug of the caller.
#[expect(clippy::len_without_is_empty, reason = "a length that is fetched, not a collection's")]
pub trait File: std::fmt::Debug + 'static {
    type WriteBuffer;
    type ReadBuffer;

    /// Reads exactly `bytes` at `offset`; the end of the file within the range is `UnexpectedEof`.
    fn read_at(
        &self,
        offset: u64,
        bytes: usize,
    ) -> impl Future<Output = io::Result<Self::ReadBuffer>>;
    /// Writes the whole buffer at `offset` and gives it back.
    fn write_at(
        &self,
        buffer: Self::WriteBuffer,
        offset: u64,
    ) -> impl Future<Output = io::Result<Self::WriteBuffer>>;
    /// Makes all completed writes of this file durable (`fdatasync`), whichever handle made them.
    fn sync(&self) -> impl Future<Output = io::Result<()>>;
    /// Reserves space so that the file is `bytes` long (`fallocate`); fresh bytes read as zero. Where there is
    /// not enough, the file gets its former length back, and others their space: ext4 has given it all that
    /// was free by then. A crash may come between. Nothing may grow the file meanwhile.
    fn preallocate(&self, bytes: u64) -> impl Future<Output = io::Result<()>>;
    /// The file's length in bytes, by descriptor.
    fn len(&self) -> impl Future<Output = io::Result<u64>>;
    /// Closes the descriptor; dropping a handle closes it too, later.
    fn close(self) -> impl Future<Output = io::Result<()>>;
}
