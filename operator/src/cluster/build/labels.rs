//! Labels: how the operator, services and people find what belongs to a cluster.
//!
//! Selectors of StatefulSets cannot change, so what stands in `selector` is fixed for all time.
//! Services and budgets select the same pods, so they use it too: a second set of labels on pods
//! would restart every broker once, for nothing.
//!
//! `app.kubernetes.io/instance` is more than a name to tools that keep a namespace as Git says:
//! Argo CD takes what carries it and has no owner for its own, and prunes what Git does not hold.
//! Children and pods have an owner. Volume claims have none, so they are found by labels of our own
//! prefix, are rid of that label (the StatefulSet controller gives them its selector's), and carry
//! an annotation that keeps them even where another tool takes them for its own.

use std::collections::BTreeMap;

use crate::cluster::topology::{Kind, Set};

/// Which operator made an object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by=rocketmq-operator";

/// Index of the broker group that a pod, a claim or a child belongs to.
pub(crate) const GROUP: &str = "rocketmq.rs/group";

/// Name of the cluster that a claim belongs to.
pub(crate) const CLUSTER: &str = "rocketmq.rs/cluster";

/// What trackers take an object for theirs by.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";

/// Annotation that tells Argo CD how to treat an object.
pub(crate) const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Its value for what outlives its owner.
pub(crate) const KEPT: &str = "Prune=false,Delete=false";

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
pub(crate) fn selector(cluster: &str, set: &Set) -> BTreeMap<String, String> {
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

/// Labels of the claims of one set.
pub(crate) fn of_claims(cluster: &str, set: &Set) -> BTreeMap<String, String> {
    let mut labels = pairs(&[(CLUSTER, cluster)]);
    labels.extend(set.group.map(|group| (GROUP.to_owned(), group.to_string())));
    labels
}

/// Annotations of whatever outlives its owner.
pub(crate) fn kept() -> BTreeMap<String, String> {
    pairs(&[(SYNC_OPTIONS, KEPT)])
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

/// Selects the volume claims of a cluster.
pub(crate) fn claims(cluster: &str) -> String {
    format!("{CLUSTER}={cluster}")
}

/// Selects all pods of a cluster, and the claims that have only the labels of their StatefulSet's
/// selector: those of an earlier version, and those that the StatefulSet controller has just made.
pub(crate) fn instance(cluster: &str) -> String {
    format!("app.kubernetes.io/name=rocketmq,{INSTANCE}={cluster}")
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}
