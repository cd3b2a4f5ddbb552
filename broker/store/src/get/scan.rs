//! One read of a queue: entry after entry, from the requested offset to the first limit.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use rmq_protocol::message::stored::{self, Head, Record};

use super::{Filter, GetStatus, Got, Limits, Reach, Verdict};
use crate::MessageStore;
use crate::consume_queue::entry::{self, Entry};
use crate::consume_queue::{Queue, is_consumable};
use crate::error::Result;
use crate::mapped_file::{self, MappedFile};
use crate::position::{LogOffset, QueueOffset};

/// The most entries of one read. A filter that rarely matches must not occupy a thread for long,
/// and neither must a reader that requests more than it can get. A reader that finds nothing in
/// them continues where they end.
const SCAN: usize = 800;
/// The most bytes of records from a disk that one read examines, including damaged records.
const COMPARED: usize = 32 << 20;
/// Entries read from the queue at once.
const CHUNK: usize = 204;
/// Bytes of one prefetch of cold pages: for many small messages that lie together, a call for each
/// would cost more than reading them.
const FETCH: usize = 16 << 10;
/// Neighbouring records of fewer bytes are copied together: a piece of its own costs about as much,
/// and more again when it is sent.
const COPY_BELOW: usize = 2048;

/// A read in progress.
pub(super) struct Scan<'a> {
    store: &'a MessageStore,
    queue: &'a Queue,
    limits: Limits,
    filter: Filter<'a>,
    reach: Reach,
    /// End of the log when the read began.
    log_end: LogOffset,
    /// The requested offset.
    from: QueueOffset,
    /// The result so far; its next offset is that of the next entry.
    got: Got,
    runs: Vec<Run>,
    /// Entries that may still be examined.
    entries_left: usize,
    /// Bytes of records from a disk that were examined.
    compared: usize,
    /// End of the last record found.
    last_end: Option<LogOffset>,
    /// The part of the log that is known to be in memory.
    fetched: Range<LogOffset>,
}

/// How a read continues.
enum Next {
    /// The next entry follows.
    Entry,
    /// The read ends with its result so far.
    End,
    /// The read has no result and would have to wait for the disk.
    WouldBlock,
}

/// Neighbouring records of one file.
struct Run {
    file: Arc<MappedFile>,
    offset: LogOffset,
    len: usize,
}

impl<'a> Scan<'a> {
    /// A scan of a queue from the next offset of `got` on, which lies within its bounds.
    pub(super) fn new(
        store: &'a MessageStore,
        queue: &'a Queue,
        got: Got,
        limits: Limits,
        filter: Filter<'a>,
        reach: Reach,
    ) -> Self {
        Scan {
            store,
            queue,
            limits,
            filter,
            reach,
            log_end: store.log.appended.value(),
            from: got.next_offset,
            got,
            runs: Vec::new(),
            entries_left: SCAN.max(limits.messages.min(store.config.transfer.count_in_memory)),
            compared: 0,
            last_end: None,
            fetched: LogOffset::ZERO..LogOffset::ZERO,
        }
    }

    /// Runs the scan; `None` if the first message cannot be read without waiting.
    pub(super) fn run(mut self) -> Result<Option<Got>> {
        // A chunk larger than the most that can be returned would be read for nothing.
        let chunk = CHUNK.min(self.limits.messages.clamp(1, CHUNK) * 2);
        let mut entries = Vec::new();
        while self.entries_left > 0 {
            let count = chunk.min(self.entries_left);
            let next = match self.queue.read(
                self.store.table.files(),
                self.got.next_offset,
                count,
                self.reach,
                &mut entries,
            )? {
                false if self.got.count == 0 => Next::WouldBlock,
                false => Next::End,
                true if entry::iter(&entries).next().is_some() => self.take_all(&entries)?,
                true => self.pass_over_damaged(&entries),
            };
            match next {
                Next::Entry => {}
                Next::End => break,
                Next::WouldBlock => return Ok(None),
            }
        }
        Ok(Some(self.finish()))
    }

