//! Building a broker's parts in order, and taking them down.
//!
//! ```text
//! start                                      stop
//!   http: alive, not ready                     http: not ready
//!   ports are reserved                         goodbye to the namesrvs
//!   tables, store (recovers)                   parked pulls are answered
//!   ports are listened on                      no more requests; the last answers leave
//!   handlers                                   replication, delay, housekeeping
//!   replication, delay, housekeeping           tables are written, the store is closed
//!   requests are taken
//!   the log is checked
//!   registration -> ready
//! ```

mod housekeeping;
mod parts;

use crate::{
    Error,
    config::{Config, Live},
    observe::metrics::Page,
    pull::long_polling::Ready,
};
use parts::Parts;
use rmq_remoting::{Limits, Reactors, Reserved, Watchdog, http::Health};
use rmq_store::MessageStore;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long handlers that wait may go on once no more requests are read.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// Between two looks whether the broker can go on.
const LOOK: Duration = Duration::from_secs(1);

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    parts: Parts,
    page: Arc<Page>,
    delivery: Option<JoinHandle<()>>,
    /// Cancelled in this order.
    stop_registration: CancellationToken,
    stop_requests: CancellationToken,
    stop_rest: CancellationToken,
    registration: TaskTracker,
    requests: TaskTracker,
    rest: TaskTracker,
}

/// Answers probes from the first moment on, while the store recovers.
#[derive(Default)]
struct Early {
    page: OnceLock<Arc<Page>>,
}

impl Health for Early {
    fn live(&self) -> Result<(), String> {
        self.page.get().map_or(Ok(()), |page| page.live())
    }

    fn ready(&self) -> Result<String, String> {
        self.page.get().map_or_else(|| Err("the store is recovering".to_owned()), |page| page.ready())
    }

    fn metrics(&self) -> String {
        self.page.get().map(|page| page.metrics()).unwrap_or_default()
    }
}

/// The ports of a broker: reserved while the store opens, then listened on.
struct Ports<Port> {
    requests: Port,
    /// Two below the former, for clients that use the "VIP channel".
    vip: Option<Port>,
    replication: Port,
}

impl Ports<Reserved> {
    fn listen(self) -> Result<Ports<TcpListener>, Error> {
        let listen = |port: Reserved| {
            let address = port.local_addr();
            port.listen().map_err(|source| Error::Listen {
                address: address.map_or_else(|_| "a port".to_owned(), |address| address.to_string()),
                source,
            })
        };
        let Self { requests, vip, replication } = self;
        Ok(Ports { requests: listen(requests)?, vip: vip.map(listen).transpose()?, replication: listen(replication)? })
    }
}

impl Broker {
    /// Starts a broker; `file` is where its settings came from and where changes at run time are written. Returns when requests are taken.
    ///
    /// # Errors
    /// A port is taken, the store is damaged or used by another process, a table cannot be read.
    pub async fn start(mut config: Config, file: Option<PathBuf>) -> Result<Self, Error> {
        let (early, watchdog) = (Arc::<Early>::default(), Arc::<Watchdog>::default());
        let (stop_rest, rest) = (CancellationToken::new(), TaskTracker::new());
        let bind = config.network.bind_address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let http_address = match config.network.http_port {
            0 => None,
            port => {
                let listener = listen(bind, port)?;
                let address = local_address(&listener)?;
                let answer = rmq_remoting::http::serve(listener, Arc::clone(&early) as _, stop_rest.clone());
                watched(&watchdog, &rest, "http", answer);
                Some(address)
            }
        };
        // A port that is taken ends the start before it has touched the store, which would count as
        // crashed then.
        let ports = reserve_ports(&mut config, bind)?;
        let (tables, ready) = parts::Tables::open(&config)?;
        // Asked for once: the store and the network buffers must not have two ideas of it.
        let memory = rmq_remoting::memory::usable();
        let store = open_store(&config, memory, &tables).await?;
        let ports = ports.listen()?;
        let address = local_address(&ports.requests)?;
        let settings = Arc::new(Live::new(config, file));
        let parts = Parts::build(settings, memory, store, tables, watchdog)?;
        let page = Arc::new(parts.page());
        let mut broker = Self {
            address,
            http_address,
            page: Arc::clone(&page),
            delivery: None,
            stop_registration: CancellationToken::new(),
            stop_requests: CancellationToken::new(),
            stop_rest,
            registration: TaskTracker::new(),
            requests: TaskTracker::new(),
            rest,
            parts,
        };
        broker.begin(ports, ready)?;
        let _ = early.page.set(page);
        Ok(broker)
    }

