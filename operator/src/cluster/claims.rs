//! Volume claims of brokers: they grow, and they are kept from tools that would take them for
//! theirs. Writes the API server.
//!
//! Claims outlive the cluster that they were made for, and hold its messages. The StatefulSet
//! controller makes them; only those that it binds to a pod of a planned set, by their name, are
//! ever written here.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{Status, response::StatusDetails},
};
use serde_json::{Map, Value, json};

use super::{
    apply::Target,
    build::{claim_name, labels},
    observe::{Claim, SetState},
    topology::Set,
};
use crate::{error::Error, kubernetes::quantity::milli_bytes};

/// What growing the volumes came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    /// Claims that are smaller than asked for and were resized.
    pub(crate) growing: Vec<String>,
    /// Claims that the API server will not let grow, and why.
    pub(crate) refused: Vec<String>,
}

impl Target<'_> {
    /// Claims that a pod of a planned set is bound to by its name, the only ones that are ever
    /// written. Not those of a member that is no longer planned: if it comes back, so does its
    /// claim.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&Set, &Claim)> {
        let ours: BTreeMap<String, &Set> = self.cluster.topology.groups.iter().flat_map(claims_of).collect();
        self.observed.claims.iter().filter_map(move |claim| Some((*ours.get(&claim.name)?, claim)))
    }

    /// Size of each disk, in thousandths of a byte.
    pub(super) fn disk(&self) -> Option<u128> {
        milli_bytes(&self.cluster.storage.size)
    }

    /// Tells every smaller claim of ours to grow. Comes before any gate: a full disk keeps brokers
    /// from ever becoming ready. Whether the storage class can is the API server's to say, so no
    /// right to read classes is needed.
    pub(crate) async fn grow_volumes(&self) -> Result<Growth, Error> {
        let mut growth = Growth::default();
        let Some(wanted) = self.disk() else { return Ok(growth) };
        for (_, claim) in self.claims() {
            if claim.requested < Some(wanted) && claim.capacity.is_some() {
                let size = json!({"spec": {"resources": {"requests": {"storage": self.cluster.storage.size}}}});
                match self.patch_claim(claim, size).await? {
                    Patched::Done => growth.growing.push(claim.name.clone()),
                    Patched::Refused(why) => growth.refused.push(format!("{}: {why}", claim.name)),
                    Patched::Gone => {}
                }
            } else if claim.capacity.is_some_and(|capacity| capacity < wanted) {
                growth.growing.push(claim.name.clone());
            }
        }
        Ok(growth)
    }

    /// Gives our claims what `labels` says of them, those of an earlier version and those that the
    /// StatefulSet controller has just made, with its selector's labels. One that may not be
    /// changed is logged; the cluster goes on.
    pub(crate) async fn keep_claims(&self) -> Result<(), Error> {
        for (set, claim) in self.claims() {
            let Some(metadata) = missing(&self.cluster.name, set, claim) else { continue };
            match self.patch_claim(claim, json!({ "metadata": metadata })).await? {
                Patched::Done => tracing::info!(claim = claim.name, "claim is kept from trackers by label"),
                Patched::Refused(why) => {
                    tracing::warn!(claim = claim.name, why, "claim cannot be kept from trackers by label");
                }
                Patched::Gone => {}
            }
        }
        Ok(())
    }

    async fn patch_claim(&self, claim: &Claim, mut patch: Value) -> Result<Patched, Error> {
        // With the uid: one that was made anew since it was read is not written.
        patch["metadata"]["uid"] = json!(claim.uid);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.cluster.namespace);
        match claims.patch(&claim.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(Patched::Done),
            Err(kube::Error::Api(status)) if is_gone(&status) => Ok(Patched::Gone),
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => Ok(Patched::Refused(status.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the pods of a set for the moment in which it is made anew and they have no owner: by
    /// the labels of its selector another tool would take them for its own, as it does claims.
    pub(super) async fn keep_pods(&self, set: &StatefulSet, state: &SetState) -> Result<(), Error> {
        let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
        let selector = selector.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
        let list = ListParams::default().labels(&selector.collect::<Vec<_>>().join(","));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.cluster.namespace);
        for pod in pods.list_metadata(&list).await?.items {
            let ours = pod.owner_references().iter().any(|owner| Some(&owner.uid) == state.uid.as_ref());
            if !ours || pod.annotations().get(labels::SYNC_OPTIONS).is_some_and(|options| keeps(options)) {
                continue;
            }
            let patch = json!({"metadata": {"uid": pod.uid(), "annotations": labels::kept()}});
            match pods.patch_metadata(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if is_gone(&status) => {}
                // An operator under the rights of an earlier chart: what it guards against is rarer
                // than a cluster that is stalled.
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    tracing::warn!(
                        pod = pod.name_any(),
                        why = status.message,
                        "pod cannot be kept from trackers by label"
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Groups with a claim that is older than the cluster: it was kept when an earlier cluster of this
/// name was deleted, and may hold its messages. Claims that this cluster's StatefulSets made are
/// younger. Both times never change, so the answer does not change while such a claim is there,
/// whatever becomes of the status. Times are whole seconds: a claim of the same second is not
/// older.
pub(super) fn stored_before(groups: &[Set], claims: &[Claim], cluster: Option<Timestamp>) -> BTreeSet<String> {
    let older = |claim: &&Claim| claim.kept && claim.created.is_some_and(|created| Some(created) < cluster);
    let old: BTreeSet<&str> = claims.iter().filter(older).map(|claim| claim.name.as_str()).collect();
    let stored = |set: &&Set| claims_of(set).any(|(name, _)| old.contains(name.as_str()));
    groups.iter().filter(stored).map(|set| set.name.clone()).collect()
}

/// The claims that the pods of a set are bound to.
fn claims_of(set: &Set) -> impl Iterator<Item = (String, &Set)> {
    (0..set.members).map(move |ordinal| (claim_name(&set.name, ordinal), set))
}

/// What became of a patch.
enum Patched {
    Done,
    /// The API server will not have it, and why.
    Refused(String),
    /// It is not there, or it is another of the same name.
    Gone,
}

/// Whether a patch with a uid came too late: the object is not there, or another has its name.
pub(super) fn is_gone(status: &Status) -> bool {
    let other_uid = |details: &StatusDetails| details.causes.iter().any(|cause| cause.field == "metadata.uid");
    matches!(status.code, 404 | 409) || status.code == 422 && status.details.as_ref().is_some_and(other_uid)
}

/// What a claim of ours lacks, as a patch of its metadata. Only the label that the StatefulSet
/// controller gave is taken away: another value was set on purpose and stays.
fn missing(cluster: &str, set: &Set, claim: &Claim) -> Option<Value> {
    let mut change = Map::new();
    for (key, value) in labels::of_claims(cluster, set) {
        if claim.labels.get(&key) != Some(&value) {
            change.insert(key, json!(value));
        }
    }
    if claim.labels.get(labels::INSTANCE).is_some_and(|instance| instance == cluster) {
        change.insert(labels::INSTANCE.to_owned(), Value::Null);
    }
    let options = claim.sync_options.as_deref().unwrap_or_default();
    let mut metadata = Map::new();
    if !change.is_empty() {
        metadata.insert("labels".to_owned(), change.into());
    }
    if !keeps(options) {
        metadata.insert("annotations".to_owned(), json!({ labels::SYNC_OPTIONS: kept_too(options) }));
    }
    (!metadata.is_empty()).then(|| metadata.into())
}

/// Whether these options of Argo CD keep an object.
fn keeps(options: &str) -> bool {
    let has = |wanted: &str| options.split(',').any(|option| option.trim() == wanted);
    labels::KEPT.split(',').all(has)
}

/// These options, those that keep among them, and without the opposite of those.
fn kept_too(options: &str) -> String {
    let other = |option: &&str| !option.is_empty() && !option.starts_with("Prune=") && !option.starts_with("Delete=");
    let others = options.split(',').map(str::trim).filter(other);
    others.chain([labels::KEPT]).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_options_of_argo_stay() {
        assert_eq!(kept_too(""), labels::KEPT);
        assert_eq!(kept_too("Prune=true, Replace=true"), "Replace=true,Prune=false,Delete=false");
        assert!(keeps("Delete=false, Replace=true,Prune=false"));
        assert!(!keeps("Prune=false") && !keeps("") && !keeps("Prune=false,Delete=falsely"));
    }
}
