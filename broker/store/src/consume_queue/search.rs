//! Searches in a queue. Entries are in the order of the log, so every search is binary.

use super::entry::SIZE;
use super::files::Files;
use super::{Entry, Queue};
use crate::commit_log::CommitLog;
use crate::error::Result;
use crate::position::{LogOffset, Millis, QueueOffset};

/// Which of the offsets around a time is requested.
///
/// With messages stored at times 1, 1, 1, 3, 3 at offsets 0 to 4, time 2 has 3 as its lower and 2
/// as its upper boundary: the range of offsets from the one to the other is empty, as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first offset that is not before the time.
    Lower,
    /// The last offset that is not after the time.
    Upper,
}

impl Queue {
    /// The first offset in `from..to` at which `before` does not hold; `to` where it holds
    /// everywhere.
    fn partition(
        &self,
        files: &Files,
        from: QueueOffset,
        to: QueueOffset,
        before: impl Fn(Entry) -> bool,
    ) -> Result<QueueOffset> {
        let (mut low, mut high) = (from, to);
        while low < high {
            let middle = low + (high - low) / 2;
            // An entry that disappears during the search was deleted by retention, so it is old.
            if self.entry(files, middle)?.is_none_or(&before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The first offset whose record lies at or behind a physical offset.
    pub(super) fn first_at_or_behind(&self, files: &Files, physical_offset: LogOffset) -> Result<QueueOffset> {
        let (min, max) = self.bounds();
        self.partition(files, min, max, |entry| entry.is_filler() || entry.physical_offset < physical_offset)
    }

    /// Moves the smallest offset to the first entry whose record is still in the log. If none is
    /// left it becomes the largest offset, so that no offset is used twice. Returns the first entry
    /// of the first file that is still needed, if that changed.
    pub(super) fn correct_min(&self, files: &Files, log_min: LogOffset) -> Result<Option<QueueOffset>> {
        let (before, max) = self.bounds();
        if before == max || self.state.lock().min_physical.is_some_and(|offset| offset >= log_min) {
            return Ok(None);
        }
        let min = self.first_at_or_behind(files, log_min)?;
        let physical = self.entry(files, min)?.map(|entry| entry.physical_offset);
        let mut state = self.state.lock();
        state.min = min;
        state.min_physical = physical.filter(|_| min < max);
        drop(state);
        let per_file = files.file_size() / SIZE as u64;
        // The file of the last entry stays: it records the next offset.
        let last = max.before().unwrap_or_default();
        let needed = |offset: QueueOffset| QueueOffset::new(offset.min(last).get() / per_file * per_file);
        Ok((needed(min) > needed(before)).then(|| needed(min)))
    }

    /// The offset at a time, from the store timestamps of the records; within the queue's bounds.
    pub(crate) fn offset_at(
        &self,
        files: &Files,
        log: &CommitLog,
        time: Millis,
        boundary: Boundary,
    ) -> Result<QueueOffset> {
        let (min, max) = self.bounds();
        let stored = |entry: Entry| match entry.is_filler() {
            true => None,
            false => log.store_timestamp(entry.physical_offset),
        };
        let lower =
            |time: Millis| self.partition(files, min, max, |entry| stored(entry).is_none_or(|stored| stored < time));
        match boundary {
            Boundary::Lower => lower(time),
            Boundary::Upper => Ok(lower(time.saturating_add(1))?.before().unwrap_or_default().clamp(min, max)),
        }
    }
}
