//! Accepting connections.

use crate::{Connection, Figures, Handler, Limits};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::net::TcpListener;
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
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves connections until `stop` is cancelled and the last of them has ended (at the latest `limits.grace` later).
pub async fn serve<H: Handler + ?Sized>(
    listener: TcpListener,
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
            tracing::warn!(%peer, limit = limits.connections, "too many connections; closing a new one");
            continue;
        }
        match Connection::new(stream, limits.clone(), Arc::clone(&figures)) {
            Ok(connection) => {
                Figures::add(&figures.accepted, 1);
                connections.spawn(connection.run(Arc::clone(&handler), stop.clone()));
            }
            Err(error) => tracing::debug!(%peer, %error, "a connection ended before it began"),
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}
