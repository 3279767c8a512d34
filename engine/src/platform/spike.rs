//! One body of code on both platforms: the seam holds, and the simulator is as harsh as it must be.
#![allow(clippy::unwrap_used)]
// The directory of a test is made before there is a platform to make it.
#![expect(clippy::disallowed_methods)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ::glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::glommio::{GlommioPlatform, Reactor};
use super::sim::{Sim, SimOptions};
use super::{BLOCK_BYTES, File, OpenMode, Platform};

/// Runs a test on an executor of its own, in a directory on a real disk: tmpfs has no direct I/O.
fn on_glommio<F: Future<Output = ()> + 'static>(
    test: impl FnOnce(GlommioPlatform, PathBuf) -> F + Send + 'static,
) {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::fs::create_dir_all(&parent).unwrap();
    let directory = tempfile::tempdir_in(parent).unwrap();
    let path = directory.path().to_owned();
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .ring_depth(128)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            let platform =
                GlommioPlatform::new(&Reactor::new(1 << 20, 0, Duration::ZERO).unwrap()).unwrap();
            test(platform, path).await;
        })
        .unwrap()
        .join()
        .unwrap();
}

fn on_sim<F: Future<Output = ()>>(test: impl FnOnce(super::sim::SimPlatform, PathBuf) -> F) {
    let sim = Sim::new(1, SimOptions::default());
    sim.run_until(test(sim.platform(), PathBuf::from("/"))).unwrap();
}

fn filled<P: Platform>(platform: &P, blocks: usize, byte: u8) -> P::WriteBuffer {
    let mut buffer = platform.allocate(blocks * BLOCK_BYTES);
    buffer.fill(byte);
    buffer
}

#[track_caller]
fn assert_kind<T>(result: io::Result<T>, kind: ErrorKind) {
    assert_eq!(result.map(|_| ()).unwrap_err().kind(), kind);
}

/// Appends one block to a new file, durably if asked.
async fn append<P: Platform>(platform: &P, directory: &Path, sync: bool) -> io::Result<()> {
    let file = platform.open(&directory.join("log"), OpenMode::CREATE).await?;
    file.preallocate(16 * BLOCK_BYTES as u64).await?;
    let buffer = file.write_at(filled(platform, 1, 7), BLOCK_BYTES as u64).await?;
    assert_eq!(buffer[..], [7; BLOCK_BYTES], "the buffer comes back");
    if sync {
        file.sync().await?;
        platform.sync_dir(directory).await?;
    }
    file.close().await
}

/// Whether what [`append`] wrote is all there.
async fn appended<P: Platform>(platform: &P, directory: &Path) -> io::Result<bool> {
    let path = directory.join("log");
    if !platform.list_dir(directory).await?.contains(&path) {
        return Ok(false);
    }
    let file = platform.open(&path, OpenMode::READ).await?;
    if file.len().await? != 16 * BLOCK_BYTES as u64 {
        return Ok(false);
    }
    let buffer = file.read_at(0, 2 * BLOCK_BYTES).await?;
    let (before, block) = buffer.split_at(BLOCK_BYTES);
    Ok(before == [0; BLOCK_BYTES] && block == [7; BLOCK_BYTES])
}

async fn append_and_read<P: Platform>(platform: P, directory: PathBuf) {
    append(&platform, &directory, true).await.unwrap();
    assert!(appended(&platform, &directory).await.unwrap());
}

