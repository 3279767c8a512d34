//! An object that gets another key has one of its two keys at every moment: whatever fails, whoever
//! looks, whoever writes at the same time.
//!
//! `RINGFORT_SIM_SEEDS` says how many histories of racing clients are run.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use engine::limits::INLINE_BYTES_MAX;
use engine::platform::sim::{Fault, Sim, SimOptions, SimPlatform};
use engine::store::{FormatOptions, Mutation};
use engine::verify::{Listener, check};
use engine::{
    BucketId, Commit, Committed, CompletePart, Condition, ConditionFailure, Deletion, Engine,
    Error, Etag, Guard, PartInfo, Version, Which,
};
use ringfort_tests::harness::setting;
use ringfort_tests::sim::{Machine, Random, Running, join_all, join_two, seeds, within};
use std::collections::BTreeMap;
use std::time::Duration;

const CORES: usize = 2;

const FORMAT: FormatOptions =
    FormatOptions { shard_count: 4, segment_bytes: 1 << 20, capacity_bytes: 64 << 20 };

/// Nothing takes longer, unless it hangs.
const LONGEST: Duration = Duration::from_secs(600);

const LARGE: usize = INLINE_BYTES_MAX + 50_000;

fn machine(seed: u64, mutation: Option<Mutation>) -> Machine {
    let mut machine = Machine::new(seed, FORMAT);
    machine.options.mutation = mutation;
    // Every look is to be an I/O: a loop of looks without one would leave nobody else a turn.
    machine.options.hot_record_bytes = 0;
    machine
}

/// An object as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    size: usize,
    byte: u8,
    etag: Etag,
    label: u8,
    attributes: Vec<u8>,
    parts: Vec<PartInfo>,
}

async fn see(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
) -> Result<Option<Seen>, Error> {
    let Some(mut reader) = engine.open(bucket, key.as_bytes(), Which::Latest).await? else {
        return Ok(None);
    };
    let info = reader.info().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await? {
        bytes.extend_from_slice(chunk.as_ref());
    }
    let byte = bytes.first().copied().unwrap_or_default();
    assert!(bytes.iter().all(|found| *found == byte), "the bytes of {key} are mixed");
    assert_eq!(bytes.len() as u64, info.current.size);
    let (etag, label) = (info.current.etag, info.current.label);
    let (attributes, parts) = (info.attributes, info.parts);
    Ok(Some(Seen { size: bytes.len(), byte, etag, label, attributes, parts }))
}

fn commit_of(byte: u8, parts: u16) -> Commit {
    Commit {
        etag: Etag { md5: [byte; 16], parts },
        label: byte,
        attributes: vec![byte; 20],
        ..Commit::default()
    }
}

async fn put(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    (byte, size): (u8, usize),
) -> Result<Committed, Error> {
    let mut writer = engine.writer(bucket, key.as_bytes(), Some(size as u64)).await?;
    fill(&mut writer, byte, size).await?;
    writer.finish(commit_of(byte, 0)).await
}

async fn fill(
    writer: &mut engine::ObjectWriter<SimPlatform>,
    byte: u8,
    size: usize,
) -> Result<(), Error> {
    let mut left = size;
    while left > 0 {
        let spare = writer.spare();
        let count = spare.len().min(left);
        spare[..count].fill(byte);
        writer.advance(count).await?;
        left -= count;
    }
    Ok(())
}

/// An object of three parts.
async fn put_parts(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    key: &str,
    byte: u8,
) -> Result<Committed, Error> {
    let key = key.as_bytes();
    let upload = engine.create_upload(bucket, key, Vec::new()).await?;
    let mut parts = Vec::new();
    for (number, size) in [(1, LARGE), (4, 70), (9, 5000)] {
        let size_told = Some(size as u64);
        let mut writer = engine.part_writer(bucket, key, upload, number, size_told).await?;
        fill(&mut writer, byte, size).await?;
        let attributes = vec![byte, number as u8];
        let commit = Commit { attributes, ..commit_of(byte, 0) };
        let version = writer.finish(commit).await?.version;
        parts.push(CompletePart { number, version });
    }
    engine.complete_upload(bucket, key, upload, parts, commit_of(byte, 3)).await
}

