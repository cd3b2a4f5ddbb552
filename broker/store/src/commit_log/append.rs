//! The one write path.
//!
//! Under the lock: check whether writes are refused, queue offset, store timestamp, physical
//! offset, copy, advance. Everything else is done before, and nothing in here waits for a disk: if
//! blocks or the next file are missing, the lock is released. A caller that may block then asks the
//! allocation thread, and the append begins again; for any other caller it ends there, and nothing
//! is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::MutexGuard;
use rmq_protocol::message::stored::{self, Prepared};

use super::CommitLog;
use crate::error::{Error, Result};
use crate::mapped_file::MappedFile;
use crate::mapped_file::allocate::Appendable;
use crate::position::{LogOffset, Millis, QueueOffset};
use crate::put::Deadline;

/// What the append lock protects.
#[derive(Debug)]
pub(super) struct Append {
    /// The file that takes appends; none before the first append and at the exact end of a file.
    pub(super) current: Option<Appendable>,
    /// End of the log; equals `appended` whenever the lock is free.
    pub(super) position: LogOffset,
    /// Position at which the allocation thread is notified again.
    pub(super) tell_at: LogOffset,
    /// The last bytes came from a master and may end inside a record.
    pub(super) replica_tail: bool,
}

/// The position of appended records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) physical_offset: LogOffset,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) store_timestamp: Millis,
}

/// How records get their queue offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbering<'a> {
    /// From this counter, which then advances by the number of records.
    From(&'a AtomicU64),
    /// Not part of the queue: all get 0.
    None,
}

enum Missing {
    Blocks(Arc<MappedFile>, LogOffset),
    File(LogOffset),
}

impl Append {
    pub(super) fn at(position: LogOffset, current: Option<Appendable>) -> Self {
        Append { current, position, tell_at: position, replica_tail: false }
    }

    fn complete_file(&mut self) {
        if let Some(current) = self.current.take() {
            current.file.complete();
        }
    }
}

