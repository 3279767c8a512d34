//! `ringfort-loadgen`: reads the command line, runs, prints the result.
//!
//! Exit codes: 0 all went well; 1 there was no run (bad options, endpoint not usable); 2 requests
//! failed; 3 content was wrong or an acknowledged write is missing.

use clap::Parser;
use loadgen::options::{Cli, Command};
use loadgen::{Error, Result, runner, verify};
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const REQUESTS_FAILED: u8 = 2;
const CONTENT_WRONG: u8 = 3;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => run(*options),
        Command::VerifyLedger(options) => verify_ledger(&options),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // With standard error closed there is nobody to tell.
            _ = writeln!(std::io::stderr().lock(), "ringfort-loadgen: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: loadgen::options::RunOptions) -> Result<u8> {
    let json = options.json.clone();
    let report = runner::run(options)?;
    show(&report, json.as_deref())?;
    Ok(match () {
        () if report.mismatches.total > 0 => CONTENT_WRONG,
        () if !report.is_clean() => REQUESTS_FAILED,
        () => 0,
    })
}

fn verify_ledger(options: &loadgen::options::VerifyOptions) -> Result<u8> {
    let result = verify::verify_ledger(options)?;
    show(&result, options.json.as_deref())?;
    Ok(match result.bad() {
        0 => 0,
        bad if bad == result.unreadable => REQUESTS_FAILED,
        _ => CONTENT_WRONG,
    })
}

/// Text on standard output, JSON to the file; with `-` the JSON takes the text's place.
fn show(result: &(impl Display + Serialize), json: Option<&Path>) -> Result<()> {
    let to_json = || {
        let text = serde_json::to_string_pretty(result);
        text.map_err(|error| Error::Runtime(error.to_string()))
    };
    match json {
        Some(path) if path == Path::new("-") => print(&to_json()?),
        Some(path) => {
            let write = std::fs::write(path, to_json()?);
            write.map_err(|source| Error::io(path.display().to_string(), source))?;
            print(&result.to_string())
        }
        None => print(&result.to_string()),
    }
}

fn print(text: &str) -> Result<()> {
    let written = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
    written.map_err(|source| Error::io("standard output", source))
}
