//! Group commit at a device whose durable write takes 4 ms: what many writers reach against one, in the
//! simulator's time, where it is the same in every run.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "the figures are what the test is for")]

use ringfort_engine as engine;

use engine::platform::Platform;
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{BucketId, Commit, Engine, Shared};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 1, segment_bytes: 64 << 20, capacity_bytes: 1 << 30 };
const ROUNDS: usize = 40;

async fn start(platform: &SimPlatform) -> (Engine<SimPlatform>, BucketId) {
    let dirs = [PathBuf::from("/data")];
    let store = open_or_format(platform, &dirs, || FORMAT).await.unwrap();
    // Zeroes written ahead would take the device from the writers at random.
    let options = EngineOptions { fill_ahead_bytes: 0, ..EngineOptions::default() };
    let layout = store.layout.clone();
    std::mem::forget(store);
    let engine = Engine::start(platform.clone(), layout, options, Shared::new(1), 0).await.unwrap();
    let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
    (engine, bucket)
}

/// A client that writes one object after the other and needs a moment between them.
async fn client(platform: SimPlatform, engine: Engine<SimPlatform>, bucket: BucketId, id: usize) {
    for round in 0..ROUNDS {
        let key = format!("{id}/{round}");
        let mut writer = engine.writer(bucket, key.as_bytes(), Some(4096)).await.unwrap();
        writer.spare()[..4096].fill(id as u8);
        writer.advance(4096).await.unwrap();
        writer.finish(Commit::default()).await.unwrap();
        let think = 50 + platform.random_u64() % 200;
        platform.sleep(Duration::from_micros(think)).await;
    }
}

/// PUTs per second of so many clients, and durable writes per PUT.
fn measure(clients: usize) -> (f64, f64) {
    let latency_ns = 4_000_000..=4_000_000;
    let sim = Sim::new(1, SimOptions { latency_ns, ..SimOptions::default() });
    let platform = sim.platform();
    sim.run_until(async {
        let (engine, bucket) = start(&platform).await;
        let (begin, groups) = (platform.monotonic_ns(), engine.metrics().log_groups_total);
        let done = std::rc::Rc::new(std::cell::Cell::new(0));
        for id in 0..clients {
            let (task, done) = (client(platform.clone(), engine.clone(), bucket, id), done.clone());
            platform.spawn(async move {
                task.await;
                done.set(done.get() + 1);
            });
        }
        while done.get() < clients {
            platform.sleep(Duration::from_millis(1)).await;
        }
        let puts = (clients * ROUNDS) as f64;
        let seconds = (platform.monotonic_ns() - begin) as f64 / 1e9;
        (puts / seconds, (engine.metrics().log_groups_total - groups) as f64 / puts)
    })
    .unwrap()
}

/// Without the moment's wait for those who were just answered (`pace.rs`) the writers fall into two
/// halves that take turns, and 64 of them reach little more than half of this.
#[test]
fn sixty_four_writers_reach_fifty_times_what_one_does() {
    let (one, groups_of_one) = measure(1);
    let (many, groups_of_many) = measure(64);
    println!(
        "1 writer: {one:.0} PUT/s, {groups_of_one:.3} groups per PUT; 64 writers: {many:.0} PUT/s, \
         {groups_of_many:.3} groups per PUT"
    );
    assert!(many >= 50.0 * one, "{many:.0} against {one:.0} PUT/s");
    assert!(groups_of_many < 0.025, "{groups_of_many:.3} groups per PUT");
}
