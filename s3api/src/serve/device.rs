//! The measured profiles of the drives, and what the engine does with them.
//!
//! Invariant: whatever a profile says, the engine stays within its own bounds, and a profile that is
//! damaged, of another version or of another device never keeps a server from starting.
//!
//! Not here: how a device is measured (`tuning::measure`).

use std::fmt;

use engine::limits::{
    CHUNK_WRITES_IN_FLIGHT, CHUNK_WRITES_IN_FLIGHT_MAX, GROUPS_IN_FLIGHT_MAX, READ_AHEAD_WINDOWS,
    READ_AHEAD_WINDOWS_MAX,
};
use engine::store::EngineOptions;
use tuning::DeviceProfile;
use tuning::facts::DataDir;
use tuning::profile::{Identity, knee};

use crate::limits::{
    PROFILE_CHUNK_WRITES_MAX, PROFILE_GROUPS_MIN, PROFILE_READ_AHEAD_MAX, PROFILE_READS_MIN,
};

/// What of the engine follows from the drives; without profiles its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTuning {
    pub read_ahead_windows: usize,
    pub chunk_writes_in_flight: usize,
    pub groups_in_flight_max: usize,
    /// Of one core on one drive.
    pub reads_in_flight_max: usize,
}

/// Share of the best rate, in percent, that is as good as the best: for one stream, and for all that a
/// device is asked at once.
const STREAM_PERCENT: u64 = 90;
const DEVICE_PERCENT: u64 = 95;

const _: () = assert!(PROFILE_READ_AHEAD_MAX <= READ_AHEAD_WINDOWS_MAX);
const _: () = assert!(PROFILE_CHUNK_WRITES_MAX <= CHUNK_WRITES_IN_FLIGHT_MAX);

impl Default for DeviceTuning {
    fn default() -> Self {
        let engine = EngineOptions::default();
        Self {
            read_ahead_windows: engine.read_ahead_windows,
            chunk_writes_in_flight: engine.chunk_writes_in_flight,
            groups_in_flight_max: engine.groups_in_flight_max,
            reads_in_flight_max: engine.reads_in_flight_max,
        }
    }
}

impl DeviceTuning {
    /// Reads the profiles of all drives and says which are used. Only all of them together are: what a
    /// drive without one gives is not known.
    pub(crate) fn read(dirs: &[DataDir], cores: usize) -> Self {
        let mut profiles = Vec::new();
        let mut refused = false;
        for dir in dirs {
            match DeviceProfile::load(&dir.path, &Identity::of(dir)) {
                Ok(profile) => profiles.extend(profile),
                Err(reason) => {
                    refused = true;
                    let path = dir.path.display();
                    tracing::warn!(
                        %path,
                        "the device profile is not used: {reason}; `ringfort tune` makes a new one"
                    );
                }
            }
        }
        if profiles.is_empty() || profiles.len() < dirs.len() {
            if !refused {
                tracing::info!(
                    profiles = profiles.len(),
                    drives = dirs.len(),
                    "not every drive was measured, and defaults are used; `ringfort tune` measures"
                );
            }
            return Self::default();
        }
        let tuning = Self::of(&profiles, cores);
        tracing::info!(drives = dirs.len(), "measured device profiles are used: {tuning}");
        tuning
    }

    /// What drives with these profiles ask for: of several the most, so that none is held back.
    pub fn of(profiles: &[DeviceProfile], cores: usize) -> Self {
        let most = |of: &dyn Fn(&DeviceProfile) -> Option<usize>, usual: usize| {
            profiles.iter().map(|profile| of(profile).unwrap_or(usual)).max().unwrap_or(usual)
        };
        let at = |depth: Option<u32>| depth.map(|depth| depth as usize);
        let usual = Self::default();
        Self {
            read_ahead_windows: most(
                &|p| at(knee(&p.figures.window_reads, STREAM_PERCENT)),
                usual.read_ahead_windows,
            )
            .clamp(READ_AHEAD_WINDOWS, PROFILE_READ_AHEAD_MAX),
            chunk_writes_in_flight: most(
                &|p| at(knee(&p.figures.large_writes, STREAM_PERCENT)),
                usual.chunk_writes_in_flight,
            )
            .clamp(CHUNK_WRITES_IN_FLIGHT, PROFILE_CHUNK_WRITES_MAX),
            groups_in_flight_max: most(
                &|p| at(knee(&p.figures.durable_writes, STREAM_PERCENT)),
                usual.groups_in_flight_max,
            )
            .clamp(PROFILE_GROUPS_MIN, GROUPS_IN_FLIGHT_MAX),
            reads_in_flight_max: most(&|p| reads_in_flight(p, cores), usual.reads_in_flight_max)
                .max(PROFILE_READS_MIN),
        }
    }
}

/// Twice what fills the device, shared among the cores: its queue stays full while cores take turns.
/// None if it was not seen to be full.
fn reads_in_flight(profile: &DeviceProfile, cores: usize) -> Option<usize> {
    let steps = &profile.figures.small_reads;
    let full = knee(steps, DEVICE_PERCENT)?;
    let deepest = steps.last()?.depth;
    (full < deepest).then(|| (full as usize * 2).div_ceil(cores.max(1)))
}

