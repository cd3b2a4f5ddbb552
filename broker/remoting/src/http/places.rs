//! The connections of an HTTP port: their number, their lifetime, and which one is evicted for
//! another.
//!
//! A new connection always gets a place: an unanswered probe gets its process killed. When all
//! places are taken, one connection is closed in its favour, chosen in this order:
//! 1. one of an address that holds more than its share of the places, so that one peer cannot keep
//!    others out;
//! 2. one that no response is being made for: it has not sent a complete request, is idle between
//!    two requests, or does not read its response;
//! 3. the one that has been in this state for the longest time.

use crate::listener::AcceptFailures;
use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Registry};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// The share of one address when another connection needs a place.
const SHARE: usize = CONNECTIONS / 4;
/// How long a request's header may take, including the wait between two requests. Scrapers with a
/// longer interval open a connection for each scrape.
const HEADER: Duration = Duration::from_secs(5);
/// How long a connection may last, so that no slow reader keeps its place forever. Scrapers
/// reconnect.
const LIFE: Duration = Duration::from_secs(600);
/// How long the current response may take when the connection is to end.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a request's header.
const HEADER_BYTES: usize = 16 * 1024;

/// The connections of one HTTP port, see the module docs.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
    open: IntGauge,
    /// Connections closed in favour of others.
    closed: IntCounter,
}

#[derive(Debug, Default)]
struct Taken {
    /// In the order in which they were opened.
    rows: BTreeMap<u64, Row>,
    next: u64,
}

#[derive(Debug)]
struct Row {
    address: IpAddr,
    responding: bool,
    /// When it was opened, or its last response was begun or completed.
    since: Instant,
    close: CancellationToken,
}

impl Places {
    /// Creates the places, all of them free.
    ///
    /// # Errors
    /// None as long as the names of the metrics are valid in Prometheus.
    pub fn new() -> prometheus::Result<Self> {
        Ok(Self {
            free: Arc::new(Semaphore::new(CONNECTIONS)),
            taken: Mutex::default(),
            open: IntGauge::new("rocketmq_http_connections", "Open connections of the HTTP port.")?,
            closed: IntCounter::new(
                "rocketmq_http_closed_for_others_total",
                "Connections of the HTTP port closed because a new one needed their place.",
            )?,
        })
    }

    /// Registers their metrics.
    ///
    /// # Errors
    /// The registry already has metrics of these names.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.open.clone()))?;
        registry.register(Box::new(self.closed.clone()))
    }

    /// Takes a place for a connection from `address`. It waits only for the end of the connection
    /// that is closed in its favour.
    async fn take(self: &Arc<Self>, address: IpAddr) -> io::Result<Permit> {
        let free = Arc::clone(&self.free);
        let permit = match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.close_one();
                free.acquire_owned().await.map_err(io::Error::other)?
            }
        };
        let close = CancellationToken::new();
        let row =
            Row { address: address.to_canonical(), responding: false, since: Instant::now(), close: close.clone() };
        let mut taken = self.taken.lock();
        let number = taken.next;
        taken.next += 1;
        taken.rows.insert(number, row);
        drop(taken);
        self.open.inc();
        Ok(Permit { places: Arc::clone(self), number, close, _permit: permit })
    }

    fn close_one(&self) {
        let mut taken = self.taken.lock();
        if let Some(row) = taken.least().and_then(|number| taken.rows.remove(&number)) {
            row.close.cancel();
            // The first one is logged; a flood shows in the metric.
            if self.closed.get() == 0 {
                tracing::warn!(
                    peer = %row.address,
                    "{CONNECTIONS} HTTP connections are open; one is closed for each new one \
                     (rocketmq_http_closed_for_others_total)"
                );
            }
            self.closed.inc();
        }
    }
}

impl Taken {
    /// The connection to close.
    fn least(&self) -> Option<u64> {
        let of_address = |address| self.rows.values().filter(|other| other.address == address).count();
        let order = |row: &Row| (of_address(row.address) <= SHARE, row.responding, row.since);
        self.rows.iter().min_by_key(|(_, row)| order(row)).map(|(number, _)| *number)
    }
}

/// A connection's place, released on drop.
struct Permit {
    places: Arc<Places>,
    number: u64,
    close: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Permit {
    fn responding(&self, responding: bool) {
        if let Some(row) = self.places.taken.lock().rows.get_mut(&self.number) {
            (row.responding, row.since) = (responding, Instant::now());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.places.taken.lock().rows.remove(&self.number);
        self.places.open.dec();
    }
}

/// Serves `routes` until `stop` is cancelled.
///
/// # Errors
/// None, except for a listener that is permanently broken.
pub async fn serve_routes(
    listener: TcpListener,
    routes: Router,
    places: Arc<Places>,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.local_addr()?;
    let connections = TaskTracker::new();
    let next = async || {
        let (stream, peer) = listener.accept().await?;
        Ok::<_, io::Error>((stream, places.take(peer.ip()).await?))
    };
    let mut failures = AcceptFailures::new("an HTTP connection");
    while let Some(accepted) = stop.run_until_cancelled(next()).await {
        match accepted {
            Ok((stream, permit)) => drop(connections.spawn(connection(stream, routes.clone(), stop.clone(), permit))),
            Err(error) => failures.pause(&error).await,
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn connection(stream: TcpStream, routes: Router, stop: CancellationToken, permit: Permit) {
    let routes = TowerToHyperService::new(routes);
    let respond = service_fn(|request: Request<Incoming>| {
        let response = routes.call(request);
        async {
            permit.responding(true);
            let response = response.await;
            permit.responding(false);
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), respond);
    let mut connection = std::pin::pin!(connection);
    // The outcome is not logged: a scraper may hang up at any time.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = permit.close.cancelled() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let last = async {
        tokio::select! {
            _ = connection => {}
            () = permit.close.cancelled() => {}
        }
    };
    let _ = tokio::time::timeout(GRACE, last).await;
}
