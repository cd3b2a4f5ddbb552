//! Starts the parts of a broker in order, and stops them.
//!
//! ```text
//! start                                      stop
//!   http: alive, not ready                     http: not ready
//!   ports are reserved                         the broker unregisters from the namesrvs
//!   tables, store (recovers)                   parked pulls are answered
//!   ports are listened on                      no more requests; the last responses leave
//!   handlers                                   replication, delay, housekeeping
//!   replication, delay, housekeeping           tables are written, the store is closed
//!   requests are taken
//!   the log is checked
//!   registration -> ready
//! ```

mod features;
mod page;

use crate::{
    Error,
    config::{Config, Live},
    feature::Tasks,
    replication,
};
use features::{Parts, Tables};
use page::Page;
use rmq_remoting::{
    Limits, Reactors, Reserved, Watchdog,
    http::{Health, Places},
};
use rmq_store::{Follower, MessageStore};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The timeout of handlers that still wait after the last request was read.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// File descriptors that are reserved and not used for connections of clients: 512 files of consume
/// queues and some others of the store, 64 HTTP connections, 32 slaves, connections to namesrvs,
/// and some for each thread.
const RESERVED_DESCRIPTORS: usize = 768;

/// The time between two checks whether the broker can go on.
const LOOK: Duration = Duration::from_secs(1);

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    parts: Parts,
    page: Arc<Page>,
    /// Stopped in this order.
    registration: Tasks,
    requests: Tasks,
    rest: Tasks,
}

/// Answers probes from the beginning, while the store recovers.
#[derive(Default)]
struct StartupProbes {
    page: OnceLock<Arc<Page>>,
}

impl Health for StartupProbes {
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
    /// Starts a broker. `file` is the file that its settings came from and that changes at run time
    /// are written to. Returns when requests are taken.
    ///
    /// # Errors
    /// A port is taken, the store is damaged or used by another process, or a table cannot be read.
    pub async fn start(mut config: Config, file: Option<PathBuf>) -> Result<Self, Error> {
        let connections = &mut config.network.max_connections;
        *connections = rmq_remoting::connections_within_limit("maxConnections", *connections, RESERVED_DESCRIPTORS);
        let (probes, watchdog) = (Arc::<StartupProbes>::default(), Arc::<Watchdog>::default());
        let rest = tasks(&watchdog);
        let bind = config.network.bind_address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let places = Arc::new(Places::new().map_err(Error::Metrics)?);
        let http_address = match config.network.http_port {
            0 => None,
            port => {
                let listener = listen(bind, port)?;
                let address = local_address(&listener)?;
                let (health, places, stop) = (Arc::clone(&probes) as _, Arc::clone(&places), rest.stop.clone());
                let http = rmq_remoting::http::serve(listener, health, places, stop);
                rest.run("http", http);
                Some(address)
            }
        };
        // A port that is taken ends the start before the store is touched. Otherwise the store
        // would count as crashed.
        let ports = reserve_ports(&mut config, bind)?;
        let settings = Arc::new(Live::new(config, file));
        let tables = Tables::open(&settings)?;
        // Read once, so that the store and the network buffers use the same value.
        let memory = rmq_remoting::memory::usable();
        let store = open_store(&settings.load_full(), memory, tables.followers()).await?;
        let ports = ports.listen()?;
        let address = local_address(&ports.requests)?;
        let parts = Parts::build(settings, memory, store, tables, Arc::clone(&watchdog))?;
        places.register(parts.handler.requests.registry()).map_err(Error::Metrics)?;
        let page = Arc::clone(&parts.page);
        let broker = Self {
            address,
            http_address,
            page: Arc::clone(&page),
            registration: tasks(&watchdog),
            requests: tasks(&watchdog),
            rest,
            parts,
        };
        broker.begin(ports)?;
        let _ = probes.page.set(page);
        Ok(broker)
    }

    /// The address on which requests are taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address on which probes and scrapes are answered.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// The state that `/readyz` shows.
    ///
    /// # Errors
    /// Why clients should not use this broker.
    pub fn ready(&self) -> Result<(), String> {
        self.page.ready().map(drop)
    }

