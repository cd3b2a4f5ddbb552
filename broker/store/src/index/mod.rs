//! The index: from `topic#key` to the records that carry the key.
//!
//! It contains nothing that the commit log does not, and only queries by key use it, so it may lag:
//! while the disk is too full for it, dispatch goes on without it, and it catches up when there is
//! room again. Files are named by the local time of their creation, `yyyyMMddHHmmssSSS`; a full one
//! is followed by a new one. The names are their order: one made after the clock stepped back, as
//! it does at the end of summer time, is named as if a millisecond after the last.

mod file;
pub(crate) mod inspect;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rmq_protocol::message::java::StringHash;
use rmq_protocol::message::properties;
use rmq_protocol::message::stored::Record;
use rmq_protocol::message::sys_flag::{self, Transaction};

use crate::config;
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::follower::{Dispatched, Follower};
use crate::position::{LogOffset, Millis};
use file::IndexFile;

/// All index files, oldest first.
#[derive(Debug)]
pub(crate) struct Index {
    config: config::Index,
    dir: PathBuf,
    files: RwLock<Vec<Arc<IndexFile>>>,
    /// Records up to this physical offset are in the index and are not added again. `u64::MAX`
    /// stands for an index without any record.
    last: AtomicU64,
    /// Files with entries that are not durable yet.
    unsynced: Mutex<Vec<Arc<IndexFile>>>,
}

const NONE: u64 = u64::MAX;

impl Index {
    /// Opens the files in `dir`. After a crash only entries of records before `end` are kept.
    pub(crate) fn open(config: config::Index, dir: PathBuf, end: LogOffset, crashed: bool) -> Result<Index> {
        dir::create_durably(&dir)?;
        let mut files: Vec<Arc<IndexFile>> = Vec::new();
        for (_, path) in dir::numbered(&dir)? {
            let len = std::fs::metadata(&path).map_err(Error::io("look at", &path))?.len();
            if len == 0 {
                // Its creation was interrupted.
                fail_point::at("index::delete", || std::fs::remove_file(&path)).map_err(Error::io("remove", &path))?;
                continue;
            }
            if len != file::size(&config) {
                return Err(Error::Config(format!(
                    "{} has {len} bytes, the configured number of slots and entries makes {}",
                    path.display(),
                    file::size(&config)
                )));
            }
            files.push(Arc::new(IndexFile::open(&path, &config)?));
        }
        // A header that names records behind the end is damaged: no further record would be added.
        if crashed || files.last().is_some_and(|file| file.end().0 > end) {
            // Once a file had an entry from before `end`, the files before it were complete and
            // durable.
            for file in files.iter().rev() {
                file.cut(end)?;
                if !file.is_empty() {
                    break;
                }
            }
        }
        while let Some(file) = files.pop_if(|file| file.is_empty()) {
            file.delete()?;
        }
        let last = files.last().map_or(NONE, |file| file.end().0.get());
        let unsynced = if crashed { files.last().map(Arc::clone).into_iter().collect() } else { Vec::new() };
        Ok(Index { config, dir, files: RwLock::new(files), last: AtomicU64::new(last), unsynced: Mutex::new(unsynced) })
    }

    /// Adds the keys of a record. Only dispatch calls this, in the order of the log.
    pub(crate) fn add(&self, record: &Record<'_>) -> Result<()> {
        let offset = LogOffset::of(record);
        let last = self.last.load(Ordering::Relaxed);
        if !self.config.enabled || (last != NONE && offset.get() <= last) {
            return Ok(());
        }
        if sys_flag::transaction(record.sys_flag()) == Transaction::Rollback {
            return Ok(());
        }
        let mut outcome = Ok(());
        keys(record.topic(), record.properties(), &mut |hash| {
            if outcome.is_ok() {
                outcome = self.add_hash(hash, offset, record.store_timestamp().into());
            }
        });
        outcome?;
        self.last.store(offset.get(), Ordering::Relaxed);
        Ok(())
    }

    fn add_hash(&self, hash: u32, offset: LogOffset, timestamp: Millis) -> Result<()> {
        let file = self.writable()?;
        file.add(hash, offset, timestamp)?;
        let mut unsynced = self.unsynced.lock();
        if !unsynced.last().is_some_and(|last| Arc::ptr_eq(last, &file)) {
            unsynced.push(file);
        }
        Ok(())
    }

