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
    pub(super) fn claim(&self, name: &str, labels: Value) -> String {
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

/// `broker-storage-mq-rocketmq-broker-0-master-0` of another chart carried the same labels and was
/// grown from 1Gi to 3Gi.
#[tokio::test]
async fn a_foreign_claim_with_our_labels_is_not_grown() {
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
    let message = world.condition("StorageHealthy", "False", "Expanding");
    assert!(!message.contains("broker-storage") && !message.contains("broker-0-5"), "{message}");
}

/// Such claims made the operator plan groups that the spec does not ask for.
#[tokio::test]
async fn a_foreign_claim_with_our_labels_is_no_group_of_ours() {
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

/// A StatefulSet of a planned name that another made was deleted around its pods because its claims
/// were smaller than wanted, and one of a name beyond the planned ones was taken for a group.
#[tokio::test]
async fn a_foreign_stateful_set_with_our_labels_is_neither_deleted_nor_counted() {
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

pub(super) const PODS: &str = "/api/v1/namespaces/mq/pods";
const OPTIONS: &str = "argocd.argoproj.io/sync-options";

impl World {
    /// Makes everything look as an operator of an earlier version left it: a running pod and a
    /// claim for each broker, and a claim template with the labels of the selector alone.
    pub(super) fn earlier_version(&self) {
        for path in self.api.paths("-broker-").iter().filter(|path| path.contains("/statefulsets/")) {
            let set = self.api.change(path, |set| {
                let labels = set["spec"]["selector"]["matchLabels"].clone();
                set["spec"]["volumeClaimTemplates"][0]["metadata"] = json!({"name": "data", "labels": labels});
                set["status"]["observedGeneration"] = json!(set["metadata"]["generation"].as_i64().unwrap() + 1);
            });
            let (name, labels) = (set["metadata"]["name"].as_str().unwrap(), &set["spec"]["selector"]["matchLabels"]);
            for ordinal in 0..set["spec"]["replicas"].as_u64().unwrap() {
                self.claim(&format!("data-{name}-{ordinal}"), labels.clone());
                let owner = json!([{
                    "apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": set["metadata"]["uid"], "controller": true,
                }]);
                let metadata = json!({"name": format!("{name}-{ordinal}"), "labels": labels, "ownerReferences": owner});
                self.api.insert(&format!("{PODS}/{name}-{ordinal}"), json!({"metadata": metadata}));
            }
        }
    }
}

/// Claims carried `app.kubernetes.io/instance` and no owner, so an Argo CD application of the
/// cluster's name took them for its own and pruned them with their messages.
#[tokio::test]
async fn argo_cd_neither_adopts_nor_prunes_claims_of_a_new_cluster() {
    let world = World::new("argo", json!({"brokers": {"storage": {"size": "1Gi"}}})).await;
    world.settle().await;
    let set = world.api.object(&world.set("broker-0")).unwrap();
    let template = set["spec"]["volumeClaimTemplates"][0]["metadata"].clone();
    assert_eq!(template["annotations"][OPTIONS], "Prune=false,Delete=false");
    assert_eq!(template["labels"], json!({"rocketmq.rs/cluster": "argo", "rocketmq.rs/group": "0"}));

    // The StatefulSet controller adds the labels of the selector.
    let mut labels = template["labels"].clone();
    merge(&mut labels, &set["spec"]["selector"]["matchLabels"]);
    let path = world.claim("data-argo-broker-0-0", labels);
    world.api.change(&path, |claim| claim["metadata"]["annotations"] = template["annotations"].clone());
    world.pass().await.unwrap();
    assert_eq!(world.api.writes(), [format!("PATCH {path}")]);
    let metadata = world.api.object(&path).unwrap()["metadata"].clone();
    assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], Value::Null);
    assert_eq!(metadata["annotations"][OPTIONS], "Prune=false,Delete=false");

    // It is found by our own label alone.
    world.edit("/spec/brokers/storage/size", json!("2Gi"));
    world.settle().await;
    assert_eq!(world.requested(&path), "2Gi");
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// A cluster that an earlier version made keeps its pods, group by group, and its claims are kept
/// like new ones.
#[tokio::test]
async fn claims_of_an_earlier_version_are_kept_and_no_pod_is_lost() {
    let world = World::new("earlier", json!({"brokers": {"groups": 2, "storage": {"size": "1Gi"}}})).await;
    world.settle().await;
    world.earlier_version();
    let theirs = world.claim("data-earlier-broker-0-5", old_labels("earlier", 0));
    let (pods, foreign) = (world.api.paths("/pods/"), world.api.object(&theirs));
    let hash = |suffix: &str| {
        world.api.object(&world.set(suffix)).unwrap()["metadata"]["annotations"]["rocketmq.rs/template-hash"].clone()
    };
    let before = [hash("broker-0"), hash("broker-1")];
    world.api.writes();
    let mut remade = Vec::new();
    for _ in 0..8 {
        world.pods_become_ready();
        world.pass().await.unwrap();
        let away = 3 - world.api.paths("/statefulsets/").len();
        assert!(away <= 1, "one set at a time");
        world.condition("Available", "True", "Serving");
        let writes = world.api.writes();
        assert!(!writes.iter().any(|write| write.starts_with("DELETE") && write.contains("/pods/")), "{writes:?}");
        remade.extend(writes.into_iter().filter(|write| write.starts_with("DELETE")));
    }
    assert_eq!(remade, [world.set("broker-0"), world.set("broker-1")].map(|set| format!("DELETE {set}")));
    assert_eq!([hash("broker-0"), hash("broker-1")], before, "their pods are not restarted");
    assert_eq!(world.api.paths("/pods/"), pods);
    for pod in &pods {
        let pod = world.api.object(pod).unwrap();
        assert_eq!(pod["metadata"]["annotations"][OPTIONS], "Prune=false,Delete=false", "while it had no owner");
    }
    for claim in ["0-0", "0-1", "1-0", "1-1"] {
        let claim = world.api.object(&format!("{CLAIMS}/data-earlier-broker-{claim}")).unwrap();
        let labels = &claim["metadata"]["labels"];
        assert_eq!(
            (&labels["rocketmq.rs/cluster"], &labels["app.kubernetes.io/instance"]),
            (&json!("earlier"), &Value::Null)
        );
        assert_eq!(claim["metadata"]["annotations"][OPTIONS], "Prune=false,Delete=false");
    }
    assert_eq!(world.api.object(&theirs), foreign);
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

/// A status that was lost is restored from claims, whichever labels they have.
#[tokio::test]
async fn a_group_is_remembered_by_a_claim_that_has_our_own_labels_alone() {
    let world = World::new("own", json!({"brokers": {"groups": 1}})).await;
    world.claim("data-own-broker-1-0", json!({"rocketmq.rs/cluster": "own", "rocketmq.rs/group": "1"}));
    world.settle().await;
    world.condition("ScaleDownRefused", "True", "DrainNotServed");
}

/// A cluster that was deleted and made anew over the claims it had kept: its master's was emptied,
/// it opened without a question, and what its slave had was out of reach.
#[tokio::test]
async fn a_group_over_claims_of_an_earlier_cluster_checks_its_log_before_it_is_opened() {
    const CHECK: &str = "checkLogBeforeWrites=true\nexpectedSlaves=1\n";
    let world = World::new("remade", json!({"brokers": {"groups": 2, "storage": {"size": "1Gi"}}})).await;
    let labels = json!({"rocketmq.rs/cluster": "remade", "rocketmq.rs/group": "1"});
    let slave = world.claim("data-remade-broker-1-1", labels);
    world.api.change(&slave, |claim| claim["metadata"]["creationTimestamp"] = json!("2025-12-31T23:59:59Z"));
    world.pass().await.unwrap();
    assert!(world.file("broker-1").ends_with(&format!("brokerPermission=4\n{CHECK}")), "{}", world.file("broker-1"));
    assert!(world.file("broker-0").ends_with("brokerPermission=4\n"), "it has no messages: {}", world.file("broker-0"));

    // What StatefulSets of this cluster made says nothing about the past.
    let templates = || ["broker-0", "broker-1"].map(|set| world.api.object(&world.set(set)).unwrap()["spec"].clone());
    let before = (world.file("broker-0"), world.file("broker-1"), templates());
    for name in ["data-remade-broker-0-0", "data-remade-broker-0-1", "data-remade-broker-1-0"] {
        world.claim(name, old_labels("remade", 0));
    }
    world.pass().await.unwrap();
    assert_eq!((world.file("broker-0"), world.file("broker-1"), templates()), before);

    // Its master found the slave's log and waits: it is asked, though it was never open.
    world.pods_become_ready();
    world.brokers_register();
    world.brokers.change("remade-broker-1", |master| {
        master.down = false;
        master.status = [("logCheck".to_owned(), "closed: a slave has more".to_owned())].into();
    });
    world.api.change(&world.set("broker-1"), |set| set["status"]["readyReplicas"] = json!(0));
    world.pass().await.unwrap();
    assert!(world.condition("Ready", "False", "DecisionNeeded").contains("remade-broker-1 takes no writes"));
    world.brokers.change("remade-broker-1", |master| master.status.clear());
    world.settle().await;
    world.condition("Ready", "True", "Running");
    assert!(world.file("broker-0").ends_with(CHECK) && world.file("broker-1").ends_with(CHECK));
    assert_eq!(templates(), before.2, "no pod restarts for it");
}
