//! Opening a store, which reads back what the disk holds, and closing it.
//!
//! Opening, in order: the lock; whether the last stop was clean; where a scan of the log has to
//! begin; queues and index as far as they are known to be good there; the scan, which dispatches
//! again what they lack; the decision about the place where it stops; the cut; the threads. The
//! `abort` file is written before the first change.
//!
//! Closing: no more writes; dispatch to the end; flush everything; a last checkpoint; and only then
//! is `abort` removed. A store that is dropped without that counts as crashed.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::MessageStore;
use crate::checkpoint::{Checkpoint, Marks};
use crate::commit_log::CommitLog;
use crate::commit_log::recover::{Files as LogFiles, Outcome, Stop};
use crate::config::Config;
use crate::consume_queue::entry;
use crate::consume_queue::files::Files as QueueFiles;
use crate::consume_queue::load::Known;
use crate::consume_queue::table::Table;
use crate::dir::{self, AbortMark, Lock};
use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::follower::{Follower, Followers, Turn};
use crate::get;
use crate::index::Index;
use crate::mapped_file::dirs::Dirs;
use crate::position::{LogOffset, Millis};
use crate::upkeep::Upkeep;

/// How long closing a store, or deleting a topic, waits for dispatch to reach the end of the log.
pub(crate) const LAST_DISPATCH: Duration = Duration::from_secs(10);

/// The store's threads and their stop flag.
#[derive(Debug)]
pub(crate) struct Threads {
    stop: Arc<AtomicBool>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    fn start(
        &self,
        name: &'static str,
        log: &Arc<CommitLog>,
        run: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Result<()> {
        let (stop, log) = (Arc::clone(&self.stop), Arc::clone(log));
        let run = move || {
            let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| run(&stop))).is_err();
            // A thread that has failed the store has nothing left to do.
            if panicked || (!stop.load(Ordering::SeqCst) && log.failure().is_ok()) {
                log.refusal.thread_ended(name, panicked);
            }
        };
        let handle = std::thread::Builder::new().name(name.into()).spawn(run);
        let handle = handle.map_err(|source| Error::Io { doing: "start the thread", path: name.into(), source })?;
        self.handles.lock().push(handle);
        Ok(())
    }

    pub(crate) fn stop_flag(&self) -> &AtomicBool {
        &self.stop
    }
}

impl MessageStore {
    /// Opens the store in `config.root`, or creates one there. `followers` are those of the broker,
    /// in the order in which they take a record; they come after the consume queues and before the
    /// index.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has the directory open; [`Error::Corruption`] if
    /// stored bytes are damaged in a way that no crash explains; [`Error::Config`] if configuration
    /// and files are inconsistent.
    pub fn open(config: Config, followers: Vec<Arc<dyn Follower>>) -> Result<MessageStore> {
        config.validate()?;
        let (writable, read_only) = config.commit_log_dirs();
        let log_dirs = Arc::new(Dirs::new(writable, read_only));
        let mut claim = Claim::take(&config, &log_dirs)?;
        let begun = Instant::now();

        let mut files = LogFiles::list(log_dirs.all(), config.commit_log_file_size)?;
        let marks = claim.checkpoint.marks();
        let start = claim.begin_changes(&config, &files, &marks)?;
        let table = Arc::new(open_queues(&config)?);
        table.load(Known { end: start, log_min: files.first() })?;
        let index = Arc::new(Index::open(config.index.clone(), config.root.join("index"), start, claim.crashed)?);
        let followers = in_order(&table, followers, &index, &config);
        let mut turn = followers.begin();
        if claim.crashed {
            forget_unwritten(&files, start)?;
        }
        let (stop, records) = read_back(&files, start, &table, &followers, &mut turn)?;
        cut_tail(&mut files, &stop, &marks)?;
        let log = open_log(&config, log_dirs, files, start, &stop)?;
        followers.start(&mut turn, stop.offset)?;
        tracing::info!(crashed = claim.crashed, start = start.get(), end = stop.offset.get(), records, took = ?begun.elapsed(), "read the store back");

        let dispatch = Arc::new(Dispatch::new(Arc::clone(&log), followers, turn));
        let upkeep = Arc::new(Upkeep {
            log: Arc::clone(&log),
            dispatch: Arc::clone(&dispatch),
            root: config.root.clone(),
            retention: Mutex::new(config.retention.clone()),
            needs: Mutex::default(),
            held_bytes: AtomicU64::new(0),
            checkpoint_interval: config.checkpoint_interval,
            checkpoint_bytes: config.checkpoint_bytes,
            vouched_for: start,
            checkpoint: Mutex::new(claim.checkpoint),
            deleting: Mutex::default(),
        });
        let memory = config.memory.unwrap_or_else(|| {
            let machine = rustix::system::sysinfo();
            machine.totalram.saturating_mul(u64::from(machine.mem_unit))
        });
        let store = MessageStore {
            memory_bytes: memory / 100 * u64::from(config.transfer.memory_percent),
            hot_bytes: get::hot(memory),
            config,
            log,
            table,
            index,
            dispatch,
            upkeep,
            threads: Threads { stop: Arc::new(AtomicBool::new(false)), handles: Mutex::default() },
            abort: claim.abort,
            lost_page_cache: claim.lost_page_cache,
            lock: Mutex::new(Some(claim.lock)),
        };
        store.start_threads()?;
        Ok(store)
    }

