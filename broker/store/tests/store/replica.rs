use std::path::Path;
use std::time::{Duration, Instant};

use rmq_store::{Error, Halt, LogOffset, MessageStore};

use crate::support::*;

fn master(root: &Path, messages: u64) -> MessageStore {
    let store = open(root);
    let mut random = Random(7);
    for n in 0..messages {
        let mut body = n.to_be_bytes().to_vec();
        let len = random.below(3000) as usize;
        body.extend(random.bytes(len));
        store.put(&message("T", (n % 3) as i32, &format!("KEYS\u{1}k{n}\u{2}"), &body)).unwrap();
    }
    settle(&store);
    store
}

/// Copies from the end of the replica's log up to `to`, in pieces of odd sizes that end anywhere.
fn follow(master: &MessageStore, replica: &MessageStore, to: LogOffset) {
    let mut random = Random(to.get());
    let mut at = replica.max_physical_offset();
    while at < to {
        let bytes = master.read(at, (1 + random.below(5000)).min(to - at) as usize).unwrap();
        replica.append_replica(at, &bytes).unwrap();
        at += bytes.len() as u64;
    }
}

fn same_log(a: &MessageStore, b: &MessageStore, from: LogOffset) {
    let mut at = from;
    while at < a.max_physical_offset() {
        let bytes = a.read(at, 10_000).unwrap();
        assert_eq!(bytes, b.read(at, bytes.len()).unwrap(), "at {at}");
        at += bytes.len() as u64;
    }
    assert_eq!(a.max_physical_offset(), b.max_physical_offset());
}

#[test]
fn a_replica_becomes_byte_for_byte_the_same_and_can_take_over() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (master, replica) = (master(one.path(), 150), open(two.path()));
    let end = master.max_physical_offset();
    // First only up to the middle of a record.
    let middle = p(end.get() - 10);
    follow(&master, &replica, middle);
    assert_eq!(
        replica.append_replica(p(3), b"x").unwrap_err().to_string(),
        format!("offset 3 is outside of {middle}..{middle}")
    );
    let whole = Instant::now() + Duration::from_secs(30);
    assert!(matches!(replica.put(&message("T", 0, "", b"x")), Err(Error::PartialTail { .. })));
    follow(&master, &replica, end);
    assert_eq!(replica.dispatched().wait_until(end, whole), Ok(true));
    same_log(&master, &replica, p(0));
    for queue in 0..3 {
        assert_eq!(read_all(&master, "T", queue), read_all(&replica, "T", queue));
    }
    assert_eq!(replica.query("T", "k77", 9, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(), 1);
    let (a, b) = (put(&master, "T", 0, b"x"), put(&replica, "T", 0, b"x"));
    assert_eq!((a.physical_offset, a.queue_offset), (b.physical_offset, b.queue_offset));
    replica.close().unwrap();
    assert_eq!(read_all(&open(two.path()), "T", 0).len(), 51);
}

#[test]
fn an_empty_replica_may_begin_at_its_masters_last_file() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (master, replica) = (master(one.path(), 150), open(two.path()));
    let end = master.max_physical_offset();
    let begin = p(end.get() / LOG_FILE * LOG_FILE);
    assert!(begin > p(0));
    assert!(matches!(replica.append_replica(begin + 1, b"x"), Err(Error::OutOfRange { .. })));
    let mut at = begin;
    while at < end {
        let bytes = master.read(at, 700).unwrap();
        replica.append_replica(at, &bytes).unwrap();
        at += bytes.len() as u64;
    }
    settle(&replica);
    same_log(&master, &replica, begin);
    assert_eq!(replica.min_physical_offset(), begin);
    for queue in 0..3 {
        let (all, part) = (read_all(&master, "T", queue), read_all(&replica, "T", queue));
        assert!(!part.is_empty() && all.ends_with(&part));
        assert_eq!(replica.min_offset("T", queue), q(part[0].0));
    }
    replica.close().unwrap();
    let replica = open(two.path());
    assert_eq!((replica.min_physical_offset(), replica.max_physical_offset()), (begin, end));
    assert!(read_all(&master, "T", 0).ends_with(&read_all(&replica, "T", 0)));
}

/// Dispatch, woken by the jump, looked for what lies before it and went no further.
#[test]
fn a_replica_that_begins_at_its_masters_last_file_goes_on_to_dispatch() {
    let one = tempfile::tempdir().unwrap();
    let master = master(one.path(), 150);
    let end = master.max_physical_offset();
    let begin = p(end.get() / LOG_FILE * LOG_FILE);
    let bytes = master.read(begin, (end - begin) as usize).unwrap();
    for _ in 0..100 {
        let two = tempfile::tempdir().unwrap();
        let replica = open(two.path());
        replica.append_replica(begin, &bytes).unwrap();
        replica.close().unwrap();
    }
}

