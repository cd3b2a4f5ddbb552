use std::io::IoSliceMut;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rmq_protocol::message::java;
use rmq_store::{Boundary, Error, Filter, FlushMode, GetStatus, Limits, MessageStore, Verdict};
use rustix::io::{Errno, ReadWriteFlags};

use crate::support::*;

const MANY: Limits = Limits { messages: 1000, bytes: usize::MAX };

#[test]
fn each_offset_has_its_status() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let status = |topic, offset| {
        let got = get(&store, topic, 0, offset);
        (got.status, got.next_offset.get(), got.min_offset.get(), got.max_offset.get())
    };
    assert_eq!(status("T", 5), (GetStatus::NoMatchedLogicQueue, 0, 0, 0));
    for n in 0..10 {
        put(&store, "T", 0, &[n]);
    }
    settle(&store);
    assert_eq!(status("T", 0), (GetStatus::Found, 10, 0, 10));
    assert_eq!(status("T", 9), (GetStatus::Found, 10, 0, 10));
    assert_eq!(status("T", 10), (GetStatus::OffsetOverflowOne, 10, 0, 10));
    assert_eq!(status("T", 11), (GetStatus::OffsetOverflowBadly, 10, 0, 10));
    assert_eq!(bodies(&get(&store, "T", 0, 7)), [(7, vec![7]), (8, vec![8]), (9, vec![9])]);
    // Neighbours in the log are one piece of bytes, not ten.
    assert_eq!(get(&store, "T", 0, 0).records.len(), 1);
}

#[test]
fn limits_hold_but_one_message_always_comes() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.transfer.count_on_disk = 2;
    config.memory = Some(100 * 40_000 / 40);
    let store = MessageStore::open(config, Vec::new()).unwrap();
    for _ in 0..80 {
        put(&store, "T", 0, &[1; 1000]);
    }
    settle(&store);
    let count = |offset, limits| store.get("T", 0, offset, limits, Filter::ALL).unwrap().count;
    assert_eq!(count(q(60), Limits { messages: 5, bytes: usize::MAX }), 5);
    assert_eq!(count(q(60), Limits { messages: 5, bytes: 10 }), 1);
    assert_eq!(count(q(60), Limits { messages: 5, bytes: 2500 }), 2);
    // The last 40,000 bytes count as being in memory.
    assert_eq!((count(q(0), MANY), count(q(40), MANY), count(q(60), MANY)), (2, 2, 20));
    let far = |offset| get(&store, "T", 0, offset).far_behind;
    assert!(far(0) && !far(60));
}

#[test]
fn filters_pass_over_what_they_do_not_want() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..1000_u32 {
        let properties = format!("TAGS\u{1}{}\u{2}n\u{1}{n}\u{2}", if n % 100 == 7 { "rare" } else { "usual" });
        store.put(&message("T", 0, &properties, &n.to_be_bytes())).unwrap();
    }
    settle(&store);
    let rare = java::tags_code(Some("rare"));
    let by_tags_code: &dyn Fn(i64) -> bool = &|code| code == rare;
    let got = store.get("T", 0, q(0), MANY, Filter { by_tags_code, by_record: None }).unwrap();
    // One read looks at 800 entries, however many were asked for.
    assert_eq!((got.status, got.count, got.next_offset), (GetStatus::Found, 8, q(800)));
    let few = Limits { messages: 1, bytes: usize::MAX };
    let none = store.get("T", 0, q(8), few, Filter { by_tags_code: &|_| false, by_record: None }).unwrap();
    assert_eq!((none.status, none.count, none.next_offset), (GetStatus::NoMatchedMessage, 0, q(808)));
    let seen = std::cell::Cell::new(0);
    let by_record: &dyn Fn(&rmq_protocol::message::stored::Record<'_>) -> Verdict = &|record| {
        seen.set(seen.get() + 1);
        if record.property("n").is_some_and(|n| n == "507") { Verdict::Take } else { Verdict::Pass }
    };
    let got = store.get("T", 0, q(0), MANY, Filter { by_tags_code, by_record: Some(by_record) }).unwrap();
    assert_eq!((bodies(&got), seen.get()), (vec![(507, 507_u32.to_be_bytes().to_vec())], 8));
    // A filter that has taken long enough: the next read goes on with the record that it did not
    // judge.
    let by_record: &dyn Fn(&rmq_protocol::message::stored::Record<'_>) -> Verdict =
        &|record| if record.queue_offset() < 300 { Verdict::Pass } else { Verdict::End };
    let got = store.get("T", 0, q(0), MANY, Filter { by_tags_code, by_record: Some(by_record) }).unwrap();
    assert_eq!((got.status, got.count, got.next_offset), (GetStatus::NoMatchedMessage, 0, q(307)));
}

