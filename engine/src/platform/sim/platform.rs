//! What the engine gets from the simulator: the platform's traits over the simulated world.
//!
//! Every I/O is a task of its own: submitted, some time later in effect, some time later known to its
//! caller. So it happens even if its caller has gone, and a crash may fall between any two of these.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::World;
use super::disk::{input_output_error, no_space};
use super::faults::{IoKind, Outcome};
use super::inode::Inode;
use super::namespace::Node;
use crate::platform::{BLOCK_BYTES, File, FilesystemSpace, OpenMode, Platform};

/// What a yield costs.
const YIELD: Duration = Duration::from_nanos(500);

/// The platform of one life of the simulated machine. After a crash it is dead: its I/O never ends.
#[derive(Debug, Clone)]
pub struct SimPlatform {
    world: Rc<World>,
    life: u64,
}

impl SimPlatform {
    pub(super) fn new(world: Rc<World>) -> Self {
        let life = world.life.get();
        Self { world, life }
    }

    fn is_dead(&self) -> bool {
        self.life != self.world.life.get()
    }

    /// Submits an I/O that has its `effect` after a while, and waits until its result is known.
    async fn io<T: 'static>(
        &self,
        kind: IoKind,
        path: &Path,
        effect: impl FnOnce(&World, Outcome) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        if self.is_dead() {
            return std::future::pending().await;
        }
        let reply = Rc::new(Reply::default());
        let world = Rc::clone(&self.world);
        let path = path.to_owned();
        self.world.executor.spawn(Box::pin({
            let reply = Rc::clone(&reply);
            async move {
                world.sleep_ns(world.latency_ns(kind)).await;
                let verdict = world.begin_io(kind);
                if verdict.crash_before {
                    world.lose_power_soon();
                    return;
                }
                let is_broken = world.is_broken(&path);
                let outcome = if is_broken { Outcome::Error } else { verdict.outcome };
                let result = effect(&world, outcome);
                if verdict.crash_after {
                    world.lose_power_soon();
                    return;
                }
                world.sleep_ns(world.latency_ns(IoKind::Read) / 4).await;
                reply.send(result);
            }
        }));
        Receive { reply }.await
    }

    /// An I/O that concerns names; it fails on a broken drive only.
    async fn name_io<T: 'static>(
        &self,
        path: &Path,
        effect: impl FnOnce(&World) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let effect = |world: &World, outcome| match outcome {
            Outcome::Error => Err(input_output_error()),
            _ => effect(world),
        };
        self.io(IoKind::Name, path, effect).await
    }
}

impl Platform for SimPlatform {
    type File = SimFile;
    type WriteBuffer = SimWriteBuffer;
    type ReadBuffer = SimReadBuffer;
    type Lock = SimLock;

    fn allocate(&self, bytes: usize) -> SimWriteBuffer {
        assert_aligned(0, bytes);
        // Not zero, so that a tail whose padding was forgotten shows.
        let rubbish = self.world.caller_random.borrow_mut().next() as u8 | 1;
        SimWriteBuffer(AlignedBytes::new(bytes, rubbish))
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        assert!(mode.write || !mode.create_new, "a file is created to be written");
        let owned = path.to_owned();
        let inode = self.name_io(path, move |world| {
            let mut disk = world.disk.borrow_mut();
            if mode.create_new { disk.create_file(&owned) } else { disk.names.file(&owned) }
        });
        let inode = inode.await?;
        Ok(SimFile { platform: self.clone(), path: path.to_owned(), inode, mode })
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let owned = path.to_owned();
        let create =
            move |world: &World| world.disk.borrow_mut().names.create(&owned, Node::Directory);
        self.name_io(path, create).await
    }

    async fn list_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let owned = path.to_owned();
        self.name_io(path, move |world| world.disk.borrow().names.list(&owned)).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let owned = path.to_owned();
        let before = self.world.disk.borrow().names.begin_sync();
        let sync = move |world: &World| world.disk.borrow_mut().names.complete_sync(&owned, before);
        self.name_io(path, sync).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, new) = (from.to_owned(), to.to_owned());
        self.name_io(from, move |world| world.disk.borrow_mut().names.rename(&old, &new)).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let owned = path.to_owned();
        self.name_io(path, move |world| world.disk.borrow_mut().names.remove(&owned)).await
    }

    async fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let owned = path.to_owned();
        let platform = self.clone();
        // The guard is made with the effect: a caller that has gone must not leave the lock held.
        self.name_io(path, move |world| {
            world.disk.borrow_mut().lock(&owned)?;
            Ok(SimLock { platform, path: owned })
        })
        .await
    }

    async fn space(&self, path: &Path) -> io::Result<FilesystemSpace> {
        self.name_io(path, |world| Ok(world.disk.borrow().space())).await
    }

    fn wall_clock_ns(&self) -> u64 {
        self.world.wall_clock_ns()
    }

    fn monotonic_ns(&self) -> u64 {
        self.world.monotonic_ns()
    }

    fn random_u64(&self) -> u64 {
        self.world.caller_random.borrow_mut().next()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if !self.is_dead() {
            self.world.executor.spawn(Box::pin(task));
        }
    }

    async fn sleep(&self, duration: Duration) {
        if self.is_dead() {
            return std::future::pending().await;
        }
        self.world.sleep(duration).await;
    }

    /// Takes a little time, so that tasks which do nothing but yield cannot keep I/O from completing.
    async fn yield_now(&self) {
        self.sleep(YIELD).await;
    }
}

/// An open file of the simulated disk.
#[derive(Debug)]
pub struct SimFile {
    platform: SimPlatform,
    path: PathBuf,
    inode: Rc<RefCell<Inode>>,
    mode: OpenMode,
}

