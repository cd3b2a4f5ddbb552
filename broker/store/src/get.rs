//! Handing messages out: by queue and offset, as a consumer pulls them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rmq_protocol::message::stored::{self, Head, Record};

use crate::MessageStore;
use crate::consume_queue::entry::{self, Entry};
use crate::consume_queue::is_consumable;
use crate::error::Result;
use crate::mapped_file::{self, MappedFile};

/// Entries one read looks at; a filter that matches rarely must not hold a thread for long, and neither must a reader that asks for more than it can get. Who
/// finds nothing in them goes on where they end.
const SCAN: usize = 800;
/// Bytes of records from a disk that one read looks at, those that are damaged among them.
const COMPARED: usize = 32 << 20;
/// Entries taken from the queue at once.
const CHUNK: usize = 204;
/// Bytes fetched at once of what may have left the memory: a call for each of many small messages that lie together would cost more than to look at them.
const FETCH: usize = 16 << 10;
/// What lies within so many bytes of the end of the log was written a moment ago and is in memory, where there is enough of it.
const HOT: u64 = 256 << 20;
/// Neighbouring records of fewer bytes are copied together: a piece of its own costs about as much, and more again where it is sent.
const COPY_BELOW: usize = 2048;

/// Bytes at the end of the log that are taken to be in memory without asking: [`HOT`], but an eighth of `memory` at most, as
/// the page cache of a small pod is also wanted by queues, index and the process itself. Beyond it a pull asks the system, for
/// a microsecond a 16 KiB.
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

/// Which messages the reader wants. The consume queue is asked first, because that costs no look at the record.
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
    pub next_offset: u64,
    /// First offset of the queue.
    pub min_offset: u64,
    /// Offset the next message will get.
    pub max_offset: u64,
    /// The records, in order, several to a piece: neighbours in the log, and small ones copied together.
    pub records: Vec<Bytes>,
    /// How many records the pieces hold.
    pub count: usize,
    /// Their bytes.
    pub size: usize,
    /// The reader is so far behind that what it reads has likely left the memory: another broker had better serve it.
    pub far_behind: bool,
}

impl Got {
    fn nothing(status: GetStatus) -> Got {
        let (next_offset, min_offset, max_offset) = (0, 0, 0);
        let (count, size, far_behind) = (0, 0, false);
        Got { status, next_offset, min_offset, max_offset, records: Vec::new(), count, size, far_behind }
    }
}

/// Neighbouring records of one file.
struct Run {
    file: Arc<MappedFile>,
    offset: u64,
    len: usize,
}

impl MessageStore {
    /// Like [`MessageStore::get`], but `None` where the disk would have to be waited for. Fewer messages where only the first ones are in memory.
    ///
    /// # Errors
    /// As [`MessageStore::get`].
    pub fn get_at_hand(
        &self,
        topic: &str,
        queue_id: i32,
        offset: u64,
        limits: Limits,
        filter: Filter<'_>,
    ) -> Result<Option<Got>> {
        self.look((topic, queue_id), offset, limits, filter, Reach::Memory)
    }

    /// Reads messages of a queue from an offset on.
    ///
    /// # Errors
    /// Only where the disk fails; everything else is a status.
    pub fn get(&self, topic: &str, queue_id: i32, offset: u64, limits: Limits, filter: Filter<'_>) -> Result<Got> {
        let got = self.look((topic, queue_id), offset, limits, filter, Reach::Disk)?;
        Ok(got.unwrap_or_else(|| Got::nothing(GetStatus::OffsetFoundNull)))
    }

    fn look(
        &self,
        queue: (&str, i32),
        offset: u64,
        limits: Limits,
        filter: Filter<'_>,
        reach: Reach,
    ) -> Result<Option<Got>> {
        let begun = Instant::now();
        let got = self.look_up(queue, offset, limits, filter, reach);
        let counters = &self.log.counters;
        match got {
            Ok(None) => {
                counters.gets_not_at_hand.fetch_add(1, Ordering::Relaxed);
            }
            _ => counters.get_times.add(begun.elapsed()),
        }
        got
    }

