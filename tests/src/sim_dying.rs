//! Histories on two drives, one of which dies while the store is served, stays dead for a while, and comes
//! back or is lost for good.
//!
//! What is judged: keys of a dead drive are refused or answered right, all others are answered right; once
//! the drive is back and the store was started again, everything that was acknowledged is there.

use crate::sim::{Machine, join_two};
use crate::sim_life::{Ending, Life};
use crate::sim_shape::{Form, Shape};
use crate::sim_world::{Tolerance, World};
use engine::platform::Platform;
use std::path::PathBuf;
use std::time::Duration;

/// What became of the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It came back while the store was served, or between two lives.
    Back,
    Lost,
}

struct History {
    machine: Machine,
    world: World,
}

/// Runs the history of a seed.
///
/// # Errors
/// Everything that broke a rule.
pub fn run(seed: u64) -> Result<Fate, Vec<String>> {
    let shape = Shape::choose(seed, Some(Form::Short)).on_two_drives();
    let history = History { machine: shape.machine(seed), world: World::new(seed, shape) };
    history.world.with_versions.set(seed.is_multiple_of(2));
    let fate = history.run();
    let violations = history.world.violations();
    if violations.is_empty() { Ok(fate) } else { Err(violations) }
}

impl History {
    fn run(&self) -> Fate {
        let Self { machine, world } = self;
        self.life(Ending::Close, None);
        let drive = machine.dirs[world.below(2) as usize].clone();
        self.tolerate(true);
        self.life(Ending::any(world), Some(drive));
        for _ in 0..world.below(3) {
            self.life(Ending::any(world), None);
        }
        if world.one_in(4) {
            self.life(Ending::Look, None);
            return Fate::Lost;
        }
        machine.sim.mend();
        self.tolerate(false);
        self.life(Ending::any(world), None);
        self.life(Ending::Look, None);
        Fate::Back
    }

    fn tolerate(&self, faults: bool) {
        self.world.tolerance.set(Tolerance { faults, ..self.world.tolerance.get() });
    }

    /// One life, in the midst of which a drive dies; now and then it comes back before the end.
    fn life(&self, ending: Ending, dies: Option<PathBuf>) {
        let Self { machine, world } = self;
        if !world.violations().is_empty() {
            return;
        }
        let first = world.answered.get() == 0;
        let life = Life { machine, world, ending, first, last: false, damage: None };
        let platform = machine.sim.platform();
        let (death, comes_back) = (world.below(40_000), world.one_in(3));
        let dying = async {
            let Some(drive) = dies else { return };
            platform.sleep(Duration::from_micros(death)).await;
            machine.sim.break_below(&drive);
            if comes_back {
                platform.sleep(Duration::from_micros(death)).await;
                machine.sim.mend();
            }
        };
        let outcome = machine.sim.run_until(join_two(life.live(None), dying));
        world.stop();
        machine.sim.crash();
        if let Ok((Err(error), ())) = outcome {
            world.fail(format!("a start was refused ({ending:?}): {error}"));
        }
    }
}
