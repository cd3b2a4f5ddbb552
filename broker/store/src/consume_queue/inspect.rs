//! The queues of a store that no broker has open, compared with its log.
//!
//! The log determines which entry belongs at a place. A queue may differ from it and still be
//! correct: a topic that was deleted and created again numbers its messages anew, so its places can
//! belong to later records.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::entry::{self, Entry, SIZE};
use super::load::directories;
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::position::{LogOffset, QueueOffset};

/// Entries read at once; there may be a hundred thousand queues, and each has a buffer of its own.
const BLOCK: u64 = 32;

/// The content of a queue at the place of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The entry of the record.
    Right,
    /// Nothing: the queue does not exist.
    NoQueue,
    /// Nothing yet: the queue ends before, with records that lie before this one in the log.
    Behind,
    /// Nothing any more: the queue ends before, but with later records; it was created again since.
    Superseded,
    /// Another entry, at this place of this file.
    Other(PathBuf, u64, Option<Entry>),
    /// Another entry or nothing, but the record's queue offset does not follow the previous one in
    /// the log: the record may be wrong, as no checksum covers its queue offset.
    OutOfLine(QueueOffset),
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    topics: FxHashMap<String, FxHashMap<i32, Queue>>,
}

/// One queue, as found in its files.
#[derive(Debug)]
pub(crate) struct Queue {
    dir: PathBuf,
    file_size: u64,
    /// Where the files begin, in bytes.
    files: Vec<u64>,
    /// First entry of the first file, and the end of the written entries.
    pub(crate) min: QueueOffset,
    pub(crate) max: QueueOffset,
    /// The target of the last entry.
    last: Option<Entry>,
    /// Why the files are inconsistent.
    pub(crate) fault: Option<(PathBuf, String)>,
    /// The queue offset that the next record of the log should have.
    next: Option<QueueOffset>,
    block_from: QueueOffset,
    block: Vec<u8>,
}

impl Queues {
    /// Reads all queues in `root`.
    pub(crate) fn open(root: &Path) -> Result<Queues> {
        let mut topics: FxHashMap<String, FxHashMap<i32, Queue>> = FxHashMap::default();
        for (topic, path) in directories(root)? {
            for (id, path) in directories(&path)? {
                if let Ok(id) = id.parse()
                    && let Some(queue) = Queue::open(path)?
                {
                    topics.entry(topic.clone()).or_default().insert(id, queue);
                }
            }
        }
        Ok(Queues { topics })
    }

    /// The number of topics, of queues, and of the entries in all of them.
    pub(crate) fn counts(&self) -> (usize, usize, u64) {
        let queues = || self.topics.values().flat_map(FxHashMap::values);
        (self.topics.len(), queues().count(), queues().map(|queue| queue.max - queue.min).sum())
    }

    /// All queues with topic and id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i32, &Queue)> {
        let topics = self.topics.iter();
        topics.flat_map(|(topic, queues)| queues.iter().map(|(id, queue)| (topic.as_str(), *id, queue)))
    }

    /// Queues that have entries behind their last message which a start would take for messages
    /// before `known`: topic, id, the first place that should be empty, and the entry found there.
    pub(crate) fn surplus(&mut self, known: LogOffset) -> Result<Vec<(String, i32, QueueOffset, Entry)>> {
        let mut found = Vec::new();
        for (topic, queues) in &mut self.topics {
            for (id, queue) in queues {
                if let (Some(next), None) = (queue.next, &queue.fault)
                    && let Some(entry) = queue.surplus(next, known)?
                {
                    found.push((topic.clone(), *id, next, entry));
                }
            }
        }
        Ok(found)
    }

    /// What is at `offset` of a queue, where `expected` should be; `agrees` returns whether a tags
    /// code is correct.
    pub(crate) fn compare(
        &mut self,
        topic: &str,
        id: i32,
        offset: QueueOffset,
        expected: Entry,
        agrees: impl Fn(i64) -> bool,
    ) -> Result<Found> {
        let Some(queue) = self.topics.get_mut(topic).and_then(|queues| queues.get_mut(&id)) else {
            return Ok(Found::NoQueue);
        };
        if queue.fault.is_some() {
            return Ok(Found::Right);
        }
        let found = queue.compare(offset, expected, agrees)?;
        match (queue.next, &found) {
            // A topic that was deleted and created again numbers from 0.
            (Some(next), Found::Behind | Found::Other(..)) if offset != next && offset != QueueOffset::ZERO => {
                Ok(Found::OutOfLine(next))
            }
            _ => {
                queue.next = Some(offset + 1);
                Ok(found)
            }
        }
    }
}

