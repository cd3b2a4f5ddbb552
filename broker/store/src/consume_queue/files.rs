//! The files of all consume queues; a bounded number of them is open.
//!
//! A broker may have a hundred thousand queues; to map or keep open a file for each would exceed
//! the limits of the system. Files are opened for a read or a write and stay open in an LRU cache.
//! A user of such a file keeps it alive by its reference count, and so does [`super::unsynced`].

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use rustix::io::ReadWriteFlags;

use super::Queue;
use super::unsynced::Unsynced;
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;

/// Identifies a file: the queue's number in this process, and the byte the file begins at.
pub(crate) type Key = (u64, u64);

/// The cache of open files.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    file_size: u64,
    capacity: usize,
    open: Mutex<Open>,
    pub(super) unsynced: Unsynced,
}

#[derive(Debug, Default)]
struct Open {
    files: FxHashMap<Key, (Arc<File>, u64)>,
    clock: u64,
    /// Counts removals: a file that was opened before a removal and cached after it might have no
    /// name any more.
    removals: u64,
}

impl Files {
    /// Creates the cache for the directory `root`, which exists; nothing below it has been written
    /// yet.
    pub(crate) fn open(root: PathBuf, file_size: u64, capacity: usize) -> Result<Self> {
        let unsynced = Unsynced::open(&root)?;
        Ok(Files { root, file_size, capacity, open: Mutex::default(), unsynced })
    }