impl File for SimFile {
    type WriteBuffer = SimWriteBuffer;
    type ReadBuffer = SimReadBuffer;

    async fn read_at(&self, offset: u64, bytes: usize) -> io::Result<SimReadBuffer> {
        assert_aligned(offset, bytes);
        let inode = Rc::clone(&self.inode);
        let read = self.platform.io(IoKind::Read, &self.path, move |world, outcome| {
            if outcome == Outcome::Error {
                return Err(input_output_error());
            }
            let random = &mut world.disk.borrow_mut().random;
            let mut buffer = AlignedBytes::new(bytes, 0);
            match inode.borrow().read(offset, buffer.as_mut_slice(), &mut || random.coin()) {
                true => Ok(SimReadBuffer(Rc::new(buffer))),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        });
        read.await
    }

    async fn write_at(&self, buffer: SimWriteBuffer, offset: u64) -> io::Result<SimWriteBuffer> {
        assert_aligned(offset, buffer.len());
        assert!(self.mode.write, "{} is open for reading only", self.path.display());
        if self.platform.is_dead() {
            return std::future::pending().await;
        }
        let end = offset + buffer.len() as u64;
        let id = self.inode.borrow_mut().begin_write(offset, &buffer);
        let inode = Rc::clone(&self.inode);
        let durability = self.mode.durability;
        let write = self.platform.io(IoKind::Write, &self.path, move |world, outcome| {
            let mut disk = world.disk.borrow_mut();
            let space = disk.require_space(&inode.borrow(), end);
            if outcome == Outcome::Error || space.is_err() {
                inode.borrow_mut().fail_write(id, &mut disk.random);
                return Err(space.err().unwrap_or_else(input_output_error));
            }
            if let Outcome::Lost | Outcome::Misdirected = outcome {
                inode.borrow_mut().lose_write(id);
                disk.lead_astray(&inode, offset, &buffer, outcome == Outcome::Misdirected);
            }
            inode.borrow_mut().complete_write(id, durability);
            Ok(buffer)
        });
        write.await
    }

    async fn sync(&self) -> io::Result<()> {
        let inode = Rc::clone(&self.inode);
        let scope = inode.borrow().begin_sync();
        let sync = self.platform.io(IoKind::Sync, &self.path, move |_, outcome| {
            if outcome == Outcome::Error {
                inode.borrow_mut().fail_sync(&scope);
                return Err(input_output_error());
            }
            inode.borrow_mut().complete_sync(&scope);
            Ok(())
        });
        sync.await
    }

    async fn preallocate(&self, bytes: u64) -> io::Result<()> {
        assert_aligned_length(bytes);
        assert!(self.mode.write, "{} is open for reading only", self.path.display());
        let inode = Rc::clone(&self.inode);
        let before = inode.borrow().length();
        let path = self.path.clone();
        let preallocate = move |world: &World, outcome| {
            if outcome == Outcome::Error {
                let is_broken = world.is_broken(&path);
                return Err(if is_broken { input_output_error() } else { no_space() });
            }
            let disk = world.disk.borrow();
            let space = disk.require_space(&inode.borrow(), bytes);
            // Like ext4, it takes what is free before it fails.
            let most = if space.is_ok() { bytes } else { before + disk.free_blocks_bytes() };
            inode.borrow_mut().preallocate(most);
            space
        };
        let reserved = self.platform.io(IoKind::Preallocate, &self.path, preallocate).await;
        if reserved.is_err() {
            let inode = Rc::clone(&self.inode);
            let cut = move |_: &World| {
                inode.borrow_mut().cut(before);
                Ok(())
            };
            // On a broken drive nothing is given back.
            let _ = self.platform.name_io(&self.path, cut).await;
        }
        reserved
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(self.inode.borrow().length())
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }
}

/// A buffer to be written.
#[derive(Debug)]
pub struct SimWriteBuffer(AlignedBytes);

impl Deref for SimWriteBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl DerefMut for SimWriteBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }
}

/// The bytes of one read.
#[derive(Debug, Clone)]
pub struct SimReadBuffer(Rc<AlignedBytes>);

impl Deref for SimReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// A lock of the simulated disk.
#[derive(Debug)]
pub struct SimLock {
    platform: SimPlatform,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        // After a crash the lock may be another's.
        if !self.platform.is_dead() {
            self.platform.world.disk.borrow_mut().unlock(&self.path);
        }
    }
}

/// Bytes that start on a block boundary, without unsafe code: a heap allocation and a place in it.
struct AlignedBytes {
    memory: Box<[u8]>,
    start: usize,
    bytes: usize,
}

impl AlignedBytes {
    fn new(bytes: usize, fill: u8) -> Self {
        let memory = vec![fill; bytes + BLOCK_BYTES].into_boxed_slice();
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, start, bytes }
    }

    fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "AlignedBytes({})", self.bytes)
    }
}

/// Where an I/O leaves its result for its caller.
struct Reply<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Default for Reply<T> {
    fn default() -> Self {
        Self { value: Cell::new(None), waker: Cell::new(None) }
    }
}

impl<T> Reply<T> {
    fn send(&self, value: T) {
        self.value.set(Some(value));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct Receive<T> {
    reply: Rc<Reply<T>>,
}

impl<T> Future for Receive<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.reply.value.take() {
            return Poll::Ready(value);
        }
        self.reply.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

fn assert_aligned(offset: u64, bytes: usize) {
    assert_aligned_length(offset);
    assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "unaligned I/O of {bytes} bytes");
}

fn assert_aligned_length(bytes: u64) {
    assert!(bytes.is_multiple_of(BLOCK_BYTES as u64), "unaligned offset or length {bytes}");
}
