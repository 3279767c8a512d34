//! Whole runs against a small S3 server inside the test, which can be told to misbehave: a load
//! generator that misses a fault is worse than none.

#![allow(clippy::unwrap_used)]

mod server;

use clap::Parser;
use loadgen::options::{Cli, Command};
use loadgen::output::Document;
use loadgen::report::Report;
use loadgen::verify::Verification;
use loadgen::{Result, runner, sweep, verify};
use server::{Fault, Server};
use std::net::{SocketAddr, TcpListener};

fn command(endpoint: &str, subcommand: &str, arguments: &str) -> Command {
    let fixed =
        ["x", subcommand, "--access-key", "id", "--secret-key", "s", "--endpoint", endpoint];
    Cli::try_parse_from(fixed.into_iter().chain(arguments.split_whitespace())).unwrap().command
}

fn run_on(address: SocketAddr, arguments: &str) -> Result<Report> {
    run_at(&format!("http://{address}"), arguments)
}

fn run_at(endpoint: &str, arguments: &str) -> Result<Report> {
    match command(endpoint, "run", &format!("{arguments} --quiet")) {
        Command::Run(options) => runner::run(*options),
        _ => unreachable!(),
    }
}

#[track_caller]
fn run(fault: Fault, arguments: &str) -> Report {
    run_on(Server::start(fault), arguments).unwrap()
}

fn verify_on(address: SocketAddr, arguments: &str) -> Verification {
    match command(&format!("http://{address}"), "verify-ledger", arguments) {
        Command::VerifyLedger(options) => verify::verify_ledger(&options).unwrap(),
        _ => unreachable!(),
    }
}

const ALL: &str = "mixed --mix put=30,get=40,head=10,delete=10,list=10 --objects 100";

#[test]
fn every_operation_on_a_right_server_is_clean() {
    let report = run(Fault::None, &format!("{ALL} --size 0,9,20,4KiB,200KiB --count 2000"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.requests, 2000);
    assert_eq!(report.operations.len(), 5);
    assert!(report.verified_bytes > 0 && report.absent > 0);
}

#[test]
fn answers_in_small_pieces_are_put_together() {
    let report = run(Fault::Trickles, &format!("{ALL} --size 0,9,20,3000 --count 500"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.requests, 500);
}

#[test]
fn bodies_longer_than_every_buffer_are_whole() {
    let report = run(Fault::None, "get --size 9MB --objects 3 --count 12 --concurrency 3");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.verified_bytes, 12 * 9_000_000);
}

#[test]
fn each_workload_alone_is_clean() {
    for workload in ["put", "get", "head", "list", "delete"] {
        let arguments =
            format!("{workload} --objects 100 --count 100 --payload signed --size 3000");
        let report = run(Fault::None, &arguments);
        assert!(report.is_clean(), "{workload}: {report}");
        assert_eq!(report.requests, 100, "{workload}");
        assert!(report.operations[workload].latency_us.p99 > 0.0);
    }
}

#[test]
fn every_form_of_upload_arrives_whole() {
    for form in [
        "--payload signed --checksum sha1",
        "--payload streaming",
        "--payload streaming --checksum crc32",
        "--payload streaming --checksum sha256",
        "--payload streaming-unsigned --checksum crc64nvme",
        "--payload unsigned --checksum crc32c",
        "--signing presigned --checksum crc32",
        "--signing anonymous",
    ] {
        let arguments = format!("{ALL} --size 0,9,70,200KiB --count 300 {form}");
        let report = run(Fault::None, &arguments);
        assert!(report.is_clean(), "{form}: {report}");
        assert!(report.verified_bytes > 0, "{form}");
    }
}

#[test]
fn uploads_in_parts_arrive_whole() {
    let mix = "mixed --mix multipart=50,get=50 --objects 20 --size 0,1000,95KiB,200KiB";
    let parts = "--part-size 10KiB --part-parallel 3 --count 200";
    for payload in [
        "unsigned",
        "signed",
        "streaming",
        "unsigned --checksum crc32c",
        "signed --checksum crc64nvme",
        "streaming --checksum sha256",
        "streaming-unsigned --checksum crc32",
        "unsigned --signing presigned --checksum sha1",
        "unsigned --signing anonymous --checksum crc32",
    ] {
        let report = run(Fault::None, &format!("{mix} {parts} --payload {payload}"));
        assert!(report.is_clean(), "{report}");
        assert!(report.operations["part"].requests > report.operations["multipart"].requests);
    }
}

#[test]
fn an_upload_of_which_a_part_fails_is_aborted() {
    let arguments = "multipart --objects 20 --size 100KiB --part-size 10KiB --count 20";
    let report = run(Fault::Refuses, arguments);
    let failed = report.errors.by_kind["part: 503 SlowDown"];
    assert_eq!(report.errors.total, failed, "{report}");
    assert!(failed > 0 && report.operations.get("multipart").is_none_or(|o| o.requests < 20));
}

#[test]
fn a_cdn_s_requests_are_answered_in_slices_and_304s() {
    let arguments = "cdn --objects 50 --size zipf:1-200KiB:1.1 --range-size 1KiB,1KiB-8KiB";
    let report = run(Fault::None, &format!("{arguments} --count 3000"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.operations.len(), 4, "{report}");
    assert!(report.not_modified > 500 && report.unverified == 0, "{report}");
}

#[test]
fn slices_and_conditions_hold_while_objects_change_and_go() {
    let mix = "mixed --mix put=30,delete=10,range=30,conditional=30,get=10 --objects 10";
    for executors in [1, 3] {
        let arguments = format!("{mix} --size 0,1,5000,30KiB --range-size 100-9000");
        let report = run(Fault::None, &format!("{arguments} --executors {executors} --count 5000"));
        assert!(report.is_clean(), "{report}");
        assert!(report.not_modified > 100 && report.absent > 100, "{report}");
    }
}

#[test]
fn a_slice_from_elsewhere_is_found() {
    let arguments = "range --objects 10 --size 100KiB --range-size 1KiB --count 50";
    assert_eq!(run(Fault::ShiftsSlices, arguments).mismatches.by_kind["range"], 50);
    assert!(run(Fault::None, arguments).is_clean());
}

#[test]
fn conditions_that_are_not_heeded_are_found() {
    let arguments = "conditional --objects 10 --count 100";
    assert!(run(Fault::IgnoresConditions, arguments).mismatches.total >= 60);
    assert!(run(Fault::SaysNotModified, arguments).errors.by_kind["conditional: 304"] > 1);
}

#[test]
fn slices_of_unknown_objects_are_counted_as_not_verified() {
    let address = Server::start(Fault::None);
    run_on(address, "put --objects 10 --count 10").unwrap();
    let report = run_on(address, "range --objects 10 --count 20 --no-prepare").unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.unverified, 20);
}

#[test]
fn several_endpoints_share_the_connections() {
    let addresses = [Server::start(Fault::None), Server::start(Fault::None)];
    let both = format!("http://{},http://{}", addresses[0], addresses[1]);
    let arguments = "put --objects 40 --count 40 --concurrency 4 --size 100";
    let report = run_at(&both, arguments).unwrap();
    assert!(report.is_clean(), "{report}");
    let left = |address| {
        run_on(address, "head --objects 40 --count 40 --order sequential --no-prepare --size 100")
            .unwrap()
            .operations
            .get("head")
            .map_or(0, |head| head.requests)
    };
    assert!(left(addresses[0]) > 0 && left(addresses[1]) > 0);
}

#[test]
fn several_executors_share_the_work() {
    let report = run(Fault::None, "mixed --executors 3 --concurrency 7 --count 500 --objects 50");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.requests, 500);
}

