//! What reconciles share: client, connections to clusters, the objects that watches keep in memory,
//! metrics.
//!
//! Nothing of it outlives the process and nothing of it is state that matters: whatever a reconcile
//! must remember stands in the status of its object. There is no static anywhere.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder},
        reflector::{ObjectRef, Store},
    },
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::{
    api::{
        RocketMQCluster, RocketMQConsumerGroup, RocketMQTopic,
        cluster::Image,
        condition::{Judgement, Kind, Status},
        reference::ClusterKey,
        settings::Readers,
    },
    brokers::{admin::Admin, pool::Pool},
    error::Error,
    process::{metrics::Metrics, watches::Watch},
};

/// Name under which the operator applies fields; one for all versions, or an upgrade would fight
/// itself.
pub const FIELD_MANAGER: &str = "rocketmq-operator";
/// Pause after the first failure of an object; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Text of an event, bounded by the API server at 1024 bytes.
const MAX_NOTE: usize = 1000;

/// A store and the watch that fills it.
pub type Watched<K> = (Store<DeserializeGuard<K>>, Arc<Watch>);

/// Objects of one kind as watches see them, one store for each watched namespace (or one for all).
#[derive(Clone, Debug)]
pub struct Stores<K: Resource<DynamicType = ()> + Clone + 'static>(Vec<Watched<K>>);

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static> Stores<K> {
    /// Of these stores.
    pub fn new(stores: Vec<Watched<K>>) -> Self {
        Self(stores)
    }

    fn stores(&self) -> impl Iterator<Item = &Store<DeserializeGuard<K>>> {
        self.0.iter().map(|(store, _)| store)
    }

    /// One object; `None` when it is not there, not readable, or in a namespace that is not
    /// watched.
    pub fn one(&self, namespace: &str, name: &str) -> Option<K> {
        let key = ObjectRef::new(name).within(namespace);
        self.stores().find_map(|store| store.get(&key)).and_then(|object| object.0.as_ref().ok().cloned())
    }

    /// Waits until every store has been filled once, or its watch is refused. Before that an object
    /// that is not there may only not be known yet.
    pub async fn filled(&self) {
        for (_, watch) in &self.0 {
            watch.listed().await;
        }
    }

    /// The first object that fits.
    pub fn find(&self, fits: impl Fn(&K) -> bool) -> Option<K> {
        let readable = |object: &DeserializeGuard<K>| object.0.as_ref().is_ok_and(&fits);
        self.stores().find_map(|store| store.find(readable)).and_then(|object| object.0.as_ref().ok().cloned())
    }

    /// Why objects of these namespaces may exist that no store holds: watches that the API server
    /// refuses. Empty when the stores tell all.
    pub fn refusals(&self, concerns: impl Fn(&str) -> bool) -> Vec<String> {
        let watches = self.0.iter().map(|(_, watch)| watch);
        watches.filter(|watch| watch.namespace().is_none_or(&concerns)).filter_map(|watch| watch.refusal()).collect()
    }

    /// All objects that fit.
    pub fn all(&self, fits: impl Fn(&K) -> bool) -> Vec<K> {
        let objects = self.stores().flat_map(Store::state);
        objects.filter_map(|object| object.0.as_ref().ok().filter(|object| fits(object)).cloned()).collect()
    }
}

/// What a user of the operator may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of clusters whose spec names none.
    pub default_image: Image,
    /// DNS domain of the Kubernetes cluster.
    pub domain: String,
    /// Readers of the settings of namesrvs and brokers.
    pub readers: Readers,
}

/// Shared by all controllers.
pub struct Context<A> {
    /// The API server.
    pub client: Client,
    /// Settings of this process.
    pub settings: Settings,
    /// Connections to clusters.
    pub pool: Pool<A>,
    /// Metrics.
    pub metrics: Metrics,
    /// Clusters.
    pub clusters: Stores<RocketMQCluster>,
    /// Topics.
    pub topics: Stores<RocketMQTopic>,
    /// Consumer groups.
    pub consumer_groups: Stores<RocketMQConsumerGroup>,
    recorder: Recorder,
    /// Failures in a row, by kind and object. Bounded by the objects that fail at present.
    failures: Mutex<HashMap<(String, ClusterKey), u32>>,
}

