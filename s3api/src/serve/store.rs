//! The application that the server runs in earnest: the engine of each core, and S3 on top of it.
//!
//! Invariants: core 0 alone opens or formats the data directories, and holds their locks until every
//! core has closed; the others start with the layout that it found. The memory budget is divided
//! here, once, and its parts never add up to more than the whole.
//!
//! Not here: start and stop themselves (`serve`), and what requests mean (`service`).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::platform::Platform;
use engine::platform::glommio::{GlommioPlatform, Reactor};
use engine::store::{EngineOptions, FormatOptions, Layout, OpenStore, open_or_format};
use engine::{Engine, Health};
use http::{RequestBody, RequestHead, Response, Service, Stream};

use super::{Application, CoreContext, Opened, Plan};
use crate::admin::api::{self, ApiAnswer, Asked};
use crate::admin::api_keys::{self, ApiCaller, KeyDigest};
use crate::admin::console::Person;
use crate::admin::management::Server;
use crate::audit::Audit;
use crate::auth::presigned::{self, Permission};
use crate::auth::{Authenticator, Credentials};
use crate::client_stream::ClientStream;
use crate::config::Config;
use crate::encryption::Encryption;
use crate::encryption::master::MasterKeys;
use crate::holdings::Holdings;
use crate::limits;
use crate::metrics::Sample;
use crate::mfa::Mfa;
use crate::ops::{ObjectBody, Owner};
use crate::root_credentials::RootCredentials;
use crate::service::{self, S3Service, Vouched};
use crate::services::Services;
use crate::start_error::StartError;
use crate::throttle::{Registry, Throttle};
use crate::workers::lifecycle::{self, Day};
use crate::workers::notify::{EventQueue, Targets};
use crate::workers::{Origin, Tasks, access_log, notify};

/// S3 over one engine per core.
#[derive(Debug, Clone)]
pub struct S3Application(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    shared: Arc<engine::Shared>,
    layout: Mutex<Handover>,
    targets: Arc<Targets>,
    limiters: Arc<Registry>,
    holdings: Holdings,
}

/// What every core opens with.
#[derive(Debug)]
pub struct Settings {
    pub config: Config,
    pub plan: Plan,
    pub root: RootCredentials,
    pub masters: Arc<MasterKeys>,
    /// The root's MFA device, if there is one.
    pub mfa: Option<Arc<Mfa>>,
    pub audit: Option<Audit>,
}

/// The layout on its way from core 0 to the others.
#[derive(Debug)]
enum Handover {
    Awaited,
    /// Core 0 could not open the store, and says why itself.
    Failed,
    Ready(Layout),
}

/// How often a core looks whether core 0 has opened the store.
const HANDOVER_POLL: Duration = Duration::from_millis(1);

const NANOSECONDS: u64 = 1_000_000_000;

impl S3Application {
    pub fn new(settings: Settings) -> Self {
        let shared = engine::Shared::new(settings.plan.cores);
        let config = &settings.config;
        let targets =
            Targets::new(config.notify_targets.clone(), config.notify_queue_events as u64);
        let layout = Mutex::new(Handover::Awaited);
        let limiters = Arc::default();
        let holdings = Holdings::of(settings.config.buckets_per_user);
        Self(Arc::new(Inner { settings, shared, layout, targets, limiters, holdings }))
    }

    /// Opens the store on core 0, awaits its layout on the others, and recovers this core's shards.
    async fn open_engine(
        &self,
        core: usize,
        reactor: &Reactor,
    ) -> Result<(Engine<GlommioPlatform>, Option<OpenStore<GlommioPlatform>>), StartError> {
        let platform = GlommioPlatform::new(reactor)
            .map_err(|e| StartError::io("setting up the platform of a core", e))?;
        let (layout, store) = if core == 0 {
            let opened = self.open_directories(&platform).await;
            self.hand_over(opened.as_ref().map(|store| store.layout.clone()).ok());
            let store = opened?;
            (store.layout.clone(), Some(store))
        } else {
            (self.await_layout(&platform).await?, None)
        };
        let options = engine_options(&self.0.settings);
        let shared = Arc::clone(&self.0.shared);
        let engine = Engine::start(platform, layout, options, shared, core).await?;
        Ok((engine, store))
    }

