//! The directories of the log's files, and which of them gets the next file.
//!
//! As in Java: files are assigned by their number, round-robin over the directories in the order of
//! their names, skipping those that are read-only and those whose volume is nearly full; if all are
//! full, none is skipped. A file is found in whichever directory it lies.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The directories of one log.
#[derive(Debug)]
pub(crate) struct Dirs {
    /// The directories that may get files; at least one.
    writable: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    /// The directories on volumes too full for another file.
    full: Mutex<Vec<PathBuf>>,
}

impl Dirs {
    pub(crate) fn new(mut writable: Vec<PathBuf>, read_only: Vec<PathBuf>) -> Self {
        writable.sort_unstable();
        Dirs { writable, read_only, full: Mutex::default() }
    }

    pub(crate) fn writable(&self) -> &[PathBuf] {
        &self.writable
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        self.writable.iter().chain(&self.read_only).map(PathBuf::as_path)
    }

    /// Skips these from now on.
    pub(crate) fn set_full(&self, full: Vec<PathBuf>) {
        *self.full.lock() = full;
    }

    /// The directory for file `number` of the log.
    pub(crate) fn for_file(&self, number: u64) -> &Path {
        let full = self.full.lock();
        let free: Vec<&PathBuf> = self.writable.iter().filter(|dir| !full.contains(dir)).collect();
        let take = |count: usize| (number % count as u64) as usize;
        match free.len() {
            0 => &self.writable[take(self.writable.len())],
            count => free[take(count)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_turns_over_the_directories_that_have_room() {
        let path = |name: &str| PathBuf::from(name);
        let dirs = Dirs::new(vec![path("/c"), path("/a"), path("/b")], vec![path("/old")]);
        let turns = || (0..4).map(|number| dirs.for_file(number).to_str().unwrap()).collect::<String>();
        assert_eq!(turns(), "/a/b/c/a");
        dirs.set_full(vec![path("/b")]);
        assert_eq!(turns(), "/a/c/a/c");
        dirs.set_full(vec![path("/a"), path("/b"), path("/c")]);
        assert_eq!(turns(), "/a/b/c/a");
        dirs.set_full(Vec::new());
        assert_eq!(turns(), "/a/b/c/a");
        assert_eq!(dirs.all().count(), 4);
    }
}
