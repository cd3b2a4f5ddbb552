//! The storage engine: it stores messages and reads them back.
//!
//! It knows nothing of sockets, roles or permissions, and needs no async runtime: calls are plain
//! functions, callers wait on four [`Watermark`]s, and long work runs on threads of the store.
//!
//! ```text
//!            put                                        get, read, query
//!             |                                                ^
//!             v                                                |
//!        commit_log  --- dispatch --->  consume_queue  +  index
//!             |             |                 |              |
//!          flush    the broker's own     write out       (mapped)
//!             v                               v              v
//!          the disk  <------------------ upkeep: checkpoint, retention
//!
//!    min <= dispatched <= appended      flushed <= appended      confirmed: set by the server
//! ```
//!
//! The commit log is the source of truth. Consume queues, index and followers that a broker adds
//! are derived from it; each is a [`Follower`] with a place of its own. Consume queues and index
//! can be rebuilt from the log, and recovery does that for everything the checkpoint does not
//! cover. All files are those of Java, byte for byte, so that either broker can open the other's
//! directory.
//!
//! | module | contents |
//! |---|---|
//! | [`open`] | reading back what the disk holds; closing |
//! | [`put`], [`get`], [`query`] | the calls |
//! | [`commit_log`] | all records, one after another |
//! | [`mapped_file`] | its files; the only unsafe code |
//! | [`dispatch`], [`follower`] | from the log to the data derived from it |
//! | [`consume_queue`] | for each queue, the positions of its messages |
//! | [`index`] | for each key, the positions of its messages |
//! | [`upkeep`], [`checkpoint`], [`retention`] | what is durable; which files are deleted |
//! | [`position`] | numbers that are easily confused, as types |
//! | [`watermark`] | an offset that grows, and waiting for it |
//! | [`metrics`] | counters and durations |
//! | [`config`], [`error`] | configuration and errors |
//! | [`offline`] | a store that no broker has open: checking, printing, repairing it |
//! | [`dir`] | directories, blocks and the lock: calls whose outcome decides what is durable |
//! | [`durable_file`] | small files replaced as a whole, for the broker's tables |
//! | [`fail_point`] | where a test can make the disk fail |
//!
//! Threads: `store-allocate` preallocates disk blocks ahead of the append position, `store-flush`
//! flushes appended bytes to the disk, `store-dispatch` follows the log, `store-queues` writes
//! consume queue entries, `store-upkeep` runs checkpoints and retention.
//!
//! Lock order, if more than one is held: `deleting`, `checkpoint`, dispatch turn, `flushing`,
//! append, `files`; table `io`, `queues`, `dirty`, a queue's state. No lock that a put or a get
//! needs is held during disk I/O, except by a truncation, which has to exclude puts. Dispatch may
//! wait for table `io`, in the rare case that an entry does not follow the last one of its queue.

mod checkpoint;
mod commit_log;
mod config;
mod consume_queue;
mod dir;
mod dispatch;
pub mod durable_file;
mod error;
#[cfg(not(feature = "failpoints"))]
mod fail_point;
#[cfg(feature = "failpoints")]
pub mod fail_point;
mod follower;
mod get;
mod index;
mod mapped_file;
mod metrics;
pub mod offline;
mod open;
mod position;
mod put;
mod query;
mod retention;
mod upkeep;
mod watermark;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

pub use commit_log::refusal::Failure;
pub use config::{
    About, Allocation, Config, Contradiction, Flush, FlushMode, Index as IndexConfig, Retention, Transfer,
};
pub use consume_queue::search::Boundary;
pub use consume_queue::tags_code::TagsCode;
pub use error::{Error, Result};
pub use follower::{Arrival, Dispatched, Follower, Lag, arrivals};
pub use get::{Filter, GetStatus, Got, Limits, Verdict};
pub use metrics::{BUCKETS, Histogram, Metrics};
pub use position::{LogOffset, Millis, QueueOffset};
pub use put::{Appended, Deadline, NewMessage};
pub use query::Found;
pub use retention::{Needed, Needs};
pub use upkeep::DiskUse;
pub use watermark::{Halt, Reached, Watermark};

/// An open store, shared by reference. Every call may be made from any thread, but calls may wait
/// for a disk: keep them off the threads of an async runtime, except the watermarks' futures, and
/// reads and puts whose deadline is [`Deadline::Now`].
///
/// Dropping it without [`MessageStore::close`] leaves the directory as a crash would.
pub struct MessageStore {
    config: Config,
    log: Arc<commit_log::CommitLog>,
    table: Arc<consume_queue::table::Table>,
    index: Arc<index::Index>,
    dispatch: Arc<dispatch::Dispatch>,
    upkeep: Arc<upkeep::Upkeep>,
    threads: open::Threads,
    abort: dir::AbortMark,
    lost_page_cache: bool,
    /// Records further back than this from the end of the log are probably no longer in memory.
    memory_bytes: u64,
    /// Bytes within this distance from the end of the log are assumed to be in memory without a
    /// check.
    hot_bytes: u64,
    /// None once the store is closed. The last field, so that it is released when nothing uses the
    /// files any more.
    lock: Mutex<Option<dir::Lock>>,
}

impl MessageStore {
    /// End of the log.
    pub fn appended(&self) -> &Arc<Watermark> {
        &self.log.appended
    }

