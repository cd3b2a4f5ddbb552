use std::time::{Duration, Instant};

use rmq_store::fail_point::{Fault, arm};
use rmq_store::{Deadline, Error, FlushMode, MessageStore};

use crate::support::*;
use crate::{ALWAYS, alone, soon};

#[test]
fn a_flush_of_two_seconds_lets_waiters_time_out_and_readers_go_on() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.flush.mode = FlushMode::Sync;
    config.consume_queue_buffer = 4 << 10;
    let store = MessageStore::open(config, Vec::new()).unwrap();
    let slow = arm("commit_log::sync", Fault::Delay(Duration::from_secs(2)), 0, 1);
    let first = put(&store, "T", 0, &[0; 500]);
    assert!(slow.wait());
    let begun = Instant::now();
    let placed: Vec<_> = (1..400).map(|n: u64| put(&store, "T", 0, &[n as u8; 500])).collect();
    let end = placed.last().unwrap().end;
    let deadline = Instant::now() + Duration::from_millis(200);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = placed
            .iter()
            .step_by(20)
            .map(|place| scope.spawn(|| store.flushed().wait_until(place.end, deadline)))
            .collect();
        waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), Ok(false)));
    });
    settle(&store);
    assert_eq!(read_all(&store, "T", 0).len(), 400);
    let figures = store.metrics();
    assert!(begun.elapsed() < Duration::from_millis(1500), "somebody waited for the disk: {:?}", begun.elapsed());
    assert!(figures.flushed < first.end && figures.refusing.is_none());
    assert_eq!(store.flushed().waiting(), 0, "who has given up is forgotten");
    assert!(figures.consume_queue_pending <= 4 << 10);
    // One flush more takes all that came meanwhile.
    assert_eq!(store.flushed().wait_until(end, soon()), Ok(true));
    assert_eq!(slow.struck(), 1);
    let flushes = store.metrics().flush_times;
    assert!(flushes.max >= Duration::from_secs(2) && flushes.count() <= 3, "{flushes:?}");
}

#[test]
fn a_disk_that_gives_no_blocks_in_time_refuses_a_message_and_takes_the_next() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    put(&store, "T", 0, b"before");
    settle(&store);
    let slow = arm("commit_log::allocate", Fault::Delay(Duration::from_secs(600)), 0, ALWAYS);
    let mut taken = 1;
    let refused = loop {
        match store.put(&message("T", 0, "", &[1; 4000])) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Stalled), "{refused}");
    settle(&store);
    assert_eq!(read_all(&store, "T", 0).len(), taken);
    drop(slow);
    assert_eq!(put(&store, "T", 0, b"after").queue_offset, q(taken as u64));
}

/// A put waited for blocks on whatever thread it was called.
#[test]
fn a_put_that_may_not_wait_for_blocks_returns_at_once_and_reads_go_on() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    put(&store, "T", 0, b"before");
    let slow = arm("commit_log::allocate", Fault::Delay(Duration::from_secs(600)), 0, ALWAYS);
    let at_hand = || store.put_within(&message("T", 0, "", &[1; 4000]), Deadline::Now).unwrap();
    let (mut taken, deadline) = (1, Instant::now() + Duration::from_secs(60));
    // Until the disk is waited for, what it gave before may still be made ready.
    loop {
        let waits = slow.struck() > 0;
        if at_hand().is_some() {
            taken += 1;
        } else if waits {
            break;
        }
        assert!(Instant::now() < deadline, "nobody asked for blocks");
    }
    settle(&store);
    let missed = store.metrics().puts_would_block;
    let end = store.max_physical_offset();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (store.put(&message("T", 0, "", &[2; 4000])), begun.elapsed()));
        assert!(slow.wait());
        for _ in 0..100 {
            assert_eq!(at_hand(), None);
            let batch = [message("T", 0, "", &[3; 3000]), message("T", 0, "", &[3; 3000])];
            assert_eq!(store.put_batch_within(&batch, Deadline::Now).unwrap(), None);
            // Longer than the record of the messages that had no room.
            assert_eq!(store.append_replica_nonblocking(end, &[4; 5000]).unwrap(), 0);
        }
        assert_eq!(read_all(&store, "T", 0).len(), taken);
        assert!(!waiting.is_finished(), "somebody waited for the disk: {:?}", begun.elapsed());
        let (refused, waited) = waiting.join().unwrap();
        assert!(matches!(refused, Err(Error::Stalled)), "{refused:?}");
        // Java's clients would wait for 3 s.
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    });
    let figures = store.metrics();
    assert_eq!((figures.puts_would_block, figures.put_failures, figures.appended), (missed + 200, 1, end));
    drop(slow);
    assert_eq!(put(&store, "T", 0, b"after").queue_offset, q(taken as u64));
}

#[test]
fn consume_queues_on_a_slow_disk_hold_up_dispatch_when_the_buffer_is_full_and_nobody_else() {
    let _alone = alone();
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.consume_queue_buffer = 2000;
    let store = MessageStore::open(config, Vec::new()).unwrap();
    let slow = arm("consume_queue::write", Fault::Delay(Duration::from_secs(600)), 0, ALWAYS);
    let begun = Instant::now();
    // Entries of 20 bytes; a turn of dispatch is 256 of them.
    let end = (0..1000).map(|n: u64| put(&store, "T", 0, &n.to_be_bytes()).end).last().unwrap();
    assert!(slow.wait());
    assert_eq!(store.dispatched().wait_until(end, Instant::now() + Duration::from_millis(300)), Ok(false));
    let figures = store.metrics();
    assert!(figures.consume_queue_pending <= 2000 + 256 * 20, "{}", figures.consume_queue_pending);
    assert!(!get(&store, "T", 0, 0).records.is_empty());
    store.flush().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(slow);
    settle(&store);
    assert_eq!(read_all(&store, "T", 0).len(), 1000);
}