    fn look_up(
        &self,
        (topic, queue_id): (&str, i32),
        offset: u64,
        limits: Limits,
        filter: Filter<'_>,
        reach: Reach,
    ) -> Result<Option<Got>> {
        let mut got = Got::nothing(GetStatus::NoMatchedLogicQueue);
        let Some(queue) = self.table.find(topic, queue_id) else { return Ok(Some(got)) };
        let (min, max) = queue.bounds();
        (got.min_offset, got.max_offset) = (min, max);
        (got.status, got.next_offset) = match offset {
            _ if max == 0 => (GetStatus::NoMessageInQueue, 0),
            offset if offset < min => (GetStatus::OffsetTooSmall, min),
            offset if offset == max => (GetStatus::OffsetOverflowOne, offset),
            offset if offset > max => (GetStatus::OffsetOverflowBadly, max),
            offset => (GetStatus::NoMatchedMessage, offset),
        };
        if got.status != GetStatus::NoMatchedMessage {
            return Ok(Some(got));
        }

        let log_end = self.log.appended.value();
        let mut runs: Vec<Run> = Vec::new();
        let mut entries = Vec::new();
        let mut scan = SCAN.max(limits.messages.min(self.config.transfer.count_in_memory));
        let mut compared = 0;
        let mut last_end = None;
        let mut fetched = 0..0;
        // A chunk larger than what can be returned would be read for nothing.
        let chunk = CHUNK.min(limits.messages.clamp(1, CHUNK) * 2);
        'scan: while scan > 0 {
            if !queue.read(self.table.files(), got.next_offset, chunk.min(scan), reach, &mut entries)? {
                if got.count == 0 {
                    return Ok(None);
                }
                break;
            }
            let mut read = 0;
            for entry in entry::iter(&entries) {
                read += 1;
                let behind = log_end.saturating_sub(entry.physical_offset);
                if self.is_full(&got, &limits, &entry, behind) || compared >= COMPARED {
                    break 'scan;
                }
                got.next_offset += 1;
                if entry.is_filler() || !(filter.by_tags_code)(entry.tags_code) {
                    continue;
                }
                // What this process has neither appended nor read back, or what has likely left the memory, comes from a disk.
                let from_disk = behind > self.memory_bytes || self.log.is_unchecked(entry.physical_offset);
                compared += if from_disk { entry.size as usize } else { 0 };
                let file = self.log.file_at(entry.physical_offset);
                let cold = file.as_ref().filter(|_| from_disk || behind > self.hot_bytes);
                match cold.map_or(Ok(true), |file| fetch(file, &entry, &mut fetched, reach)) {
                    Ok(true) => {}
                    Ok(false) if got.count == 0 => return Ok(None),
                    Err(error) if got.count == 0 => return Err(error),
                    // What lies before it is handed out; who reads on gets the rest, or the error.
                    Ok(false) | Err(_) => {
                        got.next_offset -= 1;
                        break 'scan;
                    }
                }
                let found = file.filter(|file| is_message(file, &entry, queue_id, got.next_offset - 1));
                let Some(file) = found.filter(|file| !from_disk || self.is_whole(file, &entry, topic)) else {
                    got.status = removing(&got);
                    continue;
                };
                if !matches(&file, &entry, filter) {
                    continue;
                }
                got.status = GetStatus::Found;
                got.count += 1;
                got.size += entry.size as usize;
                last_end = Some(entry.end());
                push(&mut runs, file, &entry);
            }
            if read == 0 {
                // Bytes that were written once and are no entry any more; who waited for them would wait for ever.
                let places = entries.as_chunks::<{ entry::SIZE }>().0.iter();
                let damaged = places.take_while(|bytes| Entry::decode(bytes).is_none()).count();
                if damaged > 0 {
                    tracing::error!(
                        topic,
                        queue_id,
                        offset = got.next_offset,
                        damaged,
                        "damaged consume queue entries are passed over"
                    );
                    self.log.counters.damages_passed_over.fetch_add(damaged as u64, Ordering::Relaxed);
                    got.next_offset += damaged as u64;
                    got.status = removing(&got);
                    scan = scan.saturating_sub(damaged);
                    continue;
                }
                if got.next_offset == offset {
                    got.status = GetStatus::OffsetFoundNull;
                }
                break;
            }
            scan = scan.saturating_sub(read);
        }
        got.far_behind = last_end.is_some_and(|end| log_end.saturating_sub(end) > self.memory_bytes);
        got.records = pieces(&runs);
        Ok(Some(got))
    }

    /// Whether a message more would be too much.
    fn is_full(&self, got: &Got, limits: &Limits, entry: &Entry, behind: u64) -> bool {
        if got.count == 0 {
            return false;
        }
        let transfer = &self.config.transfer;
        let (bytes, count) = match behind > self.memory_bytes {
            true => (transfer.bytes_on_disk, transfer.count_on_disk),
            false => (transfer.bytes_in_memory, transfer.count_in_memory),
        };
        got.count >= limits.messages.min(count) || got.size + entry.size as usize > limits.bytes.min(bytes)
    }

    /// Whether a record is what was once stored, as far as its checksum, its queue and its entry there tell. That costs a look at every byte, so
    /// what was written a moment ago is not asked.
    fn is_whole(&self, file: &MappedFile, entry: &Entry, topic: &str) -> bool {
        let bytes = file.bytes(entry.physical_offset, entry.size as usize).unwrap_or_default();
        let record = Record::parse(bytes).and_then(|record| record.check_body().map(|()| record));
        let whole = record.is_ok_and(|record| {
            record.topic() == topic
                && is_consumable(&record)
                && !record.has_lost_properties()
                && self.config.tags_code.agrees(&record, entry.tags_code)
        });
        if !whole {
            self.log.counters.damages_passed_over.fetch_add(1, Ordering::Relaxed);
            tracing::error!(file = %file.path().display(), offset = entry.physical_offset, topic, "a damaged record is not delivered");
        }
        whole
    }
}

