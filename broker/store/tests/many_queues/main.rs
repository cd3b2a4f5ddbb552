//! Very many queues: what they cost in open files, mappings, memory, and at the next start.
//!
//! A target of its own with one test, as it counts what its whole process holds. `QUEUES=100000` is what a large broker has and takes a minute; the usual run has fewer.
//!
//! The bounds are those that ARCHITECTURE.md states: open files and mappings do not grow with the number of queues, memory grows by less than a KiB for each.

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

use support::{get, put};

const QUEUES_OF_A_TOPIC: usize = 8;
/// Beside the consume queue files: the log, the index, the checkpoint, the lock, and what the test's process has open.
const OTHER_FILES: usize = 64;
const MAPPINGS: usize = 400;
const BYTES_A_QUEUE: u64 = 1024;
const START: Duration = Duration::from_secs(10);

fn queues() -> usize {
    std::env::var("QUEUES").map_or(4000, |text| text.parse().unwrap())
}

fn config(root: &Path) -> Config {
    let mut config = Config::new(root);
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
    let end = store.max_physical_offset();
    assert_eq!(store.dispatched().wait_until(end, Instant::now() + Duration::from_secs(120)), Ok(true));
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

fn check_bounds(when: &str, queues: usize, config: &Config, memory_before: u64) {
    let (files, mappings, memory) = (open_files(), mappings(), anonymous_memory().saturating_sub(memory_before));
    println!(
        "{when}: {queues} queues, {files} open files, {mappings} mappings, {} bytes of memory a queue",
        memory / queues as u64
    );
    assert!(files <= config.open_files + OTHER_FILES, "{files} open files {when}");
    assert!(mappings <= MAPPINGS, "{mappings} mappings {when}");
    assert!(memory <= BYTES_A_QUEUE * queues as u64 + (32 << 20), "{memory} bytes {when}");
}

#[test]
fn many_queues_cost_neither_open_files_nor_mappings_and_little_memory_and_time() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    let topics = queues() / QUEUES_OF_A_TOPIC;
    let queues = topics * QUEUES_OF_A_TOPIC;
    let memory = anonymous_memory();
    let store = MessageStore::open(config.clone(), Box::new(|_| {})).unwrap();
    put_everywhere(&store, topics);
    put_everywhere(&store, topics);
    check_bounds("written", queues, &config, memory);
    store.close().unwrap();
    drop(store);

    let begun = Instant::now();
    let store = MessageStore::open(config.clone(), Box::new(|_| {})).unwrap();
    let took = begun.elapsed();
    println!("started with {queues} queues after {took:?}");
    assert!(took < START, "{took:?}");
    for topic in 0..topics {
        let name = format!("topic-{topic}");
        for queue in 0..QUEUES_OF_A_TOPIC {
            let got = get(&store, &name, queue as i32, 0);
            assert_eq!((got.status, got.count, got.max_offset), (GetStatus::Found, 2, 2), "{name}-{queue}");
        }
    }
    check_bounds("started and read", queues, &config, memory);
    put_everywhere(&store, topics);
    check_bounds("written again", queues, &config, memory);
    store.close().unwrap();
}
