//! One index file: a hash table whose chains run from new to old entries.
//!
//! ```text
//! at           bytes
//!  0               8  store timestamp of the first record in it, ms
//!  8               8  of the last
//! 16               8  physical offset of the first record in it
//! 24               8  of the last
//! 32               4  slots in use
//! 36               4  entries, counting the unused entry 0: a new file says 1
//! 40               4  slot 0: number of its newest entry, 0 for none; then slot 1 ...
//! 40 + 4 s        20  entry 0, never used; entry n lies 20 n bytes further:
//!                  4    hash of the key, made positive
//!                  8    physical offset
//!                  4    seconds since the first record in the file
//!                  4    number of the entry before it in its slot, 0 for none
//! ```
//!
//! The key is `topic#key`, its hash is Java's, made positive; the slot is the hash modulo the
//! number of slots. All numbers are big-endian. The file has its full size from the start and
//! blocks for its slots; blocks for entries are preallocated in steps. Only dispatch writes,
//! through the mapping; queries read the file with plain calls, so that neither a hole nor a bad
//! sector can stop the process.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::config;
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::mapped_file::region::Words;
use crate::position::{LogOffset, Millis};

pub(super) const HEADER: usize = 40;
pub(super) const SLOT: usize = 4;
pub(super) const ENTRY: usize = 20;
/// Blocks for entries are preallocated in steps of this many bytes.
const STEP: u64 = 4 << 20;
/// Entries read at once when all are read.
pub(super) const BLOCK: u32 = 50_000;

/// An open index file. The header's numbers are kept here and in the file.
#[derive(Debug)]
pub(super) struct IndexFile {
    path: PathBuf,
    file: File,
    words: Words,
    slots: u32,
    entries: u32,
    begin_timestamp: AtomicI64,
    end_timestamp: AtomicI64,
    begin_offset: AtomicU64,
    end_offset: AtomicU64,
    slots_used: AtomicU32,
    count: AtomicU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) hash: u32,
    pub(super) offset: LogOffset,
    seconds: i32,
    pub(super) previous: u32,
}

impl Entry {
    pub(super) fn decode(bytes: &[u8; ENTRY]) -> Entry {
        let [h0, h1, h2, h3, o0, o1, o2, o3, o4, o5, o6, o7, s0, s1, s2, s3, p0, p1, p2, p3] = *bytes;
        Entry {
            hash: u32::from_be_bytes([h0, h1, h2, h3]),
            offset: LogOffset::new(u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7])),
            seconds: i32::from_be_bytes([s0, s1, s2, s3]),
            previous: u32::from_be_bytes([p0, p1, p2, p3]),
        }
    }
}

/// The hash as stored in the file. The one number without a positive counterpart becomes 0.
pub(super) fn positive(hash: i32) -> u32 {
    hash.checked_abs().map_or(0, i32::cast_unsigned)
}

/// Bytes of a file.
pub(super) fn size(config: &config::Index) -> u64 {
    (HEADER + SLOT * config.slots as usize + ENTRY * config.entries as usize) as u64
}

