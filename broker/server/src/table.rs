//! A table of named values with a version, kept in a file of Java's format.
//!
//! Readers take an `Arc` out of a map under a read lock. A change increments the version, and is
//! durable when [`Table::persist`] has returned. Changes that arrive while a write is in progress
//! are covered together by the next write, so ten thousand new topics do not cost ten thousand file
//! writes.

use crate::{
    Error,
    clock::now_millis,
    rows::{self, InvalidRows, Row},
};
use parking_lot::{Mutex, RwLock};
use rmq_protocol::{body::DataVersion, fastjson};
use rmq_store::durable_file;
use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// Named values of one kind.
pub(crate) struct Table<T> {
    state: RwLock<State<T>>,
    file: TableFile,
    /// A write is scheduled that has not begun yet.
    write_waits: AtomicBool,
    /// A warning that the table is full was logged.
    warned_full: AtomicBool,
}

struct State<T> {
    version: DataVersion,
    /// Counts changes of this process. Unlike the version it cannot be set from outside.
    generation: u64,
    entries: FxHashMap<Arc<str>, Entry<T>>,
    /// Rows that cannot be used; see [`rows`].
    invalid: InvalidRows,
}

struct Entry<T> {
    value: Arc<T>,
    /// The generation in which the value was put.
    since: u64,
}

impl<T> Table<T> {
    /// A table of these entries, whose file is `path`.
    pub(crate) fn new(path: PathBuf, version: DataVersion, entries: BTreeMap<String, T>, invalid: InvalidRows) -> Self {
        let entries = entries
            .into_iter()
            .map(|(name, value)| (name.into(), Entry { value: Arc::new(value), since: 1 }))
            .collect();
        Self {
            state: RwLock::new(State { version, generation: 1, entries, invalid }),
            file: TableFile::new(path),
            write_waits: AtomicBool::new(false),
            warned_full: AtomicBool::new(false),
        }
    }

    /// Returns true if the caller must schedule a write that runs in the background. A scheduled
    /// write covers all changes until it begins. The write must call [`Table::end_waiting`] before
    /// it reads the table.
    pub(crate) fn begin_write(&self) -> bool {
        !self.write_waits.swap(true, SeqCst)
    }

    pub(crate) fn end_waiting(&self) {
        self.write_waits.store(false, SeqCst);
    }

    /// Warns, once, that `name` is not created because there are `most` already.
    pub(crate) fn refused(&self, name: &str, most: usize) {
        if !self.warned_full.swap(true, SeqCst) {
            let table = self.file.path.display();
            tracing::warn!(%table, name, most, "the table is full, so nothing is created; delete what is not used");
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<T>> {
        self.state.read().entries.get(name).map(|entry| Arc::clone(&entry.value))
    }

    pub(crate) fn len(&self) -> usize {
        self.state.read().entries.len()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.state.read().version
    }

    /// Puts the value, and replaces an existing one.
    pub(crate) fn put(&self, name: &str, value: T) -> Arc<T> {
        self.state.write().put(name, value)
    }

    /// Puts the result of `make` if there is no value. The flag is true if it did.
    pub(crate) fn find_or_put(&self, name: &str, make: impl FnOnce() -> T) -> (Arc<T>, bool) {
        let mut state = self.state.write();
        if let Some(found) = state.entries.get(name) {
            return (Arc::clone(&found.value), false);
        }
        (state.put(name, make()), true)
    }

    /// Whether a row of this name was left out.
    pub(crate) fn is_unread(&self, name: &str) -> bool {
        self.state.read().invalid.contains_key(name)
    }

    /// Removes the value, or the row that was left out. Returns false if there was neither.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut state = self.state.write();
        let removed = state.invalid.remove(name).is_some() | state.entries.remove(name).is_some();
        if removed {
            state.count();
        }
        removed
    }

    /// Counts a change that concerns no entry.
    pub(crate) fn touch(&self) {
        self.state.write().count();
    }

    /// Replaces the table with another broker's, including the version.
    pub(crate) fn replace(&self, version: DataVersion, entries: BTreeMap<String, T>, invalid: InvalidRows) {
        let mut state = self.state.write();
        state.generation += 1;
        let since = state.generation;
        state.entries =
            entries.into_iter().map(|(name, value)| (name.into(), Entry { value: Arc::new(value), since })).collect();
        (state.version, state.invalid) = (version, invalid);
    }
}

impl<T> Table<T> {
    /// The number of changes in this process so far.
    pub(crate) fn generation(&self) -> u64 {
        self.state.read().generation
    }
}

impl<T: Clone> Table<T> {
    /// The values that were put after `generation`, with their version and generation. All are read
    /// under one lock, so that no value of that version is missing.
    pub(crate) fn changed_since(&self, generation: u64) -> Changes<T> {
        self.state.read().changed_since(generation)
    }

    /// All values, ordered by name.
    pub(crate) fn snapshot(&self) -> (DataVersion, BTreeMap<String, T>) {
        let Changes { version, entries, .. } = self.changed_since(0);
        (version, entries)
    }