    /// The file for the next entry.
    fn writable(&self) -> Result<Arc<IndexFile>> {
        let last = self.files.read().last().map(Arc::clone);
        let (behind, (offset, timestamp)) = match last {
            Some(file) if !file.is_full() => return Ok(file),
            Some(file) => (file.number().wrapping_add(1), file.end()),
            None => Default::default(),
        };
        let now = jiff::Zoned::now().strftime("%Y%m%d%H%M%S%3f").to_string();
        let mut number = now.parse().unwrap_or(0).max(behind);
        let path = loop {
            let path = self.dir.join(format!("{number:017}"));
            if !path.exists() {
                break path;
            }
            number = number.wrapping_add(1);
        };
        let file = Arc::new(IndexFile::create(&path, &self.config, offset, timestamp)?);
        self.files.write().push(Arc::clone(&file));
        Ok(file)
    }

    /// Passes the physical offsets of records that may carry `key` to `each`, newest first, until
    /// it stops the search. Entries match by hash, and times are whole seconds: `each` checks the
    /// records.
    pub(crate) fn find(
        &self,
        topic: &str,
        key: &str,
        begin: Millis,
        end: Millis,
        each: &mut dyn FnMut(LogOffset) -> bool,
    ) -> Result<()> {
        let hash = hash(topic, key);
        let files = self.files.read().clone();
        let mut more = true;
        for file in files.iter().rev() {
            if file.is_empty() {
                continue;
            }
            let (first, last) = file.times();
            if begin <= last && end >= first {
                file.find(hash, begin, end, &mut |offset| {
                    more = each(offset);
                    more
                })?;
            }
            if !more || first < begin {
                break;
            }
        }
        Ok(())
    }

    /// Physical offset and store timestamp of the last record in the index.
    pub(crate) fn end(&self) -> (LogOffset, Millis) {
        self.files.read().last().map_or_else(Default::default, |file| file.end())
    }

    pub(crate) fn file_count(&self) -> usize {
        self.files.read().len()
    }

    /// Bytes mapped by the files: the whole of each.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.file_count() as u64 * file::size(&self.config)
    }

    /// Syncs everything added. After [`Error::Sync`] none of it may be regarded as durable any
    /// more; after another error the sync can be retried.
    pub(crate) fn flush(&self) -> Result<()> {
        let files = std::mem::take(&mut *self.unsynced.lock());
        if files.is_empty() {
            return Ok(());
        }
        let outcome = files.iter().try_for_each(|file| file.flush()).and_then(|()| dir::sync(&self.dir));
        if outcome.is_err() {
            self.unsynced.lock().extend(files);
        }
        outcome
    }
}

impl Follower for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn take(&self, dispatched: &Dispatched<'_>) -> Result<()> {
        self.add(dispatched.record)
    }

    fn sync(&self, _place: LogOffset) -> Result<()> {
        self.flush()
    }

    /// Deletes files whose records the log has lost, except the newest.
    fn trim(&self, log_min: LogOffset) -> Result<()> {
        loop {
            let old = |files: &[Arc<IndexFile>]| files.len() > 1 && files[0].end().0 < log_min;
            let Some(file) = Some(self.files.read()).filter(|files| old(files)).map(|files| Arc::clone(&files[0]))
            else {
                return Ok(());
            };
            file.delete()?;
            self.files.write().retain(|other| !Arc::ptr_eq(other, &file));
        }
    }

    /// Drops records at or behind `to`, which the log has lost. Dispatch is stopped meanwhile.
    fn truncate(&self, to: LogOffset) -> Result<()> {
        let mut files = self.files.write();
        while let Some(file) = files.last() {
            if file.end().0 < to {
                break;
            }
            file.cut(to)?;
            if !file.is_empty() {
                self.unsynced.lock().push(Arc::clone(file));
                break;
            }
            file.delete()?;
            files.pop();
        }
        self.last.store(files.last().map_or(NONE, |file| file.end().0.get()), Ordering::Relaxed);
        Ok(())
    }
}

fn hash(topic: &str, key: &str) -> u32 {
    file::positive(StringHash::default().push(topic).push("#").push(key).finish())
}

/// Passes the hash of each key of a record to `each`: its unique key, and each word of its keys.
fn keys(topic: &str, raw: &[u8], each: &mut dyn FnMut(u32)) {
    let (mut unique, mut words) = (None, None);
    for (name, value) in properties::iter(raw) {
        if name == properties::UNIQ_KEY.as_bytes() {
            unique = Some(value);
        } else if name == properties::KEYS.as_bytes() {
            words = Some(value);
        }
    }
    if let Some(unique) = unique {
        each(hash(topic, &String::from_utf8_lossy(unique)));
    }
    if let Some(words) = words {
        let words = String::from_utf8_lossy(words);
        words.split(' ').filter(|word| !word.is_empty()).for_each(|word| each(hash(topic, word)));
    }
}

#[cfg(test)]
mod tests;
