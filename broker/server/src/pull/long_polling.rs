//! Long polling: pulls that wait for messages.
//!
//! A pull that found nothing is parked with its queue and offset. The store reports each message as
//! soon as it is readable. The pulls that the message may match are handed to a waker and run
//! again. A pull that is not woken runs again at its deadline, and answers "nothing" then.
//!
//! The parked pulls of a connection are dropped when it ends. A connection may park pulls while the
//! total is below the limit. When the limit is reached, a connection below its share (the limit
//! divided by the number of connections that have parked pulls) displaces pulls of the connection
//! with the most, which are answered early.
//!
//! Parking a pull and the arrival of a message can race. So after a pull is parked the end of the
//! queue is read once more, and the pull is taken back if the end has moved (see `pull/mod.rs`).

use super::Pull;
use parking_lot::Mutex;
use rmq_protocol::body::Subscription;
use rmq_remoting::Connection;
use rmq_store::{Follower, QueueOffset};
use rustc_hash::{FxHashMap, FxHasher};
use std::{
    collections::hash_map::Entry,
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

/// The number of locks that the queues are spread over. The dispatch thread and the connections
/// rarely contend for one.
const SHARDS: usize = 16;
/// The number of pulls that are answered early at a time to make room. Finding them costs a scan of
/// all connections.
const DISPLACED: usize = 64;

/// A parked pull.
pub(crate) struct Parked {
    pub(crate) pull: Pull,
    /// The offset that the pull waits for.
    pub(crate) offset: QueueOffset,
    /// A message that does not match this subscription does not wake the pull.
    pub(crate) subscription: Option<Arc<Subscription>>,
    pub(crate) deadline: Instant,
    /// Set when the pull is woken at its deadline: the wait is over, and an empty result is
    /// answered.
    pub(crate) last_try: bool,
}

/// The number of tasks that run woken pulls again. With a single task, one core would limit the
/// pulls that a broker serves at the end of its queues.
pub(crate) const WAKERS: usize = 4;

/// Woken pulls of some of the connections, to be run again. The channel is unbounded, but it never
/// holds more pulls than may be parked.
struct Woken {
    sender: mpsc::UnboundedSender<Parked>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<Parked>>,
}

impl Default for Woken {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: tokio::sync::Mutex::new(receiver) }
    }
}

type Queues = FxHashMap<Arc<str>, FxHashMap<i32, Vec<Parked>>>;

/// The queues in which a connection has parked pulls, and their total number. It exists from the
/// connection's first pull to its end, because a new one for each pull would cost allocations.
#[derive(Default)]
struct ConnectionPulls {
    parked: usize,
    queues: FxHashMap<(Arc<str>, i32), usize>,
}

