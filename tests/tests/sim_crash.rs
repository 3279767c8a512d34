//! Crash safety on the simulator: no history may break a rule of the model.
#![allow(clippy::unwrap_used)]

use ringfort_tests::sim::seeds;
use ringfort_tests::sim_history::{Kind, campaign, run};
use ringfort_tests::sim_shape::Form;

#[test]
fn no_crash_loses_or_invents_anything() {
    let summary = campaign("no_crash_loses_or_invents_anything", seeds(600), Kind::default());
    assert!(summary.answered > 0, "{summary:?}");
}

#[test]
fn no_io_error_loses_or_invents_anything() {
    let kind = Kind { faults: true, ..Kind::default() };
    let summary = campaign("no_io_error_loses_or_invents_anything", seeds(400), kind);
    assert!(summary.answered > 0, "{summary:?}");
}

/// Thousands of operations each.
#[test]
fn no_long_history_loses_or_invents_anything() {
    let kind = Kind { form: Some(Form::Long), ..Kind::default() };
    let summary = campaign("no_long_history_loses_or_invents_anything", seeds(4), kind);
    assert!(summary.answered > 4000, "{summary:?}");
}

/// Little space, so that it is used again and again, and is short.
#[test]
fn no_full_store_loses_or_invents_anything() {
    let kind = Kind { form: Some(Form::Tight), ..Kind::default() };
    let summary = campaign("no_full_store_loses_or_invents_anything", seeds(20), kind);
    assert!(summary.recycled > 50, "{summary:?}");
}

#[test]
fn no_crash_loses_or_invents_a_version() {
    let kind = Kind { versions: true, ..Kind::default() };
    let summary = campaign("no_crash_loses_or_invents_a_version", seeds(300), kind);
    assert!(summary.answered > 0, "{summary:?}");
}

#[test]
fn no_io_error_loses_or_invents_a_version() {
    let kind = Kind { faults: true, versions: true, ..Kind::default() };
    let summary = campaign("no_io_error_loses_or_invents_a_version", seeds(200), kind);
    assert!(summary.answered > 0, "{summary:?}");
}

#[test]
fn no_long_history_loses_or_invents_a_version() {
    let kind = Kind { form: Some(Form::Long), versions: true, ..Kind::default() };
    let summary = campaign("no_long_history_loses_or_invents_a_version", seeds(2), kind);
    assert!(summary.answered > 2000, "{summary:?}");
}

#[test]
fn no_full_store_loses_or_invents_a_version() {
    let kind = Kind { form: Some(Form::Tight), versions: true, ..Kind::default() };
    let summary = campaign("no_full_store_loses_or_invents_a_version", seeds(20), kind);
    assert!(summary.recycled > 20, "{summary:?}");
}

/// Without this a seed would be worth nothing.
#[test]
fn one_seed_gives_one_history() {
    for seed in 0..6 {
        let once = run(seed, Kind::default()).unwrap();
        let twice = run(seed, Kind::default()).unwrap();
        assert_eq!(once, twice, "seed {seed}");
    }
}
