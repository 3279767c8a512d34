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
use engine::platform::sim::{Sim, SimPlatform};
use engine::platform::{BLOCK_BYTES, Platform};
use engine::verify::{Listener, check};
use engine::{Engine, Error, ListQuery, Shared, Which};
use image::{BUCKET, DATA_DIR, Image, KEYS, body, options, put, put_back, whole};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

thread_local! {
    /// Made once: all inputs are changes of the same store.
    static IMAGE: Image = Image::make();
}

/// Changes of one input.
const CHANGES_MAX: usize = 12;

/// How many blocks of the store hold something: numbers of blocks are taken modulo this.
pub fn block_count() -> usize {
    IMAGE.with(|image| image.blocks.len())
}

pub fn run(input: &[u8]) {
    let mut reader = Reader::new(input);
    let is_repaired = reader.u8() & 1 == 1;
    let sim = IMAGE.with(|image| changed(image, &mut reader, is_repaired));
    let dirs = [PathBuf::from(DATA_DIR)];
    let platform = sim.platform();
    drop(sim.run_until(check(&platform, &dirs, Listener::default())).expect("nothing crashes"));
    let served = sim.run_until(serve(&platform, is_repaired)).expect("nothing crashes");
    drop(served);
    let platform = sim.platform();
    drop(sim.run_until(check(&platform, &dirs, Listener::default())).expect("nothing crashes"));
}

/// A machine with the input's changes on its disk.
fn changed(image: &Image, reader: &mut Reader<'_>, is_repaired: bool) -> Sim {
    let sim = image.machine();
    let mut files: BTreeMap<&Path, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    for _ in 0..CHANGES_MAX {
        if reader.is_empty() {
            break;
        }
        let (path, at) = &image.blocks[usize::from(reader.u16()) % image.blocks.len()];
        let offset = *at as usize + usize::from(reader.u16()) % BLOCK_BYTES;
        let (_, after) = files.entry(path).or_insert_with(|| {
            let bytes = whole(&sim, path);
            (bytes.clone(), bytes)
        });
        let bytes = reader.short();
        let count = bytes.len().min(after.len().saturating_sub(offset));
        after[offset..offset + count].copy_from_slice(&bytes[..count]);
    }
    for (path, (before, mut after)) in files {
        if is_repaired {
            repair::file(image.salt, path, &mut after);
        }
        put_back(&sim, path, &before, &after);
    }
    sim
}

/// Starts the store and asks it for everything.
async fn serve(platform: &SimPlatform, is_repaired: bool) -> Result<(), Error> {
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
