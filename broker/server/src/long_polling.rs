//! Pulls that wait for messages.
//!
//! A pull that found nothing is parked with its queue and offset. The store tells of each message as soon as it can be read; the pulls it may interest are handed to
//! [`Ready`], and run again. Those nobody wakes run again at their deadline, and answer "nothing" then.
//!
//! Parking and a message's arrival can cross: whoever parks must look at the queue's end once more afterwards, and take his pull back if it has moved
//! (see `handler/pull.rs`).

use parking_lot::Mutex;
use rmq_protocol::{Command, body::Subscription};
use rmq_remoting::Responder;
use rustc_hash::{FxHashMap, FxHasher};
use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    time::Instant,
};
use tokio::sync::mpsc;

/// Locks to share the queues out on: the dispatch thread and the connections rarely meet.
const SHARDS: usize = 16;

/// A pull that waits.
pub(crate) struct Parked {
    pub(crate) request: Command,
    pub(crate) responder: Responder,
    /// The offset it waits for.
    pub(crate) offset: u64,
    /// Messages that do not match leave it asleep.
    pub(crate) subscription: Option<Arc<Subscription>>,
    pub(crate) deadline: Instant,
    /// Set when it is woken: the wait is over, an empty result is answered.
    pub(crate) last_try: bool,
}

/// Woken pulls, to be run again.
pub(crate) type Ready = mpsc::UnboundedReceiver<Parked>;

type Queues = FxHashMap<Box<str>, FxHashMap<i32, Vec<Parked>>>;

/// All parked pulls.
pub(crate) struct LongPolling {
    shards: [Mutex<Queues>; SHARDS],
    parked: AtomicUsize,
    /// The broker stops: nobody waits any more.
    closed: AtomicBool,
    /// Unbounded, yet never longer than the number of pulls that may be parked.
    ready: mpsc::UnboundedSender<Parked>,
}

impl LongPolling {
    pub(crate) fn new() -> (Self, Ready) {
        let (ready, receiver) = mpsc::unbounded_channel();
        (
            Self { shards: Default::default(), parked: AtomicUsize::new(0), closed: AtomicBool::new(false), ready },
            receiver,
        )
    }

    fn shard(&self, topic: &str) -> &Mutex<Queues> {
        let mut hasher = FxHasher::default();
        topic.hash(&mut hasher);
        &self.shards[(hasher.finish() >> 32) as usize % SHARDS]
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.parked.load(Relaxed)
    }

    /// Parks a pull, or gives it back if `limit` are parked already or the broker stops.
    pub(crate) fn park(&self, topic: &str, queue_id: i32, pull: Parked, limit: usize) -> Result<(), Box<Parked>> {
        if self.parked.fetch_add(1, Relaxed) >= limit {
            self.parked.fetch_sub(1, Relaxed);
            return Err(Box::new(pull));
        }
        let mut queues = self.shard(topic).lock();
        // Under the shard's lock, which `release` takes after it has closed: so none is parked behind its back.
        if self.closed.load(SeqCst) {
            self.parked.fetch_sub(1, Relaxed);
            return Err(Box::new(pull));
        }
        let queues = match queues.get_mut(topic) {
            Some(queues) => queues,
            None => queues.entry(topic.into()).or_default(),
        };
        queues.entry(queue_id).or_default().push(pull);
        fence(SeqCst);
        Ok(())
    }

    /// A message can be read: wakes the pulls it may interest.
    pub(crate) fn arrived(&self, topic: &str, queue_id: i32, offset: u64, tags_code: i64) {
        // Whoever parks counts himself and then looks at the queue's end, which moved before this: one sees the other.
        fence(SeqCst);
        if self.parked.load(Relaxed) == 0 {
            return;
        }
        self.wake(topic, queue_id, |pull| {
            pull.offset <= offset
                && pull
                    .subscription
                    .as_ref()
                    .is_none_or(|subscription| crate::filter::may_match(subscription, tags_code))
        });
    }

    /// The queue's end has moved while somebody parked: wakes pulls that wait for less than `end`.
    pub(crate) fn moved(&self, topic: &str, queue_id: i32, end: u64) {
        self.wake(topic, queue_id, |pull| pull.offset < end);
    }

    fn wake(&self, topic: &str, queue_id: i32, mut wanted: impl FnMut(&Parked) -> bool) {
        let mut shard = self.shard(topic).lock();
        let Some(queues) = shard.get_mut(topic) else { return };
        let Some(pulls) = queues.get_mut(&queue_id) else { return };
        let woken: Vec<_> = pulls.extract_if(.., |pull| wanted(pull)).collect();
        if pulls.is_empty() {
            queues.remove(&queue_id);
            if queues.is_empty() {
                shard.remove(topic);
            }
        }
        drop(shard);
        self.hand_over(woken);
    }

    /// Wakes those whose time is over at `now`.
    pub(crate) fn expire(&self, now: Instant) {
        self.wake_for_the_last_time(|pull| pull.deadline <= now);
    }

    /// Wakes everybody and lets nobody wait any more: the broker stops.
    pub(crate) fn release(&self) {
        self.closed.store(true, SeqCst);
        self.wake_for_the_last_time(|_| true);
    }

    fn wake_for_the_last_time(&self, mut wanted: impl FnMut(&Parked) -> bool) {
        for shard in &self.shards {
            let mut woken = Vec::new();
            shard.lock().retain(|_, queues| {
                queues.retain(|_, pulls| {
                    woken.extend(pulls.extract_if(.., |pull| wanted(pull)));
                    !pulls.is_empty()
                });
                !queues.is_empty()
            });
            for pull in &mut woken {
                pull.last_try = true;
            }
            self.hand_over(woken);
        }
    }

    /// Pulls of connections that are gone hold nothing but memory until their deadline; they are dropped by whoever runs them.
    fn hand_over(&self, woken: Vec<Parked>) {
        self.parked.fetch_sub(woken.len(), Relaxed);
        for pull in woken {
            // The receiver is gone only when the broker is: then nobody waits for an answer.
            let _ = self.ready.send(pull);
        }
    }
}