#[test]
fn wrong_bytes_are_found() {
    let report = run(Fault::FlipsBit, "get --objects 10 --count 50");
    assert_eq!(report.mismatches.by_kind["get"], 50);
}

#[test]
fn stale_reads_are_found_in_long_and_short_bodies() {
    for size in [8, 1000] {
        let arguments = format!("mixed --objects 5 --count 500 --concurrency 2 --size {size}");
        assert!(run(Fault::KeepsOld, &arguments).mismatches.total > 0, "{size}");
    }
}

#[test]
fn a_key_missing_from_a_listing_is_found() {
    let report = run(Fault::HidesKey, "list --objects 50 --list-keys 20 --count 50");
    assert!(report.mismatches.by_kind["list"] > 0);
}

#[test]
fn errors_are_counted_by_status_and_code() {
    let report = run(Fault::Refuses, "put --count 100 --objects 100 --concurrency 3");
    assert_eq!(report.errors.by_kind["put: 503 SlowDown"], 10);
    assert!(report.errors.samples[0].contains("SlowDown"));
}

#[test]
fn a_request_that_stands_still_is_given_up() {
    let report = run(Fault::Hangs, "get --objects 2 --count 2 --timeout 200ms --warmup 0s");
    assert_eq!(report.errors.by_kind["get: no byte moved within the timeout"], 2, "{report}");
}

#[test]
fn an_open_loop_counts_the_wait_for_a_connection() {
    // One connection serves 50 per second and 100 arrive: the wait grows to half a second.
    let arguments = "get --objects 5 --rate 100 --concurrency 1 --duration 1s --warmup 0s";
    let report = run(Fault::Slow, arguments);
    let open_loop = report.open_loop.as_ref().unwrap();
    assert!(open_loop.unserved > 20 && open_loop.backlog_max > 20, "{report}");
    assert!(report.operations["get"].latency_us.max > 300_000.0, "{report}");
    assert!(report.operations["get"].first_byte_us.p50 < 200_000.0, "{report}");
    // The server's slowness is not the generator's.
    assert!(open_loop.lag_us.p99 < open_loop.start_delay_us.p99 / 2.0, "{report}");
}

