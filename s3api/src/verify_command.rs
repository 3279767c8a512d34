//! `ringfort verify`: checks a store that is not being served, or rebuilds its index from its segments.
//!
//! Findings go to standard output, one a line, as they are found, and a summary behind them; progress
//! goes to standard error if that is a terminal.
//!
//! Invariants: nothing is written without `--rebuild` and `--yes`; the exit code says whether there is
//! damage, whatever could be printed.
//!
//! Not here: what is checked (`engine::verify`).

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use engine::verify::{
    Concern, Counts, Finding, Grade, Listener, Named, RebuildOptions, Rebuilt, Report, check,
    rebuild,
};
use serde_json::{Value, json};

use crate::offline;
use crate::start_error::StartError;

const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

const EXIT_DAMAGED: u8 = 1;
/// Nothing was checked or rebuilt.
pub const EXIT_COULD_NOT_RUN: u8 = 2;

/// The subcommand, for clap.
pub fn verify_command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
    };
    Command::new("verify")
        .about("Check every invariant of a store that is not being served")
        .after_help(
            "Exit codes: 0 no damage, 1 damage was found (with --rebuild: something is lost), 2 nothing \
             could be checked.\n\
             A doubt is what a crash leaves as well; doubts alone do not count as damage.",
        )
        .arg(
            Arg::new("data-dir")
                .long("data-dir")
                .value_name("DIR")
                .help("Where the data lies; once per drive")
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .default_value("./ringfort-data"),
        )
        .arg(flag("json", "Print one JSON object a line"))
        .arg(flag("rebuild", "Make index and checkpoints anew from the segments alone"))
        .arg(flag("dry-run", "With --rebuild: tell what would be lost, and write nothing")
            .requires("rebuild"))
        .arg(flag("yes", "With --rebuild: do it").requires("rebuild").conflicts_with("dry-run"))
}

/// Runs the subcommand.
///
/// # Errors
/// There is no store, it is in use, or the command line asks for a rebuild without saying whether it
/// may be done.
pub fn run(arguments: &ArgMatches) -> Result<ExitCode, StartError> {
    let dirs: Vec<PathBuf> =
        arguments.get_many("data-dir").into_iter().flatten().cloned().collect();
    let options = RebuildOptions { dry_run: arguments.get_flag("dry-run") };
    let rebuilds = arguments.get_flag("rebuild");
    if rebuilds && !options.dry_run && !arguments.get_flag("yes") {
        return Err(StartError::Config {
            place: "--rebuild".into(),
            reason: "it replaces the index and all checkpoints: look at what would be lost with \
                     --dry-run, then do it with --yes"
                .into(),
        });
    }
    let output = Output::new(arguments.get_flag("json"));
    let report = offline::run(async |platform| {
        let (found, progress) = (
            |finding: &_| output.finding(finding),
            |counts: &_| {
                output.progress(counts);
            },
        );
        let listener = Listener { progress: Some(&progress), found: Some(&found) };
        Ok::<Report, StartError>(if rebuilds {
            let rebuilt = rebuild(&platform, &dirs, options, listener).await?;
            output.rebuilt(&rebuilt, options);
            rebuilt.report
        } else {
            check(&platform, &dirs, listener).await?
        })
    })?;
    output.summary(&report);
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGED) })
}

/// Where findings go, and how.
struct Output {
    json: bool,
    begin: Instant,
    shows_progress: bool,
    shown: Cell<Duration>,
    /// Standard output has gone; what is printed is of no account then.
    out: RefCell<io::Stdout>,
}

impl Output {
    fn new(json: bool) -> Self {
        Self {
            json,
            begin: Instant::now(),
            shows_progress: io::stderr().is_terminal(),
            shown: Cell::new(Duration::ZERO),
            out: RefCell::new(io::stdout()),
        }
    }

    fn print(&self, text: &str, object: impl FnOnce() -> Value) {
        let line = if self.json { object().to_string() } else { text.to_owned() };
        let _ = writeln!(self.out.borrow_mut(), "{line}");
    }

    fn finding(&self, finding: &Finding) {
        self.clear_progress();
        self.print(&finding.to_string(), || finding_json(finding));
    }

