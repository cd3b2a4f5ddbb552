//! Ports for servers that have to be told one, or that come back to theirs.
//!
//! A port that was found free and let go may be somebody else's when the server comes to it: a test
//! waited 90 s in vain for a server that had none. So a port is bound here, and not listened on,
//! until the test's process ends. The system gives it to nobody else then, and a server that reuses
//! addresses, as ours do, can listen there, again and again.

use std::net::SocketAddr;
use tokio::net::TcpSocket;

/// A port with those that a broker has beside it: two below it for the VIP channel, one above it
/// for slaves.
pub(crate) fn free_port() -> u16 {
    let whole = |port: u16| {
        let beside = [port.checked_sub(2)?, port.checked_add(1)?];
        // Without reuse, which tells whether another test has it.
        beside.iter().all(|port| bind(*port, false).is_some()).then_some(())?;
        beside.iter().try_for_each(|port| bind(*port, true).map(std::mem::forget))
    };
    for _ in 0..1000 {
        if let Some(socket) = bind(0, true)
            && let Ok(address) = socket.local_addr()
            && whole(address.port()).is_some()
        {
            // Until the process ends.
            std::mem::forget(socket);
            return address.port();
        }
    }
    panic!("no three free ports lie together on this machine")
}

fn bind(port: u16, reuse: bool) -> Option<TcpSocket> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(reuse).ok()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).ok().map(|()| socket)
}