    /// Takes the entries in `bytes`, up to the first invalid one.
    fn take_all(&mut self, bytes: &[u8]) -> Result<Next> {
        for entry in entry::iter(bytes) {
            self.entries_left = self.entries_left.saturating_sub(1);
            match self.take(&entry)? {
                Next::Entry => {}
                next => return Ok(next),
            }
        }
        Ok(Next::Entry)
    }

    /// Adds the message of the next entry, if it exists and the filter accepts it.
    fn take(&mut self, entry: &Entry) -> Result<Next> {
        let behind = self.log_end.saturating_since(entry.physical_offset);
        if self.is_full(entry, behind) || self.compared >= COMPARED {
            return Ok(Next::End);
        }
        let offset = self.got.next_offset;
        self.got.next_offset += 1;
        if entry.is_filler() || !(self.filter.by_tags_code)(entry.tags_code) {
            return Ok(Next::Entry);
        }
        // Records that this process has neither appended nor read back, or that are probably no
        // longer in memory, come from a disk.
        let from_disk = behind > self.store.memory_bytes || self.store.log.is_unchecked(entry.physical_offset);
        self.compared += if from_disk { entry.size as usize } else { 0 };
        let Some(file) = self.store.log.file_at(entry.physical_offset) else {
            self.pass_over();
            return Ok(Next::Entry);
        };
        if from_disk || behind > self.store.hot_bytes {
            match fetch(&file, entry, &mut self.fetched, self.reach) {
                Ok(true) => {}
                // The messages before it are returned; the next read gets the rest, or the error.
                Ok(false) | Err(_) if self.got.count > 0 => {
                    self.got.next_offset = offset;
                    return Ok(Next::End);
                }
                Ok(false) => return Ok(Next::WouldBlock),
                Err(error) => return Err(error),
            }
        }
        if !is_message(&file, entry, self.queue.id(), offset) || (from_disk && !self.is_whole(&file, entry)) {
            self.pass_over();
            return Ok(Next::Entry);
        }
        match self.judge(&file, entry) {
            Verdict::Take => self.add(file, entry),
            Verdict::Pass => {}
            Verdict::End => {
                self.got.next_offset = offset;
                return Ok(Next::End);
            }
        }
        Ok(Next::Entry)
    }

    /// Whether one more message would exceed a limit.
    fn is_full(&self, entry: &Entry, behind: u64) -> bool {
        if self.got.count == 0 {
            return false;
        }
        let transfer = &self.store.config.transfer;
        let (bytes, count) = match behind > self.store.memory_bytes {
            true => (transfer.bytes_on_disk, transfer.count_on_disk),
            false => (transfer.bytes_in_memory, transfer.count_in_memory),
        };
        self.got.count >= self.limits.messages.min(count)
            || self.got.size + entry.size as usize > self.limits.bytes.min(bytes)
    }

    /// Whether a record is intact, as far as its checksum, its queue and its entry there show. The
    /// check reads every byte, so recently written records are not checked.
    fn is_whole(&self, file: &MappedFile, entry: &Entry) -> bool {
        let topic = self.queue.topic();
        let bytes = file.bytes(entry.physical_offset, entry.size as usize).unwrap_or_default();
        let record = Record::parse(bytes).and_then(|record| record.check_body().map(|()| record));
        let whole = record.is_ok_and(|record| {
            record.topic() == topic
                && is_consumable(&record)
                && !record.has_lost_properties()
                && self.store.config.tags_code.agrees(&record, entry.tags_code)
        });
        if !whole {
            self.store.log.counters.damages_passed_over.fetch_add(1, Ordering::Relaxed);
            tracing::error!(file = %file.path().display(), offset = entry.physical_offset.get(), topic, "a damaged record is not delivered");
        }
        whole
    }

    /// What the reader's filter says of the record, if it checks records.
    fn judge(&self, file: &MappedFile, entry: &Entry) -> Verdict {
        let Some(by_record) = self.filter.by_record else { return Verdict::Take };
        let bytes = file.bytes(entry.physical_offset, entry.size as usize);
        bytes.and_then(|bytes| Record::parse(bytes).ok()).map_or(Verdict::Pass, |record| by_record(&record))
    }

