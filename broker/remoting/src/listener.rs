//! Accepting connections.

use crate::{Connection, Figures, Handler, Limits, Reactors, log_limit};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections the kernel may keep ready for us: Java's `SO_BACKLOG`.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed for want of memory or file descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Listens on `address`; the port may be taken over from a process that has just ended. An unspecified IPv6 address takes IPv4 as well.
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

/// Serves connections on the threads of `reactors` until `stop` is cancelled and the last of them has ended (at the latest `limits.grace` later).
pub async fn serve<H: Handler + ?Sized>(
    listener: TcpListener,
    reactors: Arc<Reactors>,
    handler: Arc<H>,
    limits: Limits,
    figures: Arc<Figures>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; waiting a little");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        // The figure is shared by the listeners of a process, so the cap is theirs together.
        if figures.connections.load(Relaxed) >= limits.connections {
            Figures::add(&figures.refused, 1);
            if log_limit::TOO_MANY.admits() {
                tracing::warn!(%peer, limit = limits.connections, "too many connections; closing a new one");
            }
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