impl ConnectionPulls {
    fn remove(&mut self, queue: &(Arc<str>, i32), count: usize) {
        self.parked = self.parked.saturating_sub(count);
        if let Entry::Occupied(mut entry) = self.queues.entry(queue.clone()) {
            *entry.get_mut() = entry.get().saturating_sub(count);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

type PullsByConnection = FxHashMap<u64, ConnectionPulls>;

/// All parked pulls. Lock order: the pulls by connection, then a shard of queues.
#[derive(Default)]
pub(crate) struct LongPolling {
    /// Keyed by the connection's number.
    by_connection: [Mutex<PullsByConnection>; SHARDS],
    shards: [Mutex<Queues>; SHARDS],
    parked: AtomicUsize,
    /// The number of connections that have parked pulls.
    connections: AtomicUsize,
    displaced: AtomicUsize,
    /// The broker stops: no pull may wait any more.
    closed: AtomicBool,
    woken: [Woken; WAKERS],
}

impl LongPolling {
    /// Waits for a woken pull of those that belong to `waker` (below [`WAKERS`]).
    pub(crate) async fn woken(&self, waker: usize) -> Option<Parked> {
        self.woken[waker % WAKERS].receiver.lock().await.recv().await
    }

    fn shard(&self, topic: &str) -> &Mutex<Queues> {
        let mut hasher = FxHasher::default();
        topic.hash(&mut hasher);
        &self.shards[(hasher.finish() >> 32) as usize % SHARDS]
    }

    fn by_connection(&self, connection: u64) -> &Mutex<PullsByConnection> {
        &self.by_connection[connection as usize % SHARDS]
    }

    /// The number of parked pulls.
    pub(crate) fn len(&self) -> usize {
        self.parked.load(Relaxed)
    }

    /// The number of pulls answered early to make room for others, since the start.
    pub(crate) fn displaced(&self) -> usize {
        self.displaced.load(Relaxed)
    }

    /// Parks a pull. Returns it if `limit` leaves no room, if its connection has ended, or if the
    /// broker stops.
    pub(crate) fn park(&self, pull: Parked, limit: usize) -> Result<(), Box<Parked>> {
        if !self.take_place(limit) {
            let connection = pull.pull.to.connection().id();
            if !self.make_room(connection, limit) || !self.take_place(limit) {
                return Err(Box::new(pull));
            }
        }
        self.put(pull).inspect_err(|_| {
            self.parked.fetch_sub(1, Relaxed);
        })
    }

    fn take_place(&self, limit: usize) -> bool {
        let had_room = self.parked.fetch_add(1, Relaxed) < limit;
        if !had_room {
            self.parked.fetch_sub(1, Relaxed);
        }
        had_room
    }

    fn put(&self, pull: Parked) -> Result<(), Box<Parked>> {
        let connection = pull.pull.to.connection();
        let id = connection.id();
        let mut by_connection = self.by_connection(id).lock();
        // Checked under this lock, which `forget` takes after the connection was closed. So no pull
        // is parked after `forget`.
        if !connection.is_open() {
            return Err(Box::new(pull));
        }
        let (topic, queue_id) = (pull.pull.request.topic.as_str(), pull.pull.request.queue_id);
        let mut shard = self.shard(topic).lock();
        // The same holds for `release` and the shard's lock.
        if self.closed.load(SeqCst) {
            return Err(Box::new(pull));
        }
        let topic = match shard.get_key_value(topic) {
            Some((topic, _)) => Arc::clone(topic),
            None => topic.into(),
        };
        shard.entry(Arc::clone(&topic)).or_default().entry(queue_id).or_default().push(pull);
        let entry = by_connection.entry(id).or_default();
        if entry.parked == 0 {
            self.connections.fetch_add(1, Relaxed);
        }
        entry.parked += 1;
        *entry.queues.entry((topic, queue_id)).or_default() += 1;
        fence(SeqCst);
        Ok(())
    }

    /// Makes room for a connection that has fewer pulls than its share: some pulls of the
    /// connection with the most are answered early.
    fn make_room(&self, connection: u64, limit: usize) -> bool {
        let own = self.by_connection(connection).lock().get(&connection).map_or(0, |entry| entry.parked);
        if own >= limit / self.connections.load(Relaxed).max(1) {
            return false;
        }
        let heaviest = |by_connection: &Mutex<PullsByConnection>| {
            by_connection.lock().iter().map(|(id, entry)| (entry.parked, *id)).max()
        };
        let Some((parked, id)) = self.by_connection.iter().filter_map(heaviest).max() else { return false };
        let surplus = parked.saturating_sub(own + 1).div_ceil(2).min(DISPLACED);
        let mut displaced = self.take_from(id, surplus);
        if displaced.is_empty() {
            return false;
        }
        self.displaced.fetch_add(displaced.len(), Relaxed);
        for pull in &mut displaced {
            pull.last_try = true;
        }
        self.hand_over(displaced);
        true
    }

    /// Drops the parked pulls of a connection that has ended.
    pub(crate) fn forget(&self, connection: &Connection) {
        let id = connection.id();
        let dropped = self.take_from(id, usize::MAX);
        self.parked.fetch_sub(dropped.len(), Relaxed);
        let entry = self.by_connection(id).lock().remove(&id);
        // Some pulls were woken meanwhile and are not yet subtracted from the connection's number.
        if entry.is_some_and(|entry| entry.parked > 0) {
            self.connections.fetch_sub(1, Relaxed);
        }
    }

    /// Removes up to `most` pulls of a connection. They still count as parked.
    fn take_from(&self, connection: u64, most: usize) -> Vec<Parked> {
        let mut by_connection = self.by_connection(connection).lock();
        let Some(entry) = by_connection.get_mut(&connection) else { return Vec::new() };
        let (mut taken, mut touched) = (Vec::new(), Vec::new());
        for queue in entry.queues.keys() {
            if taken.len() >= most {
                break;
            }
            let (topic, queue_id) = queue;
            let mut room = most - taken.len();
            let before = taken.len();
            let mut shard = self.shard(topic).lock();
            take(&mut shard, topic, *queue_id, &mut taken, |pull| {
                let wanted = room > 0 && pull.pull.to.connection().id() == connection;
                room -= usize::from(wanted);
                wanted
            });
            touched.push((queue.clone(), taken.len() - before));
        }
        for (queue, count) in touched {
            self.remove(entry, &queue, count);
        }
        taken
    }

    /// Subtracts pulls that were removed from this queue from the numbers of their connections.
    fn left(&self, topic: &Arc<str>, queue_id: i32, pulls: &[Parked]) {
        let queue = (Arc::clone(topic), queue_id);
        for pull in pulls {
            let id = pull.pull.to.connection().id();
            let mut by_connection = self.by_connection(id).lock();
            let Some(entry) = by_connection.get_mut(&id) else { continue };
            self.remove(entry, &queue, 1);
        }
    }

    /// Subtracts `count` pulls of a queue from the number of the connection that had parked them.
    fn remove(&self, entry: &mut ConnectionPulls, queue: &(Arc<str>, i32), count: usize) {
        let had_any = entry.parked > 0;
        entry.remove(queue, count);
        if had_any && entry.parked == 0 {
            self.connections.fetch_sub(1, Relaxed);
        }
    }

    /// Wakes parked pulls when a message becomes readable.
    pub(crate) fn follower(self: &Arc<Self>) -> Arc<dyn Follower> {
        let parked = Arc::clone(self);
        rmq_store::arrivals(move |arrival| {
            parked.arrived(arrival.topic, arrival.queue_id, arrival.queue_offset, arrival.tags_code);
        })
    }

    /// A message is readable: wakes the pulls that it may match.
    fn arrived(&self, topic: &str, queue_id: i32, offset: QueueOffset, tags_code: i64) {
        // A parking connection first counts its pull and then reads the queue's end. The end moved
        // before this fence. So at least one side sees the other.
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

    /// The queue's end has moved while a pull was being parked: wakes the pulls that wait for less
    /// than `end`.
    pub(crate) fn moved(&self, topic: &str, queue_id: i32, end: QueueOffset) {
        self.wake(topic, queue_id, |pull| pull.offset < end);
    }

    fn wake(&self, topic: &str, queue_id: i32, wanted: impl FnMut(&Parked) -> bool) {
        let mut woken = Vec::new();
        let topic = {
            let mut shard = self.shard(topic).lock();
            let Some((name, _)) = shard.get_key_value(topic) else { return };
            let name = Arc::clone(name);
            take(&mut shard, &name, queue_id, &mut woken, wanted);
            name
        };
        self.left(&topic, queue_id, &woken);
        self.hand_over(woken);
    }

    /// Wakes the pulls whose deadline has passed at `now`.
    pub(crate) fn expire(&self, now: Instant) {
        self.wake_for_the_last_time(|pull| pull.deadline <= now);
    }

    /// Wakes all pulls and refuses new ones, because the broker stops.
    pub(crate) fn release(&self) {
        self.closed.store(true, SeqCst);
        self.wake_for_the_last_time(|_| true);
    }

    fn wake_for_the_last_time(&self, mut wanted: impl FnMut(&Parked) -> bool) {
        for shard in &self.shards {
            let mut woken = Vec::new();
            shard.lock().retain(|topic, queues| {
                queues.retain(|queue_id, pulls| {
                    let some: Vec<_> = pulls.extract_if(.., |pull| wanted(pull)).collect();
                    if !some.is_empty() {
                        woken.push((Arc::clone(topic), *queue_id, some));
                    }
                    !pulls.is_empty()
                });
                !queues.is_empty()
            });
            for (topic, queue_id, mut pulls) in woken {
                self.left(&topic, queue_id, &pulls);
                for pull in &mut pulls {
                    pull.last_try = true;
                }
                self.hand_over(pulls);
            }
        }
    }

    /// Hands woken pulls to the wakers. They run again, and are dropped there if their connections
    /// have ended meanwhile.
    fn hand_over(&self, woken: Vec<Parked>) {
        self.parked.fetch_sub(woken.len(), Relaxed);
        for pull in woken {
            let waker = pull.pull.to.connection().id() as usize % WAKERS;
            // The receiver lives as long as the sender, so this cannot fail.
            let _ = self.woken[waker].sender.send(pull);
        }
    }
}

/// Moves the pulls of a queue that are `wanted` to `to`, and removes a queue that has no pulls
/// left.
fn take(shard: &mut Queues, topic: &str, queue_id: i32, to: &mut Vec<Parked>, mut wanted: impl FnMut(&Parked) -> bool) {
    let Some(queues) = shard.get_mut(topic) else { return };
    let Some(pulls) = queues.get_mut(&queue_id) else { return };
    to.extend(pulls.extract_if(.., |pull| wanted(pull)));
    if pulls.is_empty() {
        queues.remove(&queue_id);
        if queues.is_empty() {
            shard.remove(topic);
        }
    }
}
