use std::path::Path;

use super::*;

const HEAD: &str = "apiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQCluster\nmetadata: {name: prod}\n";

fn read(text: &str) -> Result<Manifest, Vec<Problem>> {
    parse(Path::new("a.yaml"), text, None)
}

fn cluster(spec: &str) -> Result<Manifest, Vec<Problem>> {
    read(&format!("{HEAD}spec: {spec}"))
}

fn topic(spec: &str) -> Result<Manifest, Vec<Problem>> {
    read(&format!(
        "{HEAD}spec: {{}}\n---\napiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQTopic\nmetadata: {{name: orders}}\n\
         spec: {{clusterRef: {{name: prod}}, {spec}}}"
    ))
}

/// The one problem: field, and a part of its message.
#[track_caller]
fn refused(result: Result<Manifest, Vec<Problem>>, field: &str, part: &str) {
    let problems = result.expect_err("must be refused");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].field, field, "{problems:#?}");
    assert!(problems[0].message.contains(part), "{problems:#?}");
}

#[test]
fn an_empty_spec_is_filled_with_defaults() {
    let manifest = cluster("{}").unwrap();
    let spec = &manifest.clusters[0].spec;
    assert_eq!((spec.namesrv.replicas, spec.brokers.groups, spec.brokers.slaves_per_group), (2, 1, 1));
    assert_eq!(spec.brokers.storage.size, "20Gi");
    assert_eq!(manifest.clusters[0].namespace().as_deref(), Some("default"));
}

#[test]
fn comments_other_kinds_and_several_documents_are_taken() {
    let text = format!(
        "# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: mq}}\n---\n{HEAD}spec: {{}}\n---\n"
    );
    let manifest = read(&text).unwrap();
    assert_eq!((manifest.clusters.len(), manifest.ignored), (1, vec!["Namespace/mq".to_owned()]));
}

#[test]
fn structure_is_refused_with_field_and_remedy() {
    refused(cluster("{brokers: {grops: 2}}"), "spec.brokers.grops", "did you mean groups?");
    refused(cluster("{brokers: {groups: two}}"), "spec.brokers.groups", "must be an integer, is 'two'");
    refused(cluster("{brokers: {flush: Always}}"), "spec.brokers.flush", "write one of Async, Sync");
    refused(cluster("{image: {repository: a}}"), "spec.image.tag", "is missing");
    refused(
        cluster("{brokers: {config: {fileReservedTime: 72}}}"),
        "spec.brokers.config.fileReservedTime",
        "must be a string",
    );
    refused(read(&format!("{HEAD}sepc: {{}}\nspec: {{}}")), "sepc", "is no field here");
    refused(read(HEAD), "spec", "is missing");
}

#[test]
fn every_rule_of_a_cluster_refuses_with_its_own_message() {
    let name = |name: &str| read(&HEAD.replace("prod", name).replace("metadata", "spec: {}\nmetadata"));
    refused(name("Prod"), "", "write at most 40 of a-z");
    refused(name("a.b"), "", "write at most 40 of a-z");
    refused(name(&"a".repeat(41)), "", "write at most 40 of a-z");
    refused(cluster("{clusterName: 'a b'}"), "spec.clusterName", "A-Z, a-z, 0-9");
    refused(cluster("{namesrv: {replicas: 0}}"), "spec.namesrv.replicas", "1 to 9");
    refused(cluster("{namesrv: {config: {listenPort: '1'}}}"), "spec.namesrv.config", "remove them");
    refused(cluster("{brokers: {groups: 65}}"), "spec.brokers.groups", "1 to 64");
    refused(cluster("{brokers: {slavesPerGroup: 5}}"), "spec.brokers.slavesPerGroup", "0 to 4");
    refused(
        cluster("{brokers: {slavesPerGroup: 0, replication: Sync}}"),
        "spec.brokers",
        "write slavesPerGroup: 1 or more",
    );
    refused(cluster("{brokers: {storage: {size: much}}}"), "spec.brokers.storage.size", "write for example 20Gi");
    refused(cluster("{brokers: {storage: {size: '0'}}}"), "spec.brokers.storage.size", "above zero");
    let owned = [
        ("brokerClusterName", "spec.clusterName"),
        ("brokerRole", "brokers.replication"),
        ("inSyncReplicas", "brokers.replication"),
        ("haMasterAddress", "brokers.replication"),
        ("flushDiskType", "brokers.flush"),
        ("autoCreateTopicEnable", "topics.autoCreate"),
        ("autoCreateSubscriptionGroup", "topics.autoCreateGroups"),
        ("brokerIP1", "access.internal.advertise"),
        ("brokerIP2", "access.internal.advertise"),
        ("brokerName", "remove them"),
        ("brokerId", "remove them"),
        ("namesrvAddr", "remove them"),
        ("listenPort", "remove them"),
        ("haListenPort", "remove them"),
        ("brokerPermission", "remove them"),
        ("storePathRootDir", "remove them"),
        ("storePathCommitLog", "remove them"),
    ];
    for (key, remedy) in owned {
        refused(cluster(&format!("{{brokers: {{config: {{{key}: x}}}}}}")), "spec.brokers.config", remedy);
    }
}

