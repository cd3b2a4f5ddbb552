use std::path::Path;
use std::time::Duration;

use rmq_protocol::message::delay;
use rmq_protocol::message::stored::{MAGIC_BLANK, MAGIC_V2, Record};
use rmq_store::offline::{Place, check};
use rmq_store::{MessageStore, TagsCode};

use crate::support::*;

fn int(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn a_stopped_store_is_the_directory_java_would_leave() {
    let root = tempfile::tempdir().unwrap();
    let mut defaults = config(root.path());
    let java = rmq_store::Config::new(root.path());
    defaults.commit_log_file_size = java.commit_log_file_size;
    defaults.consume_queue_file_size = java.consume_queue_file_size;
    defaults.index = java.index;
    let store = MessageStore::open(defaults, Vec::new()).unwrap();
    // Java writes the first line; it looks only whether the file is there.
    let abort = std::fs::read_to_string(root.path().join("abort")).unwrap();
    assert_eq!(abort.lines().next(), Some(std::process::id().to_string().as_str()), "{abort}");
    let first = store.put(&message("Topic", 1, "KEYS\u{1}k\u{2}TAGS\u{1}TagA\u{2}", b"hello")).unwrap();
    let second = store.put(&message("Topic", 1, "", b"world")).unwrap();
    store.close().unwrap();

    let size = |path: &str| std::fs::metadata(root.path().join(path)).unwrap().len();
    assert_eq!(size("commitlog/00000000000000000000"), 1 << 30);
    assert_eq!(size("consumequeue/Topic/1/00000000000000000000"), 6_000_000);
    assert_eq!(size("checkpoint"), 4096);
    let index = names(&root.path().join("index"));
    assert_eq!((index.len(), index[0].len()), (1, 17));
    assert_eq!(size(&format!("index/{}", index[0])), 420_000_040);
    assert_eq!(std::fs::read_to_string(root.path().join("lock")).unwrap(), "lock");
    let mut there = names(root.path());
    there.retain(|name| *name != index[0]);
    assert_eq!(there, ["checkpoint", "00000000000000000000", "00000000000000000000", "lock"]);

    let queue = read_start(&root.path().join("consumequeue/Topic/1/00000000000000000000"), 60);
    assert_eq!((long(&queue, 0), int(&queue, 8)), (0, first.size() as u32));
    // "TagA".hashCode()
    assert_eq!(long(&queue, 12), 2_598_919);
    assert_eq!((p(long(&queue, 20)), int(&queue, 28), long(&queue, 32)), (first.end, second.size() as u32, 0));
    assert_eq!(queue[40..60], [0; 20]);

    let log = read_start(&root.path().join("commitlog/00000000000000000000"), second.end.get() as usize + 100);
    let record = Record::parse(&log).unwrap();
    assert_eq!((record.topic(), record.queue_offset(), record.body()), ("Topic", 0, &b"hello"[..]));
    assert_eq!(record.offset_id().to_string(), "0A00000200002A9F0000000000000000");
    assert_eq!(Record::parse(&log[first.end.get() as usize..]).unwrap().queue_offset(), 1);
    assert_eq!(log[second.end.get() as usize..], [0; 100]);

    let checkpoint = std::fs::read(root.path().join("checkpoint")).unwrap();
    let stored = second.store_timestamp.get() as u64;
    assert_eq!((long(&checkpoint, 0), long(&checkpoint, 8)), (stored, stored));
    assert_eq!((long(&checkpoint, 16), p(long(&checkpoint, 40))), (first.store_timestamp.get() as u64, first.end));
}

fn read_start(path: &Path, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    std::os::unix::fs::FileExt::read_exact_at(&std::fs::File::open(path).unwrap(), &mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_record_that_does_not_fit_begins_the_next_file_behind_a_filler() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let overhead = put(&store, "T", 0, b"").size();
    // Exactly as long as leaves no room for a filler: it must not go here.
    let rest = LOG_FILE - overhead;
    let second = put(&store, "T", 0, &vec![7; (rest - overhead - 7) as usize]);
    assert_eq!(second.physical_offset, p(LOG_FILE));
    // Exactly as long as leaves room for it.
    let third = put(&store, "T", 0, b"");
    assert_eq!(third.physical_offset, p(2 * LOG_FILE));
    let fourth = put(&store, "T", 0, &vec![7; (rest - overhead - 8) as usize]);
    assert_eq!((fourth.physical_offset, fourth.end), (p(2 * LOG_FILE + overhead), p(3 * LOG_FILE - 8)));
    let fifth = put(&store, "T", 0, b"");
    assert_eq!(fifth.physical_offset, p(3 * LOG_FILE));
    store.close().unwrap();

    let log = |base: u64| std::fs::read(root.path().join(format!("commitlog/{base:020}"))).unwrap();
    let first = log(0);
    assert_eq!((int(&first, overhead as usize), int(&first, overhead as usize + 4)), (rest as u32, MAGIC_BLANK));
    let third = log(2 * LOG_FILE);
    assert_eq!((int(&third, LOG_FILE as usize - 8), int(&third, LOG_FILE as usize - 4)), (8, MAGIC_BLANK));

    let store = open(root.path());
    assert_eq!(read_all(&store, "T", 0).len(), 5);
    let too_large = store.put(&message("T", 0, "", &vec![7; LOG_FILE as usize]));
    assert!(matches!(too_large, Err(rmq_store::Error::TooLarge { .. })));
}

#[test]
fn a_delayed_messages_entry_says_when_it_is_due() {
    let root = tempfile::tempdir().unwrap();
    let pauses = [1, 5, 10].map(Duration::from_secs);
    let tags_code = TagsCode::with(move |record| delay::entry_code(record, &pauses));
    let open = || {
        let mut config = config(root.path());
        config.tags_code = tags_code.clone();
        MessageStore::open(config, Vec::new()).unwrap()
    };
    let store = open();
    let mut stored = Vec::new();
    for level in ["1", "3", "99", "0", "x"] {
        let properties = format!("DELAY\u{1}{level}\u{2}TAGS\u{1}TagA\u{2}");
        stored.push(store.put(&message("SCHEDULE_TOPIC_XXXX", 0, &properties, b"x")).unwrap().store_timestamp.get());
    }
    store.close().unwrap();
    let queue = std::fs::read(root.path().join("consumequeue/SCHEDULE_TOPIC_XXXX/0/00000000000000000000")).unwrap();
    let due: Vec<i64> = (0..5).map(|n| long(&queue, 20 * n + 12) as i64).collect();
    assert_eq!(due[..3], [stored[0] + 1000, stored[1] + 10_000, stored[2] + 10_000]);
    assert_eq!(due[3..], [2_598_919, 2_598_919]);
    // None of them passes for damage because its tags have another hash.
    let store = open();
    assert_eq!((read_all(&store, "SCHEDULE_TOPIC_XXXX", 0).len(), store.metrics().damages_passed_over), (5, 0));
    store.close().unwrap();
    drop(store);
    let mut place = Place::new(root.path());
    (place.index_slots, place.tags_code) = (50, tags_code.clone());
    assert_eq!(check(&place).unwrap().findings, []);
    place.tags_code = TagsCode::default();
    assert_eq!(check(&place).unwrap().findings.len(), 1, "without the rule the first three entries are wrong");
}

#[test]
fn prepared_and_rolled_back_messages_are_in_no_queue() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for (sys_flag, in_queue) in [(0, true), (0x4, false), (0x8, true), (0xC, false), (0, true)] {
        let put = store.put(&rmq_store::NewMessage { sys_flag, ..message("T", 0, "", b"x") }).unwrap();
        let record = store.record(put.physical_offset).unwrap();
        assert_eq!(q(Record::parse(&record).unwrap().queue_offset()), put.queue_offset);
        assert!(in_queue || put.queue_offset == q(0));
    }
    settle(&store);
    assert_eq!(read_all(&store, "T", 0).iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 2]);
}

/// Official clients cannot send to such a topic, but retry topics of groups with long names are.
#[test]
fn topics_longer_than_127_bytes_have_records_of_the_second_form_that_every_start_reads() {
    let root = tempfile::tempdir().unwrap();
    let topic = format!("%RETRY%{}", "g".repeat(200));
    let mut stored = Vec::new();
    for closed in [true, false, true] {
        let store = open(root.path());
        for n in 0..40_u8 {
            let body = [n; 500];
            let message = message(&topic, 0, "KEYS\u{1}k\u{2}TAGS\u{1}t\u{2}", &body);
            let placed = store.put(&message).unwrap();
            stored.push(record(&message, &placed));
        }
        settle(&store);
        assert_eq!(int(&stored[0], 4), MAGIC_V2);
        assert_eq!(read_records(&store, &topic, 0), stored);
        assert_eq!(
            store.query(&topic, "k", 999, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(),
            stored.len()
        );
        if closed {
            store.close().unwrap();
        }
    }
    assert_eq!(read_records(&open(root.path()), &topic, 0), stored);
}
