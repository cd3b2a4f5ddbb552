//! What is there: children, pods and volumes from the API server, brokers from a namesrv. Reads
//! only, and no judgement.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use serde::de::DeserializeOwned;

use super::{
    build::{TEMPLATE_HASH, labels},
    members::Member,
};
use crate::{
    brokers::admin::{self, Broker},
    kubernetes::quantity::milli_bytes,
};

/// A child that carries our labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    /// Whether this cluster owns it.
    pub(crate) owned: bool,
}

/// A StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetState {
    pub(crate) uid: Option<String>,
    /// Fingerprint of its pod template as last applied.
    pub(crate) template_hash: Option<String>,
    pub(crate) replicas: i32,
    pub(crate) ready: i32,
    pub(crate) updated: i32,
    /// Whether the StatefulSet controller has seen the last change.
    pub(crate) observed: bool,
    /// Size in its claim template, in thousandths of a byte.
    pub(crate) claim_size: Option<u128>,
    /// Labels in its claim template.
    pub(crate) claim_labels: BTreeMap<String, String>,
    /// Annotations in its claim template.
    pub(crate) claim_annotations: BTreeMap<String, String>,
    /// Orphaned and about to be made anew.
    pub(crate) deleting: bool,
}

impl SetState {
    /// All pods are ready and run the present template.
    pub(crate) fn settled(&self) -> bool {
        self.observed && !self.deleting && self.ready >= self.replicas && self.updated >= self.replicas
    }

    /// Its template and its count of pods are the wanted ones.
    pub(crate) fn runs(&self, wanted: &StatefulSet) -> bool {
        let replicas = wanted.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        self.template_hash.as_ref() == wanted.annotations().get(TEMPLATE_HASH) && self.replicas == replicas
    }
}

