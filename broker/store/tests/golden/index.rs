//! An index of Java, found on the disk and made from the log.

use crate::{Message, STEP, TOPIC, bytes, crash, number, of_kind, open_settled, write_log};
use rmq_protocol::message::stored::Record;
use rmq_store::MessageStore;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Java put one key into the index that has no topic, for its hash: it is `Integer.MIN_VALUE`,
/// which has no positive counterpart. No message can have that key; this one hashes to the same
/// number, so its entry has the same bytes.
const LOWEST_HASH: (&str, &str) = ("polygenelubricants", "TopicTest#order-avsebhn");

fn key_of(put: &Value) -> &str {
    let key = put["key"].as_str().unwrap();
    if key == LOWEST_HASH.0 { LOWEST_HASH.1 } else { key }
}

/// Writes the log that the index speaks of, its messages with the keys that `keys` gives to a put.
fn write_indexed_log(root: &Path, index: &Value, keys: impl Fn(&Value) -> Vec<String>) {
    let puts = index["puts"].as_array().unwrap();
    let message = |(at, put): (usize, &Value)| Message {
        topic: TOPIC.into(),
        properties: format!("KEYS\u{1}{}\u{2}", keys(put).join(" ")),
        queue_offset: at as u64,
        physical_offset: number(&put["physicalOffset"]),
        store_timestamp: put["storeTimestamp"].as_i64().unwrap(),
        size: 180,
    };
    write_log(root, STEP, &puts.iter().enumerate().map(message).collect::<Vec<_>>());
}

/// The part of a key behind its topic.
fn word(key: &str) -> String {
    key.strip_prefix("TopicTest#").unwrap().to_owned()
}

/// Physical offsets of what a query finds.
fn query(store: &MessageStore, key: &str, begin: i64, end: i64) -> Vec<u64> {
    let found = store.query(TOPIC, &word(key), 32, rmq_store::Millis::new(begin), rmq_store::Millis::new(end)).unwrap();
    found.records.iter().map(|record| Record::parse(record).unwrap().physical_offset()).collect()
}

fn index_file(root: &Path) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(root.join("index")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::read(&files[0]).unwrap()
}

#[test]
fn an_index_of_java_is_searched_and_stays_as_it_is() {
    for index in of_kind("index") {
        let root = tempfile::tempdir().unwrap();
        let puts = index["puts"].as_array().unwrap();
        // A record carries every key that Java's chains lead to it by, those with an equal hash
        // too.
        let found: BTreeMap<_, Vec<u64>> = index["found"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, offsets)| {
                let key = if key == LOWEST_HASH.0 { LOWEST_HASH.1 } else { key };
                (key.to_owned(), offsets.as_array().unwrap().iter().map(number).collect())
            })
            .collect();
        write_indexed_log(root.path(), &index, |put| {
            let leads_here = |offsets: &Vec<u64>| offsets.contains(&number(&put["physicalOffset"]));
            found.iter().filter(|(_, offsets)| leads_here(offsets)).map(|(key, _)| word(key)).collect()
        });
        std::fs::create_dir_all(root.path().join("index")).unwrap();
        std::fs::write(root.path().join("index/20231114221320000"), bytes(&index)).unwrap();

        let store = open_settled(root.path(), STEP);
        assert_eq!(puts.iter().map(key_of).collect::<BTreeSet<_>>(), found.keys().map(String::as_str).collect());
        for (key, offsets) in &found {
            assert_eq!(query(&store, key, 0, i64::MAX), *offsets, "{key}");
            for offset in offsets {
                let put = puts.iter().find(|put| number(&put["physicalOffset"]) == *offset).unwrap();
                let time = put["storeTimestamp"].as_i64().unwrap();
                assert_eq!(query(&store, key, time, time), [*offset], "{key} at {time}");
            }
        }
        assert!(query(&store, "TopicTest#order-3", 0, i64::MAX).is_empty());
        let last = &puts[puts.len() - 1];
        let found = store.query(TOPIC, "order-3", 1, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap();
        assert_eq!(
            (found.index_offset.get(), Some(found.index_timestamp.get())),
            (number(&last["physicalOffset"]), last["storeTimestamp"].as_i64())
        );
        store.close().unwrap();
        assert_eq!(index_file(root.path()), bytes(&index));
    }
}

#[test]
fn an_index_made_from_the_log_has_javas_bytes() {
    for index in of_kind("index") {
        let root = tempfile::tempdir().unwrap();
        write_indexed_log(root.path(), &index, |put| vec![word(key_of(put))]);
        crash(root.path());
        let store = open_settled(root.path(), STEP);
        for put in index["puts"].as_array().unwrap() {
            let key = key_of(put);
            // Keys with an equal hash are told apart by the records.
            let mut wanted: Vec<_> =
                index["puts"].as_array().unwrap().iter().filter(|put| key_of(put) == key).collect();
            wanted.reverse();
            let wanted: Vec<_> = wanted.iter().map(|put| number(&put["physicalOffset"])).collect();
            assert_eq!(query(&store, key, 0, i64::MAX), wanted, "{key}");
        }
        store.close().unwrap();
        assert_eq!(index_file(root.path()), bytes(&index));
    }
}
