//! The storage engine: takes messages, keeps them, hands them out.
//!
//! It knows nothing of sockets, roles or permissions, and needs no async runtime: calls are plain,
//! waiting is done on four [`Watermark`]s, and what takes time runs on threads of its own.
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
//!    min <= dispatched <= appended      flushed <= appended      confirmed: said by the server
//! ```
//!
//! The commit log is the truth. Consume queues, index and what a broker adds follow it, each a
//! [`Follower`] with a place of its own. Consume queues and index can be made again from it, which
//! is what recovery does with whatever the checkpoint does not vouch for. All files are those of
//! Java, byte for byte, so that either can open the other's directory.
//!
//! | room | what |
//! |---|---|
//! | [`open`] | reading back what the disk holds; closing |
//! | [`put`], [`get`], [`query`] | the calls |
//! | [`commit_log`] | all records, one after another |
//! | [`mapped_file`] | its files; the only unsafe code |
//! | [`dispatch`], [`follower`] | from the log to all that is made from it |
//! | [`consume_queue`] | for each queue, where its messages are |
//! | [`index`] | for each key, where its messages are |
//! | [`upkeep`], [`checkpoint`], [`retention`] | what is durable; what may go |
//! | [`position`] | numbers that must not be mixed up |
//! | [`watermark`] | how far something has come, and waiting for it |
//! | [`metrics`] | what is counted |
//! | [`config`], [`error`] | what the store can be told, and what it tells its callers |
//! | [`offline`] | a store that no broker has open: checking, printing, repairing it |
//! | [`dir`] | directories, blocks and the lock: calls whose failure decides what is durable |
//! | [`durable_file`] | small files replaced as a whole, for the broker's tables |
//! | [`fail_point`] | where a test can let the disk fail |
//!
//! Threads: `store-allocate` preallocates disk blocks ahead of the append position, `store-flush`
//! writes appended bytes to the disk, `store-dispatch` follows the log, `store-queues` writes
//! consume queue entries, `store-upkeep` does the rest.
//!
//! Lock order, where more than one is held: `deleting`, `checkpoint`, dispatch turn, `flushing`,
//! append, `files`; table `io`, `queues`, `dirty`, a queue's state. No lock that a put or a get
//! needs is held while a disk is waited for, but by a truncation, which is there to keep puts away.
//! Dispatch may wait for table `io`, in the rare case that a queue does not go on where it ended.

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
pub use get::{Filter, GetStatus, Got, Limits};
pub use metrics::{BUCKETS, Histogram, Metrics};
pub use position::{Millis, QueueOffset};
pub use put::{Appended, Deadline, NewMessage};
pub use query::Found;
pub use retention::{Needed, Needs};
pub use upkeep::DiskUse;
pub use watermark::{Halt, Reached, Watermark};

/// An open store. Shared by reference; every call may be made from any thread, but calls may wait
/// for a disk: keep them off the threads of an async runtime, except the watermarks' futures, and
/// reads and puts whose deadline is [`Deadline::Now`].
///
/// Dropping it without [`MessageStore::close`] leaves what a crash would leave.
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
    is_new: bool,
    /// What lies further back than this from the end of the log has likely left the memory.
    memory_bytes: u64,
    /// What lies within so many bytes of the end of the log is taken to be in memory without
    /// asking.
    hot_bytes: u64,
    /// None once the store is closed. Last, so that it is released when nothing touches the files
    /// any more.
    lock: Mutex<Option<dir::Lock>>,
}

impl MessageStore {
    /// End of the log.
    pub fn appended(&self) -> &Arc<Watermark> {
        &self.log.appended
    }

    /// Up to here the log is on the disk. Fails for good after a failed flush.
    pub fn flushed(&self) -> &Arc<Watermark> {
        &self.log.flushed
    }

    /// Up to here enough members have the log, where others than this one are needed: as far as
    /// [`MessageStore::confirm`] said.
    pub fn confirmed(&self) -> &Arc<Watermark> {
        &self.log.confirmed
    }

    /// Says that enough members have the log up to `offset`. An offset before the last one changes
    /// nothing.
    pub fn confirm(&self, offset: u64) {
        self.log.confirmed.advance(offset);
    }

    /// Up to here messages are in their queues.
    pub fn dispatched(&self) -> &Arc<Watermark> {
        &self.log.dispatched
    }

    /// The configuration the store was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// When files are deleted, from the next round on.
    ///
    /// # Errors
    /// [`Error::Config`] where the rules contradict each other; those in force stay.
    pub fn set_retention(&self, retention: Retention) -> Result<()> {
        retention.validate()?;
        *self.upkeep.retention.lock() = retention;
        Ok(())
    }

    /// Lets expired files stay that a reader outside of the store has yet to copy, while the disk
    /// is not short of space. `needs` is asked at each round of deletion and must not wait.
    pub fn set_needs(&self, needs: Needs) {
        *self.upkeep.needs.lock() = Some(needs);
    }

    /// Whether the last process did not stop by itself and the system was restarted since, or its
    /// disk failed a sync: what was not synced then is lost, so this log may be shorter than it
    /// was. A process that was killed under a system that went on loses nothing.
    pub fn lost_page_cache(&self) -> bool {
        self.lost_page_cache
    }

    /// Whether this opening made the store: its root held none before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Why messages are not taken just now; `Ok` where they are.
    ///
    /// # Errors
    /// The error a put would get.
    pub fn writable(&self) -> Result<()> {
        self.log.refusal()
    }

    /// Why and since when the store takes no more writes before a restart: a sync has failed, or
    /// one of its threads has ended.
    pub fn failure(&self) -> Option<Failure> {
        self.log.refusal.failure()
    }

    /// How long a message that comes now waits for those being appended, at most `timeout`: as long
    /// as it takes to get the append lock.
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

    /// Deletes expired files at whatever hour: one round of it now and, where that is not enough,
    /// as many as Java makes with the upkeep's. Returns how many commit log files went in the
    /// first.
    ///
    /// # Errors
    /// Where a file cannot be deleted.
    pub fn delete_expired(&self) -> Result<usize> {
        self.upkeep.delete_expired(true, self.threads.stop_flag())
    }

    /// Deletes what consume queues, index and the other followers hold of records that the commit
    /// log has lost, where the deletion of its files has not done so.
    ///
    /// # Errors
    /// Where a file cannot be deleted.
    pub fn trim_followers(&self) -> Result<()> {
        self.upkeep.trim_followers()
    }

    /// How full the volumes are.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn disk_use(&self) -> Result<DiskUse> {
        self.upkeep.disk_use()
    }

    /// What the store counts.
    pub fn metrics(&self) -> Metrics {
        let counters = &self.log.counters;
        let (topics, queues) = self.table.counts();
        // In this order: an end read first could lie before what is dispatched meanwhile.
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
