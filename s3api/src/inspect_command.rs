//! `ringfort inspect`: shows what is on disk, as lines for people or one JSON object a line.
//!
//! Invariants: the engine's inspection writes nothing and takes no lock, and this adds no write; a
//! row is printed when it is found, so memory does not grow with the store. Damage is a row, not a
//! failure: the command fails only if nothing can be looked at.
//!
//! Not here: what the rows mean (`engine::inspect`, `engine/FORMAT.md`).

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use engine::format::manifest::Extent;
use engine::format::record::Killed;
use engine::format::superblock::Copy;
use engine::inspect::{
    ChunkRow, Flow, GapRow, GroupRow, Inspector, LogRow, ObjectReport, RecordItem, RecordRow,
    SegmentRow, SuperblockRow, Verdict, superblocks,
};
use engine::platform::glommio::GlommioPlatform;
use serde_json::{Value, json};

use crate::offline;
use crate::start_error::StartError;

/// The subcommand, for clap.
pub fn inspect_command() -> Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").help(help)
    };
    let shard = || number("shard", "Only this shard").value_parser(value_parser!(u16));
    let segment = || {
        number("segment", "Only this segment of the shard")
            .requires("shard")
            .value_parser(value_parser!(u32))
    };
    let name = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).required(true)
    };
    Command::new("inspect")
        .about("Show what is on disk; never writes")
        .after_help(
            "For a store that is not being served: of one that is, writes under way look torn. What \
             is damaged is shown and stepped over.",
        )
        .arg(
            Arg::new("data-dir")
                .long("data-dir")
                .value_name("DIR")
                .help("Where the data lies; once per drive")
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .default_value("./ringfort-data")
                .global(true),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .help("Print one JSON object a line")
                .action(ArgAction::SetTrue)
                .global(true),
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("superblock").about("The copies of each directory's superblock"),
        )
        .subcommand(Command::new("segments").about("Every segment file").arg(shard()))
        .subcommand(
            Command::new("groups")
                .about("The groups of the log, and the gaps between them")
                .args([shard(), segment()]),
        )
        .subcommand(
            Command::new("records")
                .about("The records of the log, each verified")
                .args([shard(), segment()]),
        )
        .subcommand(
            Command::new("object")
                .about("The newest record of an object, and its chunks, each verified")
                .args([name("bucket", "NAME"), name("key", "KEY")]),
        )
}

/// Runs the subcommand.
///
/// # Errors
/// There is no store, or no such shard or bucket in it; a directory cannot be listed; the output
/// cannot be written (that its reader has gone is no error).
pub fn run(arguments: &ArgMatches) -> Result<(), StartError> {
    let dirs: Vec<PathBuf> =
        arguments.get_many("data-dir").into_iter().flatten().cloned().collect();
    let output = Output { json: arguments.get_flag("json"), error: None };
    let Some((what, arguments)) = arguments.subcommand() else {
        return Ok(());
    };
    offline::run(async |platform| show(platform, &dirs, what, arguments, output).await)
}

async fn show(
    platform: GlommioPlatform,
    dirs: &[PathBuf],
    what: &str,
    arguments: &ArgMatches,
    mut output: Output,
) -> Result<(), StartError> {
    if what == "superblock" {
        for row in superblocks(&platform, dirs).await {
            if output.print(&row).is_break() {
                break;
            }
        }
        return output.end();
    }
    let inspector = Inspector::open(platform, dirs).await?;
    if what == "object" {
        return show_object(&inspector, arguments, output).await;
    }
    let segment = arguments.try_get_one("segment").ok().flatten().copied();
    for shard in shards(&inspector, arguments)? {
        match what {
            "segments" => {
                for row in inspector.segments(shard).await? {
                    if output.print(&row).is_break() {
                        break;
                    }
                }
            }
            "groups" => inspector.groups(shard, segment, |row| output.print(&row)).await?,
            _ => inspector.records(shard, segment, |row| output.print(&row)).await?,
        }
        if output.error.is_some() {
            break;
        }
    }
    output.end()
}

/// The shards that were asked for.
fn shards(
    inspector: &Inspector<GlommioPlatform>,
    arguments: &ArgMatches,
) -> Result<std::ops::Range<u16>, StartError> {
    let count = inspector.layout().shard_count;
    match arguments.get_one::<u16>("shard").copied() {
        None => Ok(0..count),
        Some(shard) if shard < count => Ok(shard..shard + 1),
        Some(shard) => Err(refused("--shard", format!("{shard} is not below {count}"))),
    }
}

async fn show_object(
    inspector: &Inspector<GlommioPlatform>,
    arguments: &ArgMatches,
    mut output: Output,
) -> Result<(), StartError> {
    let text = |name| arguments.get_one::<String>(name).map_or("", String::as_str);
    let (bucket, key) = (text("bucket"), text("key"));
    let Some(report) = inspector.object(bucket, key.as_bytes()).await? else {
        return Err(refused("--bucket", format!("the log knows no bucket {bucket:?}")));
    };
    if output.print(&report).is_continue()
        && let Some(record) = &report.last
        && output.print(record).is_continue()
    {
        inspector.chunks(record, |row| output.print(&row)).await;
    }
    output.end()
}

