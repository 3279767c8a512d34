//! One self-contained page of a run, a sweep or a comparison: tables and charts, light and dark, without
//! scripts and without anything from the network.

use crate::chart::{Chart, Scale, Series, number};
use crate::compare::Comparison;
use crate::histogram::Summary;
use crate::report::{OperationReport, ProcessReport, Report};
use crate::samples::Sample;
use crate::sweep::Sweep;
use std::fmt::Write;

const STYLE: &str = include_str!("html.css");
const MIB: f64 = (1 << 20) as f64;

/// For text and for attributes in double quotes.
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

pub fn run_page(report: &Report) -> String {
    let setup = &report.setup;
    let title = format!("{} of {}", setup.workload, setup.size);
    let mut body = String::new();
    push_warnings(&run_warnings(report), &mut body);
    body.push_str(&tiles(report));
    body.push_str(&setup_line(report, true));
    body.push_str("<h2>Latency in microseconds</h2>");
    body.push_str(&latency_table(report));
    body.push_str("<div class=\"charts\">");
    run_charts(report).iter().for_each(|chart| body.push_str(&chart.svg()));
    body.push_str("</div>");
    body.push_str(&process_table(report));
    body.push_str(&failures(report));
    page(&title, &body)
}

pub fn sweep_page(sweep: &Sweep) -> String {
    let workload = sweep.steps.first().map_or_else(String::new, |step| {
        format!("{} of {}", step.report.setup.workload, step.report.setup.size)
    });
    let mut body = String::new();
    let mut warnings = Vec::new();
    for step in &sweep.steps {
        let of = |warning| format!("{} {}: {warning}", step.load, sweep.over);
        warnings.extend(run_warnings(&step.report).into_iter().map(of));
    }
    push_warnings(&warnings, &mut body);
    let knee = match &sweep.knee {
        Some(knee) => {
            format!("Knee at <b>{} {}</b>: then {}.", knee.load, sweep.over, escape(&knee.reason))
        }
        None => "No knee: it lies beyond the loads that were tried.".to_owned(),
    };
    write(&mut body, format_args!("<p class=\"lead\">{knee}</p>"));
    if let Some(step) = sweep.steps.first() {
        body.push_str(&setup_line(&step.report, false));
    }
    body.push_str("<div class=\"charts\">");
    sweep_charts(sweep).iter().for_each(|chart| body.push_str(&chart.svg()));
    body.push_str("</div>");
    body.push_str(&steps_table(sweep));
    page(&format!("Sweep: {workload}"), &body)
}

pub fn comparison_page(comparison: &Comparison) -> String {
    let mut body = String::new();
    push_warnings(&comparison.warnings(), &mut body);
    body.push_str(
        "<p class=\"lead\">The second run against the first; intervals of 95 % confidence by the moving-block bootstrap over each run's samples. What differs between runs rather than within them is not in them.</p>",
    );
    for (name, report) in [("First", &comparison.before), ("Second", &comparison.after)] {
        write(&mut body, format_args!("<h2>{name}</h2>{}", setup_line(report, true)));
    }
    body.push_str(&rows_table(comparison));
    body.push_str("<div class=\"charts\">");
    comparison_charts(comparison).iter().for_each(|chart| body.push_str(&chart.svg()));
    body.push_str("</div>");
    page("Comparison", &body)
}

fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n{body}\n<footer>ringfort-loadgen {}</footer></main></body></html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn run_warnings(report: &Report) -> Vec<String> {
    let mut warnings: Vec<String> =
        report.invalid.iter().map(|reason| format!("Invalid: {reason}")).collect();
    if report.errors.total > 0 {
        warnings.push(format!("{} requests failed", report.errors.total));
    }
    if report.mismatches.total > 0 {
        warnings.push(format!("{} answers had wrong content", report.mismatches.total));
    }
    if report.stopped_early {
        warnings.push("Stopped early".to_owned());
    }
    warnings
}

fn push_warnings(warnings: &[String], out: &mut String) {
    for warning in warnings {
        write(out, format_args!("<p class=\"warning\">{}</p>", escape(warning)));
    }
}

/// The figures that are looked for first.
fn tiles(report: &Report) -> String {
    let longest =
        |of: fn(&OperationReport) -> f64| report.operations.values().map(of).fold(0.0, f64::max);
    let mut tiles = vec![
        ("requests/s", number(report.requests_per_second)),
        ("MiB/s", number(report.mib_per_second)),
        ("p50 us", number(longest(|operation| operation.latency_us.p50))),
        ("p99 us", number(longest(|operation| operation.latency_us.p99))),
    ];
    if let Some(server) = &report.server {
        tiles.push(("server us CPU/request", number(server.cpu_us_per_request)));
        tiles.push(("requests per core-second", number(server.requests_per_core_second)));
    }
    let tile =
        |(name, value): &(&str, String)| format!("<div><b>{value}</b><span>{name}</span></div>");
    format!("<div class=\"tiles\">{}</div>", tiles.iter().map(tile).collect::<String>())
}

