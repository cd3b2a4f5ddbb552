//! Edits of a cluster that runs, pass by pass: never more than one group at a time, and never one
//! forgotten.

use super::*;

const MAPS: &str = "/api/v1/namespaces/mq/configmaps";

impl World {
    /// StatefulSets that were written since the last call.
    fn sets_written(&self) -> Vec<String> {
        let prefix = format!("{SETS}/{}-", self.name);
        let writes = self.api.writes().into_iter().filter(|write| write.contains("/statefulsets/"));
        writes.map(|write| write.replace(&prefix, "")).collect()
    }

    /// Plays the StatefulSet controller that has seen a set and has `ready` pods of its present
    /// template.
    fn pods(&self, suffix: &str, ready: i32) {
        self.api.change(&self.set(suffix), |set| {
            set["status"] = json!({
                "observedGeneration": set["metadata"]["generation"], "replicas": set["spec"]["replicas"], "readyReplicas": ready,
                "updatedReplicas": set["spec"]["replicas"],
            });
        });
    }

    pub(super) fn file(&self, suffix: &str) -> String {
        let map = self.api.object(&format!("{MAPS}/{}-{suffix}", self.name)).unwrap();
        map["data"]["broker.conf"].as_str().unwrap().to_owned()
    }
}

/// 2 groups to 1 is refused. When volumes grew afterwards, both sets were deleted in one pass to be
/// made anew, the next pass found no group at all and made the one that was asked for: the pods and
/// messages of the other were left behind, and the cluster called itself ready.
#[tokio::test]
async fn a_refused_scale_down_is_not_carried_out_when_volumes_grow() {
    let world = World::new("stranded", json!({"brokers": {"groups": 2, "storage": {"size": "20Gi"}}})).await;
    world.settle().await;
    world.edit("/spec/brokers/groups", json!(1));
    world.settle().await;
    world.condition("ScaleDownRefused", "True", "DrainNotServed");
    world.edit("/spec/brokers/storage/size", json!("40Gi"));
    let mut remade = Vec::new();
    for _ in 0..8 {
        world.pods_become_ready();
        world.brokers_register();
        world.pass().await.unwrap();
        assert_eq!(world.status()["brokerGroups"], 2, "topics count on both");
        world.condition("ScaleDownRefused", "True", "DrainNotServed");
        world.condition("Available", "True", "Serving");
        let sets = world.api.paths("/statefulsets/").len();
        assert!(sets >= 2, "one set at a time, and the namesrvs'");
        for kind in ["/configmaps/", "/services/", "/poddisruptionbudgets/"] {
            assert!(!world.api.paths(&format!("{kind}stranded-broker-1")).is_empty(), "{kind}");
        }
        remade.extend(world.sets_written().into_iter().filter(|write| write.starts_with("DELETE")));
    }
    assert_eq!(remade, ["DELETE broker-0", "DELETE broker-1"]);
    for group in ["broker-0", "broker-1"] {
        let set = world.api.object(&world.set(group)).unwrap();
        let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
        assert_eq!(claim, "40Gi", "{group}");
    }
}

#[tokio::test]
async fn groups_are_remembered_by_the_status_and_by_claims_that_stay() {
    let world = World::new("remembered", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    world.edit("/spec/brokers/groups", json!(1));
    let status = world.status();
    let claim = |owner: Value| {
        let labels = json!({
            "app.kubernetes.io/name": "rocketmq", "app.kubernetes.io/instance": "remembered", "rocketmq.rs/group": "1",
        });
        json!({"metadata": {"name": "data-remembered-broker-1-0", "labels": labels, "ownerReferences": owner}, "spec": {}})
    };
    // A user deleted a set; an object was restored without its status and found the volumes;
    // volumes that go with an older cluster of the name are no reason to have a group.
    let going =
        claim(json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "remembered-broker-1", "uid": "x"}]));
    let table = [(status, None, true), (json!({}), Some(claim(json!([]))), true), (json!({}), Some(going), false)];
    for (status, claim, planned) in table {
        world.api.remove(&world.set("broker-1"));
        world.api.change(&world.path(), |cluster| cluster["status"] = status);
        if let Some(claim) = claim {
            world.api.insert(&format!("{CLAIMS}/data-remembered-broker-1-0"), claim);
        }
        world.pass().await.unwrap();
        assert_eq!(world.api.object(&world.set("broker-1")).is_some(), planned);
    }
}

