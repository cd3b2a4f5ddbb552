//! The checkpoint of Java: what a start after a crash takes from it.

use crate::{Message, STEP, TOPIC, bytes, crash, number, of_kind, open, write_log};
use rmq_store::Error;
use serde_json::Value;

/// Where the log of the first test begins; a multiple of its file size.
const FIRST: u64 = 8_000_000_000;

/// A crashed store with Java's checkpoint and a log of these messages. Its queues are gone, so that
/// the first offset of the queue tells from where on the log was read again.
fn recovered_from(checkpoint: &[u8], file_size: u64, messages: &[Message]) -> (tempfile::TempDir, Result<u64, Error>) {
    let root = tempfile::tempdir().unwrap();
    write_log(root.path(), file_size, messages);
    std::fs::write(root.path().join("checkpoint"), checkpoint).unwrap();
    crash(root.path());
    let opened = open(root.path(), file_size);
    let from = opened.map(|store| {
        let from = store.min_offset(TOPIC, 1).get();
        store.close().unwrap();
        from
    });
    (root, from)
}

/// Java's checkpoint as it lies on the disk.
fn checkpoint(case: &Value) -> Vec<u8> {
    let mut file = bytes(case);
    file.resize(number(&case["fileSize"]) as usize, 0);
    file
}

fn message(queue_offset: u64, physical_offset: u64, store_timestamp: i64, size: usize) -> Message {
    Message { topic: TOPIC.into(), properties: String::new(), queue_offset, physical_offset, store_timestamp, size }
}

#[test]
fn after_a_crash_the_timestamps_of_javas_checkpoint_say_where_to_begin() {
    for case in of_kind("checkpoint") {
        let min = case["minTimestamp"].as_i64().unwrap();
        // Far behind the record that the checkpoint of newer releases names, as if an older one had
        // written it.
        let mut file = checkpoint(&case);
        file[40..48].fill(0);
        let messages: Vec<_> = [min - 5000, min - 1, min, min + 1, min + 5000]
            .iter()
            .zip(0..)
            .map(|(time, at)| message(at, FIRST + at * STEP, *time, 180))
            .collect();
        assert_eq!(recovered_from(&file, STEP, &messages).1.unwrap(), 2);
        // Without it, at the beginning.
        assert_eq!(recovered_from(&[0; 4096], STEP, &messages).1.unwrap(), 0);
    }
}

/// The clock stepped back after the checkpoint: of the files behind it, one begins before its time.
#[test]
fn a_file_older_than_javas_checkpoint_behind_a_newer_one_is_not_where_a_start_begins() {
    for case in of_kind("checkpoint") {
        let min = case["minTimestamp"].as_i64().unwrap();
        let mut file = checkpoint(&case);
        file[40..48].fill(0);
        let messages: Vec<_> = [min - 5000, min - 1000, min + 1, min - 2000]
            .iter()
            .zip(0..)
            .map(|(time, at)| message(at, FIRST + at * STEP, *time, 180))
            .collect();
        assert_eq!(recovered_from(&file, STEP, &messages).1.unwrap(), 1);
    }
}

/// A file size that the record named by the checkpoint does not begin a file with.
const LONG_FILE: u64 = 700;

#[test]
fn after_a_crash_the_record_named_by_javas_checkpoint_says_where_to_begin() {
    for case in of_kind("checkpoint") {
        let record = number(&case["logicsPhysicalOffset"]);
        let base = record / LONG_FILE * LONG_FILE;
        // Younger than every timestamp in the checkpoint: they would say the beginning.
        let messages = [
            message(0, base, 1_800_000_000_000, (record - base) as usize),
            message(1, record, 1_800_000_000_001, 180),
            message(2, record + 180, 1_800_000_000_002, 100),
        ];
        let (root, from) = recovered_from(&checkpoint(&case), LONG_FILE, &messages);
        assert_eq!(from.unwrap(), 1);

        // What we do not use is kept for Java; the rest speaks of the last record now.
        let file = std::fs::read(root.path().join("checkpoint")).unwrap();
        let long = |at: usize| i64::from_be_bytes(file[at..at + 8].try_into().unwrap());
        assert_eq!(file.len() as u64, number(&case["fileSize"]));
        assert_eq!(
            (Some(long(24)), Some(long(32))),
            (case["masterFlushedOffset"].as_i64(), case["confirmPhysicalOffset"].as_i64())
        );
        assert_eq!((long(0), long(8)), (1_800_000_000_002, 1_800_000_000_002));
        assert_eq!(long(40) as u64, record + 180);
    }
}

#[test]
fn a_log_that_ends_before_what_javas_checkpoint_vouches_for_is_damaged() {
    for case in of_kind("checkpoint") {
        let record = number(&case["logicsPhysicalOffset"]);
        let base = record / LONG_FILE * LONG_FILE;
        let short = [message(0, base, 1_600_000_000_000, (record - base) as usize)];
        let refused = recovered_from(&checkpoint(&case), LONG_FILE, &short).1.unwrap_err();
        assert!(matches!(&refused, Error::Corruption { offset, .. } if offset.get() == record), "{refused}");
        let shorter = [message(0, base - LONG_FILE, 1_600_000_000_000, 180)];
        let refused = recovered_from(&checkpoint(&case), LONG_FILE, &shorter).1.unwrap_err();
        assert!(refused.to_string().contains(&record.to_string()), "{refused}");
    }
}