    /// Waits until this broker cannot go on and has to be restarted, as `/healthz` shows it.
    /// Returns the reason.
    pub async fn failed(&self) -> String {
        loop {
            if let Err(why) = self.page.live() {
                return why;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn begin(&self, ports: Ports<TcpListener>) -> Result<(), Error> {
        if self.parts.core.role.is_slave() {
            self.follow();
        } else {
            self.lead();
        }
        let serve = Arc::clone(&self.parts.slaves).serve(ports.replication, self.rest.stop.clone());
        self.rest.run("accept slaves", serve);
        for feature in self.parts.list.iter() {
            Arc::clone(feature).start(&self.rest);
        }
        self.take_requests([Some(ports.requests), ports.vip])?;
        self.register();
        Ok(())
    }

    /// Starts copying the master's log and tables, on a slave.
    fn follow(&self) {
        let (parts, stop) = (&self.parts, &self.rest.stop);
        let (following, role) = (Arc::clone(&parts.following), parts.core.role.watch());
        let (ask_again, stopped) = (parts.core.registration.ask_for_master(), stop.clone());
        self.rest.run("follow the master", async move { following.run(role, ask_again, stopped).await });
        let sync = parts.metadata_sync().run(parts.core.role.watch(), parts.following.in_step(), stop.clone());
        self.rest.run("copy the master's tables", sync);
    }

    /// Starts the check of the log on a master, and then what appends to it.
    fn lead(&self) {
        let parts = &self.parts;
        let (check, list) = (Arc::clone(&parts.log_check), Arc::clone(&parts.list));
        let correct = move || list.iter().for_each(|feature| feature.correct());
        if check.is_open() {
            correct();
        } else {
            let (following, tables) = (Arc::clone(&parts.following), parts.metadata_sync());
            let stop = self.rest.stop.clone();
            self.rest.run("check the log", async move {
                check.run(&following, &tables, correct, stop.clone()).await;
                stop.cancelled().await;
            });
        }
        let (check, list, tasks) = (Arc::clone(&parts.log_check), Arc::clone(&parts.list), self.rest.clone());
        self.rest.run("lead", async move {
            if check.until_open().await
                && let Err(error) = list.iter().try_for_each(|feature| Arc::clone(feature).lead(&tasks))
            {
                tracing::error!(%error, "a part of this master cannot be started");
                return;
            }
            tasks.stop.cancelled().await;
        });
    }

    fn take_requests(&self, listeners: [Option<TcpListener>; 2]) -> Result<(), Error> {
        let parts = &self.parts;
        let settings = parts.core.settings.load();
        let limits = Limits {
            connections: settings.network.max_connections,
            idle: settings.network.idle.0,
            ..Limits::default()
        };
        let reactors =
            Reactors::start(&parts.watchdog).map_err(|source| Error::Thread { name: "connections", source })?;
        let reactors = Arc::new(reactors);
        for listener in listeners.into_iter().flatten() {
            let (handler, counters) = (Arc::clone(&parts.handler), Arc::clone(&parts.counters));
            let (reactors, stop) = (Arc::clone(&reactors), self.requests.stop.clone());
            let serve = rmq_remoting::serve(listener, reactors, handler, limits.clone(), counters, stop);
            self.requests.run("accept connections", serve);
        }
        Ok(())
    }

    /// Starts the registration, which waits for the check of the log.
    fn register(&self) {
        let (registration, stop) = (Arc::clone(&self.parts.core.registration), self.registration.stop.clone());
        let check = Arc::clone(&self.parts.log_check);
        self.registration.run("register with namesrvs", async move {
            if stop.run_until_cancelled(check.until_open()).await == Some(true) {
                registration.run(stop).await;
            }
        });
    }

    /// Stops: unregisters from the namesrvs, answers the requests that were read, and writes
    /// everything to disk.
    ///
    /// # Errors
    /// Something could not be written. Everything else was.
    pub async fn stop(self) -> Result<(), Error> {
        tracing::info!("stopping: leaving the namesrvs");
        let _ = self.page.stopping.set(());
        self.parts.watchdog.stop();
        finish(&self.registration).await;
        tracing::info!("stopping: answering the last requests");
        self.parts.list.iter().for_each(|feature| feature.stop());
        finish(&self.requests).await;
        let waiting = &self.parts.core.tasks;
        waiting.close();
        if tokio::time::timeout(LAST_TASKS, waiting.wait()).await.is_err() {
            tracing::warn!("some requests are not answered: they still wait for a client or a slave");
        }
        finish(&self.rest).await;
        tracing::info!("stopping: writing everything to disk");
        let parts = self.parts;
        let close = move || {
            let saved: Vec<_> = parts.list.iter().map(|feature| feature.save()).collect();
            parts.core.store.close()?;
            saved.into_iter().collect::<Result<(), rmq_store::Error>>()
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(closed) => closed.map_err(Error::Store),
            Err(error) => Err(Error::Thread { name: "close", source: io::Error::other(error) }),
        }
    }
}

fn tasks(watchdog: &Arc<Watchdog>) -> Tasks {
    Tasks { watchdog: Arc::clone(watchdog), tracker: TaskTracker::new(), stop: CancellationToken::new() }
}

async fn finish(tasks: &Tasks) {
    tasks.stop.cancel();
    tasks.tracker.close();
    tasks.tracker.wait().await;
}

fn listen(ip: IpAddr, port: u16) -> Result<TcpListener, Error> {
    let address = SocketAddr::new(ip, port);
    rmq_remoting::bind(address).map_err(|source| Error::Listen { address: address.to_string(), source })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|source| Error::Listen { address: "a listener".to_owned(), source })
}

/// Reserves the ports, and sets those that the system chose in the settings.
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

async fn open_store(
    config: &Config,
    memory: u64,
    followers: Vec<Arc<dyn Follower>>,
) -> Result<Arc<MessageStore>, Error> {
    let store_config = rmq_store::Config { memory: Some(memory), ..config.for_store()? };
    replication::note_new_store(config)?;
    tracing::info!(root = config.store.root, "opening the store");
    let opened = tokio::task::spawn_blocking(move || MessageStore::open(store_config, followers)).await;
    match opened {
        Ok(store) => Ok(Arc::new(store?)),
        Err(error) => Err(Error::Thread { name: "open", source: io::Error::other(error) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A broker that found its port taken marked its store as crashed.
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
