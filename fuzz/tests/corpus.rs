//! The regression corpus, and a bounded number of seeded changes of it, without libFuzzer: what runs on every
//! toolchain and in CI. `RINGFORT_FUZZ_RUNS` says how many changes each target gets, `RINGFORT_FUZZ_TARGET` which one
//! gets any.

#![allow(clippy::unwrap_used)]

use ringfort_fuzz::chance::Chance;
use ringfort_fuzz::mutate::mutated;
use ringfort_fuzz::{TARGETS, Target};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A target gets this many changed inputs, or as many as it does in this time.
const RUNS: u64 = 400;
const TIME_MAX: Duration = Duration::from_secs(2);

/// No input of a corpus may take longer, in a build that is not optimised: one that does is an attack.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|_| panic!("{} is missing", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Runs one input; if it fails, says which it was.
fn try_input(name: &str, target: Target, input: &[u8], what: &str) {
    let start = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let path =
            std::env::temp_dir().join(format!("ringfort-fuzz-{name}-{}", std::process::id()));
        fs::write(&path, input).unwrap();
        panic!("{name} fails for {what}; the input lies in {}", path.display());
    }
    let took = start.elapsed();
    assert!(took < INPUT_TIME_MAX, "{name} took {took:?} for {what}");
}

#[test]
fn every_input_of_the_corpus_passes() {
    for (name, target) in TARGETS {
        for (path, input) in corpus(name) {
            try_input(name, *target, &input, &path.display().to_string());
        }
    }
}

#[test]
fn changed_inputs_of_the_corpus_pass() {
    let runs = std::env::var("RINGFORT_FUZZ_RUNS").ok();
    let (runs, time_max) = match runs.map(|text| text.parse().expect("a number of runs")) {
        Some(runs) => (runs, Duration::MAX),
        None => (RUNS, TIME_MAX),
    };
    let only = std::env::var("RINGFORT_FUZZ_TARGET").ok();
    let is_wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    for (name, target) in TARGETS.iter().filter(|(name, _)| is_wanted(name)) {
        let inputs: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, input)| input).collect();
        let start = Instant::now();
        for seed in (0..runs).take_while(|_| start.elapsed() < time_max) {
            let mut chance = Chance::new(seed);
            let [input, other] = [(); 2].map(|()| &inputs[chance.below(inputs.len())]);
            let input = mutated(&mut chance, input, other);
            try_input(name, *target, &input, &format!("seed {seed}"));
        }
    }
}
