//! Finds the end of the log.
//!
//! One scanner walks the records from an offset on and stops where none begins. A broker's start
//! uses it, and so do the offline tools. The meaning of that place is one of three outcomes,
//! decided from three things: the bytes there, the bytes behind it, and what the checkpoint records
//! as synced:
//!
//! | there | behind it | meaning |
//! |---|---|---|
//! | zeros | nothing | the end |
//! | no record | nothing | a torn tail: the last append was cut off; it is removed |
//! | anything | records older than the last good one | a torn tail of a truncation by Java; removed |
//! | anything, before a flushed record | anything | corruption |
//! | a lost page | records never known to be flushed | a torn tail: unflushed pages are lost in any order |
//! | anything else | records | corruption |
//!
//! Files are read, not mapped, while they are scanned: a bad sector is then an error and not a
//! signal. The missing bytes of a truncated file count as zeros; a start refuses such a file before
//! it is scanned.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rmq_protocol::message::stored::{self, Head, Record};

use super::truncate;
use crate::checkpoint::Marks;
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::position::{LogOffset, Millis};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
const PAGE: u64 = 4096;
/// What Java subtracts from a checkpoint's timestamps, ms.
const TIMESTAMP_SLACK: i64 = 3000;

/// The files of a log on the disk, oldest first and without gaps.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) list: Vec<(LogOffset, PathBuf)>,
    pub(crate) file_size: u64,
    /// An empty file behind them, left by an interrupted creation.
    pub(crate) unfinished: Option<PathBuf>,
}

/// The place where a scan stopped.
#[derive(Debug)]
pub(crate) struct Stop {
    /// No record begins here.
    pub(crate) offset: LogOffset,
    /// The reason; `None` if nothing was ever written there.
    pub(crate) reason: Option<String>,
    /// Store timestamp of the last good record, ms.
    pub(crate) last_store_timestamp: Option<Millis>,
    /// The caller stopped the scan: a record may begin here.
    pub(crate) enough: bool,
}

/// The meaning of the place where a scan stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The log ends here, and nothing was ever written behind it.
    End,
    /// The log ends here; the bytes behind it were never complete, or were discarded before. They
    /// are to be removed.
    TornTail(String),
    /// Bytes that were good before are damaged.
    Corruption {
        reason: String,
        /// The next good record, if there is one.
        next: Option<LogOffset>,
    },
}

/// The files of a log in one directory, oldest first, with the offset that each begins at. Offsets
/// are Java's longs, but a name on the disk can be any number; one beyond them is refused, as sums
/// with it could overflow.
pub(crate) fn listed(dir: &Path) -> Result<Vec<(LogOffset, PathBuf)>> {
    let placed = |(base, path): (u64, PathBuf)| match i64::try_from(base).ok().and_then(LogOffset::from_wire) {
        Some(base) => Ok((base, path)),
        None => Err(Error::Config(format!(
            "{} is no file of a commit log, as none gets so long; move it to another directory",
            path.display()
        ))),
    };
    dir::numbered(dir)?.into_iter().map(placed).collect()
}

