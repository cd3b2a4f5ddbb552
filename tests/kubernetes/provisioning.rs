//! Topics and consumer groups from manifests: brokers equal Git, and nothing is taken or deleted
//! that was not asked for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rmq_protocol::body::{SubscriptionGroup, TopicConfig};

use crate::brokers::{Brokers, consumer_group, manifest, topic};
use crate::namespace::{Namespace, scenario};
use crate::operator;

const READ_WRITE: i32 = 6;
const READ_ONLY: i32 = 4;
/// A comparison is due every minute, and then spread; two of them.
const DRIFT: Duration = Duration::from_secs(150);

/// A scenario that begins with a cluster of two masters.
fn with_cluster(name: &str, body: impl FnOnce(&Namespace, &Brokers) -> Result<()>) -> Result<()> {
    let _operator = operator::shared()?;
    scenario(name, |namespace| {
        namespace.apply(&manifest("groups: 2, slavesPerGroup: 0,", ""))?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        body(namespace, &Brokers::of(namespace)?)
    })
}

/// Waits until a topic has this many queues, and these permissions, on both groups.
fn until_is(namespace: &Namespace, brokers: &Brokers, name: &str, queues: i32, perm: i32) -> Result<()> {
    namespace.until(&format!("{name} with {queues} queues, perm {perm}"), DRIFT, |_| {
        for index in 0..2 {
            let have = brokers.topic(index, name)?.with_context(|| format!("{name} is not on group {index}"))?;
            ensure!((have.write_queue_nums, have.read_queue_nums, have.perm) == (queues, queues, perm), "{have:?}");
        }
        Ok(Some(()))
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_topic_follows_its_manifest_and_an_admin_tool_does_not_prevail() -> Result<()> {
    with_cluster("topic", |namespace, brokers| {
        namespace.apply(&topic("orders", "topicName: Orders_v1, queues: 3"))?;
        namespace.until_says("rmqt/orders", "Ready", "True", "InSync")?;
        until_is(namespace, brokers, "Orders_v1", 3, READ_WRITE)?;

        namespace.apply(&topic("orders", "topicName: Orders_v1, queues: 5, perm: ReadOnly"))?;
        namespace.until_says("rmqt/orders", "Ready", "True", "InSync")?;
        until_is(namespace, brokers, "Orders_v1", 5, READ_ONLY)?;
        ensure!(
            namespace.events("RocketMQTopic", "orders", "DriftCorrected")? == 0,
            "a change of the spec was told as drift"
        );
        let refusal = namespace.refusal(&topic("orders", "topicName: Orders_v1, queues: 4"))?;
        ensure!(refusal.contains("queues can grow but not shrink"), "{refusal}");

        brokers.put_topic(0, &TopicConfig::new("Orders_v1", 5, 5, READ_WRITE))?;
        brokers.delete_topic(1, "Orders_v1")?;
        until_is(namespace, brokers, "Orders_v1", 5, READ_ONLY)?;
        namespace.until("both corrections to be told", Duration::from_secs(10), |namespace| {
            Ok((namespace.events("RocketMQTopic", "orders", "DriftCorrected")? == 2).then_some(()))
        })
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_consumer_group_follows_its_manifest() -> Result<()> {
    with_cluster("group", |namespace, brokers| {
        let until_retries = |times: i32| {
            namespace.until(&format!("{times} retries"), DRIFT, |_| {
                let is = |index| {
                    anyhow::Ok(
                        brokers.consumer_group(index, "billing")?.is_some_and(|group| group.retry_max_times == times),
                    )
                };
                Ok((is(0)? && is(1)?).then_some(()))
            })
        };
        namespace.apply(&consumer_group("billing", "retry: {maxTimes: 5}"))?;
        namespace.until_says("rmqg/billing", "Ready", "True", "InSync")?;
        until_retries(5)?;
        namespace.apply(&consumer_group("billing", "retry: {maxTimes: 7}, deletionPolicy: Delete"))?;
        until_retries(7)?;
        brokers.put_consumer_group(1, &SubscriptionGroup::new("billing"))?;
        until_retries(7)?;
        namespace.kubectl(&["delete", "rmqg/billing"])?;
        for index in 0..2 {
            ensure!(brokers.consumer_group(index, "billing")?.is_none(), "deleted, and still on group {index}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn of_two_manifests_for_one_topic_the_older_wins_and_the_other_takes_over() -> Result<()> {
    with_cluster("conflict", |namespace, brokers| {
        namespace.apply(&topic("first", "topicName: shared, queues: 3, deletionPolicy: Delete"))?;
        namespace.until_says("rmqt/first", "Ready", "True", "InSync")?;
        // Kubernetes tells ages in seconds.
        let born = namespace.read("rmqt/first")?["metadata"]["creationTimestamp"].clone();
        namespace.until("another second", Duration::from_secs(5), |namespace| {
            let now = namespace.kubectl(&[
                "create",
                "configmap",
                "clock",
                "--dry-run=server",
                "--from-literal=a=b",
                "--output",
                "json",
            ])?;
            let now: serde_json::Value = serde_json::from_str(&now)?;
            Ok((now["metadata"]["creationTimestamp"] != born).then_some(()))
        })?;
        namespace.apply(&topic("second", "topicName: shared, queues: 6"))?;
        let message = namespace.until_says("rmqt/second", "Ready", "False", "ResourceConflict")?;
        ensure!(message.contains("/first"), "the winner is not named: {message}");
        until_is(namespace, brokers, "shared", 3, READ_WRITE)?;

        // The first goes by its policy, Delete; but the topic has another owner now.
        namespace.kubectl(&["delete", "rmqt/first"])?;
        namespace.until_says("rmqt/second", "Ready", "False", "AdoptionRefused")?;
        until_is(namespace, brokers, "shared", 3, READ_WRITE)?;
        namespace.apply(&topic("second", "topicName: shared, queues: 6, adoption: Always"))?;
        namespace.until_says("rmqt/second", "Ready", "True", "InSync")?;
        until_is(namespace, brokers, "shared", 6, READ_WRITE)
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn what_becomes_of_a_topic_is_what_its_deletion_policy_says() -> Result<()> {
    with_cluster("deletion", |namespace, brokers| {
        for (name, policy) in
            [("kept", "Retain"), ("removed", "Delete"), ("empty", "DeleteIfEmpty"), ("full", "DeleteIfEmpty")]
        {
            namespace.apply(&topic(name, &format!("queues: 2, deletionPolicy: {policy}")))?;
        }
        for name in ["kept", "removed", "empty", "full"] {
            namespace.until_says(&format!("rmqt/{name}"), "Ready", "True", "InSync")?;
        }
        brokers.send("full", "a message")?;
        namespace.kubectl(&["delete", "rmqt/kept", "rmqt/removed", "rmqt/empty"])?;
        for index in 0..2 {
            ensure!(brokers.topic(index, "kept")?.is_some(), "Retain deleted it on group {index}");
            ensure!(brokers.topic(index, "removed")?.is_none(), "Delete left it on group {index}");
            ensure!(brokers.topic(index, "empty")?.is_none(), "DeleteIfEmpty left it on group {index}");
        }
        namespace.kubectl(&["delete", "rmqt/full", "--wait=false"])?;
        let message = namespace.until_says("rmqt/full", "Ready", "False", "NotEmpty")?;
        ensure!(brokers.topic(0, "full")?.is_some() && brokers.topic(1, "full")?.is_some(), "{message}");
        namespace.kubectl(&["annotate", "rmqt/full", "rocketmq.rs/abandon=true"])?;
        namespace.until_gone("rmqt/full")?;
        ensure!(brokers.topic(0, "full")?.is_some(), "abandoned is not deleted");
        Ok(())
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_topic_that_was_there_first_is_adopted_only_as_the_manifest_allows() -> Result<()> {
    with_cluster("adoption", |namespace, brokers| {
        for (name, queues) in [("equal", 8), ("other", 2), ("strange", 8)] {
            for index in 0..2 {
                brokers.put_topic(index, &TopicConfig::new(name, queues, queues, READ_WRITE))?;
            }
        }
        namespace.apply(&topic("equal", ""))?;
        namespace.apply(&topic("other", "queues: 4"))?;
        namespace.apply(&topic("strange", "adoption: Never"))?;
        namespace.until_says("rmqt/equal", "Ready", "True", "InSync")?;
        ensure!(namespace.read("rmqt/equal")?["status"]["origin"] == "Adopted", "not told as adopted");
        let message = namespace.until_says("rmqt/other", "Ready", "False", "AdoptionRefused")?;
        ensure!(message.contains("adoption: Always"), "no remedy in: {message}");
        namespace.until_says("rmqt/strange", "Ready", "False", "AdoptionRefused")?;
        until_is(namespace, brokers, "other", 2, READ_WRITE)?;
        namespace.apply(&topic("other", "queues: 4, adoption: Always"))?;
        namespace.until_says("rmqt/other", "Ready", "True", "InSync")?;
        until_is(namespace, brokers, "other", 4, READ_WRITE)?;
        // The cluster's own name is a topic of RocketMQ, which the API server cannot know.
        namespace.apply(&topic("mq", ""))?;
        namespace.until_says("rmqt/mq", "Ready", "False", "SystemName").map(drop)
    })
}
