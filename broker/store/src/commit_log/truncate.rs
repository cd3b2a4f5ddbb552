//! Cuts a replica's tail: the part beyond the point where its history and its new master's diverge.
//!
//! Readers may hold slices of the part that is cut, and those must not change. So the kept part of
//! the file is copied to a new file that takes its name; the old file stays, without a name, until
//! its last reader drops it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::CommitLog;
use super::append::Append;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::mapped_file::MappedFile;
use crate::mapped_file::allocate::Appendable;
use crate::position::LogOffset;

impl CommitLog {
    /// Cuts the log so that it ends at `to`. The caller keeps dispatch stopped meanwhile and
    /// rewinds `dispatched`.
    pub(crate) fn truncate(&self, to: LogOffset) -> Result<()> {
        let _flushing = self.flushing.lock();
        let mut append = self.append.lock();
        let (min, max) = (self.min(), append.position);
        if to < min || to > max {
            return Err(Error::OutOfRange { asked: to, min, max });
        }
        if to == max {
            return Ok(());
        }
        // No append runs from here on: a failure in the middle leaves a log that only a restart can
        // read again.
        let outcome = self.cut(to);
        match outcome {
            Ok(current) => {
                let file = current.as_ref().map(|current| Arc::clone(&current.file));
                *append = Append::at(to, current);
                for mark in [&self.appended, &self.flushed, &self.confirmed] {
                    if mark.value() > to {
                        mark.rewind(to);
                    }
                }
                self.allocator.reset(file, to)
            }
            Err(error) => {
                self.fail(format!("a truncation to {to} failed half way: {error}"));
                Err(error)
            }
        }
    }

    fn cut(&self, to: LogOffset) -> Result<Option<Appendable>> {
        // The allocation thread may have prepared a file behind the cut; it is deleted first.
        self.allocator.reset(None, to)?;
        let mut kept = self.files();
        // From the end, so that a crash in between leaves a log that is only longer than it should
        // be.
        while let Some(file) = kept.pop_if(|file| file.base() >= to) {
            file.delete()?;
        }
        let mut current = None;
        if let Some(last) = kept.pop_if(|file| file.limit() > to) {
            copy_head(last.path(), to - last.base(), self.file_size)?;
            let (file, cursor) =
                MappedFile::open(last.path(), last.base(), self.file_size, to - last.base(), self.pages)?;
            let file = Arc::new(file);
            kept.push(Arc::clone(&file));
            current = Some(Appendable { file, cursor });
        }
        self.sync_dirs()?;
        *self.files.write() = kept;
        Ok(current)
    }
}

/// The path of the temporary copy of a file that is being cut.
pub(super) fn half_of(path: &Path) -> PathBuf {
    path.with_extension("cut")
}

/// Replaces the file at `path` by one with the same first `kept` bytes and zeros behind them.
fn copy_head(path: &Path, kept: u64, size: u64) -> Result<()> {
    let temporary = half_of(path);
    let copy = || -> io::Result<()> {
        let mut head = File::open(path)?.take(kept);
        let mut to = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        // The kernel copies, and shares blocks if the file system can.
        let copied = io::copy(&mut head, &mut to)?;
        if copied != kept {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.set_len(size)?;
        to.sync_all()
    };
    let outcome = fail_point::at("commit_log::copy", copy)
        .and_then(|()| fail_point::at("commit_log::rename", || std::fs::rename(&temporary, path)));
    if outcome.is_err() {
        // It may be large, and its space is needed.
        let _ = fail_point::at("commit_log::clean", || std::fs::remove_file(&temporary));
    }
    outcome.map_err(Error::io("cut", path))
}
