//! The process: port, Lease, controllers, and their end.
//!
//! ```text
//! port open -> API server answers (ready) -> Lease is ours -> controllers run
//!      stop asked for: controllers finish what they have begun -> Lease given back -> port closed -> Ok
//!      Lease lost:     controllers are dropped at once, for another may have begun -> Err(LeaseLost)
//! ```
//!
//! A controller works when a person changed an object, when a child changed, and when time is up. Its own writes of the status are no
//! reason: a status that shows figures would otherwise start the next look at them, and so for ever.
//!
//! One controller a kind and watched namespace, or one a kind for all namespaces. A kind's watch holds its objects in memory; of
//! children only those that we made are watched.

use std::{future::ready, net::SocketAddr, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        Controller, Predicate, WatchStreamExt,
        controller::{self, Action, Config},
        events::{Recorder, Reporter},
        predicates,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Admin,
    api::{RocketMQCluster, RocketMQConsumerGroup, RocketMQTopic, cluster::Image},
    cluster::{self, validate::Readers},
    context::{Context, FIELD_MANAGER, Settings, Stores, key},
    error::{Error, plain},
    http::{self, Readiness},
    lease::{Elector, Identity},
    metrics::Metrics,
    provision::{self, Provisioned},
    reference::ClusterKey,
};

/// Objects of one kind that are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// Changes of one object within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Between tries to reach the API server at the start.
const RETRY: Duration = Duration::from_secs(2);
/// How long the controllers may take to finish after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// What whoever starts the operator chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces to watch; empty: all.
    pub namespaces: Vec<String>,
    /// Image of clusters whose spec names none; the operator's own.
    pub default_image: Image,
    /// DNS domain of the Kubernetes cluster, as `cluster.local`.
    pub domain: String,
    /// Who reads the settings of namesrvs and brokers.
    pub readers: Readers,
    /// The Lease to hold while reconciling; `None`: this is the only replica.
    pub lease: Option<Identity>,
    /// Where to serve health and metrics.
    pub http: SocketAddr,
}

/// Runs the operator until `shutdown` ends.
///
/// # Errors
/// No configuration for the API server is found, the port is taken, or the Lease was lost; then the process should end, and
/// whoever supervises it starts it anew.
pub async fn run<A: Admin>(options: Options, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let metrics = Metrics::new()?;
    let stop = CancellationToken::new();
    let readiness = Readiness::default();
    let (address, serving) = http::serve(options.http, readiness.clone(), metrics.clone(), stop.clone()).await?;
    let serving = tokio::spawn(serving);
    let client = Client::try_default().await?;
    tracing::info!(%address, "operator started");

    let ending = async {
        let work = lead::<A>(&options, &client, &metrics, &readiness, &stop);
        tokio::pin!(work, shutdown);
        tokio::select! {
            result = &mut work => result,
            () = &mut shutdown => {
                tracing::info!("stopping");
                stop.cancel();
                work.await
            }
        }
    };
    let result = ending.await;
    stop.cancel();
    // It only ends early by a panic, which has been logged.
    let _ = serving.await;
    result
}

