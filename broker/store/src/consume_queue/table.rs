//! All consume queues of the store.
//!
//! Lock order: `io`, then `queues`, then `dirty` or the unsynced files, then a queue's own state.
//! Every change of files holds `io`: the writing thread, retention, truncation, and dispatch if an
//! entry does not follow the last one of its queue. Otherwise a slow disk delays dispatch only when
//! the buffer is full. Readers never take it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::entry::{self, Entry, SIZE};
use super::files::Files;
use super::{Added, KEPT, Queue};
use crate::error::Result;
use crate::follower::{Dispatched, Follower};
use crate::position::{LogOffset, QueueOffset};

/// How long written entries of an idle queue stay in memory.
const QUIET: Duration = Duration::from_secs(10);

/// Pause after a failed write of entries.
const RETRY: Duration = Duration::from_secs(1);
/// Beyond this the position of an entry in bytes would overflow. No queue gets that far, but a
/// record may claim to.
const OFFSET_MAX: QueueOffset = QueueOffset::new(i64::MAX as u64 / SIZE as u64 - 1_000_000_000);

type Topics = FxHashMap<Arc<str>, FxHashMap<i32, Arc<Queue>>>;

/// The queues and their pending work.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) files: Files,
    queues: RwLock<Topics>,
    numbers: AtomicU64,
    /// Held while files are written, cut or deleted: the queues that had pending entries lately,
    /// and when. No other queues keep written entries in memory.
    pub(super) io: Mutex<FxHashMap<u64, (Arc<Queue>, Instant)>>,
    /// Queues with entries to be written.
    dirty: Mutex<Vec<Arc<Queue>>>,
    /// A queue is dirty, a write is urgent, or the thread must stop.
    work: Condvar,
    /// Entries were written.
    drained: Condvar,
    /// Bytes to be written, and their limit.
    pending: AtomicU64,
    buffer: u64,
    /// Memory of written entries that all queues share, and what the entries of all occupied after
    /// the last write: both in bytes.
    cache: usize,
    memory: AtomicU64,
}

impl Table {
    pub(crate) fn new(files: Files, buffer: usize, cache: usize) -> Self {
        Table {
            files,
            queues: RwLock::default(),
            numbers: AtomicU64::new(0),
            io: Mutex::default(),
            dirty: Mutex::default(),
            work: Condvar::new(),
            drained: Condvar::new(),
            pending: AtomicU64::new(0),
            buffer: buffer as u64,
            cache,
            memory: AtomicU64::new(0),
        }
    }

    /// The queue, if it exists.
    pub(crate) fn find(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        self.queues.read().get(topic)?.get(&id).map(Arc::clone)
    }

    /// The queue, created if it does not exist.
    pub(crate) fn find_or_create(&self, topic: &str, id: i32) -> Arc<Queue> {
        if let Some(queue) = self.find(topic, id) {
            return queue;
        }
        let mut topics = self.queues.write();
        let name = topics.get_key_value(topic).map_or_else(|| Arc::from(topic), |(name, _)| Arc::clone(name));
        let queue = topics
            .entry(Arc::clone(&name))
            .or_default()
            .entry(id)
            .or_insert_with(|| Arc::new(Queue::new(self.numbers.fetch_add(1, Ordering::Relaxed), name, id)));
        Arc::clone(queue)
    }