/// What was asked for; the load too, unless it differs from step to step.
fn setup_line(report: &Report, with_load: bool) -> String {
    let setup = &report.setup;
    let mut parts = vec![
        format!("{} on {}", setup.workload, setup.endpoint),
        format!("bodies of {}", setup.size),
        format!("{} objects", setup.objects),
        format!("{:.1} s", report.window_seconds),
        format!("{} signing, {} payload", setup.signing, setup.payload),
    ];
    parts.extend(setup.checksum.as_ref().map(|checksum| format!("{checksum} checksums")));
    if with_load {
        parts.push(format!("{} connections", setup.concurrency));
    }
    if let (Some(open_loop), true) = (&report.open_loop, with_load) {
        let spacing = if open_loop.poisson { "Poisson" } else { "even" };
        parts.push(format!("open loop at {}/s, {spacing} arrivals", open_loop.rate));
        parts.push(format!("backlog at most {}", open_loop.backlog_max));
        parts.push(format!("{} dropped, {} unserved", open_loop.dropped, open_loop.unserved));
    }
    format!("<p class=\"setup\">{}</p>", escape(&parts.join(" · ")))
}

fn latency_table(report: &Report) -> String {
    let mut rows = Vec::new();
    for (name, operation) in &report.operations {
        rows.push(latency_row(name, &operation.latency_us));
        rows.push(latency_row(&format!("{name}, first byte"), &operation.first_byte_us));
    }
    if let Some(open_loop) = &report.open_loop {
        rows.push(latency_row("start delay", &open_loop.start_delay_us));
        rows.push(latency_row("generator's lag", &open_loop.lag_us));
    }
    let head = ["", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    table(&head, &rows)
}

fn latency_row(name: &str, summary: &Summary) -> Vec<String> {
    let Summary { count, mean, p50, p90, p99, p99_9, p99_99, max } = *summary;
    let mut row = vec![name.to_owned(), count.to_string()];
    row.extend([mean, p50, p90, p99, p99_9, p99_99, max].map(|value| format!("{value:.1}")));
    row
}

fn process_table(report: &Report) -> String {
    let row = |name: &str, process: &ProcessReport| {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
        let device = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), mib);
        vec![
            name.to_owned(),
            format!("{:.2}", process.cpus),
            format!("{:.2}", process.cpu_us_per_request),
            format!("{:.0}", process.requests_per_core_second),
            format!("{:.2}", process.cpu_wait_seconds),
            mib(process.resident_bytes_max),
            device(process.device_read_bytes),
            device(process.device_written_bytes),
        ]
    };
    let mut rows: Vec<_> = report.server.iter().map(|server| row("server", server)).collect();
    rows.push(row("generator", &report.client));
    let head = [
        "",
        "CPUs",
        "us/request",
        "requests per core-second",
        "waited for a CPU, s",
        "resident at most, MiB",
        "device read, MiB",
        "device written, MiB",
    ];
    format!("<h2>Processes</h2>{}", table(&head, &rows))
}

fn failures(report: &Report) -> String {
    let counts = [("Errors", &report.errors), ("Mismatches", &report.mismatches)];
    let mut out = String::new();
    for (name, counts) in counts.into_iter().filter(|(_, counts)| counts.total > 0) {
        let rows: Vec<_> = counts
            .by_kind
            .iter()
            .map(|(kind, count)| vec![kind.clone(), count.to_string()])
            .collect();
        write(&mut out, format_args!("<h2>{name}</h2>{}", table(&["kind", "count"], &rows)));
        for sample in &counts.samples {
            write(&mut out, format_args!("<pre>{}</pre>", escape(sample)));
        }
    }
    out
}

fn rows_table(comparison: &Comparison) -> String {
    let mut out = String::from(
        "<h2>Differences</h2><div class=\"scroll\"><table><thead><tr><th></th><th>first</th><th>second</th><th>ratio</th><th>95 % confidence</th><th>verdict</th></tr></thead><tbody>",
    );
    for row in &comparison.rows {
        let verdict = row.verdict.name();
        write(
            &mut out,
            format_args!(
                "<tr><td>{} ({})</td><td>{:.1}</td><td>{:.1}</td><td>{:.3}</td><td>{:.3} to {:.3}</td><td class=\"{verdict}\">{verdict}</td></tr>",
                escape(&row.name),
                row.unit,
                row.before,
                row.after,
                row.ratio,
                row.ratio_low,
                row.ratio_high
            ),
        );
    }
    out.push_str("</tbody></table></div>");
    out
}