    fn s3_service(
        &self,
        engine: &Engine<GlommioPlatform>,
        core: CoreContext,
        services: Rc<Services>,
    ) -> S3Service<GlommioPlatform> {
        let Settings { config, root, .. } = &self.0.settings;
        let credentials = Credentials::new(config.region.as_str());
        credentials.insert(&root.access_key, &root.secret_key);
        let settings = service::Settings {
            region: config.region.clone(),
            domains: config.domains.clone(),
            website_domains: config.website_domains.clone(),
            proxies: config.proxies.clone(),
            owner: Rc::new(Owner::of_access_key(&root.access_key)),
            host_id: format!("ringfort-{}", core.core),
        };
        S3Service::new(
            engine.clone(),
            Rc::new(Authenticator::new(credentials)),
            Rc::new(settings),
            services,
            core.recorder,
            core.readiness,
        )
    }

    /// What goes on beside the requests of one core. Lifecycles and events are looked after by core 0
    /// for all.
    async fn start_workers(
        &self,
        engine: &Engine<GlommioPlatform>,
        services: &Rc<Services>,
        core: usize,
    ) -> Result<Workers, StartError> {
        let Settings { config, root, .. } = &self.0.settings;
        let tasks = Tasks::default();
        let origin = Origin {
            owner: Rc::new(Owner::of_access_key(&root.access_key)),
            region: config.region.clone(),
            host_id: format!("ringfort-{core}"),
        };
        let interval = config.access_log_interval;
        access_log::delivery::start(engine, services, origin.clone(), interval, &tasks);
        if core != 0 {
            return Ok(Workers { tasks, lifecycle: None });
        }
        notify::delivery::start(engine, &self.0.targets, &tasks).await?;
        let lifecycle = lifecycle::pass::start(engine, services, origin, &tasks);
        Ok(Workers { tasks, lifecycle: Some(lifecycle) })
    }

    /// Lets the other cores know that this one will not start.
    fn give_up(&self, core: usize) {
        if core == 0 {
            self.hand_over(None);
        }
        self.0.shared.give_up();
    }

    async fn open_directories(
        &self,
        platform: &GlommioPlatform,
    ) -> Result<OpenStore<GlommioPlatform>, StartError> {
        let Settings { config, plan, .. } = &self.0.settings;
        let mut available_bytes = u64::MAX;
        for dir in &config.data_dirs {
            // A drive that cannot be asked is offline; a new store is not laid out over one.
            let space = platform.space(dir).await.map_or(0, |space| space.available_bytes);
            available_bytes = available_bytes.min(space);
        }
        let format = format_options(config, plan, available_bytes);
        let store = open_or_format(platform, &config.data_dirs, || format).await?;
        if store.formatted {
            tracing::info!(
                shards = store.layout.shard_count,
                segment_bytes = store.layout.segment_bytes,
                capacity_bytes = ?store.layout.capacity_bytes,
                "a new store was formatted"
            );
        }
        Ok(store)
    }

    fn hand_over(&self, layout: Option<Layout>) {
        let mut slot = self.0.layout.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = layout.map_or(Handover::Failed, Handover::Ready);
    }

    async fn await_layout(&self, platform: &GlommioPlatform) -> Result<Layout, StartError> {
        loop {
            match &*self.0.layout.lock().unwrap_or_else(PoisonError::into_inner) {
                Handover::Awaited => {}
                Handover::Failed => return Err(engine::Error::Stopping.into()),
                Handover::Ready(layout) => return Ok(layout.clone()),
            }
            platform.sleep(HANDOVER_POLL).await;
        }
    }
}

impl Application for S3Application {
    type Service = CoreStore;

