//! One queue as this member consumes it: the messages that were pulled and are not finished, and
//! the offset that the group may commit.
//!
//! ```text
//!   committed <= commit() <= every unfinished offset
//!   commit()  <= next                                   (next: where the next pull begins)
//! ```
//! Messages are finished in any order; the commit moves past a message only when all before it are
//! finished. So after a crash messages are consumed again, and never skipped.

use parking_lot::Mutex;
use rmq_protocol::message::{MessageExt, MessageQueue};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most messages of one queue that may wait or be consumed.
const MAX_MESSAGES: usize = 1000;
/// Bytes of their bodies.
const MAX_BYTES: usize = 100 * 1024 * 1024;
/// The largest distance between the oldest unfinished message and the newest: one that hangs must
/// not let the rest advance without limit, because a restart consumes all of it again.
const MAX_SPAN: i64 = 2000;
/// The client's own timeout of a broker's lock, which the broker releases after 60 seconds.
const LOCK: Duration = Duration::from_secs(30);

pub(super) struct Queue {
    pub(super) name: MessageQueue,
    state: Mutex<State>,
    /// There are messages to deliver.
    pub(super) work: Notify,
    /// Messages were finished.
    pub(super) room: Notify,
    /// Ends its pulling and delivery.
    pub(super) stop: CancellationToken,
    /// Another member has it now: functions that still run here do not count any more.
    pub(super) lost: AtomicBool,
    /// Its offset is being reset: nothing is committed any more.
    pub(super) moved: AtomicBool,
    /// The id of the member of the broker group to pull from.
    pub(super) suggested_broker: AtomicI64,
    /// The stored offset; -1 if there is none or it is unknown.
    pub(super) committed: AtomicI64,
    /// In milliseconds since 1970.
    pub(super) last_pull: AtomicI64,
    pub(super) last_consume: AtomicI64,
    pub(super) last_lock: AtomicI64,
    locked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct State {
    /// Sorted; not delivered yet.
    waiting: VecDeque<MessageExt>,
    /// Sizes of the waiting and the delivered messages, by offset.
    unfinished: BTreeMap<i64, usize>,
    bytes: usize,
    next: i64,
}

/// The state of a queue at a moment.
pub(super) struct Contents {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) min: i64,
    pub(super) max: i64,
    /// Delivered and not finished.
    pub(super) running: usize,
}

impl Queue {
    /// A queue to be pulled from `next` on.
    pub(super) fn new(name: MessageQueue, next: i64, stop: CancellationToken) -> Self {
        Self {
            name,
            state: Mutex::new(State { next, ..State::default() }),
            work: Notify::new(),
            room: Notify::new(),
            stop,
            lost: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            suggested_broker: AtomicI64::new(0),
            committed: AtomicI64::new(-1),
            last_pull: AtomicI64::new(0),
            last_consume: AtomicI64::new(0),
            last_lock: AtomicI64::new(0),
            locked: Mutex::default(),
        }
    }

    /// Where the next pull begins.
    pub(super) fn next(&self) -> i64 {
        self.state.lock().next
    }

    /// Adds the messages of a pull, whose next offset is `next`.
    pub(super) fn add(&self, messages: Vec<MessageExt>, next: i64) {
        let mut state = self.state.lock();
        for message in messages {
            let size = message.message.body.len();
            if let Some(replaced) = state.unfinished.insert(message.queue_offset as i64, size) {
                state.bytes -= replaced;
            }
            state.bytes += size;
            state.waiting.push_back(message);
        }
        state.next = next;
        drop(state);
        self.work.notify_one();
    }

    /// Continues at another offset: the broker responded that the offset is not in the queue.
    pub(super) fn move_to(&self, next: i64) {
        self.state.lock().next = next;
    }

    /// The next messages, at most `max`.
    pub(super) fn take(&self, max: usize) -> Vec<MessageExt> {
        let mut state = self.state.lock();
        let count = state.waiting.len().min(max);
        state.waiting.drain(..count).collect()
    }