/// Renames whatever is there now.
async fn rename(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    from: &str,
    to: &str,
) -> Result<Committed, Error> {
    rename_if(engine, bucket, from, to, Box::new(|_| Ok(())), None).await
}

async fn rename_if(
    engine: &Engine<SimPlatform>,
    bucket: BucketId,
    from: &str,
    to: &str,
    guard: Guard,
    condition: Option<Condition>,
) -> Result<Committed, Error> {
    let reader = engine.open(bucket, from.as_bytes(), Which::Latest).await?;
    let reader = reader.ok_or(Error::Condition(ConditionFailure::NoSuchKey))?;
    let info = reader.info().clone();
    let copy = engine.copy_object(reader, bucket, to.as_bytes()).await?;
    let commit = Commit {
        etag: info.current.etag,
        label: info.current.label,
        attributes: info.attributes,
        condition,
        ..Commit::default()
    };
    engine.rename(from.as_bytes(), guard, copy, commit).await
}

/// What is under the former key and under the new one, before a rename.
#[derive(Debug, Clone, Copy)]
enum Case {
    Small,
    SmallOverSmall,
    EmptyOverLarge,
    LargeOverSmall,
    PartsOverLarge,
}

const CASES: [Case; 5] = [
    Case::Small,
    Case::SmallOverSmall,
    Case::EmptyOverLarge,
    Case::LargeOverSmall,
    Case::PartsOverLarge,
];

/// Some lie in one shard, some in two of one core, some in two of different cores.
const KEYS: [(&str, &str); 4] = [("from", "to"), ("to", "from"), ("a", "d/e"), ("x", "y")];

/// One rename, struck at some moment.
struct Trial {
    machine: Machine,
    from: &'static str,
    to: &'static str,
    before: [Option<Seen>; 2],
    acknowledged: Option<bool>,
    /// I/Os at which the rename began and ended.
    ios: std::ops::Range<u64>,
    violations: Vec<String>,
}

impl Trial {
    /// Runs a rename; `fault` gives what goes wrong, from the numbers of I/Os and of writes at its beginning.
    fn run(
        seed: u64,
        case: Case,
        (from, to): (&'static str, &'static str),
        mutation: Option<Mutation>,
        fault: impl Fn(u64, u64) -> Option<Fault>,
    ) -> Self {
        let mut trial = Self {
            machine: machine(seed, mutation),
            from,
            to,
            before: [None, None],
            acknowledged: None,
            ios: 0..0,
            violations: Vec::new(),
        };
        let Self { machine, before, acknowledged, ios, .. } = &mut trial;
        let sim = &machine.sim;
        let _crashed = sim.run_until(async {
            let running = machine.start(CORES).await.unwrap();
            let engine = running.engine(0);
            let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
            match case {
                Case::Small | Case::SmallOverSmall => put(engine, bucket, from, (1, 3000)).await,
                Case::EmptyOverLarge => put(engine, bucket, from, (0, 0)).await,
                Case::LargeOverSmall => put(engine, bucket, from, (1, LARGE)).await,
                Case::PartsOverLarge => put_parts(engine, bucket, from, 1).await,
            }
            .unwrap();
            match case {
                Case::Small => {}
                Case::SmallOverSmall | Case::LargeOverSmall => {
                    put(engine, bucket, to, (2, 500)).await.unwrap();
                }
                Case::EmptyOverLarge | Case::PartsOverLarge => {
                    put(engine, bucket, to, (2, LARGE)).await.unwrap();
                }
            }
            // Witness groups and the like are not part of the rename.
            running.quiet().await;
            for (key, seen) in [from, to].into_iter().zip(before.iter_mut()) {
                *seen = see(engine, bucket, key).await.unwrap();
            }
            let begin = sim.counters();
            ios.start = begin.ios;
            if let Some(fault) = fault(begin.ios, begin.writes) {
                sim.inject(fault);
            }
            *acknowledged = Some(rename(engine, bucket, from, to).await.is_ok());
            ios.end = sim.counters().ios;
        });
        sim.forget_faults();
        sim.crash();
        trial
    }

