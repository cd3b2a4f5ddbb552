//! The namesrv: the registry of brokers and topics. Brokers register every 30 s, clients look
//! routes up every 30 s; namesrvs do not communicate with each other.
//!
//! | module | contents |
//! |---|---|
//! | [`config`] | the settings, by Java's key names |
//! | `dispatch`, `handler` | the handlers of requests |
//! | `route_table`, `liveness` | groups, topics, queues; living brokers |
//! | `kv_config`, `durable` | the KV table, the only thing that outlives the process |
//! | `worker` | the two threads that own all of this |
//! | `capacity` | the limits of all that |
//! | `notify`, `metrics` | notifications to brokers, metrics |
//!
//! ```text
//!                 lookups, lists ----------------> snapshot (immutable, replaced as a whole)
//! connections --<                                       ^ publishes
//!                 registrations, heartbeats -----> thread "routes": table, liveness, eviction
//!                 KV, settings ------------------> thread "files": kvConfig.json, namesrv.properties
//! ```
//!
//! A lookup takes no lock and never waits for a writer. This crate uses sockets through remoting,
//! memory, and those two files; never a broker's store.
//!
//! **Stop.** [`Namesrv::stop`] closes the listeners, lets connections write their pending responses
//! (at most 5 s), lets the two threads finish their queues, and then ends.

mod capacity;
pub mod config;
mod dispatch;
mod durable;
mod error;
mod handler;
mod kv_config;
mod liveness;
mod metrics;
mod notify;
mod route_table;
mod worker;

pub use config::{Config, Reading};
pub use error::Error;

use arc_swap::ArcSwap;
use capacity::Capacity;
use dispatch::{Dispatch, View};
use handler::{Files, Routes};
use kv_config::KvConfig;
use metrics::Metrics;
use notify::Notifier;
use rmq_remoting::{
    Counters, Limits, Reactors, Watchdog,
    http::{self, Health, Places},
    metrics::{Connections, text},
};
use route_table::{RouteTable, Snapshot};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use worker::{PeriodicJob, Running, Worker};

/// File descriptors reserved from connections: 64 HTTP connections, two files, connections to
/// brokers, and some for each thread.
const RESERVED_DESCRIPTORS: usize = 256;

/// The interval of checks whether this namesrv can go on.
const LOOK: Duration = Duration::from_secs(1);

/// Time since some point before the start. A namesrv measures silence with it; tests replace it.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Overrides of the configuration by a program.
#[derive(Clone, Default)]
pub struct Overrides {
    /// Overrides `bindAddress`.
    pub bind_address: Option<IpAddr>,
    /// Overrides `listenPort`; 0: any free one.
    pub listen_port: Option<u16>,
    /// Overrides `httpPort`; 0: any free one, while 0 in the configuration means none.
    pub http_port: Option<u16>,
    /// Overrides the machine's clock.
    pub clock: Option<Clock>,
}

/// A running namesrv. Dropping it without [`Namesrv::stop`] leaves it running until its runtime
/// ends.
pub struct Namesrv {
    local: SocketAddr,
    http: Option<SocketAddr>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    answering_http: Option<JoinHandle<()>>,
    notifier: Notifier,
    status: Arc<Status>,
}

