//! `ringfort restore`: puts a store back from a backup into empty directories, or verifies that it could.
//!
//! Not here: how (`engine::restore`).

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use engine::backup::generations;
use engine::restore::{RestoreOptions, RestoreReport, restore};

use crate::dates;
use crate::offline;
use crate::start_error::StartError;

/// The subcommand, for clap.
pub fn restore_command() -> Command {
    let path = |name: &'static str| {
        Arg::new(name).long(name).value_name("DIR").value_parser(value_parser!(PathBuf))
    };
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("restore")
        .about("Put a store back from a backup into empty directories")
        .after_help(
            "Every file is verified. The number of data directories may be another than before, if it \
             divides the number of shards. root-credentials.json is not part of a backup: put it into \
             the first directory, or the next start makes new root credentials.",
        )
        .arg(path("from").required(true).help("Directory of the backups"))
        .arg(
            Arg::new("generation")
                .long("generation")
                .value_name("NAME")
                .help("Which backup (default: the newest)"),
        )
        .arg(
            path("data-dir")
                .action(ArgAction::Append)
                .required_unless_present_any(["list", "dry-run"])
                .help("Where to; once per drive"),
        )
        .arg(switch("dry-run").help("Verify every file of the backup and write nothing"))
        .arg(switch("list").help("Show what backups there are"))
}

/// # Errors
/// The restore failed or was refused, and why; no server starts on the directories then.
pub fn run(arguments: &ArgMatches) -> Result<(), StartError> {
    let directory = arguments.get_one::<PathBuf>("from").cloned().unwrap_or_default();
    if arguments.get_flag("list") {
        return list(directory);
    }
    let options = RestoreOptions {
        directory,
        generation: arguments.get_one::<String>("generation").cloned(),
        data_dirs: arguments.get_many("data-dir").into_iter().flatten().cloned().collect(),
        dry_run: arguments.get_flag("dry-run"),
    };
    let dry_run = options.dry_run;
    let report = offline::run(async move |platform| {
        let read = Cell::new(0);
        let told = |bytes| {
            read.set(read.get() + bytes);
            if io::stderr().is_terminal() {
                let _ = write!(io::stderr(), "\r{} MiB read ", read.get() >> 20);
            }
        };
        Ok(restore(&platform, &options, told).await?)
    })?;
    say(&report, dry_run);
    Ok(())
}

fn list(directory: PathBuf) -> Result<(), StartError> {
    let found = offline::run(async |platform| Ok(generations(&platform, &directory).await?))?;
    let mut out = io::stdout().lock();
    for manifest in &found.readable {
        let (taken, bytes) = (time(manifest.taken_ns), manifest.bytes() >> 20);
        let _ = writeln!(out, "{}  taken {taken}, {bytes} MiB", manifest.generation);
    }
    for (path, reason) in &found.damaged {
        let _ = writeln!(out, "{} cannot be read: {reason}", path.display());
    }
    Ok(())
}

fn time(ns: u64) -> String {
    dates::iso_time(i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX))
}

fn say(report: &RestoreReport, dry_run: bool) {
    let verb = if dry_run { "verified" } else { "put back" };
    let text = format!(
        "backup {}, taken {}: {} shards, {} files, {} MiB {verb}",
        report.generation,
        time(report.taken_ns),
        report.shards,
        report.files,
        report.bytes >> 20
    );
    let mut out = io::stdout().lock();
    // Standard output may be closed.
    let _ = writeln!(out, "{text}");
    for damage in &report.damage {
        let _ = writeln!(out, "damaged already when it was copied: {damage}");
    }
}