/// Brokers were not ready while a namesrv was away, so an edit of the image made every group look
/// stuck on its template, stuck groups went first, and two masters restarted together.
#[tokio::test]
async fn a_namesrv_that_is_away_does_not_open_the_gate_for_all_groups() {
    let world = World::new("image", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    world.edit("/spec/image", json!({"repository": "example/rocketmq", "tag": "2"}));
    world.pass().await.unwrap();
    assert_eq!(world.sets_written(), ["PATCH namesrv"]);
    world.pods("namesrv", 1);
    world.pods("broker-0", 0);
    world.pods("broker-1", 0);
    for _ in 0..2 {
        world.pass().await.unwrap();
        assert!(world.sets_written().is_empty(), "a namesrv is away, whatever brokers say");
    }
    world.pods("namesrv", 2);
    world.pass().await.unwrap();
    assert_eq!(world.sets_written(), ["PATCH broker-0"]);
    for _ in 0..2 {
        world.pass().await.unwrap();
        assert!(world.sets_written().is_empty(), "the other is not ready for want of namesrvs, not of a template");
    }
    world.pods("broker-0", 2);
    world.pods("broker-1", 2);
    world.pass().await.unwrap();
    assert_eq!(world.sets_written(), ["PATCH broker-1"]);
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

#[tokio::test]
async fn a_first_manifest_that_never_worked_is_corrected_everywhere_at_once() {
    let world =
        World::new("first", json!({"brokers": {"groups": 2}, "image": {"repository": "none", "tag": "1"}})).await;
    world.pass().await.unwrap();
    for suffix in ["namesrv", "broker-0", "broker-1"] {
        world.pods(suffix, 0);
    }
    world.sets_written();
    world.edit("/spec/image", json!({"repository": "example/rocketmq", "tag": "2"}));
    world.pass().await.unwrap();
    assert_eq!(world.sets_written(), ["PATCH namesrv", "PATCH broker-0", "PATCH broker-1"]);
}

/// A set that is deleted around its pods was taken for a new group, which does not wait; and
/// once made anew it was taken for settled before any pod ran the new template.
#[tokio::test]
async fn size_and_template_in_one_edit_disturb_one_group_at_a_time() {
    let world = World::new("both", json!({"brokers": {"groups": 2, "storage": {"size": "1Gi"}}})).await;
    world.settle().await;
    world.edit("/spec/brokers/storage/size", json!("2Gi"));
    world.edit("/spec/brokers/flush", json!("Sync"));
    world.pass().await.unwrap();
    assert_eq!(world.sets_written(), ["DELETE broker-0"]);
    world.pass().await.unwrap();
    assert_eq!(world.sets_written(), ["PATCH broker-0"], "it comes back and the other waits");
    world.api.change(&world.set("broker-0"), |set| {
        set["status"] = json!({
            "observedGeneration": set["metadata"]["generation"], "replicas": 2, "readyReplicas": 2,
            "currentRevision": "new", "updateRevision": "new",
        });
    });
    for _ in 0..2 {
        world.pass().await.unwrap();
        assert!(world.sets_written().is_empty(), "its pods are ready and run the old template");
    }
    world.pods_become_ready();
    world.pass().await.unwrap();
    assert_eq!(world.sets_written(), ["DELETE broker-1"]);
    world.settle().await;
    world.condition("Ready", "True", "Running");
}

/// Every group's file was written before the first group was given its template. A pod of another
/// group that restarted meanwhile read the new file, and a bad one stopped it as well.
#[tokio::test]
async fn a_bad_setting_reaches_the_file_of_one_group_only() {
    let world = World::new("files", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    world.edit("/spec/brokers/config", json!({"fileReservedTime": "1"}));
    world.pass().await.unwrap();
    let has = |suffix| world.file(suffix).contains("fileReservedTime=1");
    assert_eq!((has("broker-0"), has("broker-1")), (true, false));
    world.pods("broker-0", 1);
    world.pass().await.unwrap();
    assert!(!has("broker-1"), "the first has not come back");
    world.edit("/spec/brokers/config", json!({"fileReservedTime": "48"}));
    world.settle().await;
    assert!(world.file("broker-1").contains("fileReservedTime=48"));
    world.condition("Ready", "True", "Running");
}

#[tokio::test]
async fn a_setting_that_brokers_would_refuse_changes_nothing() {
    let world = World::new("misspelt", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    world.edit("/spec/brokers/config", json!({"fileReservdTime": "48"}));
    world.pass().await.unwrap();
    assert!(world.condition("SpecValid", "False", "Invalid").contains("did you mean fileReservedTime"));
    assert_eq!(world.api.writes(), [format!("PATCH {}/status", world.path())]);
}

/// What was not observed again was dropped: a cluster that served was no longer Available because
/// its next spec was misspelt, and the refusal that stood there was reported again afterwards.
#[tokio::test]
async fn a_check_that_ends_early_forgets_nothing() {
    let world = World::new("early", json!({"brokers": {"groups": 2}})).await;
    world.settle().await;
    world.edit("/spec/brokers/groups", json!(1));
    world.settle().await;
    let stays = || {
        world.condition("Available", "True", "Serving");
        world.condition("ScaleDownRefused", "True", "DrainNotServed");
        world.condition("BrokersReady", "True", "AllReady");
    };
    world.edit("/spec/brokers/config", json!({"fileReservdTime": "48"}));
    for _ in 0..2 {
        world.pass().await.unwrap();
        world.condition("Ready", "False", "SpecInvalid");
        world.condition("Progressing", "False", "SpecInvalid");
        stays();
    }
    world.edit("/spec/brokers/config", json!({}));
    world.api.fail(Method::PATCH, "/services/", 403, "quota");
    world.pass().await.unwrap_err();
    world.condition("Ready", "False", "ApiServerRefused");
    stays();
    world.api.heal();
    world.settle().await;
    world.condition("Ready", "False", "ScaleDownRefused");
    let events = world.api.events().iter().filter(|reason| *reason == "DrainNotServed").count();
    assert_eq!(events, 1, "{:?}", world.api.events());
}

#[tokio::test]
async fn the_pause_annotation_means_hands_off_and_is_one_event() {
    let world = World::new("annotated", json!({})).await;
    world.settle().await;
    let before = world.api.events().len();
    world.edit("/metadata/annotations", json!({"rocketmq.rs/pause": "true"}));
    world.edit("/spec/brokers/groups", json!(3));
    for _ in 0..2 {
        assert_eq!(world.pass().await.unwrap(), Action::await_change());
    }
    assert!(world.condition("Paused", "True", "AskedFor").contains("rocketmq.rs/pause"));
    world.condition("Ready", "True", "Paused");
    world.condition("Available", "True", "Paused");
    world.condition("Progressing", "False", "Paused");
    assert_eq!(world.api.writes(), [format!("PATCH {}/status", world.path())]);
    assert_eq!(world.api.events().len() - before, 1, "{:?}", world.api.events());
    world.edit("/metadata/annotations", json!({"rocketmq.rs/pause": "false"}));
    world.settle().await;
    assert_eq!(world.status()["groupsReady"], "3/3");
    let conditions = world.status()["conditions"].to_string();
    assert!(!conditions.contains("Paused"), "{conditions}");
}
