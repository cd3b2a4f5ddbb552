//! Namespaces go with all that is in them, whichever goes first: no finalizer waits for something
//! that is gone already.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::brokers::{Brokers, consumer_group, manifest, topic};
use crate::namespace::{Namespace, kubectl, scenario, until};
use crate::operator;

/// A cluster with topics and groups of each deletion policy, all of them well.
fn full(name: &str, body: impl FnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let _operator = operator::shared()?;
    scenario(name, |namespace| {
        namespace.apply(&manifest("slavesPerGroup: 1,", ""))?;
        for policy in ["Retain", "Delete", "DeleteIfEmpty"] {
            let (name, policy) = (policy.to_lowercase(), format!("deletionPolicy: {policy}"));
            namespace.apply(&(topic(&name, &policy) + &consumer_group(&name, &policy)))?;
        }
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        for kind in ["rmqt", "rmqg"] {
            for name in ["retain", "delete", "deleteifempty"] {
                namespace.until_says(&format!("{kind}/{name}"), "Ready", "True", "InSync")?;
            }
        }
        Brokers::of(namespace)?.send("deleteifempty", "so it is not empty")?;
        body(namespace)
    })
}

/// Waits until the namespace is gone, and its volumes, which belong to no namespace.
fn until_nothing_is_left(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(&["delete", "namespace", namespace.name(), "--wait=false", "--ignore-not-found"])?;
    until("the namespace to go", Duration::from_secs(150), || {
        let left = kubectl(&[
            "get",
            "namespace",
            namespace.name(),
            "--ignore-not-found",
            "--output",
            "jsonpath={.status.conditions[*].message}{.metadata.name}",
        ])?;
        ensure!(left.is_empty(), "{left}");
        Ok(Some(()))
    })?;
    until("its volumes to go", Duration::from_secs(60), || {
        let volumes: serde_json::Value =
            serde_json::from_str(&kubectl(&["get", "persistentvolumes", "--output", "json"])?)?;
        let volumes = volumes["items"].as_array().context("no list of volumes")?;
        Ok((!volumes.iter().any(|volume| volume["spec"]["claimRef"]["namespace"] == namespace.name())).then_some(()))
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_namespace_goes_with_everything_at_once() -> Result<()> {
    full("all-at-once", until_nothing_is_left)
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_namespace_goes_when_the_cluster_went_first() -> Result<()> {
    full("cluster-first", |namespace| {
        namespace.kubectl(&["delete", "rmq/mq"])?;
        // Pods that ended and objects whose cluster is gone: each goes for itself, also the topic
        // that is not empty.
        namespace.kubectl(&["delete", "rmqt,rmqg", "--all", "--timeout=60s"])?;
        until_nothing_is_left(namespace)
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_namespace_goes_when_topics_went_first() -> Result<()> {
    full("topics-first", |namespace| {
        namespace.kubectl(&["delete", "rmqt/retain", "rmqt/delete", "--timeout=60s"])?;
        namespace.kubectl(&["delete", "rmqg", "--all", "--timeout=60s"])?;
        namespace.kubectl(&["delete", "rmqt/deleteifempty", "--wait=false"])?;
        namespace.until_says("rmqt/deleteifempty", "Ready", "False", "NotEmpty")?;
        until_nothing_is_left(namespace)
    })
}
