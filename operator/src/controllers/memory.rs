//! How much memory the operator needs for topics and consumer groups on eight broker groups, as the
//! kernel counts it: the controllers run in a process of their own, against an API server in the
//! process of the test.
//!
//! There are 1,000 objects, or as many as the variable `OBJECTS` says. The chart's limit is made
//! for 5,000, which `tests/run long` measures.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use parking_lot::Mutex;
use rmq_protocol::body::{SubscriptionGroup, SubscriptionGroupTable, TopicConfig, TopicConfigTable};
use serde_json::{Value, json};

use super::tests::{KINDS, World, options};
use crate::{
    brokers::admin::{Admin, Broker, Progress, Recovery, Result},
    kubernetes::fake_api::ApiServer,
};

/// In MiB: what a process without objects takes, and what each thousand of them adds. The chart's
/// limit is made for 5,000: see its values.yaml.
const BOUND: u64 = 50;
const BOUND_OF_A_THOUSAND: u64 = 9;
/// Three of five are topics, the others consumer groups.
const OBJECTS: usize = 1000;
const BROKER_GROUPS: usize = 8;
/// Objects of each kind that no broker has yet.
const NEW: usize = 50;
/// Where the process under test finds its API server.
const API: &str = "ROCKETMQ_TEST_MEMORY_API";

/// Brokers that keep names only, so that what is measured is the operator's.
#[derive(Clone, Default)]
struct Brokers(Arc<Mutex<BTreeMap<String, Names>>>);

#[derive(Default)]
struct Names {
    topics: BTreeSet<String>,
    consumer_groups: BTreeSet<String>,
}

impl Brokers {
    fn broker<T>(&self, name: &str, with: impl FnOnce(&mut Names) -> T) -> T {
        with(self.0.lock().entry(name.to_owned()).or_default())
    }
}

fn objects() -> usize {
    std::env::var("OBJECTS").map_or(OBJECTS, |number| number.parse().unwrap())
}

fn topics() -> usize {
    objects() * 3 / 5
}

fn consumer_groups() -> usize {
    objects() * 2 / 5
}

fn group(index: usize) -> String {
    format!("big-broker-{index}")
}

fn topic_name(index: usize) -> String {
    format!("orders-of-shop-{index:04}")
}

fn consumer_group_name(index: usize) -> String {
    format!("billing-of-shop-{index:04}")
}

/// Bytes of a table's entry in a body.
const ENTRY: usize = 320;

/// A table as it comes from a broker: beside the body that says it. Decoding is left out, for it
/// takes minutes without optimisation.
fn table<T>(names: &BTreeSet<String>, config: impl Fn(&str) -> T) -> BTreeMap<String, T> {
    let body = vec![b' '; names.len() * ENTRY];
    let table = names.iter().map(|name| (name.clone(), config(name))).collect();
    drop(std::hint::black_box(body));
    table
}

impl Admin for Brokers {
    /// Most of what there is to be is there already, as at a restart.
    fn connect(_: &[String]) -> Self {
        let brokers = Self::default();
        for index in 0..BROKER_GROUPS {
            brokers.broker(&group(index), |names| {
                names.topics = (NEW..topics()).map(topic_name).collect();
                names.consumer_groups = (NEW..consumer_groups()).map(consumer_group_name).collect();
            });
        }
        brokers
    }

    async fn brokers(&self) -> Result<Vec<Broker>> {
        let broker = |index| {
            let name = group(index);
            Broker { cluster: "big".to_owned(), master: Some(name.clone()), slaves: 1, name }
        };
        Ok((0..BROKER_GROUPS).map(broker).collect())
    }

    async fn status(&self, _: &str) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    async fn recover(&self, broker: &str, _: &Recovery) -> Result<()> {
        unreachable!("{broker} waits for no decision")
    }

    async fn topics(&self, broker: &str) -> Result<TopicConfigTable> {
        let topic_config_table =
            self.broker(broker, |names| table(&names.topics, |name| TopicConfig::new(name, 4, 4, 6)));
        Ok(TopicConfigTable { topic_config_table, ..TopicConfigTable::default() })
    }

    async fn put_topic(&self, broker: &str, topic: &TopicConfig) -> Result<()> {
        self.broker(broker, |names| names.topics.insert(topic.topic_name.clone()));
        Ok(())
    }

    async fn delete_topic(&self, broker: &str, topic: &str) -> Result<()> {
        self.broker(broker, |names| names.topics.remove(topic));
        Ok(())
    }

