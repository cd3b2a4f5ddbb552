//! The store on files that the Java libraries wrote.
//!
//! The documents lie in `tests/golden/` at the root of the repository. Java's file goes into the
//! directory of a store together with a commit log that fits it; the store must read through it,
//! leave its bytes as they are, and write the same bytes where it has to make the file from the
//! log. Log files of 200 bytes, each with a filler at its end, let records lie exactly where Java's
//! entries point to.
//!
//! | file | document | what |
//! |---|---|---|
//! | [`consume_queue`] | `store-files.json` | a queue that begins at 0, and one that begins at 5 |
//! | [`index`] | `store-files.json` | chains, equal hashes, the hash that stays negative |
//! | [`checkpoint`] | `store-files.json` | where a start after a crash reads again, what must be there |
//! | [`config_files`] | `config-files.json` | the broker's tables, and their backups |

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test; helpers are tests too")]

mod checkpoint;
mod config_files;
mod consume_queue;
mod index;

use rmq_protocol::message::stored::{self, Draft};
use rmq_store::{Config, Error, MessageStore};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes between two of the records that Java's entries point to.
const STEP: u64 = 200;
const TOPIC: &str = "TopicTest";

fn cases(document: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(document);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// The cases of one kind of store file.
fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<_> = cases("store-files.json").into_iter().filter(|case| case["kind"] == kind).collect();
    assert!(!found.is_empty(), "there is no {kind}");
    found
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no offset"))
}

fn bytes(case: &Value) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let digits = case["hex"].as_str().unwrap().as_bytes();
    digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A message of the log that Java's files speak of.
struct Message {
    topic: String,
    properties: String,
    queue_offset: u64,
    physical_offset: u64,
    store_timestamp: i64,
    size: usize,
}

impl Message {
    /// The record, its body as long as makes the size right.
    fn record(&self) -> Vec<u8> {
        let host = SocketAddr::from(([10, 0, 0, 2], 10_911));
        let mut draft = Draft {
            topic: &self.topic,
            queue_id: 1,
            flag: 0,
            sys_flag: 0,
            born_timestamp: self.store_timestamp,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: self.properties.as_bytes(),
            body: &[],
        };
        let body = vec![b'b'; self.size - draft.prepare().unwrap().size()];
        draft.body = &body;
        draft.prepare().unwrap().to_vec(self.queue_offset, self.physical_offset, self.store_timestamp)
    }
}

/// Writes a commit log of files of `file_size` bytes. A message begins where the one before it
/// ends, or a file.
fn write_log(root: &Path, file_size: u64, messages: &[Message]) {
    let mut files: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let blank = |file: &mut Vec<u8>| {
        let left = file_size - file.len() as u64;
        file.extend(stored::blank(left as u32));
        file.resize(file_size as usize, 0);
    };
    for message in messages {
        let base = message.physical_offset / file_size * file_size;
        if let Some(mut last) = files.last_entry()
            && *last.key() != base
        {
            blank(last.get_mut());
        }
        let file = files.entry(base).or_default();
        assert_eq!(base + file.len() as u64, message.physical_offset, "the log has a gap");
        file.extend(message.record());
    }
    std::fs::create_dir_all(root.join("commitlog")).unwrap();
    // Without this folder a start reads the whole log, whatever the checkpoint says.
    std::fs::create_dir_all(root.join("consumequeue")).unwrap();
    for (base, mut file) in files {
        file.resize(file_size as usize, 0);
        std::fs::write(root.join(format!("commitlog/{base:020}")), file).unwrap();
    }
}

/// Nothing that happens by itself, and files of the sizes Java's had.
fn config(root: &Path, file_size: u64, index: &Value) -> Config {
    let mut config = Config::new(root);
    config.commit_log_file_size = file_size;
    config.consume_queue_file_size = 200;
    config.index.slots = number(&index["slots"]) as u32;
    config.index.entries = number(&index["capacity"]) as u32;
    config.allocation.step = 16 << 10;
    config.allocation.touch_ahead = 8 << 10;
    config.checkpoint_interval = Duration::from_secs(3600);
    config.retention.interval = Duration::from_secs(3600);
    config.retention.reserved = Duration::from_secs(u64::from(u32::MAX));
    (config.retention.refuse_writes, config.retention.clean_forcibly, config.retention.max_used) = (100, 100, 100);
    config.retention.delete_when = Vec::new();
    config
}

fn open(root: &Path, file_size: u64) -> Result<MessageStore, Error> {
    MessageStore::open(config(root, file_size, &of_kind("index")[0]), Vec::new())
}

/// Opens the store and waits until everything in its log is in its queues.
fn open_settled(root: &Path, file_size: u64) -> MessageStore {
    let store = open(root, file_size).unwrap();
    let end = store.max_physical_offset();
    assert_eq!(store.dispatched().wait_until(end, Instant::now() + Duration::from_secs(30)), Ok(true));
    store
}

/// What a process leaves that did not come to its end: the next start trusts nothing but the
/// checkpoint.
fn crash(root: &Path) {
    std::fs::write(root.join("abort"), "1").unwrap();
}

#[test]
fn nobody_forgets_a_kind_of_file() {
    for case in cases("store-files.json") {
        let kind = case["kind"].as_str().unwrap();
        assert!(["consume-queue", "index", "checkpoint"].contains(&kind), "nobody handles {}: {kind}", case["name"]);
    }
}
