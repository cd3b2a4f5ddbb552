//! Accepting connections.

use crate::{Connection, Figures, Handler, Limits, Reactors, admission::Admission};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections the kernel may keep ready for us: Java's `SO_BACKLOG`.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed for want of memory or file descriptors: the next one would
/// fail as well.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Between two log lines about that.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The failures of a listener's accepts.
pub struct AcceptFailures {
    what: &'static str,
    told: Option<Instant>,
}

impl AcceptFailures {
    /// Of a listener for `what`, as "a connection".
    pub fn new(what: &'static str) -> Self {
        Self { what, told: None }
    }

    /// Logs the failure, at most every 10 s, and pauses.
    pub async fn pause(&mut self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return; // This peer is gone; the next one can be accepted.
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, "cannot accept {}; trying again every {BACK_OFF:?}", self.what);
        }
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// Listens on `address`; the port may be taken over from a process that has just ended. An
/// unspecified IPv6 address takes IPv4 as well.
///
/// # Errors
/// The address is in use or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    reserve(address)?.listen()
}

/// A port that nobody else can listen on any more, and that refuses connections until it is
/// listened on.
pub struct Reserved(Socket);

impl Reserved {
    /// The address with the port, also where that was left to the system.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Begins to take connections.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)?;
        TcpListener::from_std(self.0.into())
    }
}

/// As [`bind`] without listening, for a process that has much to do before it can serve.
///
/// # Errors
/// The address is in use or not ours.
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

/// Serves connections on the threads of `reactors` until `stop` is cancelled and the last of them
/// has ended (at the latest `limits.grace` later).
pub async fn serve<H: Handler + ?Sized>(
    listener: TcpListener,
    reactors: Arc<Reactors>,
    handler: Arc<H>,
    limits: Limits,
    figures: Arc<Figures>,
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
        if !admission.takes(peer.ip(), &figures) {
            continue;
        }
        let seat = reactors.choose();
        let connection = {
            // Whose events the stream waits for is settled when it is made.
            let _entered = seat.runtime.enter();
            stream
                .into_std()
                .and_then(TcpStream::from_std)
                .and_then(|stream| Connection::new(stream, limits.clone(), Arc::clone(&figures)))
        };
        match connection {
            Ok(connection) => {
                Figures::add(&figures.accepted, 1);
                let (runtime, run) = (seat.runtime.clone(), connection.run(Arc::clone(&handler), stop.clone()));
                connections.spawn_on(
                    async move {
                        run.await;
                        drop(seat);
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