    async fn open(&self, core: CoreContext) -> Result<(CoreStore, Opened), StartError> {
        let (engine, directories) = self
            .open_engine(core.core, &core.reactor)
            .await
            .inspect_err(|_| self.give_up(core.core))?;
        let recovered = engine.recovered();
        if recovered.torn_tails > 0 {
            let torn = recovered.torn_tails;
            tracing::info!(torn, "the ends of logs that were never acknowledged were discarded");
        }
        let opened =
            Opened { shards: recovered.shards, free_bytes: engine.metrics().available_bytes };
        let Settings { config, masters, mfa, audit, .. } = &self.0.settings;
        let encryption = Encryption {
            masters: Arc::clone(masters),
            customer_keys_over_http: config.sse_c_over_http,
        };
        let services = Rc::new(Services {
            throttle: Throttle::new(Arc::clone(&self.0.limiters)),
            holdings: self.0.holdings.clone(),
            encryption,
            mfa: mfa.clone(),
            day: Day::of(config.lifecycle_day),
            audit: audit.clone(),
            events: EventQueue::new(Arc::clone(&self.0.targets), core.core),
            ..Services::default()
        });
        let (number, listen) = (core.core, core.listen);
        let workers = self
            .start_workers(&engine, &services, number)
            .await
            .inspect_err(|_| self.give_up(number))?;
        let service = self.s3_service(&engine, core, Rc::clone(&services));
        let part =
            CoreStore { engine, service, services, workers, listen, _directories: directories };
        Ok((part, opened))
    }

    fn audit(&self) -> Option<Audit> {
        self.0.settings.audit.clone()
    }

    fn samples(&self, part: &CoreStore) -> Vec<Sample> {
        let rows = part.engine.metrics().rows();
        #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
        let sample = |(name, help, value): (&'static str, &'static str, u64)| Sample {
            name,
            help,
            labels: Vec::new(),
            value: value as f64,
        };
        let mut samples: Vec<Sample> = rows.into_iter().map(sample).collect();
        samples.extend(part.services.access_log.samples());
        samples.extend(part.services.throttle.samples());
        if let Some(lifecycle) = &part.workers.lifecycle {
            samples.extend(lifecycle.samples());
            samples.extend(self.0.targets.samples());
            samples.extend(self.audit().iter().flat_map(Audit::samples));
        }
        samples
    }

    fn health(&self, part: &CoreStore) -> Health {
        part.engine.health()
    }

    fn api_caller(&self, part: &CoreStore, key: &KeyDigest) -> Option<ApiCaller> {
        api_keys::caller(&part.engine, &part.services, key)
    }

    async fn manage(&self, part: &CoreStore, asked: &Asked<'_>) -> ApiAnswer {
        let Settings { config, plan, .. } = &self.0.settings;
        let server = Server { listen: part.listen, config, plan };
        api::answer(&part.service.management(asked, server), asked.request).await
    }

    fn sign_in(&self, part: &CoreStore, access_key: &str, secret: &str) -> Option<Person> {
        let (credentials, users) =
            (part.service.authenticator().credentials(), part.service.users());
        match credentials.is_secret(access_key, secret, &users) {
            Ok(true) => self.person(part, Some(access_key)),
            Ok(false) => None,
            Err(error) => {
                tracing::error!(%error, "a sign-in could not be judged");
                None
            }
        }
    }

    fn person(&self, part: &CoreStore, access_key: Option<&str>) -> Option<Person> {
        let users = part.service.users();
        let root = users.root.as_ref();
        let owner = match access_key {
            Some(key) if key != root.access_key => {
                let user = users.by_access_key(key).ok()??;
                user.is_active.then(|| (*user.owner).clone())?
            }
            _ => root.clone(),
        };
        let is_root = owner.access_key == root.access_key;
        let Owner { id, display_name: name, access_key } = owner;
        Some(Person { access_key, id, name, is_root })
    }

