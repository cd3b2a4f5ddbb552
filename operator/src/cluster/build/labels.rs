//! Labels: how the operator, services and people find what belongs to a cluster.
//!
//! Selectors of StatefulSets cannot change, so what stands in `selector` is fixed for all time.

use std::collections::BTreeMap;

use crate::cluster::topology::{Kind, Set};

/// Who made an object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by=rocketmq-operator";

/// Index of the broker group that a pod, a claim or a child belongs to.
pub(crate) const GROUP: &str = "rocketmq.rs/group";

/// Labels of a child that belongs to the cluster as a whole.
pub(super) fn of_cluster(cluster: &str) -> BTreeMap<String, String> {
    pairs(&[
        ("app.kubernetes.io/name", "rocketmq"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/managed-by", "rocketmq-operator"),
    ])
}

/// Labels of a child that belongs to one set.
pub(super) fn of_set(cluster: &str, set: &Set) -> BTreeMap<String, String> {
    let mut labels = of_cluster(cluster);
    labels.extend(selector(cluster, set));
    labels
}

/// What selects the pods of one set, and no other's.
pub(super) fn selector(cluster: &str, set: &Set) -> BTreeMap<String, String> {
    let mut labels = pairs(&[
        ("app.kubernetes.io/name", "rocketmq"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/component", set.kind.as_str()),
    ]);
    if let Some(group) = set.group {
        labels.insert(GROUP.to_owned(), group.to_string());
    }
    labels
}

/// Selects every child of a cluster.
pub(crate) fn children(cluster: &str) -> String {
    format!("app.kubernetes.io/name=rocketmq,app.kubernetes.io/instance={cluster},{MANAGED_BY}")
}

/// Selects the broker pods of a cluster, for the scale subresource.
pub(crate) fn broker_pods(cluster: &str) -> String {
    let component = Kind::Broker.as_str();
    format!(
        "app.kubernetes.io/name=rocketmq,app.kubernetes.io/instance={cluster},app.kubernetes.io/component={component}"
    )
}

/// Selects all pods and volume claims of a cluster.
pub(crate) fn instance(cluster: &str) -> String {
    format!("app.kubernetes.io/name=rocketmq,app.kubernetes.io/instance={cluster}")
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}
