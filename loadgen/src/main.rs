//! `ringfort-loadgen`: reads the command line, runs, prints the result.
//!
//! Exit codes: 0 all went well; 1 there was no run (bad options, endpoint not usable); 2 requests
//! failed; 3 content was wrong or an acknowledged write is missing; 4, if asked for, the generator
//! itself was the limit.

use clap::Parser;
use loadgen::options::{Cli, Command, CompareOptions, RunOptions, SweepOptions, VerifyOptions};
use loadgen::output::{Document, show};
use loadgen::report::Report;
use loadgen::{Error, Result, compare, runner, sweep, verify};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const REQUESTS_FAILED: u8 = 2;
const CONTENT_WRONG: u8 = 3;
const SATURATED: u8 = 4;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => run(*options),
        Command::Sweep(options) => run_sweep(&options),
        Command::Compare(options) => run_compare(&options),
        Command::Show(options) => Document::read(&options.result)
            .and_then(|result| show(&result, &options.output))
            .map(|()| 0),
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

fn run(options: RunOptions) -> Result<u8> {
    let (output, strict) = (options.output.clone(), options.fail_if_saturated);
    let report = runner::run(options)?;
    let code = verdict(&[&report], strict);
    show(&Document::Run(Box::new(report)), &output)?;
    Ok(code)
}

fn run_sweep(options: &SweepOptions) -> Result<u8> {
    let sweep = sweep::run(options)?;
    let reports: Vec<&Report> = sweep.steps.iter().map(|step| &step.report).collect();
    let code = verdict(&reports, options.run.fail_if_saturated);
    show(&Document::Sweep(sweep), &options.run.output)?;
    Ok(code)
}

fn run_compare(options: &CompareOptions) -> Result<u8> {
    let [before, after] = [&options.before, &options.after].map(|path| read_run(path));
    let comparison = compare::compare(before?, after?)?;
    show(&Document::Comparison(Box::new(comparison)), &options.output)?;
    Ok(0)
}

fn read_run(path: &Path) -> Result<Report> {
    match Document::read(path)? {
        Document::Run(report) => Ok(*report),
        _ => Err(Error::Usage(format!("{}: not the result of a run", path.display()))),
    }
}

/// The exit code of several runs: that of the worst one.
fn verdict(reports: &[&Report], strict: bool) -> u8 {
    let any = |is: fn(&Report) -> bool| reports.iter().any(|report| is(report));
    match () {
        () if any(|report| report.mismatches.total > 0) => CONTENT_WRONG,
        () if any(|report| !report.is_clean()) => REQUESTS_FAILED,
        () if strict && any(|report| !report.invalid.is_empty()) => SATURATED,
        () => 0,
    }
}

fn verify_ledger(options: &VerifyOptions) -> Result<u8> {
    let result = verify::verify_ledger(options)?;
    let bad = (result.bad(), result.unreadable);
    show(&Document::Verification(result), &options.output)?;
    Ok(match bad {
        (0, _) => 0,
        (bad, unreadable) if bad == unreadable => REQUESTS_FAILED,
        _ => CONTENT_WRONG,
    })
}
