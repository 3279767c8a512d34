//! A store on a simulated disk whose bytes are changed before it is started: checkpoints, replay of both logs, reads,
//! the offline check.
//!
//! An input is a list of changes: which block of those that hold something, where in it, which bytes. Its first byte
//! says whether the checksums of the files that are changed are made to fit again, along both logs' chains.
//!
//! Oracles: nothing panics, hangs or spins, whatever stands on the disk; where checksums were left as they were, what
//! is read of a key is what was once written to it, whole; the store is checked; and it still takes a write and reads it
//! back, or says why not.

mod image;
mod repair;

use crate::reader::Reader;
use engine::platform::BLOCK_BYTES;
use engine::platform::sim::SimPlatform;
use engine::verify::{Listener, check};
use engine::{Engine, Error, ListQuery, Shared, Which};
use image::{BUCKET, DATA_DIR, Image, KEYS, body, options, put};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// Made once: all inputs are changes of the same store.
static IMAGE: LazyLock<Image> = LazyLock::new(Image::make);

/// Changes of one input.
const CHANGES_MAX: usize = 12;

/// How many blocks of the store hold something: numbers of blocks are taken modulo this.
pub fn block_count() -> usize {
    IMAGE.used_blocks().len()
}

pub fn run(input: &[u8]) {
    let mut reader = Reader::new(input);
    let is_repaired = reader.u8() & 1 == 1;
    let mut image = IMAGE.clone();
    let blocks = image.used_blocks();
    let mut changed = Vec::new();
    while !reader.is_empty() && changed.len() < CHANGES_MAX {
        let (file, block) = blocks[usize::from(reader.u16()) % blocks.len()];
        let offset = block * BLOCK_BYTES + usize::from(reader.u16()) % BLOCK_BYTES;
        let bytes = reader.short();
        let place = &mut image.files[file].1[offset..];
        let count = bytes.len().min(place.len());
        place[..count].copy_from_slice(&bytes[..count]);
        changed.push(file);
    }
    if is_repaired {
        changed.sort_unstable();
        changed.dedup();
        let salt = image.salt();
        changed.iter().for_each(|file| repair::file(salt, &mut image.files[*file]));
    }
    let sim = image.machine();
    let dirs = [PathBuf::from(DATA_DIR)];
    let platform = sim.platform();
    drop(sim.run_until(check(&platform, &dirs, Listener::default())).expect("nothing crashes"));
    let served = sim.run_until(serve(&platform, is_repaired)).expect("nothing crashes");
    drop(served);
    let platform = sim.platform();
    drop(sim.run_until(check(&platform, &dirs, Listener::default())).expect("nothing crashes"));
}

/// Starts the store and asks it for everything.
async fn serve(platform: &SimPlatform, is_repaired: bool) -> Result<(), Error> {
    use engine::platform::Platform;
    let dirs = [PathBuf::from(DATA_DIR)];
    let store = engine::store::open_or_format(platform, &dirs, || image::FORMAT).await?;
    let engine =
        Engine::start(platform.clone(), store.layout.clone(), options(), Shared::new(1), 0).await?;
    if let Some(bucket) = engine.catalog().bucket(BUCKET) {
        for key in 0..KEYS {
            let Ok(Some(mut reader)) =
                engine.open(bucket.id, &image::key(key), Which::Latest).await
            else {
                continue;
            };
            let size = reader.info().current.size;
            let (mut read, mut is_whole) = (Vec::new(), false);
            while let Ok(chunk) = reader.next().await {
                match chunk {
                    Some(chunk) => read.extend_from_slice(chunk.as_ref()),
                    None => {
                        is_whole = true;
                        break;
                    }
                }
            }
            if is_whole && !is_repaired {
                assert_eq!(read.len() as u64, size);
                let is_known = (0..image::ROUNDS).any(|round| read == body(key, round));
                assert!(is_known, "of key {key} something is read that was never written");
            }
        }
        let query = ListQuery { limit: 1000, ..ListQuery::default() };
        drop(engine.list(bucket.id, &query).await);
        if put(&engine, bucket.id, b"fresh", b"of this life").await.is_ok() {
            match engine.open(bucket.id, b"fresh", Which::Latest).await {
                Ok(Some(mut reader)) => match reader.next().await {
                    Ok(Some(chunk)) => assert_eq!(chunk.as_ref(), b"of this life"),
                    other => panic!("a write that was acknowledged reads as {other:?}"),
                },
                other => panic!("a write that was acknowledged is not there: {other:?}"),
            }
        }
    }
    // Background work goes on for a while.
    platform.sleep(Duration::from_secs(2)).await;
    engine.close().await;
    Ok(())
}
