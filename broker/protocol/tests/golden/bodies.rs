//! JSON bodies and configuration files.
//!
//! A body is compared three times: the decoded value with the values beside the bytes, by field
//! name; the encoded bytes with the bytes; and, if the order of a Java hash map prevents that, both
//! texts as standard JSON.

use crate::{Case, assert_same_bytes, every_case};
use rmq_protocol::{body::*, fastjson, message::MessageQueue, names};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// The outcome of decoding a text as one of our types.
pub(crate) struct Read {
    value: Value,
    compact: Vec<u8>,
    pretty: Vec<u8>,
    standard: Vec<u8>,
}

type As = fn(&[u8]) -> Result<Read, fastjson::Error>;

fn read<T: DeserializeOwned + Serialize>(json: &[u8]) -> Result<Read, fastjson::Error> {
    let body: T = fastjson::from_slice(json)?;
    Ok(Read {
        value: serde_json::to_value(&body).unwrap(),
        compact: fastjson::to_vec(&body),
        pretty: fastjson::to_vec_pretty(&body),
        standard: serde_json::to_vec(&body).unwrap(),
    })
}

/// Java's classes, and ours.
const TYPES: &[(&str, As)] = &[
    ("BrokerStatsData", read::<BrokerStats>),
    ("CheckClientRequestBody", read::<CheckClientConfig>),
    ("ClusterInfo", read::<ClusterInfo>),
    ("ConsumeStats", read::<ConsumeStatsBody>),
    ("ConsumeStatsList", read::<BrokerConsumeStatsBody>),
    ("ConsumerConnection", read::<ConsumerConnection>),
    ("ConsumerOffsetSerializeWrapper", read::<ConsumerOffsetTable>),
    ("CreateTopicListRequestBody", read::<TopicConfigList>),
    ("DataVersion", read::<DataVersion>),
    ("GetBrokerMemberGroupResponseBody", read::<MemberGroupBody>),
    ("GetConsumerListByGroupResponseBody", read::<ConsumerIds>),
    ("GetConsumerStatusBody", read::<ConsumerStatusBody>),
    ("GroupList", read::<GroupList>),
    ("HARuntimeInfo", read::<HaRuntimeInfo>),
    ("HeartbeatData", read::<Heartbeat>),
    ("KVTable", read::<KvTable>),
    ("LockBatchRequestBody", read::<LockBatch>),
    ("LockBatchResponseBody", read::<LockBatchResponse>),
    ("ProducerConnection", read::<ProducerConnection>),
    ("ProducerTableInfo", read::<ProducerTable>),
    ("QueryConsumeQueueResponseBody", read::<ConsumeQueueBody>),
    ("QueryConsumeTimeSpanBody", read::<ConsumeTimeSpans>),
    ("RegisterBrokerBody", read::<RegisterBrokerBody>),
    ("ResetOffsetBody", read::<ResetOffsetBody>),
    ("ResetOffsetBodyForC", read::<ResetOffsetListBody>),
    ("SubscriptionGroupConfig", read::<SubscriptionGroup>),
    ("SubscriptionGroupWrapper", read::<SubscriptionGroupTable>),
    ("TopicConfig", read::<TopicConfig>),
    ("TopicConfigAndMappingSerializeWrapper", read::<TopicConfigAndMappingTable>),
    ("TopicList", read::<TopicList>),
    ("TopicRouteData", read::<TopicRoute>),
    ("TopicStatsTable", read::<TopicStats>),
    ("UnlockBatchRequestBody", read::<LockBatch>),
    // A broker relays these between a tool and a client unchanged.
    ("ConsumerRunningInfo", read::<Value>),
    ("ConsumeMessageDirectlyResult", read::<Value>),
    // No code here sends or reads these: they belong to POP.
    ("BatchAckMessageRequestBody", read::<Value>),
    ("QueryAssignmentRequestBody", read::<Value>),
    ("QueryAssignmentResponseBody", read::<Value>),
    ("SetMessageRequestModeRequestBody", read::<Value>),
];

/// The files of the broker's configuration folder.
const FILES: &[(&str, As)] = &[
    ("consumerFilter.json", read::<ConsumerFilterTable>),
    ("consumerOffset.json", read::<ConsumerOffsetTable>),
    ("delayOffset.json", read::<DelayOffsetTable>),
    ("subscriptionGroup.json", read::<SubscriptionGroupTable>),
    ("topics.json", read::<TopicConfigTable>),
];

/// Cases whose bytes are ours in another order, as Java's hash maps have one and our maps are
/// sorted.
const HASH_ORDER: &[&str] = &[
    "broker-runtime-info",
    "consume-stats",
    "consume-stats-list",
    "consumer-running-info",
    "consumer-status",
    "reset-offset",
    "topic-stats",
    // Files.
    "consumerOffset.json",
    "subscriptionGroup.json",
    "topics.json",
];

