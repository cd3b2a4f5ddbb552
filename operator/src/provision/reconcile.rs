//! The life of a topic or consumer group object.
//!
//! The cluster it names may be absent, going, not seen, not there yet, silent or well; each has its
//! own answer, and in the first two a finalizer lets go by itself, so that namespaces and clusters
//! delete in any order. Absent is what the API server says is not there: one that is only not seen
//! (its namespace is not watched, it cannot be read) may hold what is to be deleted. Of several
//! objects that name one thing the oldest wins and the others say so; when it goes, the next takes
//! over and nothing is deleted in between. An object whose namespace the cluster does not admit is
//! none of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
    runtime::{controller::Action, events::EventType},
};
use serde_json::{Value, json};

use super::{
    OnBroker, Provisioned, Record, Removal,
    decide::{Decision, decide, list},
    remove,
};
use crate::{
    api::{
        ABANDON_ANNOTATION, DeletionPolicy, Management, RocketMQCluster,
        cluster::group_name,
        condition::{self, Judgement, Kind, Status},
        reference::{self, ClusterKey},
    },
    brokers::{
        admin::{Admin, Broker},
        pool::{INVENTORY_AGE, Inventory, PERIOD, Unavailable},
    },
    error::{AdminError, Error},
    kubernetes::context::{Context, FIELD_MANAGER, Stores, key, paused},
    process::jittered,
};

/// How soon to check whether brokers did what they were asked: they mostly have.
const AT_ONCE: Duration = Duration::from_millis(200);
/// How soon to check again for something that no watch reports.
const SOON: Duration = Duration::from_secs(5);
/// How old an inventory may be for an object that is not well: objects that come together still
/// share one.
const FRESH: Duration = Duration::from_secs(1);

/// The cluster of an object, as far as the object is concerned.
struct TargetCluster {
    key: ClusterKey,
    uid: String,
    namesrvs: String,
    /// Broker names by group index.
    groups: Vec<String>,
    cluster_name: String,
    /// The cluster itself, which says which namespaces it admits.
    cluster: RocketMQCluster,
}

/// What a lookup of the cluster gives.
enum Lookup {
    Found(Box<TargetCluster>),
    /// No watch knows it.
    Unseen(ClusterKey),
    /// It is going: nothing on it needs cleaning any more.
    Going(Judgement),
    /// It is there and cannot be used yet, or not by this object.
    Unusable(Judgement),
}

/// Entry of the controllers.
pub(crate) async fn reconcile<K: Provisioned, A: Admin>(
    object: Arc<DeserializeGuard<K>>,
    context: Arc<Context<A>>,
) -> Result<Action, Error>
where
    Context<A>: Siblings<K>,
{
    let object = match &object.0 {
        Ok(object) => object,
        Err(invalid) => {
            tracing::warn!(kind = %K::kind(&()), name = invalid.metadata.name, error = %invalid.error, "object cannot be read");
            context.event(&*object, EventType::Warning, "Unreadable", &invalid.error).await;
            return Ok(Action::await_change());
        }
    };
    let began = Instant::now();
    let run = Run { object, context: &*context };
    let action = if object.meta().deletion_timestamp.is_some() { run.delete().await? } else { run.apply().await? };
    context.succeeded(object, began);
    Ok(action)
}

/// Access to all objects of a kind, for conflicts.
pub(crate) trait Siblings<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// Their stores.
    fn siblings(&self) -> &Stores<K>;
}

impl<A> Siblings<crate::api::RocketMQTopic> for Context<A> {
    fn siblings(&self) -> &Stores<crate::api::RocketMQTopic> {
        &self.topics
    }
}

impl<A> Siblings<crate::api::RocketMQConsumerGroup> for Context<A> {
    fn siblings(&self) -> &Stores<crate::api::RocketMQConsumerGroup> {
        &self.consumer_groups
    }
}

struct Run<'a, K, A> {
    object: &'a K,
    context: &'a Context<A>,
}