    fn start_threads(&self) -> Result<()> {
        let (log, flush) = (Arc::clone(&self.log), self.config.flush.clone());
        self.threads.start("store-flush", &self.log, move |stop| log.run_flush(&flush, stop))?;
        let dispatch = Arc::clone(&self.dispatch);
        self.threads.start("store-dispatch", &self.log, move |stop| dispatch.run(stop))?;
        let (table, interval) = (Arc::clone(&self.table), self.config.consume_queue_write_interval);
        self.threads.start("store-queues", &self.log, move |stop| table.run_writer(interval, stop))?;
        let upkeep = Arc::clone(&self.upkeep);
        self.threads.start("store-upkeep", &self.log, move |stop| upkeep.run(stop))
    }

    /// Stops accepting messages, flushes everything to the disk, and marks the store as cleanly
    /// stopped. A second call does nothing.
    ///
    /// # Errors
    /// If something could not be written; the next start then reads the log as after a crash.
    pub fn close(&self) -> Result<()> {
        let Some(_lock) = self.lock.lock().take() else { return Ok(()) };
        if self.log.failure().is_err() {
            // The next start drops what a failed sync left in the page cache, as after a reboot.
            self.abort.set_lost()?;
        }
        self.log.set_closed();
        let end = self.log.appended.value();
        if self.log.failure().is_ok() && self.log.dispatched.wait_until(end, Instant::now() + LAST_DISPATCH) != Ok(true)
        {
            tracing::warn!(end = end.get(), "dispatch did not reach the end of the log");
        }
        self.stop_threads();
        self.log.flush()?;
        self.table.write_out()?;
        self.upkeep.checkpoint()?;
        self.log.stop(true)?;
        self.abort.clear()
    }

    fn stop_threads(&self) {
        self.threads.stop.store(true, Ordering::SeqCst);
        let handles = std::mem::take(&mut *self.threads.handles.lock());
        handles.iter().for_each(|handle| handle.thread().unpark());
        self.table.wake();
        for handle in handles {
            // Panics were caught and reported where they happened.
            let _ = handle.join();
        }
    }
}

/// A directory that this process has locked, and the state in which the last process left it.
struct Claim {
    lock: Lock,
    abort: AbortMark,
    /// The last process did not close the store.
    crashed: bool,
    lost_page_cache: bool,
    checkpoint: Checkpoint,
}

impl Claim {
    /// Creates missing directories, locks the root, and checks whether the last stop was clean.
    fn take(config: &Config, log_dirs: &Dirs) -> Result<Claim> {
        for path in [&config.root].into_iter().chain(log_dirs.writable()) {
            dir::create_durably(path)?;
        }
        let lock = Lock::acquire(&config.root)?;
        let abort = AbortMark::new(&config.root);
        let crashed = abort.exists()?;
        let lost_page_cache = crashed && !abort.is_of_this_boot();
        let checkpoint = Checkpoint::open(&config.root)?;
        Ok(Claim { lock, abort, crashed, lost_page_cache, checkpoint })
    }