impl CommitLog {
    /// Appends records of one queue, contiguous and in one piece: either all of them or none.
    /// `None` if the disk provided no blocks for them before `deadline`.
    pub(crate) fn append(
        &self,
        records: &[Prepared<'_>],
        numbering: Numbering<'_>,
        deadline: Deadline,
    ) -> Result<Option<Placed>> {
        let size: usize = records.iter().map(Prepared::size).sum();
        let needed = (size + stored::BLANK_SIZE) as u64;
        if needed > self.file_size {
            return Err(Error::TooLarge { size: size as u64, max: self.file_size - stored::BLANK_SIZE as u64 });
        }
        loop {
            let mut append = self.lock_append();
            // Checked under the lock: a store that was closed, or whose truncation failed, while
            // this append waited accepts nothing more.
            self.refusal()?;
            self.check_tail(&mut append)?;
            match self.reserve(&mut append, needed) {
                Ok(()) => return Ok(Some(self.write(&mut append, records, size, numbering))),
                Err(missing) => {
                    drop(append);
                    if !self.wait_for(missing, deadline)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn lock_append(&self) -> MutexGuard<'_, Append> {
        if let Some(append) = self.append.try_lock() {
            return append;
        }
        let begun = Instant::now();
        let append = self.append.lock();
        self.counters.lock_waits.add(begun.elapsed());
        append
    }

    /// A record behind half a record could never be found again.
    fn check_tail(&self, append: &mut Append) -> Result<()> {
        if append.replica_tail {
            let whole = self.dispatched.value();
            if whole != append.position {
                return Err(Error::PartialTail { end: append.position, whole });
            }
            append.replica_tail = false;
        }
        Ok(())
    }

    /// Makes sure that `needed` bytes fit into the current file and can be written, and begins the
    /// next file if necessary.
    fn reserve(&self, append: &mut Append, needed: u64) -> Result<(), Missing> {
        loop {
            let Some(current) = &append.current else {
                self.begin_file(append)?;
                continue;
            };
            let file = &current.file;
            let end = append.position + needed;
            if end <= file.limit() {
                return match file.ready() >= end {
                    true => Ok(()),
                    false => Err(Missing::Blocks(Arc::clone(file), end)),
                };
            }
            // The filler is shipped to replicas with the rest of the file, so all of it needs
            // blocks.
            if file.ready() < file.limit() {
                return Err(Missing::Blocks(Arc::clone(file), file.limit()));
            }
            self.fill(append);
        }
    }

    /// Ends the current file with a filler, whose blocks are allocated.
    fn fill(&self, append: &mut Append) {
        let Some(current) = &mut append.current else { return };
        let left = (current.file.limit() - append.position) as usize;
        let filled = current.cursor.append(left, |slot| {
            let head = stored::blank(left as u32);
            let len = head.len().min(slot.len());
            slot[..len].copy_from_slice(&head[..len]);
        });
        debug_assert!(filled, "the file was ready to its end");
        append.position += left as u64;
        append.complete_file();
        self.appended.advance(append.position);
    }

    /// Makes the file that begins at the end of the log the current one.
    fn begin_file(&self, append: &mut Append) -> Result<(), Missing> {
        let next = self.allocator.take_next(append.position).ok_or(Missing::File(append.position))?;
        self.files.write().push(Arc::clone(&next.file));
        append.current = Some(next);
        append.tell_at = append.position;
        Ok(())
    }

    /// Waits, without the append lock, for what an append lacked; `false` if it was not ready
    /// before the deadline.
    fn wait_for(&self, missing: Missing, deadline: Deadline) -> Result<bool> {
        let Deadline::At(until) = deadline else { return Ok(false) };
        let outcome = match missing {
            Missing::Blocks(file, to) => self.allocator.wait_ready(&file, to, until),
            Missing::File(base) => self.allocator.wait_next(base, until),
        };
        if let Err(error @ Error::Sync { .. }) = &outcome {
            self.fail(error.to_string());
            self.failure()?;
        }
        outcome
    }

    fn write(&self, append: &mut Append, records: &[Prepared<'_>], size: usize, numbering: Numbering<'_>) -> Placed {
        let position = append.position;
        let queue_offset = match numbering {
            Numbering::From(next) => next.load(Ordering::Relaxed),
            Numbering::None => 0,
        };
        let store_timestamp = Millis::now();
        let written = append.current.as_mut().is_some_and(|current| {
            current.cursor.append(size, |mut slot| {
                let mut at = position;
                for (number, record) in records.iter().enumerate() {
                    let (mine, rest) = slot.split_at_mut(record.size());
                    let number = match numbering {
                        Numbering::From(_) => queue_offset + number as u64,
                        Numbering::None => 0,
                    };
                    record.write(mine, number, at.get(), store_timestamp.get());
                    at += record.size() as u64;
                    slot = rest;
                }
            })
        });
        debug_assert!(written, "the space was reserved under the same lock");
        if let Numbering::From(next) = numbering {
            next.store(queue_offset + records.len() as u64, Ordering::Relaxed);
        }
        self.last_store_timestamp.store(store_timestamp.get(), Ordering::Relaxed);
        self.advance(append, size as u64);
        Placed { physical_offset: position, queue_offset: QueueOffset::new(queue_offset), store_timestamp }
    }

    fn advance(&self, append: &mut Append, by: u64) {
        append.position += by;
        if append.position >= append.tell_at {
            append.tell_at = self.allocator.at(append.position);
        }
        self.appended.advance(append.position);
    }

    /// Appends a master's bytes at `offset`, which must be the end of this log; an empty log begins
    /// where the master's file begins. The bytes may end inside a record. Returns how many of them
    /// had blocks before `deadline`.
    pub(crate) fn append_replica(&self, begin: LogOffset, bytes: &[u8], deadline: Deadline) -> Result<usize> {
        // Offsets are Java's longs, and so is the end of the file that contains an offset.
        let farthest = LogOffset::new(i64::MAX as u64 - 2 * self.file_size - bytes.len() as u64);
        if begin > farthest {
            return Err(Error::OutOfRange { asked: begin, min: LogOffset::ZERO, max: farthest });
        }
        let mut taken = 0;
        while taken < bytes.len() {
            let offset = begin + taken as u64;
            let mut append = self.lock_append();
            self.refusal()?;
            let empty = append.current.is_none() && self.files.read().is_empty();
            if empty && offset != append.position && offset.get().is_multiple_of(self.file_size) {
                append.position = offset;
                // `appended` last: dispatch and flush read it first, and would otherwise look for
                // records that are not complete.
                for mark in [&self.dispatched, &self.flushed, &self.appended] {
                    mark.rewind(offset);
                }
            }
            if offset != append.position {
                return Err(Error::OutOfRange { asked: offset, min: append.position, max: append.position });
            }
            match self.replicate(&mut append, &bytes[taken..]) {
                Ok(more) => taken += more,
                Err(missing) => {
                    drop(append);
                    if !self.wait_for(missing, deadline)? {
                        break;
                    }
                }
            }
        }
        Ok(taken)
    }

    /// Appends what fits into the current file and returns how many bytes that was.
    fn replicate(&self, append: &mut Append, bytes: &[u8]) -> Result<usize, Missing> {
        if append.current.is_none() {
            self.begin_file(append)?;
        }
        let Some(current) = &mut append.current else { return Ok(0) };
        let limit = current.file.limit();
        let end = (append.position + bytes.len() as u64).min(limit);
        if current.file.ready() < end {
            return Err(Missing::Blocks(Arc::clone(&current.file), end));
        }
        let taken = (end - append.position) as usize;
        let written = current.cursor.append(taken, |slot| slot.copy_from_slice(&bytes[..taken]));
        debug_assert!(written, "readiness was checked under the same lock");
        append.replica_tail = true;
        self.advance(append, taken as u64);
        if end == limit {
            append.complete_file();
        }
        Ok(taken)
    }
}
