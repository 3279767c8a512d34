//! What completing an upload costs in memory, measured by counting what is allocated.

// A global allocator cannot be written in safe Rust.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used)]

use ringfort_engine::platform::sim::{Sim, SimOptions};
use ringfort_engine::store::{EngineOptions, FormatOptions, open_or_format};
use ringfort_engine::{Commit, CompletePart, Engine, Shared};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicIsize, Ordering};

struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = layout.size() as isize;
        let allocated = ALLOCATED.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(allocated, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`; the block came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PARTS: u16 = 2000;
/// Far above what a table of the parts takes, far below what one for each part would.
const BYTES_MAX: isize = 24 << 20;

#[test]
fn completing_an_upload_does_not_cost_memory_by_the_square_of_its_parts() {
    let format =
        FormatOptions { shard_count: 1, segment_bytes: 16 << 20, capacity_bytes: 256 << 20 };
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let dirs = [PathBuf::from("/data")];
        let store = open_or_format(&platform, &dirs, || format).await.unwrap();
        let (layout, options) = (store.layout.clone(), EngineOptions::default());
        let engine =
            Engine::start(platform.clone(), layout, options, Shared::new(1), 0).await.unwrap();
        let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
        let upload = engine.create_upload(bucket, b"key", Vec::new()).await.unwrap();
        let mut parts = Vec::new();
        for number in 1..=PARTS {
            let writer = engine.part_writer(bucket, b"key", upload, number, Some(0)).await.unwrap();
            let version = writer.finish(Commit::default()).await.unwrap().version;
            parts.push(CompletePart { number, version });
        }
        let before = ALLOCATED.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let complete = engine.complete_upload(bucket, b"key", upload, parts, Commit::default());
        complete.await.unwrap();
        let cost = PEAK.load(Ordering::Relaxed) - before;
        assert!(cost < BYTES_MAX, "{cost} bytes");
    })
    .unwrap();
}
