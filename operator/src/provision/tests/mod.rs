//! Tables of what is due, and whole lives of objects against brokers and an API server in memory.

mod admission;
mod deletion;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::Method;
use kube::core::DeserializeGuard;
use kube::runtime::{
    controller::Action,
    events::{Recorder, Reporter},
    reflector::{self, Store, store::Writer},
    watcher::Event,
};
use rmq_protocol::body::{SubscriptionGroup, TopicConfig};
use serde_json::{Value, json};

use super::{decide::decide, *};
use crate::{
    api::{RocketMQCluster, RocketMQConsumerGroup, RocketMQTopic, cluster::Image, reference::ClusterKey},
    brokers::{
        fake::{Fake, Master},
        pool::Pool,
    },
    cluster::fixtures::READERS,
    error::Error,
    kubernetes::{
        context::{Context, Settings, Stores},
        fake_api::ApiServer,
    },
    process::{
        metrics::Metrics,
        watches::{REFUSED_FOR, Watch},
    },
};

fn defaulted<K: Provisioned>(object: Value) -> K {
    let schema = crate::manifest::openapi::<K>();
    serde_json::from_value(kube::core::cel::apply_defaults(&schema, &object)).unwrap()
}

fn topic(mut spec: Value) -> RocketMQTopic {
    spec["clusterRef"] = json!({"name": "prod"});
    defaulted(
        json!({"apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQTopic", "metadata": {"name": "orders", "namespace": "mq"}, "spec": spec}),
    )
}

fn with(topics: &[(&str, i32, i32)]) -> Master {
    let config =
        |&(name, queues, perm): &(&str, i32, i32)| (name.to_owned(), TopicConfig::new(name, queues, queues, perm));
    Master { topics: topics.iter().map(config).collect(), ..Master::default() }
}

fn of<K>(store: Store<DeserializeGuard<K>>, metrics: &Metrics) -> Stores<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
{
    Stores::new(vec![(store, Watch::new(&K::kind(&()), None, metrics, REFUSED_FOR))])
}

async fn inventory(fake: &Fake) -> Arc<Inventory> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let address = format!("inventory-{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    fake.publish(&address);
    let pool = Pool::<Fake>::new(Metrics::new().unwrap());
    let key = ClusterKey { namespace: "mq".into(), name: "prod".into() };
    pool.inventory(&key, &address, Instant::now()).await.unwrap()
}