impl Namesrv {
    /// Reads the KV file, listens, and serves on the current runtime.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Listen`], [`Error::Start`].
    pub async fn start(mut config: Config, overrides: Overrides) -> Result<Self, Error> {
        config.bind_address = overrides.bind_address.unwrap_or(config.bind_address);
        config.listen_port = overrides.listen_port.unwrap_or(config.listen_port);
        let wants_http = config.http_port != 0 || overrides.http_port.is_some();
        config.http_port = overrides.http_port.unwrap_or(config.http_port);

        let capacity = Capacity::of(rmq_remoting::memory::usable(), config.max_route_table_bytes);
        let kv = KvConfig::open(config.kv_config_path.clone(), capacity.kv)?;
        let listener = listen(config.listen_address())?;
        let http_listener = wants_http.then(|| listen(config.http_address())).transpose()?;
        let local = local_address(&listener, config.listen_address())?;
        let http = http_listener.as_ref().map(|listener| local_address(listener, config.http_address())).transpose()?;

        let clock = overrides.clock.unwrap_or_else(monotonic);
        let most = Limits::default().connections;
        let connections =
            rmq_remoting::connections_within_limit("the number of connections", most, RESERVED_DESCRIPTORS);
        let limits = Limits { idle: config.idle, connections, ..Limits::default() };
        let scan_interval = config.scan_interval;
        let metrics = Arc::new(Metrics::new()?);
        metrics.route_bytes_limit.set(i64::try_from(capacity.routes).unwrap_or(i64::MAX));
        let view = Arc::new(View {
            config: Arc::new(ArcSwap::from_pointee(config)),
            routes: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            kv: kv.table(),
            metrics: Arc::clone(&metrics),
            started: clock(),
            clock: Arc::clone(&clock),
        });
        let notifier = Notifier::new(limits.clone());
        let routes = Routes {
            table: RouteTable::new(Arc::clone(&view.routes), capacity.routes),
            capacity,
            connections: Default::default(),
            config: Arc::clone(&view.config),
            kv: kv.table(),
            notifier: notifier.clone(),
            metrics: Arc::clone(&metrics),
            clock,
        };
        let every = PeriodicJob { interval: scan_interval, work: Routes::periodic_scan };
        let watchdog = Arc::<Watchdog>::default();
        let (routes, routes_thread) = Worker::start("routes", routes, Some(every), capacity.waiting, &watchdog)?;
        let files = Files { kv, config: Arc::clone(&view.config) };
        let (files, files_thread) = Worker::start("files", files, None, capacity.waiting, &watchdog)?;
        let reactors = Reactors::start(&watchdog).map_err(|error| Error::Start(error.to_string()))?;
        let counters = Arc::<Counters>::default();
        for (side, counters) in [("server", &counters), ("client", notifier.client().counters())] {
            let connections = Connections::new(side, Arc::clone(counters));
            metrics.registry.register(Box::new(connections)).map_err(|error| Error::Start(error.to_string()))?;
        }
        let status = Arc::new(Status {
            view: Arc::clone(&view),
            routes: routes.clone(),
            routes_thread,
            files: files.clone(),
            files_thread,
            watchdog: Arc::clone(&watchdog),
        });
        let places = Places::new().and_then(|places| places.register(&metrics.registry).map(|()| places));
        let places = Arc::new(places.map_err(|error| Error::Start(error.to_string()))?);
        let stop = CancellationToken::new();
        let dispatch = Arc::new(Dispatch { view, routes, files });
        let serve = rmq_remoting::serve(listener, Arc::new(reactors), dispatch, limits, counters, stop.clone());
        let serving = watched(&watchdog, "accept connections", serve);
        let answering_http = http_listener.map(|listener| {
            let answer = http::serve(listener, Arc::clone(&status) as Arc<dyn Health>, places, stop.clone());
            watched(&watchdog, "http", answer)
        });
        tracing::info!(%local, ?http, "namesrv started");
        Ok(Self { local, http, stop, serving, answering_http, notifier, status })
    }

    /// The listening address; needed if the port was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address for probes and scrapers.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Waits until this namesrv cannot go on, as `/healthz` reports it, and returns the reason. A
    /// restart loses nothing: brokers register again.
    pub async fn failed(&self) -> String {
        loop {
            if let Err(why) = self.status.live() {
                return why;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops as the crate docs describe, and waits for the end.
    pub async fn stop(self) {
        self.status.watchdog.stop();
        self.stop.cancel();
        let _ = self.serving.await;
        if let Some(answering) = self.answering_http {
            let _ = answering.await;
        }
        self.notifier.client().close().await;
        let status = self.status;
        // Joining threads blocks, if only for their current job.
        let _ = tokio::task::spawn_blocking(move || status.stop_threads()).await;
        tracing::info!("namesrv stopped");
    }
}

/// The state for probes and scrapers.
struct Status {
    view: Arc<View>,
    routes: Worker<Routes>,
    routes_thread: Running<Routes>,
    files: Worker<Files>,
    files_thread: Running<Files>,
    watchdog: Arc<Watchdog>,
}

impl Status {
    fn stop_threads(&self) {
        self.routes_thread.stop();
        self.files_thread.stop();
    }
}

impl Health for Status {
    fn live(&self) -> Result<(), String> {
        self.watchdog.ended().map_or(Ok(()), |ended| Err(format!("{}; restart this namesrv", ended.why)))
    }

    fn ready(&self) -> Result<String, String> {
        self.live()?;
        if !self.view.is_ready() {
            return Err("waiting for brokers to register (needWaitForService)".to_owned());
        }
        Ok(String::new())
    }

    fn metrics(&self) -> String {
        let (metrics, snapshot) = (&self.view.metrics, self.view.routes.load());
        metrics.groups.set(snapshot.groups().count() as i64);
        metrics.topics.set(snapshot.topic_count() as i64);
        metrics.waiting_bytes.set((self.routes.waiting_bytes() + self.files.waiting_bytes()) as i64);
        metrics.route_bytes.set(snapshot.bytes() as i64);
        metrics.kv_bytes.set(self.view.kv.load().bytes() as i64);
        metrics.ended.set(self.watchdog.count() as i64);
        metrics.waiting.set((self.routes.waiting() + self.files.waiting()) as i64);
        text(&metrics.registry)
    }
}

/// Starts a task that has to run until the stop.
fn watched(
    watchdog: &Arc<Watchdog>,
    name: &'static str,
    task: impl Future<Output: Send> + Send + 'static,
) -> JoinHandle<()> {
    let watchdog = Arc::clone(watchdog);
    tokio::spawn(async move { watchdog.task(name, task).await })
}

fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    rmq_remoting::bind(address).map_err(|source| Error::Listen { address, source })
}

fn local_address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|source| Error::Listen { address, source })
}

fn monotonic() -> Clock {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}
