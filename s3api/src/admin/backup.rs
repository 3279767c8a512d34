//! `/api/v1/backup`: begins a backup of the whole store, and tells how it goes.
//!
//! `POST {"directory": "/absolute", "generation": "...", "keep": N, "bytes_per_second": N,
//! "allow_damaged": false}` answers 202 when the backup has begun; all but the directory may be left out.
//! `GET` answers with the backup that was begun last: `state` is `none`, `running`, `done` or `failed`.
//!
//! Not here: backups themselves (`engine::backup`).

use engine::Engine;
use engine::backup::{BackupOptions, BackupReport, BackupStatus};
use engine::platform::Platform;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

use super::api::{ApiAnswer, ApiRequest};
use crate::limits::BACKUP_BYTES_PER_SECOND;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    directory: PathBuf,
    generation: Option<String>,
    keep: Option<usize>,
    bytes_per_second: Option<u64>,
    #[serde(default)]
    allow_damaged: bool,
}

pub(super) fn begin<P: Platform>(engine: &Engine<P>, request: &ApiRequest) -> ApiAnswer {
    let order: Order = match request.document() {
        Ok(order) => order,
        Err(problem) => return problem,
    };
    if !order.directory.is_absolute() {
        return ApiAnswer::problem(400, "the directory is to be named from the root on");
    }
    if order.keep == Some(0) {
        return ApiAnswer::problem(400, "at least one backup is kept");
    }
    let generation = order.generation.unwrap_or_else(generation_now);
    let options = BackupOptions {
        directory: order.directory,
        generation: generation.clone(),
        keep: order.keep,
        bytes_per_second: order.bytes_per_second.unwrap_or(BACKUP_BYTES_PER_SECOND),
        allow_damaged: order.allow_damaged,
    };
    match engine.begin_backup(options) {
        Ok(()) => ApiAnswer::json(202, json!({ "generation": generation })),
        Err(error @ engine::Error::Backup(_)) => ApiAnswer::problem(409, error.to_string()),
        Err(error) => error.into(),
    }
}

pub(super) fn show<P: Platform>(engine: &Engine<P>) -> ApiAnswer {
    let status = engine.last_backup();
    ApiAnswer::json(200, status.map_or_else(|| json!({ "state": "none" }), |s| describe(&s)))
}

/// What a backup is called unless it is told otherwise: the time, to the millisecond.
pub fn generation_now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S-%3fZ").to_string()
}

fn describe(status: &BackupStatus) -> Value {
    let mut page = json!({
        "generation": status.generation,
        "directory": status.directory,
        "bytes_total": status.progress.bytes_total(),
        "bytes_done": status.progress.bytes_done(),
        "bytes_copied": status.progress.bytes_copied(),
        "begun_ns": status.begun_ns,
    });
    let (state, name, value) = match &status.outcome {
        None => ("running", "result", Value::Null),
        Some(Ok(report)) => ("done", "result", report_json(report)),
        Some(Err(reason)) => ("failed", "error", reason.clone().into()),
    };
    page["state"] = state.into();
    page[name] = value;
    page
}

/// What a backup came to, for programs.
pub fn report_json(report: &BackupReport) -> Value {
    json!({
        "generation": report.generation,
        "files": report.files,
        "bytes": report.bytes,
        "bytes_copied": report.bytes_copied,
        "held_us": u64::try_from(report.held.as_micros()).unwrap_or(u64::MAX),
        "damage": report.damage,
        "removed": report.removed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_time() {
        let name = generation_now();
        assert!(name.starts_with("20") && name.ends_with('Z') && name.len() == 24, "{name}");
    }
}
