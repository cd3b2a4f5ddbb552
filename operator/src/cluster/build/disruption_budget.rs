//! One budget a set: a node drain takes one member at a time and waits until it is back.
//!
//! It binds evictions only; the order of rollouts is the StatefulSet's and `rollout.rs`'s.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{labels, metadata};
use crate::cluster::{topology::Set, validate::Validated};

pub(super) fn of_set(cluster: &Validated, set: &Set) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(cluster, &set.name, Some(set)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            // A pod that is not ready may always be evicted. By default it may not while the set is
            // below its budget, and a broker that crashes, or waits for a namesrv, then keeps
            // `kubectl drain` waiting until its timeout.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            selector: Some(LabelSelector {
                match_labels: Some(labels::selector(&cluster.name, set)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fixtures::validated;

    /// One pod at a time, of this set and of no other: the selector is that of the StatefulSet.
    #[test]
    fn a_drain_takes_one_member_of_a_set_at_a_time() {
        let cluster = validated(json!({"brokers": {"groups": 2}}));
        let sets: Vec<&Set> = std::iter::once(&cluster.topology.namesrv).chain(&cluster.topology.groups).collect();
        let mut selectors = Vec::new();
        for set in &sets {
            let budget = of_set(&cluster, set);
            assert_eq!(budget.metadata.name.as_deref(), Some(set.name.as_str()));
            assert_eq!(budget.metadata.owner_references, Some(vec![cluster.owner.clone()]));
            let spec = serde_json::to_value(budget.spec.unwrap()).unwrap();
            let selects = json!(labels::selector(&cluster.name, set));
            // Without it a drain hung for as long as a broker was not ready.
            let wanted = json!({
                "maxUnavailable": 1, "selector": {"matchLabels": selects}, "unhealthyPodEvictionPolicy": "AlwaysAllow",
            });
            assert_eq!(spec, wanted);
            let pods =
                super::super::stateful_set::of_set(&cluster, set).spec.unwrap().template.metadata.unwrap().labels;
            let pods = pods.unwrap();
            assert!(
                selects
                    .as_object()
                    .unwrap()
                    .iter()
                    .all(|(key, value)| pods.get(key).map(String::as_str) == value.as_str())
            );
            selectors.push(selects.to_string());
        }
        selectors.sort();
        selectors.dedup();
        assert_eq!(selectors.len(), sets.len(), "no two sets share a budget");
    }
}
