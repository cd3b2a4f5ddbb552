//! From the commit log to those who look for messages: the thread that follows the log and writes each record into its
//! consume queue and the index, tells who waits, and moves `dispatched`.
//!
//! Everything it writes can be written again from the log, so it syncs nothing and leaves entries to the thread that writes them.
//! It waits for the disk all the same where
//!
//! * too many entries wait to be written, which bounds memory;
//! * a queue does not go on where it ended: its files are looked at, filled or deleted;
//! * the index needs its next file, or blocks for the next 4 MiB of entries;
//! * pages of log or index have left the memory.
//!
//! Consumers see new messages later then; puts, and gets of what is dispatched, go on. While the index cannot be written, on a full disk above all,
//! dispatch goes on without it and the index catches up later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rmq_protocol::message::properties;
use rmq_protocol::message::stored::{self, Head, Record};
use rmq_protocol::message::sys_flag::{self, Transaction};

use crate::commit_log::CommitLog;
use crate::consume_queue::entry::Entry;
use crate::consume_queue::table::Table;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::mapped_file::MappedFile;

/// The topic whose entries carry a time of delivery instead of a hash of tags.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Records handled in one turn.
const BATCH: usize = 256;
/// How long the thread waits at most before it looks around.
const GLANCE: Duration = Duration::from_millis(500);
/// Pause before the next record may wake the thread, once several have come at a time or [`CLOSE`] to each other: under load each append would wake it for one
/// record, at the price of two switches of threads. A message that follows so closely reaches its consumers that much later.
const REST: Duration = Duration::from_micros(100);
/// More than a rest and what waking takes, so that a steady stream is one.
const CLOSE: Duration = Duration::from_micros(250);
/// Pause after something that a full disk prevented.
const RETRY: Duration = Duration::from_secs(1);

/// A message that has just become readable.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// Its number in the queue.
    pub queue_offset: u64,
    /// What a filter by tags compares; for delayed messages the time of delivery.
    pub tags_code: i64,
    /// Where its record lies.
    pub physical_offset: u64,
    /// Bytes of the record.
    pub size: usize,
    /// When it was stored, ms.
    pub store_timestamp: i64,
    /// Its property string.
    pub properties: &'a [u8],
}

/// Called for each message that becomes readable, on the dispatch thread: it must not block, and must not truncate or
/// close the store.
pub type Arrivals = Box<dyn Fn(&Arrival<'_>) + Send + Sync>;

/// Where records are written to: by the dispatch thread, and by recovery before there is one.
pub(crate) struct Targets {
    pub(crate) table: Arc<Table>,
    pub(crate) index: Arc<Index>,
    pub(crate) delay_levels: Vec<Duration>,
}

/// The dispatch thread's own.
pub(crate) struct Dispatch {
    log: Arc<CommitLog>,
    targets: Targets,
    arrivals: Arrivals,
    /// For figures: where the index is behind; `u64::MAX` where it is not.
    index_behind: AtomicU64,
    /// Held while records are handled, so that a truncation or a checkpoint finds a record done or not begun.
    turn: Mutex<Turn>,
}

/// How far dispatch has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    /// The last record handled: its physical offset and store timestamp.
    pub(crate) last: Option<(u64, i64)>,
    /// The first record that is not in the index, where it could not be written, and when to try again.
    pub(crate) index_behind: Option<(u64, Instant)>,
}

impl Turn {
    /// Where the index is behind; `u64::MAX` where it is not.
    fn index_behind(&self) -> u64 {
        self.index_behind.map_or(u64::MAX, |(offset, _)| offset)
    }
}

enum Step {
    Record(Arc<MappedFile>, usize),
    NextFile(u64),
    Wait,
}

impl Dispatch {
    /// Goes on behind what `turn` has seen.
    pub(crate) fn new(log: Arc<CommitLog>, targets: Targets, turn: Turn, arrivals: Arrivals) -> Self {
        let index_behind = AtomicU64::new(turn.index_behind());
        Dispatch { log, targets, arrivals, index_behind, turn: Mutex::new(turn) }
    }

    /// How far dispatch has come, between two records.
    pub(crate) fn turn(&self) -> Turn {
        *self.turn.lock()
    }

    /// Bytes of log that are dispatched and not indexed.
    pub(crate) fn index_lag(&self) -> u64 {
        self.log.dispatched.value().saturating_sub(self.index_behind.load(Ordering::Relaxed))
    }

    /// Keeps dispatch away while `change` runs, and tells it where it is afterwards.
    pub(crate) fn interrupt<T>(&self, change: impl FnOnce(&mut Turn) -> T) -> T {
        change(&mut self.turn.lock())
    }

