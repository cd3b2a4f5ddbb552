//! Addresses of this machine, and name resolution.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// The first address that is not loopback: IPv4 before IPv6, as Java's broker chooses. A machine
/// without such an address can only reach itself.
pub(crate) fn first_of_this_machine() -> IpAddr {
    let addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .collect();
    addresses.iter().find(|ip| ip.is_ipv4()).or(addresses.first()).copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The address to store in records for an advertised address that may be a name. A name that does
/// not resolve yet (a pod's, before its service has it) becomes the first address of the machine.
/// Message ids then still lead to this broker.
pub(crate) fn stored_host(advertised: &str, port: u16) -> SocketAddr {
    let resolved = (advertised, port).to_socket_addrs().ok().and_then(|found| {
        let found: Vec<_> = found.collect();
        found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
    });
    resolved.unwrap_or_else(|| SocketAddr::new(first_of_this_machine(), port))
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) fn join(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}
