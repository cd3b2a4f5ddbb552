use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cluster::fixtures::{cluster, environment, validated};

/// No group was opened and none has messages.
const NONE: Groups<'static> = Groups { open: &BTreeSet::new(), stored: &BTreeSet::new() };

fn plan(spec: Value) -> Plan {
    build(&validated(spec), &NONE)
}

fn group(spec: Value) -> Value {
    serde_json::to_value(&plan(spec).groups[0]).unwrap()
}

fn args(set: &Value) -> Vec<&str> {
    set["spec"]["template"]["spec"]["containers"][0]["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect()
}

#[test]
fn the_stateful_set_of_a_broker_group() {
    let spec = json!({"brokers": {"replication": "Sync", "podTemplate": {
        "metadata": {"annotations": {"team": "a"}},
        "spec": {"tolerations": [{"key": "mq"}], "containers": [{"name": "broker", "resources": {"limits": {"memory": "1Gi"}}}]},
    }}});
    insta::assert_yaml_snapshot!(group(spec));
}

#[test]
fn the_configuration_of_a_broker_group() {
    let maps = plan(json!({"brokers": {"config": {"fileReservedTime": "48"}}, "namesrv": {"replicas": 1}})).config_maps;
    let texts: Vec<_> = maps.iter().map(|map| (map.metadata.name.clone(), map.data.clone())).collect();
    insta::assert_yaml_snapshot!(texts);
}

/// A changed fingerprint restarts every broker of every user at the next upgrade of the operator.
/// If this test fails, either undo the change or announce it.
#[test]
fn fingerprints_of_templates_are_the_same_as_in_the_last_release() {
    let hash = |spec: Value| {
        let set = group(spec);
        let of = |path: &Value, name: &str| path["metadata"]["annotations"][name].as_str().unwrap().to_owned();
        (of(&set["spec"]["template"], CONFIG_HASH), of(&set, TEMPLATE_HASH))
    };
    insta::assert_yaml_snapshot!([hash(json!({})), hash(json!({"brokers": {"slavesPerGroup": 2, "flush": "Sync"}}))]);
    assert_eq!(fingerprint(""), "cbf29ce484222325", "the offset basis of FNV-1a");
    assert_eq!(fingerprint("a"), "af63dc4c8601ec8c");
}

#[test]
fn advertise_decides_what_a_broker_registers() {
    let dns = group(json!({}));
    assert!(args(&dns).contains(&"brokerIP1=$(POD_NAME).prod-broker-0.mq.svc.cluster.local"));
    let ip = group(json!({"access": {"internal": {"advertise": "PodIP"}}}));
    assert!(args(&ip).contains(&"brokerIP1=$(POD_IP)"));
    for set in [&dns, &ip] {
        let env = &set["spec"]["template"]["spec"]["containers"][0]["env"];
        let names: Vec<_> = env.as_array().unwrap().iter().map(|var| var["name"].as_str().unwrap()).collect();
        for arg in args(set) {
            for used in arg.split("$(").skip(1) {
                let name = used.split(')').next().unwrap();
                assert!(names.contains(&name), "{arg} uses {name}, which is not set");
            }
        }
    }
}

#[test]
fn opening_a_group_changes_its_file_and_not_its_pods() {
    let cluster = validated(json!({}));
    let all = BTreeSet::from(["prod-broker-0".to_owned()]);
    let closed = build(&cluster, &NONE);
    let open = build(&cluster, &Groups { open: &all, stored: &all });
    let remade = build(&cluster, &Groups { stored: &all, ..NONE });
    let text = |plan: &Plan| plan.config_maps[1].data.as_ref().unwrap()["broker.conf"].clone();
    assert!(text(&closed).ends_with("brokerPermission=4\n"));
    assert!(!text(&open).contains("brokerPermission"));
    assert!(text(&remade).ends_with("brokerPermission=4\ncheckLogBeforeWrites=true\nexpectedSlaves=1\n"));
    assert_eq!(closed.groups, open.groups);
    assert_eq!(closed.groups, remade.groups);
}

/// Every served field reaches a pod: changing it changes the template, or the file and thereby the
/// template's fingerprint.
#[test]
fn each_field_of_the_spec_changes_what_runs() {
    let before = plan(json!({}));
    let changes = [
        json!({"image": {"repository": "other", "tag": "2"}}),
        json!({"image": {"repository": "example/rocketmq", "tag": "1", "pullPolicy": "Always"}}),
        json!({"image": {"repository": "example/rocketmq", "tag": "1", "pullSecrets": ["s"]}}),
        json!({"clusterName": "DefaultCluster"}),
        json!({"namesrv": {"replicas": 3}}),
        json!({"brokers": {"replication": "Sync"}}),
        json!({"brokers": {"flush": "Sync"}}),
        json!({"brokers": {"config": {"fileReservedTime": "48"}}}),
        json!({"brokers": {"antiAffinity": "Required"}}),
        json!({"brokers": {"antiAffinity": "None"}}),
        json!({"brokers": {"podTemplate": {"metadata": {"labels": {"a": "b"}}}}}),
        json!({"brokers": {"podTemplate": {"spec": {"nodeSelector": {"a": "b"}}}}}),
        json!({"access": {"internal": {"advertise": "PodIP"}}}),
        json!({"topics": {"autoCreate": true}}),
        json!({"topics": {"autoCreateGroups": true}}),
    ];
    for change in changes {
        let after = plan(change.clone());
        let template = |plan: &Plan| plan.groups[0].spec.as_ref().unwrap().template.clone();
        assert_ne!(template(&before), template(&after), "{change} does not reach brokers");
    }
    let elsewhere = [
        json!({"brokers": {"groups": 2}}),
        json!({"brokers": {"slavesPerGroup": 2}}),
        json!({"brokers": {"storage": {"size": "30Gi"}}}),
        json!({"brokers": {"storage": {"storageClassName": "fast"}}}),
        json!({"brokers": {"storage": {"reclaim": {"onDelete": "Delete"}}}}),
        json!({"brokers": {"storage": {"reclaim": {"onScaleDown": "Delete"}}}}),
        json!({"namesrv": {"config": {"orderMessageEnable": "true"}}}),
        json!({"namesrv": {"podTemplate": {"spec": {"nodeSelector": {"a": "b"}}}}}),
    ];
    for change in elsewhere {
        assert_ne!(before, plan(change.clone()), "{change} reaches nothing");
    }
}

fn any_spec() -> impl Strategy<Value = Value> {
    let config = prop::collection::btree_map("[a-z][A-Za-z0-9]{0,12}", any::<String>(), 0..4);
    let texts = (
        prop::sample::select(vec!["Async", "Sync"]),
        prop::sample::select(vec!["None", "Preferred", "Required"]),
        prop::sample::select(vec!["PodDNS", "PodIP"]),
        prop::sample::select(vec!["Retain", "Delete"]),
    );
    (1..=9i32, 1..=64i32, 1..=4i32, config, texts, any::<bool>(), "[1-9][0-9]{0,3}(Mi|Gi|G|Ti)").prop_map(
        |(namesrvs, groups, slaves, config, (mode, apart, advertise, reclaim), flag, size)| {
            json!({
                "namesrv": {"replicas": namesrvs, "config": config},
                "brokers": {
                    "groups": groups, "slavesPerGroup": slaves, "replication": mode, "flush": mode, "config": config,
                    "antiAffinity": apart, "storage": {"size": size, "reclaim": {"onDelete": reclaim, "onScaleDown": reclaim}},
                },
                "access": {"internal": {"advertise": advertise}},
                "topics": {"autoCreate": flag, "autoCreateGroups": !flag},
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_schema_admits_is_planned_twice_the_same(spec in any_spec(), name in "[a-z]([-a-z0-9]{0,38}[a-z0-9])?") {
        let mut object = cluster(spec);
        object.metadata.name = Some(name);
        prop_assert!(object.validate_cel().is_ok());
        let cluster = super::super::validate::validate(&object, &environment()).unwrap();
        let plan = build(&cluster, &NONE);
        prop_assert_eq!(&plan, &build(&cluster, &NONE));

        // A pod's name is its host name and the label of its index; a StatefulSet's gets 11
        // characters of revision in a label.
        for set in plan.groups.iter().chain([&plan.namesrv]) {
            let name = set.metadata.name.as_deref().unwrap();
            prop_assert!(name.len() + 11 <= 63, "{}", name);
        }
        let services = plan.services.iter().map(|service| &service.metadata);
        let names: Vec<&str> = services.filter_map(|metadata| metadata.name.as_deref()).collect();
        prop_assert!(names.iter().all(|name| name.len() <= 63));
        prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "two Services of one name");
        let maps: BTreeSet<_> = plan.config_maps.iter().map(|map| &map.metadata.name).collect();
        prop_assert_eq!(maps.len(), plan.config_maps.len(), "two ConfigMaps of one name");
    }
}
