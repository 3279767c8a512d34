//! What the host can give, held against the configuration, before anything is started.
//!
//! Invariant: after [`plan`] has returned, the data directories of a new store exist, no two directories
//! are the same, and the tuning rules have found nothing that would keep the server from running.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tuning::{Facts, Needs, Root, Severity};

use super::device::DeviceTuning;
use crate::config::{Config, Cores, Placement};
use crate::limits;
use crate::privileges;
use crate::start_error::StartError;
use crate::sys;

/// The configuration with what was left to the host filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Executors.
    pub cores: usize,
    /// The CPUs to spread them over; none: wherever the scheduler likes.
    pub cpus: Option<Vec<usize>>,
    /// The memory budget of the process.
    pub memory_bytes: u64,
    /// What the measured profiles of the drives ask for.
    pub device: DeviceTuning,
}

/// What a host whose memory cannot be read is taken to have.
const MEMORY_BYTES_UNKNOWN: u64 = 2 << 30;

/// Makes the data directories, looks at the host, logs what is to be said of it, and refuses one that
/// cannot carry the server.
pub fn plan(config: &Config) -> Result<Plan, StartError> {
    let data_dirs = make_data_dirs(&config.data_dirs, config.user.as_deref())?;
    if let Err(error) = tuning::apply::raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    sys::keep_freed_memory();
    let facts = Facts::read(&Root::host(), &data_dirs);
    let plan = fill_in(config, &facts);
    check_memory(config, &plan)?;
    report(&tuning::check(&facts, &needs(config, &plan)))?;
    Ok(Plan { device: DeviceTuning::read(&facts.data_dirs, plan.cores), ..plan })
}

/// What a server of this configuration would ask of this host.
pub(crate) fn needs_of(config: &Config, facts: &Facts) -> Needs {
    needs(config, &fill_in(config, facts))
}

fn fill_in(config: &Config, facts: &Facts) -> Plan {
    let cores = match &config.cores {
        Cores::All => facts.cores.clamp(1, limits::CORES_MAX),
        Cores::Count(count) => *count,
        Cores::List(cpus) => cpus.len(),
    };
    let cpus = match (&config.cores, config.placement) {
        (_, Placement::Unbound) => None,
        (Cores::List(cpus), Placement::Pinned) => Some(cpus.clone()),
        (_, Placement::Pinned) if facts.cpus.len() < cores => None,
        (_, Placement::Pinned) => Some(facts.cpus.clone()),
    };
    let half = facts.memory_bytes.unwrap_or(MEMORY_BYTES_UNKNOWN) / 2;
    let memory_bytes = config.memory_bytes.unwrap_or(half);
    Plan { cores, cpus, memory_bytes, device: DeviceTuning::default() }
}

fn needs(config: &Config, plan: &Plan) -> Needs {
    let cpus = match &config.cores {
        Cores::List(cpus) => cpus.clone(),
        Cores::All | Cores::Count(_) => Vec::new(),
    };
    let connections = config.max_connections.saturating_add(limits::ADMIN_CONNECTIONS_MAX);
    let segment_files = plan.cores.saturating_mul(limits::SEGMENT_FILES_PER_CORE);
    Needs {
        cores: plan.cores,
        cpus,
        pinned: config.placement == Placement::Pinned,
        memory_bytes: plan.memory_bytes,
        io_memory_bytes: limits::RUNTIME_IO_MEMORY_BYTES as u64,
        open_files: limits::OPEN_FILES_RESERVE + connections as u64 + segment_files as u64,
        backlog: limits::LISTEN_BACKLOG,
    }
}

/// The I/O buffers come out of the budget; half of it must remain for the index and for bodies.
fn check_memory(config: &Config, plan: &Plan) -> Result<(), StartError> {
    let buffers = (config.io_memory_bytes as u64).saturating_mul(plan.cores as u64);
    if buffers <= plan.memory_bytes / 2 {
        return Ok(());
    }
    let reason = format!(
        "{} cores with {} bytes of I/O buffers each take more than half of the memory budget of {} \
         bytes; lower --io-memory or --cores, or raise --memory",
        plan.cores, config.io_memory_bytes, plan.memory_bytes
    );
    Err(StartError::Config { place: "--io-memory".to_string(), reason })
}

fn report(findings: &[tuning::Finding]) -> Result<(), StartError> {
    for finding in findings {
        match finding.severity {
            Severity::Error => tracing::error!(rule = finding.rule, "{finding}"),
            Severity::Warn => tracing::warn!(rule = finding.rule, "{finding}"),
            Severity::Info => tracing::info!(rule = finding.rule, "{finding}"),
        }
    }
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(StartError::Host(finding.to_string())),
        None => Ok(()),
    }
}

/// Makes the directories of a new store, and returns those that there are. Beside a directory that holds a
/// store nothing is made: what is missing there is a dead drive's, or one that is not mounted.
/// They belong to whom the server will be.
fn make_data_dirs(dirs: &[PathBuf], user: Option<&str>) -> Result<Vec<PathBuf>, StartError> {
    let user = user.map(privileges::find).transpose()?;
    let is_new = !dirs.iter().any(|dir| holds_store(dir));
    // Each directory is one drive's; two names of one directory would be two owners of the same files.
    let mut seen: Vec<((u64, u64), &PathBuf)> = Vec::new();
    let mut present = Vec::new();
    for dir in dirs {
        let context = || format!("making the data directory {}", dir.display());
        if is_new {
            privileges::make_data_dir(dir, user.as_ref())
                .map_err(|e| StartError::io(context(), e))?;
        }
        let metadata = match fs::metadata(dir) {
            Ok(metadata) => metadata,
            Err(error) if is_new => return Err(StartError::io(context(), error)),
            Err(_) => continue,
        };
        let identity = (metadata.dev(), metadata.ino());
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == identity) {
            let reason =
                format!("{} and {} are the same directory", other.display(), dir.display());
            return Err(StartError::Config { place: "--data-dir".to_string(), reason });
        }
        seen.push((identity, dir));
        if is_new || holds_store(dir) {
            present.push(dir.clone());
        }
    }
    Ok(present)
}

/// Whether a directory belongs to a store, as far as its names tell.
pub(crate) fn holds_store(dir: &Path) -> bool {
    dir.join(engine::store::SUPERBLOCK).exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn data_directories_are_made_and_must_differ() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("a/one"), root.path().join("two"));
        make_data_dirs(&[one.clone(), two.clone()], None).unwrap();
        make_data_dirs(&[one.clone(), two.clone()], None).unwrap();
        fs::remove_dir(&two).unwrap();
        std::os::unix::fs::symlink(&one, &two).unwrap();
        let message = make_data_dirs(&[one.clone(), two], None).unwrap_err().to_string();
        assert!(message.contains("same directory"), "{message}");
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(make_data_dirs(&[file], None).is_err());
    }

    #[test]
    fn beside_a_store_no_directory_is_made() {
        let root = tempfile::tempdir().unwrap();
        let (one, gone) = (root.path().join("one"), root.path().join("gone"));
        fs::create_dir(&one).unwrap();
        fs::write(one.join("superblock"), "").unwrap();
        assert_eq!(make_data_dirs(&[gone.clone(), one.clone()], None).unwrap(), [one]);
        assert!(!gone.exists());
    }
}