    fn progress(&self, counts: &Counts) {
        let elapsed = self.begin.elapsed();
        if !self.shows_progress || elapsed < self.shown.get() + PROGRESS_INTERVAL {
            return;
        }
        self.shown.set(elapsed);
        let (mebibytes, seconds) = (counts.bytes_read >> 20, elapsed.as_secs().max(1));
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{} shards, {} groups, {} live records, {mebibytes} MiB read, {} MiB/s",
            counts.shards,
            counts.groups,
            counts.live_records,
            mebibytes / seconds
        );
    }

    fn clear_progress(&self) {
        if self.shows_progress && self.shown.get() > Duration::ZERO {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn rebuilt(&self, rebuilt: &Rebuilt, options: RebuildOptions) {
        self.clear_progress();
        let done = if options.dry_run { "would be rebuilt" } else { "rebuilt" };
        for shard in &rebuilt.shards {
            let text = format!(
                "shard {} {done}: {} objects, {} uploads with {} parts, {} buckets from {} log segments",
                shard.shard,
                shard.objects,
                shard.uploads,
                shard.parts,
                shard.buckets,
                shard.log_segments
            );
            self.print(&text, || {
                json!({
                    "event": "rebuilt",
                    "dry_run": options.dry_run,
                    "shard": shard.shard,
                    "objects": shard.objects,
                    "uploads": shard.uploads,
                    "parts": shard.parts,
                    "buckets": shard.buckets,
                    "log_segments": shard.log_segments,
                })
            });
        }
    }

    fn summary(&self, report: &Report) {
        self.clear_progress();
        let seconds = self.begin.elapsed().as_secs_f64();
        let counts = &report.counts;
        let verdict = match (report.damaged, report.doubtful) {
            (0, 0) => "no damage".to_owned(),
            (0, doubts) => format!("no damage, {doubts} doubts"),
            (damaged, doubts) => format!("DAMAGED: {damaged} findings, {doubts} doubts"),
        };
        let text = format!(
            "{verdict}; {} shards, {} segments, {} checkpoints, {} groups, {} records ({} live), {} \
             chunks, {} bytes read in {seconds:.1} s",
            counts.shards,
            counts.segments,
            counts.checkpoints,
            counts.groups,
            counts.records,
            counts.live_records,
            counts.chunks,
            counts.bytes_read
        );
        self.print(&text, || {
            json!({
                "event": "summary",
                "damaged": report.damaged,
                "doubtful": report.doubtful,
                "shards": counts.shards,
                "segments": counts.segments,
                "checkpoints": counts.checkpoints,
                "groups": counts.groups,
                "records": counts.records,
                "live_records": counts.live_records,
                "chunks": counts.chunks,
                "bytes_read": counts.bytes_read,
                "seconds": seconds,
            })
        });
        let _ = self.out.borrow_mut().flush();
    }
}

/// A finding for programs. Keys that are not UTF-8 are shown with replacements.
pub(crate) fn finding_json(finding: &Finding) -> Value {
    json!({
        "event": "finding",
        "grade": match finding.grade {
            Grade::Damage => "damage",
            Grade::Doubt => "doubt",
        },
        "structure": finding.structure.name(),
        "path": finding.path.display().to_string(),
        "shard": finding.shard,
        "offset": finding.offset,
        "reason": finding.reason,
        "concerns": finding.named.as_ref().map(named_json),
    })
}

fn named_json(named: &Named) -> Value {
    let (kind, upload, part) = match named.concern {
        Concern::Object => ("object", None, None),
        Concern::Upload { id } => ("upload", Some(id), None),
        Concern::Part { upload, number } => ("part", Some(upload), Some(number)),
        Concern::Bucket => ("bucket", None, None),
    };
    json!({
        "kind": kind,
        "bucket": named.bucket,
        "key": String::from_utf8_lossy(&named.key),
        "version": named.version,
        "upload": upload,
        "part": part,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use engine::verify::Structure;

    #[test]
    fn a_rebuild_is_not_done_unasked() {
        let parse = |arguments: &[&str]| {
            verify_command().try_get_matches_from(["verify"].iter().chain(arguments))
        };
        let refused = run(&parse(&["--rebuild"]).unwrap()).unwrap_err();
        assert!(matches!(refused, StartError::Config { .. }));
        for wrong in [&["--yes"][..], &["--dry-run"], &["--rebuild", "--yes", "--dry-run"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_finding_says_in_json_what_its_line_says() {
        let named = Named {
            concern: Concern::Part { upload: 9, number: 2 },
            bucket: "b".into(),
            key: b"k".to_vec(),
            version: 5,
        };
        let finding = Finding {
            grade: Grade::Damage,
            structure: Structure::Chunk,
            path: "/d/x.seg".into(),
            shard: Some(1),
            offset: Some(65_536),
            reason: "it is gone".into(),
            named: Some(named),
        };
        let object = finding_json(&finding);
        assert_eq!(object["structure"], "chunk");
        assert_eq!(object["concerns"]["part"], 2);
        assert_eq!(object["concerns"]["key"], "k");
        assert_eq!(object["offset"], 65_536);
    }
}
