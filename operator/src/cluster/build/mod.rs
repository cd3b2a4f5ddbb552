//! A validated cluster as Kubernetes objects. Pure: the same cluster always gives the same bytes,
//! whatever the operator's version.
//!
//! One file a kind of object. Every object carries the labels of `labels.rs` and an owner
//! reference, so that Kubernetes removes it with the cluster and `apply` finds what is no longer
//! planned.
//!
//! | object | name | why |
//! |---|---|---|
//! | ServiceAccount | `<c>` | pods run under it; it has no rights and mounts no token |
//! | ConfigMap | `<c>-namesrv`, `<c>-broker-<g>` | the configuration files |
//! | ConfigMap | `<c>-discovery` | addresses for applications |
//! | Service, headless | `<c>-namesrv`, `<c>-broker-<g>` | a DNS name for each pod |
//! | Service | `<c>-namesrv-client` | one address for clients that take only one |
//! | PodDisruptionBudget | `<c>-namesrv`, `<c>-broker-<g>` | evictions take one pod at a time |
//! | StatefulSet | `<c>-namesrv`, `<c>-broker-<g>` | the pods |

mod config_map;
mod disruption_budget;
pub(crate) mod labels;
mod service;
mod stateful_set;
#[cfg(test)]
mod tests;

pub(crate) use stateful_set::claim_name;

use std::collections::BTreeSet;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Service, ServiceAccount},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    topology::{Kind, Set},
    validate::Validated,
};

/// Annotation of a pod template: fingerprint of its configuration file. A changed file thereby
/// changes the template, and pods restart to read it.
pub(crate) const CONFIG_HASH: &str = "rocketmq.rs/config-hash";
/// Annotation of a StatefulSet: fingerprint of its pod template, to tell a rollout from other
/// edits.
pub(crate) const TEMPLATE_HASH: &str = "rocketmq.rs/template-hash";

/// Every object of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) service_account: ServiceAccount,
    pub(crate) config_maps: Vec<ConfigMap>,
    pub(crate) services: Vec<Service>,
    pub(crate) disruption_budgets: Vec<PodDisruptionBudget>,
    pub(crate) namesrv: StatefulSet,
    /// By group index.
    pub(crate) groups: Vec<StatefulSet>,
}

/// What the files of broker groups depend on beside the spec, by the names of groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups<'a> {
    /// Those that may take writes. The others boot readable and not writable, until their topics
    /// are there.
    pub(crate) open: &'a BTreeSet<String>,
    /// Those that may have messages: a master checks its log before it takes writes.
    pub(crate) stored: &'a BTreeSet<String>,
}

/// Builds all objects.
pub(crate) fn build(cluster: &Validated, groups: &Groups<'_>) -> Plan {
    let topology = &cluster.topology;
    let sets = || std::iter::once(&topology.namesrv).chain(&topology.groups);
    let mut config_maps: Vec<ConfigMap> = sets().map(|set| config_map::of_set(cluster, set, groups)).collect();
    config_maps.push(config_map::discovery(cluster));
    let mut services: Vec<Service> = sets().map(|set| service::headless(cluster, set)).collect();
    services.push(service::namesrv_client(cluster));
    Plan {
        service_account: ServiceAccount {
            metadata: metadata(cluster, &cluster.name, None),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        config_maps,
        services,
        disruption_budgets: sets().map(|set| disruption_budget::of_set(cluster, set)).collect(),
        namesrv: stateful_set::of_set(cluster, &topology.namesrv),
        groups: topology.groups.iter().map(|set| stateful_set::of_set(cluster, set)).collect(),
    }
}

/// Addresses of all namesrvs as brokers and clients take them.
pub(crate) fn namesrv_addrs(cluster: &Validated) -> String {
    let set = &cluster.topology.namesrv;
    set.processes()
        .map(|process| format!("{}.{}:{}", process.name, service_domain(cluster, set), set.ports.listen))
        .collect::<Vec<_>>()
        .join(";")
}

/// Domain below which the pods of a set have their names.
pub(crate) fn service_domain(cluster: &Validated, set: &Set) -> String {
    format!("{}.{}.svc.{}", set.name, cluster.namespace, cluster.domain)
}

/// Metadata of a child; with a set, also the set's labels.
fn metadata(cluster: &Validated, name: &str, set: Option<&Set>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(match set {
            Some(set) => labels::of_set(&cluster.name, set),
            None => labels::of_cluster(&cluster.name),
        }),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// File name of a set's configuration.
fn config_file(kind: Kind) -> &'static str {
    match kind {
        Kind::Namesrv => "namesrv.conf",
        Kind::Broker => "broker.conf",
    }
}

/// 64-bit FNV-1a in hex. Its value is part of pod templates, so it must never change: the standard
/// library's hasher may.
pub(crate) fn fingerprint(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}