/// Waits for the Lease and reconciles while it is ours.
async fn lead<A: Admin>(
    options: &Options,
    client: &Client,
    metrics: &Metrics,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let answer = async {
        loop {
            match client.apiserver_version().await {
                Ok(version) => return tracing::info!(kubernetes = version.git_version, "the API server answers"),
                Err(error) => tracing::warn!(error = plain(&error), "the API server does not answer"),
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = answer => readiness.reached(),
        () = stop.cancelled() => return Ok(()),
    }
    let Some(identity) = options.lease.clone() else {
        metrics.leading(true);
        controllers::<A>(options, client, metrics, stop).await;
        return Ok(());
    };
    let mut elector = Elector::new(client.clone(), identity.clone());
    tokio::select! {
        () = elector.acquire() => {}
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!(lease = identity.name, holder = identity.holder, "leading");
    metrics.leading(true);
    let result = tokio::select! {
        () = controllers::<A>(options, client, metrics, stop) => Ok(()),
        () = elector.hold() => Err(Error::LeaseLost),
    };
    metrics.leading(false);
    if result.is_ok() {
        elector.release().await;
    }
    result
}

/// Runs all controllers until the stop, then lets them finish for a while.
async fn controllers<A: Admin>(options: &Options, client: &Client, metrics: &Metrics, stop: &CancellationToken) {
    let scopes: Vec<Option<&str>> = match options.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let clusters: Vec<_> = scopes.iter().map(|scope| cluster_controller(client, *scope)).collect();
    let topics: Vec<_> = scopes.iter().map(|scope| one_kind::<RocketMQTopic>(client, *scope)).collect();
    let groups: Vec<_> = scopes.iter().map(|scope| one_kind::<RocketMQConsumerGroup>(client, *scope)).collect();
    let stores = (Stores::new(stores(&clusters)), Stores::new(stores(&topics)), Stores::new(stores(&groups)));
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
    let context = Arc::new(Context::<A>::new(client.clone(), settings, metrics.clone(), recorder, stores));

    let running: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    for controller in clusters {
        let stream = controller.graceful_shutdown_on(stop.clone().cancelled_owned()).run(
            cluster::reconcile,
            failed::<RocketMQCluster, A>,
            context.clone(),
        );
        running.push(Box::pin(drive("RocketMQCluster", context.clone(), stream)));
    }
    for controller in topics {
        let stream = following_clusters(controller, client, &scopes)
            .graceful_shutdown_on(stop.clone().cancelled_owned())
            .run(provision::reconcile::reconcile, failed::<RocketMQTopic, A>, context.clone());
        running.push(Box::pin(drive("RocketMQTopic", context.clone(), stream)));
    }
    for controller in groups {
        let stream = following_clusters(controller, client, &scopes)
            .graceful_shutdown_on(stop.clone().cancelled_owned())
            .run(provision::reconcile::reconcile, failed::<RocketMQConsumerGroup, A>, context.clone());
        running.push(Box::pin(drive("RocketMQConsumerGroup", context.clone(), stream)));
    }
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = running.for_each(|()| ready(())) => {}
        () = grace => tracing::warn!("controllers did not finish in time"),
    }
}

fn failed<K: Resource<DynamicType = ()>, A: Admin>(
    object: Arc<DeserializeGuard<K>>,
    error: &Error,
    context: Arc<Context<A>>,
) -> Action {
    context.failed(&*object, error)
}

/// Runs a controller to its end. Errors of reconciles were told where they were handled; what is left is the watch, and objects
/// that a child pointed to after they were gone.
async fn drive<T, A: Admin>(
    kind: &'static str,
    context: Arc<Context<A>>,
    stream: impl Stream<Item = Result<T, controller::Error<Error, watcher::Error>>>,
) {
    stream
        .for_each(|result| {
            match result {
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                Err(controller::Error::ObjectNotFound(object)) => {
                    let namespace = object.namespace.clone().unwrap_or_default();
                    context.gone(kind, ClusterKey { namespace, name: object.name.clone() });
                }
                Err(error) => tracing::warn!(kind, %error, "the watch fails; it is tried again with growing pauses"),
            }
            ready(())
        })
        .await;
}

type Guarded<K> = Controller<DeserializeGuard<K>>;

fn one_kind<K>(client: &Client, scope: Option<&str>) -> Guarded<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let seen = watcher::watcher(api(client, scope), watcher::Config::default()).reflect(writer).applied_objects();
    let config = Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE);
    Controller::for_stream(people_s_changes(seen), store).with_config(config)
}

