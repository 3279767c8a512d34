//! A pass on the simulator, over more than one removal at a time.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::ops::{Owner, internal};
use crate::settings::{self, BucketSetting};
use crate::workers::lifecycle::{Expiration, Filter, FilterForm, Rule};
use engine::platform::sim::{Sim, SimOptions, SimPlatform};
use engine::store::{EngineOptions, FormatOptions, open_or_format};
use engine::{VersionItem, VersionsQuery};
use futures_lite::future::zip;
use std::collections::BTreeMap;
use std::path::PathBuf;

const DAY: Duration = Duration::from_secs(1);
/// More than are removed at once.
const COUNT: usize = 3 * LIFECYCLE_CONCURRENT;

async fn start_engine(platform: SimPlatform) -> Engine<SimPlatform> {
    let dirs = [PathBuf::from("/data")];
    let format =
        FormatOptions { shard_count: 2, segment_bytes: 2 << 20, capacity_bytes: 256 << 20 };
    let store = open_or_format(&platform, &dirs, || format).await.unwrap();
    let options = EngineOptions { fill_ahead_bytes: 64 << 10, ..EngineOptions::default() };
    let shared = engine::Shared::new(1);
    let engine = Engine::start(platform, store.layout.clone(), options, shared, 0);
    let engine = engine.await.unwrap();
    // The lock must outlive the engine.
    std::mem::forget(store);
    engine
}

/// A rule that lets all objects expire, and all uploads end, after a day.
fn lifecycle() -> Lifecycle {
    let filter = Filter {
        form: FilterForm::Single,
        prefix: None,
        tags: Vec::new(),
        size_greater_than: None,
        size_less_than: None,
    };
    let (id, expiration) = ("all".to_owned(), Some(Expiration::Days(1)));
    let abort_days = Some(1);
    Lifecycle {
        rules: vec![Rule {
            id,
            is_enabled: true,
            filter,
            expiration,
            noncurrent: None,
            abort_days,
        }],
    }
}

/// What a pass leaves of a bucket.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    objects: usize,
    markers: usize,
    uploads: usize,
}

/// Lets a pass go over objects and uploads that are all due, and makes a change once something of it is
/// done.
fn pass_over(
    is_time: impl Fn(&Progress) -> bool,
    change: impl AsyncFnOnce(&Engine<SimPlatform>, &Bucket),
    check: impl FnOnce(Left),
) {
    let sim = Sim::new(1, SimOptions::default());
    let platform = sim.platform();
    sim.run_until(async {
        let engine = start_engine(platform.clone()).await;
        let services = Rc::new(Services { day: Day::of(DAY), ..Services::default() });
        let rules = settings::encode(&lifecycle()).unwrap();
        let settings = BTreeMap::from([(Lifecycle::TAG, rules)]);
        let bucket = engine.create_bucket("bucket", settings).await.unwrap();
        for number in 0..COUNT {
            let key = format!("{number:02}");
            internal::put_object(&engine, &services, &bucket, &key, b"x").await.unwrap();
            engine.create_upload(bucket.id, key.as_bytes(), Vec::new()).await.unwrap();
        }
        platform.sleep(3 * DAY).await;
        let owner = Rc::new(Owner::of_access_key("root"));
        let worker = Worker {
            engine: engine.clone(),
            day: services.day,
            services,
            origin: Origin { owner, region: String::new(), host_id: String::new() },
            stop: Stop::default(),
            progress: Rc::default(),
        };
        let changed = async {
            while !is_time(&worker.progress) {
                platform.sleep(Duration::from_millis(1)).await;
            }
            change(&engine, &bucket).await;
        };
        zip(worker.pass(), changed).await;
        let query = VersionsQuery { limit: 1000, ..VersionsQuery::default() };
        let versions = engine.list_versions(bucket.id, &query).await.unwrap().items;
        let is_marker = |item: &&VersionItem| {
            matches!(item, VersionItem::Version { current, .. } if current.is_marker)
        };
        let markers = versions.iter().filter(is_marker).count();
        let query = UploadsQuery { limit: 1000, ..UploadsQuery::default() };
        let uploads = engine.list_uploads(bucket.id, &query).await.unwrap().items.len();
        check(Left { objects: versions.len() - markers, markers, uploads });
    })
    .unwrap();
}

#[test]
fn versioning_that_is_switched_on_keeps_the_rest_of_a_page() {
    let enable = async |engine: &Engine<SimPlatform>, bucket: &Bucket| {
        let versioning = VersioningSetting { enabled: true, mfa_delete: None };
        settings::put(engine, bucket, &versioning).await.unwrap();
    };
    pass_over(
        |progress| progress.expired.get() > 0,
        enable,
        |left| {
            assert!(left.markers > 0 && left.markers < COUNT, "{left:?}");
            assert_eq!((left.objects, left.uploads), (left.markers, 0));
        },
    );
}

#[test]
fn rules_that_are_taken_away_spare_the_rest_of_a_page() {
    let end = async |engine: &Engine<SimPlatform>, bucket: &Bucket| {
        settings::remove::<_, Lifecycle>(engine, bucket).await.unwrap();
    };
    pass_over(
        |progress| progress.expired.get() > 0,
        end,
        |left| {
            assert!(left.objects > 0 && left.objects < COUNT, "{left:?}");
            assert_eq!((left.markers, left.uploads), (0, COUNT));
        },
    );
    pass_over(
        |progress| progress.uploads.get() > 0,
        end,
        |left| {
            assert!(left.uploads > 0 && left.uploads < COUNT, "{left:?}");
            assert_eq!((left.objects, left.markers), (0, 0));
        },
    );
}
