//! Listening and accepting connections.

use crate::{Connection, Counters, Handler, Limits, Reactors, admission::Admission};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The backlog: connections that wait in the kernel to be accepted. Java's `SO_BACKLOG`.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed for lack of memory or file descriptors: the next one would
/// fail as well.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Time between two log lines about such failures.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The accept failures of a listener.
pub struct AcceptFailures {
    what: &'static str,
    logged: Option<Instant>,
}

impl AcceptFailures {
    /// Creates the state of a listener for `what`, such as "a connection".
    pub fn new(what: &'static str) -> Self {
        Self { what, logged: None }
    }

    /// Logs the failure, at most once in 10 s, and pauses.
    pub async fn pause(&mut self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return; // This peer is gone; the next one can be accepted.
        }
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            tracing::warn!(%error, "cannot accept {}; trying again every {BACK_OFF:?}", self.what);
        }
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// Listens on `address`. The port may be taken over from a process that has just ended. An
/// unspecified IPv6 address accepts IPv4 as well.
///
/// # Errors
/// The address is in use or not local.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    reserve(address)?.listen()
}

/// A bound port: no other process can listen on it, and it refuses connections until it listens.
pub struct Reserved(Socket);

impl Reserved {
    /// The address with the port, also where the system chose it.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Starts to listen.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)?;
        TcpListener::from_std(self.0.into())
    }
}

/// Like [`bind`] without listening, for a process that has much to do before it can serve.
///
/// # Errors
/// The address is in use or not local.
pub fn reserve(address: SocketAddr) -> io::Result<Reserved> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(Reserved(socket))
}

/// Serves connections on the threads of `reactors` until `stop` is cancelled and the last
/// connection has ended (at the latest `limits.grace` later).
pub async fn serve<H: Handler + ?Sized>(
    listener: TcpListener,
    reactors: Arc<Reactors>,
    handler: Arc<H>,
    limits: Limits,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let (mut failures, admission) = (AcceptFailures::new("a connection"), Admission::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                failures.pause(&error).await;
                continue;
            }
        };
        if !admission.takes(peer.ip(), &counters) {
            continue;
        }
        let slot = reactors.choose();
        let connection = {
            // The event loop of a stream is fixed when the stream is created.
            let _entered = slot.runtime.enter();
            stream
                .into_std()
                .and_then(TcpStream::from_std)
                .and_then(|stream| Connection::new(stream, limits.clone(), Arc::clone(&counters)))
        };
        match connection {
            Ok(connection) => {
                Counters::add(&counters.accepted, 1);
                let (runtime, run) = (slot.runtime.clone(), connection.run(Arc::clone(&handler), stop.clone()));
                connections.spawn_on(
                    async move {
                        run.await;
                        drop(slot);
                    },
                    &runtime,
                );
            }
            Err(error) => tracing::debug!(%peer, %error, "a connection ended before it began"),
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}
