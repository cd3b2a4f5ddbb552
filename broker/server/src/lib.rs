//! The broker process.
//!
//! The path of a message:
//!
//! ```text
//! rmq-remoting                  a frame becomes a command
//! -> request/decode.rs          a typed request, decoded once
//! -> request/mod.rs             the feature and the lane that it runs in
//! -> send/{mod,prepare}.rs      checks, queue, properties, delay level or dead letter
//! -> send/{one,batch}.rs        the record, or several; appended to rmq-store
//!    (no blocks) send/stalled.rs    waits in a bounded queue, then appends
//! -> send/durability.rs         waits until disk and slaves have what the settings require
//! -> request/response.rs         response code and frame of the outcome
//!
//! rmq-store (dispatch)          consume queue and index; reports the arrival
//! -> pull/long_polling.rs       parked pulls of that queue are woken
//! -> pull/mod.rs                slices of the commit log, not copied
//! -> request/response.rs
//! ```
//!
//! Modules, from the lowest to the highest. None imports from a higher one, which a test of
//! `tests/house_rules.rs` checks:
//!
//! | module | what |
//! |---|---|
//! | [`config`] | settings by Java's names, delay levels among them |
//! | [`address`], [`clock`], [`error`] | addresses, time of day, refusals |
//! | [`rows`], [`table`] | tables that are kept in Java's files |
//! | [`response`], [`admission`], [`blocking`] | the right to respond, limits of requests, blocking work |
//! | [`role`], [`metrics_page`], [`feature`] | master or slave; the text of a scrape; the interface of a feature |
//! | [`observe`] | counters and rates |
//! | [`filter`] | which messages a subscription matches, by tags or SQL92 |
//! | [`topic`], [`registration`], [`group`] | topics; namesrvs; groups, their members, offsets and locks |
//! | [`timer`] | delayed delivery |
//! | [`transaction`] | transaction messages |
//! | `core` | dependencies that several features share |
//! | [`replication`] | master and slave, comparison of logs, the check before writes |
//! | [`client`], [`send`], [`pull`], [`admin`] | requests, one module for each kind |
//! | [`request`] | from a frame to its response: decoding, lanes, response codes |
//! | [`start`] | the list of features; order of start and stop |
//!
//! A feature takes typed requests and gives typed outcomes. Only [`request`] knows response codes.
//! A feature's background tasks and metrics are its implementation of [`feature::Feature`];
//! `start/features.rs` lists the features.

mod address;
mod admin;
mod admission;
mod blocking;
mod client;
mod clock;
pub mod config;
mod core;
mod error;
mod feature;
mod filter;
mod group;
mod metrics_page;
mod observe;
mod pull;
mod registration;
mod replication;
mod request;
mod response;
mod role;
mod rows;
mod send;
mod start;
mod table;
#[cfg(test)]
mod testing;
mod timer;
mod topic;
mod transaction;

/// The number of blocking threads of the runtime that runs a broker: those of requests, and as many
/// for replication, tables, metrics and name lookups. None of this work waits for other work on
/// these threads, so any number is free of deadlocks. A higher number would only take memory.
pub const BLOCKING_THREADS: usize = 64;

pub use config::Config;
pub use error::Error;
pub use filter::sql::{Expression, Fault, ParseError, Truth};
pub use start::Broker;
