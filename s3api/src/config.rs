//! The whole configuration of `serve`: its fields, where they come from, and their checks.
//!
//! Invariants: a [`Config`] that exists has passed every check that needs no look at the machine; a
//! value that is refused is named together with the place that it came from. A field is taken from
//! the first of flags, environment, file and default that has it; lists are not merged.
//!
//! Not here: secrets (`root_credentials`), the filter of the log (`log`), and whether the host can
//! give what is asked (`tuning`).

mod fields;
mod parse;
mod targets;

pub use fields::{Layers, example, serve_command};
pub(crate) use parse::size_within;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::audit::AuditConfig;
use crate::limits;
use crate::proxies::Proxies;
use crate::start_error::StartError;
use crate::tls::{ClientCa, PortFiles, TlsFiles};
use crate::workers::notify::target::TargetConfig;

/// A checked configuration of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// One directory per drive; never empty, never the same twice.
    pub data_dirs: Vec<PathBuf>,
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// Where the management port is on this host besides; who may write to it may call it.
    pub admin_socket: Option<AdminSocket>,
    pub cores: Cores,
    pub placement: Placement,
    /// The memory budget of the process; none: half of what the host has.
    pub memory_bytes: Option<u64>,
    /// Freed I/O buffers that one core keeps for use again.
    pub io_memory_bytes: usize,
    pub ring_depth: usize,
    pub region: String,
    /// Host names under which buckets are addressed as subdomains.
    pub domains: Vec<String>,
    /// Host names under which buckets are websites as subdomains.
    pub website_domains: Vec<String>,
    /// Those whose word on their clients' addresses is believed.
    pub proxies: Proxies,
    /// How much of the drives a new store takes; none: the engine decides when it formats.
    pub capacity_bytes: Option<u64>,
    /// Shards of a new store, a multiple of the drives; none: the engine decides.
    pub shards: Option<u16>,
    /// Segment size of a new store; none: the engine decides.
    pub segment_bytes: Option<u64>,
    pub idle_timeout: Duration,
    /// How long requests under way may take after a stop was asked for.
    pub drain_timeout: Duration,
    /// Of the S3 port, all cores together.
    pub max_connections: usize,
    /// Root may have more.
    pub buckets_per_user: usize,
    /// A shard writes a checkpoint after so many bytes of log, or as many as its index has.
    pub checkpoint_log_bytes: u64,
    /// ... and after so many records, or an eighth of what its index has.
    pub checkpoint_records: usize,
    /// Memory of each core for small objects that are read often.
    pub hot_object_bytes: u64,
    /// What each core reads in a second to look for damage; 0: never.
    pub scrub_bytes_per_second: u64,
    /// How long after one pass over everything the next one begins.
    pub scrub_interval: Duration,
    pub log_format: LogFormat,
    /// Where the master keys of server-side encryption are.
    pub sse_key_file: Option<PathBuf>,
    /// That file may lie in a data directory.
    pub sse_key_beside_data: bool,
    /// Certificates of both ports; none: without TLS.
    pub tls: Option<PortFiles>,
    /// Keys of SSE-C are accepted without TLS.
    pub sse_c_over_http: bool,
    /// How long a day of a lifecycle rule lasts; other than 86,400 s only in tests.
    pub lifecycle_day: Duration,
    /// Where events can be sent.
    pub notify_targets: Vec<TargetConfig>,
    /// Events that may wait for each.
    pub notify_queue_events: usize,
    /// How long lines of access logs wait to be delivered.
    pub access_log_interval: Duration,
    pub audit: Option<AuditConfig>,
    /// Whom a server that was started as root becomes.
    pub user: Option<String>,
}

/// A Unix domain socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSocket {
    pub path: PathBuf,
    /// Permissions of the file.
    pub mode: u32,
}

/// Which CPUs the executors run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cores {
    /// One executor per online CPU.
    All,
    Count(usize),
    /// One executor for each of these CPUs.
    List(Vec<usize>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Each executor stays on a CPU of its own.
    Pinned,
    /// The scheduler may move executors: for tests and shared machines.
    Unbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    Json,
}

