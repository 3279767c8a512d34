//! The life of the server: look at the host, bind, run one executor per core, stop in order.
//!
//! Invariants: nothing is started on a host that cannot carry it; both ports are bound, and their
//! numbers known, before the first core starts; requests are accepted only when every core has
//! recovered; a core that fails stops all of them; after a stop, every core has drained before any
//! core closes its store, because cores serve each other until then.
//!
//! Not here: what a request does. That is an [`Application`], so that this file is tested without a
//! store.

mod accept;
mod connections;
mod core;
mod device;
mod host;
mod listen;
mod shared;
mod store;

pub use device::DeviceTuning;
pub use host::{Plan, plan};
pub(crate) use host::{holds_store, needs_of};
pub use listen::Sockets;
pub use shared::Stop;
pub use store::{S3Application, Settings};

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use engine::Health;
use engine::platform::glommio::Reactor;
use glommio::{CpuSet, LocalExecutorPoolBuilder, PoolPlacement, PoolThreadHandles};
use http::{RequestBody, RequestHead, Response, Service};

use crate::admin::api::{ApiAnswer, Asked};
use crate::admin::api_keys::{ApiCaller, KeyDigest};
use crate::admin::console::Person;
use crate::audit::Audit;
use crate::auth::presigned::Permission;
use crate::client_stream::ClientStream;
use crate::config::Config;
use crate::limits;
use crate::metrics::{Recorder, Sample};
use crate::notify_socket;
use crate::readiness::Readiness;
use crate::service::Vouched;
use crate::start_error::StartError;
use shared::{PortCertificates, Shared};

/// What the server does with requests: opened once per core, closed after the last request.
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait Application: Clone + Send + Sync + 'static {
    type Service: http::Service<ClientStream> + 'static;

    /// Makes one core's part ready to answer: recovery happens here.
    async fn open(&self, core: CoreContext) -> Result<(Self::Service, Opened), StartError>;

    /// Where it is told what is done, if anywhere.
    fn audit(&self) -> Option<Audit> {
        None
    }

    /// What one core's part has counted itself.
    fn samples(&self, service: &Self::Service) -> Vec<Sample>;

    /// What of one core's part does not work.
    fn health(&self, service: &Self::Service) -> Health;

    /// Whose a key of the management API is, if the store keeps it.
    fn api_caller(&self, _service: &Self::Service, _key: &KeyDigest) -> Option<ApiCaller> {
        None
    }

    /// Answers a request of the management API on core 0.
    async fn manage(&self, _service: &Self::Service, _asked: &Asked<'_>) -> ApiAnswer {
        ApiAnswer::not_found()
    }

    /// Whose an access key and its secret are, if they are right and may be used now; on core 0, as the
    /// next three.
    fn sign_in(&self, _: &Self::Service, _access_key: &str, _secret: &str) -> Option<Person> {
        None
    }

    /// Who has an access key that may be used now; without one, root.
    fn person(&self, _: &Self::Service, _access_key: Option<&str>) -> Option<Person> {
        None
    }

    /// Answers a request of S3's in the name of somebody who has signed in.
    async fn browse(
        &self,
        _service: &Self::Service,
        _vouched: Vouched<'_>,
        _head: &RequestHead,
        _body: &mut RequestBody<'_, ClientStream>,
    ) -> Response<<Self::Service as Service<ClientStream>>::Body> {
        Response::new(404)
    }

    /// Path and query of a presigned URL in the name of somebody who has signed in.
    fn presign(&self, _: &Self::Service, _: &Person, _: &Permission<'_>) -> Option<String> {
        None
    }

    /// One core has no requests any more, and others may still have some: what its part does beside
    /// them ends here, while the store of every core still serves.
    async fn drained(&self, _service: &Self::Service) {}

    /// Makes one core's part durable and lets go of it. No core has requests any more.
    async fn close(&self, service: &Self::Service) -> Result<(), StartError>;
}

/// What a core tells its application.
#[derive(Debug, Clone)]
pub struct CoreContext {
    /// From 0 to `cores - 1`.
    pub core: usize,
    pub cores: usize,
    pub recorder: Rc<Recorder>,
    pub readiness: Readiness,
    /// Where the S3 port listens.
    pub listen: SocketAddr,
    /// What the core's disk goes through.
    pub reactor: Reactor,
}

/// What one core found when it opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Shards that this core owns.
    pub shards: usize,
    /// What those shards can still take.
    pub free_bytes: u64,
}

/// What is said when the server is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// Both ports speak TLS.
    pub is_secure: bool,
    pub cores: usize,
    pub shards: usize,
    pub free_bytes: u64,
    /// What the slowest core needed to open its part of the store.
    pub recovery: Duration,
}

impl Started {
    /// The same for programs: one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "event": "ready",
            "listen": self.listen.to_string(),
            "admin_listen": self.admin_listen.to_string(),
            "tls": self.is_secure,
            "cores": self.cores,
            "shards": self.shards,
            "free_bytes": self.free_bytes,
            "recovery_seconds": self.recovery.as_secs_f64(),
        })
        .to_string()
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(
            f,
            "ringfort {} is ready: S3 on {scheme}://{}, management on {scheme}://{}, {} cores, {} shards, \
             {} MiB free, recovered in {:.3} s",
            env!("CARGO_PKG_VERSION"),
            self.listen,
            self.admin_listen,
            self.cores,
            self.shards,
            self.free_bytes >> 20,
            self.recovery.as_secs_f64()
        )
    }
}

