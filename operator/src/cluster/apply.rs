//! Writes a plan: server-side apply under one field manager, ConfigMaps and Services before
//! StatefulSets, orphans last.
//!
//! Fields that we set are taken back by force, on our own children only: an object of a planned
//! name that another made is never written, and what others added to our children beside our fields
//! stays.
//!
//! Order matters: a pod that starts before its ConfigMap waits a minute for the kubelet's next
//! look.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    build::{Plan, TEMPLATE_HASH},
    observe::{ChildKind, Observed, SetState},
    rollout::{self, Gate, Presence},
    validate::Validated,
};
use crate::{error::Error, kubernetes::context::FIELD_MANAGER, process::metrics::Metrics};

/// Where to write.
pub(crate) struct Target<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cluster: &'a Validated,
    pub(crate) observed: &'a Observed,
    pub(crate) metrics: &'a Metrics,
}

impl Target<'_> {
    /// Everything but StatefulSets. The file of a group that waits for its turn stays as it is: a
    /// pod of it that restarts meanwhile must come up as it was, and a bad setting must not reach
    /// more than one group.
    pub(crate) async fn small_children(&self, plan: &Plan, admitted: &[bool]) -> Result<(), Error> {
        self.apply(&plan.service_account).await?;
        let waiting: Vec<String> = plan
            .groups
            .iter()
            .zip(admitted)
            .filter(|(_, admitted)| !**admitted)
            .map(|(set, _)| set.name_any())
            .collect();
        for map in plan.config_maps.iter().filter(|map| !waiting.contains(&map.name_any())) {
            self.apply(map).await?;
        }
        for service in &plan.services {
            self.apply(service).await?;
        }
        for budget in &plan.disruption_budgets {
            self.apply(budget).await?;
        }
        Ok(())
    }

    /// Namesrvs, then the groups that may change now.
    pub(crate) async fn sets(&self, plan: &Plan, admitted: &[bool]) -> Result<(), Error> {
        self.set(&plan.namesrv).await?;
        for (set, _) in plan.groups.iter().zip(admitted).filter(|(_, admitted)| **admitted) {
            self.set(set).await?;
        }
        Ok(())
    }

    /// For each planned group whether it may be written now. `existing` are the groups that were
    /// ever made, `served` says whether one of them was ever opened.
    pub(crate) fn admitted(&self, plan: &Plan, existing: u32, served: bool) -> Vec<bool> {
        let states: Vec<rollout::Group> =
            (0..).zip(&plan.groups).map(|(index, set)| self.rollout_state(set, index < existing)).collect();
        // Pods may be ready although the status that listed open groups was lost.
        let ready = |set: &StatefulSet| self.observed.sets.get(&set.name_any()).is_some_and(|state| state.ready > 0);
        let gate = if !served && !plan.groups.iter().any(ready) {
            Gate::Idle
        } else {
            let namesrv = self.observed.sets.get(&plan.namesrv.name_any());
            match namesrv.is_some_and(|state| state.settled() && state.runs(&plan.namesrv)) {
                true => Gate::Open,
                false => Gate::Shut,
            }
        };
        rollout::admit(gate, &states)
    }

    fn rollout_state(&self, set: &StatefulSet, existed: bool) -> rollout::Group {
        let state = self.observed.sets.get(&set.name_any());
        let here = state.filter(|state| !state.deleting);
        rollout::Group {
            presence: match here {
                Some(_) => Presence::Here,
                None if existed || state.is_some() => Presence::Away,
                None => Presence::New,
            },
            settled: here.is_some_and(SetState::settled) && self.members_are_well(&set.name_any()),
            differs: here.is_some_and(|state| self.only_slaves_differ(&set.name_any(), state)),
            observed: here.is_some_and(|state| state.observed),
            current: here.is_some_and(|state| {
                state.template_hash.as_ref() == set.annotations().get(TEMPLATE_HASH) && !self.outdated(set, state)
            }),
        }
    }

    /// Whether every process of a group takes writes or follows, and is registered everywhere.
    /// Readiness asks less: a broker that one namesrv does not know serves clients, but should that
    /// namesrv be the only one left, they would not find it.
    fn members_are_well(&self, group: &str) -> bool {
        let members = self.observed.members.get(group).map(Vec::as_slice).unwrap_or_default();
        members.iter().all(|member| member.holds_up().is_none())
    }

    /// Whether some slaves of a group have a log that differs from their master's, and nothing else
    /// is amiss. The pods of such slaves are not ready.
    fn only_slaves_differ(&self, group: &str, state: &SetState) -> bool {
        let members = self.observed.members.get(group).map(Vec::as_slice).unwrap_or_default();
        let (differing, others): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.mismatch().is_some());
        let unready = usize::try_from(state.replicas.saturating_sub(state.ready)).unwrap_or(0);
        !differing.is_empty()
            && others.iter().all(|member| member.holds_up().is_none())
            && state.observed
            && unready <= differing.len()
    }

    /// Whether the claims that a set makes are smaller than wanted, or lack a label or an
    /// annotation. What they have beside those is no reason: an admission webhook that adds to
    /// templates would have the set made anew for ever.
    fn outdated(&self, set: &StatefulSet, state: &SetState) -> bool {
        let wanted = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref()?.first());
        wanted.is_some_and(|wanted| {
            state.claim_size < self.disk()
                || lacks(&state.claim_labels, wanted.labels())
                || lacks(&state.claim_annotations, wanted.annotations())
        })
    }

    /// A claim template cannot change, so a StatefulSet whose claims are to be others is deleted
    /// without its pods and made anew around them.
    async fn set(&self, set: &StatefulSet) -> Result<(), Error> {
        let name = set.name_any();
        if let Some(state) = self.observed.sets.get(&name) {
            if state.deleting {
                return Ok(());
            }
            if self.outdated(set, state) {
                self.keep_pods(set, state).await?;
                let delete = DeleteParams {
                    propagation_policy: Some(PropagationPolicy::Orphan),
                    preconditions: Some(Preconditions { uid: state.uid.clone(), resource_version: None }),
                    ..DeleteParams::default()
                };
                tracing::info!(%name, "StatefulSet is recreated and its pods stay: its claim template changed");
                self.api::<StatefulSet>().delete(&name, &delete).await?;
                return Ok(());
            }
        }
        self.apply(set).await
    }

    /// Deletes our children that are no longer planned. StatefulSets of groups never are: removing
    /// one needs a drain first.
    pub(crate) async fn prune(&self, plan: &Plan) -> Result<(), Error> {
        self.prune_kind::<ConfigMap>(&plan.config_maps).await?;
        self.prune_kind::<Service>(&plan.services).await?;
        self.prune_kind::<PodDisruptionBudget>(&plan.disruption_budgets).await?;
        self.prune_kind::<ServiceAccount>(std::slice::from_ref(&plan.service_account)).await
    }

    async fn prune_kind<K>(&self, planned: &[K]) -> Result<(), Error>
    where
        K: ChildKind + Clone + DeserializeOwned + std::fmt::Debug,
    {
        for ((kind, name), child) in &self.observed.children {
            if *kind != K::KIND || !child.owned || planned.iter().any(|object| object.name_any() == *name) {
                continue;
            }
            let delete = DeleteParams {
                preconditions: Some(Preconditions { uid: child.uid.clone(), resource_version: None }),
                ..DeleteParams::default()
            };
            match self.api::<K>().delete(name, &delete).await {
                Ok(_) => tracing::info!(kind, name, "deleted: no longer planned"),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn apply<K>(&self, object: &K) -> Result<(), Error>
    where
        K: ChildKind + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        let name = object.name_any();
        let api = self.api::<K>();
        let known = self.observed.children.get(&(K::KIND, name.clone()));
        let foreign = match known {
            Some(child) => !child.owned,
            None => api.get_metadata_opt(&name).await?.is_some_and(|found| {
                let ours = Some(self.cluster.owner.uid.as_str());
                !found.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == ours)
            }),
        };
        if foreign {
            return Err(Error::Foreign { kind: K::KIND, name });
        }
        let applied = api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await?;
        if applied.resource_version() != known.and_then(|child| child.version.clone()) {
            self.metrics.applied(K::KIND);
        }
        Ok(())
    }

    fn api<K: ChildKind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.cluster.namespace)
    }
}

fn lacks(has: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().any(|(key, value)| has.get(key) != Some(value))
}