impl Config {
    /// Takes every field from the layers and checks it.
    pub fn resolve(layers: &Layers) -> Result<Self, StartError> {
        let config = Self {
            data_dirs: layers.list("data-dir", parse::path)?,
            listen: layers.required("listen", parse::address)?,
            admin_listen: layers.required("admin-listen", parse::address)?,
            admin_socket: admin_socket(layers)?,
            cores: layers.optional("cores", parse::cores)?.unwrap_or(Cores::All),
            placement: layers.required("placement", parse::placement)?,
            memory_bytes: layers
                .optional("memory", |t| parse::size_within(t, limits::MEMORY_BYTES))?,
            io_memory_bytes: layers.required("io-memory", parse::io_memory)?,
            ring_depth: layers
                .required("ring-depth", |t| parse::count_within(t, limits::RING_DEPTH))?,
            region: layers.required("region", parse::region)?,
            domains: layers.list("domain", parse::domain)?,
            website_domains: layers.list("website-domain", parse::domain)?,
            proxies: Proxies::new(layers.list("trusted-proxy", parse::network)?),
            capacity_bytes: layers
                .optional("capacity", |t| parse::size_within(t, limits::CAPACITY_BYTES))?,
            shards: layers
                .optional("shards", |t| parse::count_within(t, limits::SHARDS))?
                .and_then(|n| u16::try_from(n).ok()),
            segment_bytes: layers.optional("segment-size", parse::segment_size)?,
            idle_timeout: layers
                .required("idle-timeout", |t| parse::seconds_within(t, limits::IDLE_SECONDS))?,
            drain_timeout: layers
                .required("drain-timeout", |t| parse::seconds_within(t, limits::DRAIN_SECONDS))?,
            max_connections: layers
                .required("max-connections", |t| parse::count_within(t, limits::CONNECTIONS))?,
            buckets_per_user: layers.required("buckets-per-user", |t| {
                parse::count_within(t, limits::BUCKETS_PER_USER_RANGE)
            })?,
            checkpoint_log_bytes: layers.required("checkpoint-log", |t| {
                parse::size_within(t, limits::CHECKPOINT_LOG_BYTES)
            })?,
            checkpoint_records: layers.required("checkpoint-records", |t| {
                parse::count_within(t, limits::CHECKPOINT_RECORDS)
            })?,
            hot_object_bytes: layers
                .required("hot-objects", |t| parse::size_within(t, limits::HOT_OBJECT_BYTES))?,
            scrub_bytes_per_second: layers
                .required("scrub-rate", |t| parse::size_within(t, limits::SCRUB_RATE))?,
            scrub_interval: layers.required("scrub-interval", |t| {
                parse::seconds_within(t, limits::SCRUB_INTERVAL_SECONDS)
            })?,
            log_format: layers.required("log-format", parse::log_format)?,
            sse_key_file: layers.optional("sse-key-file", parse::path)?,
            sse_key_beside_data: layers.required("sse-key-beside-data", parse::boolean)?,
            tls: tls_files(layers)?,
            sse_c_over_http: layers.required("sse-c-over-http", parse::boolean)?,
            lifecycle_day: layers
                .required("debug-day-seconds", |t| parse::seconds_within(t, limits::DAY_SECONDS))?,
            notify_targets: targets::resolve(layers)?,
            notify_queue_events: layers.required("notify-queue", |t| {
                parse::count_within(t, limits::NOTIFY_QUEUE_EVENTS)
            })?,
            access_log_interval: layers.required("access-log-interval", |t| {
                parse::seconds_within(t, limits::ACCESS_LOG_SECONDS)
            })?,
            audit: audit(layers)?,
            user: layers.optional("user", |text| Ok(text.to_owned()))?,
        };
        config.check_together(layers)?;
        Ok(config)
    }

    /// The checks that concern more than one value.
    fn check_together(&self, layers: &Layers) -> Result<(), StartError> {
        if self.data_dirs.is_empty() {
            return Err(layers.refuse("data-dir", "at least one directory is needed"));
        }
        if let Some(twice) = first_duplicate(&self.data_dirs) {
            let reason = format!("{} is named twice", twice.display());
            return Err(layers.refuse("data-dir", reason));
        }
        if let Some(twice) = first_duplicate(&self.domains) {
            return Err(layers.refuse("domain", format!("{twice} is named twice")));
        }
        let names = [self.website_domains.as_slice(), &self.domains].concat();
        if let Some(twice) = first_duplicate(&names) {
            return Err(layers.refuse("website-domain", format!("{twice} is named twice")));
        }
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            let reason = format!("{} is the address of the S3 port too", self.admin_listen);
            return Err(layers.refuse("admin-listen", reason));
        }
        let drives = self.data_dirs.len();
        if let Some(shards) = self.shards
            && !usize::from(shards).is_multiple_of(drives)
        {
            let reason = format!("{shards} is not a multiple of the {drives} data directories");
            return Err(layers.refuse("shards", reason));
        }
        Ok(())
    }
}

/// Certificate and key are given together, or neither.
fn tls_files(layers: &Layers) -> Result<Option<PortFiles>, StartError> {
    let chain = layers.optional("tls-cert", parse::path)?;
    let key = layers.optional("tls-key", parse::path)?;
    let client_ca = |field| {
        let path = layers.optional(field, parse::path)?;
        Ok::<_, StartError>(path.map(|path| ClientCa { field, path }))
    };
    let (of_s3, of_admin) = (client_ca("client-ca")?, client_ca("admin-client-ca")?);
    match (chain, key) {
        (Some(chain), Some(key)) => {
            let s3 = TlsFiles { chain, key, client_ca: of_s3 };
            let admin = TlsFiles { client_ca: of_admin, ..s3.clone() };
            Ok(Some(PortFiles { s3, admin }))
        }
        (None, None) => match of_s3.or(of_admin) {
            None => Ok(None),
            Some(ca) => Err(layers.refuse(ca.field, "it needs --tls-cert and --tls-key")),
        },
        (Some(_), None) => Err(layers.refuse("tls-cert", "it needs its key, --tls-key")),
        (None, Some(_)) => Err(layers.refuse("tls-key", "it needs its certificate, --tls-cert")),
    }
}

fn admin_socket(layers: &Layers) -> Result<Option<AdminSocket>, StartError> {
    let mode = layers.required("admin-socket-mode", parse::permissions)?;
    let path = layers.optional("admin-socket", parse::path)?;
    Ok(path.map(|path| AdminSocket { path, mode }))
}

/// The audit log, if there is one. What says how it is kept says nothing without it.
fn audit(layers: &Layers) -> Result<Option<AuditConfig>, StartError> {
    let requests = layers.required("audit-requests", parse::audited_requests)?;
    let is_required = layers.required("audit-required", parse::boolean)?;
    match layers.optional("audit-log", parse::audit_target)? {
        Some(target) => Ok(Some(AuditConfig { target, requests, is_required })),
        None if is_required => Err(layers.refuse("audit-required", "it needs --audit-log")),
        None => Ok(None),
    }
}

fn first_duplicate<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(at, item)| items[..*at].contains(item)).map(|(_, item)| item)
}

#[cfg(test)]
mod tests;