impl<K: Provisioned, A: Admin> Run<'_, K, A>
where
    Context<A>: Siblings<K>,
{
    async fn apply(&self) -> Result<Action, Error> {
        if paused(self.object) {
            self.pause("reconciling is switched off by rocketmq.rs/pause").await?;
            return Ok(Action::await_change());
        }
        self.set_finalizer(self.object.deletion_policy() != DeletionPolicy::Retain).await?;
        let target = match self.target() {
            Lookup::Found(target) => target,
            Lookup::Unseen(key) => {
                let text = format!("RocketMQCluster {key} does not exist, or its namespace is not watched");
                return self.wait(Judgement::new(Kind::Ready, false, "ClusterNotFound", text), SOON).await;
            }
            Lookup::Going(judgement) | Lookup::Unusable(judgement) => return self.wait(judgement, SOON).await,
        };
        let name = self.object.remote_name();
        if K::is_system(name, &target.cluster_name) {
            let text = format!("{} {name} belongs to RocketMQ itself: write another name", K::WHAT);
            return self.wait(Judgement::new(Kind::Ready, false, "SystemName", text), PERIOD).await;
        }
        if let Some(winner) = self.winner(&target) {
            let text = format!("{} {name} is also named by the older {}: delete one of the two", K::WHAT, key(&winner));
            return self.wait(Judgement::new(Kind::Ready, false, "ResourceConflict", text), SOON).await;
        }
        // What was not well at the last reconcile is not looked up in what was known then.
        let ready = condition::status_of(&self.object.record().conditions, Kind::Ready) == Some(Status::True);
        let age = if ready { INVENTORY_AGE } else { FRESH };
        match self.inventory(&target, Instant::now().checked_sub(age)).await {
            Ok(inventory) => self.converge(&target, inventory).await,
            Err(unavailable) => self.unreachable(self.object.record(), unavailable).await,
        }
    }

    /// Writes what is due, reads it back and reports.
    async fn converge(&self, target: &TargetCluster, mut inventory: Arc<Inventory>) -> Result<Action, Error> {
        let mut record = self.object.record();
        if record.cluster_uid.as_deref() != Some(&target.uid) {
            // Another cluster of the same name holds nothing of ours.
            record = Record { origin: None, cluster_uid: Some(target.uid.clone()), ..record };
        }
        let known = record.origin;
        let mut decision = decide(self.object, known, &target.groups, &inventory);
        if decision.origin != known {
            // Before the first write: were we to die in between, the next one would take our own
            // work for that of another.
            record.origin = decision.origin;
            // What it says about the object is published by the last write only, or the same change
            // would be published twice.
            self.store_status(record.clone(), &decision.verdict.judgements, Some(&decision.brokers), Value::Null)
                .await?;
        }
        if !decision.writes.is_empty() {
            let drifted = known.is_some() && self.seen_generation();
            if let Err(error) = self.carry_out(target, &decision, drifted).await {
                self.write_status(record, vec![failure(&error, error.to_string())], None, Value::Null).await?;
                return Err(error.into());
            }
            inventory = match self.inventory(target, Some(Instant::now())).await {
                Ok(inventory) => inventory,
                Err(unavailable) => return self.unreachable(record, unavailable).await,
            };
            decision = decide(self.object, record.origin, &target.groups, &inventory);
            if let Some(write) = decision.writes.first() {
                let text = format!("{} accepted a write and still differs ({})", write.broker, list(&write.changes));
                decision.verdict.judgements = vec![Judgement::new(Kind::Ready, false, "ReadBackDiffers", text)];
            }
        }
        let ready = decision.verdict.ready;
        let masters: Vec<String> = inventory
            .brokers
            .iter()
            .filter(|entry| target.groups.contains(&entry.broker.name))
            .filter_map(|entry| entry.broker.master.clone())
            .collect();
        let next_comparison = inventory.next_comparison();
        // All settings of all brokers: it must not live as long as the slowest reconcile that
        // judged by it.
        drop(inventory);
        let statistics =
            self.object.statistics(&self.context.pool.admin(&target.key, &target.namesrvs), &masters).await;
        self.write_status(record, decision.verdict.judgements, Some(&decision.brokers), statistics).await?;
        Ok(Action::requeue(if ready { next_comparison } else { jittered(SOON) }))
    }

    async fn carry_out(
        &self,
        target: &TargetCluster,
        decision: &Decision<K::Config>,
        drifted: bool,
    ) -> Result<(), AdminError> {
        let admin = self.context.pool.admin(&target.key, &target.namesrvs);
        for write in &decision.writes {
            let began = Instant::now();
            let result = K::put(&admin, &write.address, &write.config).await;
            self.context.metrics.admin_call("put", result.is_ok(), began.elapsed());
            result?;
            if drifted {
                self.context.metrics.drift_corrected(&K::kind(&()));
                let what = if write.changes.is_empty() { "was missing".to_owned() } else { list(&write.changes) };
                let note =
                    format!("{} {} on {}: {what}; written back", K::WHAT, self.object.remote_name(), write.broker);
                self.context.event(self.object, EventType::Warning, "DriftCorrected", &note).await;
            }
        }
        Ok(())
    }

    /// The object is going and waits for its finalizer.
    async fn delete(&self) -> Result<Action, Error> {
        if !self.object.finalizers().iter().any(|finalizer| finalizer == K::FINALIZER) {
            self.context.gone(&K::kind(&()), key(self.object));
            return Ok(Action::await_change());
        }
        let record = self.object.record();
        let abandoned = self.object.annotations().get(ABANDON_ANNOTATION).is_some_and(|value| value == "true");
        let ours = record.origin.is_some() && self.object.management() != Management::Observe;
        if abandoned || !ours || self.object.deletion_policy() == DeletionPolicy::Retain {
            return self.release().await;
        }
        let target = match self.target() {
            Lookup::Found(target) if record.cluster_uid.as_deref() == Some(&target.uid) => target,
            Lookup::Found(_) => return self.release().await,
            Lookup::Unseen(key) if self.absent(&key).await? => {
                let text = format!("RocketMQCluster {key} does not exist");
                self.context.event(self.object, EventType::Normal, "ClusterGone", &text).await;
                return self.release().await;
            }
            Lookup::Unseen(key) => {
                let text =
                    format!("RocketMQCluster {key} cannot be seen: its namespace is not watched, or it cannot be read");
                let judgement = Judgement::new(Kind::Ready, Status::Unknown, "ClusterNotSeen", or_abandon(&text));
                return self.wait(judgement, SOON).await;
            }
            Lookup::Going(judgement) => {
                self.context.event(self.object, EventType::Normal, "ClusterGone", &judgement.message).await;
                return self.release().await;
            }
            Lookup::Unusable(mut judgement) => {
                judgement.message = or_abandon(&judgement.message);
                return self.wait(judgement, SOON).await;
            }
        };
        if self.successor(&target) {
            return self.release().await;
        }
        let unseen = self.unseen(&target);
        if !unseen.is_empty() {
            let text = format!(
                "another object may name {} {}, and cannot be seen: {}; give the operator its rights there, \
                 or take the namespace out of watchNamespaces",
                K::WHAT,
                self.object.remote_name(),
                unseen.join("; ")
            );
            let judgement = Judgement::new(Kind::Ready, Status::Unknown, "SiblingsNotSeen", or_abandon(&text));
            return self.wait(judgement, SOON).await;
        }
        if paused(self.object) {
            self.pause(&or_abandon("rocketmq.rs/pause keeps brokers as they are, so it is not deleted there")).await?;
            return Ok(Action::requeue(jittered(PERIOD)));
        }
        let inventory = match self.inventory(&target, Some(Instant::now())).await {
            Ok(inventory) => inventory,
            Err(unavailable) => return self.unreachable(self.object.record(), unavailable).await,
        };
        self.remove(&target, &inventory).await
    }

    /// Removes it from every broker of the cluster and from namesrvs, then lets the object go.
    async fn remove(&self, target: &TargetCluster, inventory: &Inventory) -> Result<Action, Error> {
        let admin = self.context.pool.admin(&target.key, &target.namesrvs);
        let removal = match remove(self.object, &admin, &target.groups, &target.cluster_name, inventory).await {
            Ok(removal) => removal,
            Err(error) => {
                let judgement = failure(&error, or_abandon(&format!("cannot be deleted: {error}")));
                self.write_status(self.object.record(), vec![judgement], None, Value::Null).await?;
                return Err(error.into());
            }
        };
        let (what, name) = (K::WHAT, self.object.remote_name());
        match removal {
            Removal::Gone => self.release().await,
            // Not gone before it is seen gone.
            Removal::Requested => {
                let reported = |condition: &Condition| matches!(condition.reason.as_str(), "Deleting" | "StillThere");
                let (reason, text, pause) = match self.object.record().conditions.iter().any(reported) {
                    false => ("Deleting", format!("brokers were asked to delete {what} {name}"), AT_ONCE),
                    true => {
                        let text = format!(
                            "brokers were asked to delete {what} {name} and still have it; they are asked again"
                        );
                        ("StillThere", or_abandon(&text), SOON)
                    }
                };
                self.wait(Judgement::new(Kind::Ready, false, reason, text), pause).await
            }
            Removal::Unknown(group) => {
                let text = or_abandon(&format!("{group} cannot be asked"));
                self.wait(Judgement::new(Kind::Ready, Status::Unknown, "BrokerUnavailable", text), SOON).await
            }
            Removal::Holds(why) => {
                let text = format!("{what} {name} is not empty, so it is not deleted: {why}");
                self.wait(Judgement::new(Kind::Ready, false, "NotEmpty", text), PERIOD / 2).await
            }
        }
    }

    fn target(&self) -> Lookup {
        let namespace = self.object.namespace().unwrap_or_default();
        let key = ClusterKey::of(self.object.cluster_ref(), &namespace);
        let Some(cluster) = self.context.clusters.one(&key.namespace, &key.name) else {
            return Lookup::Unseen(key);
        };
        if cluster.metadata.deletion_timestamp.is_some() {
            let text = format!("RocketMQCluster {key} is being deleted");
            return Lookup::Going(Judgement::new(Kind::Ready, false, "ClusterDeleting", text));
        }
        if !reference::admits(&cluster, &key.namespace, &namespace) {
            let text = reference::not_admitted(&key.name, &key.namespace, &namespace);
            return Lookup::Unusable(Judgement::new(Kind::Ready, false, "NamespaceNotAllowed", text));
        }
        match usable(cluster, key.clone()) {
            Some(target) => Lookup::Found(Box::new(target)),
            None => {
                let text = format!("RocketMQCluster {key} has no brokers yet");
                Lookup::Unusable(Judgement::new(Kind::Ready, Status::Unknown, "ClusterNotReady", text))
            }
        }
    }

    /// Whether the API server says that a cluster is not there. What it may not tell is not taken
    /// for gone.
    async fn absent(&self, key: &ClusterKey) -> Result<bool, Error> {
        let clusters: Api<RocketMQCluster> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match clusters.get_metadata_opt(&key.name).await {
            Ok(found) => Ok(found.is_none()),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The older object that names the same thing.
    fn winner(&self, target: &TargetCluster) -> Option<K> {
        self.context.siblings().find(|other| self.conflicts_with(other, target) && age(other) < age(self.object))
    }

    /// Whether another object will take over.
    fn successor(&self, target: &TargetCluster) -> bool {
        self.context.siblings().find(|other| self.conflicts_with(other, target)).is_some()
    }

    /// Watches that would tell of another object that takes over, and are refused. While there is
    /// one, that no such object is known does not mean that there is none.
    fn unseen(&self, target: &TargetCluster) -> Vec<String> {
        let admitted = |namespace: &str| reference::admits(&target.cluster, &target.key.namespace, namespace);
        self.context.siblings().refusals(admitted)
    }

    /// Asked about each object of the kind at each reconcile: names are compared before anything is
    /// allocated.
    fn conflicts_with(&self, other: &K, target: &TargetCluster) -> bool {
        let same = other.remote_name() == self.object.remote_name()
            && other.meta().uid != self.object.meta().uid
            && other.meta().deletion_timestamp.is_none();
        same && {
            let namespace = other.namespace().unwrap_or_default();
            ClusterKey::of(other.cluster_ref(), &namespace) == target.key
                && reference::admits(&target.cluster, &target.key.namespace, &namespace)
        }
    }

    async fn inventory(&self, target: &TargetCluster, since: Option<Instant>) -> Result<Arc<Inventory>, Unavailable> {
        // A machine that runs for less than an inventory may be old: ask anew.
        let since = since.unwrap_or_else(Instant::now);
        let inventory = self.context.pool.inventory(&target.key, &target.namesrvs, since).await?;
        let foreign = |broker: &&Broker| target.groups.contains(&broker.name) && broker.cluster != target.cluster_name;
        match inventory.brokers.iter().map(|entry| &entry.broker).find(foreign) {
            None => Ok(inventory),
            // What is written would go to a broker of another cluster, and what is read says
            // nothing of ours.
            Some(broker) => {
                let why = format!(
                    "it is registered under the cluster name {} and not {}",
                    broker.cluster, target.cluster_name
                );
                let error = AdminError::Unreachable { target: broker.name.clone(), why };
                Err(Unavailable { error, retry_in: SOON })
            }
        }
    }

    async fn unreachable(&self, record: Record, unavailable: Unavailable) -> Result<Action, Error> {
        let text = match self.object.meta().deletion_timestamp {
            None => format!("cannot be checked: {}", unavailable.error),
            Some(_) => or_abandon(&format!("cannot be deleted: {}", unavailable.error)),
        };
        let judgement = Judgement::new(Kind::Ready, Status::Unknown, "ClusterUnreachable", text);
        self.write_status(record, vec![judgement], None, Value::Null).await?;
        Ok(Action::requeue(jittered(unavailable.retry_in.max(Duration::from_secs(1)))))
    }

    /// Says that nothing is done, and what was known before.
    async fn pause(&self, text: &str) -> Result<(), Error> {
        let mut judgements = vec![Judgement::new(Kind::Paused, true, "Annotation", text)];
        judgements.extend(self.kept(Kind::Ready));
        self.write_status(self.object.record(), judgements, None, Value::Null).await
    }

    /// One judgement, and another reconcile later.
    async fn wait(&self, judgement: Judgement, pause: Duration) -> Result<Action, Error> {
        self.write_status(self.object.record(), vec![judgement], None, Value::Null).await?;
        Ok(Action::requeue(jittered(pause)))
    }

    /// Whether the spec is the one that the last status was about: only then was a difference made
    /// by others.
    fn seen_generation(&self) -> bool {
        let ready = Kind::Ready.to_string();
        let conditions = self.object.record().conditions;
        conditions.iter().any(|condition| {
            condition.type_ == ready
                && condition.status == "True"
                && condition.observed_generation == self.object.meta().generation
        })
    }

    /// A judgement as it stood, for a status that says something else.
    fn kept(&self, kind: Kind) -> Option<Judgement> {
        let conditions = self.object.record().conditions;
        let status = condition::status_of(&conditions, kind)?;
        let message = conditions.iter().find(|condition| condition.type_ == kind.to_string())?.message.clone();
        Some(Judgement { kind, status, reason: "Paused", message })
    }

    /// Writes the status if it changed, and one event for what is new. Without `brokers` the list
    /// stays as it was.
    async fn write_status(
        &self,
        record: Record,
        judgements: Vec<Judgement>,
        brokers: Option<&[OnBroker<K::Config>]>,
        statistics: Value,
    ) -> Result<(), Error> {
        if self.store_status(record, &judgements, brokers, statistics).await? {
            let changes = condition::changes(&self.object.record().conditions, &judgements);
            self.context.publish_changes(self.object, &changes).await;
        }
        Ok(())
    }

    /// Writes the status if it changed, and says whether it did.
    async fn store_status(
        &self,
        mut record: Record,
        judgements: &[Judgement],
        brokers: Option<&[OnBroker<K::Config>]>,
        statistics: Value,
    ) -> Result<bool, Error> {
        let before = self.object.record().conditions;
        record.conditions = condition::set(&before, judgements, self.object.meta().generation, Timestamp::now());
        let last = serde_json::to_value(self.object).unwrap_or_default()["status"].take();
        let mut status = self.object.status(&record, brokers.unwrap_or_default(), statistics);
        if brokers.is_none() {
            for list in ["brokers", "syncedBrokers"] {
                if let Some(kept) = last.get(list) {
                    status[list] = kept.clone();
                }
            }
        }
        if status == last {
            return Ok(false);
        }
        let patch = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": self.object.name_any()}, "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match self.api()?.patch_status(&self.object.name_any(), &parameters, &Patch::Apply(&patch)).await {
            Ok(_) => Ok(true),
            // Deleted meanwhile: there is no status to write.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_finalizer(&self, wanted: bool) -> Result<(), Error> {
        let present = self.object.finalizers().iter().any(|finalizer| finalizer == K::FINALIZER);
        if present == wanted {
            return Ok(());
        }
        let mut finalizers = self.object.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != K::FINALIZER);
        if wanted {
            finalizers.push(K::FINALIZER.to_owned());
        }
        // With the version: a finalizer of another controller that we have not seen must not be
        // lost.
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": self.object.resource_version()}});
        self.api()?.patch(&self.object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    async fn release(&self) -> Result<Action, Error> {
        match self.set_finalizer(false).await {
            Err(Error::Kubernetes(kube::Error::Api(status))) if status.code == 404 => {}
            other => other?,
        }
        self.context.gone(&K::kind(&()), key(self.object));
        Ok(Action::await_change())
    }

    fn api(&self) -> Result<Api<K>, Error> {
        let namespace = self.object.namespace().ok_or(Error::Incomplete("namespace"))?;
        Ok(Api::namespaced(self.context.client.clone(), &namespace))
    }
}

/// Oldest first; the uid settles a tie the same way in every reconcile.
fn age<K: Resource>(object: &K) -> (Option<Timestamp>, Option<String>) {
    (object.meta().creation_timestamp.as_ref().map(|time| time.0), object.meta().uid.clone())
}

/// What a broker that did not do something has to say.
fn failure(error: &AdminError, text: String) -> Judgement {
    match error {
        AdminError::Refused { .. } => Judgement::new(Kind::Ready, false, "BrokerRefused", text),
        AdminError::Unreachable { .. } => Judgement::new(Kind::Ready, Status::Unknown, "BrokerUnavailable", text),
    }
}

/// Why an object that is to go stays, with the way out.
fn or_abandon(text: &str) -> String {
    format!("{text}; annotate {ABANDON_ANNOTATION}=true to let the object go without it")
}

/// A cluster whose status says where its namesrvs are and which groups exist.
fn usable(cluster: RocketMQCluster, key: ClusterKey) -> Option<TargetCluster> {
    let status = cluster.status.as_ref()?;
    let count = u32::try_from(status.broker_groups?).ok().filter(|count| *count > 0)?;
    Some(TargetCluster {
        uid: cluster.uid()?,
        namesrvs: status.namesrv_addrs.clone()?,
        groups: (0..count).map(|group| group_name(&key.name, group)).collect(),
        cluster_name: cluster.spec.cluster_name.clone().unwrap_or_else(|| key.name.clone()),
        key,
        cluster,
    })
}