    async fn forget_topic(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn stored_messages(&self, _: &str, _: &str) -> Result<u64> {
        Ok(0)
    }

    async fn consumer_groups(&self, broker: &str) -> Result<SubscriptionGroupTable> {
        let subscription_group_table =
            self.broker(broker, |names| table(&names.consumer_groups, |name| SubscriptionGroup::new(name)));
        Ok(SubscriptionGroupTable { subscription_group_table, ..SubscriptionGroupTable::default() })
    }

    async fn put_consumer_group(&self, broker: &str, group: &SubscriptionGroup) -> Result<()> {
        self.broker(broker, |names| names.consumer_groups.insert(group.group_name.clone()));
        Ok(())
    }

    async fn delete_consumer_group(&self, broker: &str, group: &str) -> Result<()> {
        self.broker(broker, |names| names.consumer_groups.remove(group));
        Ok(())
    }

    async fn progress(&self, _: &str, group: &str) -> Result<Progress> {
        Ok(Progress { lag: 7, topics: BTreeSet::from([format!("orders-for-{group}")]) })
    }

    async fn members(&self, _: &str, group: &str) -> Result<BTreeSet<String>> {
        Ok(BTreeSet::from([format!("10.0.0.1@{group}")]))
    }

    async fn permission(&self, _: &str) -> Result<i32> {
        Ok(6)
    }

    async fn set_permission(&self, _: &str, _: i32) -> Result<()> {
        Ok(())
    }
}

/// A line of `/proc/self/status`, in bytes.
fn memory(of: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap() * 1024
}

/// The process that is measured: controllers until standard input says otherwise.
#[test]
#[ignore = "a part of the test below, which starts it"]
fn controllers_in_a_process_of_their_own() {
    let Ok(address) = std::env::var(API) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap();
        let world = World::lead_with::<Brokers>(&ApiServer::default(), &client, options(&[]));
        let (asked, mut questions) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || std::io::stdin().lines().for_each(|line| asked.send(line.unwrap()).unwrap()));
        while let Some(question) = questions.recv().await {
            let done = ["RocketMQCluster", "RocketMQTopic", "RocketMQConsumerGroup"].map(|kind| world.reconciled(kind));
            println!("{question} {}", json!([memory("VmRSS"), memory("VmHWM"), done[0], done[1], done[2]]));
        }
        world.end().await;
    });
}

/// An object as `kubectl apply` and a status made by us leave it.
fn put(api: &ApiServer, kind: &str, plural: &str, name: &str, spec: Value, status: Option<Value>) {
    let owned: serde_json::Map<String, Value> = ["clusterRef", "queues", "perm", "placement", "adoption", "management"]
        .iter()
        .map(|field| (format!("f:{field}"), json!({".": {}, "f:name": {}, "f:namespace": {}})))
        .collect();
    let mut object = json!({
        "apiVersion": "rocketmq.rs/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {
            "name": name, "namespace": "mq", "labels": {"app.kubernetes.io/part-of": "shop", "team": "payments"},
            "managedFields": [
                {"manager": "kubectl", "operation": "Apply", "apiVersion": "rocketmq.rs/v1alpha1", "fieldsType": "FieldsV1",
                 "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": owned}, "f:spec": owned}},
                {"manager": "rocketmq-operator", "operation": "Apply", "apiVersion": "rocketmq.rs/v1alpha1", "subresource": "status",
                 "fieldsType": "FieldsV1", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:status": {"f:brokers": owned, "f:conditions": owned}}},
            ],
        },
    });
    let manifest = object.to_string();
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": manifest});
    object["status"] = status.unwrap_or_default();
    api.insert(&format!("{KINDS}/mq/{plural}/{name}"), object);
}

fn put_cluster(api: &ApiServer) {
    let open = |index| json!({"name": group(index), "open": true});
    let spec = json!({"namesrv": {"replicas": 1}, "brokers": {"groups": BROKER_GROUPS}});
    let mut big = crate::cluster::fixtures::cluster(spec);
    big.metadata.name = Some("big".to_owned());
    let mut big = json!(big);
    big["status"] = json!({
        "brokerGroups": BROKER_GROUPS, "namesrvAddrs": "big-namesrv-0.big-namesrv.mq.svc.cluster.local:9876",
        "groups": (0..BROKER_GROUPS).map(open).collect::<Vec<_>>(),
    });
    api.insert(&format!("{KINDS}/mq/rocketmqclusters/big"), big);
}

fn put_topic(api: &ApiServer, name: &str, status: Option<Value>) {
    let spec = json!({"clusterRef": {"name": "big"}, "queues": 4});
    put(api, "RocketMQTopic", "rocketmqtopics", name, spec, status);
}

fn put_consumer_group(api: &ApiServer, name: &str, status: Option<Value>) {
    put(api, "RocketMQConsumerGroup", "rocketmqconsumergroups", name, json!({"clusterRef": {"name": "big"}}), status);
}

