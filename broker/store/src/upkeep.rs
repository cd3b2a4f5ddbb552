//! Background work of the store: checkpoints and the deletion of old files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::checkpoint::{Checkpoint, Marks};
use crate::commit_log::CommitLog;
use crate::config::Retention;
use crate::dir;
use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::follower::Turn;
use crate::position::{LogOffset, Millis};
use crate::retention::{Candidate, Doomed, Needed, Needs, Round};

/// How often the thread checks whether work is due.
const TICK: Duration = Duration::from_secs(1);

/// Rounds of deletion for one request. It is Java's number: if more files than one round takes are
/// expired, they are deleted without waiting for their hour.
const ROUNDS_ASKED: usize = 20;

/// The state of deletion between two rounds.
#[derive(Debug, Default)]
pub(crate) struct Deletion {
    /// The followers have yet to drop what the log has lost, because the previous round failed half
    /// way.
    behind: bool,
    /// Requested rounds that are still to come, because none before was enough.
    rounds: usize,
}

/// The usage of the volumes, in percent.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskUse {
    /// The volume of the commit log; if there are several, the one with the most room.
    pub commit_log: f64,
    /// The volume of each of its directories that gets new files.
    pub commit_log_dirs: Vec<(PathBuf, f64)>,
    /// The volume of the root directory, with consume queues and index.
    pub consume_queue: f64,
}

impl DiskUse {
    /// The usage that decides about deleting files and refusing writes: the fuller of the two.
    pub fn deciding(&self) -> f64 {
        self.commit_log.max(self.consume_queue)
    }
}

/// The state of the upkeep thread.
pub(crate) struct Upkeep {
    pub(crate) log: Arc<CommitLog>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) root: PathBuf,
    pub(crate) retention: Mutex<Retention>,
    /// The bytes that readers outside of the store have yet to copy.
    pub(crate) needs: Mutex<Option<Needs>>,
    /// Bytes of expired files that the last round kept for such a reader.
    pub(crate) held_bytes: AtomicU64,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) checkpoint_bytes: u64,
    /// The end of what the checkpoint covered when the store was opened. Records that were read
    /// back since count like dispatched ones: otherwise a process that crashes again and again
    /// before the interval is over would read ever more.
    pub(crate) vouched_for: LogOffset,
    /// Held for a whole round of deletion. Taken before `checkpoint`.
    pub(crate) deleting: Mutex<Deletion>,
    /// Held for a whole checkpoint. Taken before the dispatch turn.
    pub(crate) checkpoint: Mutex<Checkpoint>,
}

impl Upkeep {
    /// Runs until `stop`.
    pub(crate) fn run(&self, stop: &AtomicBool) {
        let (mut checkpoint_at, mut round_at) = (Instant::now() + self.checkpoint_interval, Instant::now());
        let mut covered = self.vouched_for;
        while !stop.load(Ordering::SeqCst) {
            let now = Instant::now();
            let dispatched = self.log.dispatched.value();
            if now >= checkpoint_at || dispatched.saturating_since(covered) >= self.checkpoint_bytes {
                (checkpoint_at, covered) = (now + self.checkpoint_interval, dispatched);
                if let Err(error) = self.checkpoint() {
                    tracing::warn!(%error, "no checkpoint; a start after a crash would take longer");
                }
            }
            if now >= round_at {
                round_at = now + self.retention.lock().interval;
                if let Err(error) = self.delete_expired(false, stop) {
                    tracing::warn!(%error, "old files could not be deleted");
                }
            }
            let round_interval = self.retention.lock().interval;
            std::thread::park_timeout(TICK.min(self.checkpoint_interval).min(round_interval));
        }
    }

