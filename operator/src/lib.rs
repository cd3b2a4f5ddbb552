//! The Kubernetes operator: manifests become clusters, topics and consumer groups.
//!
//! Rooms, from the lowest to the highest. None imports from a higher one, which a test of
//! `tests/house_rules.rs` checks:
//!
//! | module | what | touches |
//! |---|---|---|
//! | [`error`] | why a reconcile, a call or the process failed | nothing |
//! | [`api`] | the kinds that users write, their schema and rules | nothing |
//! | [`manifest`] | manifests from files, judged without a cluster | files |
//! | [`process`] | Lease, port, metrics, watches and the watchdog | API server |
//! | [`brokers`] | what is asked of brokers, over which connections, how often | brokers |
//! | [`kubernetes`] | what reconciles share: client, stores, events | API server |
//! | [`provision`] | topics and consumer groups on brokers | API server, brokers |
//! | [`cluster`] | from a manifest to running brokers | API server, brokers |
//! | [`crds`] | the definitions as YAML | files |
//! | `controllers` | what starts a reconcile | API server |
//! | [`run`] | the order of start and stop | all of the above |
//!
//! `rocketmq operator` is [`run::run`]; `rocketmq crds` prints [`crds::yaml`]; `rocketmq up` reads
//! a manifest with [`manifest::load`], plans it with [`cluster::topology::plan`], opens its groups
//! with [`cluster::open::pass`] and reconciles its topics with [`provision::once`] and
//! [`provision::remove`].
//!
//! Three rules hold everywhere. Judgement is pure: what decides takes values and gives values, and
//! holds no client. State that must survive stands in the status of an object or in the brokers,
//! never in this process. Objects, topics and consumer groups of others are never written.

pub mod api;
pub mod brokers;
pub mod cluster;
mod controllers;
pub mod crds;
pub mod error;
pub mod kubernetes;
pub mod manifest;
pub mod process;
pub mod provision;
pub mod run;