    /// Where requests are taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes and scrapers are answered.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// As `/readyz` tells it.
    ///
    /// # Errors
    /// Why clients should not be sent here.
    pub fn ready(&self) -> Result<(), String> {
        self.page.ready().map(drop)
    }

    /// Waits until this broker cannot go on and has to be restarted, as `/healthz` tells it, and says why.
    pub async fn failed(&self) -> String {
        loop {
            if let Err(why) = self.page.live() {
                return why;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn begin(&mut self, ports: Ports<TcpListener>, ready: Ready) -> Result<(), Error> {
        let parts = &self.parts;
        let slave = parts.settings.load().is_slave();
        if slave {
            let (following, master) = (Arc::clone(&parts.following), parts.registration.master());
            let (ask_again, stop) = (parts.registration.ask_for_master(), self.stop_rest.clone());
            let follow = async move { following.run(master, ask_again, stop).await };
            watched(&parts.watchdog, &self.rest, "follow the master", follow);
            let (master, in_step) = (parts.registration.master(), parts.following.in_step());
            let sync = parts.metadata_sync().run(master, in_step, self.stop_rest.clone());
            watched(&parts.watchdog, &self.rest, "copy the master's tables", sync);
        } else {
            let (check, following) = (Arc::clone(&parts.log_check), Arc::clone(&parts.following));
            let (tables, stop) = (parts.metadata_sync(), self.stop_rest.clone());
            let correct = parts.correction();
            if check.is_open() {
                correct();
            } else {
                let check_log = async move {
                    check.run(&following, &tables, correct, stop.clone()).await;
                    stop.cancelled().await;
                };
                watched(&parts.watchdog, &self.rest, "check the log", check_log);
            }
            // Delivery appends to the log.
            let check = Arc::clone(&parts.log_check);
            let thread = parts.delivery().start(move || check.wait_until_open(), Arc::clone(&parts.watchdog));
            self.delivery = Some(thread.map_err(|source| Error::Thread { name: "delay", source })?);
        }
        let serve = Arc::clone(&parts.slaves).serve(ports.replication, self.stop_rest.clone());
        watched(&parts.watchdog, &self.rest, "accept slaves", serve);
        housekeeping::start(parts, ready, &self.rest, &self.stop_rest);
        let settings = parts.settings.load();
        let limits = Limits {
            connections: settings.network.max_connections,
            idle: settings.network.idle.0,
            ..Limits::default()
        };
        let dispatch = Arc::new(parts.border());
        let reactors =
            Reactors::start(&parts.watchdog).map_err(|source| Error::Thread { name: "connections", source })?;
        let reactors = Arc::new(reactors);
        for listener in [Some(ports.requests), ports.vip].into_iter().flatten() {
            let (dispatch, figures) = (Arc::clone(&dispatch), Arc::clone(&parts.figures));
            let (reactors, stop) = (Arc::clone(&reactors), self.stop_requests.clone());
            let serve = rmq_remoting::serve(listener, reactors, dispatch, limits.clone(), figures, stop);
            watched(&parts.watchdog, &self.requests, "accept connections", serve);
        }
        let (registration, stop) = (Arc::clone(&parts.registration), self.stop_registration.clone());
        let check = Arc::clone(&parts.log_check);
        let register = async move {
            if stop.run_until_cancelled(check.until_open()).await == Some(true) {
                registration.run(stop).await;
            }
        };
        watched(&parts.watchdog, &self.registration, "register with namesrvs", register);
        Ok(())
    }

    /// Stops: says goodbye to the namesrvs, answers what was asked, writes everything to disk.
    ///
    /// # Errors
    /// Something could not be written; everything else was.
    pub async fn stop(mut self) -> Result<(), Error> {
        tracing::info!("stopping: leaving the namesrvs");
        let _ = self.page.stopping.set(());
        self.parts.watchdog.stop();
        self.stop_registration.cancel();
        finish(&self.registration).await;
        tracing::info!("stopping: answering the last requests");
        self.parts.tables.long_polling.release();
        self.stop_requests.cancel();
        finish(&self.requests).await;
        self.parts.request_tasks.close();
        if tokio::time::timeout(LAST_TASKS, self.parts.request_tasks.wait()).await.is_err() {
            tracing::warn!("some requests are not answered: they still wait for a client or a slave");
        }
        self.parts.tables.delay.stop();
        self.parts.log_check.stop();
        self.stop_rest.cancel();
        finish(&self.rest).await;
        tracing::info!("stopping: writing everything to disk");
        let (tables, store, delivery) = (self.parts.tables, self.parts.store, self.delivery.take());
        let close = move || {
            if let Some(delivery) = delivery {
                // A panic there was logged when it happened.
                let _ = delivery.join();
            }
            let written = tables.persist();
            store.close()?;
            written
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(closed) => closed.map_err(Error::Store),
            Err(error) => Err(Error::Thread { name: "close", source: io::Error::other(error) }),
        }
    }
}

async fn finish(tasks: &TaskTracker) {
    tasks.close();
    tasks.wait().await;
}

fn listen(ip: IpAddr, port: u16) -> Result<TcpListener, Error> {
    let address = SocketAddr::new(ip, port);
    rmq_remoting::bind(address).map_err(|source| Error::Listen { address: address.to_string(), source })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|source| Error::Listen { address: "a listener".to_owned(), source })
}

/// Starts a task that has to run until the stop.
fn watched(
    watchdog: &Arc<Watchdog>,
    tasks: &TaskTracker,
    name: &'static str,
    task: impl Future<Output: Send> + Send + 'static,
) {
    let watchdog = Arc::clone(watchdog);
    tasks.spawn(async move { watchdog.task(name, task).await });
}

/// Reserves the ports and writes those that were left to the system into the settings.
fn reserve_ports(config: &mut Config, bind: IpAddr) -> Result<Ports<Reserved>, Error> {
    let network = &mut config.network;
    let reserve = |port| {
        let address = SocketAddr::new(bind, port);
        rmq_remoting::reserve(address).map_err(|source| Error::Listen { address: address.to_string(), source })
    };
    let requests = reserve(network.listen_port)?;
    let chosen = network.listen_port != 0;
    let vip = if chosen { Some(reserve(network.listen_port - 2)?) } else { None };
    // A slave serves its log too: to a master that has lost its own.
    let replication = reserve(network.replication_port)?;
    let port = |reserved: &Reserved| reserved.local_addr().map_or(0, |address| address.port());
    network.listen_port = port(&requests);
    network.replication_port = port(&replication);
    Ok(Ports { requests, vip, replication })
}

async fn open_store(config: &Config, memory: u64, tables: &parts::Tables) -> Result<Arc<MessageStore>, Error> {
    let store_config = rmq_store::Config { memory: Some(memory), ..config.for_store()? };
    let (long_polling, delay) = (Arc::clone(&tables.long_polling), Arc::clone(&tables.delay));
    let arrivals = move |arrival: &rmq_store::Arrival<'_>| {
        long_polling.arrived(arrival.topic, arrival.queue_id, arrival.queue_offset, arrival.tags_code);
        if arrival.topic == rmq_protocol::names::SCHEDULE_TOPIC {
            delay.arrived();
        }
    };
    tracing::info!(root = config.store.root, "opening the store");
    let opened = tokio::task::spawn_blocking(move || MessageStore::open(store_config, Box::new(arrivals))).await;
    match opened {
        Ok(store) => Ok(Arc::new(store?)),
        Err(error) => Err(Error::Thread { name: "open", source: io::Error::other(error) }),
    }
}

/// Where the tables lie.
fn root(config: &Config) -> &Path {
    Path::new(&config.store.root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that found its port taken left the mark of a crash in its store.
    #[tokio::test]
    async fn a_port_that_is_taken_ends_the_start_before_it_touches_the_store() {
        let taken = rmq_remoting::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store").display().to_string();
        let (config, _) = Config::from_properties([
            ("brokerName", "b"),
            ("bindAddress", "127.0.0.1"),
            ("storePathRootDir", root.as_str()),
            ("listenPort", "0"),
            ("haListenPort", port.as_str()),
        ])
        .unwrap();
        let refused = Broker::start(config, None).await.err().expect("a port is taken").to_string();
        assert!(refused.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{refused}");
        assert!(!Path::new(&root).exists(), "the store was touched");
    }
}
