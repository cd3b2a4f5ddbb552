//! From the commit log to everything derived from it: the dispatch thread reads the log behind the
//! appends, passes each record to the followers, and moves `dispatched`.
//!
//! Everything they write can be written again from the log, so nothing is synced here, and entries
//! are left to the thread that writes them. Dispatch waits for the disk in these cases:
//!
//! * too many entries are pending, which bounds memory;
//! * an entry does not follow the last one of its queue: the files are read, filled or deleted;
//! * the index needs its next file, or blocks for the next 4 MiB of entries;
//! * pages of log or index are no longer in memory.
//!
//! Consumers then see new messages later; puts, and gets of dispatched messages, go on. A follower
//! that cannot be written, most often the index on a full disk, is left behind and catches up
//! later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rmq_protocol::message::stored::{self, Head, Record};

use crate::commit_log::CommitLog;
use crate::error::{Error, Result};
use crate::follower::{Followers, Progress, RETRY, Turn};
use crate::mapped_file::MappedFile;
use crate::position::LogOffset;

/// Records handled in one turn.
const BATCH: usize = 256;
/// Interval at which the thread checks whether it must stop.
const GLANCE: Duration = Duration::from_millis(500);
/// Pause before the next record may wake the thread, once several have come at a time or within
/// [`CLOSE`] of each other: under load each append would wake it for one record, at the price of
/// two context switches. The price is that such a message reaches its consumers that much later.
const REST: Duration = Duration::from_micros(100);
/// More than a pause plus a wake-up, so that a steady stream counts as one.
const CLOSE: Duration = Duration::from_micros(250);
/// Records that a lagging follower gets in one turn.
const LATE_BATCH: usize = 4 * BATCH;

/// The state of the dispatch thread.
pub(crate) struct Dispatch {
    log: Arc<CommitLog>,
    pub(crate) followers: Followers,
    /// Held while records are handled, so that a truncation or a checkpoint finds a record either
    /// done or not begun.
    turn: Mutex<Turn>,
}

/// The result of a turn.
struct Handled {
    records: usize,
    /// How far it could have got.
    limit: LogOffset,
    /// A lagging follower accepts records, and there are more for it.
    late: bool,
}

enum Step {
    Record(Arc<MappedFile>, usize),
    NextFile(LogOffset),
    Wait,
}

impl Dispatch {
    /// Continues after what `turn` has seen.
    pub(crate) fn new(log: Arc<CommitLog>, followers: Followers, turn: Turn) -> Self {
        Dispatch { log, followers, turn: Mutex::new(turn) }
    }

    /// How far dispatch has got, between two records.
    pub(crate) fn progress(&self) -> Progress {
        let turn = self.turn.lock();
        self.followers.progress(&turn, self.log.dispatched.value())
    }

    /// Keeps dispatch stopped while `change` runs, and sets its new position afterwards.
    pub(crate) fn interrupt<T>(&self, change: impl FnOnce(&mut Turn) -> T) -> T {
        change(&mut self.turn.lock())
    }

