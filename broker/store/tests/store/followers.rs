//! A follower that a broker adds, with a place of its own in the log.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rmq_store::{Dispatched, Error, Follower, LogOffset, MessageStore, Result};

use crate::support::{config, message, read_all, settle};

/// Notes the records it takes, and on the disk how far it has come.
#[derive(Default)]
struct Notes {
    taken: Mutex<Vec<LogOffset>>,
    durable: AtomicU64,
    full: AtomicBool,
}

impl Follower for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn take(&self, dispatched: &Dispatched<'_>) -> Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::Refused("no room".into()));
        }
        self.taken.lock().unwrap().push(LogOffset::of(dispatched.record));
        Ok(())
    }

    fn place(&self) -> Option<LogOffset> {
        Some(LogOffset::new(self.durable.load(Ordering::SeqCst)))
    }

    fn sync(&self, place: LogOffset) -> Result<()> {
        self.durable.store(place.get(), Ordering::SeqCst);
        Ok(())
    }

    fn truncate(&self, to: LogOffset) -> Result<()> {
        self.taken.lock().unwrap().retain(|offset| *offset < to);
        self.durable.fetch_min(to.get(), Ordering::SeqCst);
        Ok(())
    }
}

impl Notes {
    fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    fn is_in_order(&self) -> bool {
        self.taken.lock().unwrap().array_windows().all(|[one, next]| one < next)
    }
}

fn open(root: &Path, notes: &Arc<Notes>) -> MessageStore {
    MessageStore::open(config(root), vec![Arc::clone(notes) as Arc<dyn Follower>]).unwrap()
}

fn put(store: &MessageStore, count: usize) -> LogOffset {
    let puts = (0..count).map(|_| store.put(&message("T", 0, "", b"x")).unwrap().physical_offset);
    let first = puts.collect::<Vec<_>>()[0];
    settle(store);
    first
}

fn wait_until(what: &str, there: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_follower_with_its_own_place_takes_every_record_once() {
    let root = tempfile::tempdir().unwrap();
    let store = MessageStore::open(config(root.path()), Vec::new()).unwrap();
    put(&store, 3000);
    store.close().unwrap();
    drop(store);
    let notes = Arc::new(Notes::default());
    // It is new, and the log has old records.
    let store = open(root.path(), &notes);
    wait_until("the old records come", || notes.count() == 3000 && store.metrics().behind("notes") == 0);
    put(&store, 100);
    assert_eq!((notes.count(), notes.is_in_order()), (3100, true));
    store.close().unwrap();
    assert_eq!(notes.place(), Some(store.max_physical_offset()));
    drop(store);
    let store = open(root.path(), &notes);
    put(&store, 10);
    assert_eq!((notes.count(), notes.is_in_order()), (3110, true));
    // Killed: what it had not made durable comes again.
    drop(store);
    let store = open(root.path(), &notes);
    wait_until("the last records come again", || notes.count() == 3120);
    assert_eq!(store.metrics().behind("notes"), 0);
}

#[test]
fn a_follower_that_cannot_go_on_holds_up_no_other() {
    let root = tempfile::tempdir().unwrap();
    let notes = Arc::new(Notes::default());
    let store = open(root.path(), &notes);
    put(&store, 5);
    notes.full.store(true, Ordering::SeqCst);
    put(&store, 20);
    assert_eq!((read_all(&store, "T", 0).len(), notes.count()), (25, 5));
    wait_until("the metric tells", || store.metrics().behind("notes") > 0);
    assert_eq!(store.metrics().behind("index"), 0);
    // What it lacks is not taken for durable.
    store.close().unwrap();
    drop(store);
    notes.full.store(false, Ordering::SeqCst);
    let store = open(root.path(), &notes);
    wait_until("it catches up", || notes.count() == 25 && store.metrics().behind("notes") == 0);
    assert!(notes.is_in_order());
}

#[test]
fn a_follower_forgets_what_a_truncation_takes() {
    let root = tempfile::tempdir().unwrap();
    let notes = Arc::new(Notes::default());
    let store = open(root.path(), &notes);
    put(&store, 10);
    let cut = put(&store, 10);
    store.truncate(cut).unwrap();
    assert_eq!(notes.count(), 10);
    put(&store, 3);
    assert_eq!((notes.count(), notes.is_in_order()), (13, true));
    // The log is shorter than what it made durable, as after a power cut.
    store.close().unwrap();
    drop(store);
    notes.durable.store(u64::MAX, Ordering::SeqCst);
    let store = open(root.path(), &notes);
    put(&store, 2);
    assert_eq!((notes.count(), notes.is_in_order()), (15, true));
}