#[test]
fn offsets_at_a_time_have_a_lower_and_an_upper_boundary() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let mut times = Vec::new();
    for n in 0..60 {
        times.push(put(&store, "T", 0, b"x").store_timestamp);
        if n % 7 == 0 {
            // The clock has to move on; nothing else is waited for.
            let from = Instant::now();
            while from.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
        }
    }
    settle(&store);
    for time in (times[0].get() - 2..times[59].get() + 3).map(rmq_store::Millis::new) {
        let lower = times.iter().position(|stored| *stored >= time).unwrap_or(60) as u64;
        let upper = times.iter().rposition(|stored| *stored <= time).unwrap_or(0) as u64;
        assert_eq!(store.offset_by_time("T", 0, time, Boundary::Lower).unwrap(), q(lower));
        assert_eq!(store.offset_by_time("T", 0, time, Boundary::Upper).unwrap(), q(upper));
    }
    assert_eq!(store.offset_by_time("none", 0, rmq_store::Millis::new(5), Boundary::Lower).unwrap(), q(0));
    assert_eq!(store.store_timestamp("T", 0, q(59)).unwrap(), Some(times[59]));
    assert_eq!(store.store_timestamp("T", 0, q(60)).unwrap(), None);
    assert_eq!(store.earliest_timestamp(), Some(times[0]));
}

