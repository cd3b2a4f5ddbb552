//! Reading messages by queue and offset, as a consumer pulls them.

mod scan;

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use rmq_protocol::message::stored::Record;

use crate::MessageStore;
use crate::error::Result;
use crate::position::QueueOffset;
use scan::Scan;

/// Bytes within this distance from the end of the log were written a moment ago and are in memory,
/// if there is enough of it.
const HOT: u64 = 256 << 20;

/// Bytes at the end of the log that are assumed to be in memory without a check: [`HOT`], but an
/// eighth of `memory` at most, as queues, index and the process itself also need the page cache of
/// a small pod. Beyond it a pull asks the system, which costs a microsecond per 16 KiB.
pub(crate) fn hot(memory: u64) -> u64 {
    HOT.min(memory / 8)
}

/// Where messages may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Memory: the process's own or the page cache. The read does not block.
    Memory,
    /// The disk as well.
    Disk,
}

/// The limits of a read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most messages.
    pub messages: usize,
    /// The most bytes; one message is returned whatever its size.
    pub bytes: usize,
}

/// The filter of a reader. The consume queue entry is checked first, because that needs no access
/// to the record.
#[derive(Clone, Copy)]
pub struct Filter<'f> {
    /// By the tags code of the consume queue entry.
    pub by_tags_code: &'f dyn Fn(i64) -> bool,
    /// By the record, if needed. The first record that a read shows it must not end the read, which
    /// would make no progress.
    pub by_record: Option<&'f dyn Fn(&Record<'_>) -> Verdict>,
}

/// What a filter says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The reader gets it.
    Take,
    /// The reader does not want it.
    Pass,
    /// The read ends before it, because it has taken long enough; the next one continues there.
    End,
}

impl Filter<'_> {
    /// A filter that accepts every message.
    pub const ALL: Filter<'static> = Filter { by_tags_code: &|_| true, by_record: None };
}

/// The status of a read; the names are those of Java's `GetMessageStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetStatus {
    /// There are messages.
    Found,
    /// There are messages, but the filter accepts none; continue at the next offset.
    NoMatchedMessage,
    /// The target of the queue entry is being deleted; continue at the next offset.
    MessageWasRemoving,
    /// The queue does not exist.
    NoMatchedLogicQueue,
    /// The queue never had a message.
    NoMessageInQueue,
    /// The offset is within bounds, but its entry cannot be read at the moment.
    OffsetFoundNull,
    /// The offset is that of the next message.
    OffsetOverflowOne,
    /// The offset is beyond that.
    OffsetOverflowBadly,
    /// The offset is before the first message that still exists.
    OffsetTooSmall,
}

/// The result of a read.
#[derive(Debug, Clone)]
pub struct Got {
    /// The status.
    pub status: GetStatus,
    /// The offset to continue at, or to read at instead.
    pub next_offset: QueueOffset,
    /// First offset of the queue.
    pub min_offset: QueueOffset,
    /// Offset of the next message.
    pub max_offset: QueueOffset,
    /// The records, in order, several to a piece: neighbours in the log, and small records copied
    /// together.
    pub records: Vec<Bytes>,
    /// The number of records in the pieces.
    pub count: usize,
    /// Their bytes.
    pub size: usize,
    /// The reader is so far behind that its messages are probably no longer in memory: it should
    /// read from another broker.
    pub far_behind: bool,
}

impl Got {
    fn nothing(status: GetStatus) -> Got {
        let (next_offset, min_offset, max_offset) = Default::default();
        let (count, size, far_behind) = (0, 0, false);
        Got { status, next_offset, min_offset, max_offset, records: Vec::new(), count, size, far_behind }
    }
}

impl MessageStore {
    /// Like [`MessageStore::get`] without blocking: `None` if the messages are not in memory.
    /// Returns fewer messages if only the first ones are in memory.
    ///
    /// # Errors
    /// As [`MessageStore::get`].
    pub fn get_if_resident(
        &self,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        limits: Limits,
        filter: Filter<'_>,
    ) -> Result<Option<Got>> {
        self.timed((topic, queue_id), offset, limits, filter, Reach::Memory)
    }

    /// Reads messages of a queue from an offset on.
    ///
    /// # Errors
    /// Only if the disk fails; everything else is a status.
    pub fn get(
        &self,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        limits: Limits,
        filter: Filter<'_>,
    ) -> Result<Got> {
        let got = self.timed((topic, queue_id), offset, limits, filter, Reach::Disk)?;
        Ok(got.unwrap_or_else(|| Got::nothing(GetStatus::OffsetFoundNull)))
    }

    fn timed(
        &self,
        queue: (&str, i32),
        offset: QueueOffset,
        limits: Limits,
        filter: Filter<'_>,
        reach: Reach,
    ) -> Result<Option<Got>> {
        let begun = Instant::now();
        let got = self.read_queue(queue, offset, limits, filter, reach);
        let counters = &self.log.counters;
        match got {
            Ok(None) => {
                counters.gets_not_resident.fetch_add(1, Ordering::Relaxed);
            }
            _ => counters.get_times.add(begun.elapsed()),
        }
        got
    }

    fn read_queue(
        &self,
        (topic, queue_id): (&str, i32),
        offset: QueueOffset,
        limits: Limits,
        filter: Filter<'_>,
        reach: Reach,
    ) -> Result<Option<Got>> {
        let mut got = Got::nothing(GetStatus::NoMatchedLogicQueue);
        let Some(queue) = self.table.find(topic, queue_id) else { return Ok(Some(got)) };
        (got.min_offset, got.max_offset) = queue.bounds();
        (got.status, got.next_offset) = place(offset, got.min_offset, got.max_offset);
        match got.status {
            GetStatus::NoMatchedMessage => Scan::new(self, &queue, got, limits, filter, reach).run(),
            _ => Ok(Some(got)),
        }
    }
}

/// The status of an offset in a queue with these bounds, and the offset to read at. If messages
/// have to be read from there, the status is that none has matched yet.
fn place(offset: QueueOffset, min: QueueOffset, max: QueueOffset) -> (GetStatus, QueueOffset) {
    match offset {
        _ if max == QueueOffset::ZERO => (GetStatus::NoMessageInQueue, max),
        offset if offset < min => (GetStatus::OffsetTooSmall, min),
        offset if offset == max => (GetStatus::OffsetOverflowOne, offset),
        offset if offset > max => (GetStatus::OffsetOverflowBadly, max),
        offset => (GetStatus::NoMatchedMessage, offset),
    }
}
