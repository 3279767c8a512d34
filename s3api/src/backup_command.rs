//! `ringfort backup`: has a running server make a backup and waits for it, or makes one itself of a store
//! that is not served.
//!
//! A store that nobody serves is opened as a server opens it, on one core and without ports, so
//! that its logs are replayed and its locks held.
//!
//! Not here: backups themselves (`engine::backup`), the resource of the API (`admin::backup`).

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use engine::backup::BackupOptions;
use engine::platform::glommio::GlommioPlatform;
use engine::store::{EngineOptions, FormatOptions, open_or_format, read_layout};
use engine::{Engine, Shared};
use serde_json::{Value, json};

use crate::admin::backup::{generation_now, report_json};
use crate::admin_client::{AdminClient, KEY_VARIABLE};
use crate::limits::BACKUP_BYTES_PER_SECOND;
use crate::offline;
use crate::start_error::StartError;

/// How often a running server is asked how it goes.
const POLL: Duration = Duration::from_millis(500);

/// The subcommand, for clap.
pub fn backup_command() -> Command {
    let path = |name: &'static str| {
        Arg::new(name).long(name).value_name("DIR").value_parser(value_parser!(PathBuf))
    };
    Command::new("backup")
        .about("Make a backup of the whole store, while it is served or while it is not")
        .after_help(
            "Backups to one directory share files: what did not change is not copied again. The server \
             writes them, so the directory is one of its host. root-credentials.json is not part of a \
             backup.",
        )
        .arg(path("to").required(true).help("Directory of the backups; made if its parent is there"))
        .arg(
            Arg::new("admin")
                .long("admin")
                .value_name("URL")
                .default_value("http://127.0.0.1:9001")
                .conflicts_with("data-dir")
                .help("Management port of the running server"),
        )
        .arg(
            Arg::new("api-key")
                .long("api-key")
                .value_name("KEY")
                .env(KEY_VARIABLE)
                .hide_env_values(true)
                .help("Key of the management API"),
        )
        .arg(
            path("data-dir")
                .action(ArgAction::Append)
                .help("Of a store that is not being served; once per drive"),
        )
        .arg(
            Arg::new("keep")
                .long("keep")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..))
                .help("Afterwards remove all but the newest N backups"),
        )
        .arg(
            Arg::new("rate")
                .long("rate")
                .value_name("BYTES")
                .value_parser(value_parser!(u64))
                .help("Most bytes a second; 0 is as fast as it goes [default: 200 MiB]"),
        )
        .arg(
            Arg::new("allow-damaged")
                .long("allow-damaged")
                .action(ArgAction::SetTrue)
                .help("Keep stored data that does not verify as it is, instead of failing"),
        )
}

/// # Errors
/// The backup failed or was refused, and why.
pub fn run(arguments: &ArgMatches) -> Result<(), StartError> {
    let options = options(arguments)?;
    let dirs: Vec<PathBuf> =
        arguments.get_many("data-dir").into_iter().flatten().cloned().collect();
    let report = if dirs.is_empty() {
        let text = |name| arguments.get_one::<String>(name).cloned().unwrap_or_default();
        served(&AdminClient::new(&text("admin"), text("api-key"))?, &options)?
    } else {
        offline::run(async move |platform| stopped(platform, dirs, options).await)?
    };
    say(&report);
    Ok(())
}

fn options(arguments: &ArgMatches) -> Result<BackupOptions, StartError> {
    let to = arguments.get_one::<PathBuf>("to").cloned().unwrap_or_default();
    let directory = std::path::absolute(&to)
        .map_err(|source| StartError::io(format!("find {}", to.display()), source))?;
    Ok(BackupOptions {
        directory,
        generation: generation_now(),
        keep: arguments.get_one::<u32>("keep").map(|keep| *keep as usize),
        bytes_per_second: arguments.get_one("rate").copied().unwrap_or(BACKUP_BYTES_PER_SECOND),
        allow_damaged: arguments.get_flag("allow-damaged"),
    })
}

/// Asks the server, and waits for the end.
fn served(client: &AdminClient, options: &BackupOptions) -> Result<Value, StartError> {
    let order = json!({
        "directory": options.directory,
        "generation": options.generation,
        "keep": options.keep,
        "bytes_per_second": options.bytes_per_second,
        "allow_damaged": options.allow_damaged,
    });
    let (status, answer) = client.call("POST", "/api/v1/backup", &order)?;
    if status != 202 {
        return Err(refused(status, &answer));
    }
    loop {
        thread::sleep(POLL);
        let (status, answer) = client.call("GET", "/api/v1/backup", &Value::Null)?;
        if status != 200 {
            return Err(refused(status, &answer));
        }
        if answer["generation"] != options.generation.as_str() {
            return Err(failed("the server was started anew, or makes another backup now"));
        }
        match answer["state"].as_str() {
            Some("running") => show_progress(&answer),
            Some("done") => return Ok(answer["result"].clone()),
            _ => {
                return Err(failed(
                    answer["error"].as_str().unwrap_or("the server does not say why"),
                ));
            }
        }
    }
}

fn refused(status: u16, answer: &Value) -> StartError {
    let detail = answer["detail"].as_str().or(answer["error"].as_str());
    failed(&format!("the server answered {status}: {}", detail.unwrap_or("no reason is given")))
}

fn failed(reason: &str) -> StartError {
    engine::Error::Backup(reason.to_owned()).into()
}

/// For a person who waits.
fn show_progress(answer: &Value) {
    if !io::stderr().is_terminal() {
        return;
    }
    let mib = |name: &str| answer[name].as_u64().unwrap_or(0) >> 20;
    let (done, total) = (mib("bytes_done"), mib("bytes_total"));
    let _ = write!(io::stderr(), "\r{done} of about {total} MiB, {} copied ", mib("bytes_copied"));
}

/// Opens the store and makes the backup here.
async fn stopped(
    platform: GlommioPlatform,
    dirs: Vec<PathBuf>,
    options: BackupOptions,
) -> Result<Value, StartError> {
    // An empty directory is no store, and none is made of it.
    let layout = read_layout(&platform, &dirs).await?;
    let format = FormatOptions {
        shard_count: layout.shard_count,
        segment_bytes: layout.segment_bytes,
        capacity_bytes: layout.capacity_bytes.first().copied().unwrap_or(0),
    };
    let store = open_or_format(&platform, &dirs, || format).await?;
    let index_budget_bytes = usize::MAX;
    let settings =
        EngineOptions { index_budget_bytes, compaction: false, ..EngineOptions::default() };
    let engine = Engine::start(platform, store.layout.clone(), settings, Shared::new(1), 0).await?;
    let made = engine.backup(options).await;
    engine.close().await;
    Ok(report_json(&made?))
}

fn say(report: &Value) {
    let mib = |name: &str| report[name].as_u64().unwrap_or(0) >> 20;
    let text = format!(
        "backup {}: {} files, {} MiB, of which {} MiB were copied now",
        report["generation"].as_str().unwrap_or_default(),
        report["files"],
        mib("bytes"),
        mib("bytes_copied"),
    );
    let mut out = io::stdout().lock();
    // Standard output may be closed.
    let _ = writeln!(out, "{text}");
    for damage in report["damage"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "damaged: {}", damage.as_str().unwrap_or_default());
    }
}