fn refused(place: &str, reason: String) -> StartError {
    StartError::Config { place: place.into(), reason }
}

/// Standard output, and what went wrong with it.
struct Output {
    json: bool,
    error: Option<io::Error>,
}

impl Output {
    fn print<R: Row>(&mut self, row: &R) -> Flow {
        let mut out = io::stdout().lock();
        let written =
            if self.json { writeln!(out, "{}", row.json()) } else { writeln!(out, "{row}") };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn end(self) -> Result<(), StartError> {
        match self.error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(StartError::io("write to standard output", error))
            }
            _ => Ok(()),
        }
    }
}

/// A row in both forms.
trait Row: std::fmt::Display {
    fn json(&self) -> Value;
}

impl Row for SuperblockRow {
    fn json(&self) -> Value {
        let mut value =
            json!({ "data_dir": self.data_dir.display().to_string(), "copy": self.copy });
        let fields = match &self.state {
            Ok(Copy::Valid(s)) => json!({
                "state": "valid",
                "sequence": s.sequence,
                "store_uuid": hex::encode(s.store_uuid),
                "drive_index": s.drive_index,
                "drive_count": s.drive_count,
                "shard_count": s.shard_count,
                "segment_bytes": s.segment_bytes,
                "capacity_bytes": s.capacity_bytes,
                "created_ns": s.created_ns,
            }),
            Ok(Copy::OtherVersion(version)) => {
                json!({ "state": "other_version", "format_version": version })
            }
            Ok(Copy::Damaged(reason)) => json!({ "state": "damaged", "problem": reason }),
            Ok(Copy::Foreign) => json!({ "state": "foreign" }),
            Err(reason) => json!({ "state": "unreadable", "problem": reason }),
        };
        merge(&mut value, fields);
        value
    }
}

impl Row for SegmentRow {
    fn json(&self) -> Value {
        let mut value = json!({
            "shard": self.shard,
            "segment": self.segment,
            "file_bytes": self.file_bytes,
            "problem": self.problem,
        });
        if let Some(header) = &self.header {
            let fields = json!({
                "kind": format!("{:?}", header.kind).to_lowercase(),
                "epoch": header.epoch,
                "first_lsn": header.first_lsn,
                "chain_before": format!("{:016x}", header.chain_before),
                "opened_ns": header.opened_ns,
            });
            merge(&mut value, fields);
        }
        value
    }
}

impl Row for LogRow {
    fn json(&self) -> Value {
        match self {
            Self::Group(row) => group_json(row),
            Self::Gap(row) => gap_json(row),
        }
    }
}

impl Row for RecordItem {
    fn json(&self) -> Value {
        match self {
            Self::Record(row) => row.json(),
            Self::Gap(row) => gap_json(row),
            Self::Unreadable { shard, segment, offset, lsn, reason } => json!({
                "type": "unreadable",
                "shard": shard,
                "segment": segment,
                "offset": offset,
                "lsn": lsn,
                "problem": reason,
            }),
        }
    }
}

fn group_json(row: &GroupRow) -> Value {
    let header = &row.header;
    let mut value = json!({
        "type": "group",
        "shard": header.shard,
        "segment": header.segment,
        "offset": row.offset,
        "lsn": header.lsn,
        "epoch": header.epoch,
        "durable_lsn": header.durable_lsn,
        "record_count": header.record_count,
        "group_bytes": header.group_bytes,
        "content_bytes": header.content_bytes,
        "next_segment": header.next_segment,
        "written_ns": header.written_ns,
    });
    merge(&mut value, verdict_json(row.verdict));
    value
}

fn verdict_json(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Good => json!({ "verdict": "good" }),
        Verdict::Damaged(reason) => json!({ "verdict": "damaged", "problem": reason }),
        Verdict::Detached { missing_lsn, was_durable } => json!({
            "verdict": "detached",
            "missing_lsn": missing_lsn,
            "was_durable": was_durable,
        }),
    }
}

fn gap_json(row: &GapRow) -> Value {
    json!({
        "type": "gap",
        "shard": row.shard,
        "segment": row.segment,
        "offset": row.offset,
        "bytes": row.bytes,
        "blank": row.blank,
        "stale_groups": row.stale_groups,
        "reason": row.reason,
    })
}

