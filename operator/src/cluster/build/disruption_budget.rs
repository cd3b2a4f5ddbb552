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
            selector: Some(LabelSelector {
                match_labels: Some(labels::selector(&cluster.name, set)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