#[test]
fn messages_are_found_by_key_and_only_by_their_own() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let mut stored = Vec::new();
    for n in 0..300 {
        // "AaAa", "BBBB", "AaBB" and "BBAa" have one hash.
        let key = ["AaAa", "BBBB", "AaBB"][n % 3];
        let properties = format!("UNIQ_KEY\u{1}U{n}\u{2}KEYS\u{1}{key} {key} n{n}\u{2}");
        stored.push(store.put(&message("T", 0, &properties, b"x")).unwrap());
    }
    settle(&store);
    let query =
        |key, max| store.query("T", key, max, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len();
    assert_eq!((query("AaAa", 1000), query("AaAa", 7), query("BBAa", 10), query("U150", 10)), (100, 7, 0, 1));
    assert_eq!((query("n299", 10), query("n0", 10), query("n300", 10)), (1, 1, 0));
    let found = store.query("T", "AaAa", 1, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap();
    let record = rmq_protocol::message::stored::Record::parse(&found.records[0]).unwrap();
    assert_eq!(p(record.physical_offset()), stored[297].physical_offset);
    assert_eq!((found.index_offset, found.index_timestamp), (stored[299].physical_offset, stored[299].store_timestamp));
    assert_eq!(store.query("U", "AaAa", 9, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(), 0);
    assert_eq!(
        store
            .query("T", "AaAa", 9, rmq_store::Millis::new(0), stored[0].store_timestamp.saturating_sub(1))
            .unwrap()
            .records
            .len(),
        0
    );
}

#[test]
fn arrivals_are_told_once_and_in_order_when_they_can_be_read() {
    let root = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let arrivals = {
        let seen = Arc::clone(&seen);
        rmq_store::arrivals(move |arrival| {
            let tag = arrival.properties.to_vec();
            seen.lock().unwrap().push((
                arrival.topic.to_owned(),
                arrival.queue_id,
                arrival.queue_offset.get(),
                arrival.tags_code,
                tag,
            ));
        })
    };
    let store = MessageStore::open(config(root.path()), vec![arrivals]).unwrap();
    for n in 0..3 {
        store.put(&message("T", n % 2, "TAGS\u{1}TagA\u{2}", b"x")).unwrap();
    }
    settle(&store);
    let expected: Vec<_> =
        [(0, 0), (1, 0), (0, 1)].map(|(q, o)| ("T".to_owned(), q, o, 2_598_919, b"TAGS\x01TagA\x02".to_vec())).into();
    assert_eq!(*seen.lock().unwrap(), expected);
    store.close().unwrap();
    assert!(matches!(store.put(&message("T", 0, "", b"x")), Err(Error::Closed)));
    let again = open(root.path());
    settle(&again);
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn a_synchronous_flush_follows_every_append() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.flush.mode = FlushMode::Sync;
    let store = MessageStore::open(config, Vec::new()).unwrap();
    for n in 0..50 {
        let end = put(&store, "T", 0, &[n; 3000]).end;
        assert_eq!(store.flushed().wait_until(end, Instant::now() + Duration::from_secs(30)), Ok(true));
        assert!(store.flushed().value() >= end);
    }
    assert!(store.metrics().flush_times.count() >= 1);
}

#[test]
fn a_second_opener_is_told_who_is_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let second = MessageStore::open(config(root.path()), Vec::new());
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
    drop(store);
    open(root.path());
}

#[test]
fn what_cannot_be_stored_is_refused_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.max_message_size = 1000;
    let store = MessageStore::open(config, Vec::new()).unwrap();
    for topic in ["", ".", "..", "../x", "a/b", "nul\0", &"t".repeat(256)] {
        assert!(matches!(store.put(&message(topic, 0, "", b"x")), Err(Error::Refused(_))), "{topic:?}");
    }
    assert!(matches!(store.put(&message("T", -1, "", b"x")), Err(Error::Refused(_))));
    assert!(matches!(store.put(&message("T", 0, "", &[0; 1001])), Err(Error::TooLarge { .. })));
    assert!(matches!(store.put(&message("T", 0, &"p".repeat(32_768), b"")), Err(Error::Message(_))));
    assert!(matches!(store.put_batch(&[]), Err(Error::Refused(_))));
    let mixed = [message("T", 0, "", b"x"), message("T", 1, "", b"x")];
    assert!(matches!(store.put_batch(&mixed), Err(Error::Refused(_))));
    assert_eq!((store.max_physical_offset(), store.metrics().put_failures), (p(0), 12));
}

#[test]
fn a_batch_is_contiguous_in_log_and_queue() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    put(&store, "T", 0, b"before");
    let batch: Vec<_> = (0..20_u8).map(|n| vec![n; 3000]).collect();
    let messages: Vec<_> = batch.iter().map(|body| message("T", 0, "", body)).collect();
    let placed = store.put_batch(&messages).unwrap();
    for pair in placed.windows(2) {
        assert_eq!((pair[0].end, pair[0].queue_offset + 1), (pair[1].physical_offset, pair[1].queue_offset));
    }
    assert_eq!(placed[0].queue_offset, q(1));
    settle(&store);
    assert_eq!(read_all(&store, "T", 0).len(), 21);
}

#[test]
fn topics_can_be_deleted_and_begin_again() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for topic in ["A", "B", "C"] {
        for queue in 0..3 {
            put(&store, topic, queue, b"x");
        }
    }
    settle(&store);
    assert_eq!((store.topics(), store.queues("B")), (vec!["A".into(), "B".into(), "C".into()], vec![0, 1, 2]));
    assert_eq!(store.delete_topic("B").unwrap(), 3);
    assert_eq!(store.clean_unused_topics(|topic| topic != "C").unwrap(), ["C"]);
    assert_eq!(store.topics(), ["A"]);
    assert_eq!(put(&store, "B", 0, b"again").queue_offset, q(0));
    settle(&store);
    assert_eq!(read_all(&store, "B", 0), [(0, b"again".to_vec())]);
    store.close().unwrap();
    let store = open(root.path());
    assert_eq!(read_all(&store, "B", 0), [(0, b"again".to_vec())]);
    assert!(names(&root.path().join("consumequeue/C")).is_empty());
}

