//! The index of a store that no broker has open, read in the order in which it was written, which
//! is that of the log.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rmq_protocol::message::stored::Record;
use rmq_protocol::message::sys_flag::{self, Transaction};

use super::file::{BLOCK, ENTRY, Entry, HEADER, SLOT};
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::position::LogOffset;

/// A fault in a file.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) path: PathBuf,
    pub(crate) what: String,
    /// The record whose entry is concerned, if it is a single one. After a crash the entries of the
    /// last records are written again.
    pub(crate) record: Option<LogOffset>,
}

/// All entries, oldest first.
#[derive(Debug)]
pub(crate) struct Entries {
    paths: std::vec::IntoIter<PathBuf>,
    slots: u32,
    current: Option<Current>,
    next: Option<Indexed>,
    pub(crate) files: usize,
    pub(crate) count: u64,
    pub(crate) faults: Vec<Fault>,
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) hash: u32,
    pub(crate) offset: LogOffset,
}

/// The current file.
#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    /// Entries, including the unused one.
    count: u32,
    number: u32,
    block: Vec<u8>,
    block_from: u32,
    /// The newest entry of each slot so far.
    newest: Vec<u32>,
    last_offset: LogOffset,
    /// The first fault, and the record concerned.
    fault: Option<(String, LogOffset)>,
}

impl Entries {
    /// Reads the files in `dir`, which have this many slots.
    pub(crate) fn open(dir: &Path, slots: u32) -> Result<Entries> {
        let paths: Vec<PathBuf> = dir::numbered(dir)?.into_iter().map(|(_, path)| path).collect();
        let (files, paths) = (paths.len(), paths.into_iter());
        let mut entries =
            Entries { paths, slots: slots.max(1), current: None, next: None, files, count: 0, faults: Vec::new() };
        entries.step()?;
        Ok(entries)
    }

    /// The next entry.
    pub(crate) fn peek(&self) -> Option<Indexed> {
        self.next
    }

    /// Advances to the next entry. A file whose own structure is wrong is skipped once that shows.
    pub(crate) fn step(&mut self) -> Result<()> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(path) = self.paths.next() else {
                    self.next = None;
                    return Ok(());
                };
                match Current::open(&path, self.slots)? {
                    Ok(current) => self.current = current,
                    Err(what) => self.faults.push(Fault { path, what, record: None }),
                }
                continue;
            };
            if let Some(entry) = current.step()? {
                self.count += 1;
                self.next = Some(entry);
                return Ok(());
            }
            current.check_slots()?;
            if let Some((what, record)) = current.fault.take() {
                self.faults.push(Fault { path: current.path.clone(), what, record: Some(record) });
            }
            self.current = None;
        }
    }
}

impl Current {
    /// Opens a file. Returns the fault if it is not valid, and nothing if its creation was
    /// interrupted.
    fn open(path: &Path, slots: u32) -> Result<Result<Option<Current>, String>> {
        let file = fail_point::at("index::inspect", || File::open(path)).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("look at", path))?.len();
        if len == 0 {
            return Ok(Ok(None));
        }
        let before = (HEADER + SLOT * slots as usize) as u64;
        let entries = len.saturating_sub(before) / ENTRY as u64;
        if len < before + 2 * ENTRY as u64 || !(len - before).is_multiple_of(ENTRY as u64) {
            return Ok(Err(format!("{len} bytes cannot be {slots} slots and their entries")));
        }
        let mut count = [0; 4];
        read(&file, path, &mut count, 36)?;
        let count = i32::from_be_bytes(count);
        if count < 0 || count as u64 > entries {
            return Ok(Err(format!("its header speaks of {count} entries, there is room for {entries}")));
        }
        Ok(Ok(Some(Current {
            path: path.to_owned(),
            file,
            count: count.max(1) as u32,
            number: 0,
            block: Vec::new(),
            block_from: 0,
            newest: vec![0; slots as usize],
            last_offset: LogOffset::ZERO,
            fault: None,
        })))
    }

    fn step(&mut self) -> Result<Option<Indexed>> {
        self.number += 1;
        let number = self.number;
        if number >= self.count {
            return Ok(None);
        }
        let at = match number.checked_sub(self.block_from) {
            Some(at) if self.block_from > 0 && ((at + 1) as usize * ENTRY) <= self.block.len() => at as usize,
            _ => {
                self.block.resize((self.count - number).min(BLOCK) as usize * ENTRY, 0);
                self.block_from = number;
                let from = HEADER + SLOT * self.newest.len() + ENTRY * number as usize;
                read(&self.file, &self.path, &mut self.block, from as u64)?;
                0
            }
        };
        let Some(entry) = self.block[at * ENTRY..].first_chunk().map(Entry::decode) else { return Ok(None) };
        let slot = entry.hash as usize % self.newest.len();
        if entry.previous != self.newest[slot] {
            let reason = format!("entry {number} is linked to {}, not to {}", entry.previous, self.newest[slot]);
            self.fault.get_or_insert((reason, entry.offset));
        }
        if entry.offset < self.last_offset {
            self.fault.get_or_insert((format!("entry {number} goes back in the log"), entry.offset));
        }
        self.newest[slot] = number;
        self.last_offset = entry.offset;
        Ok(Some(Indexed { hash: entry.hash, offset: entry.offset }))
    }

    /// Whether every slot names its newest entry.
    fn check_slots(&mut self) -> Result<()> {
        let mut bytes = vec![0; SLOT * self.newest.len()];
        read(&self.file, &self.path, &mut bytes, HEADER as u64)?;
        let named = bytes.as_chunks::<SLOT>().0.iter().map(|slot| u32::from_be_bytes(*slot));
        let wrong = named.zip(&self.newest).enumerate().find(|(_, (named, newest))| named != *newest);
        if let Some((slot, (named, newest))) = wrong {
            let mut entry = [0; ENTRY];
            let from = HEADER + SLOT * self.newest.len() + ENTRY * *newest as usize;
            read(&self.file, &self.path, &mut entry, from as u64)?;
            // An entry that was being written when its broker crashed is not counted yet.
            let record = if named < self.count { Entry::decode(&entry).offset } else { LogOffset::MAX };
            self.fault.get_or_insert((format!("slot {slot} names entry {named}, its newest is {newest}"), record));
        }
        Ok(())
    }
}

fn read(file: &File, path: &Path, into: &mut [u8], at: u64) -> Result<()> {
    fail_point::at("index::inspect", || file.read_exact_at(into, at)).map_err(Error::io("read", path))
}

/// The hashes that the index should have for a record.
pub(crate) fn hashes(record: &Record<'_>) -> Vec<u32> {
    let mut hashes = Vec::new();
    if sys_flag::transaction(record.sys_flag()) != Transaction::Rollback {
        super::keys(record.topic(), record.properties(), &mut |hash| hashes.push(hash));
    }
    hashes
}
