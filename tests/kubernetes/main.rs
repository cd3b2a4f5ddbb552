//! Scenarios in a real Kubernetes: kube-apiserver, scheduler, kubelet, containerd, volumes and DNS, none of them simulated.
//!
//! `tests/kubernetes/run` brings a cluster up and runs this program inside the cluster's network, so a scenario may connect to pods and
//! services by name. Alone, `cargo test` leaves these tests out (`ignored`), as they need that cluster. One scenario:
//! `tests/kubernetes/run NAME`; against a cluster that is kept: `tests/kubernetes/up`, then `tests/kubernetes/run --here NAME`.
//!
//! Every scenario has a namespace of its own and so may run beside the others. It waits for conditions, each with a deadline; what the
//! namespace looked like is printed when it fails. Objects are written as YAML in the scenario, where one reads them.

#![allow(clippy::print_stdout, reason = "what a failed scenario left behind is printed beside its failure")]

mod machines;
mod namespace;