impl fmt::Display for DeviceTuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} windows read ahead, {} chunks of an upload and {} groups of a shard written at once, ",
            self.read_ahead_windows, self.chunk_writes_in_flight, self.groups_in_flight_max
        )?;
        match self.reads_in_flight_max {
            usize::MAX => write!(f, "small reads in flight without a bound"),
            reads => write!(f, "at most {reads} reads of a core in flight on a drive"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tuning::facts::{Facts, Root};
    use tuning::measure::{Figures, Step};

    fn steps(rates: &[(u32, u64)]) -> Vec<Step> {
        let step = |(depth, per_second): &(u32, u64)| Step {
            depth: *depth,
            request_bytes: 4096,
            requests: 10,
            per_second: *per_second,
            p50_us: 80,
            p99_us: 100,
            max_us: 200,
        };
        rates.iter().map(step).collect()
    }

    /// Full with 64 small reads, 4 windows, 4 chunks, 2 groups.
    fn figures() -> Figures {
        Figures {
            file_bytes: 1 << 30,
            alignment_bytes: 512,
            flush: steps(&[(1, 20_000)])[0],
            small_reads: steps(&[(1, 12_000), (16, 180_000), (64, 600_000), (128, 610_000)]),
            window_reads: steps(&[(1, 5000), (2, 9000), (4, 12_000), (8, 12_100)]),
            large_writes: steps(&[(1, 1000), (2, 1800), (4, 3000), (8, 3000)]),
            durable_writes: steps(&[(1, 1000), (2, 2000), (4, 2000)]),
        }
    }

    fn profile(figures: Figures) -> DeviceProfile {
        let device = Identity { filesystem: None, disks: Vec::new() };
        DeviceProfile::new(None, device, figures)
    }

    #[test]
    fn figures_become_options_within_the_bounds_of_the_engine() {
        let tuning = DeviceTuning::of(&[profile(figures())], 2);
        let expected = DeviceTuning {
            read_ahead_windows: 4,
            chunk_writes_in_flight: 4,
            groups_in_flight_max: 2,
            reads_in_flight_max: 64,
        };
        assert_eq!(tuning, expected);
        assert_eq!(
            DeviceTuning::of(&[profile(figures())], 64).reads_in_flight_max,
            PROFILE_READS_MIN
        );

        let flat = Figures {
            small_reads: steps(&[(1, 100), (4, 100)]),
            window_reads: steps(&[(1, 100), (2, 100)]),
            large_writes: steps(&[(1, 100)]),
            durable_writes: steps(&[(1, 100)]),
            ..figures()
        };
        let tuning = DeviceTuning::of(&[profile(flat.clone())], 1);
        assert_eq!(tuning.read_ahead_windows, READ_AHEAD_WINDOWS);
        assert_eq!(tuning.chunk_writes_in_flight, CHUNK_WRITES_IN_FLIGHT);
        assert_eq!(tuning.groups_in_flight_max, PROFILE_GROUPS_MIN);
        assert_eq!(tuning.reads_in_flight_max, PROFILE_READS_MIN);

        let steep = Figures {
            small_reads: steps(&[(1, 100), (4000, 400_000)]),
            window_reads: steps(&[(1, 1), (4000, 4000)]),
            large_writes: steps(&[(1, 1), (4000, 4000)]),
            durable_writes: steps(&[(1, 1), (4000, 4000)]),
            ..figures()
        };
        let tuning = DeviceTuning::of(&[profile(steep)], 1);
        assert_eq!(tuning.read_ahead_windows, PROFILE_READ_AHEAD_MAX);
        assert_eq!(tuning.chunk_writes_in_flight, PROFILE_CHUNK_WRITES_MAX);
        assert_eq!(tuning.groups_in_flight_max, GROUPS_IN_FLIGHT_MAX);
        assert_eq!(tuning.reads_in_flight_max, usize::MAX, "its end was not seen");

        // Of two drives the one that takes more decides.
        let both = DeviceTuning::of(&[profile(flat), profile(figures())], 2);
        assert_eq!(both, expected);
    }

    #[test]
    fn profiles_are_used_when_every_drive_has_one() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let facts = Facts::read(&Root::host(), &[one.path().into(), two.path().into()]);
        let dirs = &facts.data_dirs;
        let read = || DeviceTuning::read(dirs, 2);
        assert_eq!(read(), DeviceTuning::default());
        let save = |dir: &DataDir| {
            let profile = DeviceProfile::new(None, Identity::of(dir), figures());
            profile.save(&dir.path).unwrap();
        };
        save(&dirs[0]);
        assert_eq!(read(), DeviceTuning::default());
        save(&dirs[1]);
        assert_eq!(read().read_ahead_windows, 4);
        std::fs::write(dirs[1].path.join(tuning::profile::FILE), "{").unwrap();
        assert_eq!(read(), DeviceTuning::default());
    }

    #[test]
    fn what_is_measured_is_what_the_engine_does() {
        assert_eq!(tuning::limits::WINDOW_READ_BYTES, engine::limits::READ_WINDOW_BYTES);
        assert_eq!(tuning::limits::LARGE_WRITE_BYTES, engine::limits::CHUNK_BYTES_MAX);
        assert_eq!(tuning::limits::LARGE_WRITE_BYTES, engine::limits::GROUP_BYTES_TARGET);
    }
}