/// A volume claim that carries our labels. They prove nothing: whether it is ours, its name says
/// (`build::claim_name`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// What its annotation says to Argo CD.
    pub(crate) sync_options: Option<String>,
    /// When it was made.
    pub(crate) created: Option<Timestamp>,
    /// Whether it stays whatever becomes of StatefulSets and pods: it has no owner and is not being
    /// deleted.
    pub(crate) kept: bool,
    /// Asked for, in thousandths of a byte.
    pub(crate) requested: Option<u128>,
    /// Present size; `None` until it is bound.
    pub(crate) capacity: Option<u128>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Observed {
    /// By kind and name.
    pub(crate) children: BTreeMap<(&'static str, String), Child>,
    /// By name, those that this cluster owns. What another made under our labels stands among the
    /// children only.
    pub(crate) sets: BTreeMap<String, SetState>,
    pub(crate) claims: Vec<Claim>,
    /// Why pods are not ready, one sentence a pod.
    pub(crate) problems: Vec<String>,
    /// Registered brokers; `None` when there is no namesrv to ask.
    pub(crate) brokers: Option<admin::Result<Vec<Broker>>>,
    /// What broker processes say of themselves, by the name of their group; only of groups that may
    /// have one running.
    pub(crate) members: BTreeMap<String, Vec<Member>>,
}

/// Kinds of children as text, for maps and metrics.
pub(crate) trait ChildKind: Resource<DynamicType = (), Scope = NamespaceResourceScope> {
    const KIND: &'static str;
}

macro_rules! child_kinds {
    ($($kind:ident),*) => { $(impl ChildKind for $kind { const KIND: &'static str = stringify!($kind); })* };
}
child_kinds!(ServiceAccount, ConfigMap, Service, PodDisruptionBudget, StatefulSet);

/// Reads everything of a cluster but its brokers.
pub(crate) async fn kubernetes(client: &Client, namespace: &str, cluster: &str, uid: &str) -> kube::Result<Observed> {
    let children = labels::children(cluster);
    let list = ListParams::default().labels(&children);
    // What Kubernetes makes from our templates carries their labels, but not the label of the
    // operator.
    let made = ListParams::default().labels(&labels::instance(cluster));
    let marked = ListParams::default().labels(&labels::claims(cluster));
    let (accounts, maps, services, budgets, sets, claims, unmarked) = futures::try_join!(
        metadata::<ServiceAccount>(client, namespace, &list, uid),
        metadata::<ConfigMap>(client, namespace, &list, uid),
        metadata::<Service>(client, namespace, &list, uid),
        metadata::<PodDisruptionBudget>(client, namespace, &list, uid),
        objects::<StatefulSet>(client, namespace, &list),
        objects::<PersistentVolumeClaim>(client, namespace, &marked),
        objects::<PersistentVolumeClaim>(client, namespace, &made),
    )?;
    // One that has just been given the labels of the one kind may still have those of the other.
    let claims: BTreeMap<String, Claim> =
        unmarked.iter().chain(&claims).map(|found| (found.name_any(), claim(found))).collect();
    let states: BTreeMap<String, SetState> =
        sets.iter().filter(|set| owned_by(*set, uid)).map(|set| (set.name_any(), state(set))).collect();
    let problems = if states.values().all(SetState::settled) {
        Vec::new()
    } else {
        let pods = objects::<Pod>(client, namespace, &made).await?;
        pods.iter().filter_map(problem).collect()
    };
    let set_children = sets.iter().map(|set| child(set, uid));
    Ok(Observed {
        children: [accounts, maps, services, budgets].into_iter().flatten().chain(set_children).collect(),
        sets: states,
        claims: claims.into_values().collect(),
        problems,
        brokers: None,
        members: BTreeMap::new(),
    })
}

async fn objects<K>(client: &Client, namespace: &str, list: &ListParams) -> kube::Result<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    Ok(Api::<K>::namespaced(client.clone(), namespace).list(list).await?.items)
}

async fn metadata<K>(
    client: &Client,
    namespace: &str,
    list: &ListParams,
    uid: &str,
) -> kube::Result<Vec<((&'static str, String), Child)>>
where
    K: ChildKind + Clone + std::fmt::Debug + DeserializeOwned,
{
    let found = Api::<K>::namespaced(client.clone(), namespace).list_metadata(list).await?;
    Ok(found.items.iter().map(|object: &PartialObjectMeta<K>| child_of(K::KIND, object, uid)).collect())
}

fn child<K: ChildKind>(object: &K, uid: &str) -> ((&'static str, String), Child) {
    child_of(K::KIND, object, uid)
}

fn child_of(kind: &'static str, object: &impl Resource, uid: &str) -> ((&'static str, String), Child) {
    let owned = owned_by(object, uid);
    ((kind, object.name_any()), Child { uid: object.uid(), version: object.resource_version(), owned })
}

fn owned_by(object: &impl Resource, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid)
}

fn state(set: &StatefulSet) -> SetState {
    let spec = set.spec.as_ref();
    let status = set.status.as_ref();
    let template = spec.and_then(|spec| spec.volume_claim_templates.as_ref()?.first());
    let size = template
        .and_then(|template| template.spec.as_ref()?.resources.as_ref()?.requests.as_ref())
        .and_then(|requests| milli_bytes(&requests.get("storage")?.0));
    SetState {
        uid: set.uid(),
        template_hash: set.annotations().get(TEMPLATE_HASH).cloned(),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        // A set that never rolled may lack the count: then the pods of its one revision are counted
        // as current. Not all of its pods: those that a set was made anew around may run an older
        // revision than the only one it knows.
        updated: status.map_or(0, |status| {
            let uniform = status.current_revision == status.update_revision;
            let current = status.current_replicas.filter(|_| uniform).unwrap_or(0);
            status.updated_replicas.unwrap_or(0).max(current)
        }),
        observed: status.and_then(|status| status.observed_generation) == set.metadata.generation,
        claim_size: size,
        claim_labels: template.map(|template| template.labels().clone()).unwrap_or_default(),
        claim_annotations: template.map(|template| template.annotations().clone()).unwrap_or_default(),
        deleting: set.metadata.deletion_timestamp.is_some(),
    }
}

fn claim(claim: &PersistentVolumeClaim) -> Claim {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
    Claim {
        name: claim.name_any(),
        uid: claim.uid(),
        labels: claim.labels().clone(),
        sync_options: claim.annotations().get(labels::SYNC_OPTIONS).cloned(),
        created: claim.metadata.creation_timestamp.as_ref().map(|time| time.0),
        kept: claim.owner_references().is_empty() && claim.metadata.deletion_timestamp.is_none(),
        requested: requests.and_then(|requests| milli_bytes(&requests.get("storage")?.0)),
        capacity: capacity.and_then(|capacity| milli_bytes(&capacity.get("storage")?.0)),
    }
}

/// Why a pod is not ready: what the scheduler, the kubelet or the process's own last lines say.
fn problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let condition = |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    if condition("Ready").is_some_and(|ready| ready.status == "True") {
        return None;
    }
    if let Some(unscheduled) = condition("PodScheduled").filter(|scheduled| scheduled.status == "False") {
        return Some(format!("{}: {}", pod.name_any(), unscheduled.message.clone().unwrap_or_default()));
    }
    for container in status.container_statuses.iter().flatten() {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
        if let Some(ended) = ended.filter(|_| reason == "CrashLoopBackOff" || reason.is_empty()) {
            let last =
                ended.message.as_deref().map(str::trim).and_then(|text| text.lines().last()).unwrap_or("no message");
            return Some(format!("{}: exited with {} ({last})", pod.name_any(), ended.exit_code));
        }
        if !reason.is_empty() && reason != "ContainerCreating" && reason != "PodInitializing" {
            let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
            return Some(format!("{}: {reason} {message}", pod.name_any()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p-0"}, "status": status})).unwrap()
    }

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let crash = json!({"containerStatuses": [{
            "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "message": "starting\nfileReservedTme is no key, did you mean fileReservedTime\n"}},
        }]});
        assert_eq!(
            problem(&pod(crash)).unwrap(),
            "p-0: exited with 1 (fileReservedTme is no key, did you mean fileReservedTime)"
        );
        let pull = json!({"containerStatuses": [{
            "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}},
        }]});
        assert_eq!(problem(&pod(pull)).unwrap(), "p-0: ImagePullBackOff not found");
        let unscheduled =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]});
        assert_eq!(problem(&pod(unscheduled)).unwrap(), "p-0: 0/1 nodes are available");
        assert_eq!(problem(&pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}))), None);
    }

    #[test]
    fn a_set_is_settled_when_the_controller_has_seen_it_and_every_pod_is_new_and_ready() {
        let set = |generation: i64, status: Value| -> SetState {
            let object = json!({
                "metadata": {"name": "s", "generation": generation},
                "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": status,
            });
            state(&serde_json::from_value(object).unwrap())
        };
        let fine = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2});
        assert!(set(1, fine.clone()).settled());
        assert!(!set(2, fine).settled(), "a change that was not seen yet");
        let rolling = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"});
        assert!(!set(1, rolling).settled());
        let uniform = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "currentReplicas": 2, "currentRevision": "a", "updateRevision": "a"});
        assert!(set(1, uniform).settled());
    }

    /// A set that was made anew with another template knows one revision only, and none of its pods
    /// runs it yet.
    #[test]
    fn a_set_made_anew_around_old_pods_is_not_settled() {
        let object = json!({
            "metadata": {"name": "s", "generation": 1}, "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "currentRevision": "b", "updateRevision": "b"},
        });
        let state = state(&serde_json::from_value(object).unwrap());
        assert_eq!((state.updated, state.settled()), (0, false));
    }
}
