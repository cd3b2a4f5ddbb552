//! What starts a reconcile: a person changed an object, a child changed, the cluster that an object
//! names changed, or time is up. Writes of a status are no reason: a status that shows counts would
//! otherwise start the next reconcile, without end.
//!
//! One controller a kind and watched namespace, or one a kind for all namespaces. A kind has one
//! watch in each of them, whose objects are in memory; topics and consumer groups hear of clusters
//! through `cluster_changes.rs` and not by watches of their own. Of children only those that we
//! made are watched, and only their metadata is kept.
//!
//! May touch the API server, by watches alone: everything else is done by the reconciles.

mod cluster_changes;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

use std::{future::ready, sync::Arc, time::Duration};

use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        Controller, Predicate, WatchStreamExt,
        controller::{self, Action, Config},
        events::{Recorder, Reporter},
        predicates,
        reflector::{self, Store},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use self::cluster_changes::ChangeNotifier;
use crate::{
    api::{RocketMQCluster, RocketMQConsumerGroup, RocketMQTopic, reference::ClusterKey},
    brokers::admin::Admin,
    cluster,
    error::Error,
    kubernetes::context::{Context, FIELD_MANAGER, Settings, Stores, key},
    process::{
        Options,
        http::Readiness,
        metrics::Metrics,
        watchdog::{Activity, DEADLINE, Watchdog},
        watches::{self, REFUSED_FOR, Watch, follow},
    },
    provision::{self, Provisioned, reconcile::Siblings},
};

/// Objects of one controller that are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// Objects of all controllers, of which each watched namespace has three.
const RECONCILES: usize = 48;
/// Changes of one object within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How long the controllers may take to finish after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// Clusters that changed and that a controller has not seen yet. One that falls behind reconciles
/// all its objects.
const CHANGES: usize = 256;

/// An object that may not be readable.
type Guarded<K> = DeserializeGuard<K>;
type Reconciling = BoxFuture<'static, Result<Action, Error>>;

/// Runs all controllers until the stop, then lets them finish for a while. A namespace whose first
/// lists are refused for `refused_for` counts as empty.
///
/// # Errors
/// A controller is stalled.
pub(crate) async fn run<A: Admin>(
    options: &Options,
    client: &Client,
    metrics: &Metrics,
    readiness: &Readiness,
    stop: &CancellationToken,
    refused_for: Duration,
) -> Result<(), Error> {
    let scopes: Vec<Option<&str>> = match options.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let clusters = sources::<RocketMQCluster>(client, &scopes, metrics, refused_for);
    let topics = sources::<RocketMQTopic>(client, &scopes, metrics, refused_for);
    let groups = sources::<RocketMQConsumerGroup>(client, &scopes, metrics, refused_for);
    let stores = (stores(&clusters), stores(&topics), stores(&groups));
    let context = shared::<A>(options, client, metrics, stores);
    let mut watchdog = Watchdog {
        controllers: activities(&clusters).chain(activities(&topics)).chain(activities(&groups)).collect(),
        stores: of_stores(&clusters).chain(of_stores(&topics)).chain(of_stores(&groups)).collect(),
        children: Vec::new(),
    };

    let (changes, _) = broadcast::channel(CHANGES);
    let permits = Arc::new(Semaphore::new(RECONCILES));
    let running: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    for (source, scope) in clusters.into_iter().zip(&scopes) {
        let activity = source.activity.clone();
        let controller = source.notifying(changes.clone()).controller();
        let children = Children { client, scope: *scope, metrics, watches: &mut watchdog.children };
        let stream = children.owned_by(controller).graceful_shutdown_on(stop.clone().cancelled_owned()).run(
            bounded(activity.clone(), permits.clone(), cluster::reconcile),
            failed::<RocketMQCluster, A>,
            context.clone(),
        );
        running.push(drive(activity, context.clone(), stream).boxed());
    }
    provisioned(topics, &changes, &permits, &context, stop, &running);
    provisioned(groups, &changes, &permits, &context, stop, &running);
    let watchdog = Arc::new(watchdog);
    readiness.controllers(watchdog.clone());
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = running.for_each(|()| ready(())) => Ok(()),
        () = grace => {
            tracing::warn!("controllers did not finish in time");
            Ok(())
        }
        error = watchdog.stalled(metrics) => Err(error),
    }
}

