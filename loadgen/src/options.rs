//! The command line: what can be asked for, in which units, within which bounds.
//!
//! **Invariant:** options that passed `check` describe a run that ends, on an endpoint that the user
//! allowed.

use crate::error::{Error, Result};
use crate::limits;
use crate::workload::{Mix, Operation, Sizes};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(name = "ringfort-loadgen", version, about = "Load generator for any S3 endpoint")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Drive the endpoint and report rates, latencies, errors and CPU time.
    Run(Box<RunOptions>),
    /// Read back every write that a ledger holds, and say what is missing or wrong.
    VerifyLedger(Box<VerifyOptions>),
}

/// Where to send requests, and in whose name.
#[derive(Debug, Clone, Args)]
pub struct EndpointOptions {
    /// http://HOST[:PORT]; TLS is not spoken.
    #[arg(long, default_value = "http://127.0.0.1:9000")]
    pub endpoint: String,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub access_key: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub secret_key: Secret,
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub region: String,
    /// Allow an endpoint that is not a loopback address.
    #[arg(long)]
    pub allow_remote: bool,
    /// Give up a request after this long without a byte moving.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Wait up to this long for the endpoint to answer before starting.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub wait_ready: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    #[arg(value_enum)]
    pub workload: Workload,
    #[command(flatten)]
    pub endpoint: EndpointOptions,
    /// Created if it is missing.
    #[arg(long, default_value = "loadgen")]
    pub bucket: String,
    #[arg(long, default_value = "load/")]
    pub key_prefix: String,
    /// Weights of the operations of `mixed`, such as get=70,put=30.
    #[arg(long, default_value = "get=70,put=30")]
    pub mix: Mix,
    /// One size (64KiB), or sizes with weights (4KiB=90,1MiB=10).
    #[arg(long, default_value = "64KiB")]
    pub size: Sizes,
    /// How many keys there are.
    #[arg(long, default_value_t = 1000)]
    pub objects: u64,
    /// Do not write the objects first for workloads that read them.
    #[arg(long)]
    pub no_prepare: bool,
    /// Keys in order or at random; default: in order for put and delete, else at random.
    #[arg(long, value_enum)]
    pub order: Option<Order>,
    /// Keys asked for by one listing.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub list_keys: u32,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// How long to measure [default: 10s without --count].
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Stop after this many measured requests.
    #[arg(long)]
    pub count: Option<u64>,
    /// Drive the endpoint this long before measuring [default: 1s; with --count or delete 0s].
    #[arg(long, value_parser = parse_duration)]
    pub warmup: Option<Duration>,
    /// Open loop: start this many requests per second, whatever the answers do.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Open loop: how arrivals are spaced.
    #[arg(long, value_enum, default_value_t = Arrivals::Even)]
    pub arrivals: Arrivals,
    /// Open loop: arrivals that may wait for a connection before further ones are dropped.
    #[arg(long, default_value_t = 100_000)]
    pub backlog: u64,
    #[arg(long, value_enum, default_value_t = Payload::Unsigned)]
    pub payload: Payload,
    /// CPUs to pin one executor each to, such as 0,1.
    #[arg(long, value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Executors without pinning, when --cores is absent.
    #[arg(long, default_value_t = 1)]
    pub executors: usize,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Process of the server, to report the CPU time that it uses.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Append every write and its acknowledgement to this file.
    #[arg(long)]
    pub ledger: Option<PathBuf>,
    /// End the run when a connection has failed to open this often in a row.
    #[arg(long, default_value_t = 100)]
    pub connect_failures: u32,
    /// Write the report as JSON to this file, - for standard output in place of the text.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// No line of progress each second.
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub struct VerifyOptions {
    pub ledger: PathBuf,
    /// Do not compare the bucket's listing with what GET finds.
    #[arg(long)]
    pub no_list: bool,
    #[command(flatten)]
    pub endpoint: EndpointOptions,
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// Write the result as JSON to this file, - for standard output in place of the text.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    Put,
    Get,
    Mixed,
    List,
    Head,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    Sequential,
    Random,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    Even,
    /// At exponentially distributed distances.
    Poisson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    Signed,
    Unsigned,
}

/// A secret that does not show itself in debug output.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(...)")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// An endpoint as the client needs it.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// The value of the `Host` header.
    pub host: String,
}