    /// Starts, struck by a crash at the I/O with this number of the start.
    fn strike_start(&self, nth: u64) -> bool {
        let sim = &self.machine.sim;
        sim.crash_before_io(sim.counters().ios + nth);
        let started = sim.run_until(async {
            self.machine.start(CORES).await.map(drop).unwrap();
        });
        sim.forget_faults();
        sim.crash();
        started.is_err()
    }

    /// Starts and looks.
    fn judge(mut self) -> Vec<String> {
        let Self { machine, from, to, before, acknowledged, .. } = &self;
        let [source, target] = before.clone();
        let judged = machine.sim.run_until(async {
            let running = machine.start(CORES).await.unwrap();
            let engine = running.engine(1);
            let mut violations = Vec::new();
            let bucket = engine.catalog().bucket("bucket").unwrap().id;
            let seen =
                (see(engine, bucket, from).await.unwrap(), see(engine, bucket, to).await.unwrap());
            let happened = seen == (None, source.clone());
            let not = seen == (source, target);
            match acknowledged {
                Some(true) if !happened => {
                    violations.push(format!("it was acknowledged: {seen:?}"))
                }
                _ if !happened && !not => violations.push(format!("it is half done: {seen:?}")),
                _ => {}
            }
            if engine.catalog().buckets().count() != 1 {
                violations.push("an intent is left".into());
            }
            // The store works on, with both keys.
            rename(engine, bucket, if happened { to } else { from }, "third").await.unwrap();
            put(engine, bucket, to, (7, 70)).await.unwrap();
            running.close().await;
            violations
        });
        self.violations.extend(judged.unwrap());
        let platform = self.machine.sim.platform();
        let dirs = &self.machine.dirs;
        match self.machine.sim.run_until(check(&platform, dirs, Listener::default())) {
            Ok(Ok(report)) if report.is_clean() => {}
            other => self.violations.push(format!("the store does not pass its check: {other:?}")),
        }
        self.violations
    }
}

/// Strikes every I/O of renames; gives how many runs there were, and what was wrong.
fn sweep(mutation: Option<Mutation>, stride: usize) -> (u64, Vec<String>) {
    let (mut runs, mut violations) = (0, Vec::new());
    let mut note = |what: String, found: Vec<String>| {
        runs += 1;
        violations.extend(found.into_iter().map(|violation| format!("{what}: {violation}")));
    };
    for (case, seed) in CASES.into_iter().zip(0..) {
        for keys in KEYS {
            let whole = Trial::run(seed, case, keys, mutation, |_, _| None);
            assert_eq!(whole.acknowledged, Some(true));
            let ios = whole.ios.end - whole.ios.start;
            assert!(ios >= 4, "{ios}");
            note(format!("{case:?} {keys:?}"), whole.judge());
            for io in (1..=ios).step_by(stride) {
                let before = Trial::run(seed, case, keys, mutation, |ios, _| {
                    Some(Fault::CrashBefore { io: ios + io })
                });
                note(format!("{case:?} {keys:?} before {io}"), before.judge());
                let after = Trial::run(seed, case, keys, mutation, |ios, _| {
                    Some(Fault::CrashAfter { io: ios + io })
                });
                note(format!("{case:?} {keys:?} after {io}"), after.judge());
                // The start after the crash may be cut short as well.
                for nth in (1..).step_by(3 * stride) {
                    let fault = |ios, _| Some(Fault::CrashAfter { io: ios + io });
                    let again = Trial::run(seed, case, keys, mutation, fault);
                    let struck = again.strike_start(nth);
                    note(format!("{case:?} {keys:?} after {io}, start {nth}"), again.judge());
                    if !struck {
                        break;
                    }
                }
                let failing = Trial::run(seed, case, keys, mutation, |_, writes| {
                    Some(Fault::WriteError { nth: writes + io })
                });
                note(format!("{case:?} {keys:?} write error {io}"), failing.judge());
            }
        }
    }
    (runs, violations)
}

#[test]
fn a_crash_at_any_moment_leaves_one_of_the_names() {
    let stride = setting("RINGFORT_SWEEP_STRIDE", 3).max(1) as usize;
    let (runs, violations) = sweep(None, stride);
    eprintln!("{runs} renames struck");
    assert!(violations.is_empty(), "{} violations: {:#?}", violations.len(), violations.get(..5));
}

