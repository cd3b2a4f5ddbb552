//! What starts reconciles, against an API server and brokers in memory.

use std::{net::SocketAddr, time::Instant};

use futures::stream;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::cluster::Image,
    brokers::fake::Fake,
    cluster::fixtures::{READERS, cluster},
    kubernetes::fake_api::ApiServer,
};

pub(super) const KINDS: &str = "/apis/rocketmq.rs/v1alpha1/namespaces";

/// Lag and members stand in the status of a consumer group and are asked at each reconcile. Each
/// write of them was a change that the watch delivered, so a busy group was reconciled five times a
/// second.
#[tokio::test]
async fn numbers_in_a_status_start_no_reconcile() {
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
    let mut filtered = std::pin::pin!(without_status_changes(stream::iter(events)));
    while let Some(object) = filtered.next().await {
        delivered.push(serde_json::to_value(object.unwrap().0.unwrap()).unwrap());
    }
    let wanted: Vec<&str> = table.iter().filter(|row| row.3).map(|row| row.0).collect();
    assert_eq!(delivered.len(), wanted.len(), "{wanted:?}: {delivered:#?}");
    assert!(delivered.iter().all(|object| object["status"]["lag"] != 7), "{delivered:#?}");
}

/// Options of an operator without a Lease.
pub(super) fn options(namespaces: &[&str]) -> Options {
    Options {
        namespaces: namespaces.iter().map(|namespace| (*namespace).to_owned()).collect(),
        default_image: Image { repository: "example/rocketmq".into(), tag: "1".into(), ..Image::default() },
        domain: "cluster.local".into(),
        readers: READERS,
        lease: None,
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}

/// The operator's controllers on an API server in memory.
pub(super) struct World {
    api: ApiServer,
    metrics: Metrics,
    readiness: Readiness,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), Error>>,
}

impl World {
    /// Starts them as they start on a replica that has got the Lease.
    fn lead(api: &ApiServer, client: &Client, namespaces: &[&str]) -> Self {
        Self::lead_with::<Fake>(api, client, options(namespaces))
    }

    pub(super) fn lead_with<A: Admin>(api: &ApiServer, client: &Client, options: Options) -> Self {
        let (metrics, readiness, stop) = (Metrics::new().unwrap(), Readiness::default(), CancellationToken::new());
        readiness.reached();
        let running = {
            let (client, metrics, readiness, stop) = (client.clone(), metrics.clone(), readiness.clone(), stop.clone());
            tokio::spawn(async move { run::<A>(&options, &client, &metrics, &readiness, &stop, Duration::ZERO).await })
        };
        Self { api: api.clone(), metrics, readiness, stop, running }
    }

    /// Reconciles of a kind that ended well.
    pub(super) fn reconciled(&self, kind: &str) -> u64 {
        let begin = format!("rocketmq_operator_reconcile_total{{kind=\"{kind}\",result=\"ok\"}} ");
        let text = self.metrics.text();
        text.lines().find_map(|line| line.strip_prefix(&begin)).map_or(0, |count| count.parse().unwrap())
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            assert!(began.elapsed() < Duration::from_secs(120), "{what} did not come: {}", self.metrics.text());
            assert!(!self.running.is_finished(), "the controllers ended before {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn put_cluster(api: &ApiServer, namespace: &str, name: &str) {
    let mut object = cluster(json!({"namesrv": {"replicas": 1}}));
    object.metadata.name = Some(name.to_owned());
    object.metadata.namespace = Some(namespace.to_owned());
    object.metadata.uid = Some(format!("uid-of-{namespace}-{name}"));
    api.insert(&format!("{KINDS}/{namespace}/rocketmqclusters/{name}"), &object);
}

fn put_topic(api: &ApiServer, namespace: &str, name: &str, cluster: &str) {
    let topic = json!({
        "apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQTopic", "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterRef": {"name": cluster}, "queues": 4},
    });
    api.insert(&format!("{KINDS}/{namespace}/rocketmqtopics/{name}"), topic);
}

fn put_consumer_group(api: &ApiServer, namespace: &str, name: &str, cluster: &str) {
    let group = json!({
        "apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQConsumerGroup", "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterRef": {"name": cluster}},
    });
    api.insert(&format!("{KINDS}/{namespace}/rocketmqconsumergroups/{name}"), group);
}

/// Each list took seconds, and while the last of them was on its way the reconciles of the others
/// waited for it. Of all that waited for one store only the last was woken: clusters and consumer
/// groups were never reconciled again, and nothing said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_controllers_reconcile_after_a_leader_start_with_thousands_of_objects() {
    let (api, client) = ApiServer::start().await;
    put_cluster(&api, "mq", "deaf");
    for i in 0..3000 {
        put_topic(&api, "mq", &format!("t{i}"), "deaf");
    }
    for i in 0..2000 {
        put_consumer_group(&api, "mq", &format!("g{i}"), "deaf");
    }
    api.slow_down("/rocketmqtopics", Duration::from_millis(100));
    api.slow_down("/rocketmqconsumergroups", Duration::from_millis(100));
    let world = World::lead(&api, &client, &[]);
    world
        .until("a reconcile of every controller", |world| {
            world.reconciled("RocketMQCluster") > 0
                && world.reconciled("RocketMQTopic") > 100
                && world.reconciled("RocketMQConsumerGroup") > 100
        })
        .await;
    // And they hear what happens afterwards.
    let budget = "/apis/policy/v1/namespaces/mq/poddisruptionbudgets/deaf-broker-0";
    world.until("the children of the cluster", |world| world.api.object(budget).is_some()).await;
    api.remove(budget);
    world.until("a child that was deleted", |world| world.api.object(budget).is_some()).await;
    world.end().await;
}

/// After a restart nothing was reconciled anywhere while one watched namespace was gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_namespace_that_is_gone_does_not_hold_the_others() {
    let (api, client) = ApiServer::start().await;
    put_cluster(&api, "mq", "lives");
    put_topic(&api, "mq", "orders", "lives");
    api.fail(axum::http::Method::GET, "/namespaces/gone/", 403, "rocketmqtopics is forbidden in the namespace gone");
    let world = World::lead(&api, &client, &["gone", "mq"]);
    world
        .until("reconciles in the other namespace", |world| {
            world.reconciled("RocketMQCluster") > 0 && world.reconciled("RocketMQTopic") > 0
        })
        .await;
    let text = world.metrics.text();
    for kind in ["RocketMQCluster", "RocketMQTopic", "RocketMQConsumerGroup"] {
        for (namespace, listed) in [("gone", 0), ("mq", 1)] {
            let line = format!("rocketmq_operator_watch_listed{{kind=\"{kind}\",namespace=\"{namespace}\"}} {listed}");
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
    }
    let (status, response) = world.readiness.response();
    assert_eq!(status, 200, "{response}");
    assert!(response.contains("RocketMQTopic in namespace gone") && response.contains("forbidden"), "{response}");
    // Changes come at once, whatever pause the refused watches have reached.
    let before = world.reconciled("RocketMQTopic");
    put_topic(&api, "mq", "payments", "lives");
    world.until("a new topic", |world| world.reconciled("RocketMQTopic") > before).await;
    // And when the namespace is there again, so are its objects.
    put_cluster(&api, "gone", "back");
    api.heal();
    let back = "/apis/apps/v1/namespaces/gone/statefulsets/back-namesrv";
    world.until("the cluster in the namespace that came back", |world| world.api.object(back).is_some()).await;
    world.end().await;
}
