//! Handing messages out: by queue and offset, as a consumer pulls them.

mod scan;

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use rmq_protocol::message::stored::Record;

use crate::MessageStore;
use crate::error::Result;
use crate::position::QueueOffset;
use scan::Scan;

/// What lies within so many bytes of the end of the log was written a moment ago and is in memory,
/// where there is enough of it.
const HOT: u64 = 256 << 20;

/// Bytes at the end of the log that are taken to be in memory without asking: [`HOT`], but an
/// eighth of `memory` at most, as the page cache of a small pod is also wanted by queues, index and
/// the process itself. Beyond it a pull asks the system, for a microsecond a 16 KiB.
pub(crate) fn hot(memory: u64) -> u64 {
    HOT.min(memory / 8)
}

/// Where messages may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Memory: the process's own or the system's. Nothing is waited for.
    Memory,
    /// The disk as well.
    Disk,
}

/// What the reader wants.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most messages.
    pub messages: usize,
    /// Most bytes; one message is returned whatever its size.
    pub bytes: usize,
}

/// Which messages the reader wants. The consume queue is asked first, because that costs no look at
/// the record.
#[derive(Clone, Copy)]
pub struct Filter<'f> {
    /// By the tags code of the consume queue entry.
    pub by_tags_code: &'f dyn Fn(i64) -> bool,
    /// By the record, where that is needed.
    pub by_record: Option<&'f dyn Fn(&Record<'_>) -> bool>,
}

impl Filter<'_> {
    /// Lets everything through.
    pub const ALL: Filter<'static> = Filter { by_tags_code: &|_| true, by_record: None };
}

/// How a read went; the names are those of Java's `GetMessageStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetStatus {
    /// There are messages.
    Found,
    /// There are messages, but none the filter lets through; go on at the next offset.
    NoMatchedMessage,
    /// What the queue points to is being deleted; go on at the next offset.
    MessageWasRemoving,
    /// There is no such queue.
    NoMatchedLogicQueue,
    /// The queue never had a message.
    NoMessageInQueue,
    /// The offset is within bounds, but its entry cannot be read just now.
    OffsetFoundNull,
    /// The offset is the one the next message will get.
    OffsetOverflowOne,
    /// The offset is beyond that.
    OffsetOverflowBadly,
    /// The offset is before the first message that is left.
    OffsetTooSmall,
}

/// The answer to a read.
#[derive(Debug, Clone)]
pub struct Got {
    /// How it went.
    pub status: GetStatus,
    /// Where to read on, or from where to read instead.
    pub next_offset: QueueOffset,
    /// First offset of the queue.
    pub min_offset: QueueOffset,
    /// Offset the next message will get.
    pub max_offset: QueueOffset,
    /// The records, in order, several to a piece: neighbours in the log, and small ones copied
    /// together.
    pub records: Vec<Bytes>,
    /// How many records the pieces hold.
    pub count: usize,
    /// Their bytes.
    pub size: usize,
    /// The reader is so far behind that what it reads has likely left the memory: another broker
    /// had better serve it.
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
    /// Like [`MessageStore::get`] without blocking: `None` where the messages are not in memory.
    /// Fewer messages where only the first ones are in memory.
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
    /// Only where the disk fails; everything else is a status.
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

/// What to make of an offset, in a queue with these bounds, and where to read: from there on where
/// messages are to be looked for, which none has matched yet.
fn place(offset: QueueOffset, min: QueueOffset, max: QueueOffset) -> (GetStatus, QueueOffset) {
    match offset {
        _ if max == QueueOffset::ZERO => (GetStatus::NoMessageInQueue, max),
        offset if offset < min => (GetStatus::OffsetTooSmall, min),
        offset if offset == max => (GetStatus::OffsetOverflowOne, offset),
        offset if offset > max => (GetStatus::OffsetOverflowBadly, max),
        offset => (GetStatus::NoMatchedMessage, offset),
    }
}
