//! Connections that this process opens: one per address, opened on first use and reopened when
//! lost.

use crate::{Budget, Connection, Counters, Error, Handler, Limits};
use parking_lot::Mutex;
use rmq_protocol::Command;
use rustc_hash::FxHashMap;
use std::{io, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A set of connections by address (`host:port`, the host a name or a number). Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    handler: Arc<dyn Handler>,
    limits: Limits,
    counters: Arc<Counters>,
    /// One slot per address. Callers that want the same address wait for one attempt; callers that
    /// want another address do not wait.
    slots: Mutex<FxHashMap<String, Arc<tokio::sync::Mutex<Option<Connection>>>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Client {
    /// Creates a client that hands the requests of its peers to `handler`.
    pub fn new(handler: Arc<dyn Handler>, limits: Limits) -> Self {
        Self::with_budget(handler, limits, Budget::of_process())
    }

    /// Like `new`, with this memory budget for the connections.
    pub fn with_budget(handler: Arc<dyn Handler>, limits: Limits, budget: Arc<Budget>) -> Self {
        Self(Arc::new(Inner {
            handler,
            limits,
            counters: Arc::new(Counters::with_budget(budget)),
            slots: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// The metrics of all its connections.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// Sends a request to `address` and waits for its response, whatever the response code.
    ///
    /// # Errors
    /// See [`Connection::request`]. [`Error::Connect`] if no connection is open and none can be
    /// opened.
    pub async fn request(&self, address: &str, command: Command, timeout: Duration) -> Result<Command, Error> {
        self.connection(address).await?.request(command, timeout).await
    }

    /// Sends a one-way command.
    ///
    /// # Errors
    /// No connection can be opened, or it is closed or full.
    pub async fn one_way(&self, address: &str, command: Command) -> Result<(), Error> {
        self.connection(address).await?.one_way(command)
    }

    /// Returns the connection to `address` and opens it if there is none.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connection(&self, address: &str) -> Result<Connection, Error> {
        let slot = Arc::clone(self.0.slots.lock().entry(address.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let connection =
            self.open(address).await.map_err(|source| Error::Connect { address: address.to_owned(), source })?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn open(&self, address: &str) -> io::Result<Connection> {
        let inner = &self.0;
        if inner.stop.is_cancelled() {
            return Err(io::Error::other("this client is closed"));
        }
        let stream =
            tokio::time::timeout(inner.limits.connect, TcpStream::connect(address)).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {:?}", inner.limits.connect))
            })??;
        let connection = Connection::new(stream, inner.limits.clone(), Arc::clone(&inner.counters))?;
        inner.tasks.spawn(connection.clone().run(Arc::clone(&inner.handler), inner.stop.clone()));
        Ok(connection)
    }

    /// Closes the connections to every address that `keep` rejects, for instance those of brokers
    /// that are gone.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.0.slots.lock().retain(|address, slot| {
            let kept = keep(address);
            if !kept
                && let Ok(slot) = slot.try_lock()
                && let Some(connection) = slot.as_ref()
            {
                connection.close();
            }
            kept
        });
    }

    /// Closes all connections once pending output is written, and waits for their end.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// A handler for clients whose peers send no requests: a request gets no response.
impl Handler for () {
    fn handle(&self, request: Command, responder: crate::Responder) {
        tracing::debug!(code = request.code, peer = %responder.connection().peer(), "an unexpected request from a server");
    }
}