    /// Runs until `stop`.
    pub(crate) fn run(&self, stop: &AtomicBool) {
        let (mut busy, mut last) = (false, Instant::now());
        while !stop.load(Ordering::SeqCst) {
            if !self.targets.table.wait_for_room(GLANCE) {
                continue;
            }
            match self.take_turn() {
                Ok((0, _)) if busy => {
                    busy = false;
                    std::thread::park_timeout(REST);
                }
                Ok((0, limit)) => {
                    // A rewind or a failure wakes this too; the next round looks afresh.
                    let _ = self.log.appended.wait(limit + 1, Instant::now() + GLANCE, stop);
                }
                Ok((records, _)) => {
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

    /// Handles up to [`BATCH`] records; says how many, and how far it could have gone.
    fn take_turn(&self) -> Result<(usize, u64)> {
        let mut turn = self.turn.lock();
        // Only now: a truncation moves it, and none can come between.
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
                    self.targets.handle(&mut turn, &record, Some(&self.arrivals))?;
                    // On a replica nobody else knows.
                    self.log.last_store_timestamp.fetch_max(record.store_timestamp(), Ordering::Relaxed);
                    position += size as u64;
                    records += 1;
                    file = Some(found);
                }
            }
            self.log.dispatched.advance(position);
        }
        self.catch_up(&mut turn)?;
        self.index_behind.store(turn.index_behind(), Ordering::Relaxed);
        Ok((records, limit))
    }

    /// What lies at `position`; a replica's log may end inside a record.
    fn step(&self, position: u64, limit: u64, file: Option<Arc<MappedFile>>) -> Result<Step> {
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

    /// Adds records to the index that could not be added before, some at a time.
    fn catch_up(&self, turn: &mut Turn) -> Result<()> {
        let Some((from, when)) = turn.index_behind else { return Ok(()) };
        if Instant::now() < when {
            return Ok(());
        }
        let limit = self.log.dispatched.value();
        let (mut position, mut file) = (from.max(self.log.min()), None);
        for _ in 0..4 * BATCH {
            match if position < limit { self.step(position, limit, file.take())? } else { Step::Wait } {
                Step::Wait => {
                    turn.index_behind = None;
                    tracing::info!("the index has caught up");
                    return Ok(());
                }
                Step::NextFile(next) => position = next,
                Step::Record(found, size) => {
                    match self.targets.index.add(&record(&found, position, size)?) {
                        Ok(()) => {}
                        Err(error) => {
                            tracing::debug!(%error, "the index is still behind");
                            turn.index_behind = Some((position, Instant::now() + RETRY));
                            return Ok(());
                        }
                    }
                    position += size as u64;
                    file = Some(found);
                }
            }
        }
        turn.index_behind = Some((position, when));
        Ok(())
    }
}

impl Targets {
    /// Writes a record into its consume queue and the index.
    pub(crate) fn handle(&self, turn: &mut Turn, record: &Record<'_>, arrivals: Option<&Arrivals>) -> Result<()> {
        if is_consumable(record) && is_name(record.topic()) {
            let tags_code = self.tags_code(record);
            let entry = Entry { physical_offset: record.physical_offset(), size: record.size() as u32, tags_code };
            let queue = self.table.find_or_create(record.topic(), record.queue_id());
            self.table.add(&queue, record.queue_offset(), entry)?;
            if let Some(arrivals) = arrivals {
                arrivals(&Arrival {
                    topic: record.topic(),
                    queue_id: record.queue_id(),
                    queue_offset: record.queue_offset(),
                    tags_code,
                    physical_offset: record.physical_offset(),
                    size: record.size(),
                    store_timestamp: record.store_timestamp(),
                    properties: record.properties(),
                });
            }
        }
        if turn.index_behind.is_none() {
            match self.index.add(record) {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "the index falls behind until it can be written again");
                    turn.index_behind = Some((record.physical_offset(), Instant::now() + RETRY));
                }
            }
        }
        turn.last = Some((record.physical_offset(), record.store_timestamp()));
        Ok(())
    }

    /// What a filter by tags compares. For a delayed message the time at which it is to be delivered.
    fn tags_code(&self, record: &Record<'_>) -> i64 {
        if record.topic() == SCHEDULE_TOPIC
            && let Some(level @ 1..) = properties::find_number::<i64>(record.properties(), properties::DELAY)
        {
            let level = usize::try_from(level).unwrap_or(usize::MAX).min(self.delay_levels.len());
            let delay = self.delay_levels.get(level - 1).map_or(0, |delay| delay.as_millis() as i64);
            return record.store_timestamp().saturating_add(delay);
        }
        record.tags_code()
    }
}

fn record(file: &MappedFile, offset: u64, size: usize) -> Result<Record<'_>> {
    let corrupt = |reason: String| Error::Corruption { file: file.path().to_owned(), offset, reason };
    let bytes = file.bytes(offset, size).ok_or_else(|| corrupt("the record is not there".into()))?;
    let record = Record::parse(bytes).map_err(|error| corrupt(error.to_string()))?;
    match record.physical_offset() == offset {
        true => Ok(record),
        false => Err(corrupt(format!("a record that belongs to offset {}", record.physical_offset()))),
    }
}

/// Whether a record is a message for consumers: half messages and rolled back ones are in no queue.
pub(crate) fn is_consumable(record: &Record<'_>) -> bool {
    matches!(sys_flag::transaction(record.sys_flag()), Transaction::None | Transaction::Commit)
}

/// Whether a topic can be the name of a directory. The server lets no other in; a record that came another way is
/// stored, but has no consume queue.
pub(crate) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= 255 && topic != "." && topic != ".." && !topic.contains(['/', '\0'])
}
