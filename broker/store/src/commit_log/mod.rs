//! The commit log: every record of every topic, one after another, in files of equal size.
//!
//! Offsets are positions in that sequence and never start again: the file that holds offset `o`
//! begins at `o - o % file_size` and is named after it. Deleting old files moves `min`; appending
//! moves `appended`:
//!
//! ```text
//! min <= dispatched <= appended        flushed <= appended
//! ```
//!
//! except for the moment in which a truncation, or the first bytes of a replica, move them.
//! `flushed` may be behind `min`: bytes that retention deletes before they were flushed are not
//! flushed any more. The server sets `confirmed`.
//!
//! | module | contents |
//! |---|---|
//! | [`append`] | the one write path, and the replica's |
//! | [`read`] | ranges and records as bytes that borrow the mapping |
//! | [`flush`] | the thread that flushes appended bytes to the disk |
//! | [`recover`] | the one scanner, and the meaning of the place where it stops |
//! | [`refusal`] | why writes are refused |
//! | [`truncate`] | cutting a replica's tail |
//!
//! Lock order: `append`, then `files`. `files` is held only to read or change the list, never
//! during disk I/O; only a truncation holds `append` during disk I/O.

pub(crate) mod append;
pub(crate) mod flush;
pub(crate) mod read;
pub(crate) mod recover;
pub(crate) mod refusal;
pub(crate) mod truncate;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::config::{Allocation, FlushMode};
use crate::dir;
use crate::error::{Error, Result};
use crate::mapped_file::MappedFile;
use crate::mapped_file::allocate::{Allocator, Appendable};
use crate::mapped_file::dirs::Dirs;
use crate::mapped_file::region::Pages;
use crate::metrics::Counters;
use crate::position::LogOffset;
use crate::watermark::Watermark;
use refusal::Refusal;

/// The log and its four watermarks.
#[derive(Debug)]
pub(crate) struct CommitLog {
    pub(crate) dirs: Arc<Dirs>,
    file_size: u64,
    /// Records from here on were verified when the store was opened, or were appended since.
    checked_from: LogOffset,
    pub(crate) appended: Arc<Watermark>,
    pub(crate) flushed: Arc<Watermark>,
    pub(crate) confirmed: Arc<Watermark>,
    pub(crate) dispatched: Arc<Watermark>,
    append: Mutex<append::Append>,
    /// Oldest first, each beginning where the previous one ends.
    files: RwLock<Vec<Arc<MappedFile>>>,
    /// Held while a range is flushed, so that a truncation does not remove the file meanwhile.
    flushing: Mutex<()>,
    allocator: Allocator,
    /// Preallocation for the file that takes appends.
    pages: Pages,
    /// Of the last record appended or, on a replica, dispatched; 0 if there is none.
    pub(crate) last_store_timestamp: AtomicI64,
    pub(crate) refusal: Arc<Refusal>,
    pub(crate) counters: Counters,
}

impl CommitLog {
    /// The log as recovery found it: `files` in order, all but the last one full, the last one good
    /// up to the end of `read`. The bytes before its start are on the disk; the bytes in it may be
    /// in the page cache only.
    pub(crate) fn open(
        dirs: Arc<Dirs>,
        file_size: u64,
        ahead: Allocation,
        flush: FlushMode,
        files: Vec<(LogOffset, PathBuf)>,
        read: Range<LogOffset>,
    ) -> Result<CommitLog> {
        let end = read.end;
        let pages = match flush {
            FlushMode::Sync => Pages::Single,
            FlushMode::Async => Pages::Many,
        };
        let mut mapped = Vec::with_capacity(files.len());
        let mut current = None;
        for (base, path) in files {
            let published = end.saturating_since(base).min(file_size);
            let (file, cursor) = MappedFile::open(&path, base, file_size, published, pages)?;
            let file = Arc::new(file);
            if published < file_size {
                current = Some(Appendable { file: Arc::clone(&file), cursor });
            }
            mapped.push(file);
        }
        let taking = current.as_ref().map(|appendable| (Arc::clone(&appendable.file), end));
        let flushed = Arc::new(Watermark::new(read.start.min(end)));
        let refusal = Arc::new(Refusal::new(Arc::clone(&flushed)));
        let allocator = Allocator::start(Arc::clone(&dirs), file_size, ahead, pages, taking, {
            let refusal = Arc::clone(&refusal);
            move |name| refusal.thread_ended(name, true)
        })?;
        Ok(CommitLog {
            dirs,
            file_size,
            checked_from: read.start,
            appended: Arc::new(Watermark::new(end)),
            flushed,
            confirmed: Arc::new(Watermark::new(LogOffset::ZERO)),
            dispatched: Arc::new(Watermark::new(end)),
            append: Mutex::new(append::Append::at(end, current)),
            files: RwLock::new(mapped),
            flushing: Mutex::new(()),
            allocator,
            pages,
            last_store_timestamp: AtomicI64::new(0),
            refusal,
            counters: Counters::default(),
        })
    }

