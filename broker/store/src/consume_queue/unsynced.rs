//! Consume queue files that were written and are not known to be durable.
//!
//! A checkpoint covers entries after a sync of these files, so a sync must not miss an error. The
//! kernel may write pages back at any time. It records a writeback error with the file and reports
//! it once to each descriptor that was open by then; to a descriptor that is opened later only if
//! the error was not reported before and the file has not left the kernel's cache meanwhile. So
//! each file keeps the descriptor of its first write until it is synced through that one.
//!
//! That costs descriptors. Beyond [`MOST`] files the whole file system is synced instead, through a
//! descriptor that was opened before the first write: since Linux 5.8 `syncfs` reports each error
//! of the file system since the descriptor was opened, including files that left the cache. The
//! price: an error of a file outside of the store counts too, and so does one from before the start
//! if it was not reported to any descriptor. Before 5.8 `syncfs` reports no errors, so there files
//! are synced as soon as there are [`MOST`] of them: slow with very many queues, but no error is
//! missed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Queue;
use super::files::{Files, Key};
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;

/// Files that keep their descriptor.
pub(super) const MOST: usize = 128;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Unsynced {
    root: File,
    /// Whether a sync of the file system reports errors.
    pub(super) reports: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// With the descriptor of the first write; without one if the file was synced early, or
    /// removed.
    files: BTreeMap<Key, (Arc<Queue>, Option<Arc<File>>)>,
    /// Files with a descriptor.
    held: usize,
    /// There were too many files to track them.
    file_system: bool,
    /// An early sync failed. Nothing that was written before is known to be durable any more.
    failed: Option<Error>,
}

impl Unsynced {
    /// Tracks files below `root`; created before any of them is written.
    pub(super) fn open(root: &Path) -> Result<Unsynced> {
        let open = fail_point::at("directory::open", || File::open(root));
        let root = open.map_err(Error::io("open the directory", root))?;
        let reports = reports_lost_pages(rustix::system::uname().release().to_str().unwrap_or_default());
        Ok(Unsynced { root, reports, state: Mutex::default() })
    }

    /// Records that a file was written through `file`.
    pub(super) fn note(&self, queue: &Arc<Queue>, base: u64, file: &Arc<File>, files: &Files) {
        let mut state = self.state.lock();
        if state.file_system {
            return;
        }
        let (_, first) = state.files.entry((queue.number(), base)).or_insert_with(|| (Arc::clone(queue), None));
        if first.is_none() {
            *first = Some(Arc::clone(file));
            state.held += 1;
        }
        if state.held > MOST {
            match self.reports {
                true => *state = State { file_system: true, failed: state.failed.take(), ..State::default() },
                false => state.sync_early(files),
            }
        }
    }

    /// Records that the files of a queue that begin at or after byte `from` and before `to` were
    /// removed: other files may get their names.
    pub(super) fn forget(&self, queue: &Queue, from: u64, to: u64) {
        let mut state = self.state.lock();
        let State { files, held, .. } = &mut *state;
        if from >= to {
            return;
        }
        for (_, (_, file)) in files.range_mut((queue.number(), from)..(queue.number(), to)) {
            *held -= usize::from(file.take().is_some());
        }
    }

    /// Syncs everything written. After [`Error::Sync`] none of it may be regarded as durable any
    /// more; after another error the sync can be retried.
    pub(super) fn sync(&self, files: &Files) -> Result<()> {
        let taken = std::mem::take(&mut *self.state.lock());
        let State { files: written, file_system, failed, .. } = taken;
        if let Some(error) = failed {
            return Err(error);
        }
        let outcome = match file_system {
            true => self.sync_file_system(files.root()),
            false => sync_each(files, &written),
        };
        if outcome.is_err() {
            let mut state = self.state.lock();
            state.file_system |= file_system;
            for (key, (queue, _)) in written {
                // Each was synced through its descriptor, or that failed and the store with it.
                state.files.entry(key).or_insert((queue, None));
            }
        }
        outcome
    }

    /// The number of tracked files, how many of them have a descriptor, and whether there were too
    /// many to track.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize, bool) {
        let state = self.state.lock();
        (state.files.len(), state.held, state.file_system)
    }

    fn sync_file_system(&self, root: &Path) -> Result<()> {
        fail_point::at("consume_queue::sync_all", || Ok(rustix::fs::syncfs(&self.root)?)).map_err(Error::sync(root))
    }
}

impl State {
    /// Syncs the files that keep a descriptor. The lock is held meanwhile: a descriptor that a
    /// checkpoint opened would not see an error that was reported here.
    fn sync_early(&mut self, files: &Files) {
        for ((_, base), (queue, file)) in &mut self.files {
            if let Some(file) = file.take()
                && let Err(error) = sync(files, queue, *base, &file)
            {
                self.failed.get_or_insert(error);
            }
        }
        self.held = 0;
    }
}

fn sync_each(files: &Files, written: &BTreeMap<Key, (Arc<Queue>, Option<Arc<File>>)>) -> Result<()> {
    // First the files whose descriptor would be lost after an error.
    for ((_, base), (queue, file)) in written {
        if let Some(file) = file {
            sync(files, queue, *base, file)?;
        }
    }
    let mut dirs = BTreeSet::new();
    for ((_, base), (queue, file)) in written {
        if file.is_none()
            && let Some(file) = files.get(queue, *base)?
        {
            sync(files, queue, *base, &file)?;
        }
        let dir = files.dir(queue);
        dirs.extend([dir.parent().map(Path::to_owned), Some(files.root().to_owned())].into_iter().flatten());
        dirs.insert(dir);
    }
    // A deleted topic leaves only its absence to be made durable.
    dirs.iter().filter(|dir| dir.exists()).try_for_each(|dir| dir::sync(dir))
}

fn sync(files: &Files, queue: &Queue, base: u64, file: &File) -> Result<()> {
    fail_point::at("consume_queue::sync", || file.sync_all())
        .map_err(|error| Error::sync(&files.path(queue, base))(error))
}

/// Whether `syncfs` of this kernel release reports writeback errors: since 5.8. An unknown release
/// counts as older.
fn reports_lost_pages(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_their_release() {
        for release in ["5.8.0-63-generic", "6.18.44", "5.10"] {
            assert!(reports_lost_pages(release), "{release}");
        }
        for release in ["4.18.0-553.el8_10.x86_64", "5.7.19", "5", "", "linux"] {
            assert!(!reports_lost_pages(release), "{release}");
        }
    }
}