impl Files {
    /// Lists the log in these directories without changing anything.
    pub(crate) fn list<'a>(dirs: impl Iterator<Item = &'a Path>, file_size: u64) -> Result<Files> {
        let mut list = Vec::new();
        for dir in dirs {
            list.extend(listed(dir)?);
        }
        list.sort_unstable();
        let len = |path: &Path| std::fs::metadata(path).map(|data| data.len()).map_err(Error::io("look at", path));
        let mut unfinished = None;
        if let Some((_, path)) = list.last()
            && len(path)? == 0
        {
            unfinished = list.pop().map(|(_, path)| path);
        }
        let mut expected = list.first().map_or(LogOffset::ZERO, |(base, _)| *base);
        for (base, path) in &list {
            let len = len(path)?;
            if len != file_size {
                return Err(Error::Config(format!(
                    "{} has {len} bytes, the configured size of a commit log file is {file_size}",
                    path.display()
                )));
            }
            if *base != expected || !base.get().is_multiple_of(file_size) {
                let twice = *base + file_size == expected;
                let reason = match twice {
                    true => "the same part of the log lies in another directory too".to_owned(),
                    false => format!("a file that begins at {expected} is missing"),
                };
                return Err(Error::Corruption { file: path.clone(), offset: expected, reason });
            }
            expected += file_size;
        }
        Ok(Files { list, file_size, unfinished })
    }

    /// Offset of the first byte.
    pub(crate) fn first(&self) -> LogOffset {
        self.list.first().map_or(LogOffset::ZERO, |(base, _)| *base)
    }

    /// Offset behind the last byte, whether written or not.
    pub(crate) fn limit(&self) -> LogOffset {
        self.first() + self.list.len() as u64 * self.file_size
    }

    /// The file that contains an offset; the last file at the end of the log.
    pub(crate) fn file_of(&self, offset: LogOffset) -> PathBuf {
        let file = self.list.iter().rev().find(|(base, _)| *base <= offset);
        file.map_or_else(PathBuf::new, |(_, path)| path.clone())
    }

    /// The error for damage at an offset; it names the file.
    pub(crate) fn corruption(&self, offset: LogOffset, reason: String) -> Error {
        Error::Corruption { file: self.file_of(offset), offset, reason }
    }

    fn open(&self, offset: LogOffset) -> Result<Option<Reader>> {
        let at = offset.checked_since(self.first()).map(|from| from / self.file_size);
        let Some((base, path)) = at.and_then(|at| self.list.get(at as usize)) else { return Ok(None) };
        Reader::open(path, *base, self.file_size).map(Some)
    }

    /// The result of `read` for the record at an offset, if there is a good one.
    pub(crate) fn record<T>(&self, offset: LogOffset, read: impl FnOnce(&Record<'_>) -> T) -> Result<Option<T>> {
        let Some(mut reader) = self.open(offset)? else { return Ok(None) };
        Ok(reader.record(offset)?.ok().map(|record| read(&record)))
    }

    fn good_record(&self, offset: LogOffset) -> Result<Option<Millis>> {
        self.record(offset, |record| Millis::new(record.store_timestamp()))
    }

    /// Where a scan has to begin so that the part before needs no scan: nothing there is damaged,
    /// and consume queues and index contain all of it.
    pub(crate) fn scan_start(&self, marks: &Marks, crashed: bool) -> Result<LogOffset> {
        if let Some(record) = marks.known_record() {
            if record >= self.limit() {
                let reason = format!("the log ends here, but the checkpoint knows a flushed record at {record}");
                return Err(self.corruption(self.limit(), reason));
            }
            if self.good_record(record)?.is_some() {
                return Ok(record);
            }
        }
        match crashed {
            true => self.last_safe_file(marks),
            false => self.last_begun_file(),
        }
    }

    /// The last file before the first one that is younger than the checkpoint's timestamps. Java
    /// looks back from the newest file for one that is old enough. But if the clock stepped back,
    /// an old one may follow a file that the checkpoint does not cover. A step back in the file
    /// that the checkpoint speaks of shows in no first record.
    fn last_safe_file(&self, marks: &Marks) -> Result<LogOffset> {
        let safe = marks.commit_log_timestamp.min(marks.consume_queue_timestamp).saturating_sub(TIMESTAMP_SLACK);
        let mut last = self.first();
        for (base, _) in &self.list {
            match self.good_record(*base)? {
                Some(store_timestamp) if store_timestamp > safe => break,
                Some(_) => last = *base,
                None => {}
            }
        }
        Ok(last)
    }

    /// The last file with a record; one that was preallocated has none.
    fn last_begun_file(&self) -> Result<LogOffset> {
        for (base, _) in self.list.iter().rev() {
            if self.good_record(*base)?.is_some() {
                return Ok(*base);
            }
        }
        Ok(self.first())
    }

    /// Passes every record from `start` on to `each`, until there is none, or `each` stops the
    /// scan.
    pub(crate) fn scan(
        &self,
        start: LogOffset,
        each: &mut dyn FnMut(&Record<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<Stop> {
        let mut stop = Stop { offset: start, reason: None, last_store_timestamp: None, enough: false };
        while let Some(mut reader) = self.open(stop.offset)? {
            loop {
                let left = reader.limit() - stop.offset;
                match reader.record(stop.offset)? {
                    Ok(record) => {
                        stop.last_store_timestamp = Some(Millis::new(record.store_timestamp()));
                        stop.enough = each(&record)?.is_break();
                        stop.offset += record.size() as u64;
                        if stop.enough {
                            return Ok(stop);
                        }
                    }
                    Err(NoRecord::Blank(size)) if size == left => break,
                    Err(NoRecord::Blank(size)) => {
                        stop.reason = Some(format!("a filler of {size} bytes where {left} are left in the file"));
                        return Ok(stop);
                    }
                    Err(NoRecord::Empty) => return Ok(stop),
                    Err(NoRecord::Bad(reason)) => {
                        stop.reason = Some(reason);
                        return Ok(stop);
                    }
                }
            }
            stop.offset = reader.limit();
        }
        Ok(stop)
    }

    /// Decides by the table above what the place means where the scan stopped.
    pub(crate) fn judge(&self, stop: &Stop, marks: &Marks) -> Result<Outcome> {
        let next = self.next_record(stop.offset)?;
        let found = stop.reason.as_deref().unwrap_or("nothing was written here");
        let corruption = |reason: String| Ok(Outcome::Corruption { reason, next: next.map(|(offset, _)| offset) });
        if let Some(flushed) = marks.known_record()
            && stop.offset <= flushed
        {
            return corruption(format!("{found}, but the checkpoint knows a flushed record at {flushed}"));
        }
        let Some((offset, store_timestamp)) = next else {
            return Ok(stop.reason.clone().map_or(Outcome::End, Outcome::TornTail));
        };
        if stop.last_store_timestamp.is_some_and(|last| store_timestamp < last) {
            return Ok(Outcome::TornTail(format!("{found}, and what follows is older than what lies before")));
        }
        if store_timestamp >= marks.commit_log_timestamp && self.lost_page(stop.offset, offset)? {
            return Ok(Outcome::TornTail(format!("{found}, and pages behind it never came to the disk")));
        }
        corruption(format!("{found}, but a good record follows at {offset}"))
    }

    /// The first good record behind `from`, and its store timestamp.
    fn next_record(&self, from: LogOffset) -> Result<Option<(LogOffset, Millis)>> {
        let mut offset = from + 1;
        while let Some(mut reader) = self.open(offset)? {
            if let Some(found) = reader.search(offset)? {
                return Ok(Some(found));
            }
            offset = reader.limit();
        }
        Ok(None)
    }

    /// Whether a whole page that begins before `to`, or the rest of the page at `from`, is zero,
    /// which means that it was never written back. The record at `to` may have its first bytes in
    /// such a page, because sizes begin with zeros.
    fn lost_page(&self, from: LogOffset, to: LogOffset) -> Result<bool> {
        let mut at = from;
        while at < to {
            let Some(mut reader) = self.open(at)? else { return Ok(false) };
            // The bytes of a filler after its header were never written.
            let written = reader.filler(at)?.unwrap_or(reader.limit());
            while at < reader.limit() && at < to {
                let end = LogOffset::new((at.get() / PAGE + 1) * PAGE);
                if end <= written && reader.bytes(at, (end - at) as usize)?.iter().all(|byte| *byte == 0) {
                    return Ok(true);
                }
                at = end;
            }
        }
        Ok(false)
    }

    /// Cuts the log at `end` on the disk: later files are deleted, and the rest of the file becomes
    /// zero, so that no old record can ever be taken for a new one. Leftovers of an interrupted
    /// creation or truncation are removed too; both may be large.
    pub(crate) fn cut(&mut self, end: LogOffset) -> Result<()> {
        for half in self.list.iter().map(|(_, path)| truncate::half_of(path)).filter(|half| half.exists()) {
            fail_point::at("commit_log::delete", || std::fs::remove_file(&half)).map_err(Error::io("remove", &half))?;
        }
        if let Some(path) = self.unfinished.take() {
            fail_point::at("commit_log::delete", || std::fs::remove_file(&path)).map_err(Error::io("remove", &path))?;
        }
        while let Some((base, path)) = self.list.last() {
            let keep = *base < end || (*base == end && self.list.len() == 1);
            if !keep {
                fail_point::at("commit_log::delete", || std::fs::remove_file(path))
                    .map_err(Error::io("remove", path))?;
                self.list.pop();
                continue;
            }
            let mut reader = Reader::open(path, *base, self.file_size)?;
            // After a killed process the rest is usually empty, and a sync would wait for all the
            // file's dirty pages.
            if reader.is_zero_from(end)? {
                break;
            }
            let open = || File::options().read(true).write(true).open(path);
            let file = fail_point::at("commit_log::open", open).map_err(Error::io("open", path))?;
            fail_point::at("commit_log::cut", || dir::zero_tail(&file, end - *base)).map_err(Error::io("cut", path))?;
            fail_point::at("commit_log::sync_cut", || file.sync_data()).map_err(Error::sync(path))?;
            break;
        }
        Ok(())
    }
}

enum NoRecord {
    Blank(u64),
    Empty,
    Bad(String),
}

/// Reads one file in chunks.
struct Reader {
    path: PathBuf,
    file: File,
    base: LogOffset,
    size: u64,
    chunk: Vec<u8>,
    /// Offset of the chunk's first byte.
    chunk_at: LogOffset,
}

impl Reader {
    fn open(path: &Path, base: LogOffset, size: u64) -> Result<Reader> {
        let file = fail_point::at("commit_log::scan", || File::open(path)).map_err(Error::io("open", path))?;
        Ok(Reader { path: path.to_owned(), file, base, size, chunk: Vec::new(), chunk_at: base })
    }

    fn limit(&self) -> LogOffset {
        self.base + self.size
    }

    /// The bytes from `offset`, at most `len` and fewer at the end of the file.
    fn bytes(&mut self, offset: LogOffset, len: usize) -> Result<&[u8]> {
        let len = len.min(self.limit().saturating_since(offset) as usize);
        let have = offset >= self.chunk_at && offset + len as u64 <= self.chunk_at + self.chunk.len() as u64;
        if !have {
            let load = len.max(CHUNK).min((self.limit() - offset) as usize);
            self.chunk.resize(load, 0);
            self.chunk_at = offset;
            let read = || dir::read_up_to(&self.file, &mut self.chunk, offset - self.base);
            let read = fail_point::at("commit_log::scan", read).map_err(Error::io("read", &self.path))?;
            self.chunk[read..].fill(0);
        }
        let at = (offset - self.chunk_at) as usize;
        Ok(&self.chunk[at..at + len])
    }

    /// The good record at `offset`, or what is found there instead.
    fn record(&mut self, offset: LogOffset) -> Result<Result<Record<'_>, NoRecord>> {
        let left = self.limit() - offset;
        let size = match stored::head(self.bytes(offset, stored::BLANK_SIZE)?) {
            Ok(Head::Record(size, _)) => size,
            Ok(Head::Blank(size)) => return Ok(Err(NoRecord::Blank(size as u64))),
            Ok(Head::Empty) => return Ok(Err(NoRecord::Empty)),
            Err(error) => return Ok(Err(NoRecord::Bad(error.to_string()))),
        };
        if (size + stored::BLANK_SIZE) as u64 > left {
            return Ok(Err(NoRecord::Bad(format!("a record of {size} bytes where {left} are left in the file"))));
        }
        // A damaged length must not cause a read of a gigabyte.
        if let Err(error) = stored::check_prefix(self.bytes(offset, size.min(stored::PREFIX_MAX))?, offset.get()) {
            return Ok(Err(NoRecord::Bad(error.to_string())));
        }
        let record = Record::parse(self.bytes(offset, size)?).and_then(|record| {
            record.check_body()?;
            Ok(record)
        });
        Ok(match record {
            Ok(record) if record.has_lost_properties() => {
                Err(NoRecord::Bad("a record whose properties were not written to the end".into()))
            }
            Ok(record) if LogOffset::of(&record) == offset => Ok(record),
            Ok(record) => Err(NoRecord::Bad(format!("a record that belongs to offset {}", record.physical_offset()))),
            Err(error) => Err(NoRecord::Bad(error.to_string())),
        })
    }

    /// The first place at or behind `at` where the file has data, if there is any.
    fn data_from(&self, at: LogOffset) -> Result<Option<LogOffset>> {
        let look = || dir::data_from(&self.file, at - self.base);
        let data = fail_point::at("commit_log::scan", look).map_err(Error::io("read", &self.path))?;
        Ok(data.map(|data| self.base + data))
    }

    /// Whether the file has only zeros at and behind `at`.
    fn is_zero_from(&mut self, mut at: LogOffset) -> Result<bool> {
        while at < self.limit() {
            // Preallocated space is not worth reading.
            let Some(data) = self.data_from(at)? else { return Ok(true) };
            let chunk = self.bytes(data, CHUNK)?;
            if chunk.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = data + chunk.len() as u64;
        }
        Ok(true)
    }

    /// Where the filler of this file begins, if it has one at or behind `from`.
    fn filler(&mut self, from: LogOffset) -> Result<Option<LogOffset>> {
        let mut at = from;
        while at + (stored::BLANK_SIZE as u64) <= self.limit() {
            let limit = self.limit();
            let chunk = self.bytes(at, CHUNK)?;
            let head = |start: LogOffset| stored::blank((limit - start) as u32);
            for found in memchr::memmem::find_iter(chunk, &stored::MAGIC_BLANK.to_be_bytes()) {
                let start = found.checked_sub(4).map(|start| (start, at + start as u64));
                if let Some((start, offset)) = start
                    && chunk[start..].starts_with(&head(offset))
                {
                    return Ok(Some(offset));
                }
            }
            at += (chunk.len() - (stored::BLANK_SIZE - 1)) as u64;
        }
        Ok(None)
    }

    /// The first good record at or behind `from` in this file.
    fn search(&mut self, from: LogOffset) -> Result<Option<(LogOffset, Millis)>> {
        // Both magics begin with these three bytes, four bytes into the record.
        const MARK: [u8; 3] = [0xDA, 0xA3, 0x20];
        let mut at = from;
        while at < self.limit() {
            let Some(data) = self.data_from(at)? else { return Ok(None) };
            at = data;
            let chunk = self.bytes(at, CHUNK)?;
            let len = chunk.len();
            let candidates: Vec<LogOffset> =
                memchr::memmem::find_iter(chunk, &MARK).map(|found| at + found as u64).collect();
            for mark in candidates {
                let Some(start) = mark.checked_sub(4).filter(|start| *start >= from) else { continue };
                if let Ok(record) = self.record(start)? {
                    return Ok(Some((start, Millis::new(record.store_timestamp()))));
                }
            }
            if len < MARK.len() {
                break;
            }
            at += (len - (MARK.len() - 1)) as u64;
        }
        Ok(None)
    }
}
