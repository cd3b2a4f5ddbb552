//! Scenarios in a real Kubernetes: kube-apiserver, scheduler, kubelet, containerd, volumes and DNS,
//! none of them simulated.
//!
//! `tests/kubernetes/run` brings a cluster up and runs this program inside the cluster's network,
//! so a scenario may connect to pods and services by name. Alone, `cargo test` leaves these tests
//! out (`ignored`), as they need that cluster. One scenario: `tests/kubernetes/run NAME`; against a
//! cluster that is kept: `tests/kubernetes/up`, then `tests/kubernetes/run --here NAME`.
//!
//! | file | what it shows |
//! |---|---|
//! | `machines.rs` | that the cluster itself works, without RocketMQ |
//! | `clusters.rs` | both charts, official clients by name and by address, manifests that are refused |
//! | `provisioning.rs` | topics and consumer groups equal their manifests |
//! | `claims.rs` | volume claims are kept, and those of others are left alone |
//! | `scaling.rs` | a cluster grows while operators come and go |
//! | `faults.rs` | brokers die, or are edited, under load, and the ledger of an official client says what was lost |
//! | `deletion.rs` | namespaces end, in whatever order their objects go |
//! | `permissions.rs` | the operator has the rights that its chart grants, enough and no more |
//!
//! Every scenario has a namespace of its own and so may run beside the others. It waits for
//! conditions, each with a deadline; what the namespace looked like is printed when it fails.
//! Objects are written as YAML in the scenario, where one reads them.

#![allow(clippy::print_stdout, reason = "what a failed scenario left behind is printed beside its failure")]

mod brokers;
mod claims;
mod clusters;
mod deletion;
mod faults;
mod judges;
mod machines;
mod namespace;
mod operator;
mod permissions;
mod processes;
mod provisioning;
mod scaling;
