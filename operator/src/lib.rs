//! The Kubernetes operator: manifests become clusters, topics and consumer groups.
//!
//! | room | what | touches |
//! |---|---|---|
//! | [`api`] | the kinds that users write, their schema and rules | nothing |
//! | [`crds`], [`manifest`] | definitions as YAML; manifests from files, judged without a cluster | files |
//! | [`cluster`] | from a manifest to running brokers | API server, brokers |
//! | [`provision`] | topics and consumer groups on brokers | API server, brokers |
//! | [`admin`], [`remote`], [`pool`], [`table`] | what is asked of brokers, over which connections, how often | brokers |
//! | [`run`], [`lease`], [`http`], [`metrics`], [`context`] | the process: leader, ports, figures | API server |
//! | `controllers`, [`watches`], `watchdog` | what starts a reconcile, and what notices that none comes | API server |
//!
//! `rocketmq operator` is [`run::run`]; `rocketmq crds` prints [`crds::yaml`]; `rocketmq up` reads a manifest with
//! [`manifest::load`], plans it with [`cluster::topology::plan`], opens its groups with [`cluster::open::pass`] and makes its topics
//! true with [`provision::once`] and [`provision::remove`].
//!
//! Three rules hold everywhere. Judgement is pure: what decides takes values and gives values, and holds no client. State that
//! must survive stands in the status of an object or in the brokers, never in this process. Nobody else's objects, topics or
//! consumer groups are ever written.

pub mod admin;
pub mod api;
pub mod cluster;
pub mod context;
mod controllers;
pub mod crds;
pub mod error;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod fake_api;
pub mod http;
pub mod lease;
pub mod manifest;
pub mod metrics;
pub mod pool;
pub mod provision;
mod quantity;
pub mod reference;
pub mod remote;
pub mod run;
pub mod table;
mod watchdog;
pub mod watches;
