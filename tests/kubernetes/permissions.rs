//! The operator runs under the ServiceAccount of its chart and nothing else; what the chart grants
//! is enough, and not more than it says.

use anyhow::{Result, ensure};

use crate::brokers::{Brokers, consumer_group, manifest, topic};
use crate::namespace::{Namespace, kubectl, scenario};
use crate::operator::{self, RELEASE, chart, helm, image_values, may};

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn an_operator_of_two_namespaces_serves_both_and_neither_sees_nor_may_see_another() -> Result<()> {
    // The operator of all namespaces would serve this one too.
    let _operator = operator::alone()?;
    helm(&["uninstall", RELEASE, "--namespace", RELEASE, "--wait"])?;
    let result = scenario("scoped", |namespace| {
        scenario("second", |second| {
            scenario("unwatched", |other| {
                let [repository, tag] = image_values();
                let watched = format!("watchNamespaces={{{},{}}}", namespace.name(), second.name());
                helm(&[
                    "install",
                    "rocketmq-operator",
                    &chart("rocketmq-operator"),
                    "--namespace",
                    namespace.name(),
                    "--set",
                    &repository,
                    "--set-string",
                    &tag,
                    "--set",
                    &watched,
                    "--set",
                    "replicas=1",
                    "--set",
                    "crds.install=false",
                    "--wait",
                    "--timeout",
                    "2m",
                ])?;
                other.apply(&manifest("slavesPerGroup: 0,", ""))?;
                let admits = format!("  topics: {{allowedNamespaces: [{}]}}", second.name());
                namespace.apply(
                    &(manifest("slavesPerGroup: 0,", &admits)
                        + &topic("orders", "deletionPolicy: Delete")
                        + &consumer_group("billing", "")),
                )?;
                namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
                namespace.until_says("rmqt/orders", "Ready", "True", "InSync")?;
                namespace.until_says("rmqg/billing", "Ready", "True", "InSync")?;
                // A topic of the other namespace on the same cluster, and a cluster of its own that
                // admits nobody.
                let elsewhere = |namespace: &Namespace| format!("name: mq, namespace: {}", namespace.name());
                second.apply(
                    &(manifest("slavesPerGroup: 0,", "")
                        + &topic("guest", "").replace("name: mq", &elsewhere(namespace))),
                )?;
                second.until_says("rmqt/guest", "Ready", "True", "InSync")?;
                second.until_says("rmq/mq", "Ready", "True", "Running")?;
                namespace.apply(&topic("stranger", "").replace("name: mq", &elsewhere(second)))?;
                namespace.until_says("rmqt/stranger", "Ready", "False", "NamespaceNotAllowed")?;
                ensure!(Brokers::of(second)?.topic(0, "stranger")?.is_none(), "a stranger's topic was made");
                namespace.kubectl(&["delete", "rmqt/orders", "--timeout=60s"])?;
                ensure!(other.read("rmq/mq")?["status"].is_null(), "the operator looked after another namespace");
                let logs = namespace.kubectl(&["logs", "--selector", operator::PODS, "--tail=-1"])?;
                ensure!(!logs.to_lowercase().contains("forbidden"), "it lacks a right:\n{logs}");

                let account = format!("system:serviceaccount:{}:rocketmq-operator", namespace.name());
                let (here, there) = (["--namespace", namespace.name()], ["--namespace", other.name()]);
                ensure!(
                    may(&account, &[&["list", "rocketmqclusters"], here.as_slice()].concat())?,
                    "cannot see its own namespace"
                );
                for act in [
                    ["list", "rocketmqclusters"],
                    ["list", "pods"],
                    ["delete", "pods"],
                    ["delete", "persistentvolumeclaims"],
                    ["create", "statefulsets"],
                    ["patch", "configmaps"],
                ] {
                    ensure!(
                        !may(&account, &[act.as_slice(), &there].concat())?,
                        "may {} in another namespace",
                        act.join(" ")
                    );
                }
                for act in [
                    ["get", "secrets"],
                    ["create", "pods/exec"],
                    ["create", "pods"],
                    ["create", "rolebindings"],
                    ["create", "persistentvolumeclaims"],
                ] {
                    ensure!(!may(&account, &[act.as_slice(), &here].concat())?, "may {}", act.join(" "));
                }
                helm(&["uninstall", "rocketmq-operator", "--namespace", namespace.name(), "--wait"]).map(drop)
            })
        })
    });
    operator::install()?;
    result
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn the_operator_of_all_namespaces_lacks_no_right_and_has_no_more_than_its_chart_says() -> Result<()> {
    let _operator = operator::shared()?;
    scenario("rights", |namespace| {
        namespace.apply(
            &(manifest("slavesPerGroup: 0,", "")
                + &topic("orders", "deletionPolicy: Delete")
                + &consumer_group("billing", "")),
        )?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        namespace.until_says("rmqt/orders", "Ready", "True", "InSync")?;
        namespace.patch("rmq/mq", r#"{"spec":{"brokers":{"storage":{"size":"2Gi"}}}}"#)?;
        namespace.until_says("rmq/mq", "StorageHealthy", "True", "AsSpecified")?;
        namespace.kubectl(&["delete", "rmqt/orders", "--timeout=60s"])?;
        let logs = operator::logs()?;
        let refused: Vec<&str> = logs.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        ensure!(refused.is_empty(), "the chart grants too little: {refused:#?}");
        let account = format!("system:serviceaccount:{RELEASE}:{RELEASE}");
        for act in [
            ["get", "secrets"],
            ["create", "pods"],
            ["create", "clusterroles"],
            ["delete", "namespaces"],
            ["create", "persistentvolumeclaims"],
        ] {
            ensure!(
                !may(&account, &[&act, ["--all-namespaces", "--quiet"].as_slice()].concat())?,
                "may {}",
                act.join(" ")
            );
        }
        kubectl(&["auth", "can-i", "--as", &account, "list", "rocketmqclusters", "--all-namespaces"]).map(drop)
    })
}
