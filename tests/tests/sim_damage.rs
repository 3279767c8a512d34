//! Damage to the medium: a flipped bit or a zeroed block must never give wrong bytes and never make
//! acknowledged data vanish in silence. The start is refused, or the object says that it is damaged.
//! The same for writes that the device acknowledged and lost or put elsewhere.
#![allow(clippy::print_stderr)]

use ringfort_tests::sim::seeds;
use ringfort_tests::sim_damage::{TARGETS, Target};
use ringfort_tests::sim_history::{Struck, run_damaged, run_strayed};
use std::collections::BTreeMap;

#[test]
fn damage_is_refused_or_told_and_never_served() {
    let mut counts: BTreeMap<(Target, Struck), u64> = BTreeMap::new();
    let seeds = seeds(200);
    for seed in seeds.clone() {
        let target = TARGETS[seed as usize % TARGETS.len()];
        // Each target is struck in stores without versions and with them.
        let versions = (seed / TARGETS.len() as u64) % 2 == 1;
        match run_damaged(seed, target, versions) {
            Ok(struck) => *counts.entry((target, struck)).or_default() += 1,
            Err(violations) => panic!(
                "seed {seed}, {target:?}:\n{}\nto rerun: RINGFORT_SIM_FIRST_SEED={seed} \
                 RINGFORT_SIM_SEEDS=1 cargo test -p ringfort-tests damage_is_refused",
                violations.join("\n")
            ),
        }
    }
    // A campaign in which damage never strikes would prove nothing.
    let count = |wanted: Struck| -> u64 {
        counts.iter().filter(|((_, struck), _)| *struck == wanted).map(|(_, count)| count).sum()
    };
    let (refused, served) = (count(Struck::Refused), count(Struck::Served));
    let few = seeds.end - seeds.start < 200;
    assert!(few || (refused > 20 && served > 20), "{counts:?}");
    let is_struck = |target| {
        [Struck::Refused, Struck::Served].iter().any(|how| counts.contains_key(&(target, *how)))
    };
    assert!(few || TARGETS.into_iter().all(is_struck), "{counts:?}");
    eprintln!("{counts:?}");
}

#[test]
fn writes_that_went_astray_are_noticed() {
    let mut counts: BTreeMap<Struck, u64> = BTreeMap::new();
    let seeds = seeds(200);
    for seed in seeds.clone() {
        match run_strayed(seed, seed % 2 == 1) {
            Ok(struck) => *counts.entry(struck).or_default() += 1,
            Err(violations) => panic!(
                "seed {seed}:\n{}\nto rerun: RINGFORT_SIM_FIRST_SEED={seed} \
                 RINGFORT_SIM_SEEDS=1 cargo test -p ringfort-tests writes_that_went_astray",
                violations.join("\n")
            ),
        }
    }
    // What cannot be proven must stay the exception.
    let count = |struck: Struck| counts.get(&struck).copied().unwrap_or(0);
    let few = seeds.end - seeds.start < 100;
    let (refused, served) = (count(Struck::Refused), count(Struck::Served));
    assert!(few || (refused > 10 && served > 20), "{counts:?}");
    assert!(few || count(Struck::Unprovable) * 4 < refused + served, "{counts:?}");
}