impl Queue {
    fn open(dir: PathBuf) -> Result<Option<Queue>> {
        let list = dir::numbered(&dir)?;
        let Some((first, path)) = list.first() else { return Ok(None) };
        let len = |path: &Path| std::fs::metadata(path).map(|data| data.len()).map_err(Error::io("look at", path));
        let mut file_size = len(path)?;
        for (_, path) in &list {
            // A shorter file is one whose creation was interrupted.
            file_size = file_size.max(len(path)?);
        }
        let mut queue = Queue {
            dir,
            file_size: file_size.max(SIZE as u64),
            files: list.iter().map(|(base, _)| *base).collect(),
            min: entry::offset_of(*first),
            max: entry::offset_of(*first),
            last: None,
            fault: None,
            next: None,
            block_from: QueueOffset::ZERO,
            block: Vec::new(),
        };
        for ((base, path), expected) in list.iter().zip(0..) {
            let expected = first + expected * file_size;
            let fault = match () {
                () if *base != expected => format!("a file that begins at {expected} is missing before it"),
                () if !base.is_multiple_of(SIZE as u64) => "it begins inside an entry".into(),
                () => continue,
            };
            queue.fault = Some((path.clone(), fault));
            return Ok(Some(queue));
        }
        for (base, path) in list.iter().rev() {
            if let Some((number, entry)) = last_entry(path)? {
                queue.max = entry::offset_of(*base) + number + 1;
                queue.last = entry;
                break;
            }
        }
        Ok(Some(queue))
    }

    fn surplus(&mut self, next: QueueOffset, known: LogOffset) -> Result<Option<Entry>> {
        for offset in (next.get()..self.max.get()).map(QueueOffset::new) {
            let entry = self.entry(offset)?;
            if let Some(entry) = entry.filter(|entry| entry.is_filler() || entry.physical_offset < known) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn compare(&mut self, offset: QueueOffset, expected: Entry, agrees: impl Fn(i64) -> bool) -> Result<Found> {
        if offset >= self.max {
            let newer = self.last.is_some_and(|last| last.physical_offset > expected.physical_offset);
            return Ok(if newer { Found::Superseded } else { Found::Behind });
        }
        let found = self.entry(offset)?;
        let same = |found: Entry| {
            let same_record = found.physical_offset == expected.physical_offset && found.size == expected.size;
            same_record && agrees(found.tags_code)
        };
        if found.is_some_and(same) {
            return Ok(Found::Right);
        }
        let byte = entry::byte_of(offset);
        let base = byte / self.file_size * self.file_size;
        Ok(Found::Other(self.dir.join(dir::file_name(base)), byte - base, found))
    }

    fn entry(&mut self, offset: QueueOffset) -> Result<Option<Entry>> {
        let have = self.block_from..self.block_from + (self.block.len() / SIZE) as u64;
        if !have.contains(&offset) {
            self.load(offset)?;
        }
        let Some(at) = offset.get().checked_sub(self.block_from.get()) else { return Ok(None) };
        let bytes = self.block.get(at as usize * SIZE..).and_then(|bytes| bytes.first_chunk());
        Ok(bytes.and_then(Entry::decode))
    }

    fn load(&mut self, offset: QueueOffset) -> Result<()> {
        self.block.clear();
        self.block_from = offset;
        let at = entry::byte_of(offset);
        let base = at / self.file_size * self.file_size;
        if !self.files.contains(&base) {
            return Ok(());
        }
        let path = self.dir.join(dir::file_name(base));
        let len = ((base + self.file_size - at) / SIZE as u64).min(BLOCK) as usize * SIZE;
        self.block.resize(len, 0);
        let read = || dir::read_up_to(&File::open(&path)?, &mut self.block, at - base);
        let read = fail_point::at("consume_queue::inspect", read).map_err(Error::io("read", &path))?;
        self.block.truncate(read / SIZE * SIZE);
        Ok(())
    }
}

/// The number of the last entry that was written to a file, valid or not, and the entry if it is
/// valid.
fn last_entry(path: &Path) -> Result<Option<(u64, Option<Entry>)>> {
    const CHUNK: usize = SIZE * 4096;
    let mut last = None;
    let scan = || -> io::Result<()> {
        let file = File::open(path)?;
        let (mut at, mut chunk) = (0, vec![0; CHUNK]);
        while let Some(data) = dir::data_from(&file, at)? {
            let from = data / SIZE as u64 * SIZE as u64;
            let read = dir::read_up_to(&file, &mut chunk, from)?;
            let (entries, _) = chunk[..read].as_chunks::<SIZE>();
            if let Some(number) = entries.iter().rposition(|bytes| *bytes != [0; SIZE]) {
                last = Some((from / SIZE as u64 + number as u64, Entry::decode(&entries[number])));
            }
            if read < CHUNK {
                break;
            }
            at = from + CHUNK as u64;
        }
        Ok(())
    };
    fail_point::at("consume_queue::inspect", scan).map_err(Error::io("read", path))?;
    Ok(last)
}