    /// All current queues.
    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.queues.read().values().flat_map(FxHashMap::values).map(Arc::clone).collect()
    }

    /// The queues of a topic.
    pub(crate) fn of_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.queues.read().get(topic).map(|queues| queues.values().map(Arc::clone).collect()).unwrap_or_default()
    }

    /// The topics that have queues.
    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.queues.read().keys().map(Arc::clone).collect()
    }

    /// The number of topics and queues.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let topics = self.queues.read();
        (topics.len(), topics.values().map(FxHashMap::len).sum())
    }

    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Bytes of memory that entries occupied when they were last written.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Adds an entry to a queue.
    pub(crate) fn add(&self, queue: &Arc<Queue>, offset: QueueOffset, entry: Entry) -> Result<()> {
        if offset > OFFSET_MAX {
            tracing::error!(
                topic = queue.topic(),
                queue = queue.id(),
                %offset,
                "no queue has that many messages; skipped"
            );
            return Ok(());
        }
        // Counted before the writer can see it: if it were written meanwhile, it would be
        // subtracted first.
        let pending = self.pending.fetch_add(SIZE as u64, Ordering::Relaxed);
        let added = self.add_to(queue, offset, entry);
        if !matches!(added, Ok(true)) {
            self.pending.fetch_sub(SIZE as u64, Ordering::Relaxed);
            return added.map(drop);
        }
        if pending < self.buffer / 2 && pending + SIZE as u64 >= self.buffer / 2 {
            let _dirty = self.dirty.lock();
            self.work.notify_one();
        }
        Ok(())
    }

    /// False if the queue already has the entry.
    fn add_to(&self, queue: &Arc<Queue>, offset: QueueOffset, entry: Entry) -> Result<bool> {
        loop {
            match queue.add(offset, entry) {
                Added::Repeated if self.begins_anew(queue, offset, entry)? => self.begin_anew(queue, offset)?,
                Added::Repeated => return Ok(false),
                Added::Listed => return Ok(true),
                Added::List => {
                    let mut dirty = self.dirty.lock();
                    dirty.push(Arc::clone(queue));
                    if dirty.len() == 1 {
                        self.work.notify_one();
                    }
                    return Ok(true);
                }
                Added::Gap(places) => self.bridge(queue, offset, places)?,
            }
        }
    }

    /// Whether an entry before a queue's end is the first of it. Then that end is only the name of
    /// a file whose entries were lost; or the topic was deleted and created again, and older
    /// records, which stay in the log, were dispatched since, as after a crash. Any other repeated
    /// offset would be a fault, and no reason to drop anything.
    fn begins_anew(&self, queue: &Queue, offset: QueueOffset, entry: Entry) -> Result<bool> {
        let (min, max) = queue.bounds();
        if min == max {
            return Ok(offset < max);
        }
        let Some(last) = max.before().filter(|_| offset == QueueOffset::ZERO) else { return Ok(false) };
        Ok(queue.entry(&self.files, last)?.is_some_and(|last| last.physical_offset < entry.physical_offset))
    }

    /// Drops the contents of a queue.
    fn begin_anew(&self, queue: &Arc<Queue>, offset: QueueOffset) -> Result<()> {
        let _io = self.io.lock();
        self.write_queue(queue)?;
        tracing::warn!(topic = queue.topic(), queue = queue.id(), "a consume queue begins anew; its older entries go");
        self.restart(queue, offset)
    }

    /// Deletes a queue's files and creates one that begins with `offset`. The caller holds `io` and
    /// no entries are pending.
    fn restart(&self, queue: &Arc<Queue>, offset: QueueOffset) -> Result<()> {
        self.files.delete(queue)?;
        let per_file = self.files.file_size() / SIZE as u64;
        let from = QueueOffset::new(offset.get() - offset.get() % per_file);
        self.fill(queue, from, offset)?;
        queue.place(offset, offset, None);
        Ok(())
    }

    fn fill(&self, queue: &Arc<Queue>, from: QueueOffset, to: QueueOffset) -> Result<()> {
        let fillers = Entry::FILLER.encode().repeat((to - from) as usize);
        self.files.write(queue, entry::byte_of(from), &fillers)
    }

    /// Fills the places before `offset` that have no message. This happens if a replica begins in
    /// the middle of its master's log, and to the first file of a queue whose older messages are
    /// gone.
    fn bridge(&self, queue: &Arc<Queue>, offset: QueueOffset, places: u64) -> Result<()> {
        let _io = self.io.lock();
        self.write_queue(queue)?;
        let per_file = self.files.file_size() / SIZE as u64;
        let (min, max) = queue.bounds();
        if max == min || places > per_file {
            if max > min {
                tracing::warn!(
                    topic = queue.topic(),
                    queue = queue.id(),
                    %max,
                    %offset,
                    "a consume queue jumps; its older entries go"
                );
            }
            return self.restart(queue, offset);
        }
        self.fill(queue, max, offset)?;
        queue.place(min, offset, None);
        Ok(())
    }

    /// Removes the entries from `end` on from the files. An entry that reappeared after a power
    /// failure could pass for a newer one, so the next checkpoint waits until the removal is
    /// durable.
    pub(super) fn cut(&self, queue: &Arc<Queue>, end: QueueOffset) -> Result<()> {
        self.files.cut(queue, entry::byte_of(end))
    }

    /// Writes the pending entries of one queue; the caller holds `io`.
    fn write_queue(&self, queue: &Arc<Queue>) -> Result<()> {
        match queue.write_out(&self.files) {
            Ok(bytes) => {
                self.pending.fetch_sub(bytes as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                if queue.list() {
                    self.dirty.lock().push(Arc::clone(queue));
                }
                Err(error)
            }
        }
    }

    /// Written entries that each of this many queues may keep in memory. A buffer may be twice as
    /// large as its contents.
    fn share(&self, queues: usize) -> usize {
        KEPT.min(self.cache / (2 * SIZE * queues.max(1)))
    }

    /// Writes all pending entries. After an error the rest is still pending. Then each queue keeps
    /// its share in memory, and idle queues nothing. Memory is bounded here, a queue at a time, so
    /// that adding an entry does not involve other queues.
    pub(crate) fn write_out(&self) -> Result<()> {
        let mut io = self.io.lock();
        let queues = std::mem::take(&mut *self.dirty.lock());
        let now = Instant::now();
        io.extend(queues.iter().map(|queue| (queue.number(), (Arc::clone(queue), now))));
        let share = self.share(io.len());
        let mut outcome = Ok(());
        for queue in queues {
            // Each of the others is tried too, whether there is room or not, so that none is
            // skipped.
            outcome = outcome.and(self.write_queue(&queue));
            queue.trim(share);
        }
        let mut memory = 0;
        io.retain(|_, (queue, listed)| {
            let lately = now.duration_since(*listed) < QUIET;
            memory += queue.trim(if lately { share } else { 0 }) as u64;
            lately
        });
        self.memory.store(memory, Ordering::Relaxed);
        let _dirty = self.dirty.lock();
        self.drained.notify_all();
        outcome
    }

    /// Writes pending entries if there are too many; for recovery, while the writing thread does
    /// not run.
    pub(crate) fn write_out_if_full(&self) -> Result<()> {
        if self.pending() < self.buffer { Ok(()) } else { self.write_out() }
    }

    /// The writing thread: lets entries accumulate for `interval` and writes them, until `stop`.
    /// The rest is written when the store is closed.
    pub(crate) fn run_writer(&self, interval: Duration, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            {
                let mut dirty = self.dirty.lock();
                if dirty.is_empty() {
                    // Periodically, so that idle queues release their memory.
                    self.work.wait_for(&mut dirty, QUIET);
                }
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if !dirty.is_empty() && self.pending() < self.buffer / 2 {
                    self.work.wait_for(&mut dirty, interval);
                }
            }
            match self.write_out() {
                Ok(()) => {}
                // The error may be temporary: entries stay pending, and with too many of them
                // dispatch waits too.
                Err(error) => {
                    tracing::warn!(%error, "consume queue entries wait in memory");
                    std::thread::park_timeout(interval.max(RETRY));
                }
            }
        }
    }

    /// Wakes the writing thread so that it sees `stop`.
    pub(crate) fn wake(&self) {
        let _dirty = self.dirty.lock();
        self.work.notify_all();
        self.drained.notify_all();
    }

    /// The physical offset of the last record in any queue.
    pub(crate) fn last_record(&self) -> Result<Option<LogOffset>> {
        let mut last = None;
        for queue in self.all() {
            let (min, max) = queue.bounds();
            if let Some(before) = max.before().filter(|_| min < max) {
                last = last.max(queue.entry(&self.files, before)?.map(|entry| entry.physical_offset));
            }
        }
        Ok(last)
    }

    /// Deletes the queues of a topic and their files. Returns how many there were. The files are
    /// deleted even if no queue is known, so that a second call completes a deletion that failed.
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<usize> {
        let mut io = self.io.lock();
        let queues = self.queues.write().remove(topic).unwrap_or_default();
        for queue in queues.values() {
            io.remove(&queue.number());
            let waiting = queue.close();
            self.pending.fetch_sub(waiting as u64, Ordering::Relaxed);
        }
        let deleted = self.files.delete_topic(topic);
        queues.values().for_each(|queue| self.files.forget(queue, 0, u64::MAX));
        deleted.map(|()| queues.len())
    }
}

