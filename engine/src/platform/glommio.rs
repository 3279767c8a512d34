//! The platform on io_uring: glommio's executor, direct I/O, the kernel's clocks.
//!
//! This file and its directory are the only ones of the engine that name glommio. It turns the runtime's
//! habits into the contract of [`Platform`]:
//! - every offset, length and buffer is a multiple of [`BLOCK_BYTES`], whatever the device accepts;
//! - a short read or write is an error, never a count;
//! - lengths come from the descriptor, because a path may have been renamed;
//! - a task that panics ends alone and is logged; unwinding further would end the executor;
//! - nothing here blocks the executor for longer than a system call on cached metadata: what can
//!   wait for the device goes through the ring or the blocking pool.
//!
//! Files are read and written through a ring of our own (`ring.rs`), which the same task attends to as the
//! core's sockets (`reactor.rs`); timers, tasks and blocking calls are the runtime's.
//!
//! An executor that serves this platform should place its blocking threads with
//! `PoolPlacement::Unbound` (by default all of them share one CPU). Its `io_memory` is not used.
//!
//! Not here: retries, limits of what is in flight, the executors themselves.

// Requests of the ring name memory, which belongs to buffers that the kernel may outlast, and two system calls
// have no safe wrapper among our dependencies; each block says why it is sound.
#![allow(unsafe_code)]
// Here the seam meets the real world, which everything else in the engine reaches through it.
#![expect(clippy::disallowed_methods, clippy::disallowed_types)]

mod bell;
mod buffers;
mod numbered;
mod reactor;
mod ring;
mod sockets;
mod timers;
mod turn;

pub use reactor::{Reactor, Rouser};
pub use sockets::Watched;

use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use futures_lite::FutureExt;
use io_uring::{opcode, squeue, types};
use rustix::fs::{OFlags, StatFs};
use rustix::io::Errno;

use self::buffers::Buffer;
use self::ring::Held;
use super::{BLOCK_BYTES, Durability, File, FilesystemSpace, OpenMode, Platform};

#[cfg(test)]
impl GlommioPlatform {
    fn reactor(&self) -> &Reactor {
        &self.reactor
    }
}

/// Random words fetched from the kernel at a time.
const RANDOM_POOL_WORDS: usize = 64;

/// The platform of one executor.
#[derive(Debug, Clone)]
pub struct GlommioPlatform {
    reactor: Reactor,
    random: Rc<RefCell<RandomPool>>,
}

impl GlommioPlatform {
    /// The platform of the executor that this is called on. Fails when the kernel gives no randomness.
    pub fn new(reactor: &Reactor) -> io::Result<Self> {
        let random = Rc::new(RefCell::new(RandomPool::new()?));
        Ok(Self { reactor: reactor.clone(), random })
    }
}

/// Whether files below a directory are really read and written without the page cache. In memory (tmpfs) they
/// are not, and any other filesystem that has no direct I/O is refused; who starts a store there should
/// say so.
pub async fn direct_io_active(directory: &Path) -> io::Result<bool> {
    blocking(directory, |directory| Ok(!is_memory(&rustix::fs::statfs(directory)?))).await
}

/// Whether a filesystem keeps its files in memory.
fn is_memory(filesystem: &StatFs) -> bool {
    /// Of tmpfs, see statfs(2).
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    filesystem.f_type == TMPFS_MAGIC
}

impl Platform for GlommioPlatform {
    type File = GlommioFile;
    type WriteBuffer = GlommioWriteBuffer;
    type ReadBuffer = GlommioReadBuffer;
    type Lock = GlommioLock;

    fn allocate(&self, bytes: usize) -> GlommioWriteBuffer {
        assert_aligned(0, bytes);
        GlommioWriteBuffer(self.reactor.buffer(bytes))
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<GlommioFile> {
        assert!(mode.write || !mode.create_new, "a file is created to be written");
        let access = if mode.write { libc::O_RDWR } else { libc::O_RDONLY };
        let creation = if mode.create_new { libc::O_CREAT | libc::O_EXCL } else { 0 };
        let durability = match mode.durability {
            Durability::OnSync => 0,
            Durability::EachWrite => libc::O_DSYNC,
        };
        let flags = access | creation | durability | libc::O_CLOEXEC;
        let file = open(&self.reactor, path, flags).await?;
        // Set afterwards: a filesystem that has no direct I/O may have made the file before it says so. The
        // other flags cannot be changed by this, so they need not be repeated.
        match rustix::fs::fcntl_setfl(&file, OFlags::DIRECT) {
            Err(Errno::INVAL) if is_memory(&rustix::fs::fstatfs(&file)?) => {}
            outcome => outcome?,
        }
        Ok(GlommioFile { file, reactor: self.reactor.clone() })
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        blocking(path, |path| fs::create_dir(path)).await
    }

    async fn list_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        blocking(path, |path| {
            let mut entries = fs::read_dir(path)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<Vec<_>>>()?;
            entries.sort();
            Ok(entries)
        })
        .await
    }

