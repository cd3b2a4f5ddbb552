//! Commit log files: mapped, of a fixed size, named by the offset they begin at.
//!
//! A file is reference-counted: the commit log holds it, and so does every reader. Deleting one
//! unlinks it and drops the log's reference; its bytes stay until the last reader has dropped it.
//!
//! | module | contents |
//! |---|---|
//! | [`region`] | the mapping itself; the only unsafe code |
//! | [`dirs`] | the directories of the files, and that of the next one |
//! | [`allocate`] | the thread that preallocates blocks and the next file |

pub(crate) mod allocate;
pub(crate) mod dirs;
pub(crate) mod region;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::position::LogOffset;
use region::{Cursor, Pages, Region};

/// One file of the commit log.
#[derive(Debug)]
pub(crate) struct MappedFile {
    base: LogOffset,
    path: PathBuf,
    /// Needed to preallocate and to sync; closed when the file is full, so that a large log does
    /// not exhaust the file descriptors.
    handle: Mutex<Option<Arc<File>>>,
    region: Arc<Region>,
    pages: Pages,
}

impl MappedFile {
    /// Creates the file that begins at `base`, zeroed and without blocks, and makes its name
    /// durable.
    pub(crate) fn create(dir: &Path, base: LogOffset, size: u64, pages: Pages) -> Result<(MappedFile, Cursor)> {
        let path = dir.join(dir::file_name(base.get()));
        let create = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            file.set_len(size)?;
            Ok(file)
        };
        let file = fail_point::at("commit_log::create", create).map_err(Error::io("create", &path))?;
        fail_point::at("commit_log::sync_new", || file.sync_all()).map_err(Error::sync(&path))?;
        dir::sync(dir)?;
        Self::map(path, file, base, size, 0, pages)
    }

    /// Opens a file whose first `published` bytes are good.
    pub(crate) fn open(
        path: &Path,
        base: LogOffset,
        size: u64,
        published: u64,
        pages: Pages,
    ) -> Result<(MappedFile, Cursor)> {
        let open = || OpenOptions::new().read(true).write(true).open(path);
        let file = fail_point::at("commit_log::open", open).map_err(Error::io("open", path))?;
        Self::map(path.to_owned(), file, base, size, published, pages)
    }

    fn map(
        path: PathBuf,
        file: File,
        base: LogOffset,
        size: u64,
        published: u64,
        pages: Pages,
    ) -> Result<(MappedFile, Cursor)> {
        let map = || Region::map(&file, size as usize, published as usize);
        let (region, cursor) = fail_point::at("commit_log::map", map).map_err(Error::io("map", &path))?;
        if published < size {
            region.advise(pages);
        }
        let handle = Mutex::new((published < size).then(|| Arc::new(file)));
        Ok((MappedFile { base, path, handle, region, pages }, cursor))
    }

    /// Offset of its first byte.
    pub(crate) fn base(&self) -> LogOffset {
        self.base
    }

    /// Offset behind its last byte, whether written or not.
    pub(crate) fn limit(&self) -> LogOffset {
        self.base + self.region.len() as u64
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Marks the file as full: it needs no more blocks.
    pub(crate) fn complete(&self) {
        self.region.advise(Pages::Many);
        self.handle.lock().take();
    }

    /// Offset up to which it can be written without waiting.
    pub(crate) fn ready(&self) -> LogOffset {
        self.base + self.region.ready() as u64
    }

    /// Offset up to which it can be read.
    pub(crate) fn published(&self) -> LogOffset {
        self.base + self.region.published() as u64
    }

    /// Published bytes at an offset; `None` if not all of them are published.
    pub(crate) fn bytes(&self, offset: LogOffset, len: usize) -> Option<&[u8]> {
        self.region.bytes(usize::try_from(offset.checked_since(self.base)?).ok()?, len)
    }

    /// Not held during disk I/O: a sync and an allocation do not wait for each other here.
    fn handle(&self) -> Option<Arc<File>> {
        self.handle.lock().clone()
    }

    /// Prefetches those of the bytes that are published. Call it before an access to bytes that may
    /// not be in memory: a bad sector is an error here, but in a page fault it is a signal that
    /// ends the process.
    pub(crate) fn fetch(&self, offset: LogOffset, len: usize) -> Result<()> {
        let at = offset.saturating_since(self.base) as usize;
        fail_point::at("commit_log::fetch", || self.region.fetch(at, len)).map_err(Error::io("read", &self.path))
    }

    /// Whether those of the bytes that are published are in memory; an access then does not wait
    /// for the disk.
    pub(crate) fn is_resident(&self, offset: LogOffset, len: usize) -> bool {
        self.region.is_resident(offset.saturating_since(self.base) as usize, len)
    }

    /// Preallocates a range of offsets.
    pub(crate) fn allocate(&self, from: LogOffset, to: LogOffset) -> Result<()> {
        let to = to.min(self.limit());
        if to <= from {
            return Ok(());
        }
        let Some(file) = self.handle() else { return Ok(()) };
        let allocate = || dir::allocate(&file, from - self.base, to - self.base);
        fail_point::at("commit_log::allocate", allocate).map_err(Error::io("allocate", &self.path))
    }

    /// Prefaults pages up to an offset, whose blocks are preallocated. Called by one thread at a
    /// time.
    ///
    /// Many pages are faulted in by writing zeros, which they contain already: neither appends nor
    /// readers use them before they are ready. A page fault would read in as much as the system's
    /// readahead, which may be many megabytes, and occupy its CPU meanwhile: sends waited 20 ms for
    /// it on a machine whose memory was not in use before.
    pub(crate) fn touch(&self, to: LogOffset) -> Result<()> {
        let to = to.min(self.limit()) - self.base;
        let touch = || {
            if let (Pages::Many, Some(file)) = (self.pages, self.handle()) {
                dir::write_zeros(&file, self.region.ready() as u64, to)?;
            }
            self.region.make_ready(to as usize)
        };
        fail_point::at("commit_log::touch", touch).map_err(Error::io("touch", &self.path))
    }

    /// Syncs a range of offsets.
    ///
    /// With fdatasync, which also writes the prefaulted pages. That is intended: blocks that were
    /// written once, if only with zeros, need no entry in the file system's journal when records
    /// are written to them, and a sync then waits for its data alone. A sync of the mapped range
    /// instead waits for the journal each time, as the file's mtime has changed: several times
    /// longer. The price is that each block is written twice. The rest of a full file is synced by
    /// its range.
    pub(crate) fn flush(&self, from: LogOffset, to: LogOffset) -> Result<()> {
        let flush = || match self.handle() {
            Some(file) => file.sync_data(),
            None => self.region.flush((from - self.base) as usize, (to - self.base) as usize),
        };
        fail_point::at("commit_log::sync", flush).map_err(Error::sync(&self.path))
    }

    /// Unlinks the file. Readers that hold it keep it.
    pub(crate) fn delete(&self) -> Result<()> {
        fail_point::at("commit_log::delete", || std::fs::remove_file(&self.path))
            .map_err(Error::io("delete", &self.path))
    }
}

