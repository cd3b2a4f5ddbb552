//! Consume queues of Java, found on the disk and made from the log.

use crate::{Message, STEP, bytes, crash, number, of_kind, open_settled, write_log};
use rmq_protocol::message::stored::Records;
use rmq_store::{Filter, GetStatus, Limits, LogOffset, MessageStore, QueueOffset};
use serde_json::Value;
use std::path::{Path, PathBuf};

const FILE: &str = "00000000000000000000";

/// A directory with the log that a consume queue case speaks of; where its file belongs, and what
/// is in it.
fn consume_queue(root: &Path, case: &Value) -> (PathBuf, Vec<u8>, String) {
    let topic = case["name"].as_str().unwrap().to_owned();
    let entries = case["entries"].as_array().unwrap();
    let messages: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            let tags = match number(&entry["tagsCode"]) {
                2_598_919 => "TAGS\u{1}TagA\u{2}",
                2_598_920 => "TAGS\u{1}TagB\u{2}",
                0 => "",
                code => panic!("whose tags are {code}?"),
            };
            Message {
                topic: topic.clone(),
                properties: tags.into(),
                queue_offset: number(&entry["queueOffset"]),
                physical_offset: number(&entry["physicalOffset"]),
                store_timestamp: 1_700_000_000_000 + at as i64,
                size: number(&entry["size"]) as usize,
            }
        })
        .collect();
    write_log(root, STEP, &messages);
    (root.join("consumequeue").join(&topic).join("1").join(FILE), bytes(case), topic)
}

fn read_through(store: &MessageStore, topic: &str, case: &Value) {
    let (entries, min) = (case["entries"].as_array().unwrap(), number(&case["minOffset"]));
    assert_eq!(store.min_offset(topic, 1), QueueOffset::new(min), "{topic}");
    assert_eq!(store.max_offset(topic, 1), QueueOffset::new(min + entries.len() as u64), "{topic}");
    for entry in entries {
        let found = store.physical_offset(topic, 1, QueueOffset::new(number(&entry["queueOffset"]))).unwrap();
        assert_eq!(found.map(LogOffset::get), entry["physicalOffset"].as_u64(), "{topic}: {entry}");
    }
    if min > 0 {
        assert_eq!(
            store.physical_offset(topic, 1, QueueOffset::new(min - 1)).unwrap(),
            None,
            "{topic}: a filler is no message"
        );
    }
    let limits = Limits { messages: 32, bytes: usize::MAX };
    let mut offset = min;
    let mut sizes = Vec::new();
    while sizes.len() < entries.len() {
        let got = store.get(topic, 1, QueueOffset::new(offset), limits, Filter::ALL).unwrap();
        assert_eq!(got.status, GetStatus::Found, "{topic} at {offset}");
        for record in got.records.iter().flat_map(|piece| Records::new(piece)) {
            let record = record.unwrap();
            assert_eq!(record.queue_offset(), offset);
            offset += 1;
            sizes.push(record.size() as u64);
        }
        assert_eq!(got.next_offset, QueueOffset::new(offset));
    }
    assert_eq!(sizes, entries.iter().map(|entry| number(&entry["size"])).collect::<Vec<_>>());

    let tag_a = Filter { by_tags_code: &|code| code == 2_598_919, by_record: None };
    let got = store.get(topic, 1, QueueOffset::new(min), limits, tag_a).unwrap();
    assert_eq!((got.status, got.count), (GetStatus::Found, 1), "{topic}");
}

#[test]
fn a_consume_queue_of_java_is_read_and_stays_as_it_is() {
    for case in of_kind("consume-queue") {
        let root = tempfile::tempdir().unwrap();
        let (path, javas, topic) = consume_queue(root.path(), &case);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &javas).unwrap();
        for _ in 0..2 {
            let store = open_settled(root.path(), STEP);
            read_through(&store, &topic, &case);
            store.close().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), javas, "{topic}");
        }
    }
}

#[test]
fn a_consume_queue_made_from_the_log_has_javas_bytes() {
    for case in of_kind("consume-queue") {
        let root = tempfile::tempdir().unwrap();
        let (path, javas, topic) = consume_queue(root.path(), &case);
        crash(root.path());
        let store = open_settled(root.path(), STEP);
        read_through(&store, &topic, &case);
        store.close().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), javas, "{topic}");
    }
}