#[test]
fn a_rename_that_nothing_tells_of_is_caught() {
    let (_, violations) = sweep(Some(Mutation::RenameWithoutIntent), 3);
    assert!(violations.iter().any(|violation| violation.contains("half done")), "{violations:?}");
}

#[test]
fn whoever_looks_finds_one_of_the_names() {
    for seed in seeds(60) {
        let machine = machine(seed, None);
        let size = if seed.is_multiple_of(2) { 100 } else { LARGE };
        let (from, to) = KEYS[seed as usize % KEYS.len()];
        let looked = machine.sim.run_until(async {
            let running = machine.start(CORES).await.unwrap();
            let engine = running.engine(0);
            let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
            put(engine, bucket, from, (1, size)).await.unwrap();
            let renamed = std::cell::Cell::new(false);
            let look = async |core: usize| {
                let engine = running.engine(core);
                let mut looks = 0;
                loop {
                    let last = renamed.get();
                    // The name that it gets first: where it is found, the former one is gone.
                    let is_at_new = see(engine, bucket, to).await.unwrap().is_some();
                    let is_at_former = see(engine, bucket, from).await.unwrap().is_some();
                    assert!(!(is_at_new && is_at_former), "seed {seed}: two names");
                    assert!(is_at_new || is_at_former || !last, "seed {seed}: no name");
                    // And the other way about.
                    let is_at_former = see(engine, bucket, from).await.unwrap().is_some();
                    let is_at_new = see(engine, bucket, to).await.unwrap().is_some();
                    assert!(is_at_former || is_at_new, "seed {seed}: no name");
                    looks += 1;
                    if last {
                        assert!(is_at_new && !is_at_former);
                        return looks;
                    }
                }
            };
            let work = async {
                rename(engine, bucket, from, to).await.unwrap();
                renamed.set(true);
            };
            let (looks, ()) = join_two(join_all([look(0), look(1)]), work).await;
            running.close().await;
            looks
        });
        assert!(looked.unwrap().iter().all(|looks| *looks > 1));
    }
}

#[test]
fn racing_renames_neither_hang_nor_double_an_object() {
    const RACED: [&str; 4] = ["a", "b", "c", "d"];
    for seed in seeds(60) {
        let machine = machine(seed, None);
        let clients = async |running: &Running, bucket: BucketId| {
            let client = async |number: u8| {
                let mut random = Random::new(seed.wrapping_mul(31) + u64::from(number));
                let engine = running.engine(usize::from(number));
                for turn in 0..12u8 {
                    let (key, other) = (*random.pick(&RACED), *random.pick(&RACED));
                    let done = match random.below(5) {
                        0 => {
                            let size = if random.one_in(4) { LARGE } else { 50 };
                            put(engine, bucket, key, (number * 50 + turn + 1, size)).await.map(drop)
                        }
                        1 => {
                            let deleted =
                                engine.delete(bucket, key.as_bytes(), Deletion::NULL, None);
                            deleted.await.map(drop)
                        }
                        _ => rename(engine, bucket, key, other).await.map(drop),
                    };
                    assert!(
                        matches!(done, Ok(()) | Err(Error::Condition(_))),
                        "seed {seed}: {done:?}"
                    );
                }
            };
            join_all([client(0), client(1), client(2)]).await;
        };
        let look = async |running: &Running| {
            let engine = running.engine(0);
            let bucket = engine.catalog().bucket("bucket").unwrap().id;
            let mut found = Vec::new();
            for key in RACED {
                found.extend(see(engine, bucket, key).await.unwrap().map(|seen| seen.byte));
            }
            let distinct = found.iter().collect::<std::collections::BTreeSet<_>>().len();
            assert_eq!(distinct, found.len(), "seed {seed}: an object has two names");
        };
        // Half of the histories are cut short.
        let ended = machine.sim.run_until(async {
            let running = machine.start(CORES).await.unwrap();
            let bucket =
                running.engine(0).create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
            if seed.is_multiple_of(2) {
                let io = machine.sim.counters().ios + 1 + seed * 7 % 150;
                machine.sim.crash_after_io(io);
            }
            let all = clients(&running, bucket);
            let ended = within(&machine.sim.platform(), LONGEST, all).await;
            assert!(ended.is_some(), "seed {seed}: it hangs");
            look(&running).await;
            assert_eq!(running.engine(0).catalog().buckets().count(), 1, "seed {seed}");
            running.close().await;
        });
        assert!(ended.is_ok() || seed.is_multiple_of(2), "seed {seed}");
        machine.sim.forget_faults();
        machine.sim.crash();
        machine
            .sim
            .run_until(async {
                let running = machine.start(CORES).await.unwrap();
                look(&running).await;
                running.close().await;
            })
            .unwrap();
    }
}