/// Cases with parts that we carry without a type, in which numeric keys become texts.
const UNTYPED_KEYS: &[&str] = &["register-broker-static-topic"];

/// Java's field by another name than the JSON key, or without one.
const FIELDS: &[(&str, Option<&str>)] = &[("isWithoutSub", Some("withoutSub")), ("isActivated", None)];

/// Keys that Java derives from getters, or from internal tables, and never needs to read.
const DERIVED: &[&str] =
    &["consumeTimeStampStr", "maxTimeStampStr", "minTimeStampStr", "groupTopicMap", "pullOffsetTable"];

/// The values of a document in the form our types have: maps with objects for keys have those
/// objects' texts for keys.
fn expected(value: &Value) -> Value {
    match value {
        Value::Array(list) => {
            let entries: Option<Map<String, Value>> = list.iter().map(entry).collect();
            match entries.filter(|_| !list.is_empty()) {
                Some(map) => Value::Object(map),
                None => list.iter().map(expected).collect(),
            }
        }
        Value::Object(fields) => {
            let renamed = fields.iter().filter_map(|(name, value)| {
                let key = FIELDS.iter().find(|(field, _)| field == name).map_or(Some(name.as_str()), |(_, key)| *key);
                Some((key?.to_owned(), expected(value)))
            });
            Value::Object(renamed.collect())
        }
        other => other.clone(),
    }
}

/// `{"key":{..},"value":..}` as a map entry.
fn entry(value: &Value) -> Option<(String, Value)> {
    let (key, value) = (value.get("key")?, value.get("value")?);
    let queue: MessageQueue = serde_json::from_value(key.clone()).ok()?;
    Some((String::from_utf8(fastjson::to_vec(&queue)).unwrap(), expected(value)))
}

/// A lenient text as standard JSON, without what is derived.
fn standard(json: &[u8]) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !DERIVED.contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(&fastjson::to_standard(json).unwrap()).unwrap();
    strip(&mut value);
    value
}

/// The type for a case; `None` for the two kinds that are no JSON and have tests of their own.
fn type_of(case: &Case) -> Option<As> {
    let class = case.text("class");
    match case.text("codec") {
        "json" | "standard" => match TYPES.iter().find(|(name, _)| *name == class) {
            Some((_, read)) => Some(*read),
            None => panic!("nobody handles {class}"),
        },
        "deflate" if class == "RegisterBrokerBody" => None,
        "text" if class == "KeyBuilder" => None,
        other => panic!("nobody handles the codec {other} of {class}"),
    }
}

fn file(case: &Case) -> As {
    assert_eq!(case.text("kind"), "config-file");
    let found = FILES.iter().find(|(name, _)| *name == case.name());
    found.unwrap_or_else(|| panic!("nobody handles this file")).1
}

/// Java's text has the bytes we write, unless the tables above except the case; then the values are
/// equal.
fn assert_written(case: &Case, written: &[u8]) {
    let text = case.text("text").as_bytes();
    let derived = DERIVED.iter().any(|key| case.text("text").contains(key));
    if derived || HASH_ORDER.contains(&case.name()) || UNTYPED_KEYS.contains(&case.name()) {
        assert_ne!(written, text, "the bytes are the same: the case needs no exception");
        assert_eq!(standard(written), standard(text));
    } else {
        assert_same_bytes(written, text);
    }
}

#[test]
fn bodies_say_what_java_said_and_come_back() {
    every_case("bodies.json", |case| {
        let Some(read) = type_of(case) else { return };
        let text = case.text("text").as_bytes();
        let body = read(text).unwrap();
        // POP's acknowledgements travel under one-letter names, which the values beside them do not
        // have.
        if case.text("class") != "BatchAckMessageRequestBody" {
            let wanted = expected(case.value("value"));
            let mut found = body.value;
            drop_absent(&mut found, &wanted);
            assert_eq!(found, wanted);
        }
        match case.text("codec") {
            "standard" => assert_same_bytes(&body.standard, text),
            _ => assert_written(case, &body.compact),
        }
    });
}

/// Takes out what Java leaves out of its values because it is null, and ours holds as an empty
/// text.
fn drop_absent(found: &mut Value, wanted: &Value) {
    if let (Value::Object(found), Value::Object(wanted)) = (found, wanted) {
        found.retain(|name, value| wanted.contains_key(name) || value.as_str() != Some(""));
        for (name, value) in found {
            if let Some(wanted) = wanted.get(name) {
                drop_absent(value, wanted);
            }
        }
    }
}

