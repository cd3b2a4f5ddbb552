//! What can go wrong between two processes.

use std::{io, time::Duration};

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be opened.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// To whom.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection ended before the answer came. Whether the request was carried out is unknown.
    #[error("the connection to {0} was closed")]
    Closed(String),
    /// No answer in time. Whether the request was carried out is unknown.
    #[error("{address} did not answer within {timeout:?}")]
    Timeout {
        /// Who.
        address: String,
        /// The time that was given.
        timeout: Duration,
    },
    /// Too much is waiting on this connection already; the request was not sent.
    #[error("too many requests or bytes are waiting for {0}")]
    Overloaded(String),
}
