//! The measured profile of a device, kept in its data directory for the engine's next start.
//!
//! Invariants: a profile is whole or it is not there (written beside, synced, renamed); what is used
//! was written by this version for the device that is there now. A profile says what is fast, never what
//! is right: without one, or with a wrong one, everything works.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::facts::DataDir;
use crate::limits::PROFILE_BYTES_MAX;
use crate::measure::{Figures, Step};
use crate::{Error, Result};

/// The file in a data directory.
pub const FILE: &str = "device-profile.json";
const FILE_NEW: &str = "device-profile.json.new";
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProfile {
    pub version: u32,
    /// Seconds since 1970.
    pub measured_at_s: u64,
    pub kernel: Option<String>,
    pub device: Identity,
    pub figures: Figures,
}

/// By what a device is known again. Names change from start to start, and serial numbers are nobody's
/// business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub filesystem: Option<String>,
    pub disks: Vec<DiskIdentity>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIdentity {
    pub model: Option<String>,
    pub size_bytes: Option<u64>,
    pub logical_block_bytes: Option<u64>,
}

impl Identity {
    pub fn of(dir: &DataDir) -> Self {
        let disks = dir.device.as_ref().map_or(&[][..], |device| &device.disks);
        let disk = |disk: &crate::facts::Disk| DiskIdentity {
            model: disk.model.clone(),
            size_bytes: disk.size_bytes,
            logical_block_bytes: disk.logical_block_bytes,
        };
        Self {
            filesystem: dir.mount.as_ref().map(|mount| mount.kind.clone()),
            disks: disks.iter().map(disk).collect(),
        }
    }
}

/// Why a profile that is there is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it has version {0}, and this is {VERSION}")]
    OtherVersion(u64),
    #[error("it was measured on another device or filesystem")]
    OtherDevice,
}

impl DeviceProfile {
    /// As of now.
    pub fn new(kernel: Option<String>, device: Identity, figures: Figures) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let measured_at_s = since.map_or(0, |since| since.as_secs());
        Self { version: VERSION, measured_at_s, kernel, device, figures }
    }

    /// The profile of a directory's device, if there is one.
    ///
    /// # Errors
    /// There is one, and it is not to be used.
    pub fn load(dir: &Path, device: &Identity) -> std::result::Result<Option<Self>, Unusable> {
        let mut text = String::new();
        // Neither followed nor waited for, whatever lies there.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        match OpenOptions::new().read(true).custom_flags(flags).open(dir.join(FILE)) {
            Ok(file) => file.take(PROFILE_BYTES_MAX).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let profile = Self::parse(&text)?;
        if profile.device != *device {
            return Err(Unusable::OtherDevice);
        }
        Ok(Some(profile))
    }

    fn parse(text: &str) -> std::result::Result<Self, Unusable> {
        let damaged = |error: serde_json::Error| Unusable::Damaged(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(damaged)?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(Unusable::OtherVersion(version)),
            None => return Err(Unusable::Damaged("it has no version".to_string())),
        }
        let profile: Self = serde_json::from_value(value).map_err(damaged)?;
        profile.check().map_err(Unusable::Damaged)?;
        Ok(profile)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let Figures { small_reads, window_reads, large_writes, durable_writes, .. } = &self.figures;
        [small_reads, window_reads, large_writes, durable_writes]
            .into_iter()
            .try_for_each(|s| check(s))
    }

    /// Puts the profile into the directory, in the place of the one that was there.
    ///
    /// # Errors
    /// It cannot be written, or would not be read back; the former one is there then.
    pub fn save(&self, dir: &Path) -> Result<()> {
        self.check().map_err(|_| {
            let text = "in some step not one request ended: give it more --seconds";
            Error::NotMeasured(format!("{}: {text}", dir.display()))
        })?;
        let write = || {
            let (new, path) = (dir.join(FILE_NEW), dir.join(FILE));
            let mut text = serde_json::to_string_pretty(self)?;
            text.push('\n');
            let mut options = OpenOptions::new();
            // The server that reads it may be another user's.
            options.write(true).create_new(true).mode(0o644);
            // What another run left; nothing is followed that lies there instead.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = options.open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|e| Error::io(format!("writing {FILE} in {}", dir.display()), e))
    }
}

