//! What all reconciles share on the side of Kubernetes: the client, objects as watches see them,
//! events, quantities.
//!
//! May touch the API server, which it tells events. Knows of no kind of object what it means.

pub mod context;
#[cfg(test)]
pub(crate) mod fake_api;
pub(crate) mod quantity;