/// A piece of a mapped file; it keeps the file alive.
struct Piece {
    file: Arc<MappedFile>,
    offset: LogOffset,
    len: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        // `share` has checked it, and published bytes stay published.
        self.file.bytes(self.offset, self.len).unwrap_or_default()
    }
}

/// Published bytes as an owned value, without a copy; `None` if not all of them are published.
pub(crate) fn share(file: &Arc<MappedFile>, offset: LogOffset, len: usize) -> Option<Bytes> {
    file.bytes(offset, len)?;
    Some(Bytes::from_owner(Piece { file: Arc::clone(file), offset, len }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::ZEROS_AT_ONCE as PIECE;

    #[test]
    fn no_more_comes_into_memory_than_is_touched_however_much_the_system_reads_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let size = 64 * PIECE;
        let (file, _) = MappedFile::create(dir.path(), LogOffset::ZERO, size, Pages::Many).unwrap();
        file.allocate(LogOffset::ZERO, LogOffset::new(size)).unwrap();
        let touched = LogOffset::new(2 * PIECE + 1);
        file.touch(touched).unwrap();
        assert_eq!(file.ready(), touched);
        let (whole, _) = MappedFile::open(file.path(), LogOffset::ZERO, size, size, Pages::Many).unwrap();
        let is_resident = |at: &u64| whole.is_resident(LogOffset::new(*at), 4096);
        let resident: Vec<u64> = (0..size).step_by(4096).filter(is_resident).collect();
        assert_eq!(resident, (0..=2 * PIECE).step_by(4096).collect::<Vec<u64>>());
    }

    #[test]
    fn touching_changes_nothing_that_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(dir::file_name(0));
        let published = PIECE + 5;
        let mut bytes = vec![7; published as usize];
        bytes.resize(4 * PIECE as usize, 0);
        std::fs::write(&path, &bytes).unwrap();
        let (file, mut cursor) = MappedFile::open(&path, LogOffset::ZERO, 4 * PIECE, published, Pages::Many).unwrap();
        file.touch(LogOffset::new(2 * PIECE)).unwrap();
        assert!(cursor.append(3, |slot| slot.fill(8)));
        file.touch(LogOffset::new(4 * PIECE)).unwrap();
        bytes[published as usize..][..3].fill(8);
        assert_eq!(file.bytes(LogOffset::ZERO, published as usize + 3).unwrap(), &bytes[..published as usize + 3]);
        assert!(std::fs::read(&path).unwrap() == bytes);
    }
}