/// Others take whatever room there is. A rename is refused before it has begun, or it
/// ends: nothing here fails, so none may leave the object with two keys.
#[test]
fn renames_in_a_full_store_are_whole_or_refused() {
    let (mut done, mut refused) = (0, 0);
    for seed in seeds(12) {
        // The store was promised more than the disk has.
        let disk = SimOptions { disk_bytes: 40 << 20, ..SimOptions::default() };
        let machine = Machine { sim: Sim::new(seed, disk), ..machine(seed, None) };
        let ended = machine.sim.run_until(async {
            let running = machine.start(CORES).await.unwrap();
            let engine = running.engine(0);
            let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
            for number in 0..2 {
                put(engine, bucket, &format!("renamed/{number}/0"), (2, 100)).await.unwrap();
            }
            let filler = async |number: u64| {
                let mut random = Random::new(seed << 8 | number);
                for _ in 0..60 {
                    let deletes = random.one_in(2);
                    let one = async |turn: u64| {
                        let key = format!("filler/{number}/{turn}");
                        if deletes {
                            let key = key.as_bytes();
                            engine.delete(bucket, key, Deletion::NULL, None).await.map(drop)
                        } else {
                            put(engine, bucket, &key, (1, 60_000)).await.map(drop)
                        }
                    };
                    let first = random.below(200);
                    for written in join_all((first..first + 60).map(one)).await {
                        let is_fine = matches!(written, Ok(()) | Err(Error::OutOfSpace));
                        assert!(is_fine, "seed {seed}: {written:?}");
                    }
                }
                (0, 0)
            };
            let renamer = async |number: u64| {
                let (mut done, mut refused) = (0, 0);
                let key = |turn: u64| format!("renamed/{number}/{}", turn % 40);
                for turn in 0..300 {
                    match rename(engine, bucket, &key(turn - refused), &key(turn - refused + 1))
                        .await
                    {
                        Ok(_) => done += 1,
                        Err(Error::OutOfSpace | Error::Busy) => refused += 1,
                        Err(error) => panic!("seed {seed}: {error:?}"),
                    }
                }
                (done, refused)
            };
            let tallies = join_two(
                join_all([filler(0), filler(1), filler(2)]),
                join_all([renamer(0), renamer(1)]),
            );
            let ended = within(&machine.sim.platform(), LONGEST * 10, tallies).await;
            let (_, renamed) = ended.unwrap_or_else(|| panic!("seed {seed}: it hangs"));
            running.close().await;
            renamed
        });
        for (ended, gave_up) in ended.unwrap() {
            done += ended;
            refused += gave_up;
        }
    }
    assert!(done > 0 && refused > 0, "{done} renamed, {refused} refused");
}

