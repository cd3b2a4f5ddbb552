//! Every body type against bytes that are not meant for it: random ones, random JSON, and Java's
//! bytes with a few of them changed.

use crate::cases;
use proptest::prelude::*;
use rmq_protocol::{body::*, fastjson};
use std::{path::Path, sync::LazyLock};

macro_rules! types {
    ($($type:ident $(<$argument:ty>)?),* $(,)?) => {
        /// Each type of [`rmq_protocol::body`] by name, and its decoder. The decoded value does not
        /// matter, but whatever decodes must encode and decode again.
        const TYPES: &[(&str, fn(&[u8]))] = &[$((stringify!($type), |bytes| {
            if let Ok(body) = fastjson::from_slice::<$type $(<$argument>)?>(bytes) {
                let written = fastjson::to_vec(&body);
                if let Err(error) = fastjson::from_slice::<$type $(<$argument>)?>(&written) {
                    panic!("{} is not read again: {error}", written.escape_ascii());
                }
            }
        }),)*];
    };
}

types! {
    BloomFilterData, BrokerConsumeStatsBody, BrokerData, BrokerStats, CheckClientConfig, ClusterInfo, Connection, ConsumeFromWhere, ConsumeOffset, ConsumeQueueBody,
    ConsumeQueueEntry, ConsumeStatsBody, ConsumeTimeSpans, ConsumeType, ConsumerConnection, ConsumerData, ConsumerFilter, ConsumerFilterTable, ConsumerIds, ConsumerOffsetTable,
    ConsumerStatusBody, CorrectionOffsets, CustomizedRetryPolicy, DataVersion, DelayOffsetTable, ExponentialRetryPolicy, GroupList, HaClientRuntimeInfo,
    HaConnectionInfo, HaRuntimeInfo, Heartbeat, KvTable, LockBatch, LockBatchResponse, MemberGroup, MemberGroupBody, MessageModel, ProducerConnection,
    ProducerData, ProducerInfo, ProducerTable, QueueData, QueueMap<i64>, QueueOffset, QueueTimeSpan, RegisterBrokerBody, ResetOffsetBody,
    ResetOffsetListBody, RetryPolicy, RetryPolicyType, StatsItem, Subscription, SubscriptionGroup, SubscriptionGroupList, SubscriptionGroupTable,
    TopicConfig, TopicConfigAndMappingTable, TopicConfigList, TopicConfigTable, TopicFilters, TopicList, TopicOffset, TopicRoute, TopicStats,
}

fn decode_as_everything(bytes: &[u8]) {
    TYPES.iter().for_each(|(_, decode)| decode(bytes));
    for limits in [ReadLimits::default(), ReadLimits { routes_only: true, ..ReadLimits::default() }] {
        let _ = RegisterBrokerBody::decode(bytes, false, 0, 0, &limits);
        let _ = RegisterBrokerBody::decode(bytes, true, 0, rmq_protocol::version::CURRENT, &limits);
    }
    if let Ok(line) = std::str::from_utf8(bytes) {
        let _ = TopicConfig::from_line(line);
    }
}

/// Java's texts of bodies and files.
static TEXTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let cases = cases("bodies.json").into_iter().chain(cases("config-files.json"));
    cases.filter_map(|case| Some(case.0.get("text")?.as_str()?.as_bytes().to_vec())).collect()
});

/// JSON of the kind fastjson writes, with the keys that our types know.
fn lenient_json() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("\"offsetTable\"".to_owned()),
        Just("table".to_owned()),
        Just("'attributes'".to_owned()),
        Just("\"topicConfigTable\"".to_owned()),
        Just("{\"queueId\":1}".to_owned()),
        "-?[0-9]{1,20}",
        "\"[a-zA-Z]{1,8}\"",
    ];
    let leaf = prop_oneof![
        "-?[0-9]{1,25}",
        "[0-9]{1,3}\\.[0-9]{1,3}[eE][0-9]{1,4}",
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("NaN".to_owned()),
        "\"[ -~]{0,9}\"",
        "'\\\\u[0-9a-fA-F]{4}[^']{0,3}'",
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let member = (key.clone(), inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn random_json_never_panics(json in lenient_json()) {
        decode_as_everything(json.as_bytes());
    }

    #[test]
    fn javas_bytes_with_some_changed_never_panic(
        text: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]:,\"'\\0-9.e"[..])]), 1..6),
        gone in (any::<prop::sample::Index>(), 0..20usize),
    ) {
        let mut bytes = text.get(&TEXTS).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let from = gone.0.index(bytes.len());
        let to = bytes.len().min(from + gone.1);
        bytes.drain(from..to);
        decode_as_everything(&bytes);
    }
}

#[test]
fn depth_is_an_error_and_not_the_end_of_the_stack() {
    for open in ["[", "{\"a\":", "{", "[{a:", "{{", "{\"offsetTable\":"] {
        let deep = open.repeat(20_000);
        assert!(fastjson::from_slice::<serde_json::Value>(deep.as_bytes()).is_err(), "{open}");
        decode_as_everything(deep.as_bytes());
    }
}

/// The table above names every type that can be read, by looking for them where they are declared.
#[test]
fn no_body_type_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/body");
    let mut declared = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut readable = false;
        for line in source.lines() {
            if line.starts_with("#[derive(") {
                readable = line.contains("Deserialize");
            }
            let named = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "));
            if let Some(rest) = named.filter(|_| std::mem::take(&mut readable)) {
                declared.push(rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
            }
            if let Some((_, rest)) = line.split_once("Deserialize<'de> for ") {
                declared.push(rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
            }
        }
    }
    declared.sort();
    let listed: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(declared, listed);
}
