//! One core's life: open, serve, drain, close; and the small tasks that run beside it.
//!
//! Invariants: everything that this core spawned has ended when [`run`] returns, because the runtime
//! never drops what is still pending then; listeners and connections are ended by shutting their
//! descriptors down.

use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use engine::platform::glommio::Reactor;
use glommio::Task;
use glommio::timer::sleep;
use http::{Limits, Service, Time, Workspaces};
use socket2::Socket;

use super::accept::{Places, Port, accept};
use super::connections::Connections;
use super::shared::{Shared, Stage};
use super::{Application, CoreContext, listen};
use crate::admin::{AdminService, Managed};
use crate::client_stream::ClientStream;
use crate::limits;
use crate::metrics::Recorder;
use crate::start_error::StartError;
use crate::sys::Waker;

/// How often a core that waits for others looks again.
const STAGE_POLL: Duration = Duration::from_millis(5);
/// How long answers of the management port may still take after those of the S3 port.
const ADMIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long connections that were cut may take to notice.
const CUT_PATIENCE: Duration = Duration::from_secs(5);

/// Runs one core until the server stops.
pub(super) async fn run<A: Application>(
    shared: &Arc<Shared<A>>,
    core: usize,
) -> Result<(), StartError> {
    let reactor = Reactor::new(shared.io_memory_bytes, shared.body_budget_bytes, shared.spin)
        .map_err(|e| StartError::io("setting up the I/O of a core", e))?;
    // An executor that parked although a task could run is woken by this within a tick.
    if let Some(pulse) = shared.pulse(core) {
        pulse.begin(reactor.rouser());
    }
    let nudge = {
        let (reactor, shared) = (reactor.clone(), Arc::clone(shared));
        move || {
            reactor.nudge();
            if let Some(pulse) = shared.pulse(core) {
                pulse.beat();
            }
        }
    };
    let ticker = glommio::spawn_local(every(limits::TICK, nudge));
    let context = PortContext { time: Time::new(CoreClock(Instant::now())), reactor };
    let managed = Managed::default();
    let result = match admin_port(shared, core, &context, &managed) {
        Ok(mut admin) => {
            let result = open_and_serve(shared, core, &context, &managed, &mut admin).await;
            // It failed before it came to that.
            stop_all(&mut admin).await;
            result
        }
        Err(error) => Err(error),
    };
    ticker.cancel().await;
    if let Some(pulse) = shared.pulse(core) {
        pulse.end();
    }
    context.reactor.close().await;
    result
}

/// What the ports of a core share.
struct PortContext {
    time: Rc<Time>,
    reactor: Reactor,
}

/// The management port answers from the first moment, so that health can be asked during recovery.
fn admin_port<A: Application>(
    shared: &Arc<Shared<A>>,
    core: usize,
    context: &PortContext,
    managed: &Managed<A>,
) -> Result<Vec<Serving>, StartError> {
    if core != 0 {
        return Ok(Vec::new());
    }
    let (s3_port, tcp, local) = shared.take_sockets(|sockets| {
        (sockets.listen.port(), sockets.take_admin(), sockets.take_admin_local())
    });
    let service = AdminService::new(
        Arc::clone(&shared.metrics),
        shared.readiness.clone(),
        shared.admin_api_key.clone(),
        managed.clone(),
        s3_port,
        (shared.proxies.clone(), shared.application.audit()),
    );
    let (service, free) =
        (Rc::new(service), Arc::new(AtomicUsize::new(limits::ADMIN_CONNECTIONS_MAX)));
    let limits = http_limits(shared.idle_timeout);
    let port = |certificates| Port {
        service: Rc::clone(&service),
        certificates,
        connections: Rc::default(),
        free: Arc::clone(&free),
        places: Places::default(),
        // The published counts are those of the S3 port.
        recorder: Rc::default(),
        workspaces: Workspaces::new(&limits),
        limits: limits.clone(),
        time: Rc::clone(&context.time),
        reactor: context.reactor.clone(),
    };
    let tcp = tcp.map(|socket| Serving::start(socket, port(shared.certificates.admin.clone())));
    // Nothing of it leaves the host.
    let local = local.map(|socket| Serving::start(socket, port(None)));
    tcp.into_iter().chain(local).collect()
}

/// Ends the management port.
async fn stop_all(admin: &mut Vec<Serving>) {
    for serving in admin.drain(..) {
        serving.stop(ADMIN_PATIENCE).await;
    }
}

async fn open_and_serve<A: Application>(
    shared: &Arc<Shared<A>>,
    core: usize,
    context: &PortContext,
    managed: &Managed<A>,
    admin: &mut Vec<Serving>,
) -> Result<(), StartError> {
    let recorder = Rc::new(Recorder::default());
    let core_context = CoreContext {
        core,
        cores: shared.cores,
        recorder: Rc::clone(&recorder),
        readiness: shared.readiness.clone(),
        listen: shared.listen,
        reactor: context.reactor.clone(),
    };
    let begin = Instant::now();
    let (service, opened) = shared.application.open(core_context).await?;
    let service = Rc::new(service);
    shared.report_opened(core, opened, begin.elapsed());
    wait_for(&shared.opened).await;
    managed.set(Some((shared.application.clone(), Rc::clone(&service))));

    let served = serve_until_stop(shared, core, &service, &recorder, context).await;
    shared.request_stop();
    // The console's requests use the store too: none may be under way when that is closed.
    stop_all(admin).await;
    shared.application.drained(&service).await;
    shared.drained.arrive(core);
    wait_for(&shared.drained).await;
    managed.set(None);

    let closed = shared.application.close(&service).await;
    shared.closed.arrive(core);
    wait_for(&shared.closed).await;
    served.and(closed)
}