impl Row for RecordRow {
    fn json(&self) -> Value {
        let extent = |e: &Extent| json!({ "segment": e.segment, "unit": e.unit, "units": e.units });
        let parts: Vec<Value> = self
            .sections
            .manifest
            .iter()
            .flat_map(|manifest| &manifest.parts)
            .map(|part| {
                json!({
                    "number": part.number,
                    "tag": format!("{:016x}", part.tag),
                    "size": part.size,
                    "extents": part.extents.iter().map(extent).collect::<Vec<_>>(),
                })
            })
            .collect();
        let killed = |killed: &Killed| {
            json!({
                "segment": killed.location.segment,
                "offset": killed.location.offset(),
                "span_bytes": killed.location.span_bytes,
                "version": killed.version,
                "epoch": killed.epoch,
            })
        };
        json!({
            "type": "record",
            "shard": self.shard,
            "segment": self.segment,
            "offset": self.offset,
            "lsn": self.lsn,
            "group": verdict_json(self.group),
            "kind": format!("{:?}", self.kind),
            "bucket": self.bucket.0,
            "key": String::from_utf8_lossy(&self.key),
            "version": self.version,
            "size": self.size,
            "etag": hex::encode(self.etag.md5),
            "etag_parts": self.etag.parts,
            "label": self.label,
            "upload": self.upload,
            "head_bytes": self.head_bytes,
            "data_bytes": self.data_bytes,
            "attributes_bytes": self.sections.attributes.len(),
            "part_number": self.sections.part_number,
            "manifest": parts,
            "relocated": self.flags.relocated,
            "void": self.flags.void,
            "killed": self.sections.killed.iter().map(killed).collect::<Vec<_>>(),
            "settings": self.sections.settings.as_ref().map(std::collections::BTreeMap::len),
            "problem": self.problem,
        })
    }
}

impl Row for ObjectReport {
    fn json(&self) -> Value {
        json!({
            "type": "object",
            "bucket": self.bucket.0,
            "shard": self.shard,
            "records": self.records,
            "known": self.last.is_some(),
            "damaged_places": self.damaged_places,
        })
    }
}

impl Row for ChunkRow {
    fn json(&self) -> Value {
        json!({
            "type": "chunk",
            "part": self.part,
            "index": self.index,
            "segment": self.segment,
            "offset": self.offset,
            "payload_bytes": self.payload_bytes,
            "problem": self.problem,
        })
    }
}

/// Adds the members of one object to another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use engine::store::{FormatOptions, open_or_format};

    fn parse(arguments: &[&str]) -> Result<ArgMatches, clap::Error> {
        inspect_command().try_get_matches_from([&["inspect"], arguments].concat())
    }

    #[test]
    fn directories_and_form_may_stand_on_either_side() {
        inspect_command().debug_assert();
        for line in [
            ["--json", "--data-dir", "a", "--data-dir", "b", "groups", "--shard", "1"],
            ["groups", "--shard", "1", "--json", "--data-dir", "a", "--data-dir", "b"],
        ] {
            let matches = parse(&line).unwrap();
            let dirs: Vec<&PathBuf> = matches.get_many("data-dir").unwrap().collect();
            assert_eq!(dirs, [&PathBuf::from("a"), &PathBuf::from("b")]);
            assert!(matches.get_flag("json"));
        }
    }

    #[test]
    fn a_segment_needs_its_shard_and_an_object_its_names() {
        assert!(parse(&["records", "--segment", "3"]).is_err());
        assert!(parse(&["records", "--segment", "3", "--shard", "0"]).is_ok());
        assert!(parse(&["object", "--bucket", "b"]).is_err());
        assert!(parse(&["object", "--bucket", "b", "--key", "k"]).is_ok());
    }

    /// A directory on a real disk: tmpfs has no direct I/O.
    fn directory() -> tempfile::TempDir {
        let parent = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        std::fs::create_dir_all(&parent).unwrap();
        tempfile::tempdir_in(parent).unwrap()
    }

    #[test]
    fn what_is_no_store_is_refused_and_not_written_to() {
        let dir = directory();
        let path = dir.path().to_str().unwrap();
        assert!(run(&parse(&["--data-dir", path, "segments"]).unwrap()).is_err());
        assert!(run(&parse(&["--data-dir", path, "superblock"]).unwrap()).is_ok());
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn a_fresh_store_is_shown_by_every_subcommand() {
        let dir = directory();
        let dirs = [dir.path().to_owned()];
        let format =
            FormatOptions { shard_count: 2, segment_bytes: 1 << 20, capacity_bytes: 16 << 20 };
        let formatted = offline::run(async |platform| {
            Ok(open_or_format(&platform, &dirs, || format).await.map(drop)?)
        });
        formatted.unwrap();
        let path = dir.path().to_str().unwrap();
        for what in ["superblock", "segments", "groups", "records"] {
            for json in [&["--json"][..], &[]] {
                let line = [&["--data-dir", path, what], json].concat();
                run(&parse(&line).unwrap()).unwrap();
            }
        }
        let shard = ["--data-dir", path, "groups", "--shard", "2"];
        assert!(run(&parse(&shard).unwrap()).is_err());
        let object = ["--data-dir", path, "object", "--bucket", "b", "--key", "k"];
        assert!(run(&parse(&object).unwrap()).is_err(), "there is no such bucket");
    }
}
