//! Which namespaces may name something on a cluster, and what objects of others get as status.

use super::*;

impl World {
    pub(super) fn path_in(namespace: &str, name: &str) -> String {
        format!("/apis/rocketmq.rs/v1alpha1/namespaces/{namespace}/rocketmqtopics/{name}")
    }

    /// A topic of another namespace.
    pub(super) fn apply_in(&mut self, namespace: &str, name: &str, spec: Value) {
        let mut object = serde_json::to_value(topic(spec)).unwrap();
        object["metadata"] = json!({"name": name, "namespace": namespace});
        object["spec"]["clusterRef"] = json!({"name": "prod", "namespace": "mq"});
        let stored = self.api.insert(&Self::path_in(namespace, name), object);
        self.topics.apply_watcher_event(&Event::Apply(serde_json::from_value(stored).unwrap()));
    }

    pub(super) async fn pass_in(&mut self, namespace: &str, name: &str) -> Result<Action, Error> {
        let object = self.api.object(&Self::path_in(namespace, name)).unwrap();
        let object = Arc::new(serde_json::from_value(object).unwrap());
        reconcile::reconcile::<RocketMQTopic, Fake>(object, self.context.clone()).await
    }

    #[track_caller]
    pub(super) fn ready_in(&self, namespace: &str, name: &str, status: &str, reason: &str) -> String {
        let object = self.api.object(&Self::path_in(namespace, name)).unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap().clone();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        assert_eq!((&ready["status"], &ready["reason"]), (&json!(status), &json!(reason)), "{conditions:#?}");
        ready["message"].as_str().unwrap().to_owned()
    }

    /// The cluster admits these namespaces besides its own.
    pub(super) fn admit(&mut self, namespaces: &[&str], namesrv: &str) {
        self.cluster(|cluster| {
            cluster["spec"] = json!({"topics": {"allowedNamespaces": namespaces}});
            cluster["status"] = json!({"brokerGroups": 2, "namesrvAddrs": namesrv});
        });
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_admitted_gets_the_remedy() {
    let mut world = World::new("foreign:1").await;
    world.apply_in("team", "orders", json!({}));
    for _ in 0..2 {
        world.pass_in("team", "orders").await.unwrap();
    }
    let message = world.ready_in("team", "orders", "False", "NamespaceNotAllowed");
    assert!(message.contains("does not admit namespace team") && message.contains("allowedNamespaces"), "{message}");
    assert!(world.brokers.writes().is_empty());
    assert_eq!(world.api.events(), ["NamespaceNotAllowed"]);
    world.admit(&["team"], "foreign:1");
    world.pass_in("team", "orders").await.unwrap();
    world.ready_in("team", "orders", "True", "InSync");
}

/// A user with the right to create topics in any namespace could block a topic of another team by
/// naming it first, and a topic that was to be deleted was handed over to an object that may not
/// have it.
#[tokio::test]
async fn an_object_that_is_not_admitted_neither_blocks_nor_inherits_a_topic() {
    let mut world = World::new("squatter:1").await;
    world.apply_in("team", "squatter", json!({"topicName": "orders"}));
    let older = world.api.change(&World::path_in("team", "squatter"), |object| {
        object["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z")
    });
    world.topics.apply_watcher_event(&Event::Apply(serde_json::from_value(older).unwrap()));
    world.apply("orders", json!({"deletionPolicy": "Delete"}));
    world.pass("orders").await.unwrap();
    world.ready("orders", "True", "InSync");

    world.admit(&["team"], "squatter:1");
    world.pass("orders").await.unwrap();
    assert!(world.ready("orders", "False", "ResourceConflict").contains("team/squatter"), "admitted, it is the older");
    world.admit(&[], "squatter:1");
    world.context.pool.forget(&ClusterKey { namespace: "mq".into(), name: "prod".into() });
    world.pass("orders").await.unwrap();
    world.brokers.writes();

    world.delete("orders");
    world.pass("orders").await.unwrap();
    world.pass("orders").await.unwrap();
    assert!(world.gone("orders"));
    assert_eq!(world.brokers.writes()[..2], ["delete prod-broker-0 orders", "delete prod-broker-1 orders"]);
}

/// These reasons stood in a condition only, where a user that waits for a topic does not see them.
#[tokio::test]
async fn what_only_a_person_can_put_right_is_one_event() {
    let mut world = World::new("events:1").await;
    world.apply("placed", json!({"placement": {"groups": [7]}}));
    world.apply("system", json!({"topicName": "prod"}));
    world.apply("homeless", json!({}));
    for _ in 0..3 {
        world.pass("placed").await.unwrap();
        world.pass("system").await.unwrap();
    }
    world.no_cluster();
    for _ in 0..3 {
        world.pass("homeless").await.unwrap();
    }
    world.ready("placed", "False", "NoSuchGroup");
    let mut events = world.api.events();
    events.sort();
    assert_eq!(events, ["ClusterNotFound", "NoSuchGroup", "SystemName"]);
}