/// Serves the S3 port and publishes what is counted, until a stop; then drains.
async fn serve_until_stop<A: Application>(
    shared: &Arc<Shared<A>>,
    core: usize,
    service: &Rc<A::Service>,
    recorder: &Rc<Recorder>,
    context: &PortContext,
) -> Result<(), StartError> {
    let socket = shared.take_sockets(|s| s.take_s3());
    let Some(socket) = socket.filter(|_| !shared.stop.is_requested()) else { return Ok(()) };
    let limits = http_limits(shared.idle_timeout);
    let port = Port {
        service: Rc::clone(service),
        certificates: shared.certificates.s3.clone(),
        connections: Rc::default(),
        free: Arc::clone(&shared.free_connections),
        places: Places::default(),
        recorder: Rc::clone(recorder),
        workspaces: Workspaces::new(&limits),
        limits,
        time: Rc::clone(&context.time),
        reactor: context.reactor.clone(),
    };
    let serving = Serving::start(socket, port)?;
    shared.listening.arrive(core);
    let publish = || {
        let application = &shared.application;
        let (samples, health) = (application.samples(service), application.health(service));
        shared.metrics.publish(core, recorder, samples, health);
    };
    // Health is asked for at once.
    publish();
    let mut published = Instant::now();
    while !shared.stop.is_requested() {
        beat(limits::TICK).await;
        if published.elapsed() + limits::TICK / 2 >= limits::PUBLISH_INTERVAL {
            publish();
            published = Instant::now();
        }
    }
    shared.request_stop();
    serving.stop(shared.drain_timeout).await;
    publish();
    Ok(())
}

/// A port that is being served: its accepting task, its sweeper and its connections.
struct Serving {
    listener: Waker,
    accepting: Task<()>,
    sweeping: Task<()>,
    connections: Rc<Connections>,
    time: Rc<Time>,
}

impl Serving {
    fn start<V>(socket: Socket, port: Port<V>) -> Result<Self, StartError>
    where
        V: Service<ClientStream> + 'static,
    {
        listen::listen(&socket)?;
        let listener = Waker::new(&socket);
        let watched = socket
            .set_nonblocking(true)
            // Handshakes are dear: others have their turn between a few of them.
            .and_then(|()| match port.certificates {
                Some(_) => port.reactor.register(socket),
                None => port.reactor.register_port(socket),
            })
            .map_err(|e| StartError::io("watching a port", e))?;
        let (connections, time) = (Rc::clone(&port.connections), Rc::clone(&port.time));
        let sweep = {
            let (connections, time) = (Rc::clone(&connections), Rc::clone(&time));
            move || connections.sweep(time.monotonic_ms())
        };
        Ok(Self {
            listener,
            accepting: glommio::spawn_local(accept(Rc::new(port), watched)),
            sweeping: glommio::spawn_local(every(limits::SWEEP_INTERVAL, sweep)),
            connections,
            time,
        })
    }

    /// Stops accepting, gives requests under way so long, and cuts what is left.
    async fn stop(self, patience: Duration) {
        self.connections.drain(self.time.monotonic_ms());
        self.listener.shut_down(std::net::Shutdown::Read);
        // A Unix socket does not tell its accepting task of that.
        self.accepting.cancel().await;
        if !are_gone(&self.connections, patience).await {
            let open = self.connections.count();
            tracing::warn!(open, "the time for draining is over; connections are cut");
            self.connections.cut();
            if !are_gone(&self.connections, CUT_PATIENCE).await {
                let open = self.connections.count();
                tracing::error!(open, "requests are still under way and are given up");
            }
        }
        self.sweeping.cancel().await;
    }
}

/// Whether all connections end within so long.
async fn are_gone(connections: &Connections, patience: Duration) -> bool {
    let begin = Instant::now();
    while connections.count() > 0 && begin.elapsed() < patience {
        sleep(STAGE_POLL).await;
    }
    connections.count() == 0
}

/// Other cores are waited for without a bound: each gives up on its own connections in time, and one
/// that is gone is let through by the main thread.
async fn wait_for(stage: &Stage) {
    while !stage.is_complete() {
        sleep(STAGE_POLL).await;
    }
}

/// Does something at every interval, until cancelled.
async fn every(interval: Duration, work: impl Fn()) {
    loop {
        beat(interval).await;
        work();
    }
}

/// Waits for the next multiple of the interval: what goes on at one interval wakes a core once for all of it.
async fn beat(interval: Duration) {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since_last = BEGIN.elapsed().as_nanos() % interval.as_nanos();
    sleep(interval - Duration::from_nanos_u128(since_last)).await;
}

fn http_limits(idle_timeout: Duration) -> Limits {
    let idle_timeout_ms = u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX);
    Limits { idle_timeout_ms, ..Limits::default() }
}

/// The clock of connections: deadlines count from this core's start.
struct CoreClock(Instant);

impl http::Clock for CoreClock {
    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn unix_seconds(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }
}