    /// Makes everything dispatched so far durable and records that in the checkpoint.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.heed(self.write_checkpoint(&mut self.checkpoint.lock()))
    }

    /// If something could not be synced no checkpoint could ever cover it again: see
    /// `commit_log::flush`.
    fn heed<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error @ Error::Sync { .. }) = &outcome {
            self.log.fail(error.to_string());
        }
        outcome
    }

    fn write_checkpoint(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let followers = &self.dispatch.followers;
        let progress = self.dispatch.progress();
        let Some((last, store_timestamp)) = progress.last else { return Ok(()) };
        let mut marks = checkpoint.marks();
        let record = followers.vouched_for(&progress, last).to_wire();
        let covered = marks.dispatched_record == record && marks.commit_log_timestamp == store_timestamp;
        if covered && !followers.is_unsynced(&progress) {
            return Ok(());
        }
        self.log.flush()?;
        followers.sync(&progress)?;
        marks.commit_log_timestamp = store_timestamp;
        followers.mark(&progress, store_timestamp, &mut marks);
        marks.dispatched_record = record;
        checkpoint.write(marks)
    }

    /// Runs `cut`, which removes everything at or behind `to` from the log and its followers, while
    /// nothing else changes files. The checkpoint never covers removed records.
    pub(crate) fn around_truncation(&self, to: LogOffset, cut: impl FnOnce(&mut Turn) -> Result<()>) -> Result<()> {
        // A checkpoint whose sync failed may still cover what would be removed.
        self.log.failure()?;
        let _deleting = self.deleting.lock();
        let mut checkpoint = self.checkpoint.lock();
        let outcome = self.dispatch.interrupt(|turn| {
            let mut marks = checkpoint.marks();
            if marks.known_record().is_some_and(|record| record >= to) {
                marks.dispatched_record = 0;
                checkpoint.write(marks)?;
            }
            cut(turn)?;
            if turn.last.is_none() {
                // Its times are those of the log that is gone, and may be later than those of the
                // log that comes in its place.
                let none = Millis::default();
                marks = Marks { consume_queue_timestamp: none, index_timestamp: none, dispatched_record: 0, ..marks };
                checkpoint.write(marks)?;
            }
            Ok(())
        });
        self.heed(outcome.and_then(|()| self.write_checkpoint(&mut checkpoint)))
    }

    /// The usage of the volumes.
    pub(crate) fn disk_use(&self) -> Result<DiskUse> {
        let percent = |path: &std::path::Path| {
            let (used, total) = dir::usage(path)?;
            Ok::<_, Error>(100.0 * used as f64 / (total.max(1)) as f64)
        };
        let each = self.log.dirs.writable().iter().map(|dir| Ok((dir.clone(), percent(dir)?)));
        let commit_log_dirs = each.collect::<Result<Vec<_>>>()?;
        let commit_log = commit_log_dirs.iter().map(|(_, used)| *used).fold(f64::INFINITY, f64::min);
        Ok(DiskUse { commit_log, commit_log_dirs, consume_queue: percent(&self.root)? })
    }

    /// One round of deletion. If `asked` is set, this round and, if it is not enough, the following
    /// rounds of the upkeep thread delete at any hour. Returns how many commit log files were
    /// deleted. No file is deleted once a sync has failed: the names on the disk are not known any
    /// more, and a log with a hole could not be opened.
    pub(crate) fn delete_expired(&self, asked: bool, stop: &AtomicBool) -> Result<usize> {
        let mut deletion = self.deleting.lock();
        self.log.failure()?;
        if asked {
            deletion.rounds = ROUNDS_ASKED;
        }
        self.heed(self.delete_round(&mut deletion, stop))
    }

    fn delete_round(&self, deletion: &mut Deletion, stop: &AtomicBool) -> Result<usize> {
        let retention = self.retention.lock().clone();
        let disk = self.disk_use()?;
        let needed = self.needs.lock().as_ref().and_then(|needs| needs());
        let round = Round {
            now: SystemTime::now(),
            hour: jiff::Zoned::now().hour().unsigned_abs(),
            used_percent: disk.deciding(),
            asked: deletion.rounds > 0,
            dispatched: self.log.dispatched.value(),
            needed: needed.as_ref().map_or(LogOffset::MAX, |needed| needed.from),
        };
        let full = disk.commit_log_dirs.iter().filter(|(_, used)| *used > f64::from(retention.clean_forcibly));
        self.log.dirs.set_full(full.map(|(dir, _)| dir.clone()).collect());
        self.log.set_disk_full(round.refuses_writes(&retention));
        let files = self.log.files();
        let candidates: Vec<Candidate> = files
            .iter()
            .map_while(|file| {
                let modified = std::fs::metadata(file.path()).and_then(|data| data.modified()).ok()?;
                Some(Candidate { end: file.limit(), modified })
            })
            .collect();
        let Doomed { files: doomed, needed: lost, held } = round.doomed(&retention, &candidates);
        let held_bytes = files.iter().map(|file| file.limit() - file.base()).take(held).sum();
        let held_before = self.held_bytes.swap(held_bytes, Ordering::Relaxed);
        if let Some(Needed { from, by }) = needed {
            if held > 0 && held_before == 0 {
                tracing::info!(
                    files = held,
                    reader = by,
                    from = from.get(),
                    "expired files of the log are kept: a reader has yet to copy them"
                );
            }
            if lost > 0 {
                tracing::warn!(
                    files = lost,
                    reader = by,
                    from = from.get(),
                    "files that a reader has yet to copy are deleted, as the disk is {:.0} % full and files go above {} % \
                     (diskSpaceCleanForciblyRatio); it will have to copy the log anew",
                    round.used_percent,
                    retention.clean_forcibly
                );
            }
        }
        deletion.rounds = if doomed < retention.batch_max { 0 } else { deletion.rounds.saturating_sub(1) };
        if doomed > 0 {
            self.keep_numbers()?;
        }
        let (mut deleted, mut outcome) = (0, Ok(()));
        for file in files.iter().take(doomed) {
            if deleted > 0 {
                std::thread::park_timeout(retention.pause);
            }
            if stop.load(Ordering::SeqCst) {
                break;
            }
            match self.log.delete_oldest(file.base()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            tracing::info!(file = %file.path().display(), "deleted an old commit log file");
            (deleted, deletion.behind) = (deleted + 1, true);
        }
        if deletion.behind {
            self.dispatch.followers.trim(self.log.min())?;
            deletion.behind = false;
        }
        outcome.map(|()| deleted)
    }

    /// Makes queues durable before records are deleted: if those were the only records of a queue,
    /// only its files know the next offset.
    fn keep_numbers(&self) -> Result<()> {
        match self.checkpoint() {
            // Without the space that this frees there might never be any.
            Err(error @ Error::Full { .. }) => {
                tracing::warn!(%error, "old files go before their queues are on the disk")
            }
            outcome => outcome?,
        }
        Ok(())
    }

    /// Makes the followers of the log drop what it has lost, while no round of deletion moves its
    /// start.
    pub(crate) fn trim_followers(&self) -> Result<()> {
        let mut deletion = self.deleting.lock();
        self.log.failure()?;
        self.heed(self.dispatch.followers.trim(self.log.min()))?;
        deletion.behind = false;
        Ok(())
    }
}