#[test]
fn a_full_backlog_drops_arrivals() {
    let arguments =
        "get --objects 5 --rate 200 --backlog 5 --concurrency 1 --duration 1s --warmup 0s";
    let report = run(Fault::Slow, arguments);
    assert!(report.open_loop.as_ref().unwrap().dropped > 20, "{report}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(run_on(address, "put --count 1").is_err());
}

#[test]
fn a_bucket_with_what_somebody_else_wrote_is_not_touched() {
    let address = Server::start(Fault::None);
    let own = "put --objects 20 --count 20 --size 100";
    run_on(address, own).unwrap();
    run_on(address, own).expect("what it wrote itself is no obstacle");
    for (key, prefix) in
        [("a", "m/"), ("m/0000000003x", "m/"), ("zz", "m/"), ("b/0000000001", "b/")]
    {
        let address = Server::start(Fault::None);
        Server::put_foreign(address, key);
        let arguments = format!("delete --objects 20 --key-prefix {prefix}");
        let error = run_on(address, &arguments).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
        let allowed = run_on(address, &format!("{arguments} --allow-non-empty")).unwrap();
        assert!(allowed.is_clean(), "{allowed}");
    }
}

#[test]
fn samples_cover_the_window_and_add_up() {
    let arguments = "get --objects 20 --duration 1s --warmup 100ms --ramp 300ms --concurrency 4";
    for executors in [1, 2] {
        let report = run(Fault::None, &format!("{arguments} --executors {executors}"));
        assert!(report.is_clean(), "{report}");
        assert!((8..=10).contains(&report.samples.len()), "{:?}", report.samples);
        let sum: u64 = report.samples.iter().map(|sample| sample.requests).sum();
        assert!(sum <= report.requests && sum > report.requests * 7 / 10, "{sum} of {report}");
        assert!(report.samples.iter().all(|sample| sample.latency_us_p99 > 0.0));
    }
}

#[test]
fn a_sweep_runs_every_step_on_objects_written_once() {
    let address = Server::start(Fault::None);
    let arguments = "mixed --mix get=50,put=25,range=25 --objects 50 --duration 300ms --warmup 0s";
    let command = command(
        &format!("http://{address}"),
        "sweep",
        &format!("{arguments} --concurrencies 4,1,2 --quiet"),
    );
    let Command::Sweep(options) = command else { unreachable!() };
    let result = sweep::run(&options).unwrap();
    let loads: Vec<f64> = result.steps.iter().map(|step| step.load).collect();
    assert_eq!(loads, [1.0, 2.0, 4.0]);
    assert!(result.steps.iter().all(|step| step.report.is_clean()), "{result}");
    assert!(result.steps.iter().all(|step| step.report.unverified == 0), "{result}");
}

#[test]
fn poisson_arrivals_come_at_their_rate() {
    let arguments = "head --objects 5 --rate 1000 --arrivals poisson --duration 1s --warmup 0s";
    let report = run(Fault::None, arguments);
    let open_loop = report.open_loop.as_ref().unwrap();
    let arrived =
        report.operations["head"].latency_us.count + open_loop.unserved + open_loop.dropped;
    assert!((850..1150).contains(&arrived), "{report}");
}

#[test]
fn json_is_read_back_as_it_was() {
    let report = run(Fault::None, "get --objects 5 --duration 300ms --warmup 0s --rate 500");
    let text = serde_json::to_string(&Document::Run(Box::new(report.clone()))).unwrap();
    let Document::Run(read) = serde_json::from_str(&text).unwrap() else { unreachable!() };
    assert_eq!(read.samples.len(), report.samples.len());
    assert_eq!(read.to_string(), report.to_string());
}

fn ledger_verdict(fault: Fault) -> (Report, Verification) {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger");
    let ledger = ledger.to_str().unwrap();
    let address = Server::start(fault);
    let mix = "mixed --mix put=80,delete=10,get=10 --no-prepare --size 8,100,10KiB";
    let arguments = format!("{mix} --objects 2000 --count 5000 --ledger {ledger}");
    let report = run_on(address, &arguments).unwrap();
    (report, verify_on(address, ledger))
}

#[test]
fn a_ledger_of_a_right_server_verifies() {
    let (_, verification) = ledger_verdict(Fault::None);
    assert_eq!(verification.bad(), 0, "{verification}");
    assert!(verification.keys > 1500 && verification.keys == verification.intact);
}

#[test]
fn writes_without_an_answer_are_right_either_way() {
    let (report, verification) = ledger_verdict(Fault::LosesAnswers);
    assert!(report.errors.by_kind["put: closed by the server"] > 10, "{report}");
    assert_eq!(verification.bad(), 0, "{verification}");
    assert!(verification.maybe_applied > 10, "{verification}");
}

#[test]
fn an_acknowledged_write_that_is_missing_is_found() {
    let (_, verification) = ledger_verdict(Fault::Forgets);
    assert!(verification.lost + verification.wrong_version > 0, "{verification}");
}

#[test]
fn a_listing_that_disagrees_with_the_objects_is_found() {
    let (_, verification) = ledger_verdict(Fault::HidesKey);
    assert!(verification.not_listed > 5, "{verification}");
    assert_eq!(verification.bad(), verification.not_listed, "{verification}");
}