/// Steps of rising depth, of which something was measured.
fn check(steps: &[Step]) -> std::result::Result<(), String> {
    let rises = steps.windows(2).all(|pair| pair[0].depth < pair[1].depth);
    let measured = steps.iter().all(|step| step.depth > 0 && step.per_second > 0);
    if steps.is_empty() || !rises || !measured {
        return Err("its figures make no sense".to_string());
    }
    Ok(())
}

/// The smallest depth that gives `percent` of the best rate; what is beyond only waits longer.
pub fn knee(steps: &[Step], percent: u64) -> Option<u32> {
    let best = steps.iter().map(|step| step.per_second).max()?;
    let enough = best.saturating_mul(percent) / 100;
    steps.iter().find(|step| step.per_second >= enough).map(|step| step.depth)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

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

    fn device() -> Identity {
        let disk = DiskIdentity {
            model: Some("Fast Drive".to_string()),
            size_bytes: Some(1 << 40),
            logical_block_bytes: Some(4096),
        };
        Identity { filesystem: Some("xfs".to_string()), disks: vec![disk] }
    }

    fn profile() -> DeviceProfile {
        let figures = Figures {
            file_bytes: 1 << 30,
            alignment_bytes: 512,
            flush: steps(&[(1, 20_000)])[0],
            small_reads: steps(&[(1, 12_000), (16, 180_000), (64, 600_000), (128, 610_000)]),
            window_reads: steps(&[(1, 5000), (4, 12_000)]),
            large_writes: steps(&[(1, 2000), (2, 3000)]),
            durable_writes: steps(&[(1, 2000)]),
        };
        DeviceProfile::new(Some("6.18".to_string()), device(), figures)
    }

    #[test]
    fn what_was_saved_is_loaded_and_replaces_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DeviceProfile::load(dir.path(), &device()).unwrap().is_none());
        fs::write(dir.path().join(FILE_NEW), "of a process that was killed").unwrap();
        fs::write(dir.path().join(FILE), "an older one").unwrap();
        profile().save(dir.path()).unwrap();
        let loaded = DeviceProfile::load(dir.path(), &device()).unwrap().unwrap();
        assert_eq!(DeviceProfile { measured_at_s: loaded.measured_at_s, ..profile() }, loaded);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(profile().save(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn what_is_damaged_or_of_another_device_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&profile()).unwrap();
        let load = |text: &str| {
            fs::write(dir.path().join(FILE), text).unwrap();
            DeviceProfile::load(dir.path(), &device()).unwrap_err()
        };
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            assert!(matches!(load(&text[..cut]), Unusable::Damaged(_)), "{cut}");
        }
        let changed = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(profile()).unwrap();
            change(&mut value);
            load(&value.to_string())
        };
        let damages: [&dyn Fn(&mut serde_json::Value); 4] = [
            &|value| value["figures"]["small_reads"] = json!([]),
            &|value| value["figures"]["small_reads"][1]["depth"] = json!(1),
            &|value| value["figures"]["window_reads"][0]["per_second"] = json!(0),
            &|value| value["figures"]["flush"]["p50_us"] = json!(-1),
        ];
        for damage in damages {
            assert!(matches!(changed(damage), Unusable::Damaged(_)));
        }
        let other = changed(&|value| value["version"] = json!(2));
        assert!(matches!(other, Unusable::OtherVersion(2)), "{other}");
        let other = changed(&|value| value["device"]["disks"][0]["size_bytes"] = json!(1));
        assert!(matches!(other, Unusable::OtherDevice), "{other}");
        fs::write(dir.path().join(FILE), [0xFF; 10]).unwrap();
        assert!(matches!(DeviceProfile::load(dir.path(), &device()), Err(Unusable::Io(_))));
    }

    #[test]
    fn the_knee_is_where_more_at_once_gives_no_more() {
        let figures = profile().figures;
        assert_eq!(knee(&figures.small_reads, 95), Some(64));
        assert_eq!(knee(&figures.small_reads, 100), Some(128));
        assert_eq!(knee(&figures.small_reads, 1), Some(1));
        assert_eq!(knee(&[], 95), None);
    }
}