impl EndpointOptions {
    /// Resolves the endpoint, and refuses it if it is remote without leave.
    pub fn target(&self) -> Result<Target> {
        let usage = |text: &str| Error::Usage(format!("--endpoint {}: {text}", self.endpoint));
        let rest = self.endpoint.strip_prefix("http://");
        let host = rest.ok_or_else(|| usage("only http:// is spoken"))?.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return Err(usage("expected http://HOST[:PORT]"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let mut addresses =
            with_port.to_socket_addrs().map_err(|source| Error::io(&self.endpoint, source))?;
        let address = addresses.next().ok_or_else(|| usage("the name has no address"))?;
        if !address.ip().is_loopback() && !self.allow_remote {
            return Err(usage("not a loopback address; --allow-remote permits it"));
        }
        Ok(Target { address, host: host.to_owned() })
    }
}

impl RunOptions {
    /// Refuses what is out of bounds or contradicts itself.
    pub fn check(&self) -> Result<()> {
        let bounds = [
            ((1..=limits::OBJECTS_MAX).contains(&self.objects), "--objects"),
            ((1..=limits::CONCURRENCY_MAX).contains(&self.concurrency), "--concurrency"),
            ((1..=limits::EXECUTORS_MAX).contains(&self.executor_count()), "--executors"),
            (self.executor_count() <= self.concurrency, "--executors above --concurrency"),
            (self.executor_count() as u64 <= self.objects, "--executors above --objects"),
            (self.duration.is_none_or(in_duration_bounds), "--duration"),
            (self.warmup.is_none_or(|warmup| warmup <= limits::DURATION_MAX), "--warmup"),
            (self.count.is_none_or(|count| (1..=limits::COUNT_MAX).contains(&count)), "--count"),
            (self.rate.is_none_or(|rate| (0.001..=1e8).contains(&rate)), "--rate"),
            (self.backlog > 0, "--backlog"),
            (is_plain(&self.bucket) && !self.bucket.contains('/'), "--bucket"),
            (is_plain(&self.key_prefix), "--key-prefix (letters, digits and -._~/ only)"),
            (self.key_prefix.len() <= limits::KEY_PREFIX_BYTES_MAX, "--key-prefix"),
        ];
        match bounds.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(Error::Usage(format!("out of bounds: {what}"))),
            None => Ok(()),
        }
    }

    pub fn executor_count(&self) -> usize {
        if self.cores.is_empty() { self.executors } else { self.cores.len() }
    }

    /// The operations of this run with their weights.
    pub fn operations(&self) -> Mix {
        match self.workload {
            Workload::Put => Mix::only(Operation::Put),
            Workload::Get => Mix::only(Operation::Get),
            Workload::List => Mix::only(Operation::List),
            Workload::Head => Mix::only(Operation::Head),
            Workload::Delete => Mix::only(Operation::Delete),
            Workload::Mixed => self.mix.clone(),
        }
    }

    /// Whether every key is written before the run.
    pub fn prepares(&self) -> bool {
        self.workload != Workload::Put && !self.no_prepare
    }

    pub fn key_order(&self) -> Order {
        self.order.unwrap_or(match self.workload {
            Workload::Put | Workload::Delete => Order::Sequential,
            _ => Order::Random,
        })
    }

    /// `None`: until the count is reached.
    pub fn measured_duration(&self) -> Option<Duration> {
        match (self.duration, self.count) {
            (None, None) => Some(Duration::from_secs(10)),
            (duration, _) => duration,
        }
    }

    pub fn warmup_duration(&self) -> Duration {
        let bounded_by_keys = self.count.is_some() || self.workload == Workload::Delete;
        self.warmup.unwrap_or(Duration::from_secs(if bounded_by_keys { 0 } else { 1 }))
    }
}

impl VerifyOptions {
    pub fn check(&self) -> Result<()> {
        if (1..=limits::CONCURRENCY_MAX).contains(&self.concurrency) {
            return Ok(());
        }
        Err(Error::Usage("out of bounds: --concurrency".to_owned()))
    }
}

fn in_duration_bounds(duration: Duration) -> bool {
    duration > Duration::ZERO && duration <= limits::DURATION_MAX
}

/// Whether text means the same in a path, encoded or not.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    !text.is_empty()
        && text.chars().all(plain)
        && !text.starts_with('/')
        && !text.contains("//")
        && text.split('/').all(|segment| segment != "." && segment != "..")
}

/// `10s`, `500ms`, `2m`, `1h`; a bare number is seconds.
pub fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| format!("not a duration: {text}"))?;
    let unit_seconds = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("unknown unit: {unit}")),
    };
    Duration::try_from_secs_f64(number * unit_seconds).map_err(|error| error.to_string())
}

/// `4096`, `4KiB`, `1MiB`, `2GiB`, and the powers of ten `4KB`, `1MB`, `2GB`.
pub fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("not a size: {text}"))?;
    let unit_bytes = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        unit => return Err(format!("unknown unit: {unit}")),
    };
    let bytes = number.checked_mul(unit_bytes).filter(|&bytes| bytes <= limits::OBJECT_BYTES_MAX);
    bytes.ok_or_else(|| format!("larger than one PUT may be: {text}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(arguments: &[&str]) -> RunOptions {
        let fixed = ["x", "run", "--access-key", "a", "--secret-key", "hunter2"];
        match Cli::try_parse_from(fixed.iter().chain(arguments)).unwrap().command {
            Command::Run(options) => *options,
            Command::VerifyLedger(_) => unreachable!(),
        }
    }

    #[test]
    fn a_run_is_bounded_by_default() {
        let options = parse(&["get"]);
        options.check().unwrap();
        assert_eq!(options.measured_duration(), Some(Duration::from_secs(10)));
        assert_eq!(parse(&["get", "--count", "5"]).measured_duration(), None);
    }

    #[test]
    fn a_remote_endpoint_needs_leave() {
        assert!(parse(&["get", "--endpoint", "http://192.0.2.1:9000"]).endpoint.target().is_err());
        let allowed = parse(&["get", "--endpoint", "http://192.0.2.1", "--allow-remote"]);
        assert_eq!(allowed.endpoint.target().unwrap().address.port(), 80);
        assert!(parse(&["get", "--endpoint", "http://[::1]:9000"]).endpoint.target().is_ok());
        assert!(parse(&["get", "--endpoint", "https://127.0.0.1"]).endpoint.target().is_err());
    }

    #[test]
    fn what_would_need_encoding_is_refused() {
        assert!(parse(&["get", "--key-prefix", "a b"]).check().is_err());
        assert!(parse(&["get", "--key-prefix", "a/../b"]).check().is_err());
        assert!(parse(&["get", "--bucket", "a/b"]).check().is_err());
    }

    #[test]
    fn units_are_read() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("2y").is_err() && parse_duration("-1s").is_err());
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1MB"), Ok(1_000_000));
        assert!(parse_size("6GiB").is_err() && parse_size("x").is_err());
    }

    #[test]
    fn the_secret_does_not_show() {
        assert!(!format!("{:?}", parse(&["get"])).contains("hunter2"));
    }
}
