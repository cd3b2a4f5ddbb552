//! Volume claims: which are ours, and what keeps them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::brokers::manifest;
use crate::namespace::{Namespace, scenario};
use crate::operator;

const OPTIONS: &str = "argocd.argoproj.io/sync-options";

/// A cluster of an earlier version, whose claims Argo CD would prune, is carried over: its
/// StatefulSet is made anew around pods that go on, its claims are kept, and a claim of somebody
/// else with the same labels is left alone.
#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn claims_of_an_earlier_version_are_kept_and_no_pod_is_restarted() -> Result<()> {
    let _operator = operator::shared()?;
    scenario("earlier", |namespace| {
        namespace.apply(&manifest("slavesPerGroup: 1,", ""))?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        for claim in ["data-mq-broker-0-0", "data-mq-broker-0-1"] {
            until_kept(namespace, claim)?;
        }
        namespace.kubectl(&["annotate", "rmq/mq", "rocketmq.rs/pause=true"])?;
        namespace.until_says("rmq/mq", "Paused", "True", "AskedFor")?;
        let pods = pods(namespace)?;
        make_older(namespace)?;
        namespace.apply(STRANGER)?;
        let foreign = namespace.read("pvc/broker-storage-mq-rocketmq-broker-0-master-0")?["metadata"].clone();

        namespace.kubectl(&["annotate", "rmq/mq", "rocketmq.rs/pause-"])?;
        namespace.until("a claim template that keeps claims", Duration::from_secs(120), |namespace| {
            // Between two sets of the name there is none.
            let Ok(set) = namespace.read("statefulset/mq-broker-0") else { return Ok(None) };
            Ok((template(&set)["annotations"][OPTIONS] == "Prune=false,Delete=false").then_some(()))
        })?;
        namespace.until_ready("mq-broker-0", 2)?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        for claim in ["data-mq-broker-0-0", "data-mq-broker-0-1"] {
            until_kept(namespace, claim)?;
        }
        ensure!(self::pods(namespace)? == pods, "pods were replaced or restarted");
        let after = namespace.read("pvc/broker-storage-mq-rocketmq-broker-0-master-0")?["metadata"].clone();
        for field in ["labels", "annotations"] {
            ensure!(after[field] == foreign[field], "a claim of somebody else was written: {after}");
        }
        Ok(())
    })
}

/// A claim as another chart makes it, with labels like ours.
const STRANGER: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: broker-storage-mq-rocketmq-broker-0-master-0
  labels: {app.kubernetes.io/name: rocketmq, app.kubernetes.io/instance: mq, app.kubernetes.io/component: broker, rocketmq.rs/group: '0'}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
";

/// Gives the StatefulSet and the claims of group 0 what an operator of an earlier version gave
/// them. The operator is paused.
fn make_older(namespace: &Namespace) -> Result<()> {
    let mut set = namespace.read("statefulset/mq-broker-0")?;
    namespace.kubectl(&["delete", "statefulset/mq-broker-0", "--cascade=orphan"])?;
    namespace.until_gone("statefulset/mq-broker-0")?;
    let labels = set["spec"]["selector"]["matchLabels"].clone();
    set["spec"]["volumeClaimTemplates"][0]["metadata"] = json!({"name": "data", "labels": labels});
    let metadata = set["metadata"].as_object_mut().context("no metadata")?;
    metadata.retain(|field, _| ["name", "labels", "annotations", "ownerReferences"].contains(&field.as_str()));
    set.as_object_mut().context("no object")?.remove("status");
    namespace.apply(&set.to_string())?;
    namespace.until_ready("mq-broker-0", 2)?;
    let metadata = json!({"metadata": {
        "labels": {"rocketmq.rs/cluster": null, "app.kubernetes.io/instance": "mq"}, "annotations": {OPTIONS: null},
    }});
    for ordinal in 0..2 {
        namespace.patch(&format!("pvc/data-mq-broker-0-{ordinal}"), &metadata.to_string())?;
    }
    Ok(())
}

/// Waits until no tracker by `app.kubernetes.io/instance` would take a claim for its own, nor prune
/// it if it did.
fn until_kept(namespace: &Namespace, claim: &str) -> Result<()> {
    namespace.until(&format!("{claim} to be kept"), Duration::from_secs(90), |namespace| {
        let metadata = namespace.read(&format!("pvc/{claim}"))?["metadata"].clone();
        let (labels, options) = (&metadata["labels"], &metadata["annotations"][OPTIONS]);
        let kept = labels["rocketmq.rs/cluster"] == "mq"
            && labels["app.kubernetes.io/instance"].is_null()
            && options == "Prune=false,Delete=false";
        Ok(kept.then_some(()))
    })
}

fn template(set: &Value) -> &Value {
    &set["spec"]["volumeClaimTemplates"][0]["metadata"]
}

/// Names of all pods, with what a replacement or a restart would change.
fn pods(namespace: &Namespace) -> Result<Vec<Value>> {
    let pods = namespace.read("pods")?;
    let reported = |pod: &Value| {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        json!([pod["metadata"]["name"], pod["metadata"]["uid"], restarts])
    };
    Ok(pods["items"].as_array().context("no list of pods")?.iter().map(reported).collect())
}
