//! Files on a real disk, and whoever waits for them or stops waiting.

#![allow(clippy::unwrap_used)]
// The directory of a test is made before there is a platform to make it.
#![expect(clippy::disallowed_methods)]

use super::*;
use crate::platform::glommio::GlommioPlatform;
use crate::platform::{BLOCK_BYTES, File as _, OpenMode, Platform};
use crate::wait::join_all;
use ::glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use atomic_waker::AtomicWaker;
use futures_lite::FutureExt;
use futures_lite::future::poll_once;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// More than any test here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test in a directory on a real disk; one that hangs fails.
fn with_reactor<F: Future<Output = ()>>(
    test: impl FnOnce(Reactor, GlommioPlatform, PathBuf) -> F + Send + 'static,
) {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::fs::create_dir_all(&parent).unwrap();
    let directory = tempfile::tempdir_in(parent).unwrap();
    let path = directory.path().canonicalize().unwrap();
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .ring_depth(128)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            let reactor = Reactor::new(64 << 20, 0, Duration::ZERO).unwrap();
            let platform = GlommioPlatform::new(&reactor).unwrap();
            let hang = async {
                ::glommio::timer::sleep(PATIENCE).await;
                panic!("a hang");
            };
            test(reactor, platform, path).or(hang).await;
        });
    executor.unwrap().join().unwrap();
}

async fn numbered_blocks(platform: &GlommioPlatform, path: &Path, blocks: usize) {
    let file = platform.open(path, OpenMode::CREATE).await.unwrap();
    let mut buffer = platform.allocate(blocks * BLOCK_BYTES);
    for (number, block) in buffer.chunks_mut(BLOCK_BYTES).enumerate() {
        block.fill(number as u8);
    }
    file.write_at(buffer, 0).await.unwrap();
    file.sync().await.unwrap();
}

fn open_descriptors(of: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter(|link| std::fs::read_link(link.as_ref().unwrap().path()).is_ok_and(|to| to == of))
        .count()
}

#[test]
fn more_reads_than_the_ring_has_entries_all_complete() {
    with_reactor(|_, platform, directory| async move {
        let path = directory.join("blocks");
        numbered_blocks(&platform, &path, 64).await;
        let file = platform.open(&path, OpenMode::READ).await.unwrap();
        let reads = (0..5000).map(|read| {
            let (file, number) = (&file, read % 64);
            async move {
                let buffer =
                    file.read_at((number * BLOCK_BYTES) as u64, BLOCK_BYTES).await.unwrap();
                assert_eq!(buffer[..], [number as u8; BLOCK_BYTES]);
            }
        });
        assert_eq!(join_all(reads).await.len(), 5000);
    });
}

#[test]
fn what_an_abandoned_read_holds_outlives_it_and_comes_back() {
    with_reactor(|reactor, platform, directory| async move {
        let path = directory.join("blocks");
        numbered_blocks(&platform, &path, 1).await;
        let file = platform.open(&path, OpenMode::READ).await.unwrap();
        {
            let mut read = std::pin::pin!(file.read_at(0, BLOCK_BYTES));
            assert!(poll_once(&mut read).await.is_none());
        }
        // The one kept by the write is still away with the read.
        let other = reactor.buffer(BLOCK_BYTES);
        drop(file);
        assert_eq!(open_descriptors(&path), 1, "the read holds it");
        while open_descriptors(&path) > 0 {
            reactor.yield_now().await;
        }
        let again = reactor.buffer(BLOCK_BYTES);
        assert_eq!(again[..], [0; BLOCK_BYTES]);
        assert_ne!(again.as_ptr(), other.as_ptr());
    });
}

#[test]
fn an_abandoned_open_closes_its_file() {
    with_reactor(|reactor, platform, directory| async move {
        let path = directory.join("blocks");
        numbered_blocks(&platform, &path, 1).await;
        for _ in 0..3 {
            {
                let mut open = std::pin::pin!(platform.open(&path, OpenMode::READ));
                assert!(poll_once(&mut open).await.is_none());
            }
            // Opened and closed behind us: each passes through the ring after the one before.
            let file = platform.open(&path, OpenMode::READ).await.unwrap();
            file.read_at(0, BLOCK_BYTES).await.unwrap();
            drop(file);
            reactor.yield_now().await;
        }
        let begin = Instant::now();
        while open_descriptors(&path) > 0 {
            assert!(begin.elapsed() < Duration::from_secs(10), "a descriptor leaks");
            reactor.yield_now().await;
        }
    });
}

#[test]
fn a_core_that_rests_is_woken_by_its_disk() {
    with_reactor(|_, platform, directory| async move {
        let path = directory.join("blocks");
        numbered_blocks(&platform, &path, 1).await;
        let file = platform.open(&path, OpenMode::WRITE).await.unwrap();
        for _ in 0..200 {
            // Nothing else runs meanwhile, so that the executor parks between the two.
            let buffer = file.read_at(0, BLOCK_BYTES).await.unwrap();
            let mut copy = platform.allocate(BLOCK_BYTES);
            copy.copy_from_slice(&buffer);
            file.write_at(copy, 0).await.unwrap();
        }
    });
}

/// Two cores that pass a ball to each other by their bells, which rest in between or not.
fn play(spin: Duration, passes: u32, pause: fn(u32) -> Duration) {
    let balls: Arc<[AtomicU32; 2]> = Arc::default();
    let wakers: Arc<[AtomicWaker; 2]> = Arc::default();
    let players = [0, 1].map(|me| {
        let (balls, wakers) = (Arc::clone(&balls), Arc::clone(&wakers));
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(1 << 20)
            .ring_depth(128)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1));
        let play = move || async move {
            let reactor = Reactor::new(1 << 20, 0, spin).unwrap();
            let game = async {
                for pass in 1..=passes {
                    let caught = poll_fn(|context| {
                        wakers[me].register(&reactor.listen(context.waker()));
                        let is_here = balls[me].load(Ordering::SeqCst) >= pass;
                        if is_here { Poll::Ready(true) } else { Poll::Pending }
                    });
                    // The first ball is player 0's own.
                    assert!(me == 0 && pass == 1 || caught.await);
                    let pause = pause(pass);
                    if !pause.is_zero() {
                        ::glommio::timer::sleep(pause).await;
                    }
                    let (other, ball) = (1 - me, if me == 0 { pass } else { pass + 1 });
                    balls[other].store(ball, Ordering::SeqCst);
                    wakers[other].wake();
                }
            };
            let hang = async {
                ::glommio::timer::sleep(PATIENCE).await;
                panic!("a ring was lost");
            };
            game.or(hang).await;
            reactor.close().await;
        };
        executor.spawn(play).unwrap()
    });
    for player in players {
        player.join().unwrap();
    }
}

#[test]
fn a_core_that_is_roused_looks_around() {
    with_reactor(|reactor, _, _| async move {
        let rouser = reactor.rouser();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // Ends when the core has looked.
            while receiver.try_recv().is_err() {
                rouser.rouse();
                std::thread::yield_now();
            }
        });
        let mut polls = 0;
        poll_fn(|context| {
            reactor.listen(context.waker());
            polls += 1;
            if polls > 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        sender.send(()).unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn no_ring_of_another_core_is_lost() {
    play(Duration::ZERO, 20_000, |_| Duration::ZERO);
    play(Duration::from_micros(20), 20_000, |_| Duration::ZERO);
    // Long enough for the other to rest, and sometimes just about.
    play(Duration::ZERO, 2_000, |pass| Duration::from_micros(u64::from(pass % 128)));
}