    fn add(&mut self, file: Arc<MappedFile>, entry: &Entry) {
        self.got.status = GetStatus::Found;
        self.got.count += 1;
        self.got.size += entry.size as usize;
        self.last_end = Some(entry.end());
        push(&mut self.runs, file, entry);
    }

    /// Continues behind an entry whose message does not exist.
    fn pass_over(&mut self) {
        if self.got.count == 0 {
            self.got.status = GetStatus::MessageWasRemoving;
        }
    }

    /// Continues behind bytes that were written once and are no valid entry any more: a reader
    /// would wait for them forever. Ends the read if nothing follows.
    fn pass_over_damaged(&mut self, bytes: &[u8]) -> Next {
        let places = bytes.as_chunks::<{ entry::SIZE }>().0.iter();
        let damaged = places.take_while(|bytes| Entry::decode(bytes).is_none()).count();
        if damaged == 0 {
            if self.got.next_offset == self.from {
                self.got.status = GetStatus::OffsetFoundNull;
            }
            return Next::End;
        }
        let (topic, queue_id, offset) = (self.queue.topic(), self.queue.id(), self.got.next_offset);
        tracing::error!(topic, queue_id, %offset, damaged, "damaged consume queue entries are passed over");
        self.store.log.counters.damages_passed_over.fetch_add(damaged as u64, Ordering::Relaxed);
        self.got.next_offset += damaged as u64;
        self.pass_over();
        self.entries_left = self.entries_left.saturating_sub(damaged);
        Next::Entry
    }

    fn finish(mut self) -> Got {
        let last_behind = self.last_end.map(|end| self.log_end.saturating_since(end));
        self.got.far_behind = last_behind.is_some_and(|behind| behind > self.store.memory_bytes);
        self.got.records = pieces(&self.runs);
        self.got
    }
}

/// Prefetches a record; `false` if that would block and the read must not block. Records which part
/// is in memory now, including bytes behind the record if possible.
fn fetch(file: &MappedFile, entry: &Entry, fetched: &mut Range<LogOffset>, reach: Reach) -> Result<bool> {
    let (from, size) = (entry.physical_offset, entry.size as usize);
    if fetched.contains(&from) && entry.end() <= fetched.end {
        return Ok(true);
    }
    let prefetch = |len: usize| match reach {
        Reach::Memory => Ok(file.is_resident(from, len)),
        Reach::Disk => file.fetch(from, len).map(|()| true),
    };
    let mut len = size.max(FETCH);
    if !matches!(prefetch(len), Ok(true)) {
        len = size;
        if !prefetch(len)? {
            return Ok(false);
        }
    }
    *fetched = from..from.saturating_add(len as u64).min(file.limit());
    Ok(true)
}

/// The records as pieces to send.
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

fn push(runs: &mut Vec<Run>, file: Arc<MappedFile>, entry: &Entry) {
    match runs.last_mut() {
        Some(run) if Arc::ptr_eq(&run.file, &file) && run.offset + run.len as u64 == entry.physical_offset => {
            run.len += entry.size as usize;
        }
        _ => runs.push(Run { file, offset: entry.physical_offset, len: entry.size as usize }),
    }
}

/// Whether the record of an entry is the message of this place in this queue: a stale or damaged
/// entry must not deliver another message.
fn is_message(file: &MappedFile, entry: &Entry, queue_id: i32, queue_offset: QueueOffset) -> bool {
    let Some(bytes) = file.bytes(entry.physical_offset, entry.size as usize) else { return false };
    let Some(fields) = bytes.first_chunk::<36>() else { return false };
    let [_, _, _, q0, _, o0, o1, p0, p1] = fields.as_chunks::<4>().0 else { return false };
    let long = |high: &[u8; 4], low: &[u8; 4]| {
        u64::from(u32::from_be_bytes(*high)) << 32 | u64::from(u32::from_be_bytes(*low))
    };
    matches!(stored::head(bytes), Ok(Head::Record(size, _)) if size == entry.size as usize)
        && i32::from_be_bytes(*q0) == queue_id
        && long(o0, o1) == queue_offset.get()
        && long(p0, p1) == entry.physical_offset.get()
}
