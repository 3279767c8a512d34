//! Where results go: text, JSON, CSV, HTML.
//!
//! **Invariant:** all forms come from one document, and the JSON can be read back whole, so that what
//! was measured once can be looked at in any form later.

use crate::compare::{Comparison, Row};
use crate::error::{Error, Result};
use crate::html;
use crate::options::OutputOptions;
use crate::report::Report;
use crate::samples::Sample;
use crate::sweep::Sweep;
use crate::verify::Verification;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Any result; the JSON tells by `kind` which.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Document {
    Run(Box<Report>),
    Sweep(Sweep),
    Comparison(Box<Comparison>),
    Verification(Verification),
}

impl Document {
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| Error::io(&name, source))?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::Usage(format!("{name}: not a result of this program: {error}")))
    }

    fn text(&self) -> String {
        match self {
            Self::Run(report) => report.to_string(),
            Self::Sweep(sweep) => sweep.to_string(),
            Self::Comparison(comparison) => comparison.to_string(),
            Self::Verification(verification) => verification.to_string(),
        }
    }

    /// The rows of one table, its head first.
    fn csv(&self) -> Result<String> {
        match self {
            Self::Run(report) => Ok(samples_csv(&report.samples)),
            Self::Sweep(sweep) => Ok(steps_csv(sweep)),
            Self::Comparison(comparison) => Ok(rows_csv(comparison)),
            Self::Verification(_) => {
                Err(Error::Usage("a verification has no table: --csv is not for it".to_owned()))
            }
        }
    }

    fn html(&self) -> Result<String> {
        match self {
            Self::Run(report) => Ok(html::run_page(report)),
            Self::Sweep(sweep) => Ok(html::sweep_page(sweep)),
            Self::Comparison(comparison) => Ok(html::comparison_page(comparison)),
            Self::Verification(_) => {
                Err(Error::Usage("a verification has no page: --html is not for it".to_owned()))
            }
        }
    }
}

/// Writes the files that were asked for, and the text to standard output; with `--json -` the JSON
/// takes the text's place.
pub fn show(document: &Document, output: &OutputOptions) -> Result<()> {
    if let Some(path) = &output.csv {
        write_file(path, &document.csv()?)?;
    }
    if let Some(path) = &output.html {
        write_file(path, &document.html()?)?;
    }
    let json = || {
        let text = serde_json::to_string_pretty(document);
        text.map_err(|error| Error::Runtime(error.to_string()))
    };
    match &output.json {
        Some(path) if path == Path::new("-") => return print(&json()?),
        Some(path) => write_file(path, &json()?)?,
        None => {}
    }
    print(&document.text())
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|source| Error::io(path.display().to_string(), source))
}

fn print(text: &str) -> Result<()> {
    let written = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
    written.map_err(|source| Error::io("standard output", source))
}

fn samples_csv(samples: &[Sample]) -> String {
    let mut out = String::from(
        "at_seconds,seconds,requests,errors,requests_per_second,mib_per_second,latency_us_mean,\
         latency_us_p50,latency_us_p99,latency_us_max,first_byte_us_p99,backlog_max,client_cpus,\
         server_cpus,server_cpu_us_per_request,server_resident_bytes,\
         server_device_read_mib_per_second,server_device_written_mib_per_second\n",
    );
    for sample in samples {
        let rate = [sample.requests_per_second, sample.mib_per_second];
        let latencies = [
            sample.latency_us_mean,
            sample.latency_us_p50,
            sample.latency_us_p99,
            sample.latency_us_max,
            sample.first_byte_us_p99,
        ];
        let mut fields =
            vec![format!("{:.3}", sample.at_seconds), format!("{:.3}", sample.seconds)];
        fields.extend([sample.requests, sample.errors].map(|count| count.to_string()));
        fields.extend(rate.map(|rate| format!("{rate:.2}")));
        fields.extend(latencies.map(|latency| format!("{latency:.1}")));
        fields.extend([sample.backlog_max.to_string(), format!("{:.3}", sample.client_cpus)]);
        fields.extend(sample.server.map_or_else(
            || vec![String::new(); 5],
            |server| {
                vec![
                    format!("{:.3}", server.cpus),
                    format!("{:.2}", server.cpu_us_per_request),
                    server.resident_bytes.to_string(),
                    format!("{:.2}", server.device_read_mib_per_second),
                    format!("{:.2}", server.device_written_mib_per_second),
                ]
            },
        ));
        writeln!(out, "{}", fields.join(",")).expect("writing to a String cannot fail");
    }
    out
}

fn steps_csv(sweep: &Sweep) -> String {
    let mut out = String::from(
        "load,over,requests_per_second,mib_per_second,latency_us_p50,latency_us_p99,failed,\
         server_cpus,server_requests_per_core_second,client_cpus,knee,valid\n",
    );
    for (index, step) in sweep.steps.iter().enumerate() {
        let report = &step.report;
        let server = report.server.as_ref().map_or_else(
            || ",".to_owned(),
            |server| format!("{:.3},{:.0}", server.cpus, server.requests_per_core_second),
        );
        writeln!(
            out,
            "{},{},{:.2},{:.2},{:.1},{:.1},{},{server},{:.3},{},{}",
            step.load,
            sweep.over,
            report.requests_per_second,
            report.mib_per_second,
            step.latency_us_p50,
            step.latency_us_p99,
            report.errors.total + report.mismatches.total,
            report.client.cpus,
            sweep.knee.as_ref().is_some_and(|knee| knee.index == index),
            report.invalid.is_empty(),
        )
        .expect("writing to a String cannot fail");
    }
    out
}

fn rows_csv(comparison: &Comparison) -> String {
    let mut out = String::from("quantity,unit,first,second,ratio,ratio_low,ratio_high,verdict\n");
    for row in &comparison.rows {
        let Row { name, unit, before, after, ratio, ratio_low, ratio_high, .. } = row;
        let verdict = row.verdict.name();
        writeln!(
            out,
            "\"{name}\",{unit},{before:.3},{after:.3},{ratio:.5},{ratio_low:.5},{ratio_high:.5},{verdict}"
        )
        .expect("writing to a String cannot fail");
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_s_rows_are_as_long_as_its_head() {
        let text = r#"{"at_seconds":1,"seconds":1,"requests":2,"errors":0,"requests_per_second":2,
            "mib_per_second":0,"latency_us_mean":1,"latency_us_p50":1,"latency_us_p99":1,
            "latency_us_max":1,"first_byte_us_p99":1,"backlog_max":0,"client_cpus":0.5,"server":null}"#;
        let sample: Sample = serde_json::from_str(text).unwrap();
        let table = samples_csv(&[sample]);
        let columns: Vec<usize> = table.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns, [18, 18]);
    }
}
