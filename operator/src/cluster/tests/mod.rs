//! Whole passes against brokers and an API server in memory.

mod changes;
mod claims;
mod replace;

use axum::http::Method;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::Value;

use super::*;
use crate::{
    api::{RocketMQConsumerGroup, RocketMQTopic, cluster::Image, settings::Readers},
    brokers::fake::{Fake, Master},
    kubernetes::{
        context::{Settings, Stores},
        fake_api::ApiServer,
    },
    process::metrics::Metrics,
};

const CLUSTER: &str = "/apis/rocketmq.rs/v1alpha1/namespaces/mq/rocketmqclusters";
const SETS: &str = "/apis/apps/v1/namespaces/mq/statefulsets";
const CLAIMS: &str = "/api/v1/namespaces/mq/persistentvolumeclaims";

struct World {
    api: ApiServer,
    brokers: Fake,
    context: Arc<Context<Fake>>,
    name: String,
}

impl World {
    /// A cluster of this name and spec, whose brokers were not started yet. Names differ by test:
    /// namesrvs do too.
    async fn new(name: &str, spec: Value) -> Self {
        let (api, client) = ApiServer::start().await;
        let mut cluster = fixtures::cluster(spec);
        cluster.metadata.name = Some(name.to_owned());
        api.insert(&format!("{CLUSTER}/{name}"), &cluster);
        let brokers = Fake::default();
        let host = |i: usize| format!("{name}-namesrv-{i}.{name}-namesrv.mq.svc.cluster.local:9876");
        for count in 1..=2 {
            brokers.publish(&(0..count).map(host).collect::<Vec<_>>().join(";"));
        }
        let image = Image { repository: "example/rocketmq".into(), tag: "1".into(), ..Image::default() };
        let readers = Readers {
            broker: |pairs| match pairs.iter().find(|(key, _)| key == "fileReservdTime") {
                Some((key, _)) => Err(format!("{key} is no key, did you mean fileReservedTime")),
                None => Ok(Vec::new()),
            },
            ..fixtures::READERS
        };
        let settings = Settings { default_image: image, domain: "cluster.local".to_owned(), readers };
        let recorder = Recorder::new(client.clone(), Reporter::from("test".to_owned()));
        let stores = (
            Stores::<RocketMQCluster>::new(Vec::new()),
            Stores::<RocketMQTopic>::new(Vec::new()),
            Stores::<RocketMQConsumerGroup>::new(Vec::new()),
        );
        let context = Arc::new(Context::new(client, settings, Metrics::new().unwrap(), recorder, stores));
        Self { api, brokers, context, name: name.to_owned() }
    }

    fn path(&self) -> String {
        format!("{CLUSTER}/{}", self.name)
    }

    fn set(&self, suffix: &str) -> String {
        format!("{SETS}/{}-{suffix}", self.name)
    }

    async fn pass(&self) -> Result<Action, Error> {
        let object = self.api.object(&self.path()).unwrap();
        reconcile(Arc::new(serde_json::from_value(object).unwrap()), self.context.clone()).await
    }

    /// Plays the StatefulSet controller and the kubelet: all pods run the present template and are
    /// ready.
    fn pods_become_ready(&self) {
        for path in self.api.paths("/statefulsets/") {
            self.api.change(&path, |set| {
                let replicas = set["spec"]["replicas"].clone();
                set["status"] = json!({
                    "observedGeneration": set["metadata"]["generation"], "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas,
                });
            });
        }
    }

    /// Plays the brokers of existing groups: they register, a new one as its file says.
    fn brokers_register(&self) {
        let mut state = self.brokers.0.lock();
        for path in self.api.paths("-broker-").iter().filter(|path| path.contains("/statefulsets/")) {
            let set = self.api.object(path).unwrap();
            let name = set["metadata"]["name"].as_str().unwrap().to_owned();
            let slaves = set["spec"]["replicas"].as_u64().unwrap() as u32 - 1;
            let new = || Master { permission: 4, cluster: self.name.clone(), ..Master::default() };
            state.masters.entry(name).or_insert_with(new).slaves = slaves;
        }
    }

