//! A cluster that grows, while the operator that makes it grow comes and goes.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::brokers::{Brokers, consumer_group, manifest, topic};
use crate::namespace::{Namespace, scenario};
use crate::operator::{self, kubectl_operator, leader};
use crate::processes::kill_in_pod;

/// Grows a cluster from one group to two and does something to the operator as soon as the second
/// group's StatefulSet is there. The new group must never be writable without the topics and
/// consumer groups of the first, whoever finishes the work.
fn grows(name: &str, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let _operator = operator::alone()?;
    scenario(name, |namespace| {
        namespace.apply(&manifest("groups: 1, slavesPerGroup: 0,", ""))?;
        let (topics, groups) = (["red", "green", "blue"], ["one", "two"]);
        for name in topics {
            namespace.apply(&topic(name, "queues: 3"))?;
        }
        for name in groups {
            namespace.apply(&consumer_group(name, "retry: {maxTimes: 4}"))?;
        }
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        for name in topics {
            namespace.until_says(&format!("rmqt/{name}"), "Ready", "True", "InSync")?;
        }
        for name in groups {
            namespace.until_says(&format!("rmqg/{name}"), "Ready", "True", "InSync")?;
        }
        let brokers = Brokers::of(namespace)?;
        thread::scope(|scope| {
            let watched = scope.spawn(|| opens_complete(namespace, &Brokers::of(namespace)?, &topics, &groups));
            namespace.kubectl(&["scale", "rmq/mq", "--replicas=2"])?;
            namespace.until("the second group", Duration::from_secs(60), |namespace| {
                Ok(namespace.read("statefulset/mq-broker-1").is_ok().then_some(()))
            })?;
            meanwhile()?;
            watched.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?
        })?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        for name in topics {
            ensure!(
                brokers.topic(1, name)?.is_some_and(|topic| topic.write_queue_nums == 3),
                "{name} is not on the new group"
            );
        }
        for name in groups {
            let found = brokers.consumer_group(1, name)?;
            ensure!(found.is_some_and(|group| group.retry_max_times == 4), "{name} is not on the new group");
        }
        Ok(())
    })
}

/// Looks at the new group until it is writable; when it is, all must be there. The permission is
/// read first: what is there afterwards may only be more.
fn opens_complete(namespace: &Namespace, brokers: &Brokers, topics: &[&str], groups: &[&str]) -> Result<()> {
    namespace.until("the second group to take writes", Duration::from_secs(150), |_| {
        let settings = brokers.settings(1)?;
        let permission = settings.get("brokerPermission").context("no brokerPermission")?;
        Ok((permission == "6").then_some(()))
    })?;
    for name in topics {
        ensure!(brokers.topic(1, name)?.is_some(), "the new group took writes before it had the topic {name}");
    }
    for name in groups {
        ensure!(
            brokers.consumer_group(1, name)?.is_some(),
            "the new group took writes before it had the consumer group {name}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn growing_goes_on_when_the_leading_operator_is_killed() -> Result<()> {
    grows("failover", || {
        let leader = leader()?;
        let uid = kubectl_operator(&["get", "pod", &leader, "--output", "jsonpath={.metadata.uid}"])?;
        // It cannot give the Lease back; the kubelet starts it again at once, and either replica
        // may take over.
        kill_in_pod(&uid)
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn growing_goes_on_when_all_operators_were_away() -> Result<()> {
    grows("absence", || {
        kubectl_operator(&["scale", "deployment", operator::RELEASE, "--replicas=0"])?;
        kubectl_operator(&["wait", "--for=delete", "pod", "--selector", operator::PODS, "--timeout=60s"])?;
        kubectl_operator(&["scale", "deployment", operator::RELEASE, "--replicas=2"])?;
        leader().map(drop)
    })
}
