//! One body of code on both platforms: the seam holds, and the simulator is as harsh as it must be.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::{Path, PathBuf};

use ::glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::glommio::GlommioPlatform;
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
        .spawn(move || async move { test(GlommioPlatform::new().unwrap(), path).await })
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

#[test]
fn block_appended_on_glommio_is_read_back() {
    on_glommio(append_and_read);
}

#[test]
fn block_appended_on_sim_is_read_back() {
    on_sim(append_and_read);
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
