//! What all reconciles share on the side of Kubernetes: the client, objects as watches see them,
//! events, quantities.
//!
//! May touch the API server, to which it publishes events. Holds the connections to brokers for the
//! reconciles, and judges no object.

pub mod context;
#[cfg(test)]
pub(crate) mod fake_api;
pub(crate) mod quantity;