    /// Runs until `stop`.
    pub(crate) fn run(&self, stop: &AtomicBool) {
        let (mut busy, mut last) = (false, Instant::now());
        while !stop.load(Ordering::SeqCst) {
            if !self.followers.wait_for_room(GLANCE) {
                continue;
            }
            match self.take_turn() {
                Ok(Handled { records: 0, late: true, .. }) => {}
                Ok(Handled { records: 0, .. }) if busy => {
                    busy = false;
                    std::thread::park_timeout(REST);
                }
                Ok(Handled { records: 0, limit, .. }) => {
                    // A rewind or a failure wakes this too; the next round reads the positions
                    // again.
                    let _ = self.log.appended.wait(limit + 1, Instant::now() + GLANCE, stop);
                }
                Ok(Handled { records, .. }) => {
                    let now = Instant::now();
                    busy = records > 1 || now - last < CLOSE;
                    last = now;
                }
                Err(error @ (Error::Corruption { .. } | Error::OutOfRange { .. })) => {
                    self.log.fail(format!("dispatch cannot go on: {error}"));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "dispatch waits");
                    std::thread::park_timeout(RETRY);
                }
            }
        }
    }

    /// Handles up to [`BATCH`] records, and as many as a lagging follower may take.
    fn take_turn(&self) -> Result<Handled> {
        let mut turn = self.turn.lock();
        // Read only now: a truncation moves it, and none can come between.
        let limit = self.log.appended.value();
        let mut position = self.log.dispatched.value();
        let mut file = None;
        let mut records = 0;
        while position < limit && records < BATCH {
            match self.step(position, limit, file.take())? {
                Step::Wait => break,
                Step::NextFile(next) => position = next,
                Step::Record(found, size) => {
                    let record = record(&found, position, size)?;
                    self.followers.take(&mut turn, &record)?;
                    // On a replica no append has recorded it.
                    self.log.last_store_timestamp.fetch_max(record.store_timestamp(), Ordering::Relaxed);
                    position += size as u64;
                    records += 1;
                    file = Some(found);
                }
            }
            self.log.dispatched.advance(position);
        }
        for (number, from) in self.followers.due(&turn) {
            self.catch_up(&mut turn, number, from)?;
        }
        self.followers.publish(&turn);
        Ok(Handled { records, limit, late: !self.followers.due(&turn).is_empty() })
    }

    /// What lies at `position`; a replica's log may end inside a record.
    fn step(&self, position: LogOffset, limit: LogOffset, file: Option<Arc<MappedFile>>) -> Result<Step> {
        let Some(file) = file.filter(|file| position < file.limit()).or_else(|| self.log.file_at(position)) else {
            return Err(Error::OutOfRange { asked: position, min: self.log.min(), max: limit });
        };
        let whole = limit.min(file.limit());
        let corrupt = |reason: String| Error::Corruption { file: file.path().to_owned(), offset: position, reason };
        let Some(head) = file.bytes(position, stored::BLANK_SIZE).filter(|_| position + 8 <= whole) else {
            return Ok(Step::Wait);
        };
        match stored::head(head).map_err(|error| corrupt(error.to_string()))? {
            Head::Record(size, _) if position + size as u64 <= whole => Ok(Step::Record(file, size)),
            Head::Record(size, _) if position + size as u64 <= file.limit() => Ok(Step::Wait),
            Head::Record(size, _) => Err(corrupt(format!("a record of {size} bytes does not fit into its file"))),
            Head::Blank(_) if limit < file.limit() => Ok(Step::Wait),
            Head::Blank(_) => Ok(Step::NextFile(file.limit())),
            Head::Empty => Err(corrupt("nothing was written here".into())),
        }
    }

    /// Passes skipped records to a lagging follower, some at a time.
    fn catch_up(&self, turn: &mut Turn, number: usize, from: LogOffset) -> Result<()> {
        let limit = self.log.dispatched.value();
        let (mut position, mut file) = (from.max(self.log.min()), None);
        for _ in 0..LATE_BATCH {
            match if position < limit { self.step(position, limit, file.take())? } else { Step::Wait } {
                Step::Wait => {
                    self.followers.caught_up(turn, number, None);
                    return Ok(());
                }
                Step::NextFile(next) => position = next,
                Step::Record(found, size) => {
                    if !self.followers.take_late(turn, number, &record(&found, position, size)?) {
                        return Ok(());
                    }
                    position += size as u64;
                    file = Some(found);
                }
            }
        }
        self.followers.caught_up(turn, number, Some(position));
        Ok(())
    }
}

fn record(file: &MappedFile, offset: LogOffset, size: usize) -> Result<Record<'_>> {
    let corrupt = |reason: String| Error::Corruption { file: file.path().to_owned(), offset, reason };
    let bytes = file.bytes(offset, size).ok_or_else(|| corrupt("the record is not there".into()))?;
    let record = Record::parse(bytes).map_err(|error| corrupt(error.to_string()))?;
    match LogOffset::of(&record) == offset {
        true => Ok(record),
        false => Err(corrupt(format!("a record that belongs to offset {}", record.physical_offset()))),
    }
}