    /// The log is durable up to here. Fails for good after a failed flush.
    pub fn flushed(&self) -> &Arc<Watermark> {
        &self.log.flushed
    }

    /// Enough members have the log up to here, if replication requires any: the last offset given
    /// to [`MessageStore::confirm`].
    pub fn confirmed(&self) -> &Arc<Watermark> {
        &self.log.confirmed
    }

    /// Records that enough members have the log up to `offset`. An offset before the last one
    /// changes nothing.
    pub fn confirm(&self, offset: LogOffset) {
        self.log.confirmed.advance(offset);
    }

    /// Messages are in their queues up to here.
    pub fn dispatched(&self) -> &Arc<Watermark> {
        &self.log.dispatched
    }

    /// The configuration the store was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sets the retention rules, from the next round on.
    ///
    /// # Errors
    /// [`Error::Config`] if the rules contradict each other; the previous rules stay in force.
    pub fn set_retention(&self, retention: Retention) -> Result<()> {
        retention.validate()?;
        *self.upkeep.retention.lock() = retention;
        Ok(())
    }

    /// Keeps expired files that a reader outside of the store has yet to copy, while the disk is
    /// not short of space. `needs` is called in each round of deletion and must not block.
    pub fn set_needs(&self, needs: Needs) {
        *self.upkeep.needs.lock() = Some(needs);
    }

    /// Whether the last process did not stop cleanly and the system was rebooted since, or its disk
    /// failed a sync. Data that was not synced is lost then, so this log may be shorter than it
    /// was. A process that was killed while the system kept running loses nothing.
    pub fn lost_page_cache(&self) -> bool {
        self.lost_page_cache
    }

    /// Why messages are refused at the moment; `Ok` if they are accepted.
    ///
    /// # Errors
    /// The error that a put would get.
    pub fn writable(&self) -> Result<()> {
        self.log.refusal()
    }

    /// Why and since when the store accepts no more writes before a restart: a sync has failed, or
    /// one of its threads has ended.
    pub fn failure(&self) -> Option<Failure> {
        self.log.refusal.failure()
    }

    /// How long a message that arrives now waits for the appends before it, at most `timeout`: the
    /// time to acquire the append lock.
    pub fn append_wait(&self, timeout: Duration) -> Duration {
        self.log.append_wait(timeout)
    }

    /// Flushes everything appended so far to the disk.
    ///
    /// # Errors
    /// A failed flush is final, see [`Error::ReadOnly`].
    pub fn flush(&self) -> Result<()> {
        self.log.flush()
    }

    /// Deletes expired files at any hour: one round now and, if that is not enough, further rounds
    /// of the upkeep thread, as many as Java makes. Returns how many commit log files the first
    /// round deleted.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn delete_expired(&self) -> Result<usize> {
        self.upkeep.delete_expired(true, self.threads.stop_flag())
    }

    /// Deletes the data of consume queues, index and the other followers for records that the
    /// commit log has lost, if the deletion of its files has not done so.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn trim_followers(&self) -> Result<()> {
        self.upkeep.trim_followers()
    }

    /// The usage of the volumes.
    ///
    /// # Errors
    /// If the system does not report it.
    pub fn disk_use(&self) -> Result<DiskUse> {
        self.upkeep.disk_use()
    }

    /// The metrics of the store.
    pub fn metrics(&self) -> Metrics {
        let counters = &self.log.counters;
        let (topics, queues) = self.table.counts();
        // In this order: an end that is read first could lie before what is dispatched meanwhile.
        let dispatched = self.log.dispatched.value();
        let appended = self.log.appended.value();
        Metrics {
            put_messages: counters.put_messages.load(Ordering::Relaxed),
            put_bytes: counters.put_bytes.load(Ordering::Relaxed),
            put_failures: counters.put_failures.load(Ordering::Relaxed),
            puts_would_block: counters.puts_would_block.load(Ordering::Relaxed),
            put_times: counters.put_times.snapshot(),
            lock_waits: counters.lock_waits.snapshot(),
            flush_times: counters.flush_times.snapshot(),
            get_times: counters.get_times.snapshot(),
            gets_not_resident: counters.gets_not_resident.load(Ordering::Relaxed),
            damages_passed_over: counters.damages_passed_over.load(Ordering::Relaxed),
            min_offset: self.log.min(),
            held_bytes: self.upkeep.held_bytes.load(Ordering::Relaxed),
            appended,
            flushed: self.log.flushed.value(),
            dispatched,
            last_store_timestamp: Millis::new(self.log.last_store_timestamp.load(Ordering::Relaxed)),
            mapped_bytes: self.log.mapped_bytes() + self.index.mapped_bytes(),
            topics,
            queues,
            consume_queue_pending: self.table.pending(),
            consume_queue_memory: self.table.memory(),
            open_files: self.table.files().open_count(),
            index_files: self.index.file_count(),
            followers: self.dispatch.followers.lags(dispatched, appended),
            threads_ended: self.log.refusal.threads_ended(),
            refusing: self.log.refusal().err().map(|error| error.to_string()),
        }
    }
}

impl std::fmt::Debug for MessageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageStore").field("root", &self.config.root).finish_non_exhaustive()
    }
}
