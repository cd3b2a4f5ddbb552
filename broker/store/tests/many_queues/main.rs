//! Very many queues: what they cost in open files, mappings, memory, and at the next start.
//!
//! A target of its own with one test, as it counts what its whole process holds. `QUEUES=100000` is
//! what a large broker has and takes some minutes; the usual run has fewer.
//!
//! The bounds are those of `docs/decisions/26-consume-queues-are-not-mapped.md`: open files and
//! mappings do not grow with the number of queues; memory grows by half a KiB for each, and the
//! memory of their entries is bounded for all queues together, however busy they are.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test; what was measured is printed"
)]

#[path = "../store/support.rs"]
#[allow(dead_code, reason = "shared with the tests of few queues")]
mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rmq_store::{Config, GetStatus, MessageStore};

use support::{get, message, number, put};

const QUEUES_OF_A_TOPIC: usize = 8;
/// Beside the consume queue files: the log, the index, the checkpoint, the lock, and what the
/// test's process has open.
const OTHER_FILES: usize = 64;
const MAPPINGS: usize = 150;
const BYTES_A_QUEUE: u64 = 512;
/// More than a queue alone would keep in memory.
const BUSY: usize = 132;
/// Messages that a busy queue gets at a time: all of them get theirs while none is quiet for long.
const BURST: usize = 12;
/// For so many queues the defaults are made.
const MANY: usize = 100_000;
/// Beside queues and entries: what the log, the index and four threads need, and what the allocator
/// does not give back.
const OTHER_MEMORY: u64 = 4 << 20;
const START: Duration = Duration::from_secs(10);
/// For the writing that is under way to end, after which memory is counted: shorter than a queue
/// takes to be quiet, which would give it back in any case.
const COUNTED: Duration = Duration::from_secs(5);

fn queues() -> usize {
    number("QUEUES").map_or(4000, |queues| queues as usize)
}

fn config(root: &Path, queues: usize) -> Config {
    let mut config = Config::new(root);
    // As much for each queue as the defaults leave it where there are many.
    config.consume_queue_buffer = config.consume_queue_buffer * queues / MANY;
    config.consume_queue_cache = config.consume_queue_cache * queues / MANY;
    // One small file of each kind: the consume queues are what is asked about.
    config.commit_log_file_size = 128 << 20;
    config.index.slots = 1000;
    config.index.entries = 4000;
    config.retention.refuse_writes = 100;
    config.retention.clean_forcibly = 100;
    config.retention.max_used = 100;
    config
}

/// One message for each queue, and all of them in their consume queues.
fn put_everywhere(store: &MessageStore, topics: usize) {
    for topic in 0..topics {
        for queue in 0..QUEUES_OF_A_TOPIC {
            put(store, &format!("topic-{topic}"), queue as i32, b"body");
        }
    }
    settle(store);
}

/// So many messages for each queue that all of them are busy, and none has been quiet when the last
/// one is written.
fn keep_busy(store: &MessageStore, topics: usize) {
    for _ in 0..BUSY / BURST {
        for topic in 0..topics {
            let name = format!("topic-{topic}");
            for queue in 0..QUEUES_OF_A_TOPIC {
                store.put_batch(&[message(&name, queue as i32, "", b"body"); BURST]).unwrap();
            }
        }
    }
    settle(store);
}

/// Waits until everything is in its consume queue, and written there.
fn settle(store: &MessageStore) {
    let end = store.max_physical_offset();
    let deadline = Instant::now() + Duration::from_secs(120);
    assert_eq!(store.dispatched().wait_until(end, deadline), Ok(true));
    while store.metrics().consume_queue_pending > 0 {
        assert!(Instant::now() < deadline, "entries are not written");
        std::thread::yield_now();
    }
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn check_bounds(when: &str, store: &MessageStore, queues: usize, memory_before: u64) {
    let config = store.config();
    let deadline = Instant::now() + COUNTED;
    while store.metrics().consume_queue_memory > config.consume_queue_cache as u64 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let (files, mappings, memory) = (open_files(), mappings(), anonymous_memory().saturating_sub(memory_before));
    let entries = store.metrics().consume_queue_memory;
    println!(
        "{when}: {queues} queues, {files} open files, {mappings} mappings, {memory} bytes of memory, {entries} of them for entries"
    );
    assert!(files <= config.open_files + OTHER_FILES, "{files} open files {when}");
    assert!(mappings <= MAPPINGS, "{mappings} mappings {when}");
    assert!(entries <= config.consume_queue_cache as u64, "{entries} bytes for entries {when}");
    // Buffers that grow double, and the allocator keeps what they needed.
    let for_entries = (config.consume_queue_cache + 2 * config.consume_queue_buffer) as u64;
    let bound = BYTES_A_QUEUE * queues as u64 + for_entries + OTHER_MEMORY;
    assert!(memory <= bound, "{memory} bytes {when}, more than {bound}");
}

#[test]
fn many_queues_cost_neither_open_files_nor_mappings_and_little_memory_and_time() {
    let root = tempfile::tempdir().unwrap();
    let topics = queues() / QUEUES_OF_A_TOPIC;
    let queues = topics * QUEUES_OF_A_TOPIC;
    let config = config(root.path(), queues);
    let memory = anonymous_memory();
    let store = MessageStore::open(config.clone(), Vec::new()).unwrap();
    put_everywhere(&store, topics);
    put_everywhere(&store, topics);
    check_bounds("written", &store, queues, memory);
    store.close().unwrap();
    drop(store);

    let begun = Instant::now();
    let store = MessageStore::open(config, Vec::new()).unwrap();
    let took = begun.elapsed();
    println!("started with {queues} queues after {took:?}");
    assert!(took < START, "{took:?}");
    for topic in 0..topics {
        let name = format!("topic-{topic}");
        for queue in 0..QUEUES_OF_A_TOPIC {
            let got = get(&store, &name, queue as i32, 0);
            assert_eq!((got.status, got.count, got.max_offset.get()), (GetStatus::Found, 2, 2), "{name}-{queue}");
        }
    }
    check_bounds("started and read", &store, queues, memory);
    keep_busy(&store, topics);
    check_bounds("all of them busy", &store, queues, memory);
    store.close().unwrap();
}
