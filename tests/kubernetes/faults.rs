//! Pods that die, or are replaced, while official clients work: nothing that was acknowledged is
//! lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::brokers::{Brokers, consumer_group, manifest, topic};
use crate::judges::{Client, Running, pass};
use crate::namespace::{Namespace, scenario};
use crate::operator;
use crate::processes::kill_in_pod;

/// The ledger runs while `fault` happens to a cluster of two groups; then every acknowledged
/// message must have been delivered.
fn under_load(
    name: &str,
    brokers: &str,
    fault: impl FnOnce(&Namespace, &dyn Fn(&str) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let _operator = operator::shared()?;
    let judge = || Client::Java5.judge();
    let (Some(mut produce), Some(mut consume), Some(mut compare)) = (judge()?, judge()?, judge()?) else {
        return Ok(());
    };
    scenario(name, |namespace| {
        // Topic and group come from manifests, as brokers create none here.
        namespace
            .apply(&(manifest(brokers, "") + &topic("ledger", "queues: 4") + &consumer_group("ledger-readers", "")))?;
        for (object, reason) in [("rmq/mq", "Running"), ("rmqt/ledger", "InSync"), ("rmqg/ledger-readers", "InSync")] {
            namespace.until_says(object, "Ready", "True", reason)?;
        }
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        let text = |name: &str| file(name).display().to_string();
        let namesrvs = Brokers::of(namespace)?.namesrvs().to_owned();
        let of = ["--namesrv", namesrvs.as_str(), "--topic", "ledger"];
        consume
            .args([
                "ledger",
                "consume",
                "--group",
                "ledger-readers",
                "--mode",
                "concurrent",
                "--file",
                &text("delivered"),
            ])
            .args(of);
        produce.args(["ledger", "produce", "--keys", "16", "--rate", "400", "--file", &text("acked")]).args(of);
        let consumer = Running::start("the consumer", &mut consume, &file("consumer.log"))?;
        let producer = Running::start("the producer", &mut produce, &file("producer.log"))?;
        let acknowledged = |on: &str| {
            let lines = std::fs::read_to_string(file("acked")).unwrap_or_default();
            lines.lines().filter(|line| line.contains(on)).count()
        };
        // Both groups take messages, at the beginning and after the fault.
        let flows = |what: &str| {
            for group in ["mq-broker-0", "mq-broker-1"] {
                let before = acknowledged(group);
                namespace.until(&format!("messages to {group} {what}"), Duration::from_secs(90), |_| {
                    Ok((acknowledged(group) >= before + 100).then_some(()))
                })?;
            }
            Ok(())
        };
        flows("at first")?;
        fault(namespace, &flows)?;
        producer.stop()?;
        println!("{name}: {}", std::fs::read_to_string(file("producer.log"))?.lines().last().unwrap_or_default());
        compare.args([
            "ledger",
            "compare",
            "--acked",
            &text("acked"),
            "--delivered",
            &text("delivered"),
            "--wait",
            "60",
        ]);
        pass(name, &mut compare)?;
        consumer.stop()
    })
}

/// Deletes a pod, as a drain of its node would, and waits for the next one.
fn delete(namespace: &Namespace, pod: &str) -> Result<()> {
    let uid = namespace.read(&format!("pod/{pod}"))?["metadata"]["uid"].clone();
    namespace.kubectl(&["delete", "pod", pod])?;
    namespace.until(&format!("another {pod}"), Duration::from_secs(60), |namespace| {
        Ok((namespace.read(&format!("pod/{pod}"))?["metadata"]["uid"] != uid).then_some(()))
    })
}

/// Kills the process in a pod, which learns nothing of it.
fn kill(namespace: &Namespace, pod: &str) -> Result<()> {
    let restarts = |namespace: &Namespace| {
        anyhow::Ok(namespace.read(&format!("pod/{pod}"))?["status"]["containerStatuses"][0]["restartCount"].clone())
    };
    let before = restarts(namespace)?;
    let uid =
        namespace.read(&format!("pod/{pod}"))?["metadata"]["uid"].as_str().context("a pod without uid")?.to_owned();
    kill_in_pod(&uid)?;
    namespace.until(&format!("{pod} to restart"), Duration::from_secs(60), |namespace| {
        Ok((restarts(namespace)? != before).then_some(()))
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn nothing_acknowledged_is_lost_when_pods_die_and_a_slave_has_each_message() -> Result<()> {
    under_load("replicated", "groups: 2, slavesPerGroup: 1, replication: Sync,", |namespace, flows| {
        delete(namespace, "mq-broker-0-0")?;
        flows("after a master's pod was deleted")?;
        kill(namespace, "mq-broker-1-0")?;
        flows("after a master was killed")?;
        delete(namespace, "mq-broker-1-1")?;
        flows("after a slave's pod was deleted")?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running").map(drop)
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn nothing_acknowledged_is_lost_when_a_master_without_slave_dies_and_flushes_each_message() -> Result<()> {
    under_load("flushed", "groups: 2, slavesPerGroup: 0, flush: Sync,", |namespace, flows| {
        kill(namespace, "mq-broker-0-0")?;
        flows("after a master was killed")?;
        delete(namespace, "mq-broker-1-0")?;
        flows("after a master's pod was deleted")?;
        ensure!(
            Brokers::of(namespace)?.settings(0)?.get("flushDiskType").is_some_and(|value| value == "SYNC_FLUSH"),
            "not as the spec says"
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn nothing_acknowledged_is_lost_while_an_edit_rolls_through_the_cluster() -> Result<()> {
    under_load("edited", "groups: 2, slavesPerGroup: 1, replication: Sync,", |namespace, flows| {
        let edit = r#"{"spec":{"brokers":{"flush":"Sync","config":{"fileReservedTime":"48"}}}}"#;
        namespace.patch("rmq/mq", edit)?;
        let brokers = Brokers::of(namespace)?;
        namespace.until("both groups to run as edited", Duration::from_secs(240), |_| {
            // A broker that restarts just now says nothing.
            let arrived = (0..2).all(|group| {
                brokers.settings(group).is_ok_and(|settings| {
                    settings.get("flushDiskType").is_some_and(|value| value == "SYNC_FLUSH")
                        && settings.get("fileReservedTime").is_some_and(|value| value == "48")
                })
            });
            Ok(arrived.then_some(()))
        })?;
        flows("after the edit")?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running").map(drop)
    })
}

/// A new and empty master took writes and every condition stayed true: what only its slave had was
/// lost.
#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_master_whose_volume_is_lost_takes_no_writes_until_an_administrator_decides() -> Result<()> {
    let _operator = operator::shared()?;
    scenario("lost-volume", |namespace| {
        namespace.apply(&(manifest("groups: 1, slavesPerGroup: 1,", "") + &topic("kept", "queues: 2")))?;
        for (object, reason) in [("rmq/mq", "Running"), ("rmqt/kept", "InSync")] {
            namespace.until_says(object, "Ready", "True", reason)?;
        }
        Brokers::of(namespace)?.send_many("kept", 1000)?;
        let lose = || {
            namespace.kubectl(&["delete", "pvc", "data-mq-broker-0-0", "--wait=false"])?;
            delete(namespace, "mq-broker-0-0")
        };
        lose()?;
        let message = namespace.until_says("rmq/mq", "LogsComplete", "False", "DecisionNeeded")?;
        for part in ["mq-broker-0-0 holds 0 bytes, mq-broker-0-1 holds ", "rocketmq.rs/recover=mq-broker-0=copy"] {
            ensure!(message.contains(part), "'{part}' is not in: {message}");
        }
        namespace.until_says("rmq/mq", "Ready", "False", "DecisionNeeded")?;
        ensure!(Brokers::of(namespace)?.send("kept", "refused").is_err(), "a master without its log took a message");

        namespace.kubectl(&["annotate", "rmq/mq", "rocketmq.rs/recover=mq-broker-0=copy"])?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        let brokers = Brokers::of(namespace)?;
        // The slave copies tables every few seconds; a topic that it did not have yet comes from
        // its manifest again.
        let there = |wanted: i64| {
            namespace.until(&format!("{wanted} messages"), Duration::from_secs(120), |_| {
                Ok(brokers.messages(0, "kept").is_ok_and(|count| count == wanted).then_some(()))
            })
        };
        there(1000)?;
        brokers.send_many("kept", 100)?;
        there(1100)?;
        let annotations = namespace.read("rmq/mq")?["metadata"]["annotations"].clone();
        ensure!(annotations["rocketmq.rs/recover"].is_null(), "it would decide about the next loss: {annotations}");

        lose()?;
        namespace.until_says("rmq/mq", "LogsComplete", "False", "DecisionNeeded")?;
        namespace.kubectl(&["annotate", "rmq/mq", "rocketmq.rs/recover=mq-broker-0=accept-loss"])?;
        namespace.until_says("rmq/mq", "LogsComplete", "True", "Checked")?;
        let message = namespace.until_says("rmq/mq", "ReplicasInSync", "False", "LogsDiffer")?;
        for part in ["mq-broker-0-1", "rocketmq.rs/recover=mq-broker-0=replace-slave"] {
            ensure!(message.contains(part), "'{part}' is not in: {message}");
        }

        // The slave that has what was given up never follows; it begins anew and copies its master.
        let uid = |what: &str| anyhow::Ok(namespace.read(what)?["metadata"]["uid"].clone());
        let (claim, masters) = (uid("pvc/data-mq-broker-0-1")?, uid("pvc/data-mq-broker-0-0")?);
        namespace.kubectl(&["annotate", "rmq/mq", "rocketmq.rs/recover=mq-broker-0=replace-slave"])?;
        namespace.until("another claim of the slave", Duration::from_secs(120), |_| {
            Ok((uid("pvc/data-mq-broker-0-1")? != claim).then_some(()))
        })?;
        namespace.until_says("rmq/mq", "ReplicasInSync", "True", "AllFollow")?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        ensure!(namespace.events("RocketMQCluster", "mq", "SlaveReplaced")? >= 1, "no event tells what went");
        ensure!(uid("pvc/data-mq-broker-0-0")? == masters, "the master's claim went too");
        let annotations = namespace.read("rmq/mq")?["metadata"]["annotations"].clone();
        ensure!(annotations["rocketmq.rs/recover"].is_null(), "it would decide about the next loss: {annotations}");
        // The topic, which went with the log, comes from its manifest again.
        namespace.until("a message to be taken", Duration::from_secs(120), |_| Ok(brokers.send("kept", "anew").ok()))
    })
}

/// A cluster that was deleted and made anew over kept claims opened with an empty master.
#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_cluster_made_anew_over_kept_claims_opens_no_group_before_its_log_is_checked() -> Result<()> {
    let _operator = operator::shared()?;
    scenario("kept-claims", |namespace| {
        let cluster = manifest("groups: 1, slavesPerGroup: 1,", "").replace("onDelete: Delete", "onDelete: Retain");
        namespace.apply(&(cluster.clone() + &topic("kept", "queues: 2")))?;
        for (object, reason) in [("rmq/mq", "Running"), ("rmqt/kept", "InSync")] {
            namespace.until_says(object, "Ready", "True", reason)?;
        }
        Brokers::of(namespace)?.send_many("kept", 500)?;
        let remake = || {
            namespace.kubectl(&["delete", "rmq/mq", "--timeout=60s"])?;
            for object in ["statefulset/mq-broker-0", "pod/mq-broker-0-0", "pod/mq-broker-0-1"] {
                namespace.until_gone(object)?;
            }
            anyhow::Ok(())
        };
        // All claims are whole: it opens by itself.
        remake()?;
        namespace.apply(&cluster)?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;

        remake()?;
        namespace.kubectl(&["delete", "pvc", "data-mq-broker-0-0", "--timeout=60s"])?;
        namespace.apply(&cluster)?;
        let message = namespace.until_says("rmq/mq", "LogsComplete", "False", "DecisionNeeded")?;
        ensure!(message.contains("mq-broker-0-0 holds 0 bytes"), "{message}");
        let group = namespace.read("rmq/mq")?["status"]["groups"][0].clone();
        ensure!(group["open"] != true, "a master without its log was opened: {group}");
        namespace.kubectl(&["annotate", "rmq/mq", "rocketmq.rs/recover=mq-broker-0=copy"])?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        let brokers = Brokers::of(namespace)?;
        namespace.until("500 messages", Duration::from_secs(120), |_| {
            Ok(brokers.messages(0, "kept").is_ok_and(|count| count == 500).then_some(()))
        })
    })
}
