//! Addresses in settings and options: `host:port`, where the host is a name, an IPv4 address, or an
//! IPv6 address.
//!
//! Only the form is checked. A name is not resolved: a pod's name has no address before its
//! Kubernetes service does.

use std::net::{IpAddr, Ipv4Addr};

/// Most bytes of a DNS name.
const LONGEST_NAME: usize = 253;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// A host alone.
    #[error("{0:?} has no port")]
    NoPort(String),
    /// A port alone.
    #[error("{0:?} has no host")]
    NoHost(String),
    /// Another separator than Java's.
    #[error("{0:?} is more than one address: ';' stands between them, not ','")]
    Comma(String),
    /// A comment after the value, which is not recognised as one.
    #[error(
        "{0:?} is not an address: in a properties file what follows a value is part of it, so put \
         the comment on its own line"
    )]
    Comment(String),
    /// The text after the last colon.
    #[error("the port {port:?} of {address:?} is not a number from 1 to 65535")]
    Port {
        /// The whole text.
        address: String,
        /// The text in the place of the port.
        port: String,
    },
    /// Digits and dots that are not an IPv4 address.
    #[error("{0:?} is not an IPv4 address: it has four numbers from 0 to 255")]
    Ipv4(String),
    /// Neither an address nor a name.
    #[error(
        "{0:?} is neither an IP address nor a host name: a name has letters, digits, '.', '-' and '_', 253 at most"
    )]
    Host(String),
}

/// The addresses of a list that `;` separates. Empty parts are skipped, as Java skips the one at
/// the end.
///
/// # Errors
/// The first part that is not `host:port`; [`AddressError::Empty`] if there is no part at all.
pub fn parse_list(list: &str) -> Result<Vec<&str>, AddressError> {
    let addresses: Vec<&str> = list.split(';').map(str::trim).filter(|address| !address.is_empty()).collect();
    if addresses.is_empty() {
        return Err(AddressError::Empty);
    }
    addresses.iter().try_for_each(|address| check(address))?;
    Ok(addresses)
}

/// Checks one `host:port`.
///
/// # Errors
/// Any of [`AddressError`].
pub fn check(address: &str) -> Result<(), AddressError> {
    let of_it = || address.to_owned();
    if address.is_empty() {
        return Err(AddressError::Empty);
    }
    if has_comment(address) {
        return Err(AddressError::Comment(of_it()));
    }
    if address.contains(',') {
        return Err(AddressError::Comma(of_it()));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(|| AddressError::NoPort(of_it()))?;
    if host.is_empty() {
        return Err(AddressError::NoHost(of_it()));
    }
    check_host(host)?;
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err(AddressError::Port { address: of_it(), port: port.to_owned() }),
    }
}

/// Checks a host: an IP address, or a possible name.
///
/// # Errors
/// [`AddressError::Empty`], [`AddressError::Comment`], [`AddressError::Ipv4`] or
/// [`AddressError::Host`].
pub fn check_host(host: &str) -> Result<(), AddressError> {
    if host.is_empty() {
        return Err(AddressError::Empty);
    }
    if has_comment(host) {
        return Err(AddressError::Comment(host.to_owned()));
    }
    if ip(host).is_some() {
        return Ok(());
    }
    // No top-level domain is a number, and resolvers read such a text as an address.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) && host.contains('.') {
        return Err(AddressError::Ipv4(host.to_owned()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let legal = name.len() <= LONGEST_NAME
        && name.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
    if legal { Ok(()) } else { Err(AddressError::Host(host.to_owned())) }
}

/// The IP address of a host, if it is one: brackets and the zone of an IPv6 address are ignored.
pub fn ip(host: &str) -> Option<IpAddr> {
    if let Ok(number) = host.parse::<Ipv4Addr>() {
        return Some(number.into());
    }
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let number = inner.split_once('%').map_or(inner, |(number, _)| number);
    number.parse().ok().filter(IpAddr::is_ipv6)
}

/// A `#` after a blank: a comment was intended.
pub fn has_comment(value: &str) -> bool {
    value.contains(" #") || value.contains("\t#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_and_each_address_checked() {
        assert_eq!(parse_list("a:1; [::1]:9876 ;"), Ok(vec!["a:1", "[::1]:9876"]));
        for valid in ["namesrv_0.mq.svc.cluster.local:9876", "127.0.0.1:1", "::1:9876", "[fe80::1%eth0]:65535", "h.:2"]
        {
            assert_eq!(parse_list(valid), Ok(vec![valid]));
        }
        for (wrong, expected) in [
            ("", "it is empty"),
            (";", "it is empty"),
            ("foo", "\"foo\" has no port"),
            ("a:1;bar", "\"bar\" has no port"),
            (":9876", "has no host"),
            ("a:b", "the port \"b\" of \"a:b\" is not a number from 1 to 65535"),
            ("127.0.0.1:99999", "the port \"99999\" of \"127.0.0.1:99999\" is not a number from 1 to 65535"),
            ("a:0", "the port \"0\""),
            ("a:+1", "the port \"+1\""),
            ("127.0.0.1:9876,127.0.0.1:9877", "';' stands between them, not ','"),
            ("127.0.0.1:9876 # x", "put the comment on its own line"),
            ("300.1.1.1:9876", "\"300.1.1.1\" is not an IPv4 address"),
            ("1.2.3:9876", "is not an IPv4 address"),
            ("http://a:9876", "neither an IP address nor a host name"),
            ("a b:9876", "neither an IP address nor a host name"),
        ] {
            let refused = parse_list(wrong).unwrap_err().to_string();
            assert!(refused.contains(expected), "{wrong}: {refused}");
        }
    }
}
