//! Clusters as a whole: installed by Helm, reached by official clients, refused when they make no
//! sense.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::brokers::{Brokers, consumer_group, manifest, topic};
use crate::judges::{Client, pass};
use crate::namespace::{Namespace, condition, kubectl, scenario};
use crate::operator::{self, RELEASE, chart, helm};
use crate::processes::anonymous_memory_in_pod;

/// Values of `charts/rocketmq-cluster`: two namesrvs, two groups of a master and a slave, two
/// topics, a consumer group.
const VALUES: &str = "
name: shop
cluster:
  namesrv: {replicas: 2, podTemplate: {spec: {containers: [{name: namesrv, resources: {requests: {cpu: 5m, memory: 16Mi}}}]}}}
  brokers:
    groups: 2
    slavesPerGroup: 1
    config: {mappedFileSizeCommitLog: '67108864'}
    storage: {size: 1Gi, reclaim: {onDelete: Delete}}
    podTemplate: {spec: {containers: [{name: broker, resources: {requests: {cpu: 10m, memory: 32Mi}}}]}}
  topics: {autoCreateGroups: true}
topics:
  orders: {queues: 4}
  payments: {topicName: Payments_v1, queues: 2}
consumerGroups:
  billing: {retry: {maxTimes: 5}}
";

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn both_charts_make_a_cluster_and_uninstalling_the_operator_stops_nothing() -> Result<()> {
    let _operator = operator::alone()?;
    scenario("charts", |namespace| {
        let values = tempfile::NamedTempFile::new()?;
        std::fs::write(values.path(), VALUES)?;
        let values = values.path().to_str().context("a path that is no text")?;
        helm(&["install", "shop", &chart("rocketmq-cluster"), "--namespace", namespace.name(), "--values", values])?;
        namespace.until_says("rmq/shop", "Ready", "True", "Running")?;
        for object in ["rmqt/orders", "rmqt/payments", "rmqg/billing"] {
            namespace.until_says(object, "Ready", "True", "InSync")?;
        }
        let status = &namespace.read("rmq/shop")?["status"];
        ensure!(status["groupsReady"] == "2/2" && status["namesrvReady"] == "2/2", "{status}");
        let before = pods(namespace)?;
        ensure!(before.len() == 6, "{} pods", before.len());
        if let Some(mut judge) = Client::Java5.judge()? {
            let discovery = namespace.read("configmap/shop-discovery")?;
            let namesrvs = discovery["data"]["NAMESRV_ADDR"].as_str().context("no NAMESRV_ADDR")?;
            let trip = ["roundtrip", "--count", "100000", "--topic", "orders", "--namesrv", namesrvs];
            pass("100,000 messages through two groups of a master and a slave", judge.args(trip))?;
        }

        helm(&["uninstall", RELEASE, "--namespace", RELEASE, "--wait"])?;
        for kind in ["rocketmqclusters", "rocketmqtopics", "rocketmqconsumergroups"] {
            kubectl(&["get", "crd", &format!("{kind}.rocketmq.rs")])?;
        }
        operator::install()?;
        namespace.apply(&topic("later", "").replace("name: mq}", "name: shop}"))?;
        namespace.until_says("rmqt/later", "Ready", "True", "InSync")?;
        ensure!(pods(namespace)? == before, "pods were replaced when the operator went or came");
        Ok(())
    })
}

/// The example as a reader applies it, and how long that takes; the images are there.
#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn the_quick_start_is_ready_in_seconds() -> Result<()> {
    let _operator = operator::alone()?;
    scenario("quickstart", |namespace| {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart.yaml");
        let begun = Instant::now();
        namespace.apply(&std::fs::read_to_string(example)?)?;
        namespace.until_says("rmq/quickstart", "Ready", "True", "Running")?;
        println!("the quick start's cluster was Ready after {:.1} s", begun.elapsed().as_secs_f64());
        for object in ["rmqt/orders", "rmqt/payments", "rmqg/billing"] {
            namespace.until_says(object, "Ready", "True", "InSync")?;
        }
        println!("{}", namespace.kubectl(&["get", "rmq,rmqt,rmqg,pods,pdb"])?);
        let uid = |pods: &str, name: &str| {
            kubectl(&["--namespace", pods, "get", "pod", name, "--output", "jsonpath={.metadata.uid}"])
        };
        let operator = uid(RELEASE, &operator::leader()?)?;
        println!("anonymous memory of the leading operator: {} KiB", anonymous_memory_in_pod(&operator)?);
        for pod in ["quickstart-namesrv-0", "quickstart-broker-0-0", "quickstart-broker-0-1"] {
            println!("anonymous memory of {pod}: {} KiB", anonymous_memory_in_pod(&uid(namespace.name(), pod)?)?);
        }
        Ok(())
    })
}

/// Clients make topics and groups of their own here.
const OPEN_TO_ALL: &str = "  topics: {autoCreate: true, autoCreateGroups: true}";