    /// An `fsync`: whether an entry counts as a directory's data, for `fdatasync`, is left to the
    /// filesystem.
    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        blocking(path, |path| fs::File::open(path)?.sync_all()).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        blocking(from, move |from| fs::rename(from, to)).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        blocking(path, |path| fs::remove_file(path)).await
    }

    async fn lock(&self, path: &Path) -> io::Result<GlommioLock> {
        blocking(path, |path| {
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            file.try_lock()?;
            Ok(GlommioLock { _file: file })
        })
        .await
    }

    async fn space(&self, path: &Path) -> io::Result<FilesystemSpace> {
        blocking(path, filesystem_space).await
    }

    fn wall_clock_ns(&self) -> u64 {
        // A clock before the epoch reads as the epoch, one past the year 2554 as that.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        saturating_ns(since_epoch.unwrap_or_default())
    }

    fn monotonic_ns(&self) -> u64 {
        // One start for the whole process, so that cores can compare.
        static START: OnceLock<Instant> = OnceLock::new();
        saturating_ns(START.get_or_init(Instant::now).elapsed())
    }

    fn random_u64(&self) -> u64 {
        self.random.borrow_mut().next()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // glommio moves a task a few times on its way to the heap, and some are tens of kilobytes long.
        let task = Box::pin(task);
        let guarded = async move {
            // glommio polls a new task inside the call that spawns it, when the caller may hold a
            // borrow that the task needs.
            futures_lite::future::yield_now().await;
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                tracing::error!(panic = panic_message(&*panic), "a task panicked");
            }
        };
        ::glommio::spawn_local(guarded).detach();
    }

    fn remote_waker(&self, task: &Waker) -> Waker {
        self.reactor.listen(task)
    }

    async fn sleep(&self, duration: Duration) {
        self.reactor.sleep(duration).await;
    }

    /// Goes through the ring: a task that only re-queues itself would keep the executor from reaping
    /// completions until the preempt timer fires, 100 ms later (measured: 200 ms for each read beside
    /// such a task, 70 us beside one that yields like this; the yield itself takes 7 us).
    async fn yield_now(&self) {
        self.reactor.yield_now().await;
    }
}

/// An open file with direct I/O; dropping it closes it when its last operation has ended.
#[derive(Debug)]
pub struct GlommioFile {
    file: Rc<OwnedFd>,
    reactor: Reactor,
}

impl GlommioFile {
    fn descriptor(&self) -> types::Fd {
        types::Fd(self.file.as_raw_fd())
    }

    fn held(&self, buffer: Option<Buffer>) -> Held {
        Held { buffer, file: Some(Rc::clone(&self.file)), path: None }
    }

    /// An operation on the file alone.
    async fn perform(&self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: the callers' entries name this descriptor and no memory.
        unsafe { self.reactor.start(entry, self.held(None)) }.await.0.map(|_| ())
    }
}

impl File for GlommioFile {
    type WriteBuffer = GlommioWriteBuffer;
    type ReadBuffer = GlommioReadBuffer;

    async fn read_at(&self, offset: u64, bytes: usize) -> io::Result<GlommioReadBuffer> {
        assert_aligned(offset, bytes);
        let mut buffer = self.reactor.buffer(bytes);
        let entry = opcode::Read::new(self.descriptor(), buffer.as_mut_ptr(), length(bytes))
            .offset(offset)
            .build();
        // SAFETY: the descriptor and the buffer, whose memory stays where it is, are held.
        let pending = unsafe { self.reactor.start(entry, self.held(Some(buffer))) };
        let (outcome, held) = pending.await;
        if outcome? != bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(GlommioReadBuffer(Rc::new(given_back(held)?)))
    }