/// What is left of a watch without changes of the status alone. Every write of a spec and the start of a deletion move the
/// generation; annotations (pause, abandon) and finalizers do not.
fn people_s_changes<K>(
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

fn cluster_controller(client: &Client, scope: Option<&str>) -> Guarded<RocketMQCluster> {
    let ours = || watcher::Config::default().labels(cluster::build::labels::MANAGED_BY);
    one_kind::<RocketMQCluster>(client, scope)
        .owns::<StatefulSet>(api(client, scope), ours())
        .owns::<Service>(api(client, scope), ours())
        .owns::<ConfigMap>(api(client, scope), ours())
        .owns::<PodDisruptionBudget>(api(client, scope), ours())
}

/// A change of a cluster comes to all objects that name it.
fn following_clusters<K: Provisioned>(controller: Guarded<K>, client: &Client, scopes: &[Option<&str>]) -> Guarded<K> {
    scopes.iter().fold(controller, |controller, scope| {
        let objects: Store<DeserializeGuard<K>> = controller.store();
        let clusters: Api<DeserializeGuard<RocketMQCluster>> = api(client, *scope);
        controller.watches(clusters, watcher::Config::default(), move |cluster| {
            let home = key(&cluster);
            let names_it = move |object: &DeserializeGuard<K>| {
                let object = object.0.as_ref().ok()?;
                let of = ClusterKey::of(object.cluster_ref(), &object.namespace().unwrap_or_default());
                (of == home).then(|| ObjectRef::new(&object.name_any()).within(&object.namespace().unwrap_or_default()))
            };
            objects.state().iter().filter_map(|object| names_it(object)).collect::<Vec<_>>()
        })
    })
}

fn stores<K>(controllers: &[Guarded<K>]) -> Vec<Store<DeserializeGuard<K>>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    controllers.iter().map(Controller::store).collect()
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

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::{Value, json};

    use super::*;

    /// Lag and members stand in the status of a consumer group and are asked at each reconcile. Each write of them was a change
    /// that the watch delivered, so a busy group was reconciled five times a second.
    #[tokio::test]
    async fn figures_in_a_status_start_no_reconcile() {
        let seen = |metadata: Value, status: Value| {
            let mut object = json!({
                "apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQConsumerGroup", "status": status,
                "metadata": {"name": "billing", "namespace": "mq", "uid": "u"}, "spec": {"clusterRef": {"name": "prod"}},
            });
            object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
            serde_json::from_value::<DeserializeGuard<RocketMQConsumerGroup>>(object).unwrap()
        };
        let paused = json!({"rocketmq.rs/pause": "true"});
        let table = [
            ("new", json!({"generation": 1}), json!({}), true),
            ("lag", json!({"generation": 1}), json!({"lag": 7}), false),
            ("no lag", json!({"generation": 1}), json!({"lag": 0, "members": 2}), false),
            ("its spec", json!({"generation": 2}), json!({"lag": 0}), true),
            ("its finalizer", json!({"generation": 2, "finalizers": ["a/b"]}), json!({}), true),
            ("paused", json!({"generation": 2, "finalizers": ["a/b"], "annotations": paused}), json!({}), true),
            (
                "deleted",
                json!({"generation": 2, "finalizers": ["a/b"], "annotations": paused, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                json!({}),
                true,
            ),
            ("made anew", json!({"generation": 1, "uid": "v"}), json!({}), true),
        ];
        let events = table.iter().map(|(_, metadata, status, _)| Ok(seen(metadata.clone(), status.clone())));
        let mut delivered = Vec::new();
        let mut filtered = std::pin::pin!(people_s_changes(stream::iter(events)));
        while let Some(object) = filtered.next().await {
            delivered.push(serde_json::to_value(object.unwrap().0.unwrap()).unwrap());
        }
        let wanted: Vec<&str> = table.iter().filter(|row| row.3).map(|row| row.0).collect();
        assert_eq!(delivered.len(), wanted.len(), "{wanted:?}: {delivered:#?}");
        assert!(delivered.iter().all(|object| object["status"]["lag"] != 7), "{delivered:#?}");
    }
}
