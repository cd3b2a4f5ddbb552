use std::time::Instant;

use rmq_store::fail_point::{Fault, arm};
use rmq_store::{Error, MessageStore};

use crate::support::*;
use crate::{ALWAYS, ENOSPC, alone, soon};

/// Puts until one is refused; returns how many were taken and why it ended.
fn fill(store: &MessageStore) -> (u64, Error) {
    let mut taken = 0;
    loop {
        match store.put(&message("T", 0, "KEYS\u{1}k\u{2}", &[1; 3000])) {
            Ok(_) => taken += 1,
            Err(error) => return (taken, error),
        }
    }
}

#[test]
fn without_space_writes_are_refused_and_reads_go_on_until_there_is_some() {
    let _alone = alone();
    for point in ["commit_log::allocate", "commit_log::create"] {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let mut taken = 0;
        for round in 0..3 {
            let full = arm(point, Fault::Error(ENOSPC), 0, ALWAYS);
            for _ in 0..3 {
                let (more, refused) = fill(&store);
                assert!(matches!(refused, Error::Full { .. }), "{point}: {refused}");
                taken += more;
            }
            drop(full);
            // Nobody has to do anything: the next message is taken.
            assert_eq!(put(&store, "T", 0, &[2; 3000]).queue_offset, q(taken), "{point}, round {round}");
            taken += 1;
            settle(&store);
            assert_eq!(read_all(&store, "T", 0).len() as u64, taken);
        }
        store.flush().unwrap();
        drop(store);
        let store = open(root.path());
        assert_eq!(read_all(&store, "T", 0).len() as u64, taken);
    }
}

#[test]
fn queues_and_index_without_space_catch_up_when_there_is_some() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let full = ["consume_queue::create", "consume_queue::write", "index::create", "index::allocate"]
        .map(|point| arm(point, Fault::Error(ENOSPC), 0, ALWAYS));
    for n in 0..100 {
        store.put(&message("T", 0, &format!("KEYS\u{1}k{n}\u{2}"), b"x")).unwrap();
    }
    settle(&store);
    // From memory, where they wait.
    assert_eq!(read_all(&store, "T", 0).len(), 100);
    assert!(full[0].wait() && full[2].wait());
    let deadline = soon();
    // The figure follows a turn of dispatch.
    while store.metrics().behind("index") == 0 {
        assert!(Instant::now() < deadline, "nobody says that the index is behind");
        std::thread::yield_now();
    }
    assert!(store.close().is_err());
    drop(full);
    drop(store);
    let store = open(root.path());
    assert_eq!(read_all(&store, "T", 0).len(), 100);
    assert_eq!(
        store.query("T", "k99", 9, rmq_store::Millis::new(0), rmq_store::Millis::new(i64::MAX)).unwrap().records.len(),
        1
    );
}

/// The index asked for the blocks of its next entries before it had any, and a broker whose disk
/// was full could not start.
#[test]
fn a_start_without_space_does_without_the_index_until_there_is_some() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let keyed = |store: &MessageStore, n| store.put(&message("T", 0, &format!("KEYS\u{1}k{n}\u{2}"), b"x")).unwrap();
    let store = open(root.path());
    (0..20).for_each(|n| _ = keyed(&store, n));
    store.close().unwrap();
    drop(store);
    let store = open(root.path());
    (20..40).for_each(|n| _ = keyed(&store, n));
    settle(&store);
    drop(store);
    let full = arm("index::allocate", Fault::Error(ENOSPC), 0, ALWAYS);
    let store = open(root.path());
    assert!(full.struck() > 0 && store.metrics().behind("index") > 0);
    assert_eq!(read_all(&store, "T", 0).len(), 40);
    drop(full);
    every_key_is_found(&store, 40);
}

/// The header of the index went on to tell of the last record, whose entries the start had wiped;
/// it was never added again.
#[test]
fn a_stop_after_a_start_without_space_leaves_no_message_out_of_the_index() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..20 {
        store.put(&message("T", 0, &format!("KEYS\u{1}k{n}\u{2}"), b"x")).unwrap();
    }
    store.close().unwrap();
    drop(store);
    // Killed at rest: its checkpoint has all there is.
    drop(open(root.path()));
    let full = arm("index::allocate", Fault::Error(ENOSPC), 0, ALWAYS);
    let store = open(root.path());
    assert!(full.struck() > 0);
    // Stopped to make room.
    store.close().unwrap();
    drop(full);
    drop(store);
    every_key_is_found(&open(root.path()), 20);
}

fn every_key_is_found(store: &MessageStore, count: u32) {
    let deadline = soon();
    while store.metrics().behind("index") > 0 {
        assert!(Instant::now() < deadline, "the index stays behind");
        std::thread::yield_now();
    }
    for n in 0..count {
        assert_eq!(
            store
                .query("T", &format!("k{n}"), 9, rmq_store::Millis::new(0), rmq_store::Millis::new(i64::MAX))
                .unwrap()
                .records
                .len(),
            1,
            "k{n}"
        );
    }
}