async fn names<P: Platform>(platform: P, directory: PathBuf) {
    let [shard, a, b, missing] =
        ["shard", "shard/a", "shard/b", "missing/c"].map(|name| directory.join(name));
    platform.create_dir(&shard).await.unwrap();
    assert_kind(platform.create_dir(&shard).await, ErrorKind::AlreadyExists);
    let file = platform.open(&b, OpenMode::CREATE).await.unwrap();
    assert_kind(platform.open(&b, OpenMode::CREATE).await, ErrorKind::AlreadyExists);
    assert_kind(platform.open(&a, OpenMode::WRITE).await, ErrorKind::NotFound);
    assert_kind(platform.open(&missing, OpenMode::CREATE).await, ErrorKind::NotFound);
    platform.open(&a, OpenMode::CREATE).await.unwrap().close().await.unwrap();
    assert_eq!(platform.list_dir(&shard).await.unwrap(), [a.clone(), b.clone()]);

    file.write_at(filled(&platform, 2, 1), 0).await.unwrap();
    platform.rename(&b, &a).await.unwrap();
    assert_eq!(platform.list_dir(&shard).await.unwrap(), std::slice::from_ref(&a));
    assert_eq!(file.len().await.unwrap(), 2 * BLOCK_BYTES as u64, "the name has changed");
    platform.sync_dir(&shard).await.unwrap();

    platform.remove(&a).await.unwrap();
    assert_kind(platform.remove(&a).await, ErrorKind::NotFound);
    assert!(platform.list_dir(&shard).await.unwrap().is_empty());
    assert_kind(platform.list_dir(&directory.join("missing")).await, ErrorKind::NotFound);
    assert_kind(platform.sync_dir(&directory.join("missing")).await, ErrorKind::NotFound);
    assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap()[..], [1; BLOCK_BYTES], "open, so alive");
}

async fn whole_transfers<P: Platform>(platform: P, directory: PathBuf) {
    let path = directory.join("log");
    let file = platform.open(&path, OpenMode::CREATE).await.unwrap();
    assert_eq!(file.len().await.unwrap(), 0);
    assert_kind(file.read_at(0, BLOCK_BYTES).await, ErrorKind::UnexpectedEof);
    file.write_at(filled(&platform, 3, 9), 0).await.unwrap();
    assert_kind(file.read_at(0, 4 * BLOCK_BYTES).await, ErrorKind::UnexpectedEof);
    assert_kind(file.read_at(1 << 30, BLOCK_BYTES).await, ErrorKind::UnexpectedEof);

    file.preallocate(BLOCK_BYTES as u64).await.unwrap();
    assert_eq!(file.len().await.unwrap(), 3 * BLOCK_BYTES as u64, "a file never shrinks");
    let read = file.read_at(0, 3 * BLOCK_BYTES).await.unwrap();
    let copy = read.clone();
    drop((read, file));
    assert_eq!(copy[..], [9; 3 * BLOCK_BYTES], "a clone outlives the read and the file");
    assert_eq!(copy.as_ptr().align_offset(BLOCK_BYTES), 0);
}

async fn concurrent_writes<P: Platform>(platform: P, directory: PathBuf) {
    const WRITES: usize = 64;
    let path = directory.join("log");
    platform.open(&path, OpenMode::CREATE).await.unwrap().close().await.unwrap();
    let file = Rc::new(platform.open(&path, OpenMode::WRITE_DURABLE).await.unwrap());
    let done = Rc::new(Cell::new(0));
    for index in 0..WRITES {
        let (platform, file, done) = (platform.clone(), Rc::clone(&file), Rc::clone(&done));
        platform.clone().spawn(async move {
            // Odd sizes; more in all than a test executor's registered memory.
            let buffer = filled(&platform, 1 + index % 5, index as u8);
            assert_eq!(buffer.as_ptr().align_offset(BLOCK_BYTES), 0);
            let length = buffer.len();
            let buffer = file.write_at(buffer, (index * 8 * BLOCK_BYTES) as u64).await.unwrap();
            assert_eq!((buffer.len(), buffer[length - 1]), (length, index as u8));
            done.set(done.get() + 1);
        });
    }
    while done.get() < WRITES {
        platform.yield_now().await;
    }
    for index in 0..WRITES {
        let bytes = (1 + index % 5) * BLOCK_BYTES;
        let read = file.read_at((index * 8 * BLOCK_BYTES) as u64, bytes).await.unwrap();
        assert!(read.iter().all(|byte| *byte == index as u8));
    }
}

async fn locks<P: Platform>(platform: P, directory: PathBuf) {
    let path = directory.join("lock");
    let lock = platform.lock(&path).await.unwrap();
    assert_kind(platform.lock(&path).await, ErrorKind::WouldBlock);
    drop(lock);
    platform.lock(&path).await.unwrap();
}