#[test]
fn what_does_not_allow_it_changes_nothing() {
    let machine = machine(1, None);
    let refused = ConditionFailure::Refused(5);
    machine
        .sim
        .run_until(async {
            let running = machine.start(CORES).await.unwrap();
            let engine = running.engine(0);
            let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
            for size in [10, LARGE] {
                put(engine, bucket, "from", (1, size)).await.unwrap();
                put(engine, bucket, "to", (2, size)).await.unwrap();
                let free = engine.metrics().available_bytes;
                let no_guard = || -> Guard { Box::new(|_| Ok(())) };
                let guard: Guard = Box::new(move |attributes| {
                    assert_eq!(attributes, [1; 20]);
                    Err(refused)
                });
                let failed = rename_if(engine, bucket, "from", "to", guard, None).await;
                assert!(
                    matches!(failed, Err(Error::Condition(failure)) if failure == refused),
                    "{failed:?}"
                );
                let condition: Condition = Box::new(move |current| {
                    assert_eq!(current.unwrap().etag.md5, [2; 16]);
                    Err(refused)
                });
                let failed =
                    rename_if(engine, bucket, "from", "to", no_guard(), Some(condition)).await;
                assert!(
                    matches!(failed, Err(Error::Condition(failure)) if failure == refused),
                    "{failed:?}"
                );
                let failed = rename(engine, bucket, "from", "from").await;
                assert!(matches!(failed, Err(Error::Condition(_))), "{failed:?}");

                // It was replaced after it was copied.
                let reader = engine.open(bucket, b"from", Which::Latest).await.unwrap().unwrap();
                let copy = engine.copy_object(reader, bucket, b"to").await.unwrap();
                put(engine, bucket, "from", (1, size)).await.unwrap();
                let failed = engine.rename(b"from", no_guard(), copy, commit_of(1, 0)).await;
                let stale = Error::Condition(ConditionFailure::Superseded).to_string();
                assert_eq!(failed.unwrap_err().to_string(), stale);

                // It was removed after it was copied.
                let reader = engine.open(bucket, b"from", Which::Latest).await.unwrap().unwrap();
                let copy = engine.copy_object(reader, bucket, b"to").await.unwrap();
                engine.delete(bucket, b"from", Deletion::NULL, None).await.unwrap();
                let failed = engine.rename(b"from", no_guard(), copy, commit_of(1, 0)).await;
                let gone = Error::Condition(ConditionFailure::NoSuchKey).to_string();
                assert_eq!(failed.unwrap_err().to_string(), gone);

                // A copy that nothing becomes of.
                let reader = engine.open(bucket, b"to", Which::Latest).await.unwrap().unwrap();
                drop(engine.copy_object(reader, bucket, b"other").await.unwrap());

                put(engine, bucket, "from", (1, size)).await.unwrap();
                running.quiet().await;
                let lost = free.saturating_sub(engine.metrics().available_bytes);
                assert!(lost < LARGE as u64, "{lost} bytes are gone");
                let seen = see(engine, bucket, "from").await.unwrap().unwrap();
                assert_eq!((seen.byte, seen.size), (1, size));
                let seen = see(engine, bucket, "to").await.unwrap().unwrap();
                assert_eq!((seen.byte, seen.size), (2, size));
                assert_eq!(engine.catalog().buckets().count(), 1);
            }
            running.close().await;
        })
        .unwrap();
}

#[test]
fn what_was_written_after_a_rename_that_failed_is_kept() {
    // The shard of the former key fails at the tombstone; the object has both names until the next start,
    // and whoever writes to one of them meanwhile wins.
    for nth in 1..12 {
        let machine = machine(nth, None);
        let written = machine.sim.run_until(async {
            let running = machine.start(CORES).await.unwrap();
            let engine = running.engine(0);
            let bucket = engine.create_bucket("bucket", BTreeMap::new()).await.unwrap().id;
            put(engine, bucket, "from", (1, 100)).await.unwrap();
            running.quiet().await;
            machine.sim.inject(Fault::WriteError { nth: machine.sim.counters().writes + nth });
            let renamed = rename(engine, bucket, "from", "to").await;
            machine.sim.forget_faults();
            let mut written: BTreeMap<&str, Version> = BTreeMap::new();
            for (key, byte) in [("from", 3), ("to", 4)] {
                if let Ok(committed) = put(engine, bucket, key, (byte, 200)).await {
                    written.insert(key, committed.version);
                }
            }
            (renamed.is_ok(), written)
        });
        machine.sim.crash();
        let (renamed, written) = written.unwrap();
        machine
            .sim
            .run_until(async {
                let running = machine.start(CORES).await.unwrap();
                let engine = running.engine(0);
                let bucket = engine.catalog().bucket("bucket").unwrap().id;
                for (key, version) in written {
                    let current =
                        engine.lookup(bucket, key.as_bytes(), Which::Latest).await.unwrap();
                    let current = current.map(|current| current.version);
                    assert_eq!(current, Some(version), "{key} after write {nth} failed, {renamed}");
                }
                running.close().await;
            })
            .unwrap();
    }
}