    /// Whether messages wait to be taken.
    pub(super) fn has_work(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Puts messages that were taken back to the front.
    pub(super) fn put_back(&self, messages: Vec<MessageExt>) {
        let mut state = self.state.lock();
        for message in messages.into_iter().rev() {
            state.waiting.push_front(message);
        }
        drop(state);
        self.work.notify_one();
    }

    /// Marks messages that were taken as finished.
    pub(super) fn finish(&self, offsets: impl IntoIterator<Item = i64>) {
        let mut state = self.state.lock();
        for offset in offsets {
            if let Some(size) = state.unfinished.remove(&offset) {
                state.bytes -= size;
            }
        }
        drop(state);
        self.room.notify_one();
    }

    /// Everything before this offset is finished.
    pub(super) fn commit(&self) -> i64 {
        let state = self.state.lock();
        state.unfinished.first_key_value().map_or(state.next, |(offset, _)| *offset).min(state.next)
    }

    /// Whether pulling must wait until messages are finished. In order, a message that hangs blocks
    /// all others anyway, so the distance does not matter.
    pub(super) fn is_full(&self, ordered: bool) -> bool {
        let state = self.state.lock();
        let span = match (state.unfinished.first_key_value(), state.unfinished.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0,
        };
        state.unfinished.len() >= MAX_MESSAGES || state.bytes >= MAX_BYTES || (!ordered && span >= MAX_SPAN)
    }

    /// Records whether the broker has granted the queue's lock.
    pub(super) fn set_locked(&self, locked: bool, now: i64) {
        if locked {
            self.last_lock.store(now, Relaxed);
        }
        *self.locked.lock() = locked.then(Instant::now);
        if locked {
            self.work.notify_one();
            self.room.notify_one();
        }
    }

    /// Whether this member holds the lock, and got it recently enough to rely on it.
    pub(super) fn is_locked(&self) -> bool {
        self.locked.lock().is_some_and(|since| since.elapsed() < LOCK)
    }

    pub(super) fn contents(&self) -> Contents {
        let state = self.state.lock();
        Contents {
            messages: state.unfinished.len(),
            bytes: state.bytes,
            min: state.unfinished.first_key_value().map_or(0, |(offset, _)| *offset),
            max: state.unfinished.last_key_value().map_or(0, |(offset, _)| *offset),
            running: state.unfinished.len().saturating_sub(state.waiting.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_protocol::message::{Message, OffsetId};

    fn message(offset: u64, bytes: usize) -> MessageExt {
        let host = ([127, 0, 0, 1], 1).into();
        MessageExt {
            message: Message::new("t", vec![0; bytes]),
            msg_id: String::new(),
            offset_msg_id: OffsetId { host, physical_offset: 0 },
            store_size: 0,
            queue_id: 0,
            queue_offset: offset,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            physical_offset: 0,
            body_crc: 0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
        }
    }

    fn queue(next: i64) -> Queue {
        Queue::new(MessageQueue::default(), next, CancellationToken::new())
    }

    #[test]
    fn the_commit_waits_for_the_oldest_unfinished_message() {
        let queue = queue(10);
        assert_eq!(queue.commit(), 10);
        queue.add((10..15).map(|offset| message(offset, 1)).collect(), 15);
        let taken = queue.take(3);
        assert_eq!(taken.iter().map(|message| message.queue_offset).collect::<Vec<_>>(), [10, 11, 12]);
        queue.finish([11, 12]);
        assert_eq!(queue.commit(), 10);
        queue.finish([10]);
        assert_eq!(queue.commit(), 13);
        queue.take(9);
        queue.finish([13, 14]);
        assert_eq!((queue.commit(), queue.contents().messages, queue.contents().bytes), (15, 0, 0));
    }

    #[test]
    fn filtered_messages_are_passed_and_a_reset_backwards_is_not_forgotten() {
        let queue = queue(0);
        queue.add(vec![], 40);
        assert_eq!(queue.commit(), 40);
        queue.add(vec![message(40, 1)], 41);
        queue.move_to(5);
        assert_eq!(queue.commit(), 5, "what is still running must not hide the new place");
    }

    #[test]
    fn what_is_put_back_comes_first_and_stays_unfinished() {
        let queue = queue(0);
        queue.add((0..4).map(|offset| message(offset, 1)).collect(), 4);
        let taken = queue.take(2);
        queue.put_back(taken);
        assert_eq!((queue.take(1)[0].queue_offset, queue.commit()), (0, 0));
    }

    #[test]
    fn count_bytes_and_span_hold_the_pulling_back() {
        let many = queue(0);
        many.add((0..999).map(|offset| message(offset, 1)).collect(), 999);
        assert!(!many.is_full(false));
        many.add(vec![message(999, 1)], 1000);
        assert!(many.is_full(false));
        many.finish([3]);
        assert!(!many.is_full(false));

        let large = queue(0);
        large.add(vec![message(0, MAX_BYTES)], 1);
        assert!(large.is_full(true));

        let wide = queue(0);
        wide.add(vec![message(0, 1), message(2000, 1)], 2001);
        assert!(wide.is_full(false) && !wide.is_full(true));
    }
}