    async fn write_at(
        &self,
        buffer: GlommioWriteBuffer,
        offset: u64,
    ) -> io::Result<GlommioWriteBuffer> {
        let (bytes, buffer) = (buffer.len(), buffer.0);
        assert_aligned(offset, bytes);
        let entry = opcode::Write::new(self.descriptor(), buffer.as_ptr(), length(bytes))
            .offset(offset)
            .build();
        // SAFETY: the descriptor and the buffer, whose memory stays where it is, are held.
        let pending = unsafe { self.reactor.start(entry, self.held(Some(buffer))) };
        let (outcome, held) = pending.await;
        if outcome? != bytes {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(GlommioWriteBuffer(given_back(held)?))
    }

    async fn sync(&self) -> io::Result<()> {
        let data = types::FsyncFlags::DATASYNC;
        self.perform(opcode::Fsync::new(self.descriptor()).flags(data).build()).await
    }

    async fn preallocate(&self, bytes: u64) -> io::Result<()> {
        assert_aligned_length(bytes);
        let before = self.len().await?;
        let reserved = self.perform(opcode::Fallocate::new(self.descriptor(), bytes).build()).await;
        if let Err(error) = &reserved {
            let given_back = match self.file.try_clone() {
                Ok(file) => {
                    let cut = move || rustix::fs::ftruncate(file, before).map_err(io::Error::from);
                    ::glommio::executor().spawn_blocking(cut).await
                }
                Err(left) => Err(left),
            };
            if let Err(left) = given_back {
                tracing::warn!(%error, %left, "what a failed preallocation took is not given back");
            }
        }
        reserved
    }

    async fn len(&self) -> io::Result<u64> {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the descriptor is open as long as `self` is, and `stat` has room for the result.
        if unsafe { libc::fstat(self.file.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fstat returned 0, so it has filled the structure.
        let stat = unsafe { stat.assume_init() };
        u64::try_from(stat.st_size).map_err(io::Error::other)
    }

    async fn close(self) -> io::Result<()> {
        // Whoever still reads or writes it closes it when that has ended.
        let Ok(file) = Rc::try_unwrap(self.file) else { return Ok(()) };
        let entry = opcode::Close::new(types::Fd(file.into_raw_fd())).build();
        // SAFETY: the descriptor is the operation's own: nobody else has it, or closes it.
        unsafe { self.reactor.start(entry, Held::default()) }.await.0.map(|_| ())
    }
}

async fn open(reactor: &Reactor, path: &Path, flags: i32) -> io::Result<Rc<OwnedFd>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(flags)
        .mode(0o600)
        .build();
    let held = Held { path: Some(path), ..Held::default() };
    // SAFETY: the path, whose memory stays where it is, is held.
    let (outcome, held) = unsafe { reactor.start(entry, held) }.await;
    outcome?;
    held.file.ok_or_else(|| io::Error::other("an operation lost its file"))
}

fn given_back(held: Held) -> io::Result<Buffer> {
    held.buffer.ok_or_else(|| io::Error::other("an operation lost its buffer"))
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("I/O of less than 4 GiB")
}

/// A buffer to be written.
#[derive(Debug)]
pub struct GlommioWriteBuffer(Buffer);

impl Deref for GlommioWriteBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for GlommioWriteBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The bytes of one read.
#[derive(Debug, Clone)]
pub struct GlommioReadBuffer(Rc<Buffer>);

impl Deref for GlommioReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// An exclusive `flock`; closing the descriptor releases it.
#[derive(Debug)]
pub struct GlommioLock {
    _file: fs::File,
}

/// Random words of the kernel's generator, a block at a time.
struct RandomPool {
    words: [u64; RANDOM_POOL_WORDS],
    used: usize,
}

impl RandomPool {
    fn new() -> io::Result<Self> {
        let mut pool = Self { words: [0; RANDOM_POOL_WORDS], used: RANDOM_POOL_WORDS };
        pool.refill()?;
        Ok(pool)
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut bytes = [0; RANDOM_POOL_WORDS * 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let (words, _) = bytes.as_chunks();
        for (word, bytes) in self.words.iter_mut().zip(words) {
            *word = u64::from_ne_bytes(*bytes);
        }
        self.used = 0;
        Ok(())
    }

    fn next(&mut self) -> u64 {
        if self.used == RANDOM_POOL_WORDS {
            self.refill().expect("the kernel's generator worked when the platform was made");
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }
}

impl std::fmt::Debug for RandomPool {
    /// Unused words are secret: they may become identifiers that must not be guessed.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RandomPool").field("used", &self.used).finish_non_exhaustive()
    }
}

/// Runs a call that may wait for the device on the executor's blocking pool.
async fn blocking<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_owned();
    ::glommio::executor().spawn_blocking(move || call(&path)).await
}

fn filesystem_space(path: &Path) -> io::Result<FilesystemSpace> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a NUL and `stat` has room for the result.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statvfs returned 0, so it has filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok(FilesystemSpace {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn assert_aligned(offset: u64, bytes: usize) {
    assert_aligned_length(offset);
    assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "unaligned I/O of {bytes} bytes");
}

fn assert_aligned_length(bytes: u64) {
    assert!(bytes.is_multiple_of(BLOCK_BYTES as u64), "unaligned offset or length {bytes}");
}
