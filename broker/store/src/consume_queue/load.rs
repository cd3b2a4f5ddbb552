//! Loads the queues from their files when the store is opened.
//!
//! Only entries of records before a given offset are loaded: the records behind it are dispatched
//! again from the commit log, which is the source of truth. The loaded entries have no gaps,
//! because they were synced before the checkpoint covered them; a binary search finds their end
//! without reading all of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use super::entry::{self, Entry, SIZE};
use super::table::Table;
use crate::dir;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::position::LogOffset;

/// Entries read at once; for fewer entries a binary search is not worth a call.
const BLOCK: u64 = 204;

/// The limit up to which queues are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Entries of records at or behind this physical offset are dropped.
    pub(crate) end: LogOffset,
    /// Start of the commit log.
    pub(crate) log_min: LogOffset,
}

impl Table {
    /// Loads all queues that have files.
    pub(crate) fn load(&self, known: Known) -> Result<()> {
        let topics = directories(self.files.root())?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(topics.len()).max(1);
        let part = topics.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = topics
                .chunks(part)
                .map(|topics| {
                    scope.spawn(move || topics.iter().try_for_each(|(topic, path)| self.load_topic(topic, path, known)))
                })
                .collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    fn load_topic(&self, topic: &str, path: &Path, known: Known) -> Result<()> {
        for (id, path) in directories(path)? {
            let Ok(id) = id.parse() else { continue };
            self.load_queue(topic, id, &path, known)?;
        }
        Ok(())
    }

    fn load_queue(&self, topic: &str, id: i32, path: &Path, known: Known) -> Result<()> {
        let file_size = self.files.file_size();
        let mut list = dir::numbered(path)?;
        for (base, path) in &list {
            let len = std::fs::metadata(path).map_err(Error::io("look at", path))?.len();
            if len < file_size {
                // Its creation was interrupted.
                let open = || File::options().write(true).open(path);
                fail_point::at("consume_queue::create", || open()?.set_len(file_size))
                    .map_err(Error::io("extend", path))?;
            }
            if len > file_size || base % file_size != 0 {
                return Err(Error::Config(format!(
                    "{} was not made for consume queue files of {file_size} bytes",
                    path.display()
                )));
            }
        }
        let Some((first_file, _)) = list.first() else { return Ok(()) };
        let mut end = entry::offset_of(*first_file);
        // Whether anything lies behind the loaded entries: other entries, or files.
        let mut more = false;
        while let Some((base, path)) = list.last() {
            let contents = Contents::read(path, file_size, known.end)?;
            if contents.count > 0 {
                end = entry::offset_of(*base) + contents.count;
                more |= contents.more;
                break;
            }
            more = true;
            list.pop();
        }
        // Only the files without gaps before that belong to the current queue.
        let gap = list.array_windows().rposition(|[(base, _), (next, _)]| next - base != file_size);
        list.drain(..gap.map_or(0, |at| at + 1));
        let queue = self.find_or_create(topic, id);
        if more {
            self.cut(&queue, end)?;
        }
        let Some((base, path)) = list.first() else {
            // A complete log determines where the queue begins. In another log the records of all
            // entries may be gone, and only the name of the file records how many there were.
            if known.log_min > LogOffset::ZERO {
                queue.place(end, end, None);
                queue.set_next(end);
            }
            return Ok(());
        };
        let physical = first_entry(path)?.filter(|entry| !entry.is_filler()).map(|entry| entry.physical_offset);
        queue.place(entry::offset_of(*base), end, physical);
        queue.set_next(end);
        if let Some(needed) = queue.correct_min(&self.files, known.log_min)? {
            self.files.delete_before(&queue, entry::byte_of(needed))?;
        }
        Ok(())
    }
}

/// The content of a file.
struct Contents {
    /// The entries at its beginning that are fillers or belong to records before the known end.
    count: u64,
    /// Whether it contains anything else.
    more: bool,
}

impl Contents {
    fn read(path: &Path, file_size: u64, end: LogOffset) -> Result<Contents> {
        let file = fail_point::at("consume_queue::load", || File::open(path)).map_err(Error::io("open", path))?;
        let good = |bytes: &[u8; SIZE]| {
            Entry::decode(bytes).is_some_and(|entry| entry.is_filler() || entry.physical_offset < end)
        };
        // Files are sparse: with most queues one page is read and the rest is known to be a hole,
        // if the file system reports where data lies.
        let hole = rustix::fs::seek(&file, SeekFrom::Hole(0)).unwrap_or(file_size).min(file_size);
        let limit = hole.div_ceil(SIZE as u64).min(file_size / SIZE as u64);
        let mut low = 0;
        let mut high = limit;
        let read = |at: u64, into: &mut [u8]| {
            fail_point::at("consume_queue::load", || file.read_exact_at(into, at * SIZE as u64))
                .map_err(Error::io("read", path))
        };
        while high - low > BLOCK {
            let middle = low + (high - low) / 2;
            let mut bytes = [0; SIZE];
            read(middle, &mut bytes)?;
            if good(&bytes) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut block = vec![0; (limit - low) as usize * SIZE];
        read(low, &mut block)?;
        let (entries, _) = block.as_chunks::<SIZE>();
        let last = entries.iter().take_while(|bytes| good(bytes)).count();
        // Entries that a crash loses lie behind the known end, and so does what follows them.
        let behind = |bytes: &&[u8; SIZE]| {
            Entry::decode(bytes).is_some_and(|entry| !entry.is_filler() && entry.physical_offset < end)
        };
        if entries[last..].iter().skip_while(|bytes| Entry::decode(bytes).is_some()).any(|bytes| behind(&bytes)) {
            return Err(Error::QueueDamaged { file: path.to_owned(), entry: low + last as u64 });
        }
        let more = entries[last..].iter().any(|bytes| *bytes != [0; SIZE])
            || rustix::fs::seek(&file, SeekFrom::Data(hole)).is_ok_and(|data| data < file_size);
        Ok(Contents { count: low + last as u64, more })
    }
}

fn first_entry(path: &Path) -> Result<Option<Entry>> {
    let mut bytes = [0; SIZE];
    let read = || File::open(path)?.read_exact_at(&mut bytes, 0);
    fail_point::at("consume_queue::load", read).map_err(Error::io("read", path))?;
    Ok(Entry::decode(&bytes))
}

/// The directories in `path` with their names; none if `path` does not exist.
pub(super) fn directories(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match fail_point::at("directory::read", || std::fs::read_dir(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read the directory", path)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read the directory", path))?;
        let is_dir = entry.file_type().map_err(Error::io("look at", &entry.path()))?.is_dir();
        if let (true, Ok(name)) = (is_dir, entry.file_name().into_string()) {
            found.push((name, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}
