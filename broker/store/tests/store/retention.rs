use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rmq_store::{GetStatus, MessageStore, Needed, offline};

use crate::support::*;

fn log(root: &tempfile::TempDir) -> PathBuf {
    root.path().join("commitlog")
}

#[test]
fn expired_files_go_and_queues_and_index_follow() {
    let root = tempfile::tempdir().unwrap();
    let mut small = config(root.path());
    small.index.entries = 60;
    let open = || MessageStore::open(small.clone(), Vec::new()).unwrap();
    let store = open();
    let placed: Vec<_> = (0..400_u64)
        .map(|n| {
            let topic = if n < 100 { "old" } else { "T" };
            store.put(&message(topic, 0, "KEYS\u{1}k\u{2}", &[n as u8; 1000])).unwrap()
        })
        .collect();
    settle(&store);
    store.flush().unwrap();
    let files = names(&log(&root));
    // Somebody is still reading the oldest file.
    let held = store.read(p(0), 5000).unwrap();
    let before = held.to_vec();
    assert_eq!(store.delete_expired().unwrap(), 0);
    // The fourth is too young, so the fifth stays too.
    [100, 80, 73, 71, 100].iter().zip(&files).for_each(|(hours, name)| age(&log(&root), name, *hours));
    assert_eq!(store.delete_expired().unwrap(), 3);

    let min = p(3 * LOG_FILE);
    assert_eq!(store.min_physical_offset(), min);
    assert!(!names(&log(&root)).contains(&files[2]));
    let first = placed.iter().position(|place| place.physical_offset >= min).unwrap();
    assert_eq!(store.min_offset("T", 0), q(first as u64 - 100));
    assert_eq!(get(&store, "T", 0, 0).status, GetStatus::OffsetTooSmall);
    assert_eq!(read_all(&store, "T", 0).len(), 400 - first);
    // All of its messages are gone; its numbers go on.
    assert_eq!((store.min_offset("old", 0), store.max_offset("old", 0)), (q(100), q(100)));
    assert_eq!(put(&store, "old", 0, b"new").queue_offset, q(100));
    assert_eq!(
        names(&root.path().join("consumequeue/T/0"))[0],
        format!("{:020}", (first as u64 - 100) / 20 * QUEUE_FILE)
    );
    assert_eq!(
        store.query("T", "k", 1000, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(),
        400 - first
    );
    // 59 keys a file: those of messages before the first one are gone.
    assert_eq!(names(&root.path().join("index")).len(), 7 - first / 59);
    assert!(store.earliest_timestamp().is_some());
    assert!(store.read(p(0), 10).is_err() && store.record(placed[0].physical_offset).is_none());
    assert_eq!(held, before);

    drop(store);
    let store = open();
    assert_eq!((store.min_physical_offset(), store.min_offset("T", 0)), (min, q(first as u64 - 100)));
    assert_eq!((store.max_offset("old", 0), read_all(&store, "T", 0).len()), (q(101), 400 - first));
}

#[test]
fn another_age_holds_at_once_and_nonsense_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..200 {
        put(&store, "T", 0, &[n as u8; 1000]);
    }
    settle(&store);
    store.flush().unwrap();
    names(&log(&root)).iter().take(2).for_each(|name| age(&log(&root), name, 10));
    let with = |change: fn(&mut rmq_store::Retention)| {
        let mut retention = store.config().retention.clone();
        change(&mut retention);
        store.set_retention(retention)
    };
    let refused = with(|retention| retention.delete_when = vec![25]).unwrap_err();
    assert!(refused.to_string().contains("hour 25"));
    assert_eq!(store.delete_expired().unwrap(), 0);
    with(|retention| retention.reserved = Duration::from_secs(9 * 3600)).unwrap();
    assert_eq!(store.delete_expired().unwrap(), 2);
}

/// Ten files of many went when somebody asked, and the others waited for their hour: Java makes
/// twenty rounds.
#[test]
fn files_that_one_round_leaves_go_with_those_that_follow_up_to_twenty() {
    let root = tempfile::tempdir().unwrap();
    let mut busy = config(root.path());
    (busy.retention.batch_max, busy.retention.interval) = (1, Duration::from_millis(5));
    let store = MessageStore::open(busy, Vec::new()).unwrap();
    while store.max_physical_offset() < p(24 * LOG_FILE) {
        put(&store, "T", 0, &[1; 30_000]);
    }
    settle(&store);
    store.flush().unwrap();
    names(&log(&root)).iter().for_each(|name| age(&log(&root), name, 100));
    assert_eq!(store.delete_expired().unwrap(), 1);
    let deadline = Instant::now() + Duration::from_secs(30);
    let gone = || store.min_physical_offset().get() / LOG_FILE;
    while gone() < 20 {
        assert!(Instant::now() < deadline, "{} files are gone", gone());
        std::thread::yield_now();
    }
    let mut retention = store.config().retention.clone();
    (retention.clean_forcibly, retention.refuse_writes, retention.forcibly_enabled) = (1, 1, false);
    store.set_retention(retention).unwrap();
    if store.disk_use().unwrap().deciding() <= 1.0 {
        skipped("the disk is less than one percent full: set TMPDIR to a directory on a fuller one");
        return;
    }
    while store.writable().is_ok() {
        assert!(Instant::now() < deadline, "no further round");
        std::thread::yield_now();
    }
    assert_eq!(gone(), 20);
}

