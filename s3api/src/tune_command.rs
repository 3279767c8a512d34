//! `ringfort tune`: what this host costs the server, what to set and how to undo it, and the measured
//! profile of each drive, which the next start reads.
//!
//! Invariants: nothing of the host is changed without `--apply`, and then only what was printed; the
//! script that undoes it is on the disk first. A directory that a server uses is not measured unless
//! that is asked for, and one that is measured is not served meanwhile. The exit code says what was found
//! and not mended, whatever could be printed.
//!
//! Not here: the rules, the settings and the measurement (`tuning`), and how they are shown (`report`).

mod report;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use jiff::Timestamp;
use tuning::apply::{Lasting, Outcome, raise_open_files};
use tuning::facts::DataDir;
use tuning::measure::{Bounds, measure};
use tuning::profile::Identity;
use tuning::{DeviceProfile, Facts, Finding, Host, Root, Setting, Severity};

use crate::config::{Config, Layers, serve_command, size_within};
use crate::limits;
use crate::serve::{DeviceTuning, needs_of};
use crate::start_error::StartError;
use report::Report;

const EXIT_FOUND: u8 = 1;
/// Nothing was looked at, or something that was asked for was not done.
pub const EXIT_COULD_NOT_RUN: u8 = 2;

/// The file in a data directory that a running server has locked.
const LOCK: &str = "lock";

/// The subcommand, for clap.
pub fn tune_command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
    };
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("tune")
        .about("Say what this host costs the server and what to set, and measure its drives")
        .after_help(
            "Exit codes: 0 nothing above info, 1 a warning or an error was found and not mended, 2 \
             something could not be looked at, measured or written.\n\
             Without --apply nothing of the host is changed. Measuring loads the drives for --seconds \
             each, in a file without a name, and leaves the profile that the next start of the server \
             reads (device-profile.json in the data directory).",
        )
        .arg(
            option("data-dir", "DIR", "Where the data lies or will lie; once per drive")
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .default_value("./ringfort-data"),
        )
        .arg(flag("apply", "Set what can be set at run time; it lasts until the host restarts"))
        .arg(
            option("undo", "FILE", "With --apply: the script that undoes it, made anew")
                .requires("apply")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(flag("no-measure", "Do not measure the drives, and keep the profiles that there are"))
        .arg(
            option("seconds", "N", "How long to measure each drive")
                .default_value("10")
                .value_parser(value_parser!(u64).range(limits::TUNE_SECONDS)),
        )
        .arg(
            option("file-size", "BYTES", "The file in which each drive is measured")
                .default_value("1GiB")
                .value_parser(|text: &str| size_within(text, limits::TUNE_FILE_BYTES)),
        )
        .arg(flag("force", "Measure also a directory that a running server uses, which it slows down"))
        .arg(flag("json", "Print one JSON object a line"))
        .arg(
            option("root", "DIR", "Look at the copies of /proc and /sys under DIR; nothing is measured")
                .value_parser(value_parser!(PathBuf)),
        )
}

