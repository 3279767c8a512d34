//! What all cores of one server share: where each stands, and that a stop was asked for.
//!
//! Invariants: a stop is never taken back; a core that has ended counts as having arrived
//! everywhere, so that none waits for it for ever. Cores wait by looking again every few
//! milliseconds: starting and stopping are rare, and a wake across executors would be one more thing
//! that can be lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use engine::platform::glommio::Rouser;

use super::{Application, Opened, Plan, Sockets, Started, store};
use crate::config::Config;
use crate::limits::SPIN_BEFORE_REST;
use crate::metrics::Metrics;
use crate::proxies::Proxies;
use crate::readiness::Readiness;
use crate::start_error::StartError;
use crate::tls::Certificates;

/// Asks the server to stop, or to read again what may change; shared with signal handlers and tests.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

/// What the shell says of a process that its second SIGINT ended.
const EXIT_SECOND_SIGNAL: i32 = 130;

impl Stop {
    pub fn request(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub fn is_requested(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether a SIGHUP has come since this was last asked.
    pub(super) fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::AcqRel)
    }

    /// Makes SIGTERM and SIGINT ask for a stop, and a second of them end the process at once: what
    /// was acknowledged is durable at any moment, so nothing is lost by that. SIGHUP asks for certificates to be
    /// read again, and for the audit log to be opened anew.
    pub fn on_signals(&self) -> Result<(), StartError> {
        let failed = |e| StartError::io("installing the handlers of signals", e);
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&self.reload))
            .map_err(failed)?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            // In this order: the first one acts on what earlier signals have set.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                EXIT_SECOND_SIGNAL,
                Arc::clone(&self.stop),
            )
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&self.stop)))
            .map_err(failed)?;
        }
        Ok(())
    }
}

/// The certificates of both ports; none: without TLS.
#[derive(Debug, Default)]
pub(super) struct PortCertificates {
    pub(super) s3: Option<Arc<Certificates>>,
    pub(super) admin: Option<Arc<Certificates>>,
}

impl PortCertificates {
    pub(super) fn load(config: &Config) -> Result<Self, StartError> {
        let Some(files) = &config.tls else { return Ok(Self::default()) };
        let s3 = Certificates::load(files.s3.clone())?;
        let admin = Certificates::load(files.admin.clone())?;
        Ok(Self { s3: Some(Arc::new(s3)), admin: Some(Arc::new(admin)) })
    }

    pub(super) fn refresh(&self, is_asked: bool) {
        for certificates in [&self.s3, &self.admin].into_iter().flatten() {
            certificates.refresh(is_asked);
        }
    }
}

/// When a core last ticked, and what rouses it if it does not.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    /// Milliseconds since `began`; 0: it does not tick yet, or not any more.
    last_ms: AtomicU64,
    rouser: OnceLock<Rouser>,
}

impl Pulse {
    fn new() -> Self {
        Self { began: Instant::now(), last_ms: AtomicU64::new(0), rouser: OnceLock::new() }
    }

    pub(super) fn begin(&self, rouser: Rouser) {
        // A core begins once.
        let _ = self.rouser.set(rouser);
    }

    pub(super) fn beat(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.last_ms.store(0, Ordering::Relaxed);
    }

    /// Rouses a core that has not ticked for so long; whether it was due.
    fn rouse_if_late(&self, patience: Duration) -> bool {
        let last = self.last_ms.load(Ordering::Relaxed);
        let is_late =
            last > 0 && u128::from(self.now_ms().saturating_sub(last)) > patience.as_millis();
        if is_late && let Some(rouser) = self.rouser.get() {
            rouser.rouse();
            self.beat();
        }
        is_late
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// A line that every core crosses before any goes on.
#[derive(Debug)]
pub(super) struct Stage(Vec<AtomicBool>);

impl Stage {
    fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| AtomicBool::new(false)).collect())
    }

    pub(super) fn arrive(&self, core: usize) {
        if let Some(arrived) = self.0.get(core) {
            arrived.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.0.iter().all(|arrived| arrived.load(Ordering::Acquire))
    }
}

/// Shared by all cores for the life of the server.
#[derive(Debug)]
pub(super) struct Shared<A> {
    pub(super) application: A,
    pub(super) cores: usize,
    /// Of the S3 port.
    pub(super) listen: SocketAddr,
    pub(super) idle_timeout: Duration,
    /// Freed I/O buffers that a core keeps.
    pub(super) io_memory_bytes: usize,
    /// What bodies under way may take on a core.
    pub(super) body_budget_bytes: usize,
    /// How long a core looks out for others before it rests.
    pub(super) spin: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) admin_api_key: String,
    pub(super) proxies: Proxies,
    pub(super) certificates: PortCertificates,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) stop: Stop,
    /// Connections to the S3 port that may still be opened, all cores together.
    pub(super) free_connections: Arc<AtomicUsize>,
    /// Recovered.
    pub(super) opened: Stage,
    /// Taking connections.
    pub(super) listening: Stage,
    /// Without connections, after a stop.
    pub(super) drained: Stage,
    /// Without a store.
    pub(super) closed: Stage,
    sockets: Mutex<Sockets>,
    next_core: AtomicUsize,
    /// Of each core.
    pulses: Vec<Pulse>,
    summary: Mutex<Summary>,
}

