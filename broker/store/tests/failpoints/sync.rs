use std::path::Path;

use rmq_store::fail_point::{Fault, arm};
use rmq_store::{Error, Halt, LogOffset, MessageStore};

use crate::support::*;
use crate::{ALWAYS, EIO, alone, soon};

/// The store takes nothing more, says nothing more to be on the disk, and serves what it has.
fn is_read_only(store: &MessageStore, flushed: LogOffset, readable: usize) {
    let refused = store.put(&message("T", 0, "", b"late")).unwrap_err();
    assert!(matches!(&refused, Error::ReadOnly(why) if why.contains("may not be on the disk")), "{refused}");
    assert!(matches!(store.append_replica(store.max_physical_offset(), b"late"), Err(Error::ReadOnly(_))));
    // The disk is well again, and it does not matter: whatever a second sync says, the pages may be
    // gone.
    assert!(matches!(store.flush(), Err(Error::ReadOnly(_))));
    assert_eq!(store.flushed().value(), flushed);
    assert_eq!(store.flushed().wait_until(flushed + 1, soon()), Err(Halt::Failed));
    assert!(store.metrics().refusing.is_some_and(|why| why.contains("may not be on the disk")));
    settle(store);
    assert_eq!(read_all(store, "T", 0).len(), readable);
    assert!(matches!(store.close(), Err(Error::ReadOnly(_))));
}

/// A start reads back what the disk has, and flushes that for real before it says so.
fn is_well_after_a_restart(root: &Path, readable: usize) {
    let store = open(root);
    settle(&store);
    assert_eq!(read_all(&store, "T", 0).len(), readable);
    put(&store, "T", 0, b"after");
    let hits = arm("commit_log::sync", Fault::Delay(std::time::Duration::ZERO), 0, ALWAYS);
    store.flush().unwrap();
    assert!(hits.struck() > 0, "flushed in words only");
    assert_eq!(store.flushed().value(), store.max_physical_offset());
    store.close().unwrap();
}

/// What follows a failed sync.
fn is_read_only_until_a_restart(store: MessageStore, root: &Path, flushed: LogOffset, readable: usize) {
    is_read_only(&store, flushed, readable);
    drop(store);
    is_well_after_a_restart(root, readable);
}

#[test]
fn a_failed_flush_is_final_for_waiters_and_writers_and_not_for_readers() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let flushed = put(&store, "T", 0, b"on the disk").end;
    store.flush().unwrap();
    let end = put(&store, "T", 0, b"not there").end;
    let armed = arm("commit_log::sync", Fault::Error(EIO), 0, 1);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.flushed().wait_until(end, soon()));
        while store.flushed().waiting() == 0 {
            std::thread::yield_now();
        }
        assert!(matches!(store.flush(), Err(Error::Sync { .. })));
        assert_eq!(waiter.join().unwrap(), Err(Halt::Failed));
    });
    drop(armed);
    is_read_only_until_a_restart(store, root.path(), flushed, 2);
}

#[test]
fn a_synchronous_flush_that_fails_acknowledges_nobody() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.flush.mode = rmq_store::FlushMode::Sync;
    let store = MessageStore::open(config, Vec::new()).unwrap();
    let flushed = put(&store, "T", 0, b"on the disk").end;
    assert_eq!(store.flushed().wait_until(flushed, soon()), Ok(true));
    let armed = arm("commit_log::sync", Fault::Error(EIO), 0, 1);
    let end = put(&store, "T", 0, b"not there").end;
    assert_eq!(store.flushed().wait_until(end, soon()), Err(Halt::Failed));
    drop(armed);
    is_read_only_until_a_restart(store, root.path(), flushed, 2);
}

