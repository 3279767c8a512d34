//! The platform on io_uring: glommio's executor, direct I/O, the kernel's clocks.
//!
//! This is the only file of the engine that names glommio. It turns the runtime's habits into the
//! contract of [`Platform`]:
//! - every offset, length and buffer is a multiple of [`BLOCK_BYTES`], whatever the device accepts;
//! - a short read or write is an error, never a count;
//! - lengths come from the descriptor, because a path may have been renamed;
//! - a task that panics ends alone and is logged; unwinding further would end the executor;
//! - nothing here blocks the executor for longer than a system call on cached metadata: what can
//!   wait for the device goes through the ring or the blocking pool.
//!
//! An executor that serves this platform should place its blocking threads with
//! `PoolPlacement::Unbound` (by default all of them share one CPU) and give `io_memory` at least
//! twice the bytes in flight at peak, in powers of two (beyond it buffers come from the heap and
//! cost more). Before it ends all I/O must have ended: nothing else waits for the kernel.
//!
//! Not here: retries, limits of what is in flight, the executors themselves.

// Four system calls have no safe wrapper among our dependencies; each block says why it is sound.
#![allow(unsafe_code)]
// Here the seam meets the real world, which everything else in the engine reaches through it.
#![expect(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use ::glommio::GlommioError;
use ::glommio::io::{DmaBuffer, DmaFile, OpenOptions, PollableFd, ReadResult};
use ::glommio::timer::Timer;
use futures_lite::FutureExt;

use super::{BLOCK_BYTES, Durability, File, FilesystemSpace, OpenMode, Platform};

/// Random words fetched from the kernel at a time.
const RANDOM_POOL_WORDS: usize = 64;

/// The platform of one executor.
#[derive(Debug, Clone)]
pub struct GlommioPlatform {
    core: Rc<Core>,
}

#[derive(Debug)]
struct Core {
    random: RefCell<RandomPool>,
    /// Always readable: a poll of it completes at once, but only through the ring.
    ready: PollableFd<fs::File>,
}

impl GlommioPlatform {
    /// The platform of the executor that this is called on. Fails when the kernel gives no randomness
    /// or no descriptor; panics outside an executor.
    pub fn new() -> io::Result<Self> {
        let ready = PollableFd::new(fs::File::open("/dev/null")?).map_err(into_io_error)?;
        let random = RefCell::new(RandomPool::new()?);
        Ok(Self { core: Rc::new(Core { random, ready }) })
    }
}

/// Whether files below a directory are really read and written without the page cache. glommio
/// silently opens them without `O_DIRECT` where the filesystem has none (tmpfs); who starts a store
/// there should say so.
pub async fn direct_io_active(directory: &Path) -> io::Result<bool> {
    let probe = OpenOptions::new()
        .read(true)
        .write(true)
        .tmpfile(true)
        .dma_open(directory)
        .await
        .map_err(into_io_error)?;
    // SAFETY: F_GETFL reads the flags of a descriptor that `probe` keeps open; no memory is passed.
    let flags = unsafe { libc::fcntl(probe.as_raw_fd(), libc::F_GETFL) };
    let result = if flags < 0 { Err(io::Error::last_os_error()) } else { Ok(flags) };
    probe.close().await.map_err(into_io_error)?;
    Ok(result? & libc::O_DIRECT != 0)
}

impl Platform for GlommioPlatform {
    type File = GlommioFile;
    type WriteBuffer = GlommioWriteBuffer;
    type ReadBuffer = GlommioReadBuffer;
    type Lock = GlommioLock;

    fn allocate(&self, bytes: usize) -> GlommioWriteBuffer {
        assert_aligned(0, bytes);
        let mut buffer = ::glommio::allocate_dma_buffer(bytes);
        buffer.trim_to_size(bytes);
        GlommioWriteBuffer(buffer)
    }

    /// The name must stay while this runs: glommio looks at the path again after the open, and panics
    /// when it has gone.
    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<GlommioFile> {
        assert!(mode.write || !mode.create_new, "a file is created to be written");
        let durable = match mode.durability {
            Durability::OnSync => 0,
            Durability::EachWrite => libc::O_DSYNC,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(mode.write)
            .create_new(mode.create_new)
            .custom_flags(durable)
            .mode(0o600)
            .dma_open(path)
            .await
            .map_err(into_io_error)?;
        Ok(GlommioFile { file })
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

    /// An `fsync`, where glommio's `Directory::sync` is an `fdatasync`: whether an entry counts as a
    /// directory's data is left to the filesystem.
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
        self.core.random.borrow_mut().next()
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

    async fn sleep(&self, duration: Duration) {
        Sleep { deadline: Instant::now() + duration, registered: None }.await;
    }

    /// Goes through the ring: a task that only re-queues itself would keep the executor from reaping
    /// completions until the preempt timer fires, 100 ms later (measured: 200 ms for each read beside
    /// such a task, 70 us beside one that yields like this; the yield itself takes 7 us).
    async fn yield_now(&self) {
        if self.core.ready.readable().await.is_err() {
            futures_lite::future::yield_now().await;
        }
    }
}

/// An open file with direct I/O.
#[derive(Debug)]
pub struct GlommioFile {
    file: DmaFile,
}

impl File for GlommioFile {
    type WriteBuffer = GlommioWriteBuffer;
    type ReadBuffer = GlommioReadBuffer;

    async fn read_at(&self, offset: u64, bytes: usize) -> io::Result<GlommioReadBuffer> {
        assert_aligned(offset, bytes);
        let result = self.file.read_at_aligned(offset, bytes).await.map_err(into_io_error)?;
        if result.len() != bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(GlommioReadBuffer(result))
    }

    async fn write_at(
        &self,
        buffer: GlommioWriteBuffer,
        offset: u64,
    ) -> io::Result<GlommioWriteBuffer> {
        assert_aligned(offset, buffer.len());
        let shared = Rc::new(buffer.0);
        let written =
            self.file.write_rc_at(Rc::clone(&shared), offset).await.map_err(into_io_error)?;
        if written != shared.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // glommio has dropped its reference with the finished request.
        Rc::try_unwrap(shared)
            .map(GlommioWriteBuffer)
            .map_err(|_| io::Error::other("the runtime kept a written buffer"))
    }

    async fn sync(&self) -> io::Result<()> {
        self.file.fdatasync().await.map_err(into_io_error)
    }

    async fn preallocate(&self, bytes: u64) -> io::Result<()> {
        assert_aligned_length(bytes);
        self.file.pre_allocate(bytes, false).await.map_err(into_io_error)
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
        self.file.close().await.map_err(into_io_error)
    }
}

/// A buffer of the executor's registered memory, or of the heap when that is exhausted.
#[derive(Debug)]
pub struct GlommioWriteBuffer(DmaBuffer);

impl Deref for GlommioWriteBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl DerefMut for GlommioWriteBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_bytes_mut()
    }
}

/// The bytes of one read.
#[derive(Debug, Clone)]
pub struct GlommioReadBuffer(ReadResult);

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

/// A timer that may be polled often: glommio's own registers itself anew at each poll.
struct Sleep {
    deadline: Instant,
    registered: Option<(Timer, Waker)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Poll::Ready(());
        }
        if let Some((_, waker)) = &self.registered
            && waker.will_wake(context.waker())
        {
            return Poll::Pending;
        }
        let mut timer = Timer::new(remaining);
        let poll = Pin::new(&mut timer).poll(context).map(|_| ());
        self.registered = Some((timer, context.waker().clone()));
        poll
    }
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

/// Keeps the operating system's error number, which glommio's own conversion drops.
fn into_io_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
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