/// Origin, writes and reasons.
type Due = (Option<Origin>, Vec<String>, String);
/// What, spec, origin before, brokers; origin, writes and reasons after.
type Row = (&'static str, Value, Option<Origin>, [Master; 2], Option<Origin>, &'static [&'static str], &'static str);

/// What is due for a topic on two brokers.
async fn due(spec: Value, origin: Option<Origin>, masters: [Master; 2]) -> Due {
    let [first, second] = masters;
    let inventory = inventory(&Fake::new(&[("b0", first), ("b1", second)])).await;
    let groups = ["b0".to_owned(), "b1".to_owned()];
    let decision = decide(&topic(spec), origin, &groups, &inventory);
    let describe = |write: &decide::Write<TopicConfig>| {
        format!(
            "{} w{} r{} p{}",
            write.broker, write.config.write_queue_nums, write.config.read_queue_nums, write.config.perm
        )
    };
    let reasons: Vec<&str> = decision.verdict.judgements.iter().map(|judgement| judgement.reason).collect();
    (decision.origin, decision.writes.iter().map(describe).collect(), reasons.join("+"))
}

#[tokio::test]
async fn the_table_of_what_is_due() {
    let none = || [Master::default(), Master::default()];
    let down = || Master { down: true, ..Master::default() };
    let same = || [with(&[("orders", 8, 6)]), with(&[("orders", 8, 6)])];
    let other = || [with(&[("orders", 4, 6)]), with(&[("orders", 8, 4)])];
    let more = || [with(&[("orders", 16, 4)]), with(&[("orders", 8, 6)])];
    let typed = |of: &str| {
        same().map(|mut master| {
            let config = master.topics.get_mut("orders").unwrap();
            config.attributes.insert("message.type".into(), of.into());
            master
        })
    };
    let ours = Some(Origin::Created);
    const CREATE: &[&str] = &["b0 w8 r8 p6", "b1 w8 r8 p6"];
    let (created, adopted) = (Some(Origin::Created), Some(Origin::Adopted));
    let table: Vec<Row> = vec![
        ("new and nowhere", json!({}), None, none(), created, CREATE, "Missing"),
        ("new, watched only", json!({"management": "Observe"}), None, none(), None, &[], "Missing+NotEnforced"),
        ("new and equal", json!({}), None, same(), adopted, &[], "InSync"),
        ("new, equal, never", json!({"adoption": "Never"}), None, same(), None, &[], "AdoptionRefused"),
        ("new and differs", json!({}), None, other(), None, &[], "AdoptionRefused"),
        (
            "new, differs, always",
            json!({"adoption": "Always"}),
            None,
            other(),
            adopted,
            &["b0 w8 r8 p6", "b1 w8 r8 p6"],
            "Differs",
        ),
        (
            "new, equal on one",
            json!({}),
            None,
            [with(&[("orders", 8, 6)]), Master::default()],
            adopted,
            &["b1 w8 r8 p6"],
            "Missing",
        ),
        ("new, one silent", json!({}), None, [Master::default(), down()], None, &[], "BrokerUnavailable"),
        ("ours and missing", json!({}), ours, none(), created, CREATE, "Missing"),
        (
            "ours, missing, one silent",
            json!({}),
            ours,
            [Master::default(), down()],
            created,
            &["b0 w8 r8 p6"],
            "BrokerUnavailable",
        ),
        ("ours and differs", json!({}), ours, other(), created, &["b0 w8 r8 p6", "b1 w8 r8 p6"], "Differs"),
        (
            "ours, differs, create only",
            json!({"management": "CreateOnly"}),
            ours,
            other(),
            created,
            &[],
            "Differs+NotEnforced",
        ),
        (
            "ours, missing, create only",
            json!({"management": "CreateOnly"}),
            ours,
            none(),
            created,
            CREATE,
            "Missing+NotEnforced",
        ),
        (
            "ours, differs, observed",
            json!({"management": "Observe"}),
            ours,
            other(),
            created,
            &[],
            "Differs+NotEnforced",
        ),
        ("more queues than wanted", json!({}), ours, more(), created, &["b0 w16 r16 p6"], "ChangeRefused"),
        (
            "a topic for transactions",
            json!({"messageType": "Transaction"}),
            ours,
            typed("TRANSACTION"),
            created,
            &[],
            "InSync",
        ),
        ("placed on one", json!({"placement": {"groups": [1]}}), None, none(), created, &["b1 w8 r8 p6"], "Missing"),
        (
            "also where it should not be",
            json!({"placement": {"groups": [1]}}),
            ours,
            same(),
            created,
            &[],
            "InSync+OnOtherGroups",
        ),
        ("placed nowhere", json!({"placement": {"groups": [7]}}), ours, none(), created, &[], "NoSuchGroup"),
    ];
    for (what, spec, origin, masters, wanted_origin, writes, reasons) in table {
        let (found_origin, found_writes, found_reasons) = due(spec, origin, masters).await;
        assert_eq!(
            (found_origin, found_writes.iter().map(String::as_str).collect::<Vec<_>>(), found_reasons.as_str()),
            (wanted_origin, writes.to_vec(), reasons),
            "{what}"
        );
    }
}

#[tokio::test]
async fn what_the_object_does_not_name_is_kept() {
    let mut have = TopicConfig::new("orders", 4, 4, 6);
    have.order = true;
    have.attributes.insert("cleanup.policy".into(), "COMPACTION".into());
    have.attributes.insert("message.type".into(), "NORMAL".into());
    let want = topic(json!({"queues": 6, "perm": "ReadOnly", "messageType": "Fifo"})).desired(Some(&have));
    assert_eq!((want.write_queue_nums, want.read_queue_nums, want.perm, want.order), (6, 6, 4, true));
    assert_eq!(want.attributes["cleanup.policy"], "COMPACTION");
    assert_eq!(want.attributes["message.type"], "FIFO");
    let unmanaged = topic(json!({})).compare(&have);
    assert!(!unmanaged.changes.iter().any(|change| change.field == "messageType"), "{unmanaged:?}");

    let group: RocketMQConsumerGroup = defaulted(json!({
        "apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQConsumerGroup", "metadata": {"name": "billing", "namespace": "mq"},
        "spec": {"clusterRef": {"name": "prod"}, "retry": {"maxTimes": 3}, "orderly": true},
    }));
    let have = SubscriptionGroup { consume_timeout_minute: 99, broker_id: 7, ..SubscriptionGroup::new("billing") };
    let want = group.desired(Some(&have));
    assert_eq!(
        (want.consume_timeout_minute, want.broker_id, want.retry_max_times, want.consume_message_orderly),
        (99, 7, 3, true)
    );
    let fields: Vec<&str> = group.compare(&have).changes.iter().map(|change| change.field).collect();
    assert_eq!(fields, ["orderly", "retry.maxTimes"]);
    assert!(group.compare(&want).changes.is_empty());
}

const TOPICS: &str = "/apis/rocketmq.rs/v1alpha1/namespaces/mq/rocketmqtopics";

struct World {
    api: ApiServer,
    brokers: Fake,
    context: Arc<Context<Fake>>,
    clusters: Writer<DeserializeGuard<RocketMQCluster>>,
    topics: Writer<DeserializeGuard<RocketMQTopic>>,
    /// The watch of topics in namespace team, which delivers nothing.
    team: Arc<Watch>,
}

impl World {
    /// A ready cluster of two groups. `namesrv` differs by test.
    async fn new(namesrv: &str) -> Self {
        let (api, client) = ApiServer::start().await;
        let brokers = Fake::new(&[("prod-broker-0", Master::default()), ("prod-broker-1", Master::default())]);
        brokers.publish(namesrv);
        let image = Image { repository: "r".into(), tag: "1".into(), ..Image::default() };
        let settings = Settings { default_image: image, domain: "cluster.local".into(), readers: READERS };
        let recorder = Recorder::new(client.clone(), Reporter::from("test".to_owned()));
        let (cluster_store, clusters) = reflector::store();
        let (topic_store, topics) = reflector::store();
        let metrics = Metrics::new().unwrap();
        let team = Watch::new("RocketMQTopic", Some("team"), &metrics, REFUSED_FOR);
        let all = Watch::new("RocketMQTopic", None, &metrics, REFUSED_FOR);
        let topic_stores = Stores::new(vec![(topic_store, all), (reflector::store().0, team.clone())]);
        let stores = (of(cluster_store, &metrics), topic_stores, Stores::new(Vec::new()));
        let context = Arc::new(Context::new(client, settings, metrics, recorder, stores));
        let (mut clusters, mut topics) = (clusters, topics);
        clusters.apply_watcher_event(&Event::Init);
        clusters.apply_watcher_event(&Event::InitDone);
        topics.apply_watcher_event(&Event::Init);
        topics.apply_watcher_event(&Event::InitDone);
        let mut world = Self { api, brokers, context, clusters, topics, team };
        world.cluster(|cluster| cluster["status"] = json!({"brokerGroups": 2, "namesrvAddrs": namesrv}));
        world
    }

    fn cluster(&mut self, change: impl FnOnce(&mut Value)) {
        let mut cluster = json!({
            "apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQCluster",
            "metadata": {"name": "prod", "namespace": "mq", "uid": "u1"}, "spec": {},
        });
        change(&mut cluster);
        self.clusters.apply_watcher_event(&Event::Apply(serde_json::from_value(cluster).unwrap()));
    }

    fn no_cluster(&mut self) {
        let cluster = json!({"apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQCluster", "metadata": {"name": "prod", "namespace": "mq"}, "spec": {}});
        self.clusters.apply_watcher_event(&Event::Delete(serde_json::from_value(cluster).unwrap()));
    }

    fn apply(&mut self, name: &str, mut spec: Value) {
        spec["clusterRef"] = json!({"name": "prod"});
        let path = format!("{TOPICS}/{name}");
        match self.api.object(&path) {
            Some(_) => {
                drop(self.api.change(&path, |object| object["spec"] = serde_json::to_value(topic(spec).spec).unwrap()))
            }
            None => {
                let mut object = topic(spec);
                object.metadata.name = Some(name.to_owned());
                self.api.insert(&path, &object);
            }
        }
        self.seen(name);
    }

    /// The watch delivers.
    fn seen(&mut self, name: &str) {
        if let Some(object) = self.api.object(&format!("{TOPICS}/{name}")) {
            self.topics.apply_watcher_event(&Event::Apply(serde_json::from_value(object).unwrap()));
        }
    }

    async fn pass(&mut self, name: &str) -> Result<Action, Error> {
        let object = self.api.object(&format!("{TOPICS}/{name}")).unwrap();
        let result = reconcile::reconcile::<RocketMQTopic, Fake>(
            Arc::new(serde_json::from_value(object).unwrap()),
            self.context.clone(),
        )
        .await;
        self.seen(name);
        result
    }

    fn delete(&mut self, name: &str) {
        self.api.change(&format!("{TOPICS}/{name}"), |object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z")
        });
        self.seen(name);
    }

    fn gone(&self, name: &str) -> bool {
        self.api.object(&format!("{TOPICS}/{name}")).is_none()
    }

    #[track_caller]
    fn ready(&self, name: &str, status: &str, reason: &str) -> String {
        let object = self.api.object(&format!("{TOPICS}/{name}")).unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap().clone();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        assert_eq!((&ready["status"], &ready["reason"]), (&json!(status), &json!(reason)), "{conditions:#?}");
        ready["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_topic_is_made_read_back_and_then_left_alone() {
    let mut world = World::new("made:1").await;
    world.apply("orders", json!({"topicName": "Orders_1", "queues": 3}));
    world.pass("orders").await.unwrap();
    world.ready("orders", "True", "InSync");
    assert_eq!(world.brokers.writes(), ["put prod-broker-0 Orders_1", "put prod-broker-1 Orders_1"]);
    let status = world.api.object(&format!("{TOPICS}/orders")).unwrap()["status"].clone();
    assert_eq!((&status["origin"], &status["topicName"]), (&json!("Created"), &json!("Orders_1")));
    assert_eq!(status["brokers"][1], json!({"name": "prod-broker-1", "queues": 3, "perm": "RW", "synced": true}));
    world.api.writes();
    world.pass("orders").await.unwrap();
    assert!(world.api.writes().is_empty() && world.brokers.writes().is_empty());
}

#[tokio::test]
async fn the_intention_is_written_before_the_topic() {
    let mut world = World::new("intention:1").await;
    world.apply("orders", json!({"adoption": "Never"}));
    world.brokers.change("prod-broker-1", |master| master.deaf = true);
    world.pass("orders").await.unwrap();
    assert!(world.ready("orders", "False", "ReadBackDiffers").contains("prod-broker-1 accepted"));
    world.brokers.change("prod-broker-1", |master| master.deaf = false);
    world.pass("orders").await.unwrap();
    world.ready("orders", "True", "InSync");
}

#[tokio::test]
async fn a_refused_write_is_reported_and_the_claim_survives_it() {
    for (namesrv, down) in [("refused:1", false), ("cut:1", true)] {
        let mut world = World::new(namesrv).await;
        world.apply("orders", json!({"adoption": "Never"}));
        // The first broker takes the write; the second refuses, or is gone since the inventory.
        let key = ClusterKey { namespace: "mq".into(), name: "prod".into() };
        world.context.pool.inventory(&key, namesrv, Instant::now()).await.unwrap();
        world.brokers.change("prod-broker-1", |master| (master.refuses, master.down) = (true, down));
        assert!(matches!(world.pass("orders").await, Err(Error::Admin(_))));
        match down {
            true => assert!(world.ready("orders", "Unknown", "BrokerUnavailable").contains("connection refused")),
            false => assert!(world.ready("orders", "False", "BrokerRefused").contains("not now")),
        }
        assert_eq!(world.brokers.writes(), ["put prod-broker-0 orders"]);
        world.brokers.change("prod-broker-1", |master| (master.refuses, master.down) = (false, false));
        world.context.pool.forget(&key);
        world.pass("orders").await.unwrap();
        world.ready("orders", "True", "InSync");
        let status = world.api.object(&format!("{TOPICS}/orders")).unwrap()["status"].clone();
        assert_eq!(status["origin"], "Created");
    }
}

#[tokio::test]
async fn drift_is_corrected_counted_and_reported_and_an_edit_is_no_drift() {
    let mut world = World::new("drift:1").await;
    world.apply("orders", json!({}));
    world.pass("orders").await.unwrap();
    world.apply("orders", json!({"perm": "ReadOnly"}));
    world.pass("orders").await.unwrap();
    world.ready("orders", "True", "InSync");
    assert!(!world.api.events().contains(&"DriftCorrected".to_owned()), "the user's own edit");

    world.brokers.change("prod-broker-0", |master| master.topics.get_mut("orders").unwrap().perm = 6);
    world.brokers.writes();
    // The periodic reconcile, a minute later.
    world.context.pool.forget(&ClusterKey { namespace: "mq".into(), name: "prod".into() });
    world.pass("orders").await.unwrap();
    assert_eq!(world.brokers.writes(), ["put prod-broker-0 orders"]);
    assert_eq!(world.api.events().iter().filter(|reason| *reason == "DriftCorrected").count(), 1);
    assert!(world.context.metrics.text().contains(r#"drift_corrected_total{kind="RocketMQTopic"} 1"#));
}

#[tokio::test]
async fn the_oldest_object_wins_and_the_next_takes_over() {
    let mut world = World::new("conflict:1").await;
    world.apply("first", json!({"topicName": "orders", "deletionPolicy": "Delete"}));
    world.api.change(&format!("{TOPICS}/first"), |object| {
        object["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z")
    });
    world.seen("first");
    world.apply("second", json!({"topicName": "orders", "queues": 16}));
    world.pass("second").await.unwrap();
    assert!(world.ready("second", "False", "ResourceConflict").contains("mq/first"));
    world.pass("first").await.unwrap();
    world.ready("first", "True", "InSync");
    world.brokers.writes();

    world.delete("first");
    world.pass("first").await.unwrap();
    assert!(world.gone("first") && world.brokers.writes().is_empty(), "handed over, not deleted");
    world.topics.apply_watcher_event(&Event::Init);
    world.topics.apply_watcher_event(&Event::InitDone);
    world.seen("second");
    world.context.pool.forget(&ClusterKey { namespace: "mq".into(), name: "prod".into() });
    world.pass("second").await.unwrap();
    world.ready("second", "False", "AdoptionRefused");
}

#[tokio::test]
async fn a_cluster_made_anew_gets_its_topics_again() {
    let mut world = World::new("anew:1").await;
    world.apply("orders", json!({}));
    world.pass("orders").await.unwrap();
    world.brokers.change("prod-broker-0", |master| master.topics.clear());
    world.brokers.change("prod-broker-1", |master| master.topics.clear());
    world.brokers.writes();
    world.cluster(|cluster| {
        cluster["metadata"]["uid"] = json!("u2");
        cluster["status"] = json!({"brokerGroups": 2, "namesrvAddrs": "anew:1"});
    });
    world.context.pool.forget(&ClusterKey { namespace: "mq".into(), name: "prod".into() });
    world.pass("orders").await.unwrap();
    world.ready("orders", "True", "InSync");
    assert_eq!(world.brokers.writes().len(), 2);
}

#[tokio::test]
async fn each_state_of_the_cluster_has_its_own_sentence() {
    let mut world = World::new("states:1").await;
    world.apply("orders", json!({}));
    world.cluster(|_| {});
    world.pass("orders").await.unwrap();
    world.ready("orders", "Unknown", "ClusterNotReady");
    world.no_cluster();
    world.pass("orders").await.unwrap();
    world.ready("orders", "False", "ClusterNotFound");
    world.cluster(|cluster| cluster["status"] = json!({"brokerGroups": 2, "namesrvAddrs": "states:1"}));
    world.brokers.0.lock().namesrv_down = true;
    world.pass("orders").await.unwrap();
    assert!(world.ready("orders", "Unknown", "ClusterUnreachable").contains("connection refused"));
    world.cluster(|cluster| {
        cluster["spec"] = json!({"clusterName": "orders"});
        cluster["status"] = json!({"brokerGroups": 2, "namesrvAddrs": "states:1"});
    });
    world.pass("orders").await.unwrap();
    world.ready("orders", "False", "SystemName");
}

#[tokio::test]
async fn a_silent_cluster_is_asked_less_and_less_often() {
    let fake = Fake::default();
    fake.0.lock().namesrv_down = true;
    fake.publish("pauses:1");
    let pool = Pool::<Fake>::new(Metrics::new().unwrap());
    let key = ClusterKey { namespace: "mq".into(), name: "prod".into() };
    let first = pool.inventory(&key, "pauses:1", Instant::now()).await.unwrap_err();
    assert_eq!(first.retry_in, Duration::from_secs(1));
    fake.0.lock().namesrv_down = false;
    let second = pool.inventory(&key, "pauses:1", Instant::now()).await.unwrap_err();
    assert!(second.retry_in <= first.retry_in, "not asked again before the pause is over");
    pool.forget(&key);
    assert!(pool.inventory(&key, "pauses:1", Instant::now()).await.is_ok());
}

#[tokio::test]
async fn a_thousand_objects_share_one_fetch() {
    let fake = Fake::new(&[("b0", Master::default())]);
    fake.publish("shared:1");
    let pool = Pool::<Fake>::new(Metrics::new().unwrap());
    let key = ClusterKey { namespace: "mq".into(), name: "prod".into() };
    let since = Instant::now();
    let all = (0..1000).map(|_| pool.inventory(&key, "shared:1", since));
    futures::future::join_all(all).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    assert_eq!(fake.0.lock().fetches, 1);
    pool.inventory(&key, "shared:1", Instant::now()).await.unwrap();
    assert_eq!(fake.0.lock().fetches, 2, "a writer asks for one younger than its write");
}

#[tokio::test]
async fn a_lost_race_for_the_finalizer_is_an_error_and_no_overwrite() {
    let mut world = World::new("race:1").await;
    world.apply("orders", json!({"deletionPolicy": "Delete"}));
    world.api.fail(Method::PATCH, "/rocketmqtopics/orders", 409, "the object has been modified");
    assert_eq!(world.pass("orders").await.unwrap_err().label(), "kubernetes");
    assert!(world.brokers.writes().is_empty(), "nothing is made that could not be unmade");
    world.api.heal();
    world.pass("orders").await.unwrap();
    world.ready("orders", "True", "InSync");
}

#[tokio::test]
async fn without_kubernetes_the_same_engine_makes_topics_true() {
    let fake = Fake::new(&[("b0", with(&[("orders", 4, 6)])), ("b1", Master::default())]);
    let groups = ["b0".to_owned(), "b1".to_owned()];
    let before = once(&topic(json!({})), &fake, &groups, &*inventory(&fake).await).await.unwrap();
    assert!(!before.ready);
    let after = once(&topic(json!({})), &fake, &groups, &*inventory(&fake).await).await.unwrap();
    assert!(after.ready);
    let queues: BTreeMap<String, i32> = fake
        .0
        .lock()
        .masters
        .iter()
        .map(|(name, master)| (name.clone(), master.topics["orders"].write_queue_nums))
        .collect();
    assert_eq!(queues, [("b0".to_owned(), 8), ("b1".to_owned(), 8)].into());
}