/// Official clients on a cluster whose brokers are known by `advertise`. A Java client takes names
/// everywhere. The Go client takes a namesrv by IP only ("IP addr error"), and brokers by name.
fn official_clients(advertise: &str) -> Result<()> {
    let _operator = operator::shared()?;
    scenario(&format!("clients-{}", advertise.to_lowercase()), |namespace| {
        let access = format!("{OPEN_TO_ALL}\n  access: {{internal: {{advertise: {advertise}}}}}");
        namespace.apply(&manifest("groups: 2, slavesPerGroup: 0,", &access))?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        let address = Brokers::of(namespace)?.master(1)?;
        let wanted = match advertise {
            "PodDNS" => format!("mq-broker-1-0.mq-broker-1.{}.svc.cluster.local:10911", namespace.name()),
            _ => format!(
                "{}:10911",
                namespace.read("pod/mq-broker-1-0")?["status"]["podIP"].as_str().context("no address")?
            ),
        };
        ensure!(address == wanted, "registered as {address}, not {wanted}");

        let discovery = namespace.read("configmap/mq-discovery")?;
        let by_name = discovery["data"]["NAMESRV_ADDR"].as_str().context("no NAMESRV_ADDR")?.to_owned();
        let by_ip = namespace.read("service/mq-namesrv-client")?["spec"]["clusterIP"]
            .as_str()
            .context("no clusterIP")?
            .to_owned();
        let by_ip = format!("{by_ip}:9876");
        // With PodIP nobody needs the cluster's names.
        let java = if advertise == "PodIP" { &by_ip } else { &by_name };
        for (client, namesrv, arguments) in [
            (Client::Java5, java, ["roundtrip", "--count", "100000"].as_slice()),
            (Client::Java4, java, &["roundtrip", "--count", "10000"]),
            (
                Client::Go,
                &by_ip,
                &["--only", "^(send_sync_with_properties|push_clustering_shares_messages|pull_from_every_queue)$"],
            ),
        ] {
            let Some(mut judge) = client.judge()? else { continue };
            pass(&format!("{client:?} with {advertise}"), judge.args(arguments).args(["--namesrv", namesrv]))?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn official_clients_reach_brokers_by_the_dns_names_of_pods() -> Result<()> {
    official_clients("PodDNS")
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn official_clients_reach_brokers_by_the_addresses_of_pods() -> Result<()> {
    official_clients("PodIP")
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn a_manifest_that_makes_no_sense_is_refused_with_a_sentence_that_helps() -> Result<()> {
    let _operator = operator::shared()?;
    scenario("refused", |namespace| {
        let dash = manifest("", "").replace("name: mq}", "name: 9mq}");
        let table = [
            (manifest("groups: 0,", ""), "brokers.groups must be 1 to 64"),
            (
                manifest("replication: Sync, slavesPerGroup: 0,", ""),
                "write slavesPerGroup: 1 or more, or replication: Async",
            ),
            (manifest("", "").replace("replicas: 1", "replicas: 0"), "namesrv.replicas must be 1 to 9"),
            (manifest("", "").replace("size: 1Gi", "size: much"), "storage.size must be a quantity above zero"),
            (
                manifest("", "").replace("mappedFileSizeCommitLog: '67108864'", "brokerId: '3'"),
                "are set by the operator: remove them from brokers.config",
            ),
            (dash, "metadata.name becomes part of Service and pod names"),
            (topic("t", "queues: 0"), "queues must be 1 to 1024"),
            (topic("t", "topicName: TBW102"), "is a topic of RocketMQ itself"),
            (topic("t", "topicName: 'a%b'"), "topicName must be 1 to 127 of"),
            (consumer_group("g", "groupName: TOOLS_CONSUMER"), "is a group of RocketMQ itself"),
            (consumer_group("g", "retry: {maxTimes: -1}"), "retry.maxTimes must be 0 to 10000"),
        ];
        for (manifest, sentence) in table {
            let refusal = namespace.refusal(&manifest)?;
            ensure!(refusal.contains(sentence), "'{sentence}' is not in: {refusal}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the cluster of tests/kubernetes/run"]
fn what_only_the_operator_can_refuse_is_reported_once_and_the_cluster_stays_as_it_was() -> Result<()> {
    let _operator = operator::shared()?;
    scenario("stays", |namespace| {
        namespace.apply(&manifest("groups: 2, slavesPerGroup: 0,", ""))?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        let before = pods(namespace)?;

        namespace.patch(
            "rmq/mq",
            r#"{"spec":{"brokers":{"podTemplate":{"spec":{"containers":[{"name":"broker","image":"mine:1"}]}}}}}"#,
        )?;
        let message = namespace.until_says("rmq/mq", "SpecValid", "False", "Invalid")?;
        ensure!(message.contains("spec.image"), "no remedy in: {message}");
        namespace.until_says("rmq/mq", "Ready", "False", "SpecInvalid")?;
        let reported = namespace.until("an event", Duration::from_secs(20), |namespace| {
            Ok(Some(namespace.events("RocketMQCluster", "mq", "Invalid")?).filter(|times| *times > 0))
        })?;
        ensure!(reported == 1, "told {reported} times");

        let own =
            r#"{"spec":{"containers":[{"name":"broker","resources":{"requests":{"cpu":"10m","memory":"32Mi"}}}]}}"#;
        namespace.patch("rmq/mq", &format!(r#"{{"spec":{{"brokers":{{"groups":1,"podTemplate":{own}}}}}}}"#))?;
        let message = namespace.until_says("rmq/mq", "ScaleDownRefused", "True", "DrainNotServed")?;
        ensure!(message.contains("write groups: 2"), "no remedy in: {message}");
        namespace.read("statefulset/mq-broker-1")?;
        let available = namespace.read("rmq/mq")?;
        ensure!(condition(&available, "Available").is_some_and(|c| c["status"] == "True"), "{available}");

        namespace.patch("rmq/mq", r#"{"spec":{"brokers":{"groups":2}}}"#)?;
        namespace.until_says("rmq/mq", "Ready", "True", "Running")?;
        let cluster = namespace.read("rmq/mq")?;
        ensure!(condition(&cluster, "ScaleDownRefused").is_none(), "{cluster}");
        ensure!(pods(namespace)? == before, "pods were replaced");
        Ok(())
    })
}

/// Uids of all pods.
fn pods(namespace: &Namespace) -> Result<Vec<serde_json::Value>> {
    let pods = namespace.read("pods")?;
    Ok(pods["items"].as_array().context("no list of pods")?.iter().map(|pod| pod["metadata"]["uid"].clone()).collect())
}