    /// Passes until nothing is written any more.
    async fn settle(&self) {
        for _ in 0..12 {
            self.pods_become_ready();
            self.brokers_register();
            self.pass().await.unwrap();
            if self.api.writes().is_empty() {
                return;
            }
        }
        panic!("a dozen passes and still writing");
    }

    fn edit(&self, pointer: &str, value: Value) {
        self.api.change(&self.path(), |cluster| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            cluster.pointer_mut(parent).unwrap()[key] = value;
        });
    }

    fn status(&self) -> Value {
        self.api.object(&self.path()).unwrap()["status"].clone()
    }

    #[track_caller]
    fn condition(&self, kind: &str, status: &str, reason: &str) -> String {
        let all = self.status()["conditions"].clone();
        let found = all.as_array().unwrap().iter().find(|condition| condition["type"] == kind);
        let found = found.unwrap_or_else(|| panic!("no {kind} in {all:#}"));
        assert_eq!((&found["status"], &found["reason"]), (&json!(status), &json!(reason)), "{all:#}");
        found["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_manifest_becomes_a_ready_cluster_and_then_nothing_is_written() {
    let world = World::new("fresh", json!({"brokers": {"groups": 2}})).await;
    world.pass().await.unwrap();
    world.condition("Ready", "False", "PodNotReady");
    assert_eq!(world.status()["phase"], "Pending");
    assert_eq!(world.api.paths("/statefulsets/").len(), 3);
    let map = world.api.object("/api/v1/namespaces/mq/configmaps/fresh-broker-1").unwrap();
    assert!(map["data"]["broker.conf"].as_str().unwrap().contains("brokerPermission=4"), "boots closed");

    world.settle().await;
    world.condition("Ready", "True", "Running");
    assert_eq!((&world.status()["phase"], &world.status()["groupsReady"]), (&json!("Running"), &json!("2/2")));
    let map = world.api.object("/api/v1/namespaces/mq/configmaps/fresh-broker-1").unwrap();
    let file = map["data"]["broker.conf"].as_str().unwrap();
    assert!(!file.contains("brokerPermission"), "a restart comes up open");
    assert!(file.ends_with("checkLogBeforeWrites=true\nexpectedSlaves=1\n"), "and not with an empty log: {file}");
    let discovery = world.api.object("/api/v1/namespaces/mq/configmaps/fresh-discovery").unwrap();
    assert_eq!(discovery["data"]["NAMESRV_ADDR"], world.status()["namesrvAddrs"]);
    world.brokers.writes();

    world.pass().await.unwrap();
    assert!(world.api.writes().is_empty() && world.brokers.writes().is_empty(), "a settled cluster is left alone");
}

#[tokio::test]
async fn configmaps_are_written_before_the_statefulsets_that_mount_them() {
    let world = World::new("order", json!({})).await;
    world.pass().await.unwrap();
    let writes = world.api.writes();
    let last_map = writes.iter().rposition(|write| write.contains("/configmaps/")).unwrap();
    let first_set = writes.iter().position(|write| write.contains("/statefulsets/")).unwrap();
    assert!(last_map < first_set, "{writes:#?}");
}

#[tokio::test]
async fn an_edit_reaches_one_group_at_a_time() {
    let world = World::new("rolling", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    world.edit("/spec/brokers/flush", json!("Sync"));
    world.pass().await.unwrap();
    let changed = |world: &World| -> Vec<String> {
        world.api.writes().into_iter().filter(|write| write.contains("/statefulsets/")).collect()
    };
    assert_eq!(changed(&world), [format!("PATCH {}", world.set("broker-0"))]);
    world.pass().await.unwrap();
    assert!(changed(&world).is_empty(), "the first has not come back");
    assert_eq!(world.status()["phase"], "RollingOut");
    world.pods_become_ready();
    world.pass().await.unwrap();
    assert_eq!(changed(&world), [format!("PATCH {}", world.set("broker-1"))]);
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

/// Readiness tells of one namesrv only, so that all brokers serve while another is away. A rollout
/// has to know more.
#[tokio::test]
async fn an_edit_does_not_go_on_to_the_next_group_while_a_namesrv_does_not_know_the_first() {
    let world = World::new("unregistered", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    let rows = |value: &str| [("unregisteredNamesrvs".to_owned(), value.to_owned())].into();
    world.brokers.change("unregistered-broker-0", |master| master.status = rows("a:9876"));
    world.edit("/spec/brokers/flush", json!("Sync"));
    let changed = |world: &World| -> Vec<String> {
        world.api.writes().into_iter().filter(|write| write.contains("/statefulsets/")).collect()
    };
    world.pass().await.unwrap();
    world.pods_become_ready();
    world.pass().await.unwrap();
    assert_eq!(changed(&world), [format!("PATCH {}", world.set("broker-0"))], "the second waits");
    world.brokers.change("unregistered-broker-0", |master| master.status = rows(""));
    world.pass().await.unwrap();
    assert_eq!(changed(&world), [format!("PATCH {}", world.set("broker-1"))]);
}

#[tokio::test]
async fn a_decision_about_a_lost_log_is_carried_out_once_and_then_forgotten() {
    let world = World::new("lost", json!({"brokers": {"groups": 1, "slavesPerGroup": 1}})).await;
    world.settle().await;
    world.brokers.writes();
    world.brokers.change("lost-broker-0", |master| {
        master.status = [("logCheck", "closed: the log of this master is empty"), ("commitLogMaxOffset", "0")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        master.slave_status = [("commitLogMaxOffset".to_owned(), "182780".to_owned())].into();
    });
    world.pass().await.unwrap();
    let message = world.condition("LogsComplete", "False", "DecisionNeeded");
    assert!(message.contains("lost-broker-0-1 holds 182780 bytes"), "{message}");
    assert!(world.brokers.writes().is_empty(), "no decision was made");

    world.edit("/metadata/annotations", json!({"rocketmq.rs/recover": "lost-broker-0=yes", "other": "stays"}));
    world.pass().await.unwrap();
    let message = world.condition("Ready", "False", "DecisionRefused");
    assert!(message.contains("\"lost-broker-0=yes\": write <group>=copy, <group>=accept-loss or"), "{message}");
    assert!(world.api.events().contains(&"DecisionRefused".to_owned()), "{:?}", world.api.events());
    assert!(world.brokers.writes().is_empty());
    world.edit("/metadata/annotations", json!({"rocketmq.rs/recover": "lost-broker-0=copy", "other": "stays"}));
    world.pass().await.unwrap();
    assert_eq!(
        world.brokers.writes(),
        ["recover lost-broker-0 copy lost-broker-0-1.lost-broker-0.mq.svc.cluster.local:10911"]
    );
    world.pass().await.unwrap();
    let annotations = world.api.object(&world.path()).unwrap()["metadata"]["annotations"].clone();
    assert_eq!(annotations, json!({"other": "stays"}), "it would decide about the next loss too");
    world.condition("LogsComplete", "True", "Checked");
}

#[tokio::test]
async fn scaling_up_opens_the_new_group_last() {
    let world = World::new("growing", json!({})).await;
    world.settle().await;
    world.brokers.change("growing-broker-0", |master| {
        master.topics.insert("orders".into(), rmq_protocol::body::TopicConfig::new("orders", 8, 8, 6));
    });
    world.brokers.writes();
    world.edit("/spec/brokers/groups", json!(2));
    world.pass().await.unwrap();
    world.pods_become_ready();
    world.pass().await.unwrap();
    assert!(world.condition("Ready", "False", "GroupNotOpen").contains("not registered"));
    assert_eq!(world.status()["phase"], "Scaling");
    world.settle().await;
    assert_eq!(world.brokers.writes(), ["put growing-broker-1 orders", "permit growing-broker-1 6"]);
    world.condition("Ready", "True", "Running");
}

#[tokio::test]
async fn scaling_down_is_refused_with_a_reason_and_the_rest_of_the_edit_is_made() {
    let world = World::new("shrinking", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    world.edit("/spec/brokers/groups", json!(1));
    world.edit("/spec/namesrv/config", json!({"orderMessageEnable": "true"}));
    world.settle().await;
    assert!(world.condition("ScaleDownRefused", "True", "DrainNotServed").contains("write groups: 2"));
    world.condition("Ready", "False", "ScaleDownRefused");
    assert!(world.api.object(&world.set("broker-1")).is_some(), "the group stays");
    let map = world.api.object("/api/v1/namespaces/mq/configmaps/shrinking-namesrv").unwrap();
    assert!(map["data"]["namesrv.conf"].as_str().unwrap().contains("orderMessageEnable=true"));
    world.pass().await.unwrap();
    let events = world.api.events().iter().filter(|reason| *reason == "DrainNotServed").count();
    assert_eq!(events, 1, "one event, however many passes");
}

#[tokio::test]
async fn a_spec_that_cannot_be_built_changes_nothing_that_runs() {
    let world = World::new("invalid", json!({})).await;
    world.settle().await;
    world.edit(
        "/spec/brokers/podTemplate",
        json!({"spec": {"tolerationz": []}, "metadata": {"labels": {"rocketmq.rs/x": "y"}}}),
    );
    world.pass().await.unwrap();
    assert!(world.condition("SpecValid", "False", "Invalid").contains("spec.brokers.podTemplate"));
    let writes = world.api.writes();
    assert_eq!(writes, [format!("PATCH {}/status", world.path())]);
    assert_eq!(world.status()["groups"][0]["open"], true, "what was known stays known");
    world.edit("/spec/brokers/podTemplate", json!({}));
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

#[tokio::test]
async fn an_object_of_a_planned_name_that_is_not_ours_is_never_touched() {
    let world = World::new("foreign", json!({})).await;
    let path = "/api/v1/namespaces/mq/services/foreign-namesrv";
    let theirs =
        world.api.insert(path, json!({"metadata": {"name": "foreign-namesrv"}, "spec": {"clusterIP": "10.0.0.1"}}));
    let error = world.pass().await.unwrap_err();
    assert!(matches!(&error, Error::Foreign { kind: "Service", .. }), "{error}");
    assert!(world.condition("Ready", "False", "NameTaken").contains("Service foreign-namesrv exists"));
    assert_eq!(world.api.object(path), Some(theirs));
}

#[tokio::test]
async fn children_that_are_no_longer_planned_go_and_others_stay() {
    let world = World::new("pruned", json!({})).await;
    world.settle().await;
    let uid = world.api.object(&world.path()).unwrap()["metadata"]["uid"].clone();
    let labels = json!({
        "app.kubernetes.io/name": "rocketmq", "app.kubernetes.io/instance": "pruned", "app.kubernetes.io/managed-by": "rocketmq-operator",
    });
    let maps = "/api/v1/namespaces/mq/configmaps";
    let owner = json!([{"apiVersion": "rocketmq.rs/v1alpha1", "kind": "RocketMQCluster", "name": "pruned", "uid": uid, "controller": true}]);
    world.api.insert(
        &format!("{maps}/old"),
        json!({"metadata": {"name": "old", "labels": labels, "ownerReferences": owner}}),
    );
    world.api.insert(&format!("{maps}/theirs"), json!({"metadata": {"name": "theirs", "labels": labels}}));
    world.pass().await.unwrap();
    assert_eq!(world.api.writes(), [format!("DELETE {maps}/old")]);
    assert!(world.api.object(&format!("{maps}/theirs")).is_some());
}

#[tokio::test]
async fn volumes_grow_and_the_statefulset_is_made_anew_around_its_pods() {
    let world = World::new("disk", json!({"brokers": {"slavesPerGroup": 0, "storage": {"size": "1Gi"}}})).await;
    world.settle().await;
    let labels = json!({"app.kubernetes.io/name": "rocketmq", "app.kubernetes.io/instance": "disk"});
    let claim = format!("{CLAIMS}/data-disk-broker-0-0");
    world.api.insert(
        &claim,
        json!({"metadata": {"name": "data-disk-broker-0-0", "labels": labels}, "spec": {"resources": {"requests": {"storage": "1Gi"}}},
               "status": {"capacity": {"storage": "1Gi"}}}),
    );
    world.edit("/spec/brokers/storage/size", json!("2Gi"));

    world.api.fail(Method::PATCH, "/persistentvolumeclaims/", 403, "only dynamically provisioned pvc can be resized");
    world.pass().await.unwrap();
    assert!(world.condition("StorageHealthy", "False", "ExpansionRefused").contains("dynamically provisioned"));
    world.api.heal();

    world.settle().await;
    assert_eq!(world.api.object(&claim).unwrap()["spec"]["resources"]["requests"]["storage"], "2Gi");
    let template = world.api.object(&world.set("broker-0")).unwrap()["spec"]["volumeClaimTemplates"][0].clone();
    assert_eq!(template["spec"]["resources"]["requests"]["storage"], "2Gi");
    world.condition("StorageHealthy", "False", "Expanding");
    world.api.change(&claim, |claim| claim["status"]["capacity"]["storage"] = json!("2048Mi"));
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

#[tokio::test]
async fn paused_means_hands_off() {
    let world = World::new("paused", json!({})).await;
    world.settle().await;
    world.edit("/spec/operation/paused", json!(true));
    world.edit("/spec/brokers/groups", json!(3));
    world.pass().await.unwrap();
    world.condition("Paused", "True", "AskedFor");
    world.condition("Ready", "True", "Paused");
    assert_eq!(world.api.writes(), [format!("PATCH {}/status", world.path())]);
    world.edit("/spec/operation/paused", json!(false));
    world.settle().await;
    assert_eq!(world.status()["groupsReady"], "3/3");
}

#[tokio::test]
async fn a_failing_api_server_costs_one_error_and_growing_pauses() {
    let world = World::new("failing", json!({})).await;
    world.api.fail(Method::PATCH, "/services/", 422, "no");
    let error = world.pass().await.unwrap_err();
    assert_eq!(error.label(), "kubernetes");
    assert!(world.condition("Ready", "False", "ApiServerRefused").contains("no"));
    let object = world.api.object(&world.path()).unwrap();
    let cluster: RocketMQCluster = serde_json::from_value(object).unwrap();
    let mut pauses = (0..12).map(|_| format!("{:?}", world.context.failed(&cluster, &error)));
    let (first, last) = (pauses.next().unwrap(), pauses.next_back().unwrap());
    assert_ne!(first, last);
    world.api.heal();
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

#[tokio::test]
async fn silent_brokers_are_reported_as_unknown_and_nothing_is_forgotten() {
    let world = World::new("silent", json!({})).await;
    world.settle().await;
    world.brokers.0.lock().namesrv_down = true;
    world.pass().await.unwrap();
    world.condition("Ready", "Unknown", "Unreachable");
    assert_eq!(world.status()["groups"][0]["open"], true);
    world.brokers.0.lock().namesrv_down = false;
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

#[tokio::test]
async fn an_operator_that_dies_between_any_two_writes_ends_where_another_would() {
    let whole = World::new("whole", json!({"brokers": {"groups": 2}})).await;
    whole.settle().await;
    let target = whole.api.paths("/statefulsets/").len()
        + whole.api.paths("/configmaps/").len()
        + whole.api.paths("/services/").len();
    for part in ["/configmaps/", "/services/", "/poddisruptionbudgets/", "/statefulsets/", "/status"] {
        let name = format!("dead{}", part.trim_matches('/'));
        let world = World::new(&name, json!({"brokers": {"groups": 2}})).await;
        world.api.fail(Method::PATCH, part, 422, "dead");
        world.pass().await.unwrap_err();
        world.pods_become_ready();
        world.brokers_register();
        world.pass().await.unwrap_err();
        world.api.heal();
        world.settle().await;
        let found = world.api.paths("/statefulsets/").len()
            + world.api.paths("/configmaps/").len()
            + world.api.paths("/services/").len();
        assert_eq!(found, target, "after a death at {part}");
        world.condition("Ready", "True", "Running");
    }
}