    /// Returns when every change made before is on disk. Blocks: must not run on reactor threads.
    ///
    /// # Errors
    /// The file cannot be written. The changes last until the end of the process.
    pub(crate) fn persist<S: Serialize>(
        &self,
        form: impl FnOnce(DataVersion, BTreeMap<String, Row<T>>) -> S,
    ) -> Result<(), rmq_store::Error> {
        self.file.cover(self.generation(), || {
            let (Changes { version, generation, entries }, invalid) = {
                let state = self.state.read();
                (state.changed_since(0), state.invalid.clone())
            };
            (generation, fastjson::to_vec_pretty(&form(version, rows::merge(entries, invalid))))
        })
    }
}

/// See [`Table::changed_since`].
pub(crate) struct Changes<T> {
    pub(crate) version: DataVersion,
    pub(crate) generation: u64,
    pub(crate) entries: BTreeMap<String, T>,
}

impl<T: Clone> State<T> {
    fn changed_since(&self, generation: u64) -> Changes<T> {
        let changed = self.entries.iter().filter(|(_, entry)| entry.since > generation);
        Changes {
            version: self.version,
            generation: self.generation,
            entries: changed.map(|(name, entry)| (name.to_string(), T::clone(&entry.value))).collect(),
        }
    }
}

impl<T> State<T> {
    fn put(&mut self, name: &str, value: T) -> Arc<T> {
        self.count();
        if let Some(row) = self.invalid.remove(name) {
            tracing::warn!(name, %row, "a row that could not be used is replaced");
        }
        let value = Arc::new(value);
        self.entries.insert(name.into(), Entry { value: Arc::clone(&value), since: self.generation });
        value
    }

    fn count(&mut self) {
        self.version.next(now_millis());
        self.generation += 1;
    }
}

/// A file that is rewritten as a whole, one write at a time.
pub(crate) struct TableFile {
    path: PathBuf,
    written: Mutex<u64>,
}

impl TableFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, written: Mutex::new(0) }
    }

    /// Returns when a snapshot of `generation` or later is in the file.
    pub(crate) fn cover(
        &self,
        generation: u64,
        snapshot: impl FnOnce() -> (u64, Vec<u8>),
    ) -> Result<(), rmq_store::Error> {
        let mut written = self.written.lock();
        if *written >= generation {
            return Ok(());
        }
        let (covered, bytes) = snapshot();
        durable_file::replace(&self.path, &bytes)?;
        *written = covered;
        Ok(())
    }
}

/// Reads a table's file, or its backup. A file that does not exist is an empty table.
pub(crate) fn load<T: DeserializeOwned + Default>(path: &Path) -> Result<T, Error> {
    let parse = |bytes: &[u8]| {
        fastjson::from_slice(bytes).map_err(|error| Error::Table { path: path.to_owned(), reason: error.to_string() })
    };
    Ok(durable_file::load(path, parse)?.unwrap_or_default())
}

/// The same for a file that the broker can do without: one that cannot be parsed is logged with
/// `consequence`, and counts as one that does not exist.
pub(crate) fn load_or_default<T: DeserializeOwned + Default>(path: &Path, consequence: &str) -> Result<T, Error> {
    match load(path) {
        Err(error @ Error::Table { .. }) => {
            tracing::warn!(%error, "{consequence}");
            Ok(T::default())
        }
        read => read,
    }
}

/// The same. If neither the file nor its backup can be parsed as a `T`, returns the result of
/// `mend` for their rows, and keeps a copy of the file beside it, as `.bad`. A file that is no JSON
/// is an error.
pub(crate) fn load_or_mend<T, L>(path: &Path, mend: impl FnOnce(L) -> T) -> Result<T, Error>
where
    T: DeserializeOwned + Default,
    L: DeserializeOwned + Default,
{
    let error = match load(path) {
        Ok(table) => return Ok(table),
        Err(error) => error,
    };
    let Ok(rows) = load(path) else { return Err(error) };
    let mut copy = path.as_os_str().to_owned();
    copy.push(".bad");
    // If only the backup can be read there is nothing to copy.
    if let Err(failed) = std::fs::copy(path, &copy) {
        tracing::warn!(%failed, path = %path.display(), "the file is not copied before it is written anew");
    }
    tracing::warn!(path = %path.display(), %error, "the file is read in part; a copy of it has the ending .bad");
    Ok(mend(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_count_and_a_covered_write_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        let table =
            Table::new(path.clone(), DataVersion::default(), BTreeMap::from([("a".to_owned(), 1)]), InvalidRows::new());
        table.put("b", 2);
        assert!(!table.find_or_put("b", || 3).1);
        assert!(table.remove("a") && !table.remove("a"));
        assert_eq!(table.version().counter, 2);
        assert_eq!(table.changed_since(2).entries, BTreeMap::new());
        assert_eq!(table.changed_since(1).entries, BTreeMap::from([("b".to_owned(), 2)]));
        table.persist(|_, entries| entries).unwrap();
        let written: BTreeMap<String, i32> = load(&path).unwrap();
        assert_eq!(written, BTreeMap::from([("b".to_owned(), 2)]));
        std::fs::remove_file(&path).unwrap();
        table.persist(|_, entries| entries).unwrap();
        assert!(!path.exists(), "nothing changed, nothing written");
    }
}
