//! The command line: what can be asked for, in which units, within which bounds.
//!
//! **Invariant:** options that passed `check` describe a run that ends, on an endpoint that the user
//! allowed.

use crate::checksum::Checksum;
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
    /// Run the workload at one load after the other, and find where throughput stops growing or latency
    /// explodes.
    Sweep(Box<SweepOptions>),
    /// Compare two runs from their JSON, with confidence intervals.
    Compare(CompareOptions),
    /// Show a result that was kept as JSON, in any form.
    Show(ShowOptions),
    /// Read back every write that a ledger holds, and say what is missing or wrong.
    VerifyLedger(Box<VerifyOptions>),
}

/// Where to send requests, and in whose name.
#[derive(Debug, Clone, Args)]
pub struct EndpointOptions {
    /// http://HOST[:PORT]; TLS is not spoken. Several, by commas: connections take them in turn.
    #[arg(long, default_value = "http://127.0.0.1:9000", value_delimiter = ',')]
    pub endpoint: Vec<String>,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true, default_value = "")]
    pub access_key: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, default_value = "")]
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
    /// Weights of the operations of `mixed` and `cdn`: put, get, range, conditional, head, delete, list,
    /// multipart [default: get=70,put=30; for cdn get=35,range=35,conditional=25,head=5].
    #[arg(long)]
    pub mix: Option<Mix>,
    /// One size (64KiB), sizes with weights (4KiB=90,1MiB=10), uniform between two (1KiB-1MiB), or by
    /// Zipf's law with an exponent (zipf:1KiB-1MiB:1.2).
    #[arg(long, default_value = "64KiB")]
    pub size: Sizes,
    /// Sizes of the slices that `range` reads, in the same form; cut where the object ends.
    #[arg(long, default_value = "64KiB")]
    pub range_size: Sizes,
    /// Size of the parts of `multipart`.
    #[arg(long, default_value = "8MiB", value_parser = parse_size)]
    pub part_size: u64,
    /// Parts of one upload under way at a time, each on a connection of its own.
    #[arg(long, default_value_t = 4)]
    pub part_parallel: usize,
    /// How many keys there are.
    #[arg(long, default_value_t = 1000)]
    pub objects: u64,
    /// Do not write the objects first for workloads that read them.
    #[arg(long)]
    pub no_prepare: bool,
    /// Keys in order, at random, or at random by Zipf's law; default: in order for put, multipart and
    /// delete, by Zipf's law for cdn, else at random.
    #[arg(long, value_enum)]
    pub order: Option<Order>,
    /// How unequal keys are with `--order zipf`; 0 is uniform. Proxies saw 0.64 to 0.83 (Breslau et al.,
    /// "Web Caching and Zipf-like Distributions", INFOCOM 1999).
    #[arg(long, default_value_t = 0.8)]
    pub zipf_exponent: f64,
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
    /// Before that, let the load grow this long from nothing: connection by connection, or in rate.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,
    /// Open loop: start this many requests per second, whatever the answers do.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Open loop: how arrivals are spaced.
    #[arg(long, value_enum, default_value_t = Arrivals::Even)]
    pub arrivals: Arrivals,
    /// Open loop: arrivals that may wait for a connection before further ones are dropped.
    #[arg(long, default_value_t = 100_000)]
    pub backlog: u64,
    /// How requests show who sends them.
    #[arg(long, value_enum, default_value_t = Signing::Header)]
    pub signing: Signing,
    /// How bodies are signed.
    #[arg(long, value_enum, default_value_t = Payload::Unsigned)]
    pub payload: Payload,
    /// Send a checksum with each body: in a trailer when streaming, else in a header.
    #[arg(long, value_enum)]
    pub checksum: Option<Checksum>,
    /// CPUs to pin one executor each to, such as 0,1.
    #[arg(long, value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Executors without pinning, when --cores is absent.
    #[arg(long, default_value_t = 1)]
    pub executors: usize,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Process of the server, to report its CPU time, memory and device I/O.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Append every write and its acknowledgement to this file.
    #[arg(long)]
    pub ledger: Option<PathBuf>,
    /// End the run when a connection has failed to open this often in a row.
    #[arg(long, default_value_t = 100)]
    pub connect_failures: u32,
    /// Run although the bucket holds what this generator has not written, which it may overwrite or
    /// delete.
    #[arg(long)]
    pub allow_non_empty: bool,
    /// End with exit code 4 when the generator itself was the limit.
    #[arg(long)]
    pub fail_if_saturated: bool,
    #[command(flatten)]
    pub output: OutputOptions,
    /// No line of progress each second.
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SweepOptions {
    /// Connections of each step; fewer than there are executors are left out.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128,256")]
    pub concurrencies: Vec<usize>,
    /// Open loop: requests per second of each step, in place of `--concurrencies`.
    #[arg(long, value_delimiter = ',')]
    pub rates: Vec<f64>,
    #[command(flatten)]
    pub run: RunOptions,
}