/// Files expired while a new slave copied the log: it began anew for ever, or ended with a hole.
#[test]
fn expired_files_stay_while_a_reader_has_yet_to_copy_them() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    while store.max_physical_offset() < p(4 * LOG_FILE) {
        put(&store, "T", 0, &[1; 1000]);
    }
    settle(&store);
    store.flush().unwrap();
    names(&log(&root)).iter().for_each(|name| age(&log(&root), name, 100));
    let from = Arc::new(AtomicU64::new(LOG_FILE + 1));
    let reader = Arc::clone(&from);
    store.set_needs(Box::new(move || {
        let from = reader.load(Ordering::SeqCst);
        (from < u64::MAX).then(|| Needed { from: p(from), by: "a slave".to_owned() })
    }));
    assert_eq!(store.delete_expired().unwrap(), 1, "what it has copied");
    assert_eq!((store.min_physical_offset(), store.metrics().held_bytes), (p(LOG_FILE), 3 * LOG_FILE));
    from.store(2 * LOG_FILE, Ordering::SeqCst);
    assert_eq!(store.delete_expired().unwrap(), 1);
    from.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(store.delete_expired().unwrap(), 2);
    assert_eq!((store.min_physical_offset(), store.metrics().held_bytes), (p(4 * LOG_FILE), 0));
}

#[test]
fn files_that_a_reader_needs_go_when_the_disk_is_short_of_space() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    while store.max_physical_offset() < p(4 * LOG_FILE) {
        put(&store, "T", 0, &[1; 1000]);
    }
    settle(&store);
    store.set_needs(Box::new(|| Some(Needed { from: p(0), by: "a slave".to_owned() })));
    let mut retention = store.config().retention.clone();
    (retention.clean_forcibly, retention.reserved) = (1, Duration::ZERO);
    if store.disk_use().unwrap().deciding() <= 1.0 {
        skipped("the disk is less than one percent full: set TMPDIR to a directory on a fuller one");
        return;
    }
    store.set_retention(retention).unwrap();
    // The upkeep thread may have been first.
    store.delete_expired().unwrap();
    assert_eq!((store.min_physical_offset(), store.metrics().held_bytes), (p(4 * LOG_FILE), 0));
}

#[test]
fn the_last_file_stays_however_old() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    put(&store, "T", 0, b"x");
    settle(&store);
    names(&log(&root)).iter().for_each(|name| age(&log(&root), name, 1000));
    assert_eq!(store.delete_expired().unwrap(), 0);
    assert_eq!(read_all(&store, "T", 0).len(), 1);
}

#[test]
fn a_disk_fuller_than_allowed_refuses_writes_and_cleans_by_force() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..300 {
        put(&store, "T", 0, &[n as u8; 1000]);
    }
    store.close().unwrap();
    let mut config = config(root.path());
    // Whatever this machine's disk holds, it is above one percent, or the test has nothing to say.
    (config.retention.clean_forcibly, config.retention.refuse_writes) = (1, 1);
    let store = MessageStore::open(config, Vec::new()).unwrap();
    if store.disk_use().unwrap().commit_log <= 1.0 {
        skipped("the disk is less than one percent full: set TMPDIR to a directory on a fuller one");
        return;
    }
    settle(&store);
    // The upkeep thread may have been first.
    store.delete_expired().unwrap();
    assert!(matches!(store.put(&message("T", 0, "", b"x")), Err(rmq_store::Error::Full { .. })));
    assert!(store.metrics().refusing.is_some());
    assert!(store.max_physical_offset() - store.min_physical_offset() <= LOG_FILE);
    assert!(!read_all(&store, "T", 0).is_empty());
}

/// Its numbers began at 0 again: its file was not on the disk when the records of all its entries
/// went, or was deleted as one without entries.
#[test]
fn a_queue_whose_messages_are_all_gone_keeps_its_numbers_over_a_crash() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let per_file = QUEUE_FILE / 20;
    (0..per_file).for_each(|_| _ = put(&store, "Old", 0, b"x"));
    while store.max_physical_offset() <= p(LOG_FILE) {
        put(&store, "T", 0, &[1; 1000]);
    }
    let last = put(&store, "Old", 0, b"x");
    settle(&store);
    age(&log(&root), &format!("{:020}", 0), 100);
    assert_eq!(store.delete_expired().unwrap(), 1);
    let checkpoint = std::fs::read(root.path().join("checkpoint")).unwrap();
    assert_eq!(
        checkpoint[40..48],
        last.physical_offset.get().to_be_bytes(),
        "what a power cut leaves of the queue is not known"
    );
    assert_eq!(names(&root.path().join("consumequeue/Old/0")), [format!("{QUEUE_FILE:020}")]);

    store.truncate(last.physical_offset).unwrap();
    drop(store);
    assert_eq!(
        offline::check(&offline::Place { index_slots: 50, ..offline::Place::new(root.path()) }).unwrap().damages,
        0
    );
    let store = open(root.path());
    assert_eq!((store.min_offset("Old", 0), store.max_offset("Old", 0)), (q(per_file), q(per_file)));
    assert_eq!(put(&store, "Old", 0, b"x").queue_offset, q(per_file));
}