fn steps_table(sweep: &Sweep) -> String {
    let row = |(index, step): (usize, &crate::sweep::Step)| {
        let report = &step.report;
        let server = |of: fn(&ProcessReport) -> String| {
            report.server.as_ref().map_or_else(|| "-".to_owned(), of)
        };
        let knee = sweep.knee.as_ref().is_some_and(|knee| knee.index == index);
        vec![
            format!("{}{}", step.load, if knee { " (knee)" } else { "" }),
            format!("{:.0}", report.requests_per_second),
            format!("{:.1}", report.mib_per_second),
            format!("{:.1}", step.latency_us_p50),
            format!("{:.1}", step.latency_us_p99),
            server(|server| format!("{:.2}", server.cpus)),
            server(|server| format!("{:.0}", server.requests_per_core_second)),
            format!("{:.2}", report.client.cpus),
            (report.errors.total + report.mismatches.total).to_string(),
        ]
    };
    let rows: Vec<_> = sweep.steps.iter().enumerate().map(row).collect();
    let head = [
        sweep.over.as_str(),
        "requests/s",
        "MiB/s",
        "p50 us",
        "p99 us",
        "server CPUs",
        "requests per core-second",
        "generator CPUs",
        "failed",
    ];
    format!("<h2>Steps</h2>{}", table(&head, &rows))
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for name in head {
        write(&mut out, format_args!("<th>{}</th>", escape(name)));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            write(&mut out, format_args!("<td>{}</td>", escape(cell)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), points }
}

fn over_time(name: &str, samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Series {
    series(name, samples.iter().map(|sample| (sample.at_seconds, of(sample))).collect())
}

fn chart(title: &str, x_label: &str, y_label: &str, series: Vec<Series>) -> Chart {
    Chart {
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        y_label: y_label.to_owned(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series,
        mark: None,
        x_ticks: None,
    }
}

fn run_charts(report: &Report) -> Vec<Chart> {
    let samples = &report.samples;
    let mut charts = Vec::new();
    if samples.len() > 1 {
        let rate = over_time("requests/s", samples, |sample| sample.requests_per_second);
        charts.push(chart("Throughput", "seconds", "requests/s", vec![rate]));
        let latencies = vec![
            over_time("p50", samples, |sample| sample.latency_us_p50),
            over_time("p99", samples, |sample| sample.latency_us_p99),
            over_time("max", samples, |sample| sample.latency_us_max),
        ];
        let latency = chart("Latency", "seconds", "microseconds", latencies);
        charts.push(Chart { y_scale: Scale::Log, ..latency });
    }
    charts.push(distribution_chart(
        "Latency by percentile",
        report.operations.iter().map(|(name, operation)| (name.as_str(), operation)),
    ));
    if samples.len() > 1 {
        charts.extend(process_charts(report));
    }
    charts
}

fn process_charts(report: &Report) -> Vec<Chart> {
    let samples = &report.samples;
    let mut cpus = vec![over_time("generator", samples, |sample| sample.client_cpus)];
    let served: Vec<Sample> =
        samples.iter().copied().filter(|sample| sample.server.is_some()).collect();
    let of_server = |name, of: fn(&crate::samples::ServerSample) -> f64| {
        over_time(name, &served, |sample| sample.server.as_ref().map_or(0.0, of))
    };
    if served.is_empty() {
        return vec![chart("CPUs in use", "seconds", "CPUs", cpus)];
    }
    cpus.insert(0, of_server("server", |server| server.cpus));
    let device = vec![
        of_server("written", |server| server.device_written_mib_per_second),
        of_server("read", |server| server.device_read_mib_per_second),
    ];
    let memory = of_server("resident", |server| server.resident_bytes as f64 / MIB);
    vec![
        chart("CPUs in use", "seconds", "CPUs", cpus),
        chart("The server's device I/O", "seconds", "MiB/s", device),
        chart("The server's memory", "seconds", "MiB", vec![memory]),
    ]
}

/// Percentiles on an axis on which each nine is as long as the one before.
fn distribution_chart<'a>(
    title: &str,
    operations: impl Iterator<Item = (&'a str, &'a OperationReport)>,
) -> Chart {
    let place = |share: f64| 1.0 / (1.0 - share);
    let lines = operations.map(|(name, operation)| {
        // Beyond its count a distribution has no points but its largest one.
        let last = operation.latency_us.count as f64;
        let points = operation.distribution.iter().filter(|(share, _)| place(*share) <= last);
        series(name, points.map(|&(share, us)| (place(share), us)).collect())
    });
    let ticks = [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")]
        .into_iter()
        .chain([(0.9999, "99.99 %"), (0.99999, "99.999 %")]);
    let lines: Vec<Series> = lines.collect();
    let furthest =
        lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(1.0, f64::max);
    let ticks = ticks.map(|(share, text)| (place(share), text.to_owned()));
    let ticks = ticks.filter(|(place, _)| *place <= furthest * 1.01).collect();
    Chart {
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        x_ticks: Some(ticks),
        ..chart(title, "share of requests", "microseconds", lines)
    }
}

fn sweep_charts(sweep: &Sweep) -> Vec<Chart> {
    let over = |name: &str, of: &dyn Fn(&crate::sweep::Step) -> f64| {
        series(name, sweep.steps.iter().map(|step| (step.load, of(step))).collect())
    };
    let ticks: Vec<_> = sweep.steps.iter().map(|step| (step.load, number(step.load))).collect();
    let mark = sweep.knee.as_ref().map(|knee| (knee.load, "knee".to_owned()));
    let by_load = |title: &str, y_label: &str, lines: Vec<Series>| Chart {
        x_scale: Scale::Log,
        mark: mark.clone(),
        x_ticks: Some(ticks.clone()),
        ..chart(title, &sweep.over, y_label, lines)
    };
    let mut charts = vec![
        by_load(
            "Throughput",
            "requests/s",
            vec![over("requests/s", &|step| step.report.requests_per_second)],
        ),
        Chart {
            y_scale: Scale::Log,
            ..by_load(
                "Latency",
                "microseconds",
                vec![
                    over("p50", &|step| step.latency_us_p50),
                    over("p99", &|step| step.latency_us_p99),
                ],
            )
        },
    ];
    let curve = |of: &dyn Fn(&crate::sweep::Step) -> f64| {
        sweep.steps.iter().map(|step| (step.report.requests_per_second, of(step))).collect()
    };
    charts.push(Chart {
        y_scale: Scale::Log,
        ..chart(
            "Latency by throughput",
            "requests/s",
            "microseconds",
            vec![
                series("p50", curve(&|step| step.latency_us_p50)),
                series("p99", curve(&|step| step.latency_us_p99)),
            ],
        )
    });
    let cpus = |of: Option<&ProcessReport>| of.map_or(0.0, |process| process.cpus);
    let mut lines = vec![over("generator", &|step| step.report.client.cpus)];
    if sweep.steps.iter().any(|step| step.report.server.is_some()) {
        lines.insert(0, over("server", &|step| cpus(step.report.server.as_ref())));
    }
    charts.push(by_load("CPUs in use", "CPUs", lines));
    charts
}

fn comparison_charts(comparison: &Comparison) -> Vec<Chart> {
    let both = |of: fn(&Sample) -> f64| {
        let Comparison { before, after, .. } = comparison;
        vec![over_time("first", &before.samples, of), over_time("second", &after.samples, of)]
    };
    let p99 = chart("Latency, p99", "seconds", "microseconds", both(|s| s.latency_us_p99));
    let mut charts = vec![
        chart("Throughput", "seconds", "requests/s", both(|s| s.requests_per_second)),
        Chart { y_scale: Scale::Log, ..p99 },
    ];
    for (name, first) in &comparison.before.operations {
        if let Some(second) = comparison.after.operations.get(name) {
            let title = format!("{name}: latency by percentile");
            let both = [("first", first), ("second", second)];
            charts.push(distribution_chart(&title, both.into_iter()));
        }
    }
    charts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_no_script_and_reach_for_nothing() {
        let report = Report::default();
        let steps = crate::sweep::tests::steps(&[(1.0, 10.0, 5.0), (2.0, 20.0, 6.0)]);
        let sweep = Sweep { over: "connections".to_owned(), steps, knee: None };
        let (before, after) = (report.clone(), report.clone());
        let comparison = Comparison { before, after, rows: Vec::new() };
        for page in [run_page(&report), sweep_page(&sweep), comparison_page(&comparison)] {
            assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
            for absent in ["<script", "http://", "https://", "url(", "@import", "NaN", "inf\""] {
                assert!(!page.contains(absent), "{absent}");
            }
        }
    }

    #[test]
    fn what_a_server_says_is_text() {
        let mut report = Report::default();
        report.errors.total = 1;
        report.errors.samples.push("<script>alert(1)</script>".to_owned());
        assert!(!run_page(&report).contains("<script"));
    }
}
