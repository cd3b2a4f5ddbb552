//! Errors of requests between processes.

use std::{io, time::Duration};

/// A request that got no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be opened.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The connection ended before the response came. It is unknown whether the request was carried
    /// out.
    #[error("the connection to {0} was closed")]
    Closed(String),
    /// No response before the timeout. It is unknown whether the request was carried out.
    #[error("{address} did not answer within {timeout:?}")]
    Timeout {
        /// The address of the peer.
        address: String,
        /// The timeout.
        timeout: Duration,
    },
    /// Too much output is pending on this connection; the request was not sent.
    #[error("too many requests or bytes are waiting for {0}")]
    Overloaded(String),
}