    async fn browse(
        &self,
        part: &CoreStore,
        vouched: Vouched<'_>,
        head: &RequestHead,
        body: &mut RequestBody<'_, ClientStream>,
    ) -> Response<ObjectBody<GlommioPlatform>> {
        part.service.call_as(vouched, head, body).await
    }

    fn presign(
        &self,
        part: &CoreStore,
        person: &Person,
        permission: &Permission<'_>,
    ) -> Option<String> {
        let credentials = part.service.authenticator().credentials();
        credentials.refresh(&person.access_key, &part.service.users()).ok()?;
        let now = part.engine.platform().wall_clock_ns() / NANOSECONDS;
        let now = i64::try_from(now).ok()?;
        presigned::presign(permission, credentials, &person.access_key, now)
    }

    async fn drained(&self, part: &CoreStore) {
        part.workers.tasks.end(part.engine.platform()).await;
    }

    async fn close(&self, part: &CoreStore) -> Result<(), StartError> {
        part.engine.close().await;
        Ok(())
    }
}

/// One core's part of the running application.
#[derive(Debug)]
pub struct CoreStore {
    engine: Engine<GlommioPlatform>,
    service: S3Service<GlommioPlatform>,
    services: Rc<Services>,
    workers: Workers,
    /// Where the S3 port listens.
    listen: SocketAddr,
    /// On core 0: the locks of the directories, released when the last core has closed.
    _directories: Option<OpenStore<GlommioPlatform>>,
}

/// What goes on beside the requests of one core.
#[derive(Debug)]
struct Workers {
    tasks: Tasks,
    /// On core 0, which looks after lifecycles and events.
    lifecycle: Option<Rc<lifecycle::pass::Progress>>,
}

impl<S: Stream> Service<S> for CoreStore {
    type Body = ObjectBody<GlommioPlatform>;

    async fn call(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_, S>,
    ) -> Response<Self::Body> {
        self.service.call(head, body).await
    }

    fn error_body(&self, status: u16, reason: &str) -> Response<Self::Body> {
        Service::<S>::error_body(&self.service, status, reason)
    }
}

/// How a new store is laid out where the operator left it open. A store takes at most half of what is
/// free on the fullest drive unless it is told otherwise: a disk filled by surprise is worse than a
/// store that is smaller than it could be.
fn format_options(config: &Config, plan: &Plan, available_bytes: u64) -> FormatOptions {
    let capacity_bytes = config.capacity_bytes.unwrap_or(available_bytes / 2);
    let drives = config.data_dirs.len();
    let usual = FormatOptions::for_capacity(capacity_bytes, plan.cores, drives);
    FormatOptions {
        shard_count: config.shards.unwrap_or(usual.shard_count),
        segment_bytes: config.segment_bytes.unwrap_or(usual.segment_bytes),
        capacity_bytes,
    }
}

/// What the I/O buffers that a core keeps leave of its share of the memory budget.
fn divided_bytes(config: &Config, plan: &Plan) -> u64 {
    (plan.memory_bytes / plan.cores as u64).saturating_sub(config.io_memory_bytes as u64)
}

/// What bodies under way may take on a core.
pub(super) fn body_budget_bytes(config: &Config, plan: &Plan) -> usize {
    usize::try_from(divided_bytes(config, plan) / 4).unwrap_or(usize::MAX)
}

