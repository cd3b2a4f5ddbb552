//! Requests that no official client sends, and data that no broker of this version wrote: what they
//! may not do to others.

mod creation;
mod delay;
mod filters;
mod floods;
mod generated;
mod joins;
mod names;
mod numbers;
mod parked;
pub(crate) mod peer;
mod replication_stream;
mod scans;
mod unserved;
pub(crate) mod wire;