#[test]
fn configuration_files_say_what_java_said_and_come_back() {
    every_case("config-files.json", |case| {
        let text = case.text("text").as_bytes();
        let read = file(case)(text).unwrap();
        let table = match case.name() {
            "topics.json" => "topicConfigTable",
            "subscriptionGroup.json" => "subscriptionGroupTable",
            "consumerFilter.json" => "filterDataByTopic",
            _ => "offsetTable",
        };
        let mut rows = read.value[table].clone();
        // The table of filters has no version.
        match case.name() {
            "consumerFilter.json" => remove_dead(&mut rows),
            _ => assert_eq!(read.value["dataVersion"], *case.value("dataVersion")),
        }
        assert_eq!(rows, *case.value("table"));
        let pretty = numbers_in_a_line(&read.pretty);
        assert_written(case, &pretty);
        // Java's bytes but for order: the same lines, each as far from the margin.
        let lines = |text: &[u8]| {
            let text = String::from_utf8(text.to_vec()).unwrap();
            let mut lines: Vec<_> = text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
            lines.sort();
            lines
        };
        let java = String::from_utf8(text.to_vec()).unwrap();
        let kept = java.split_inclusive('\n').collect::<Vec<_>>();
        assert_eq!(lines(&pretty), lines(without_derived(&kept).as_bytes()));
    });
}

/// Java writes the elements of an array of numbers in one line.
fn numbers_in_a_line(pretty: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(pretty.to_vec()).unwrap();
    let parts = text.split_inclusive('[').map(|part| match part.split_once(']') {
        Some((list, rest)) if list.bytes().all(|byte| byte.is_ascii_digit() || b",\n\t".contains(&byte)) => {
            [&list.replace(['\n', '\t'], ""), "]", rest].concat()
        }
        _ => part.to_owned(),
    });
    parts.collect::<String>().into_bytes()
}

/// Takes out what Java derives from the times of a filter, and has no field for.
fn remove_dead(rows: &mut Value) {
    if let Value::Object(fields) = rows {
        fields.remove("dead");
        fields.values_mut().for_each(remove_dead);
    }
}

/// The lines of a pretty file without the members that are derived.
fn without_derived(lines: &[&str]) -> String {
    let mut kept = String::new();
    let mut until = None;
    for line in lines {
        match until {
            Some(end) => {
                if line.trim_end().trim_end_matches(',') == end {
                    until = None;
                }
            }
            None if DERIVED.iter().any(|key| line.starts_with(&format!("\t\"{key}\":"))) => {
                until = (!line.trim_end().trim_end_matches(',').ends_with('}')).then_some("\t}");
            }
            None => kept.push_str(line),
        }
    }
    kept
}

#[test]
fn bodies_and_files_cut_at_every_byte_are_errors() {
    let check = |read: As, text: &[u8]| {
        for end in 0..text.len() {
            assert!(read(&text[..end]).is_err(), "cut at {end}");
        }
    };
    every_case("bodies.json", |case| {
        if let Some(read) = type_of(case) {
            check(read, case.text("text").as_bytes());
        }
    });
    every_case("config-files.json", |case| check(file(case), case.text("text").as_bytes()));
}

/// A broker of any release responds with the fields it knows: a missing field has its default, an
/// additional one is ignored.
#[test]
fn bodies_with_a_field_more_or_less_are_read() {
    every_case("bodies.json", |case| {
        let Some(read) = type_of(case) else { return };
        let whole = standard(case.text("text").as_bytes());
        for name in whole.as_object().unwrap().keys() {
            let mut fewer = whole.clone();
            fewer.as_object_mut().unwrap().remove(name);
            read(&serde_json::to_vec(&fewer).unwrap()).unwrap_or_else(|error| panic!("without {name}: {error}"));
        }
        let mut more = whole;
        more["ofTomorrow"] = json!({"a": [1, {"b": null}]});
        read(&serde_json::to_vec(&more).unwrap()).unwrap();
    });
}

#[test]
fn retry_topics_of_pop_are_told_as_retry_topics() {
    let cases = crate::cases("bodies.json");
    let case = cases.iter().find(|case| case.text("codec") == "text").unwrap();
    let [topic, group] = ["topic", "group"].map(|field| case.value("value")[field].as_str().unwrap());
    for name in case.text("text").split(' ') {
        assert!(names::is_retry_topic(name) && name.starts_with(&names::retry_topic(group)), "{name}");
        assert!(name.ends_with(topic), "{name}");
    }
}

#[test]
fn the_tables_of_bodies_speak_of_cases_there_are() {
    let bodies = crate::cases("bodies.json");
    let files = crate::cases("config-files.json");
    for (class, _) in TYPES {
        assert!(bodies.iter().any(|case| case.text("class") == *class), "{class} is in no case");
    }
    for name in HASH_ORDER.iter().chain(UNTYPED_KEYS) {
        assert!(bodies.iter().chain(&files).any(|case| case.name() == *name), "there is no {name}");
    }
}