/// One core's share of the memory budget: what its I/O buffers leave goes half to the index, a
/// quarter to bodies under way, an eighth at most to hot objects, and the rest to connections and all that
/// is not counted.
fn engine_options(settings: &Settings) -> EngineOptions {
    let Settings { config, plan, .. } = settings;
    let rest = divided_bytes(config, plan);
    let bytes = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
    EngineOptions {
        body_budget_bytes: body_budget_bytes(config, plan),
        index_budget_bytes: bytes(rest / 2),
        hot_record_bytes: bytes(config.hot_object_bytes.min(rest / 8)),
        open_files_max: limits::SEGMENT_FILES_PER_CORE,
        checkpoint_log_bytes: config.checkpoint_log_bytes,
        checkpoint_records: config.checkpoint_records as u64,
        scrub_bytes_per_second: config.scrub_bytes_per_second,
        scrub_interval: config.scrub_interval,
        read_ahead_windows: plan.device.read_ahead_windows,
        chunk_writes_in_flight: plan.device.chunk_writes_in_flight,
        groups_in_flight_max: plan.device.groups_in_flight_max,
        reads_in_flight_max: plan.device.reads_in_flight_max,
        ..EngineOptions::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Layers, serve_command};
    use crate::serve::DeviceTuning;

    fn settings(flags: &[&str], cores: usize, memory_bytes: u64) -> Settings {
        let arguments = ["serve"].iter().chain(flags);
        let matches = serve_command().try_get_matches_from(arguments).unwrap();
        let config = Config::resolve(&Layers::gather(&matches, &|_| None).unwrap()).unwrap();
        let root = RootCredentials {
            access_key: "root".to_string(),
            secret_key: "secret-1".to_string(),
            admin_api_key: "bearer-1".to_string(),
        };
        let masters = Arc::default();
        let device = DeviceTuning::default();
        let plan = Plan { cores, cpus: None, memory_bytes, device };
        Settings { config, plan, root, masters, mfa: None, audit: None }
    }

    #[test]
    fn the_parts_of_the_memory_budget_stay_within_it() {
        for (cores, memory_bytes) in [(1, 256 << 20), (4, 1 << 30), (64, 128 << 30)] {
            let settings = settings(&[], cores, memory_bytes);
            let options = engine_options(&settings);
            let core = options.body_budget_bytes
                + options.index_budget_bytes
                + options.hot_record_bytes
                + settings.config.io_memory_bytes;
            assert!(core as u64 * cores as u64 <= memory_bytes);
            assert!(options.index_budget_bytes > options.body_budget_bytes);
            assert!(options.hot_record_bytes > 0);
        }
    }

    #[test]
    fn a_new_store_takes_what_is_configured_or_half_of_what_is_free() {
        let given = settings(
            &["--capacity", "10GiB", "--shards", "6", "--segment-size", "4MiB"],
            2,
            1 << 30,
        );
        let format = format_options(&given.config, &given.plan, 1 << 40);
        assert_eq!(format.capacity_bytes, 10 << 30);
        assert_eq!((format.shard_count, format.segment_bytes), (6, 4 << 20));

        let free = settings(&[], 2, 1 << 30);
        assert_eq!(format_options(&free.config, &free.plan, 1 << 40).capacity_bytes, 1 << 39);
    }

    #[test]
    fn the_engine_gets_what_is_configured_and_its_own_defaults_otherwise() {
        let flags = ["--checkpoint-log", "1MiB", "--checkpoint-records", "100"];
        let flags = [&flags[..], &["--scrub-rate", "0", "--scrub-interval", "60"]].concat();
        let given = engine_options(&settings(&flags, 1, 1 << 30));
        assert_eq!((given.checkpoint_log_bytes, given.checkpoint_records), (1 << 20, 100));
        let a_minute = Duration::from_secs(60);
        assert_eq!((given.scrub_bytes_per_second, given.scrub_interval), (0, a_minute));

        let (usual, engine) =
            (engine_options(&settings(&[], 1, 1 << 30)), EngineOptions::default());
        assert_eq!(usual.checkpoint_log_bytes, engine.checkpoint_log_bytes);
        assert_eq!(usual.checkpoint_records, engine.checkpoint_records);
        assert_eq!(usual.scrub_bytes_per_second, engine.scrub_bytes_per_second);
        assert_eq!(usual.scrub_interval, engine.scrub_interval);
        assert_eq!(usual.read_ahead_windows, engine.read_ahead_windows);
        assert_eq!(usual.chunk_writes_in_flight, engine.chunk_writes_in_flight);
        assert_eq!(usual.groups_in_flight_max, engine.groups_in_flight_max);
        assert_eq!(usual.reads_in_flight_max, engine.reads_in_flight_max);
    }
}
