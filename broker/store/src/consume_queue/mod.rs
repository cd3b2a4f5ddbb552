//! Consume queues: for each topic and queue id, the positions of its messages in the commit log.
//!
//! They contain nothing that the commit log does not. The dispatch thread writes them after the
//! append, and entries lost in a crash are written again from the log. So entries accumulate in
//! memory, are readable there at once, and are written to files in batches. Files are read and
//! written with plain calls, not mapped: a hundred thousand queues would need more mappings than a
//! process may have.
//!
//! Some written entries stay in memory, for consumers that keep up. Their total is bounded: all
//! queues share `Config::consume_queue_cache`, see [`table`]. Growing buffers double, so entries in
//! memory occupy that much at most, plus twice the bytes that wait to be written.
//!
//! | module | contents |
//! |---|---|
//! | [`entry`] | the 20 bytes of an entry |
//! | [`tags_code`] | the number in an entry that filters check |
//! | [`files`] | the files of all queues, a bounded number of them open |
//! | [`unsynced`] | which of them are not synced, and a sync that misses no error |
//! | [`table`] | all queues of the store: lookup, writing, deletion |
//! | [`load`] | loading the queues when the store is opened |
//! | [`search`] | the smallest valid offset; the offset at a time |
//! | [`inspect`] | the files of a store that no broker has open, compared with the log |

pub(crate) mod entry;
pub(crate) mod files;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod search;
pub(crate) mod table;
pub(crate) mod tags_code;
mod unsynced;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_protocol::message::stored::Record;
use rmq_protocol::message::sys_flag::{self, Transaction};

use crate::error::Result;
use crate::get::Reach;
use crate::position::{LogOffset, QueueOffset};
use entry::{Entry, SIZE};
use files::Files;

/// The most entries of one queue that stay in memory after they were written; fewer if many queues
/// share the memory.
const KEPT: usize = 128;

/// One queue.
///
/// `min <= tail_from <= written <= max`, all counted in entries; `next` is ahead of `max` by what
/// is appended to the log and not dispatched yet.
#[derive(Debug)]
pub(crate) struct Queue {
    number: u64,
    topic: Arc<str>,
    id: i32,
    /// The offset of the next message. Changed under the append lock, and by dispatch on a replica.
    pub(crate) next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first entry that points into the log.
    min: QueueOffset,
    /// The end of the entries.
    max: QueueOffset,
    /// Entries below this are in the files.
    written: QueueOffset,
    /// The entries from `tail_from` to `max`, in memory.
    tail_from: QueueOffset,
    tail: Vec<u8>,
    /// Physical offset of entry `min`, if known.
    min_physical: Option<LogOffset>,
    /// The queue is in the table's list of queues to be written.
    listed: bool,
    /// Its topic was deleted: it accepts nothing more; a new queue replaces it.
    deleted: bool,
}

/// The outcome of adding a dispatched entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is readable; the caller must list the queue for writing.
    List,
    /// It is readable; the queue is listed already.
    Listed,
    /// It existed before, as recovery dispatches some records again; or the queue is deleted.
    Repeated,
    /// It does not follow the last entry: this many places lie between them.
    Gap(u64),
}