/// How long cores may take to stop after one of them vanished, beyond the time for draining.
const GIVE_UP: Duration = Duration::from_secs(15);
/// A core ticks four times a second; on a host that is overloaded it may not get its CPU for a while.
const PULSE_PATIENCE: Duration = Duration::from_secs(5);
/// How often files of certificates are looked at.
const CERTIFICATES_LOOK: Duration = Duration::from_secs(2);
/// How often the main thread looks after the cores, until they serve and from then on.
const SUPERVISION: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];

/// Runs the server until a stop is asked for or a core fails. `announce` is called once, when it is
/// ready.
pub fn run<A: Application>(
    config: &Config,
    plan: &Plan,
    sockets: Sockets,
    application: A,
    admin_api_key: String,
    stop: Stop,
    announce: impl FnOnce(&Started),
) -> Result<(), StartError> {
    let addresses = (sockets.listen, sockets.admin_listen);
    let certificates = PortCertificates::load(config)?;
    let shared = Shared::new(config, plan, sockets, certificates, application, admin_api_key, stop);
    let shared = Arc::new(shared);
    let for_cores = Arc::clone(&shared);
    let pool = builder(config, plan)?
        .on_all_shards(move || async move {
            let core = for_cores.next_core();
            let result = core::run(&for_cores, core).await;
            // Whatever the reason, a core that ends takes the others with it.
            for_cores.end_core(core);
            result
        })
        .map_err(|e| StartError::Core { core: 0, reason: e.to_string() })?;
    supervise(&shared, &pool, addresses, announce)?;
    let results = pool.join_all().into_iter().enumerate().map(|(core, result)| match result {
        Ok(result) => result,
        Err(e) => Err(StartError::Core { core, reason: e.to_string() }),
    });
    first_error(results)
}

fn builder(config: &Config, plan: &Plan) -> Result<LocalExecutorPoolBuilder, StartError> {
    let cores = plan.cores;
    let placement = match &plan.cpus {
        None => PoolPlacement::Unbound(cores),
        Some(cpus) => {
            let online = CpuSet::online()
                .map_err(|e| StartError::Host(format!("its CPUs cannot be listed: {e}")))?;
            PoolPlacement::MaxSpread(cores, Some(online.filter(|l| cpus.contains(&l.cpu))))
        }
    };
    Ok(LocalExecutorPoolBuilder::new(placement)
        .name("core")
        .io_memory(limits::RUNTIME_IO_MEMORY_BYTES)
        .ring_depth(config.ring_depth)
        // Left alone, these threads would share CPU 0 with its executor.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(limits::BLOCKING_THREADS)))
}

/// Watches the cores from the main thread until all have ended: says when all are ready, and passes on
/// to all that one has vanished, which a core that panicked can no longer do itself.
///
/// # Errors
/// A core vanished and another did not end in time after that: it may wait for an answer that never
/// comes. Its thread is left behind; the process must end.
fn supervise<A: Application>(
    shared: &Shared<A>,
    pool: &PoolThreadHandles<Result<(), StartError>>,
    (listen, admin_listen): (SocketAddr, SocketAddr),
    announce: impl FnOnce(&Started),
) -> Result<(), StartError> {
    let mut announce = Some(announce);
    let mut vanished: Option<Instant> = None;
    let mut looked = Instant::now();
    let mut is_stopping = false;
    loop {
        // Ahead of the end: all cores may have ended since the last look.
        if !is_stopping && shared.stop.is_requested() {
            is_stopping = true;
            notify_socket::stopping();
        }
        let ended = pool.handles().iter().filter(|handle| handle.is_finished()).count();
        if ended == pool.handles().len() {
            return Ok(());
        }
        if shared.let_through_if_vanished(ended) {
            let since = vanished.get_or_insert_with(Instant::now);
            if since.elapsed() > shared.drain_timeout + GIVE_UP {
                let reason = "a core ended unexpectedly and the others did not stop".to_string();
                return Err(StartError::Core { core: 0, reason });
            }
        }
        if announce.is_some() && shared.is_serving() {
            shared.readiness.set_ready();
            let started = shared.started(listen, admin_listen);
            if let Some(announce) = announce.take() {
                announce(&started);
            }
        }
        shared.rouse(PULSE_PATIENCE);
        let is_asked = shared.stop.take_reload();
        if is_asked && let Some(audit) = shared.application.audit() {
            audit.reopen();
        }
        if is_asked || looked.elapsed() > CERTIFICATES_LOOK {
            shared.certificates.refresh(is_asked);
            looked = Instant::now();
        }
        thread::sleep(SUPERVISION[usize::from(announce.is_none())]);
    }
}

/// The error to report: the first, unless it only says that another core failed. All others are told
/// in the log.
fn first_error(results: impl Iterator<Item = Result<(), StartError>>) -> Result<(), StartError> {
    let (followers, mut causes): (Vec<_>, Vec<_>) = results
        .filter_map(Result::err)
        .partition(|error| matches!(error, StartError::Engine(engine::Error::Stopping)));
    if causes.is_empty() {
        return followers.into_iter().next().map_or(Ok(()), Err);
    }
    let first = causes.remove(0);
    for error in causes {
        tracing::error!(%error, "a further core failed");
    }
    Err(first)
}

#[cfg(test)]
mod tests;