impl Follower for Table {
    fn name(&self) -> &'static str {
        "consume_queues"
    }

    fn must_keep_up(&self) -> bool {
        true
    }

    fn take(&self, dispatched: &Dispatched<'_>) -> Result<()> {
        let Dispatched { record, tags_code: Some(tags_code) } = *dispatched else { return Ok(()) };
        let entry = Entry { physical_offset: LogOffset::of(record), size: record.size() as u32, tags_code };
        let queue = self.find_or_create(record.topic(), record.queue_id());
        self.add(&queue, record.queue_offset().into(), entry)
    }

    /// Waits while too many entries are pending.
    fn wait_for_room(&self, timeout: Duration) -> bool {
        if self.pending() < self.buffer {
            return true;
        }
        let mut dirty = self.dirty.lock();
        self.work.notify_one();
        self.drained.wait_for(&mut dirty, timeout);
        self.pending() < self.buffer
    }

    fn sync(&self, _place: LogOffset) -> Result<()> {
        self.write_out()?;
        self.files.sync()
    }

    /// Removes all entries of records at or behind `to`.
    fn truncate(&self, to: LogOffset) -> Result<()> {
        self.write_out()?;
        let _io = self.io.lock();
        for queue in self.all() {
            let end = queue.first_at_or_behind(&self.files, to)?;
            let (min, max) = queue.bounds();
            if end < max {
                self.cut(&queue, end)?;
                queue.place(min.min(end), end, None);
            }
            queue.set_next(end);
        }
        Ok(())
    }

    /// Moves the smallest offsets of all queues behind the deleted part of the log, and deletes
    /// files that no reader can need.
    fn trim(&self, log_min: LogOffset) -> Result<()> {
        for queue in self.all() {
            let _io = self.io.lock();
            if let Some(end) = queue.correct_min(&self.files, log_min)? {
                self.files.delete_before(&queue, entry::byte_of(end))?;
            }
        }
        Ok(())
    }
}
