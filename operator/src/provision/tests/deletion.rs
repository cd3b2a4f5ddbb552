//! Deletions: what each policy does, what is said when they do not go straight, and what is never
//! done.

use super::*;

const PROD: &str = "/apis/rocketmq.rs/v1alpha1/namespaces/mq/rocketmqclusters/prod";

/// A cluster whose topic "orders" is there and is deleted with its object.
async fn world_with_orders(namesrv: &str) -> World {
    let mut world = World::new(namesrv).await;
    world.apply("orders", json!({"deletionPolicy": "Delete"}));
    world.pass("orders").await.unwrap();
    world.brokers.writes();
    world
}

impl World {
    fn annotate(&mut self, name: &str, annotations: Value) {
        self.api.change(&format!("{TOPICS}/{name}"), |object| object["metadata"]["annotations"] = annotations);
        self.seen(name);
    }

    /// Events of this reason, each repetition counted.
    fn events(&self, reason: &str) -> usize {
        self.api.events().iter().filter(|event| *event == reason).count()
    }

    fn paused(&self, name: &str) -> Option<String> {
        let object = self.api.object(&format!("{TOPICS}/{name}")).unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap().clone();
        let paused = conditions.iter().find(|condition| condition["type"] == "Paused")?;
        Some(paused["message"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn deletion_policies_do_what_they_say() {
    let mut world = World::new("deletion:1").await;
    for (name, policy) in [("kept", "Retain"), ("dropped", "Delete"), ("waiting", "DeleteIfEmpty")] {
        world.apply(name, json!({"deletionPolicy": policy}));
        world.pass(name).await.unwrap();
        let object = world.api.object(&format!("{TOPICS}/{name}")).unwrap();
        assert_eq!(object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()), policy != "Retain");
    }
    world.brokers.change("prod-broker-1", |master| master.stored = 3);
    world.brokers.writes();

    world.delete("kept");
    world.pass("kept").await.unwrap();
    assert!(world.brokers.writes().is_empty());

    world.delete("dropped");
    world.pass("dropped").await.unwrap();
    assert!(!world.gone("dropped"), "not before it is seen gone");
    world.pass("dropped").await.unwrap();
    assert!(world.gone("dropped"));
    let writes = world.brokers.writes();
    assert_eq!(
        writes,
        ["delete prod-broker-0 dropped", "delete prod-broker-1 dropped", "forget dropped", "forget dropped"]
    );

    world.delete("waiting");
    world.pass("waiting").await.unwrap();
    assert!(world.ready("waiting", "False", "NotEmpty").contains("stores 3 messages"));
    assert!(world.brokers.writes().is_empty());
    world.brokers.change("prod-broker-1", |master| master.stored = 0);
    world.pass("waiting").await.unwrap();
    world.pass("waiting").await.unwrap();
    assert!(world.gone("waiting"));
}

#[tokio::test]
async fn a_finalizer_lets_go_when_the_cluster_is_gone_or_going() {
    for (namesrv, going) in [("gone:1", false), ("going:1", true)] {
        let mut world = World::new(namesrv).await;
        world.apply("orders", json!({"deletionPolicy": "Delete"}));
        world.pass("orders").await.unwrap();
        world.delete("orders");
        match going {
            true => world.cluster(|cluster| cluster["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z")),
            false => world.no_cluster(),
        }
        world.pass("orders").await.unwrap();
        assert!(world.gone("orders"));
        assert!(world.api.events().contains(&"ClusterGone".to_owned()));
    }
}

#[tokio::test]
async fn a_silent_broker_keeps_the_finalizer_until_it_answers_or_is_abandoned() {
    let mut world = World::new("abandon:1").await;
    world.apply("orders", json!({"deletionPolicy": "Delete"}));
    world.pass("orders").await.unwrap();
    world.brokers.change("prod-broker-1", |master| master.down = true);
    world.delete("orders");
    world.pass("orders").await.unwrap();
    assert!(world.ready("orders", "Unknown", "BrokerUnavailable").contains("rocketmq.rs/abandon=true"));
    world.api.change(&format!("{TOPICS}/orders"), |object| {
        object["metadata"]["annotations"] = json!({"rocketmq.rs/abandon": "true"})
    });
    world.pass("orders").await.unwrap();
    assert!(world.gone("orders"));
}

#[tokio::test]
async fn a_topic_that_was_never_ours_is_never_deleted() {
    let mut world = World::new("theirs:1").await;
    world.brokers.change("prod-broker-0", |master| {
        master.topics.insert("orders".into(), TopicConfig::new("orders", 1, 1, 6));
    });
    world.apply("orders", json!({"deletionPolicy": "Delete"}));
    world.pass("orders").await.unwrap();
    assert!(world.ready("orders", "False", "AdoptionRefused").contains("adoption: Always"));
    world.delete("orders");
    world.pass("orders").await.unwrap();
    assert!(world.gone("orders") && world.brokers.writes().is_empty());
}

/// A broker that says yes and deletes nothing was asked again five times a second, each time after
/// a fetch of all its tables, and the object still said that all was well.
#[tokio::test]
async fn a_broker_that_does_not_delete_is_retried_with_back_off_and_reported_once() {
    let mut world = world_with_orders("undead:1").await;
    world.brokers.change("prod-broker-1", |master| master.deaf = true);
    world.delete("orders");
    // Hundreds of milliseconds at first, then seconds.
    let soon = |action: Action| format!("{action:?}").contains("ms)");
    assert!(soon(world.pass("orders").await.unwrap()));
    world.ready("orders", "False", "Deleting");
    for _ in 0..3 {
        assert!(!soon(world.pass("orders").await.unwrap()));
        assert!(world.ready("orders", "False", "StillThere").contains("rocketmq.rs/abandon=true"));
    }
    assert_eq!(world.events("StillThere"), 1);
    world.brokers.change("prod-broker-1", |master| master.deaf = false);
    world.pass("orders").await.unwrap();
    world.pass("orders").await.unwrap();
    assert!(world.gone("orders"));
}

/// The status stayed `Ready True InSync` while every try to delete failed.
#[tokio::test]
async fn a_broker_that_refuses_to_delete_is_reported_in_the_status() {
    let mut world = world_with_orders("stubborn:1").await;
    world.brokers.change("prod-broker-0", |master| master.refuses = true);
    world.delete("orders");
    assert!(matches!(world.pass("orders").await, Err(Error::Admin(_))), "tried again with growing pauses");
    let message = world.ready("orders", "False", "BrokerRefused");
    assert!(message.contains("cannot be deleted") && message.contains("rocketmq.rs/abandon=true"), "{message}");
}

#[tokio::test]
async fn whatever_keeps_a_finalizer_names_the_way_out() {
    let mut world = world_with_orders("hints:1").await;
    world.delete("orders");
    world.brokers.0.lock().namesrv_down = true;
    world.pass("orders").await.unwrap();
    let message = world.ready("orders", "Unknown", "ClusterUnreachable");
    assert!(message.contains("connection refused") && message.contains("rocketmq.rs/abandon=true"), "{message}");
    world.brokers.0.lock().namesrv_down = false;

    world.apply_in("team", "parts", json!({"deletionPolicy": "Delete"}));
    world.admit(&["team"], "hints:1");
    world.context.pool.forget(&ClusterKey { namespace: "mq".into(), name: "prod".into() });
    world.pass_in("team", "parts").await.unwrap();
    world.ready_in("team", "parts", "True", "InSync");
    world.admit(&[], "hints:1");
    world.api.change(&World::path_in("team", "parts"), |object| {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z")
    });
    world.pass_in("team", "parts").await.unwrap();
    let message = world.ready_in("team", "parts", "False", "NamespaceNotAllowed");
    assert!(message.contains("allowedNamespaces") && message.contains("rocketmq.rs/abandon=true"), "{message}");
}

/// A cluster in a namespace that is not watched, or one whose object could not be read, was taken
/// for gone, and the finalizers of its topics let go without deleting anything.
#[tokio::test]
async fn a_cluster_that_is_only_not_seen_is_not_gone() {
    let mut world = world_with_orders("unseen:1").await;
    world.api.insert(PROD, json!({"metadata": {"name": "prod", "namespace": "mq"}, "spec": {"brokers": "unreadable"}}));
    world.no_cluster();
    world.delete("orders");
    world.pass("orders").await.unwrap();
    assert!(world.ready("orders", "Unknown", "ClusterNotSeen").contains("rocketmq.rs/abandon=true"));

    world.api.remove(PROD);
    world.api.fail(Method::GET, "/rocketmqclusters/prod", 403, "forbidden: namespaces that are not watched");
    world.pass("orders").await.unwrap();
    world.ready("orders", "Unknown", "ClusterNotSeen");
    world.api.heal();
    world.api.fail(Method::GET, "/rocketmqclusters/prod", 500, "etcd has no leader");
    assert_eq!(world.pass("orders").await.unwrap_err().label(), "kubernetes");
    assert!(!world.gone("orders") && world.brokers.writes().is_empty());

    world.api.heal();
    world.pass("orders").await.unwrap();
    assert!(world.gone("orders"), "404 is gone");
    assert!(world.api.events().contains(&"ClusterGone".to_owned()));
}

/// A namespace that the API server refused to list counted as empty, and the deletion of one object
/// took a topic and its messages away from another object there.
#[tokio::test]
async fn a_topic_is_not_deleted_while_a_namespace_that_may_name_it_cannot_be_seen() {
    let status = kube::core::Status { code: 403, message: "forbidden".to_owned(), ..kube::core::Status::default() };
    let refusal = kube::runtime::watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
    let mut world = world_with_orders("blind:1").await;
    world.admit(&["team"], "blind:1");
    world.team.fail(&refusal, tokio::time::Instant::now());
    world.delete("orders");
    for _ in 0..2 {
        world.pass("orders").await.unwrap();
    }
    let message = world.ready("orders", "Unknown", "SiblingsNotSeen");
    for part in ["the watch of RocketMQTopic in namespace team", "forbidden", "rocketmq.rs/abandon=true"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(world.brokers.writes().is_empty() && !world.gone("orders"));

    world.team.deliver(&Event::<()>::InitDone);
    for _ in 0..2 {
        world.pass("orders").await.unwrap();
    }
    assert!(world.gone("orders"));

    // Objects of a namespace that is not admitted name nothing here.
    let mut world = world_with_orders("elsewhere:1").await;
    world.team.fail(&refusal, tokio::time::Instant::now());
    world.delete("orders");
    for _ in 0..2 {
        world.pass("orders").await.unwrap();
    }
    assert!(world.gone("orders"));
}

/// A broker of another cluster that was registered under our name was written to as if it were
/// ours.
#[tokio::test]
async fn a_broker_of_our_name_under_another_cluster_name_is_neither_written_nor_believed() {
    let mut world = world_with_orders("stranger:1").await;
    world.brokers.change("prod-broker-1", |master| master.cluster = "theirs".into());
    world.delete("orders");
    world.pass("orders").await.unwrap();
    let message = world.ready("orders", "Unknown", "ClusterUnreachable");
    assert!(message.contains("prod-broker-1") && message.contains("cluster name theirs"), "{message}");
    assert!(world.brokers.writes().is_empty() && !world.gone("orders"));
}

#[tokio::test]
async fn the_pause_annotation_stops_writes_and_says_so_once() {
    let mut world = world_with_orders("pausing:1").await;
    let before = world.api.events().len();
    world.annotate("orders", json!({"rocketmq.rs/pause": "true"}));
    world.brokers.change("prod-broker-0", |master| master.topics.clear());
    for _ in 0..2 {
        assert_eq!(world.pass("orders").await.unwrap(), Action::await_change());
    }
    world.ready("orders", "True", "Paused");
    assert!(world.paused("orders").unwrap().contains("switched off"));
    assert!(world.brokers.writes().is_empty());
    assert_eq!(world.api.events()[before..].len(), 1, "{:?}", world.api.events());

    world.annotate("orders", json!({"rocketmq.rs/pause": "false"}));
    world.context.pool.forget(&ClusterKey { namespace: "mq".into(), name: "prod".into() });
    world.pass("orders").await.unwrap();
    world.ready("orders", "True", "InSync");
    assert_eq!((world.paused("orders"), world.brokers.writes().len()), (None, 1));
}

/// Pausing kept brokers from being changed, except by the one change that cannot be taken back.
#[tokio::test]
async fn a_paused_topic_is_not_deleted_on_brokers() {
    let mut world = world_with_orders("frozen:1").await;
    world.annotate("orders", json!({"rocketmq.rs/pause": "true"}));
    world.delete("orders");
    world.pass("orders").await.unwrap();
    assert!(!world.gone("orders") && world.brokers.writes().is_empty());
    assert!(world.paused("orders").unwrap().contains("rocketmq.rs/abandon=true"));
    world.annotate("orders", json!({}));
    world.api.change(&format!("{TOPICS}/orders"), |object| {
        drop(object["metadata"].as_object_mut().unwrap().remove("annotations"));
    });
    world.pass("orders").await.unwrap();
    world.pass("orders").await.unwrap();
    assert!(world.gone("orders"));
    assert_eq!(world.brokers.writes()[..2], ["delete prod-broker-0 orders", "delete prod-broker-1 orders"]);
}