/// Runs the subcommand.
///
/// # Errors
/// A directory is not there or cannot be measured, the way back or a profile cannot be written.
pub fn run(arguments: &ArgMatches) -> Result<ExitCode, StartError> {
    let dirs: Vec<PathBuf> =
        arguments.get_many("data-dir").into_iter().flatten().cloned().collect();
    let path = |name: &str| arguments.get_one::<PathBuf>(name).cloned();
    let root = path("root").map_or_else(Root::host, Root::at);
    let measures = !arguments.get_flag("no-measure") && root.is_host();
    if measures && let Some(dir) = dirs.iter().find(|dir| !dir.is_dir()) {
        let reason = format!(
            "{} is not there: make it on its drive first, or say --no-measure",
            dir.display()
        );
        return Err(refused("--data-dir", reason));
    }
    let report = Report::new(arguments.get_flag("json"));
    // As the server does when it starts; the limit that counts is the one behind it.
    let _ = raise_open_files();
    let (facts, host) = (Facts::read(&root, &dirs), Host::read(&root));
    let config = usual_config()?;
    let needs = needs_of(&config, &facts);
    let findings = tuning::advise(&facts, &host, &needs);
    report.host(&facts, &host);
    report.findings(&findings);
    let settings = settings(&findings);
    let set = if arguments.get_flag("apply") {
        apply(&root, &settings, path("undo"), &report)?
    } else {
        report.could_set(settings.len());
        Vec::new()
    };
    report.lasting(&Lasting::of(settings.iter().copied()));
    if measures {
        let bounds = Bounds {
            time: Duration::from_secs(arguments.get_one("seconds").copied().unwrap_or_default()),
            file_bytes: arguments.get_one("file-size").copied().unwrap_or_default(),
        };
        let profiles = measure_all(&facts, bounds, arguments.get_flag("force"), &report)?;
        report.tuning(&DeviceTuning::of(&profiles, needs.cores));
    }
    let left = findings.iter().filter(|finding| is_left(finding, &set)).count();
    report.summary(&findings, left);
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

/// The configuration of a server that is told nothing but its environment.
fn usual_config() -> Result<Config, StartError> {
    let matches = serve_command()
        .try_get_matches_from(["serve"])
        .map_err(|error| refused("tune", error.to_string()))?;
    Config::resolve(&Layers::gather(&matches, &|name| std::env::var(name).ok())?)
}

/// Each once, in the order of the findings.
fn settings(findings: &[Finding]) -> Vec<&Setting> {
    let mut all: Vec<&Setting> = Vec::new();
    for setting in findings.iter().flat_map(|finding| &finding.settings) {
        if !all.iter().any(|known| known.path == setting.path) {
            all.push(setting);
        }
    }
    all
}

/// Sets all of them, and returns the paths of those that were.
fn apply(
    root: &Root,
    settings: &[&Setting],
    undo: Option<PathBuf>,
    report: &Report,
) -> Result<Vec<String>, StartError> {
    let settings: Vec<Setting> = settings.iter().copied().cloned().collect();
    if settings.is_empty() {
        report.nothing_to_set();
        return Ok(Vec::new());
    }
    let undo = undo.unwrap_or_else(|| {
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        PathBuf::from(format!("ringfort-tune-undo-{now}.sh"))
    });
    let outcomes = tuning::apply::apply(root, &settings, &undo)
        .map_err(|error| refused("--apply", error.to_string()))?;
    report.applied(&settings, &outcomes, &undo);
    let done = settings.into_iter().zip(outcomes).filter(|(_, what)| *what == Outcome::Done);
    Ok(done.map(|(setting, _)| setting.path).collect())
}

/// It is more than information, and not everything that it asks for was set.
fn is_left(finding: &Finding, set: &[String]) -> bool {
    let is_set = |setting: &Setting| set.contains(&setting.path);
    let mended = !finding.settings.is_empty() && finding.settings.iter().all(is_set);
    finding.severity > Severity::Info && !mended
}

fn measure_all(
    facts: &Facts,
    bounds: Bounds,
    force: bool,
    report: &Report,
) -> Result<Vec<DeviceProfile>, StartError> {
    let mut profiles = Vec::new();
    for dir in &facts.data_dirs {
        let lock = not_served(&dir.path, force)?;
        let profile = measure_one(facts, dir, bounds, report)?;
        drop(lock);
        report.profile(&dir.path, &profile);
        profiles.push(profile);
    }
    Ok(profiles)
}

fn measure_one(
    facts: &Facts,
    dir: &DataDir,
    bounds: Bounds,
    report: &Report,
) -> Result<DeviceProfile, StartError> {
    let failed = |error: tuning::Error| refused("tune", error.to_string());
    let figures = measure(&dir.path, bounds, &mut |part| report.progress(&dir.path, part));
    report.progress_ended();
    let kernel = facts.kernel.map(|kernel| format!("{}.{}", kernel.major, kernel.minor));
    let profile = DeviceProfile::new(kernel, Identity::of(dir), figures.map_err(failed)?);
    profile.save(&dir.path).map_err(failed)?;
    Ok(profile)
}

/// Makes sure that no server uses a directory, and that none begins to while the result is kept.
fn not_served(dir: &Path, force: bool) -> Result<Option<File>, StartError> {
    let path = dir.join(LOCK);
    let file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        // Not a store yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::io(format!("opening {}", path.display()), error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) if force => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let reason = format!(
                "{} is in use by a running server, which measuring would slow down: stop it, or say \
                 --no-measure or --force",
                dir.display()
            );
            Err(refused("--data-dir", reason))
        }
        Err(TryLockError::Error(error)) => {
            Err(StartError::io(format!("locking {}", path.display()), error))
        }
    }
}

fn refused(place: &str, reason: String) -> StartError {
    StartError::Config { place: place.into(), reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(arguments: &[&str]) -> Result<ArgMatches, clap::Error> {
        tune_command().try_get_matches_from([&["tune"], arguments].concat())
    }

    #[test]
    fn the_command_line_has_bounds() {
        tune_command().debug_assert();
        for wrong in [
            &["--seconds", "0"][..],
            &["--seconds", "100000"],
            &["--file-size", "1MiB"],
            &["--file-size", "much"],
            &["--undo", "file"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let given = parse(&["--file-size", "64MiB", "--apply", "--undo", "file"]).unwrap();
        assert_eq!(given.get_one::<u64>("file-size"), Some(&(64 << 20)));
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_measured() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        let absent = absent.to_str().unwrap();
        assert!(run(&parse(&["--data-dir", absent]).unwrap()).is_err());
        assert!(!Path::new(absent).exists());
    }

    #[test]
    fn a_directory_in_use_is_measured_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        assert!(not_served(dir.path(), false).unwrap().is_none(), "it is no store");
        std::fs::write(dir.path().join(LOCK), "").unwrap();
        let held = not_served(dir.path(), false).unwrap();
        assert!(held.is_some());
        assert!(not_served(dir.path(), false).is_err());
        assert!(not_served(dir.path(), true).unwrap().is_none());
        drop(held);
        assert!(not_served(dir.path(), false).unwrap().is_some());
    }

    #[test]
    fn what_was_set_is_mended_and_what_was_not_is_left() {
        let setting = |path: &str| Setting {
            path: path.to_string(),
            now: "0".to_string(),
            wanted: "1".to_string(),
            disturbed: Vec::new(),
        };
        let finding = |severity, settings| Finding {
            severity,
            family: tuning::Family::Cpu,
            rule: "rule",
            what: String::new(),
            cost: String::new(),
            remedy: String::new(),
            undo: None,
            settings,
        };
        let set = ["/a".to_string()];
        for (severity, paths, left) in [
            (Severity::Info, &[][..], false),
            (Severity::Warn, &[], true),
            (Severity::Warn, &["/a"], false),
            (Severity::Warn, &["/a", "/b"], true),
            (Severity::Error, &[], true),
        ] {
            let finding = finding(severity, paths.iter().map(|path| setting(path)).collect());
            assert_eq!(is_left(&finding, &set), left, "{finding:?}");
        }
        let twice = [
            finding(Severity::Warn, vec![setting("/a")]),
            finding(Severity::Info, vec![setting("/b"), setting("/a")]),
        ];
        let paths: Vec<_> = settings(&twice).iter().map(|s| s.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/b"]);
    }
}
