//! Namesrv, broker and clients over real sockets, in one process: every kind of message from end to
//! end.
//!
//! The servers ([`servers`]) are started once and serve all tests, as a cluster serves many
//! applications; each test has topics and groups of its own. With `CLUSTER_NAMESRV=host:port` the
//! same tests judge servers that run elsewhere, which must be freshly installed; so the tests
//! themselves were tested against Apache RocketMQ's own.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

mod client;
mod expiry;
mod filters;
mod full_disk;
mod health;
mod heartbeats;
mod hostile;
mod lost_master;
mod pulls;
mod registration;
mod replication;
mod servers;
mod tables;
mod transaction;