#[test]
fn every_rule_of_a_topic_refuses_with_its_own_message() {
    refused(topic("topicName: 'a b'"), "spec.topicName", "A-Z, a-z");
    refused(topic("topicName: '%RETRY%g'"), "spec.topicName", "retry and dead-letter");
    refused(topic("topicName: TBW102"), "spec.topicName", "a topic of RocketMQ itself");
    refused(topic("topicName: rmq_sys_x"), "spec.topicName", "a topic of RocketMQ itself");
    refused(topic("queues: 0"), "spec.queues", "1 to 1024");
    refused(topic("placement: {groups: [1, 1]}"), "spec.placement.groups", "names a group twice");
    refused(topic("placement: {groups: [64]}"), "spec.placement.groups[0]", "from 0 to 63");
    assert_eq!(topic("queues: 1024").unwrap().topics[0].topic_name(), "orders");
}

#[test]
fn every_rule_of_a_consumer_group_refuses_with_its_own_message() {
    let group = |spec: &str| {
        read(&format!(
            "{HEAD}spec: {{}}\n---\napiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQConsumerGroup\nmetadata: {{name: billing}}\n\
             spec: {{clusterRef: {{name: prod}}, {spec}}}"
        ))
    };
    refused(group("groupName: 'a%b'"), "spec.groupName", "A-Z, a-z");
    refused(group("groupName: TOOLS_CONSUMER"), "spec.groupName", "a group of RocketMQ itself");
    refused(group("groupName: CID_RMQ_SYS_TRANS"), "spec.groupName", "a group of RocketMQ itself");
    refused(group("retry: {queues: 65}"), "spec.retry.queues", "0 to 64");
    refused(group("retry: {maxTimes: -1}"), "spec.retry.maxTimes", "0 to 10000");
    assert_eq!(group("retry: {}").unwrap().consumer_groups[0].spec.retry.max_times, 16);
}

#[test]
fn changes_are_judged_against_what_was_there() {
    let change = |from: &str, to: &str| {
        let old = cluster(from).unwrap();
        parse(Path::new("a.yaml"), &format!("{HEAD}spec: {to}"), Some(&old))
    };
    let size = |size: &str| format!("{{brokers: {{storage: {{size: {size}}}}}}}");
    refused(change(&size("20Gi"), &size("10Gi")), "spec.brokers.storage.size", "grow but not shrink");
    change(&size("1Gi"), &size("1025Mi")).unwrap();
    refused(change("{clusterName: a}", "{clusterName: b}"), "spec.clusterName", "spec.clusterName cannot change");
    refused(change("{clusterName: a}", "{}"), "spec.clusterName", "spec.clusterName cannot change");
    change("{}", "{clusterName: prod}").unwrap();
    let class = "{brokers: {storage: {storageClassName: fast}}}";
    refused(change(class, "{}"), "spec.brokers.storage", "storageClassName cannot change");

    let old = topic("queues: 8, messageType: Fifo").unwrap();
    let text = |spec: &str| {
        format!(
            "{HEAD}spec: {{}}\n---\napiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQTopic\nmetadata: {{name: orders}}\nspec: {{clusterRef: {{name: prod}}, {spec}}}"
        )
    };
    let change = |spec: &str| parse(Path::new("a.yaml"), &text(spec), Some(&old));
    refused(change("queues: 4, messageType: Fifo"), "spec.queues", "grow but not shrink");
    refused(change("queues: 8, messageType: Normal"), "spec", "messageType cannot change");
    refused(change("queues: 8, messageType: Fifo, topicName: other"), "spec.topicName", "spec.topicName cannot change");
    change("queues: 9, messageType: Fifo, topicName: orders").unwrap();
}