/// The name of a new file, and the names in its directory, were retried and then taken for durable:
/// a second sync of a directory that has not changed since the first one failed finds nothing to
/// do and succeeds.
#[test]
fn a_file_whose_name_could_not_be_synced_takes_no_message() {
    let _alone = alone();
    for point in ["commit_log::sync_new", "directory::sync"] {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        put(&store, "T", 0, b"first");
        store.flush().unwrap();
        let flushed = store.flushed().value();
        let armed = arm(point, Fault::Error(EIO), 0, 1);
        let mut taken = 1;
        let refused = loop {
            match store.put(&message("T", 0, "", &[7; 5000])) {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken < 100, "{point}: the file that has no name for sure is written to");
            // The next file is made ahead of time: no put waits for it when that fails.
            if store.max_physical_offset() > p(LOG_FILE - 10_000) {
                assert!(armed.wait());
            }
        };
        assert!(armed.struck() == 1 && matches!(refused, Error::ReadOnly(_)), "{point}: {refused}");
        drop(armed);
        assert!(store.max_physical_offset() <= p(LOG_FILE));
        is_read_only_until_a_restart(store, root.path(), flushed, taken);
    }
}

/// A checkpoint that counted on them would let the next start skip what they do not have.
#[test]
fn queues_index_and_checkpoint_that_cannot_be_synced_end_writes_too() {
    let _alone = alone();
    for point in ["consume_queue::sync", "index::sync", "checkpoint::sync"] {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        config.checkpoint_interval = std::time::Duration::from_millis(20);
        let armed = arm(point, Fault::Error(EIO), 0, 1);
        let store = MessageStore::open(config, Vec::new()).unwrap();
        let end = store.put(&message("T", 0, "KEYS\u{1}k\u{2}", b"x")).unwrap().end;
        assert!(armed.wait(), "{point}");
        assert_eq!(store.flushed().wait_until(end + 1, soon()), Err(Halt::Failed), "{point}");
        drop(armed);
        is_read_only_until_a_restart(store, root.path(), end, 1);
    }
}

/// Files deleted after one whose deletion may not be on the disk would leave a hole in the log, and
/// no store opens with one.
#[test]
fn no_file_is_deleted_behind_one_whose_deletion_may_come_back() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    // The end lies far from the next file, so that only who deletes has a directory to sync.
    while store.max_physical_offset() < p(4 * LOG_FILE + LOG_FILE / 4) {
        put(&store, "T", 0, &[7; 1000]);
    }
    settle(&store);
    // So that the checkpoint before a deletion has nothing to sync.
    store.close().unwrap();
    drop(store);
    let store = open(root.path());
    let log = root.path().join("commitlog");
    names(&log).iter().take(3).for_each(|name| age(&log, name, 100));
    let armed = arm("directory::sync", Fault::Error(EIO), 0, 1);
    // Or a round of the upkeep met it, at the hour at which old files go by themselves.
    let failed = store.delete_expired();
    assert!(matches!(failed, Err(Error::Sync { .. } | Error::ReadOnly(_))), "{failed:?}");
    drop(armed);
    assert!(matches!(store.delete_expired(), Err(Error::ReadOnly(_))));
    assert_eq!(store.min_physical_offset(), p(LOG_FILE));
    assert_eq!(names(&log)[0], format!("{LOG_FILE:020}"));
    assert!(store.put(&message("T", 0, "", b"late")).is_err());
}

/// It had been taken off the list first: it was not tried again, and a restart brought the file
/// back.
#[test]
fn a_file_that_could_not_be_deleted_is_deleted_in_the_next_round() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..300 {
        put(&store, "T", 0, &[n as u8; 1000]);
    }
    settle(&store);
    let log = root.path().join("commitlog");
    names(&log).iter().take(2).for_each(|name| age(&log, name, 100));
    let armed = arm("commit_log::delete", Fault::Error(EIO), 1, 1);
    assert!(store.delete_expired().is_err());
    drop(armed);
    assert_eq!(store.min_physical_offset(), p(LOG_FILE));
    let first = |store: &MessageStore| store.min_offset("T", 0);
    assert!(first(&store) > q(0), "the queue follows what did go");
    let before = first(&store);
    assert_eq!(store.delete_expired().unwrap(), 1);
    assert_eq!(store.min_physical_offset(), p(2 * LOG_FILE));
    assert!(first(&store) > before);
}

