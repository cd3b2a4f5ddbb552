//! What keeps the process itself going and makes it observable: the Lease, the port for health and
//! metrics, the state of each watch, and the watchdog over watches and controllers.
//!
//! May touch the API server (its Lease) and its own port. Knows no kind of object and no broker.

pub mod http;
mod jitter;
pub mod lease;
pub mod metrics;
mod options;
pub(crate) mod watchdog;
pub mod watches;

pub use jitter::jittered;
pub use options::Options;
