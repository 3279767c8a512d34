//! `ringfort import`: brings objects over from any S3 endpoint, or from a directory tree, to any other S3
//! endpoint, a running Ringfort by default. Resumable, parallel, verified.
//!
//! The way of an object: `run` lists both sides (`plan`) and hands keys out to jobs; `copy` decides what of a
//! key is to be written; `source` opens it, `parts` says in which parts it goes, `write` and `upload` send
//! it through `body`, which judges its bytes; `compare` looks at what is there; `journal` remembers it. In the
//! end `final_check` compares both sides by their listings, and `report` tells.
//!
//! Invariants: memory is bounded by the number of jobs and fixed bounds (`limits`), not by objects or their
//! sizes; nothing is called equal without a reason; what is not equal makes the exit code. Threads that block,
//! no runtime: it is a command, no part of the server.
//!
//! Not here: ACLs, storage classes, locks, settings of buckets.

pub mod body;
pub mod checksum;
pub mod client;
pub mod compare;
pub mod copy;
pub mod credentials;
pub mod error;
pub mod final_check;
pub mod journal;
pub mod limits;
pub mod meta;
pub mod options;
pub mod parts;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod source;
pub mod tree;
pub mod upload;
pub mod write;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;

pub use error::Error;
pub use options::import_command;

const EXIT_DIFFERS: u8 = 1;
const EXIT_REFUSED: u8 = 2;

/// Runs the subcommand: the report goes to standard output, progress and errors to standard error.
pub fn run(arguments: &ArgMatches) -> ExitCode {
    match import(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_DIFFERS),
        Err(error) => {
            let _ = writeln!(io::stderr(), "ringfort: import: {error}");
            let refused = matches!(error, Error::Refused(_));
            ExitCode::from(if refused { EXIT_REFUSED } else { EXIT_DIFFERS })
        }
    }
}

fn import(arguments: &ArgMatches) -> Result<bool, Error> {
    let mut job = options::job(arguments, &|name| std::env::var(name).ok())?;
    let report = arguments.get_one::<PathBuf>("report");
    // Before hours of work, not after.
    let report = report.map(|path| File::create(path).map_err(|error| (path, error)));
    let mut report = report
        .transpose()
        .map_err(|(path, error)| Error::refused(format!("--report {}: {error}", path.display())))?;
    find_buckets(&mut job)?;
    let mut written = Ok(());
    let is_good = job.run(|told| {
        let _ = io::stdout().lock().write_all(told.to_text().as_bytes());
        if let Some(file) = &mut report {
            written = writeln!(file, "{:#}", told.to_json()).and_then(|()| file.sync_all());
        }
    })?;
    written.map_err(|error| Error::io("writing the report", error))?;
    Ok(is_good)
}

/// Lists them for `--all-buckets`; one that was named must be there.
fn find_buckets(job: &mut run::Job) -> Result<(), Error> {
    let Some(client) = job.source.client() else { return Ok(()) };
    if let [(from, _)] = job.buckets.as_slice() {
        return match client.bucket_exists(from) {
            Ok(false) => {
                Err(Error::refused(format!("--source-bucket: the source has no {from:?}")))
            }
            // Who may list it need not be let to ask for it.
            Ok(true) => Ok(()),
            Err(failure) if failure.status() == Some(403) => Ok(()),
            Err(failure) => Err(Error::request("asking for the source's bucket", failure)),
        };
    }
    let names = client.list_buckets();
    let names = names.map_err(|failure| Error::request("listing the source's buckets", failure))?;
    if let Some(name) = names.iter().find(|name| !options::is_bucket(name)) {
        return Err(Error::refused(format!("--all-buckets: {name:?} is no bucket's name")));
    }
    job.buckets = names.into_iter().map(|name| (name.clone(), name)).collect();
    Ok(())
}