/// The topic had been forgotten first: a second attempt found nothing to do and said so, and a
/// restart brought the queues back.
#[test]
fn a_topic_whose_files_could_not_be_deleted_goes_with_the_next_attempt() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for queue_id in 0..3 {
        put(&store, "T", queue_id, b"x");
        put(&store, "Other", queue_id, b"x");
    }
    settle(&store);
    store.flush().unwrap();
    let queues = root.path().join("consumequeue");
    let deadline = soon();
    while names(&queues).len() < 6 {
        assert!(std::time::Instant::now() < deadline, "the queues are not written");
        std::thread::yield_now();
    }
    let armed = arm("consume_queue::delete", Fault::Error(EIO), 0, 1);
    assert!(store.delete_topic("T").is_err());
    drop(armed);
    assert!(queues.join("T").exists());
    store.delete_topic("T").unwrap();
    assert!(!queues.join("T").exists());
    // No name leads anywhere else.
    for name in ["", ".", "..", "Other/0", "../commitlog"] {
        assert_eq!(store.delete_topic(name).unwrap(), 0);
    }
    assert_eq!((names(&queues).len(), names(&root.path().join("commitlog")).is_empty()), (3, false));
    store.close().unwrap();
    drop(store);
    assert_eq!(open(root.path()).queues("T"), Vec::<i32>::new());
}

/// The log was cut and its queues were not: what came next lay behind places that were never told
/// of, and dispatch stood still.
#[test]
fn a_truncation_that_stops_half_way_ends_writes() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let placed: Vec<_> = (0..100).map(|n| put(&store, "T", 0, &[n; 500])).collect();
    settle(&store);
    let armed = arm("consume_queue::cut", Fault::Error(EIO), 0, 1);
    assert!(store.truncate(placed[50].physical_offset).is_err());
    drop(armed);
    let refused = store.put(&message("T", 0, "", b"late")).unwrap_err();
    assert!(refused.to_string().contains("failed half way"), "{refused}");
    assert!(store.close().is_err());
    drop(store);
    let store = open(root.path());
    settle(&store);
    assert_eq!(read_all(&store, "T", 0).len(), 50);
    assert_eq!(put(&store, "T", 0, b"next").queue_offset, q(50));
}

/// Each attempt left a file behind, under which older ones could not be searched any more.
#[test]
fn an_index_file_that_could_not_be_made_leaves_nothing() {
    let _alone = alone();
    for point in ["index::create", "index::map"] {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        config.index.entries = 20;
        let store = MessageStore::open(config, Vec::new()).unwrap();
        let keyed = |n: usize| store.put(&message("T", 0, &format!("KEYS\u{1}k{n}\u{2}"), b"x")).unwrap();
        for n in 0..19 {
            keyed(n);
        }
        settle(&store);
        let armed = arm(point, Fault::Error(EIO), 0, 1);
        for n in 19..30 {
            keyed(n);
        }
        assert!(armed.wait());
        drop(armed);
        settle(&store);
        let deadline = soon();
        // The figure follows a turn of dispatch, the record it is about may be dispatched before.
        while store.metrics().behind("index") > 0 || names(&root.path().join("index")).len() < 2 {
            assert!(std::time::Instant::now() < deadline, "the index stays behind");
            std::thread::yield_now();
        }
        assert_eq!(names(&root.path().join("index")).len(), 2, "{point}");
        for n in [0, 29] {
            assert_eq!(
                store
                    .query("T", &format!("k{n}"), 9, rmq_store::Millis::new(1), rmq_store::Millis::new(i64::MAX))
                    .unwrap()
                    .records
                    .len(),
                1,
                "{point} k{n}"
            );
        }
    }
}