impl IndexFile {
    /// Creates a file that continues after `offset` and `timestamp`; its header contains these
    /// until it has an entry.
    pub(super) fn create(
        path: &Path,
        config: &config::Index,
        offset: LogOffset,
        timestamp: Millis,
    ) -> Result<IndexFile> {
        let create = || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
            file.set_len(size(config))?;
            Ok(file)
        };
        let made = fail_point::at("index::create", create).map_err(Error::io("create", path));
        let index = made.and_then(|file| Self::map(path, file, config)).inspect_err(|_| {
            // The next attempt takes another name, and this file would stay between the others
            // forever.
            let _ = fail_point::at("index::clean", || std::fs::remove_file(path));
        })?;
        index.begin_timestamp.store(timestamp.get(), Ordering::Relaxed);
        index.end_timestamp.store(timestamp.get(), Ordering::Relaxed);
        index.begin_offset.store(offset.get(), Ordering::Relaxed);
        index.end_offset.store(offset.get(), Ordering::Relaxed);
        index.count.store(1, Ordering::Relaxed);
        index.write_header();
        Ok(index)
    }

    /// Opens a file of the configured size.
    pub(super) fn open(path: &Path, config: &config::Index) -> Result<IndexFile> {
        let mut header = [0; HEADER];
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            file.read_exact_at(&mut header, 0)?;
            Ok(file)
        };
        let file = fail_point::at("index::open", open).map_err(Error::io("open", path))?;
        let index = Self::map(path, file, config)?;
        let long = |at: usize| i64::from_be_bytes(std::array::from_fn(|n| header[at + n]));
        let int = |at: usize| u32::from_be_bytes(std::array::from_fn(|n| header[at + n]));
        index.begin_timestamp.store(long(0), Ordering::Relaxed);
        index.end_timestamp.store(long(8), Ordering::Relaxed);
        index.begin_offset.store(long(16).max(0) as u64, Ordering::Relaxed);
        index.end_offset.store(long(24).max(0) as u64, Ordering::Relaxed);
        index.slots_used.store(int(32), Ordering::Relaxed);
        index.count.store(int(36).clamp(1, config.entries), Ordering::Relaxed);
        Ok(index)
    }

    fn map(path: &Path, file: File, config: &config::Index) -> Result<IndexFile> {
        let map = || Words::map(&file, size(config) as usize, 0);
        let words = fail_point::at("index::map", map).map_err(Error::io("map", path))?;
        Ok(IndexFile {
            path: path.to_owned(),
            file,
            words,
            slots: config.slots,
            entries: config.entries,
            begin_timestamp: AtomicI64::new(0),
            end_timestamp: AtomicI64::new(0),
            begin_offset: AtomicU64::new(0),
            end_offset: AtomicU64::new(0),
            slots_used: AtomicU32::new(0),
            count: AtomicU32::new(1),
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.count.load(Ordering::Acquire) >= self.entries
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) <= 1
    }

    /// Its name, which is its place among the files.
    pub(super) fn number(&self) -> u64 {
        dir::number(&self.path).unwrap_or(0)
    }

    /// Physical offset and store timestamp of the last record in it.
    pub(super) fn end(&self) -> (LogOffset, Millis) {
        let offset = LogOffset::new(self.end_offset.load(Ordering::Acquire));
        (offset, Millis::new(self.end_timestamp.load(Ordering::Acquire)))
    }

    /// Store timestamps of the first and the last record in it.
    pub(super) fn times(&self) -> (Millis, Millis) {
        let time = |of: &AtomicI64| Millis::new(of.load(Ordering::Acquire));
        (time(&self.begin_timestamp), time(&self.end_timestamp))
    }

    fn slot_at(&self, hash: u32) -> usize {
        HEADER + SLOT * (hash % self.slots) as usize
    }

    fn entry_at(&self, number: u32) -> usize {
        HEADER + SLOT * self.slots as usize + ENTRY * number as usize
    }

    /// Preallocates what is necessary to write entry `number` and all slots.
    fn make_ready(&self, number: u32) -> Result<()> {
        let end = self.entry_at(number) + ENTRY;
        let ready = self.words.ready();
        if end <= ready {
            return Ok(());
        }
        let allocate = |ahead: u64| {
            let to = (end as u64 + ahead).min(self.entry_at(self.entries) as u64);
            let allocate = || dir::allocate(&self.file, ready as u64, to);
            fail_point::at("index::allocate", allocate).map_err(Error::io("allocate", &self.path))?;
            self.words.set_ready(to as usize);
            Ok(())
        };
        match allocate(STEP) {
            Err(Error::Full { .. }) => allocate(0),
            outcome => outcome,
        }
    }

    /// Adds an entry; the file must not be full.
    pub(super) fn add(&self, hash: u32, offset: LogOffset, timestamp: Millis) -> Result<()> {
        let number = self.count.load(Ordering::Relaxed);
        self.make_ready(number)?;
        let slot = self.slot_at(hash);
        let previous = self.words.load(slot).filter(|entry| *entry < number).unwrap_or(0);
        let begin = self.begin_timestamp.load(Ordering::Relaxed);
        let seconds = match number {
            1 => 0,
            _ => (timestamp.saturating_sub(begin).get() / 1000).clamp(0, i64::from(i32::MAX)),
        };
        let at = self.entry_at(number);
        self.words.store(at, hash);
        self.words.store(at + 4, (offset.get() >> 32) as u32);
        self.words.store(at + 8, offset.get() as u32);
        self.words.store(at + 12, seconds as u32);
        self.words.store(at + 16, previous);
        self.words.store(slot, number);

        if number == 1 {
            self.begin_offset.store(offset.get(), Ordering::Relaxed);
            self.begin_timestamp.store(timestamp.get(), Ordering::Relaxed);
        }
        if previous == 0 {
            self.slots_used.fetch_add(1, Ordering::Relaxed);
        }
        self.end_offset.store(offset.get(), Ordering::Release);
        self.end_timestamp.store(timestamp.get(), Ordering::Release);
        self.count.store(number + 1, Ordering::Release);
        self.write_header();
        Ok(())
    }

    /// The header as stored in the file.
    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.begin_timestamp.load(Ordering::Relaxed).to_be_bytes());
        put(8, &self.end_timestamp.load(Ordering::Relaxed).to_be_bytes());
        put(16, &self.begin_offset.load(Ordering::Relaxed).to_be_bytes());
        put(24, &self.end_offset.load(Ordering::Relaxed).to_be_bytes());
        put(32, &self.slots_used.load(Ordering::Relaxed).to_be_bytes());
        put(36, &self.count.load(Ordering::Relaxed).to_be_bytes());
        header
    }

    fn write_header(&self) {
        // Nothing is written while the header has no block; the first entry allocates one and
        // writes the header again.
        for (number, word) in self.header().as_chunks::<SLOT>().0.iter().enumerate() {
            self.words.store(SLOT * number, u32::from_be_bytes(*word));
        }
    }

    fn entry(&self, number: u32) -> Result<Entry> {
        let mut bytes = [0; ENTRY];
        self.read(self.entry_at(number), &mut bytes)?;
        Ok(Entry::decode(&bytes))
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        fail_point::at("index::read", || self.file.read_exact_at(into, at as u64))
            .map_err(Error::io("read", &self.path))
    }

    /// Passes the offsets stored for a hash between two times to `each`, newest first, until it
    /// stops the search.
    pub(super) fn find(
        &self,
        hash: u32,
        begin: Millis,
        end: Millis,
        each: &mut dyn FnMut(LogOffset) -> bool,
    ) -> Result<()> {
        let count = self.count.load(Ordering::Acquire);
        let mut slot = [0; SLOT];
        self.read(self.slot_at(hash), &mut slot)?;
        let mut number = u32::from_be_bytes(slot);
        // A chain only goes back, so it ends.
        let mut limit = count;
        while (1..limit).contains(&number) {
            let entry = self.entry(number)?;
            // The entry has a resolution of one second; `each` checks the record itself.
            let (first, _) = self.times();
            let time = first.saturating_add(i64::from(entry.seconds) * 1000);
            if time.saturating_add(999) < begin {
                break;
            }
            if entry.hash == hash && time <= end && !each(entry.offset) {
                break;
            }
            (limit, number) = (number, entry.previous);
        }
        Ok(())
    }

    /// Keeps the entries of records before `end`, which after a crash are those known to be on the
    /// disk, makes the slots consistent with them, and erases the others: dispatch adds them again
    /// from the log. The file must be flushed before a checkpoint covers it.
    pub(super) fn cut(&self, end: LogOffset) -> Result<()> {
        let count = self.count.load(Ordering::Relaxed);
        let (mut low, mut high) = (1, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            let written = entry != Entry { hash: 0, offset: LogOffset::ZERO, seconds: 0, previous: 0 };
            if written && entry.offset < end {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low < count || self.end().0 >= end || self.points_beyond(low)? {
            self.rebuild(low)?;
        }
        Ok(())
    }

    /// Whether a slot names an entry that does not exist: slots and header may have been written
    /// back at different times.
    fn points_beyond(&self, count: u32) -> Result<bool> {
        let mut slots = vec![0; SLOT * self.slots as usize];
        self.read(HEADER, &mut slots)?;
        Ok(slots.as_chunks::<SLOT>().0.iter().any(|slot| u32::from_be_bytes(*slot) >= count))
    }

    /// Sets the slots and the header from the entries before `count` and erases those behind: one
    /// that stayed could pass for a newer one after the next crash.
    fn rebuild(&self, count: u32) -> Result<()> {
        self.wipe(count)?;
        let mut newest = vec![0u32; self.slots as usize];
        let mut block = Vec::new();
        let mut from = 1;
        while from < count {
            let to = count.min(from + BLOCK);
            block.resize((to - from) as usize * ENTRY, 0);
            self.read(self.entry_at(from), &mut block)?;
            for (number, bytes) in (from..to).zip(block.as_chunks::<ENTRY>().0) {
                newest[(Entry::decode(bytes).hash % self.slots) as usize] = number;
            }
            from = to;
        }
        let slots: Vec<u8> = newest.iter().flat_map(|number| number.to_be_bytes()).collect();
        let write = || self.file.write_all_at(&slots, HEADER as u64);
        fail_point::at("index::write", write).map_err(Error::io("write", &self.path))?;
        self.slots_used.store(newest.iter().filter(|number| **number > 0).count() as u32, Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
        if count > 1 {
            let last = self.entry(count - 1)?;
            let begin = self.begin_timestamp.load(Ordering::Relaxed);
            self.end_offset.store(last.offset.get(), Ordering::Relaxed);
            self.end_timestamp.store(begin.saturating_add(i64::from(last.seconds) * 1000), Ordering::Relaxed);
        }
        match self.make_ready(count.min(self.entries - 1)) {
            // This does not prevent a start: nothing is added either.
            Err(Error::Full { .. }) => {}
            outcome => outcome?,
        }
        // Not through the mapping, which may have no block; the file has one, as the slots were
        // just written beside it.
        let write = || self.file.write_all_at(&self.header(), 0);
        fail_point::at("index::write", write).map_err(Error::io("write", &self.path))
    }

    fn wipe(&self, from: u32) -> Result<()> {
        let (begin, ready) = (self.entry_at(from), self.words.ready());
        // Blocks that the mapping relies on have to stay.
        let zeros = vec![0; ready.saturating_sub(begin)];
        let wipe = || match ready {
            0 => dir::zero_tail(&self.file, begin as u64),
            _ => self.file.write_all_at(&zeros, begin as u64),
        };
        fail_point::at("index::write", wipe).map_err(Error::io("wipe", &self.path))
    }

    /// Syncs everything.
    pub(super) fn flush(&self) -> Result<()> {
        let sync = || self.words.flush().and_then(|()| self.file.sync_data());
        fail_point::at("index::sync", sync).map_err(Error::sync(&self.path))
    }

    /// Unlinks the file.
    pub(super) fn delete(&self) -> Result<()> {
        fail_point::at("index::delete", || std::fs::remove_file(&self.path)).map_err(Error::io("delete", &self.path))
    }
}
