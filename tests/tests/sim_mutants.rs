//! The campaign must notice an engine that breaks its own rules: one that leaves out a sync,
//! acknowledges or publishes too early, uses space again too soon, or forgets what was deleted.
//!
//! Each mutant is run over seeds that the unbroken engine passes, until one of them fails.
#![allow(clippy::print_stderr)]

use engine::store::Mutation;
use ringfort_tests::sim_history::{Kind, run};
use ringfort_tests::sim_shape::Form;

/// A mutant that survives so many histories is a failure of the campaign.
const SEEDS_MAX: u64 = 200;

fn check(mutation: Mutation) {
    check_form(mutation, None);
}

/// With histories of one form, for rules that matter in few others.
fn check_form(mutation: Mutation, form: Option<Form>) {
    check_kind(mutation, Kind { form, ..Kind::default() });
}

fn check_kind(mutation: Mutation, kind: Kind) {
    let caught = (0..SEEDS_MAX).find_map(|seed| {
        run(seed, Kind { mutation: Some(mutation), ..kind })
            .err()
            .map(|violations| (seed, violations))
    });
    let Some((seed, violations)) = caught else {
        panic!("{mutation:?} survived {SEEDS_MAX} histories");
    };
    let first = violations.first().and_then(|text| text.lines().next()).unwrap_or_default();
    eprintln!("{mutation:?} was caught by history {} of {SEEDS_MAX}: {first}", seed + 1);
    for seed in 0..=seed {
        let unbroken = run(seed, kind);
        assert!(unbroken.is_ok(), "seed {seed} fails without a mutation too: {unbroken:?}");
    }
}

#[test]
fn a_log_that_is_not_synced_is_caught() {
    check(Mutation::SkipLogSync);
}

#[test]
fn bodies_that_are_not_synced_before_their_manifest_are_caught() {
    check(Mutation::SkipDataSync);
}

#[test]
fn an_acknowledgement_that_comes_early_is_caught() {
    check(Mutation::AcknowledgeEarly);
}

#[test]
fn a_write_that_is_seen_before_it_is_durable_is_caught() {
    check(Mutation::PublishBeforeDurable);
}

#[test]
fn a_checkpoint_that_is_not_synced_is_caught() {
    check(Mutation::SkipCheckpointSync);
}

#[test]
fn a_segment_that_is_used_again_too_soon_is_caught() {
    check_form(Mutation::RecycleTooSoon, Some(Form::Tight));
}

#[test]
fn a_segment_that_is_used_again_in_the_same_epoch_is_caught() {
    check(Mutation::SkipEpochSalt);
}

#[test]
fn a_deletion_that_is_forgotten_too_soon_is_caught() {
    check_form(Mutation::DropTombstoneTooSoon, Some(Form::Tight));
}

#[test]
fn an_amendment_that_is_acknowledged_early_is_caught() {
    check_kind(Mutation::AmendBeforeDurable, Kind { versions: true, ..Kind::default() });
}

#[test]
fn the_removal_of_a_version_that_is_forgotten_too_soon_is_caught() {
    let kind = Kind { form: Some(Form::Tight), versions: true, ..Kind::default() };
    check_kind(Mutation::DropTombstoneTooSoon, kind);
}
