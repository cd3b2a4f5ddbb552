//! Volume claims: which are ours, and what is written to them.

use super::*;

/// Labels as an operator of an earlier version and its StatefulSets gave them.
fn old_labels(cluster: &str, group: u32) -> Value {
    json!({
        "app.kubernetes.io/name": "rocketmq", "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/component": "broker", "rocketmq.rs/group": group.to_string(),
    })
}

impl World {
    /// A bound claim of 1Gi.
    fn claim(&self, name: &str, labels: Value) -> String {
        let path = format!("{CLAIMS}/{name}");
        let claim = json!({
            "metadata": {"name": name, "namespace": "mq", "labels": labels},
            "spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {"capacity": {"storage": "1Gi"}},
        });
        self.api.insert(&path, claim);
        path
    }

    fn requested(&self, claim: &str) -> Value {
        self.api.object(claim).unwrap()["spec"]["resources"]["requests"]["storage"].clone()
    }
}

/// `broker-storage-mq-rocketmq-broker-0-master-0` of another chart carried the same labels and was grown from 1Gi to 3Gi.
#[tokio::test]
async fn a_claim_of_somebody_else_with_our_labels_is_not_grown() {
    let world = World::new("strange", json!({"brokers": {"groups": 2, "storage": {"size": "1Gi"}}})).await;
    world.settle().await;
    let theirs = [
        "broker-storage-mq-rocketmq-broker-0-master-0",
        "data-strange-broker-0-5",
        "data-strange-broker-0-2",
        "data-strange-broker-0-00",
        "data-strange-broker-00-0",
        "data-strange-broker-0",
        "data-strange-broker-0-0-0",
        "data-strange-namesrv-0",
        "other-strange-broker-0-0",
    ]
    .map(|name| world.claim(name, old_labels("strange", 0)));
    let before = theirs.each_ref().map(|claim| world.api.object(claim));
    let ours = ["data-strange-broker-0-0", "data-strange-broker-0-1", "data-strange-broker-1-0"]
        .map(|name| world.claim(name, old_labels("strange", 0)));
    world.edit("/spec/brokers/storage/size", json!("3Gi"));
    world.settle().await;
    for claim in &ours {
        assert_eq!(world.requested(claim), "3Gi", "{claim}");
    }
    assert_eq!(theirs.each_ref().map(|claim| world.api.object(claim)), before);
    let told = world.condition("StorageHealthy", "False", "Expanding");
    assert!(!told.contains("broker-storage") && !told.contains("broker-0-5"), "{told}");
}

/// Such claims made the operator plan groups that nobody asked for.
#[tokio::test]
async fn a_claim_of_somebody_else_with_our_labels_is_no_group_of_ours() {
    let world = World::new("counted", json!({"brokers": {"groups": 1}})).await;
    world.claim("broker-storage-mq-rocketmq-broker-7-master-0", old_labels("counted", 7));
    world.claim("data-counted-broker-7-5", old_labels("counted", 7));
    world.claim("data-counted-broker-64-0", old_labels("counted", 64));
    world.claim("data-other-broker-3-0", old_labels("counted", 3));
    world.settle().await;
    world.condition("Ready", "True", "Running");
    assert_eq!(world.api.paths("/statefulsets/").len(), 2, "one group and the namesrvs");
    world.claim("data-counted-broker-2-1", old_labels("counted", 2));
    world.settle().await;
    world.condition("ScaleDownRefused", "True", "DrainNotServed");
    assert_eq!(world.api.paths("/statefulsets/").len(), 4, "a slave's claim may hold the only copy");
}

/// A StatefulSet of a planned name that another made was deleted around its pods because its claims were smaller than wanted, and
/// one of a name beyond the planned ones was taken for a group.
#[tokio::test]
async fn a_stateful_set_of_somebody_else_with_our_labels_is_neither_deleted_nor_counted() {
    let world = World::new("taken", json!({"brokers": {"groups": 1, "storage": {"size": "2Gi"}}})).await;
    let labels = json!({
        "app.kubernetes.io/name": "rocketmq", "app.kubernetes.io/instance": "taken",
        "app.kubernetes.io/managed-by": "rocketmq-operator",
    });
    let set = |name: &str| {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}});
        json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"replicas": 2, "selector": {}, "template": {}, "volumeClaimTemplates": [claim]},
        })
    };
    world.api.insert(&world.set("broker-4"), set("taken-broker-4"));
    world.settle().await;
    world.condition("Ready", "True", "Running");
    assert_eq!(world.api.paths("/statefulsets/").len(), 3, "namesrvs, our group and theirs");

    world.api.remove(&world.set("broker-0"));
    let theirs = world.api.insert(&world.set("broker-0"), set("taken-broker-0"));
    let error = world.pass().await.unwrap_err();
    assert!(matches!(&error, Error::Foreign { kind: "StatefulSet", .. }), "{error}");
    assert_eq!(world.api.object(&world.set("broker-0")), Some(theirs));
}