#[test]
fn references_are_followed_across_documents() {
    let stray = "apiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQTopic\nmetadata: {name: t, namespace: team}\n\
                 spec: {clusterRef: {name: prod, namespace: default}}\n";
    refused(read(stray), "spec.clusterRef", "which these files do not hold");
    refused(
        read(&format!("{HEAD}spec: {{}}\n---\n{stray}")),
        "spec.clusterRef",
        "add it to its spec.topics.allowedNamespaces",
    );
    read(&format!("{HEAD}spec: {{topics: {{allowedNamespaces: [team]}}}}\n---\n{stray}")).unwrap();
    let same = "\n---\napiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQTopic\nmetadata: {name: b}\n\
                spec: {clusterRef: {name: prod}, topicName: orders}\n";
    let both = format!(
        "{HEAD}spec: {{}}\n---\napiVersion: rocketmq.rs/v1alpha1\nkind: RocketMQTopic\nmetadata: {{name: orders}}\nspec: {{clusterRef: {{name: prod}}}}{same}"
    );
    refused(read(&both), "spec.clusterRef", "names the same topic orders");
    refused(
        read(&format!("{HEAD}spec: {{}}\n---\n{HEAD}spec: {{}}")),
        "metadata.name",
        "stands already in a.yaml, document 1",
    );
}

#[test]
fn broken_files_are_reported_with_their_position() {
    let problems = read("a: [").unwrap_err();
    assert!(problems[0].to_string().starts_with("a.yaml: is not YAML"), "{}", problems[0]);
    refused(read("hello: 1"), "", "is no Kubernetes object");
    refused(
        read("apiVersion: rocketmq.rs/v2\nkind: RocketMQTopic\nmetadata: {name: x}"),
        "apiVersion",
        "write rocketmq.rs/v1alpha1",
    );
    refused(
        read("apiVersion: rocketmq.rs/v1alpha1\nkind: Topic\nmetadata: {name: x}"),
        "kind",
        "write RocketMQCluster",
    );
    let problems = load(&["/nonexistent/x.yaml".into()], None).unwrap_err();
    assert!(problems[0].message.contains("cannot be read"));
}

#[test]
fn the_examples_are_valid_and_say_what_the_readme_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read =
        |name: &str| load(&[root.join("examples").join(name)], None).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let quickstart = read("quickstart.yaml");
    let topology = crate::cluster::topology::plan("quickstart", &quickstart.clusters[0].spec);
    assert_eq!(topology.processes().count(), 3, "one namesrv, one group with a slave");
    assert_eq!((quickstart.topics.len(), quickstart.consumer_groups.len()), (2, 1));
    for manifest in [quickstart, read("production.yaml")] {
        for cluster in &manifest.clusters {
            assert_eq!(crate::cluster::validate::check(cluster), []);
        }
    }
}

/// `schema.rs` knows these keywords; a new one in a definition must be taught there first.
#[test]
fn the_schemas_hold_no_keyword_that_the_check_does_not_know() {
    const KNOWN: &[&str] = &[
        "type",
        "description",
        "properties",
        "required",
        "enum",
        "default",
        "nullable",
        "format",
        "items",
        "title",
        "additionalProperties",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "maxProperties",
        "x-kubernetes-validations",
        "x-kubernetes-preserve-unknown-fields",
    ];
    fn walk(schema: &Value, path: &str) {
        for key in schema.as_object().into_iter().flatten().map(|(key, _)| key.as_str()) {
            assert!(KNOWN.contains(&key), "{path} holds {key}");
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(property, &format!("{path}.{name}"));
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], &format!("{path}.{inner}"));
            }
        }
    }
    for schema in [openapi::<RocketMQCluster>(), openapi::<RocketMQTopic>(), openapi::<RocketMQConsumerGroup>()] {
        walk(&schema["properties"]["spec"], "spec");
    }
}