    /// Finds where the scan of the log has to begin, and then marks the store as open.
    fn begin_changes(&mut self, config: &Config, files: &LogFiles, marks: &Marks) -> Result<LogOffset> {
        let start = files.scan_start(marks, self.crashed)?;
        self.abort.set()?;
        let queue_dir = queue_dir(config);
        if queue_dir.exists() {
            return Ok(start);
        }
        // An operator has deleted them, as is done with damaged files: the log has everything that
        // was in them. Until a checkpoint covers queues again, every start after a crash begins
        // there.
        self.checkpoint.write(Marks { consume_queue_timestamp: Millis::default(), dispatched_record: 0, ..*marks })?;
        dir::create_durably(&queue_dir)?;
        Ok(files.first())
    }
}

fn queue_dir(config: &Config) -> PathBuf {
    config.root.join("consumequeue")
}

fn open_queues(config: &Config) -> Result<Table> {
    let entry_size = entry::SIZE as u64;
    let file_size = config.consume_queue_file_size.div_ceil(entry_size) * entry_size;
    let files = QueueFiles::open(queue_dir(config), file_size, config.open_files)?;
    Ok(Table::new(files, config.consume_queue_buffer, config.consume_queue_cache))
}

/// Drops the clean pages of the log from `start` on from the page cache. Pages that could not be
/// written are still in memory, and the system regards them as clean. If they were trusted they
/// would be acknowledged, covered by a checkpoint, and lost in the next power failure.
fn forget_unwritten(files: &LogFiles, start: LogOffset) -> Result<()> {
    let ends_behind = |base: LogOffset| base + files.file_size > start;
    files
        .list
        .iter()
        .filter(|(base, _)| ends_behind(*base))
        .try_for_each(|(base, path)| dir::forget_clean_pages(path, start.saturating_since(*base)))
}

/// Reads the log from `start` on and passes its records to the followers that the checkpoint
/// covers. Also returns how many there were.
fn read_back(
    files: &LogFiles,
    start: LogOffset,
    table: &Table,
    followers: &Followers,
    turn: &mut Turn,
) -> Result<(Stop, u64)> {
    let mut records = 0;
    let stop = files.scan(start, &mut |record| {
        records += 1;
        // The thread that writes entries is not running yet.
        table.write_out_if_full()?;
        followers.recover(turn, record)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((stop, records))
}

/// Decides what the place means where the scan stopped, and removes what lies behind the end of the
/// log.
fn cut_tail(files: &mut LogFiles, stop: &Stop, marks: &Marks) -> Result<()> {
    match files.judge(stop, marks)? {
        Outcome::End => {}
        Outcome::TornTail(reason) => {
            tracing::warn!(offset = stop.offset.get(), reason, "the last append was cut off; the log ends before it");
        }
        Outcome::Corruption { reason, .. } => return Err(files.corruption(stop.offset, reason)),
    }
    files.cut(stop.offset)
}

fn open_log(
    config: &Config,
    dirs: Arc<Dirs>,
    files: LogFiles,
    start: LogOffset,
    stop: &Stop,
) -> Result<Arc<CommitLog>> {
    let (ahead, flush) = (config.allocation.clone(), config.flush.mode);
    let log = CommitLog::open(dirs, config.commit_log_file_size, ahead, flush, files.list, start..stop.offset)?;
    log.last_store_timestamp.store(stop.last_store_timestamp.unwrap_or_default().get(), Ordering::Relaxed);
    Ok(Arc::new(log))
}

/// All followers, in the order in which they take a record. The index is last, because it is the
/// one that waits for the disk.
fn in_order(table: &Arc<Table>, own: Vec<Arc<dyn Follower>>, index: &Arc<Index>, config: &Config) -> Followers {
    let mut followers = Followers::new(config.tags_code.clone());
    followers.add(Arc::clone(table) as _, |marks, store_timestamp| marks.consume_queue_timestamp = store_timestamp);
    own.into_iter().for_each(|follower| followers.add_own(follower));
    let indexed = Arc::clone(index);
    followers.add(Arc::clone(index) as _, move |marks, _| marks.index_timestamp = indexed.end().1);
    followers
}

impl Drop for MessageStore {
    fn drop(&mut self) {
        self.log.set_closed();
        self.stop_threads();
    }
}