async fn tasks_and_clocks<P: Platform>(platform: P, _: PathBuf) {
    let shared = Rc::new(RefCell::new(Vec::new()));
    {
        let _held = shared.borrow_mut();
        let task = Rc::clone(&shared);
        // Would panic if `spawn` polled the task.
        platform.spawn(async move { task.borrow_mut().push("spawned") });
    }
    let start = platform.monotonic_ns();
    platform.sleep(Duration::from_millis(3)).await;
    assert!(platform.monotonic_ns() - start >= 3_000_000);
    assert_eq!(*shared.borrow(), ["spawned"]);
    assert!(platform.wall_clock_ns() > 1_700_000_000_000_000_000);
    let random: BTreeSet<u64> = (0..1000).map(|_| platform.random_u64()).collect();
    assert_eq!(random.len(), 1000);
    let space = platform.space(Path::new("/")).await.unwrap();
    assert!(0 < space.available_bytes && space.available_bytes <= space.total_bytes);
}

/// A test of each platform.
macro_rules! on_both {
    ($($body:ident: $glommio:ident, $sim:ident;)*) => {$(
        #[test]
        fn $glommio() {
            on_glommio($body);
        }

        #[test]
        fn $sim() {
            on_sim($body);
        }
    )*};
}

on_both! {
    append_and_read: block_appended_on_glommio_is_read_back, block_appended_on_sim_is_read_back;
    names: names_on_glommio_behave, names_on_sim_behave;
    whole_transfers: transfers_on_glommio_are_whole, transfers_on_sim_are_whole;
    concurrent_writes: concurrent_writes_on_glommio_all_land, concurrent_writes_on_sim_all_land;
    locks: locks_on_glommio_exclude, locks_on_sim_exclude;
    tasks_and_clocks: tasks_and_clocks_on_glommio_run, tasks_and_clocks_on_sim_run;
}

#[test]
fn panic_of_a_task_on_glommio_ends_only_that_task() {
    on_glommio(|platform, _| async move {
        platform.spawn(async { panic!("on purpose") });
        platform.sleep(Duration::from_millis(1)).await;
    });
}

/// A task that yields in a loop must not keep the executor from noticing that I/O has completed.
#[test]
fn yielding_task_on_glommio_lets_io_complete() {
    on_glommio(|platform, directory| async move {
        let file = platform.open(&directory.join("log"), OpenMode::CREATE).await.unwrap();
        file.write_at(filled(&platform, 1, 1), 0).await.unwrap();
        let stop = Rc::new(Cell::new(false));
        let (yielder, yielder_stop) = (platform.clone(), Rc::clone(&stop));
        platform.spawn(async move {
            while !yielder_stop.get() {
                yielder.yield_now().await;
            }
        });
        let start = platform.monotonic_ns();
        for _ in 0..20 {
            file.read_at(0, BLOCK_BYTES).await.unwrap();
        }
        stop.set(true);
        // Without passing through the ring each read would take the preempt timer's 100 ms.
        assert!(platform.monotonic_ns() - start < 1_000_000_000);
    });
}

#[test]
fn direct_io_is_seen_to_be_active_on_a_disk() {
    on_glommio(|_, directory| async move {
        assert!(super::glommio::direct_io_active(&directory).await.unwrap());
    });
}

fn survivals(sync: bool) -> usize {
    let survives = |seed: u64| {
        let sim = Sim::new(seed, SimOptions::default());
        let platform = sim.platform();
        sim.run_until(append(&platform, Path::new("/"), sync)).unwrap().unwrap();
        let platform = sim.reboot();
        sim.run_until(appended(&platform, Path::new("/"))).unwrap().unwrap()
    };
    (0..100).filter(|seed| survives(*seed)).count()
}

#[test]
fn synced_block_survives_every_crash() {
    assert_eq!(survivals(true), 100);
}

#[test]
fn block_without_sync_is_lost_in_some_crashes_and_kept_in_others() {
    let survived = survivals(false);
    assert!((1..100).contains(&survived), "{survived} of 100 survived");
}