#[derive(Debug, Default)]
struct Summary {
    shards: usize,
    free_bytes: u64,
    recovery: Duration,
    /// Cores that said that they end.
    ended: usize,
}

impl<A: Application> Shared<A> {
    pub(super) fn new(
        config: &Config,
        plan: &Plan,
        sockets: Sockets,
        certificates: PortCertificates,
        application: A,
        admin_api_key: String,
        stop: Stop,
    ) -> Self {
        let cores = plan.cores;
        Self {
            application,
            cores,
            listen: sockets.listen,
            idle_timeout: config.idle_timeout,
            io_memory_bytes: config.io_memory_bytes,
            body_budget_bytes: store::body_budget_bytes(config, plan),
            spin: if plan.cpus.is_some() && plan.cores > 1 {
                SPIN_BEFORE_REST
            } else {
                Duration::ZERO
            },
            drain_timeout: config.drain_timeout,
            admin_api_key,
            proxies: config.proxies.clone(),
            certificates,
            metrics: Arc::new(Metrics::new(cores)),
            readiness: Readiness::default(),
            stop,
            free_connections: Arc::new(AtomicUsize::new(config.max_connections)),
            opened: Stage::new(cores),
            listening: Stage::new(cores),
            drained: Stage::new(cores),
            closed: Stage::new(cores),
            sockets: Mutex::new(sockets),
            next_core: AtomicUsize::new(0),
            pulses: (0..cores).map(|_| Pulse::new()).collect(),
            summary: Mutex::default(),
        }
    }

    /// Numbers the executors in the order in which they come up.
    pub(super) fn next_core(&self) -> usize {
        self.next_core.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn pulse(&self, core: usize) -> Option<&Pulse> {
        self.pulses.get(core)
    }

    /// Rouses cores that have not ticked for a while. None is known to need it but one that the kernel did not
    /// wake once on a loaded virtual machine, and that slept until a debugger looked at it.
    pub(super) fn rouse(&self, patience: Duration) {
        for (core, pulse) in self.pulses.iter().enumerate() {
            if pulse.rouse_if_late(patience) {
                tracing::info!(core, ?patience, "a core has not ticked for so long and is roused");
            }
        }
    }

    /// Takes sockets out; each is taken once.
    pub(super) fn take_sockets<T>(&self, take: impl FnOnce(&mut Sockets) -> T) -> T {
        take(&mut self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn report_opened(&self, core: usize, opened: Opened, took: Duration) {
        let mut summary = self.summary();
        summary.shards += opened.shards;
        summary.free_bytes += opened.free_bytes;
        summary.recovery = summary.recovery.max(took);
        drop(summary);
        self.opened.arrive(core);
    }

    pub(super) fn started(&self, listen: SocketAddr, admin_listen: SocketAddr) -> Started {
        let summary = self.summary();
        Started {
            listen,
            admin_listen,
            is_secure: self.certificates.s3.is_some(),
            cores: self.cores,
            shards: summary.shards,
            free_bytes: summary.free_bytes,
            recovery: summary.recovery,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.listening.is_complete() && !self.stop.is_requested()
    }

    pub(super) fn request_stop(&self) {
        self.readiness.set_stopping();
        self.stop.request();
    }

    /// A core is past everything, in good order or not: the server stops, and nobody waits for it.
    pub(super) fn end_core(&self, core: usize) {
        self.summary().ended += 1;
        self.arrive_everywhere(core);
    }

    /// So many threads have ended. Those that did not say so panicked, or never had an executor; which
    /// numbers were theirs is not known, so all are let through. Says whether there are such.
    pub(super) fn let_through_if_vanished(&self, threads_ended: usize) -> bool {
        let has_vanished = self.summary().ended < threads_ended;
        if has_vanished {
            (0..self.cores).for_each(|core| self.arrive_everywhere(core));
        }
        has_vanished
    }

    fn arrive_everywhere(&self, core: usize) {
        self.request_stop();
        for stage in [&self.opened, &self.listening, &self.drained, &self.closed] {
            stage.arrive(core);
        }
    }

    fn summary(&self) -> std::sync::MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_complete_when_every_core_arrived() {
        let stage = Stage::new(2);
        stage.arrive(1);
        stage.arrive(1);
        stage.arrive(7);
        assert!(!stage.is_complete());
        stage.arrive(0);
        assert!(stage.is_complete());
    }

    #[test]
    fn a_stop_is_seen_by_every_holder() {
        let stop = Stop::default();
        let other = stop.clone();
        assert!(!other.is_requested());
        stop.request();
        assert!(other.is_requested());
    }
}