    /// Bytes of a file.
    pub(crate) fn file_size(&self) -> u64 {
        self.file_size
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of a queue.
    pub(crate) fn dir(&self, queue: &Queue) -> PathBuf {
        self.root.join(queue.topic()).join(queue.id().to_string())
    }

    pub(super) fn path(&self, queue: &Queue, base: u64) -> PathBuf {
        self.dir(queue).join(dir::file_name(base))
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.lock().files.len()
    }

    /// The file that begins at byte `base`, if there is one.
    pub(crate) fn get(&self, queue: &Queue, base: u64) -> Result<Option<Arc<File>>> {
        let key = (queue.number(), base);
        let removals = match self.cached(key) {
            Ok(file) => return Ok(Some(file)),
            Err(removals) => removals,
        };
        let path = self.path(queue, base);
        match fail_point::at("consume_queue::open", || OpenOptions::new().read(true).write(true).open(&path)) {
            Ok(file) => Ok(Some(self.keep(key, file, removals))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", &path)(error)),
        }
    }

    /// The file that begins at byte `base`, created at its full size and without blocks if it does
    /// not exist.
    fn get_or_create(&self, queue: &Queue, base: u64) -> Result<Arc<File>> {
        if let Some(file) = self.get(queue, base)? {
            return Ok(file);
        }
        let path = self.path(queue, base);
        dir::create(&self.dir(queue))?;
        let create = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            file.set_len(self.file_size)?;
            Ok(file)
        };
        let removals = self.open.lock().removals;
        let file = fail_point::at("consume_queue::create", create).map_err(Error::io("create", &path))?;
        Ok(self.keep((queue.number(), base), file, removals))
    }

    /// The file if it is open, or else the number of removals.
    fn cached(&self, key: Key) -> Result<Arc<File>, u64> {
        let mut open = self.open.lock();
        open.clock += 1;
        let (now, removals) = (open.clock, open.removals);
        let (file, used) = open.files.get_mut(&key).ok_or(removals)?;
        *used = now;
        Ok(Arc::clone(file))
    }

    /// Caches a file, unless a file was removed since it was opened.
    fn keep(&self, key: Key, file: File, removals: u64) -> Arc<File> {
        let file = Arc::new(file);
        let mut open = self.open.lock();
        if open.removals != removals {
            return file;
        }
        if open.files.len() >= self.capacity {
            // An eighth at once, so that the search for the oldest files is rare.
            let mut ages: Vec<u64> = open.files.values().map(|(_, used)| *used).collect();
            let (_, limit, _) = ages.select_nth_unstable(self.capacity / 8);
            let limit = *limit;
            open.files.retain(|_, (_, used)| *used > limit);
        }
        open.clock += 1;
        let now = open.clock;
        open.files.insert(key, (Arc::clone(&file), now));
        file
    }

    /// Drops the files of a queue that begin at or after byte `from` and before `to`: they were
    /// removed.
    pub(crate) fn forget(&self, queue: &Queue, from: u64, to: u64) {
        let mut open = self.open.lock();
        open.removals += 1;
        open.files.retain(|(number, base), _| *number != queue.number() || *base < from || *base >= to);
        drop(open);
        self.unsynced.forget(queue, from, to);
    }

    /// Reads bytes of a queue; `false` if a file is missing, which retention may have deleted.
    pub(crate) fn read(&self, queue: &Queue, at: u64, into: &mut [u8]) -> Result<bool> {
        self.file_by_file(at, into, |base, at, piece| {
            let Some(file) = self.get(queue, base)? else { return Ok(false) };
            fail_point::at("consume_queue::read", || file.read_exact_at(piece, at))
                .map_err(|error| Error::io("read", &self.path(queue, base))(error))?;
            Ok(true)
        })
    }

    /// The same without waiting for the disk; `false` if the bytes are not in memory.
    pub(crate) fn read_if_resident(&self, queue: &Queue, at: u64, into: &mut [u8]) -> Result<bool> {
        self.file_by_file(at, into, |base, at, piece| {
            let Ok(file) = self.cached((queue.number(), base)) else { return Ok(false) };
            let (len, mut piece) = (piece.len(), [IoSliceMut::new(piece)]);
            Ok(rustix::io::preadv2(&*file, &mut piece, at, ReadWriteFlags::NOWAIT).is_ok_and(|read| read == len))
        })
    }

    /// Fills `into` from byte `at` of a queue on, a file at a time, with `read`: from the file that
    /// begins at its first argument, at the position of its second. Ends at the first `false`.
    fn file_by_file(
        &self,
        mut at: u64,
        mut into: &mut [u8],
        read: impl Fn(u64, u64, &mut [u8]) -> Result<bool>,
    ) -> Result<bool> {
        while !into.is_empty() {
            let base = at - at % self.file_size;
            let len = (base + self.file_size - at).min(into.len() as u64) as usize;
            let (now, later) = into.split_at_mut(len);
            if !read(base, at - base, now)? {
                return Ok(false);
            }
            at += len as u64;
            into = later;
        }
        Ok(true)
    }

    /// Writes bytes of a queue.
    pub(crate) fn write(&self, queue: &Arc<Queue>, mut at: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let base = at - at % self.file_size;
            let len = (base + self.file_size - at).min(bytes.len() as u64) as usize;
            let file = self.get_or_create(queue, base)?;
            fail_point::at("consume_queue::write", || file.write_all_at(&bytes[..len], at - base))
                .map_err(|error| Error::io("write", &self.path(queue, base))(error))?;
            self.unsynced.note(queue, base, &file, self);
            at += len as u64;
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// Syncs everything written, and the names that lead to it. After [`Error::Sync`] none of it
    /// may be regarded as durable any more; after another error the sync can be retried.
    pub(crate) fn sync(&self) -> Result<()> {
        self.unsynced.sync(self)
    }

    /// Removes everything from byte `at` of the queue on: the rest of its file becomes zero, later
    /// files are deleted. That is durable when the file that begins at `at - at % file_size` is
    /// synced. The first file stays even without entries: its name records the next offset when the
    /// records of all earlier ones are deleted.
    pub(crate) fn cut(&self, queue: &Arc<Queue>, at: u64) -> Result<()> {
        let base = at - at % self.file_size;
        let files = dir::numbered(&self.dir(queue))?;
        let mut kept = None;
        for (number, (found, path)) in files.iter().enumerate().rev() {
            if *found > base || (*found == base && at == base && number > 0) {
                delete(path)?;
            } else if *found == base {
                let cut = || {
                    let file = File::options().read(true).write(true).open(path)?;
                    dir::zero_tail(&file, at - base)?;
                    Ok(file)
                };
                kept = Some(fail_point::at("consume_queue::cut", cut).map_err(Error::io("cut", path))?);
            }
        }
        self.forget(queue, base, u64::MAX);
        if let Some(file) = kept {
            self.unsynced.note(queue, base, &Arc::new(file), self);
        }
        Ok(())
    }

    /// Deletes the files of a queue that end at or before byte `end`.
    pub(crate) fn delete_before(&self, queue: &Queue, end: u64) -> Result<()> {
        for (base, path) in dir::numbered(&self.dir(queue))? {
            if base + self.file_size <= end {
                delete(&path)?;
            }
        }
        self.forget(queue, 0, end.saturating_sub(self.file_size - 1));
        Ok(())
    }

    /// Deletes a queue with all its files.
    pub(crate) fn delete(&self, queue: &Queue) -> Result<()> {
        delete_all(&self.dir(queue))?;
        self.forget(queue, 0, u64::MAX);
        Ok(())
    }

    /// Deletes the directory of a topic with all its contents.
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<()> {
        // Any other name would lead out of the directory of the queues.
        if super::is_name(topic) { delete_all(&self.root.join(topic)) } else { Ok(()) }
    }
}

fn delete_all(dir: &Path) -> Result<()> {
    match fail_point::at("consume_queue::delete", || std::fs::remove_dir_all(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", dir)(error)),
        _ => Ok(()),
    }
}

fn delete(path: &Path) -> Result<()> {
    fail_point::at("consume_queue::delete", || std::fs::remove_file(path)).map_err(Error::io("delete", path))
}
