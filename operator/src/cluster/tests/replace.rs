//! Slaves whose log differs from their master's: they hold up no other group, and begin anew when
//! an administrator says so.

use super::{claims::PODS, *};

const ANNOTATION: &str = "/metadata/annotations";

fn rows(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl World {
    /// Two groups; the slave of the first has a log that its master has not, and so no ready pod.
    async fn with_a_slave_that_differs(name: &str) -> Self {
        let world = World::new(name, json!({"brokers": {"groups": 2, "storage": {"size": "1Gi"}}})).await;
        world.settle().await;
        world.earlier_version();
        world.settle().await;
        world.brokers.change(&format!("{name}-broker-0"), |master| {
            master.status = rows(&[("logCheck", "open"), ("commitLogMaxOffset", "300")]);
            master.slave_status =
                rows(&[("slaveState", "mismatch: the logs differ at 7"), ("commitLogMaxOffset", "182780")]);
        });
        world.slave_is_not_ready();
        world.pass().await.unwrap();
        world.api.writes();
        world.brokers.writes();
        world
    }

    fn slave_is_not_ready(&self) {
        self.api.change(&self.set("broker-0"), |set| set["status"]["readyReplicas"] = json!(1));
    }

    fn decide(&self, text: &str) {
        self.edit(ANNOTATION, json!({"rocketmq.rs/recover": text}));
    }

    /// What was deleted since the last call, without the path to it.
    fn deleted(&self) -> Vec<String> {
        let deletions =
            self.api.writes().into_iter().filter_map(|write| write.strip_prefix("DELETE ").map(str::to_owned));
        deletions.map(|path| path.rsplit_once('/').unwrap().1.to_owned()).collect()
    }
}

/// The group was never settled, so no edit reached any other.
#[tokio::test]
async fn an_edit_rolls_through_the_other_groups_while_a_slave_differs() {
    let world = World::with_a_slave_that_differs("divided").await;
    let written = |world: &World| -> Vec<String> {
        world.api.writes().into_iter().filter(|write| write.contains("/statefulsets/")).collect()
    };
    world.edit("/spec/brokers/flush", json!("Sync"));
    world.pass().await.unwrap();
    assert_eq!(written(&world), [format!("PATCH {}", world.set("broker-1"))], "the one that is well goes first");
    world.pass().await.unwrap();
    assert!(written(&world).is_empty(), "one at a time");
    world.pods_become_ready();
    world.slave_is_not_ready();
    world.pass().await.unwrap();
    assert_eq!(written(&world), [format!("PATCH {}", world.set("broker-0"))]);

    // A master that is away is more than a slave that differs.
    world.pods_become_ready();
    world.brokers.change("divided-broker-0", |master| master.status = rows(&[("logCheck", "asking: slaves")]));
    world.edit("/spec/brokers/flush", json!("Async"));
    world.pass().await.unwrap();
    assert_eq!(written(&world), [format!("PATCH {}", world.set("broker-0"))], "its correction only");
}

#[tokio::test]
async fn a_slave_that_differs_begins_anew_when_an_administrator_decides_so() {
    let world = World::with_a_slave_that_differs("replaced").await;
    let theirs = world.claim(
        "data-replaced-broker-0-5",
        json!({"app.kubernetes.io/name": "rocketmq", "app.kubernetes.io/instance": "replaced"}),
    );
    world.pass().await.unwrap();
    assert!(world.deleted().is_empty(), "no decision was made");

    for wrong in
        ["replaced-broker-2=replace-slave", "replaced-broker-0=replace", "replaced-broker-0=replace-slave,x=copy"]
    {
        world.decide(wrong);
        world.pass().await.unwrap();
        world.condition("Ready", "False", "DecisionRefused");
        assert!(world.deleted().is_empty(), "{wrong}");
    }

    // The master's log must be the one that counts.
    world.decide("replaced-broker-0=replace-slave");
    world.brokers.change("replaced-broker-0", |master| {
        master.status = rows(&[("logCheck", "closed: the log is empty")]);
    });
    world.pass().await.unwrap();
    assert!(world.condition("Ready", "False", "DecisionNeeded").contains("while its master takes no writes"));
    assert!(world.deleted().is_empty());

    world.brokers.change("replaced-broker-0", |master| {
        master.status = rows(&[("logCheck", "open"), ("commitLogMaxOffset", "300")]);
    });
    world.pass().await.unwrap();
    assert_eq!(world.deleted(), ["data-replaced-broker-0-1", "replaced-broker-0-1"], "claim, then pod");
    let message = world.condition("ReplicasInSync", "False", "SlaveReplaced");
    for part in ["data-replaced-broker-0-1", "182780 bytes", "the 300 bytes of replaced-broker-0-0"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(world.api.events().contains(&"SlaveReplaced".to_owned()));
    assert!(world.api.object(&theirs).is_some());
    let annotations = world.api.object(&world.path()).unwrap()["metadata"]["annotations"].clone();
    assert!(annotations["rocketmq.rs/recover"].is_null(), "it would decide about the next loss: {annotations}");
    world.pass().await.unwrap();
    assert!(world.deleted().is_empty(), "once");
}

#[tokio::test]
async fn a_foreign_pod_and_a_missing_right_stop_a_replacement() {
    let world = World::with_a_slave_that_differs("kept").await;
    let pod = format!("{PODS}/kept-broker-0-1");
    let ours = world.api.object(&pod).unwrap();
    world.api.change(&pod, |pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("theirs"));
    world.decide("kept-broker-0=replace-slave");
    world.pass().await.unwrap();
    assert!(world.condition("Ready", "False", "DecisionNeeded").contains("no pod kept-broker-0-1 of its StatefulSet"));
    assert!(world.deleted().is_empty(), "the claim neither");

    world.api.insert(&pod, ours);
    world.api.fail(Method::DELETE, "/persistentvolumeclaims/", 403, "forbidden");
    world.pass().await.unwrap();
    assert!(world.condition("Ready", "False", "DecisionNeeded").contains("upgrade the operator's chart"));
    assert!(world.deleted().is_empty() && world.api.object(&pod).is_some());
}