    /// Offset of the first byte.
    pub(crate) fn min(&self) -> LogOffset {
        self.files.read().first().map_or_else(|| self.appended.value(), |file| file.base())
    }

    /// The file that contains an offset.
    pub(crate) fn file_at(&self, offset: LogOffset) -> Option<Arc<MappedFile>> {
        let files = self.files.read();
        let first = files.first()?.base();
        let at = offset.checked_since(first)? / self.file_size;
        files.get(usize::try_from(at).ok()?).map(Arc::clone)
    }

    /// Whether the checksum of the record at an offset was not verified since the store was opened.
    pub(crate) fn is_unchecked(&self, offset: LogOffset) -> bool {
        offset < self.checked_from
    }

    /// Syncs the directories, so that the names of its files are durable.
    fn sync_dirs(&self) -> Result<()> {
        self.dirs.all().filter(|dir| dir.exists()).try_for_each(dir::sync)
    }

    /// All files, oldest first.
    pub(crate) fn files(&self) -> Vec<Arc<MappedFile>> {
        self.files.read().clone()
    }

    /// Unlinks the oldest file and drops the log's reference to it. Readers that hold it keep it.
    /// `false` if `base` is not the oldest file any more, or is the last one: the log always keeps
    /// one file, which records where the log ends. A file that cannot be removed stays the oldest.
    /// Only a round of deletion calls this, and no truncation runs at the same time.
    pub(crate) fn delete_oldest(&self, base: LogOffset) -> Result<bool> {
        let oldest = || {
            let files = self.files.read();
            files.first().filter(|file| files.len() > 1 && file.base() == base).map(Arc::clone)
        };
        let Some(file) = oldest() else { return Ok(false) };
        file.delete()?;
        self.files.write().retain(|other| !Arc::ptr_eq(other, &file));
        self.sync_dirs()?;
        Ok(true)
    }

    /// Refuses writes until a restart: the state of the disk is unknown.
    pub(crate) fn fail(&self, why: String) {
        self.refusal.fail(why);
    }

    /// Refuses writes while the disk is too full.
    pub(crate) fn set_disk_full(&self, full: bool) {
        self.refusal.set_disk_full(full);
    }

    /// Refuses writes for good; when this returns no write is in progress.
    pub(crate) fn set_closed(&self) {
        self.refusal.set_closed();
        drop(self.append.lock());
    }

    /// Why flushes have failed for good, if they have.
    pub(crate) fn failure(&self) -> Result<()> {
        self.refusal.failure().map_or(Ok(()), |failure| Err(Error::ReadOnly(failure.why)))
    }

    /// Why writes are refused, if they are.
    pub(crate) fn refusal(&self) -> Result<()> {
        self.refusal.reason(|| self.dirs.writable()[0].clone())
    }

    /// How long an append that begins now waits for the lock, at most `timeout`.
    pub(crate) fn append_wait(&self, timeout: Duration) -> Duration {
        let begun = Instant::now();
        let _append = self.append.try_lock_for(timeout);
        begun.elapsed()
    }

    /// Ends the allocation thread; after a clean stop no prepared file is left that was never
    /// written to.
    pub(crate) fn stop(&self, tidy: bool) -> Result<()> {
        self.allocator.stop(tidy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, MessageStore};

    #[test]
    fn the_wait_for_an_append_is_as_long_as_another_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::new(root.path());
        config.commit_log_file_size = 64 << 10;
        let store = MessageStore::open(config, Vec::new()).unwrap();
        let long = Duration::from_secs(3600);
        assert!(store.append_wait(long) < long);
        let _held = store.log.append.lock();
        let timeout = Duration::from_millis(20);
        assert!(store.append_wait(timeout) >= timeout);
    }

    /// Waits until this process's thread sleeps, which means that it waits for a lock.
    fn wait_until_blocked(thread: i32) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let sleeps = || {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
        };
        while !sleeps() {
            assert!(Instant::now() < deadline, "the append does not wait for the lock");
            std::thread::yield_now();
        }
    }

    /// An append checked whether writes are refused, then waited for the lock, and was stored
    /// behind what closing had flushed.
    #[test]
    fn an_append_that_waited_for_the_lock_while_the_store_was_closed_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::new(root.path());
        config.commit_log_file_size = 64 << 10;
        let store = MessageStore::open(config, Vec::new()).unwrap();
        let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
        let message = crate::NewMessage {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: b"",
            body: b"late",
        };
        store.put(&message).unwrap();
        let end = store.appended().value();
        let held = store.log.append.lock();
        let (tell, told) = std::sync::mpsc::channel();
        let id = || tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let outcomes = std::thread::scope(|scope| {
            let put = scope.spawn(|| {
                id();
                store.put(&message).map(|_| ())
            });
            let replicate = scope.spawn(|| {
                id();
                store.append_replica(end, &[0; 100])
            });
            for _ in 0..2 {
                wait_until_blocked(told.recv().unwrap());
            }
            store.log.refusal.set_closed();
            drop(held);
            [put.join().unwrap(), replicate.join().unwrap()]
        });
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Closed))), "{outcomes:?}");
        assert_eq!(store.appended().value(), end);
    }
}