/// What all controllers share.
fn shared<A: Admin>(
    options: &Options,
    client: &Client,
    metrics: &Metrics,
    stores: (Stores<RocketMQCluster>, Stores<RocketMQTopic>, Stores<RocketMQConsumerGroup>),
) -> Arc<Context<A>> {
    let settings = Settings {
        default_image: options.default_image.clone(),
        domain: options.domain.clone(),
        readers: options.readers,
    };
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: options.lease.as_ref().map(|lease| lease.holder.clone()),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    Arc::new(Context::new(client.clone(), settings, metrics.clone(), recorder, stores))
}

/// The controllers of a kind that is made on brokers.
fn provisioned<K: Provisioned, A: Admin>(
    sources: Vec<Source<K>>,
    changes: &broadcast::Sender<ClusterKey>,
    permits: &Arc<Semaphore>,
    context: &Arc<Context<A>>,
    stop: &CancellationToken,
    running: &FuturesUnordered<BoxFuture<'static, ()>>,
) where
    Context<A>: Siblings<K>,
{
    for source in sources {
        let activity = source.activity.clone();
        let named = cluster_changes::naming(changes.subscribe(), source.store.clone());
        let stream = source.controller().reconcile_on(named).graceful_shutdown_on(stop.clone().cancelled_owned()).run(
            bounded(activity.clone(), permits.clone(), provision::reconcile::reconcile),
            failed::<K, A>,
            context.clone(),
        );
        running.push(drive(activity, context.clone(), stream).boxed());
    }
}

/// A reconcile as controllers run it: it waits until all that it judges by is known, has a
/// deadline, and is seen by the watchdog.
fn bounded<K, A, F, R>(
    activity: Arc<Activity>,
    permits: Arc<Semaphore>,
    reconcile: F,
) -> impl FnMut(Arc<Guarded<K>>, Arc<Context<A>>) -> Reconciling
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
    A: Admin,
    F: Fn(Arc<Guarded<K>>, Arc<Context<A>>) -> R + Copy + Send + 'static,
    R: Future<Output = Result<Action, Error>> + Send,
{
    move |object, context| {
        let ClusterKey { namespace, name } = key(&*object);
        let mut watched = activity.begin(&namespace, &name);
        let permits = permits.clone();
        async move {
            context.filled().await;
            // The semaphore is never closed, so there is a permit.
            let _permit = permits.acquire_owned().await;
            watched.run();
            let ended = tokio::time::timeout(DEADLINE, reconcile(object, context)).await;
            drop(watched);
            ended.unwrap_or(Err(Error::Deadline(DEADLINE)))
        }
        .boxed()
    }
}

fn failed<K: Resource<DynamicType = ()>, A: Admin>(
    object: Arc<Guarded<K>>,
    error: &Error,
    context: Arc<Context<A>>,
) -> Action {
    context.failed(&*object, error)
}

/// Runs a controller to its end. Errors of reconciles were logged where they were handled, those of
/// watches in `watches.rs`; what is left is objects that a child pointed to after they were gone.
async fn drive<T, A: Admin>(
    activity: Arc<Activity>,
    context: Arc<Context<A>>,
    stream: impl Stream<Item = Result<T, controller::Error<Error, watcher::Error>>>,
) {
    stream
        .for_each(|result| {
            match result {
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                Err(controller::Error::ObjectNotFound(object)) => {
                    let namespace = object.namespace.clone().unwrap_or_default();
                    activity.forget(&namespace, &object.name);
                    context.gone(activity.kind(), ClusterKey { namespace, name: object.name.clone() });
                }
                Err(error) => tracing::warn!(kind = activity.kind(), %error, "the controller fails"),
            }
            ready(())
        })
        .await;
}

/// The objects of a kind in one namespace or in all.
struct Source<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<Guarded<K>>,
    watch: Arc<Watch>,
    activity: Arc<Activity>,
    events: BoxStream<'static, watcher::Result<Event<Guarded<K>>>>,
}