impl Queue {
    pub(crate) fn new(number: u64, topic: Arc<str>, id: i32) -> Self {
        Queue { number, topic, id, next: AtomicU64::new(0), state: Mutex::default() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// The offset of the next message.
    pub(crate) fn next(&self) -> QueueOffset {
        QueueOffset::new(self.next.load(Ordering::Relaxed))
    }

    /// Sets the offset of the next message.
    fn set_next(&self, offset: QueueOffset) {
        self.next.store(offset.get(), Ordering::Relaxed);
    }

    /// First valid and next free entry.
    pub(crate) fn bounds(&self) -> (QueueOffset, QueueOffset) {
        let state = self.state.lock();
        (state.min, state.max)
    }

    /// Adds the entry of queue offset `offset`.
    pub(crate) fn add(&self, offset: QueueOffset, entry: Entry) -> Added {
        self.next.fetch_max(offset.get() + 1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if offset < state.max || state.deleted {
            return Added::Repeated;
        }
        if offset > state.max {
            return Added::Gap(offset - state.max);
        }
        state.tail.extend_from_slice(&entry.encode());
        state.max += 1;
        match std::mem::replace(&mut state.listed, true) {
            true => Added::Listed,
            false => Added::List,
        }
    }

    /// Reads up to `count` entries from `from` on into `into`, replacing its contents. Fewer if the
    /// queue ends, or if retention has just deleted a file. `false` if they cannot be read without
    /// waiting.
    pub(crate) fn read(
        &self,
        files: &Files,
        from: QueueOffset,
        count: usize,
        reach: Reach,
        into: &mut Vec<u8>,
    ) -> Result<bool> {
        into.clear();
        let newer = {
            let state = self.state.lock();
            let to = from.saturating_add(count as u64).min(state.max);
            if from >= to {
                // The offset may be far beyond the end.
                return Ok(true);
            }
            let on_disk = if from < state.tail_from { to.min(state.written).saturating_since(from) } else { 0 };
            into.resize(on_disk as usize * SIZE, 0);
            let tail = |offset: QueueOffset| offset.saturating_since(state.tail_from) as usize * SIZE;
            let newer = state.tail.get(tail(from + on_disk)..tail(to)).unwrap_or_default();
            if on_disk == 0 {
                into.extend_from_slice(newer);
                return Ok(true);
            }
            newer.to_vec()
        };
        let read = match reach {
            Reach::Memory => files.read_if_resident(self, entry::byte_of(from), into)?,
            Reach::Disk => files.read(self, entry::byte_of(from), into)?,
        };
        if !read {
            into.clear();
            return Ok(reach == Reach::Disk);
        }
        into.extend_from_slice(&newer);
        Ok(true)
    }

    /// One entry.
    pub(crate) fn entry(&self, files: &Files, offset: QueueOffset) -> Result<Option<Entry>> {
        let mut bytes = Vec::with_capacity(SIZE);
        self.read(files, offset, 1, Reach::Disk, &mut bytes)?;
        Ok(entry::iter(&bytes).next())
    }

    /// Writes the pending entries and takes the queue off the list; returns how many bytes that
    /// were. After an error all entries are still pending, and the queue has to be listed again.
    fn write_out(self: &Arc<Self>, files: &Files) -> Result<usize> {
        let (from, bytes) = {
            let mut state = self.state.lock();
            state.listed = false;
            let at = (state.written - state.tail_from) as usize * SIZE;
            (state.written, state.tail[at..].to_vec())
        };
        files.write(self, entry::byte_of(from), &bytes)?;
        self.state.lock().written = from + (bytes.len() / SIZE) as u64;
        Ok(bytes.len())
    }

    /// Marks the queue as deleted and discards its pending entries; returns how many bytes they
    /// had.
    fn close(&self) -> usize {
        let mut state = self.state.lock();
        let waiting = (state.max - state.written) as usize * SIZE;
        *state = State { deleted: true, listed: state.listed, ..State::default() };
        waiting
    }

    /// Marks the queue as listed; `false` if it was already.
    fn list(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().listed, true)
    }

    /// Keeps no more than `most` written entries in memory, and half of `most` if there were more,
    /// so that not every new entry moves the others. Returns the bytes of memory that the entries
    /// occupy: `2 * most * SIZE` at most, or what the pending entries need.
    fn trim(&self, most: usize) -> usize {
        let mut state = self.state.lock();
        let kept = (state.written - state.tail_from) as usize;
        if kept > most {
            let surplus = kept - most / 2;
            state.tail.drain(..surplus * SIZE);
            state.tail_from += surplus as u64;
        }
        state.tail.shrink_to(2 * most * SIZE);
        state.tail.capacity()
    }

    /// Sets the queue to the state of its files: they contain the entries `min..max`, and nothing
    /// is in memory. `min_physical` is the target of entry `min`, if known.
    fn place(&self, min: QueueOffset, max: QueueOffset, min_physical: Option<LogOffset>) {
        let mut state = self.state.lock();
        let listed = state.listed;
        *state = State { min, max, written: max, tail_from: max, min_physical, listed, ..State::default() };
    }
}

/// Whether a record is a message for consumers: half messages and rolled back ones are in no queue.
pub(crate) fn is_consumable(record: &Record<'_>) -> bool {
    matches!(sys_flag::transaction(record.sys_flag()), Transaction::None | Transaction::Commit)
}

/// Whether a topic can be the name of a directory. The server admits no other; a record that came
/// another way is stored, but has no consume queue.
pub(crate) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= 255 && topic != "." && topic != ".." && !topic.contains(['/', '\0'])
}

#[cfg(test)]
mod tests;