fn removing(got: &Got) -> GetStatus {
    match got.count {
        0 => GetStatus::MessageWasRemoving,
        _ => GetStatus::Found,
    }
}

/// Brings a record into memory, unless that is out of reach: `false`. Notes what is there now: some of what follows it too, where that can be had.
fn fetch(file: &MappedFile, entry: &Entry, fetched: &mut Range<u64>, reach: Reach) -> Result<bool> {
    let (from, size) = (entry.physical_offset, entry.size as usize);
    if fetched.contains(&from) && entry.end() <= fetched.end {
        return Ok(true);
    }
    let bring = |len: usize| match reach {
        Reach::Memory => Ok(file.is_resident(from, len)),
        Reach::Disk => file.fetch(from, len).map(|()| true),
    };
    let mut len = size.max(FETCH);
    if !matches!(bring(len), Ok(true)) {
        len = size;
        if !bring(len)? {
            return Ok(false);
        }
    }
    *fetched = from..from.saturating_add(len as u64).min(file.limit());
    Ok(true)
}

/// The records as pieces to be sent.
fn pieces(runs: &[Run]) -> Vec<Bytes> {
    let small = runs.iter().map(|run| run.len).filter(|len| *len < COPY_BELOW).sum();
    let mut copied = BytesMut::with_capacity(small);
    let mut pieces = Vec::new();
    for run in runs {
        if run.len < COPY_BELOW {
            copied.extend_from_slice(run.file.bytes(run.offset, run.len).unwrap_or_default());
            continue;
        }
        if !copied.is_empty() {
            pieces.push(copied.split().freeze());
        }
        pieces.extend(mapped_file::share(&run.file, run.offset, run.len));
    }
    if !copied.is_empty() {
        pieces.push(copied.freeze());
    }
    pieces
}

fn matches(file: &MappedFile, entry: &Entry, filter: Filter<'_>) -> bool {
    let Some(by_record) = filter.by_record else { return true };
    let bytes = file.bytes(entry.physical_offset, entry.size as usize);
    bytes.and_then(|bytes| Record::parse(bytes).ok()).is_some_and(|record| by_record(&record))
}

fn push(runs: &mut Vec<Run>, file: Arc<MappedFile>, entry: &Entry) {
    match runs.last_mut() {
        Some(run) if Arc::ptr_eq(&run.file, &file) && run.offset + run.len as u64 == entry.physical_offset => {
            run.len += entry.size as usize;
        }
        _ => runs.push(Run { file, offset: entry.physical_offset, len: entry.size as usize }),
    }
}

/// Whether the record an entry points to really is the message of this place in this queue: a stale or damaged entry must not
/// deliver something else.
fn is_message(file: &MappedFile, entry: &Entry, queue_id: i32, queue_offset: u64) -> bool {
    let Some(bytes) = file.bytes(entry.physical_offset, entry.size as usize) else { return false };
    let Some(fields) = bytes.first_chunk::<36>() else { return false };
    let [_, _, _, q0, _, o0, o1, p0, p1] = fields.as_chunks::<4>().0 else { return false };
    let long = |high: &[u8; 4], low: &[u8; 4]| {
        u64::from(u32::from_be_bytes(*high)) << 32 | u64::from(u32::from_be_bytes(*low))
    };
    matches!(stored::head(bytes), Ok(Head::Record(size, _)) if size == entry.size as usize)
        && i32::from_be_bytes(*q0) == queue_id
        && long(o0, o1) == queue_offset
        && long(p0, p1) == entry.physical_offset
}