/// Drops a file from the system's memory; `false` where its file system keeps it there, or does not
/// tell.
fn forget(path: &Path) -> bool {
    let file = std::fs::File::open(path).unwrap();
    let look = || {
        let mut byte = [0];
        rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT)
    };
    let told = look() == Ok(1);
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    told && look() == Err(Errno::AGAIN)
}

#[test]
fn what_has_left_the_memory_is_not_at_hand() {
    let root = tempfile::tempdir().unwrap();
    let probe = root.path().join("probe");
    std::fs::write(&probe, [1; 5000]).unwrap();
    if !forget(&probe) {
        let path = root.path().display();
        skipped(&format!(
            "the file system of {path} does not tell what is in memory: set TMPDIR to a directory on a disk"
        ));
        return;
    }
    let store = open(&root.path().join("store"));
    for n in 0..1000_u32 {
        put(&store, "T", 0, &n.to_be_bytes());
    }
    settle(&store);
    let limits = Limits { messages: 4, bytes: usize::MAX };
    let at_hand = |offset| store.get_if_resident("T", 0, offset, limits, Filter::ALL).unwrap().map(|got| got.status);
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.metrics().consume_queue_pending > 0 {
        assert!(Instant::now() < deadline, "entries are not written");
        std::thread::yield_now();
    }
    assert_eq!(at_hand(q(0)), None, "its file is not open any more");
    assert_eq!(bodies(&get(&store, "T", 0, 0))[0], (0, vec![0; 4]));
    assert_eq!(at_hand(q(0)), Some(GetStatus::Found), "the system still has it in memory");
    // A look without waiting has the system fetch what it looks at, so a moment later it may be
    // there again.
    let leaves = || forget(&root.path().join("store/consumequeue/T/0/00000000000000000000"));
    while !leaves() || at_hand(q(0)).is_some() {
        assert!(Instant::now() < deadline, "what is not in memory is at hand");
    }
    assert_eq!(store.metrics().gets_not_resident, 2);
    assert_eq!(at_hand(q(998)), Some(GetStatus::Found));
    // These need no look at a message.
    assert_eq!(at_hand(q(1000)), Some(GetStatus::OffsetOverflowOne));
    assert_eq!(at_hand(q(5000)), Some(GetStatus::OffsetOverflowBadly));
    assert_eq!(
        store.get_if_resident("nobody", 0, q(0), limits, Filter::ALL).unwrap().unwrap().status,
        GetStatus::NoMatchedLogicQueue
    );
}

/// Damage that a consumer passed over stood in the log of the process alone.
#[test]
fn damages_that_a_consumer_passes_over_are_counted() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let placed: Vec<_> = (0..60_u8).map(|n| put(&store, "T", 0, &[n; 100])).collect();
    settle(&store);
    store.close().unwrap();
    drop(store);
    let damage = |file: &str, at: u64, bytes: &[u8]| {
        let file = std::fs::File::options().write(true).open(root.path().join(file)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
    };
    damage("commitlog/00000000000000000000", placed[30].end.get() - 20, b"!");
    damage("consumequeue/T/0/00000000000000000000", 5 * 20, &[0; 2 * 20]);
    let store = open(root.path());
    assert_eq!(store.metrics().damages_passed_over, 0);
    let numbers: Vec<_> = read_all(&store, "T", 0).iter().map(|(number, _)| *number).collect();
    let whole: Vec<_> = (0..60).filter(|number| ![5, 6, 30].contains(number)).collect();
    assert_eq!(numbers, whole);
    assert_eq!(store.metrics().damages_passed_over, 3);
}

#[test]
fn index_files_count_among_what_is_mapped() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    put(&store, "T", 0, b"x");
    assert_eq!((store.metrics().mapped_bytes, store.metrics().index_files), (LOG_FILE, 0));
    store.put(&message("T", 0, "KEYS\u{1}k\u{2}", b"x")).unwrap();
    settle(&store);
    let index = std::fs::metadata(&files(&root.path().join("index"))[0]).unwrap().len();
    assert_eq!((store.metrics().mapped_bytes, store.metrics().index_files), (LOG_FILE + index, 1));
}
