//! The broker process.
//!
//! The way of a message, station by station:
//!
//! ```text
//! rmq-remoting    a frame becomes a command
//!   -> dispatch.rs            code -> handler
//!   -> handler/send.rs        checks, properties, delay or dead letter
//!   -> rmq-store              append, or first to `stalled.rs` where a slow disk has no blocks yet; watermarks say how far disk and slaves are
//!   -> durability.rs          the answer, when it may be given
//!   -> rmq-store (dispatch)   consume queue, index; tells of the arrival
//!   -> long_polling.rs        parked pulls of that queue wake
//!   -> handler/pull.rs        slices of the commit log, written from where they lie
//! ```
//!
//! | room | what |
//! |---|---|
//! | [`config`] | settings by Java's names |
//! | `dispatch`, `handler` | requests |
//! | `topic`, `subscription_group`, `consumer_offset` | the tables that are kept in Java's files |
//! | `connected` | clients, their groups, queue locks |
//! | `stalled`, `durability`, `long_polling` | sends, answers and pulls that wait |
//! | `delay`, `ha`, `registration` | what happens by itself |
//! | `metrics`, `runtime_info`, `stats` | what the broker says of itself |
//! | `start` | building the parts in order, and taking them down |
//!
//! This crate decides per request only in handlers; `start` builds, wires and stops, and nothing else.

mod address;
mod admin;
mod admission;
mod answer;
mod blocking;
mod client;
mod clock;
pub mod config;
mod core;
mod error;
mod feature;
mod filter;
mod group;
mod observe;
mod pull;
mod registration;
mod replication;
mod request;
mod role;
mod rows;
mod send;
mod start;
mod table;
#[cfg(test)]
mod testing;
mod timer;
mod topic;

/// Blocking threads of the runtime that runs a broker: those of requests, and as many for replication, tables, metrics
/// and name lookups. None of this work waits for other work on these threads, so any number is free of deadlocks; more
/// would only take memory.
pub const BLOCKING_THREADS: usize = 64;

pub use config::Config;
pub use error::Error;
pub use start::Broker;