#[derive(Debug, Clone, Args)]
pub struct CompareOptions {
    /// JSON of the run to compare with.
    pub before: PathBuf,
    /// JSON of the run that is compared.
    pub after: PathBuf,
    #[command(flatten)]
    pub output: OutputOptions,
}

#[derive(Debug, Clone, Args)]
pub struct ShowOptions {
    pub result: PathBuf,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Where results go, beside the text on standard output.
#[derive(Debug, Clone, Args)]
pub struct OutputOptions {
    /// Write the result as JSON to this file, - for standard output in place of the text.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write a table to this file: of a run its samples, of a sweep its steps, of a comparison its rows.
    #[arg(long)]
    pub csv: Option<PathBuf>,
    /// Write a page with tables and charts to this file; it needs no network.
    #[arg(long)]
    pub html: Option<PathBuf>,
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
    #[command(flatten)]
    pub output: OutputOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    Put,
    Get,
    Mixed,
    List,
    Head,
    Delete,
    /// Slices of objects.
    Range,
    /// GETs with If-None-Match, most of which are answered 304.
    Conditional,
    /// Uploads in parts.
    Multipart,
    /// What a CDN asks of its origin.
    Cdn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    Sequential,
    Random,
    Zipf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Signing {
    /// An Authorization header.
    Header,
    /// Everything in the query, as in a URL that was given away.
    Presigned,
    /// Not at all; what is written first is signed if there are credentials.
    Anonymous,
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
    /// The signature covers the body's SHA-256.
    Signed,
    /// UNSIGNED-PAYLOAD.
    Unsigned,
    /// aws-chunked, each chunk signed.
    Streaming,
    /// aws-chunked with a checksum in its trailer, nothing of it signed.
    StreamingUnsigned,
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
    /// Resolves the endpoints, and refuses those that are remote without leave. At least one.
    pub fn targets(&self) -> Result<Vec<Target>> {
        if !(1..=limits::ENDPOINTS_MAX).contains(&self.endpoint.len()) {
            return Err(Error::Usage("out of bounds: --endpoint".to_owned()));
        }
        self.endpoint.iter().map(|endpoint| self.target(endpoint)).collect()
    }

    pub fn has_credentials(&self) -> bool {
        !self.access_key.is_empty() && !self.secret_key.0.is_empty()
    }

    pub fn check_credentials(&self) -> Result<()> {
        if self.has_credentials() {
            return Ok(());
        }
        let text = "no credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the options";
        Err(Error::Usage(text.to_owned()))
    }

    fn target(&self, endpoint: &str) -> Result<Target> {
        let usage = |text: &str| Error::Usage(format!("--endpoint {endpoint}: {text}"));
        let rest = endpoint.strip_prefix("http://");
        let host = rest.ok_or_else(|| usage("only http:// is spoken"))?.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return Err(usage("expected http://HOST[:PORT]"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let mut addresses =
            with_port.to_socket_addrs().map_err(|source| Error::io(endpoint, source))?;
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
            (self.ramp <= limits::DURATION_MAX, "--ramp"),
            (self.count.is_none_or(|count| (1..=limits::COUNT_MAX).contains(&count)), "--count"),
            (self.rate.is_none_or(|rate| (0.001..=1e8).contains(&rate)), "--rate"),
            (self.backlog > 0, "--backlog"),
            (is_plain(&self.bucket) && !self.bucket.contains('/'), "--bucket"),
            (is_plain(&self.key_prefix), "--key-prefix (letters, digits and -._~/ only)"),
            (self.key_prefix.len() <= limits::KEY_PREFIX_BYTES_MAX, "--key-prefix"),
            ((0.0..=10.0).contains(&self.zipf_exponent), "--zipf-exponent"),
            (self.part_size > 0, "--part-size"),
            ((1..=limits::PART_PARALLEL_MAX).contains(&self.part_parallel), "--part-parallel"),
            (
                !self.operations().has(Operation::Multipart)
                    || self.size.largest().div_ceil(self.part_size) <= limits::PARTS_MAX,
                "--part-size: an upload would have too many parts",
            ),
        ];
        if let Some((_, what)) = bounds.iter().find(|(holds, _)| !holds) {
            return Err(Error::Usage(format!("out of bounds: {what}")));
        }
        if self.setup_signing() == Signing::Header {
            self.endpoint.check_credentials()?;
        }
        self.check_forms()
    }

    /// Which ways of signing go together.
    fn check_forms(&self) -> Result<()> {
        let rules = [
            (
                self.signing != Signing::Header && self.payload != Payload::Unsigned,
                "--payload says how a signature in a header covers the body: it needs --signing header",
            ),
            (
                self.payload == Payload::StreamingUnsigned && self.checksum.is_none(),
                "--payload streaming-unsigned needs a --checksum for its trailer",
            ),
            (
                self.mix.is_some() && !matches!(self.workload, Workload::Mixed | Workload::Cdn),
                "--mix is for mixed and cdn",
            ),
        ];
        match rules.iter().find(|(broken, _)| *broken) {
            Some((_, text)) => Err(Error::Usage((*text).to_owned())),
            None => Ok(()),
        }
    }

    /// How what comes before the load is signed.
    pub fn setup_signing(&self) -> Signing {
        match self.signing {
            Signing::Anonymous if !self.endpoint.has_credentials() => Signing::Anonymous,
            _ => Signing::Header,
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
            Workload::Range => Mix::only(Operation::Range),
            Workload::Conditional => Mix::only(Operation::Conditional),
            Workload::Multipart => Mix::only(Operation::Multipart),
            Workload::Mixed => self.mix.clone().unwrap_or_else(Mix::reads_and_writes),
            Workload::Cdn => self.mix.clone().unwrap_or_else(Mix::cdn),
        }
    }

    /// Whether every key is written before the run.
    pub fn prepares(&self) -> bool {
        !matches!(self.workload, Workload::Put | Workload::Multipart) && !self.no_prepare
    }

    pub fn key_order(&self) -> Order {
        self.order.unwrap_or(match self.workload {
            Workload::Put | Workload::Multipart | Workload::Delete => Order::Sequential,
            Workload::Cdn => Order::Zipf,
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

    /// How long one sample is.
    pub fn sample_duration(&self) -> Duration {
        let twentieth = self.measured_duration().map(|duration| duration / 20);
        let (least, most) = (limits::SAMPLE_MIN, limits::SAMPLE_MAX);
        twentieth.unwrap_or(least).clamp(least, most)
    }

    pub fn warmup_duration(&self) -> Duration {
        let bounded_by_keys = self.count.is_some() || self.workload == Workload::Delete;
        self.warmup.unwrap_or(Duration::from_secs(if bounded_by_keys { 0 } else { 1 }))
    }
}

impl VerifyOptions {
    pub fn check(&self) -> Result<()> {
        self.endpoint.check_credentials()?;
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
            _ => unreachable!(),
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
        assert!(parse(&["get", "--endpoint", "http://192.0.2.1:9000"]).endpoint.targets().is_err());
        let allowed = parse(&["get", "--endpoint", "http://192.0.2.1", "--allow-remote"]);
        assert_eq!(allowed.endpoint.targets().unwrap()[0].address.port(), 80);
        assert!(parse(&["get", "--endpoint", "http://[::1]:9000"]).endpoint.targets().is_ok());
        assert!(parse(&["get", "--endpoint", "https://127.0.0.1"]).endpoint.targets().is_err());
    }

    #[test]
    fn ways_of_signing_that_do_not_go_together_are_refused() {
        let check = |arguments: &str, good: bool| {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            assert_eq!(parse(&arguments).check().is_ok(), good, "{arguments:?}");
        };
        check("put --signing presigned --checksum sha1", true);
        check("put --signing presigned --payload signed", false);
        check("put --payload streaming", true);
        check("put --payload streaming-unsigned", false);
        check("put --payload streaming-unsigned --checksum crc64nvme", true);
        check("multipart --checksum crc32", true);
        check("multipart --size 5GiB --part-size 1KiB", false);
        check("get --mix put=1", false);
        let anonymous = ["x", "run", "get", "--access-key=", "--secret-key=", "--signing"];
        for (signing, good) in [("anonymous", true), ("header", false)] {
            let arguments = anonymous.iter().copied().chain([signing]);
            let Command::Run(options) = Cli::try_parse_from(arguments).unwrap().command else {
                unreachable!()
            };
            assert_eq!(options.check().is_ok(), good, "{signing}");
        }
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