impl<K> Source<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    fn new(client: &Client, scope: Option<&str>, metrics: &Metrics, refused_for: Duration) -> Self {
        let kind = K::kind(&());
        let (store, writer) = reflector::store();
        let watch = Watch::new(&kind, scope, metrics, refused_for);
        let events = follow(watch.clone(), watcher(api(client, scope), watches::config()), Some(writer)).boxed();
        Self { store, watch, activity: Activity::new(&kind, scope), events }
    }

    fn controller(self) -> Controller<Guarded<K>> {
        let activity = self.activity;
        let changes = without_status_changes(self.events.applied_objects()).inspect(move |object| {
            if let Ok(object) = object {
                let ClusterKey { namespace, name } = key(object);
                activity.wait(&namespace, &name);
            }
        });
        let config = Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE);
        Controller::for_stream(changes, self.store).with_config(config)
    }
}

impl Source<RocketMQCluster> {
    /// The same, and its changes go to `changed` as well.
    fn notifying(mut self, changed: broadcast::Sender<ClusterKey>) -> Self {
        let mut notifier = ChangeNotifier::new(self.store.clone(), changed);
        self.events = self
            .events
            .inspect(move |event| {
                if let Ok(event) = event {
                    notifier.observe(event);
                }
            })
            .boxed();
        self
    }
}

/// The objects of a kind in each scope.
fn sources<K>(client: &Client, scopes: &[Option<&str>], metrics: &Metrics, refused_for: Duration) -> Vec<Source<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    scopes.iter().map(|scope| Source::new(client, *scope, metrics, refused_for)).collect()
}

fn stores<K>(sources: &[Source<K>]) -> Stores<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    Stores::new(sources.iter().map(|source| (source.store.clone(), source.watch.clone())).collect())
}

fn activities<K: Resource<DynamicType = ()> + Clone>(sources: &[Source<K>]) -> impl Iterator<Item = Arc<Activity>> {
    sources.iter().map(|source| source.activity.clone())
}

fn of_stores<K: Resource<DynamicType = ()> + Clone>(sources: &[Source<K>]) -> impl Iterator<Item = Arc<Watch>> {
    sources.iter().map(|source| source.watch.clone())
}

/// What is left of a watch without changes of the status alone. Every write of a spec and the start
/// of a deletion move the generation; annotations (pause, abandon) and finalizers do not.
fn without_status_changes<K>(
    seen: impl Stream<Item = Result<K, watcher::Error>>,
) -> impl Stream<Item = Result<K, watcher::Error>>
where
    K: Resource<DynamicType = ()> + 'static,
{
    let deletion = |object: &K| object.meta().deletion_timestamp.as_ref().map(|time| time.0.as_second().unsigned_abs());
    let changes =
        predicates::generation.combine(predicates::annotations).combine(predicates::finalizers).combine(deletion);
    seen.predicate_filter(changes, Default::default())
}

/// What a cluster owns in one namespace or in all.
struct Children<'a> {
    client: &'a Client,
    scope: Option<&'a str>,
    metrics: &'a Metrics,
    watches: &'a mut Vec<Arc<Watch>>,
}

impl Children<'_> {
    fn owned_by(mut self, controller: Controller<Guarded<RocketMQCluster>>) -> Controller<Guarded<RocketMQCluster>> {
        controller
            .owns_stream(self.changes::<StatefulSet>())
            .owns_stream(self.changes::<Service>())
            .owns_stream(self.changes::<ConfigMap>())
            .owns_stream(self.changes::<PodDisruptionBudget>())
    }

    /// Children of a kind that came, changed or went.
    fn changes<K>(&mut self) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + 'static
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let watch = Watch::new(&K::kind(&()), self.scope, self.metrics, REFUSED_FOR);
        let config = watches::config().labels(cluster::build::labels::MANAGED_BY);
        let events = watcher(api::<PartialObjectMeta<K>>(self.client, self.scope), config);
        let followed = follow(watch.clone(), events, None);
        self.watches.push(watch);
        followed.touched_objects()
    }
}

fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