/// A checkpoint that counted on a file system that was not synced would let the next start skip
/// what the disk does not have.
#[test]
fn very_many_queues_that_cannot_be_synced_end_writes_and_are_read_back() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let queues = 200;
    (0..queues).for_each(|queue| _ = put(&store, "T", queue, b"x"));
    settle(&store);
    let armed = arm("consume_queue::sync_all", Fault::Error(EIO), 0, 1);
    // Its first step is a checkpoint.
    let failed = store.close().unwrap_err();
    assert!(matches!(failed, Error::Sync { .. }) && armed.struck() == 1, "{failed}");
    drop(armed);
    drop(store);
    assert!(store_vouches_for_nothing(root.path()));
    let store = open(root.path());
    settle(&store);
    assert!((0..queues).all(|queue| read_all(&store, "T", queue).len() == 1));
    store.close().unwrap();
    assert!(!store_vouches_for_nothing(root.path()));
}

fn store_vouches_for_nothing(root: &Path) -> bool {
    std::fs::read(root.join("checkpoint")).unwrap()[40..48] == [0; 8]
}

/// A store whose allocation thread had ended refused all messages as late, for ever, and nothing
/// said why.
#[test]
fn a_thread_that_ends_ends_writes_is_told_and_leaves_reads() {
    let _alone = alone();
    for (thread, point) in [
        ("store-allocate", "commit_log::create"),
        ("store-flush", "commit_log::sync"),
        ("store-dispatch", "index::create"),
        ("store-queues", "consume_queue::write"),
        ("store-upkeep", "directory::usage"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        config.flush.interval = std::time::Duration::from_millis(20);
        config.flush.least_pages = 0;
        config.retention.interval = std::time::Duration::from_millis(20);
        let store = MessageStore::open(config, Vec::new()).unwrap();
        put(&store, "T", 0, b"first");
        settle(&store);
        assert!(store.failure().is_none());
        let armed = arm(point, Fault::Panic, 0, 1);
        let deadline = soon();
        while store.failure().is_none() {
            assert!(std::time::Instant::now() < deadline, "nobody has seen that {thread} has ended");
            let _ = store.put(&message("T", 0, "KEYS\u{1}k\u{2}", &[7; 5000]));
        }
        assert!(armed.wait(), "{thread}");
        drop(armed);
        let failure = store.failure().unwrap();
        assert_eq!(failure.why, format!("its thread {thread} panicked"));
        assert_eq!(store.metrics().threads_ended, 1);
        let refused = store.put(&message("T", 0, "", b"late")).unwrap_err();
        assert!(matches!(refused, Error::ReadOnly(_)), "{refused}");
        let end = store.max_physical_offset();
        assert_eq!(store.flushed().wait_until(end + 1, soon()), Err(Halt::Failed));
        assert_eq!(read_all(&store, "T", 0)[0].1, b"first");
        drop(store);
        let store = open(root.path());
        settle(&store);
        assert_eq!(store.max_physical_offset(), end, "{thread}");
        put(&store, "T", 0, b"after");
        store.close().unwrap();
    }
}

/// The error was dropped: a disk that gives no blocks was not told of before a message needed them.
#[test]
fn a_next_file_that_gets_no_blocks_ahead_of_time_gets_them_when_it_is_needed() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    put(&store, "T", 0, b"first");
    // The thread stands in the making of the next file, whose blocks it will ask for next.
    let held = arm("commit_log::sync_new", Fault::Delay(std::time::Duration::from_secs(600)), 0, 1);
    while held.struck() == 0 {
        assert!(store.max_physical_offset() < p(LOG_FILE), "the next file is not made ahead of time");
        put(&store, "T", 0, &[7; 500]);
    }
    let armed = arm("commit_log::allocate", Fault::Error(EIO), 0, 1);
    drop(held);
    assert!(armed.wait());
    while store.max_physical_offset() < p(2 * LOG_FILE) {
        put(&store, "T", 0, &[7; 500]);
    }
    assert!(armed.struck() == 1 && store.failure().is_none());
    settle(&store);
    store.close().unwrap();
}
