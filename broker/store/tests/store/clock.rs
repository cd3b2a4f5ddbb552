//! A system clock that steps back: times in the log are then in no order, and a start may not
//! conclude from them what is on the disk.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rmq_protocol::message::stored::{self, Draft};
use rmq_store::{LogOffset, MessageStore, Millis};

use crate::support::*;

const NOON: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

/// A store whose queue entries come to the disk only with a checkpoint.
fn open(root: &Path) -> MessageStore {
    let mut config = config(root);
    config.consume_queue_write_interval = Duration::from_secs(3600);
    MessageStore::open(config, Vec::new()).unwrap()
}

/// Appends `count` keyed messages of `size` bytes as a slave gets them, stored from `time` on, one
/// a second.
fn append(store: &MessageStore, count: u64, size: usize, time: i64) {
    let host = SocketAddr::from(([10, 0, 0, 2], 10_911));
    for n in 0..count {
        let (mut at, number) = (store.max_physical_offset(), store.max_offset("T", 0).get());
        let draft = Draft {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: time,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: b"KEYS\x01all\x02",
            body: &vec![b'b'; size],
        };
        let prepared = draft.prepare().unwrap();
        let left = LOG_FILE - at.get() % LOG_FILE;
        if ((prepared.size() + stored::BLANK_SIZE) as u64) > left {
            let mut filler = stored::blank(left as u32).to_vec();
            filler.resize(left as usize, 0);
            store.append_replica(at, &filler).unwrap();
            at += left;
        }
        let record = prepared.to_vec(number, at.get(), time + 1000 * n as i64);
        store.append_replica(at, &record).unwrap();
        settle(store);
    }
}

/// What a process leaves that ends now, with the queue entries lost that no checkpoint covers.
fn killed(store: MessageStore, root: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    copy(root, left.path());
    drop(store);
    left
}

/// Exactly these messages are there, each once, in their queue and under their key.
fn check(store: &MessageStore, count: u64) {
    settle(store);
    assert!(read_all(store, "T", 0).iter().map(|(number, _)| *number).eq(0..count), "the queue has a gap");
    let found = store.query("T", "all", usize::MAX, Millis::MIN, Millis::MAX).unwrap().records;
    assert_eq!(found.len() as u64, count);
}

#[test]
fn a_process_killed_after_its_clock_stepped_back_loses_nothing_and_repeats_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    append(&store, 150, 1000, NOON);
    store.close().unwrap();
    drop(store);
    // The checkpoint speaks of noon. Then more of that day, and the clock steps back within a file.
    let store = open(root.path());
    append(&store, 50, 1000, NOON + HOUR);
    append(&store, 150, 1000, NOON - HOUR);
    assert!(store.max_physical_offset() > LogOffset::new(5 * LOG_FILE));
    let left = killed(store, root.path());
    let store = open(left.path());
    check(&store, 350);
    let left = killed(store, left.path());
    check(&open(left.path()), 350);
}

/// The checkpoint kept the times of the log that was cut. A log of an earlier time came in its
/// place, and a start after a crash believed that all its queues were on the disk.
#[test]
fn a_log_copied_anew_is_not_measured_by_the_times_of_the_log_it_replaced() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    append(&store, 10, 1000, NOON);
    store.close().unwrap();
    drop(store);
    let store = open(root.path());
    store.truncate(LogOffset::ZERO).unwrap();
    append(&store, 150, 1000, NOON - HOUR);
    assert!(store.max_physical_offset() > LogOffset::new(2 * LOG_FILE));
    let left = killed(store, root.path());
    check(&open(left.path()), 150);
}