impl<A: Admin> Context<A> {
    /// A context without any history.
    pub fn new(
        client: Client,
        settings: Settings,
        metrics: Metrics,
        recorder: Recorder,
        stores: (Stores<RocketMQCluster>, Stores<RocketMQTopic>, Stores<RocketMQConsumerGroup>),
    ) -> Self {
        let (clusters, topics, consumer_groups) = stores;
        let pool = Pool::new(metrics.clone());
        Self {
            client,
            settings,
            pool,
            metrics,
            clusters,
            topics,
            consumer_groups,
            recorder,
            failures: Mutex::default(),
        }
    }

    /// Waits until all watches have delivered what there was. Judging earlier would take a cluster
    /// for gone, or a group for complete, that is not.
    pub async fn filled(&self) {
        self.clusters.filled().await;
        self.topics.filled().await;
        self.consumer_groups.filled().await;
    }

    /// Counts a reconcile that ended well and clears the object's failures.
    pub fn succeeded<K: Resource<DynamicType = ()>>(&self, object: &K, began: Instant) {
        let kind = K::kind(&()).into_owned();
        self.metrics.reconciled(&kind, began.elapsed());
        self.failures.lock().remove(&(kind, key(object)));
    }

    /// Logs and counts a failure, and says when to try again: after 1 s, 2 s, ... 5 min.
    pub fn failed<K: Resource<DynamicType = ()>>(&self, object: &K, error: &Error) -> Action {
        let kind = K::kind(&()).into_owned();
        let key = key(object);
        tracing::warn!(%kind, object = %key, %error, "reconcile failed");
        self.metrics.failed(&kind, error.label());
        let mut failures = self.failures.lock();
        let count = failures.entry((kind, key)).or_default();
        let pause = FIRST_RETRY.saturating_mul(1 << (*count).min(9)).min(LONGEST_RETRY);
        *count += 1;
        Action::requeue(crate::process::jittered(pause))
    }

    /// Forgets an object that is gone; of a cluster, its connections too.
    pub fn gone(&self, kind: &str, key: ClusterKey) {
        if kind == RocketMQCluster::kind(&()) {
            self.pool.forget(&key);
        }
        self.failures.lock().remove(&(kind.to_owned(), key));
    }

    /// Publishes an event about an object. An event that cannot be published is logged and dropped:
    /// the condition says the same.
    pub async fn event<K: Resource<DynamicType = ()>>(&self, object: &K, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(MAX_NOTE).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::debug!(error = crate::error::plain(&error), reason, "event not published");
        }
    }

    /// One event for each judgement that changed.
    pub async fn publish_changes<K: Resource<DynamicType = ()>>(&self, object: &K, changes: &[&Judgement]) {
        for judgement in changes {
            if let Some(type_) = event_type(judgement) {
                self.event(object, type_, judgement.reason, &judgement.message).await;
            }
        }
    }
}

/// Whether a judgement deserves an event: what went wrong, what was refused, and that all is well
/// again.
fn event_type(judgement: &Judgement) -> Option<EventType> {
    match (judgement.kind, judgement.status) {
        (Kind::ScaleDownRefused | Kind::Drifted, Status::True) => Some(EventType::Warning),
        (Kind::LogsComplete, Status::False) if matches!(judgement.reason, "DecisionNeeded" | "DecisionRefused") => {
            Some(EventType::Warning)
        }
        (Kind::SpecValid | Kind::StorageHealthy, Status::False) => Some(EventType::Warning),
        (Kind::Ready, Status::False)
            if matches!(
                judgement.reason,
                "AdoptionRefused"
                    | "BrokerRefused"
                    | "ChangeRefused"
                    | "ResourceConflict"
                    | "NamespaceNotAllowed"
                    | "ReadBackDiffers"
                    | "NotEmpty"
                    | "NameTaken"
                    | "ApiServerRefused"
                    | "StillThere"
                    | "SystemName"
                    | "NoSuchGroup"
                    | "ClusterNotFound"
            ) =>
        {
            Some(EventType::Warning)
        }
        // It is as it was; that it is paused has its own event.
        (Kind::Ready, Status::True) if judgement.reason == "Paused" => None,
        (Kind::Ready, Status::True) | (Kind::Paused, Status::True) => Some(EventType::Normal),
        _ => None,
    }
}

/// Namespace and name of an object.
pub fn key<K: Resource>(object: &K) -> ClusterKey {
    ClusterKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// Whether the pause annotation stands on an object.
pub fn paused<K: Resource>(object: &K) -> bool {
    object.annotations().get(crate::api::PAUSE_ANNOTATION).is_some_and(|value| value == "true")
}