/// The status of an object that is well, for one of another name.
fn status_of(api: &ApiServer, plural: &str, name: &str) -> impl Fn(&str) -> Option<Value> + use<> {
    let path = format!("{KINDS}/mq/{plural}/{name}");
    let well = || Some(api.object(&path)?["status"].to_string()).filter(|status| status.contains("InSync"));
    until("a status", || {
        pods_become_ready(api);
        well().is_some()
    });
    let (status, name) = (well().unwrap(), name.to_owned());
    move |other| serde_json::from_str(&status.replace(&name, other)).unwrap()
}

/// Plays the StatefulSet controller: pods are ready as soon as they are asked for.
fn pods_become_ready(api: &ApiServer) {
    for path in api.paths("/statefulsets/") {
        api.change(&path, |set| {
            let replicas = set["spec"]["replicas"].clone();
            set["status"] = json!({
                "observedGeneration": set["metadata"]["generation"], "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas,
            });
        });
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(600), "{what} did not come");
        std::thread::sleep(Duration::from_millis(200));
    }
}

struct Process(Child, Lines<BufReader<ChildStdout>>);

impl Process {
    fn start(address: &str) -> Self {
        let name = "controllers::memory::controllers_in_a_process_of_their_own";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--ignored", "--nocapture"]).env(API, address);
        // As the chart has it: an arena for each thread keeps what each of them once needed.
        command.env("MALLOC_ARENA_MAX", "2");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output.lines())
    }

    fn measure(&mut self) -> Measured {
        writeln!(self.0.stdin.as_mut().unwrap(), "measured").unwrap();
        for line in self.1.by_ref() {
            if let Some((_, numbers)) = line.unwrap().split_once("measured ") {
                let [now, most, clusters, topics, consumer_groups] = serde_json::from_str(numbers).unwrap();
                return Measured { now: now >> 20, most: most >> 20, clusters, topics, consumer_groups };
            }
        }
        panic!("the process under test ended");
    }
}

/// Memory in MiB, and reconciles that ended well.
struct Measured {
    now: u64,
    most: u64,
    clusters: u64,
    topics: u64,
    consumer_groups: u64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { now, most, clusters, topics, consumer_groups } = self;
        write!(f, "{now} MiB, at most {most} MiB, reconciles: {clusters} + {topics} + {consumer_groups}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 182 MB were needed where the chart gave 128: six kills in two minutes, both replicas in
/// CrashLoopBackOff.
#[test]
fn many_objects_on_eight_broker_groups_fit_the_chart() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (api, address) = runtime.block_on(ApiServer::listen());
    put_cluster(&api);
    put_topic(&api, &topic_name(NEW), None);
    put_consumer_group(&api, &consumer_group_name(NEW), None);
    let process = Process::start(&address);
    let topic = status_of(&api, "rocketmqtopics", &topic_name(NEW));
    let consumer_group = status_of(&api, "rocketmqconsumergroups", &consumer_group_name(NEW));
    drop(process);
    for name in (0..topics()).map(topic_name) {
        put_topic(&api, &name, topic(&name).filter(|_| name >= topic_name(NEW)));
    }
    for name in (0..consumer_groups()).map(consumer_group_name) {
        put_consumer_group(&api, &name, consumer_group(&name).filter(|_| name >= consumer_group_name(NEW)));
    }

    let mut process = Process::start(&address);
    until("a reconcile of each object", || {
        let measured = process.measure();
        measured.clusters > 0
            && measured.topics >= topics() as u64
            && measured.consumer_groups >= consumer_groups() as u64
    });
    // The cluster is reconciled again beside all of them; by itself it would be after a minute.
    let before = process.measure().clusters;
    api.change(&format!("{KINDS}/mq/rocketmqclusters/big"), |big| big["metadata"]["annotations"] = json!({"a": "b"}));
    until("another reconcile of the cluster", || process.measure().clusters > before);
    let started = process.measure();
    // Lists anew, as after a restart of the API server: what is listed stands beside what was.
    let collections = ["/v1alpha1/rocketmqtopics", "/v1alpha1/rocketmqconsumergroups"];
    let before = collections.map(|collection| api.requests(collection));
    api.expire_watches();
    until("lists anew", || {
        let pages = collections.map(|collection| api.requests(collection));
        // A page for each hundred, and the watch that follows the last.
        pages[0] > before[0] + topics() / 100 && pages[1] > before[1] + consumer_groups() / 100
    });
    let listed = process.measure();
    println!("after the start: {started}; listed anew: {listed}");
    let bound = BOUND + BOUND_OF_A_THOUSAND * objects() as u64 / 1000;
    assert!(listed.most < bound, "it took {} MiB at most; the bound is {bound} MiB", listed.most);
}