#[test]
fn a_truncated_tail_is_gone_and_another_can_come() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let placed: Vec<_> = (0..150).map(|n: u64| put(&store, "T", (n % 3) as i32, &[n as u8; 1500])).collect();
    settle(&store);
    let held = store.read(placed[100].physical_offset, 1000).unwrap();
    let before = held.to_vec();
    let flushed = placed[149].end + 1;
    let waiter = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.flushed().wait_until(flushed, Instant::now() + Duration::from_secs(30)));
        while store.flushed().waiting() == 0 {
            std::thread::yield_now();
        }
        assert!(matches!(store.truncate(placed[70].physical_offset + 1), Err(Error::OutOfRange { .. })));
        store.flush().unwrap();
        store.truncate(placed[70].physical_offset).unwrap();
        waiter.join().unwrap()
    });
    assert_eq!(waiter, Err(Halt::Rewound), "who waits for bytes that are cut off must not be told of others");
    assert_eq!(store.max_physical_offset(), placed[70].physical_offset);
    assert_eq!(read_all(&store, "T", 0).len(), 24);
    assert_eq!((store.max_offset("T", 1), store.max_offset("T", 2)), (q(23), q(23)));
    for _ in 0..90 {
        put(&store, "T", 1, &[0xEE; 700]);
    }
    settle(&store);
    assert_eq!(held, before, "bytes a reader holds must not change");
    assert_eq!(read_all(&store, "T", 1).len(), 23 + 90);
    drop(store);
    let store = open(root.path());
    assert_eq!(
        (read_all(&store, "T", 0).len(), read_all(&store, "T", 1).len(), read_all(&store, "T", 2).len()),
        (24, 113, 23)
    );
    assert!(names(&root.path().join("commitlog")).iter().all(|name| name.len() == 20));
}

#[test]
fn truncation_survives_a_crash_right_behind_it_at_every_record() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let placed: Vec<_> = (0..60).map(|n: u64| put(&store, "T", 0, &[n as u8; 3000])).collect();
    store.close().unwrap();
    for kept in [0, 1, 20, 21, 22, 41, 59, 60] {
        let copied = tempfile::tempdir().unwrap();
        copy(root.path(), copied.path());
        let to = placed.get(kept).map_or(placed[59].end, |place| place.physical_offset);
        let store = open(copied.path());
        settle(&store);
        store.truncate(to).unwrap();
        drop(store);
        let store = open(copied.path());
        assert_eq!((store.max_physical_offset(), read_all(&store, "T", 0).len()), (to, kept));
        assert_eq!(put(&store, "T", 0, b"next").queue_offset, q(kept as u64));
    }
}

/// What a master sends goes to its place in the log or nowhere, and what it holds ends neither the
/// process nor dispatch but by saying so.
#[test]
fn pieces_that_no_master_sends_are_refused_or_end_writes_and_never_the_process() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random(seed);
    let one = tempfile::tempdir().unwrap();
    let master = master(one.path(), 20);
    for _ in 0..60 {
        let two = tempfile::tempdir().unwrap();
        let replica = open(two.path());
        let far = [u64::MAX, 1 << 63, u64::MAX - LOG_FILE + 1, (i64::MAX as u64 + 1) - LOG_FILE, LOG_FILE * 3];
        for _ in 0..8 {
            let end = replica.max_physical_offset();
            let (offset, bytes) = match random.below(4) {
                // Some of the real log with bytes changed.
                0 | 1 if end < master.max_physical_offset() => {
                    let len = 1 + random.below(3000).min(master.max_physical_offset() - end - 1);
                    let mut bytes = master.read(end, len as usize).unwrap().to_vec();
                    for _ in 0..random.below(3) {
                        let at = random.below(bytes.len() as u64) as usize;
                        bytes[at] = random.next() as u8;
                    }
                    (end, bytes)
                }
                2 => (p(far[random.below(far.len() as u64) as usize]), vec![0; random.below(64) as usize]),
                _ => {
                    let len = random.below(200) as usize;
                    (if random.below(2) == 0 { end } else { p(random.next()) }, random.bytes(len))
                }
            };
            let taken = replica.append_replica(offset, &bytes);
            if offset != end && end != p(0) && !bytes.is_empty() {
                assert!(matches!(taken, Err(Error::OutOfRange { .. } | Error::ReadOnly(_))), "{offset}: {taken:?}");
            }
            if replica.failure().is_some() {
                break;
            }
        }
        assert!(replica.metrics().threads_ended == 0, "a thread ended: {:?}", replica.failure());
    }
}
