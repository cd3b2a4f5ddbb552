//! Configuration of the store. The defaults are Java's; names in backticks are its configuration
//! keys.

use std::path::PathBuf;
use std::time::Duration;

use rmq_protocol::message::stored;

use crate::consume_queue::tags_code::TagsCode;
use crate::error::{Error, Result};

/// The store's configuration. It is immutable once the store is open.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the store (`storePathRootDir`).
    pub root: PathBuf,
    /// Directories of the commit log (`storePathCommitLog`), which get files in turn; `commitlog`
    /// in the root if this is empty.
    pub commit_log: Vec<PathBuf>,
    /// Directories of the commit log that get no new files (`readOnlyCommitLogStorePaths`), whether
    /// listed above or not.
    pub read_only_commit_log: Vec<PathBuf>,
    /// Bytes of a commit log file (`mappedFileSizeCommitLog`). Existing files must have this size.
    pub commit_log_file_size: u64,
    /// Bytes of a consume queue file (`mappedFileSizeConsumeQueue`), rounded up to whole entries.
    pub consume_queue_file_size: u64,
    /// The largest body (`maxMessageSize`).
    pub max_message_size: usize,
    /// The tags code of queue entries. In a directory written by Java it must return the delivery
    /// time of delayed messages.
    pub tags_code: TagsCode,
    /// When appended bytes are flushed to the disk.
    pub flush: Flush,
    /// The index by key.
    pub index: Index,
    /// When files are deleted.
    pub retention: Retention,
    /// Limits of one read.
    pub transfer: Transfer,
    /// How far ahead of the append position disk blocks are preallocated.
    pub allocation: Allocation,
    /// Consume queue files kept open at once; well below the 1,024 files a process may have open by
    /// default. Queues beyond that cost an `open` for each read, not a failure. Up to 128 more stay
    /// open from their last write until they are synced.
    pub open_files: usize,
    /// Entries of consume queues that may wait in memory to be written, in bytes. Above it dispatch
    /// waits for the disk.
    pub consume_queue_buffer: usize,
    /// Memory for consume queue entries that were written and stay readable from memory, for
    /// consumers that keep up, in bytes. The queues written lately share it: each has 128 entries
    /// at most, and fewer if there are many queues. Older entries are read from files.
    pub consume_queue_cache: usize,
    /// How long consume queue entries accumulate before they are written
    /// (`flushIntervalConsumeQueue`).
    pub consume_queue_write_interval: Duration,
    /// How often consume queues and index are synced, which bounds how much a start after a crash
    /// has to read again.
    pub checkpoint_interval: Duration,
    /// They are synced earlier once this many bytes of the log are not covered by a checkpoint,
    /// including bytes that a start has read back.
    pub checkpoint_bytes: u64,
    /// Memory in bytes that this process may use, its page cache included, to judge what is likely
    /// cached. Without it, the machine's memory: the store does not read the limits of the process.
    pub memory: Option<u64>,
}

/// When bytes are flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// Bytes are flushed at intervals; a power failure may lose the last ones (`ASYNC_FLUSH`).
    Async,
    /// Bytes are flushed as soon as they are appended, all of them at once (`SYNC_FLUSH`).
    Sync,
}

/// When appended bytes are flushed to the disk.
#[derive(Debug, Clone)]
pub struct Flush {
    /// `flushDiskType`.
    pub mode: FlushMode,
    /// The interval of an asynchronous flush (`flushIntervalCommitLog`).
    pub interval: Duration,
    /// It skips fewer than this many 4 KiB pages (`flushCommitLogLeastPages`), ...
    pub least_pages: u64,
    /// ... but not for longer than this (`flushCommitLogThoroughInterval`).
    pub thorough_interval: Duration,
}

/// The index by key.
#[derive(Debug, Clone)]
pub struct Index {
    /// Whether keys are indexed at all (`messageIndexEnable`).
    pub enabled: bool,
    /// Hash slots of a file (`maxHashSlotNum`). Existing files must have as many.
    pub slots: u32,
    /// Entries of a file (`maxIndexNum`). Existing files must have as many.
    pub entries: u32,
}

/// When files are deleted. Percentages are of the volume the files lie on.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Hours of the day, local time, at which expired files are deleted (`deleteWhen`).
    pub delete_when: Vec<u8>,
    /// Age at which a file is expired (`fileReservedTime`).
    pub reserved: Duration,
    /// Above this, expired files are deleted at any hour (`diskMaxUsedSpaceRatio`).
    pub max_used: u8,
    /// Above this, the oldest files are deleted whatever their age (`diskSpaceCleanForciblyRatio`).
    pub clean_forcibly: u8,
    /// Above this, writes are refused as well (`diskSpaceWarningLevelRatio`).
    pub refuse_writes: u8,
    /// Whether files that are not expired may be deleted at all (`cleanFileForciblyEnable`).
    pub forcibly_enabled: bool,
    /// The most files deleted in one round (`deleteFileBatchMax`).
    pub batch_max: usize,
    /// Pause between two deletions, so that freeing blocks does not delay writes
    /// (`deleteCommitLogFilesInterval`).
    pub pause: Duration,
    /// The interval between two rounds (`cleanResourceInterval`).
    pub interval: Duration,
}

/// Limits of one read; it returns at least one message.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// `maxTransferBytesOnMessageInMemory`.
    pub bytes_in_memory: usize,
    /// `maxTransferCountOnMessageInMemory`.
    pub count_in_memory: usize,
    /// `maxTransferBytesOnMessageInDisk`.
    pub bytes_on_disk: usize,
    /// `maxTransferCountOnMessageInDisk`.
    pub count_on_disk: usize,
    /// Share of that memory ([`Config::memory`]) that the newest messages are assumed to occupy, in
    /// percent (`accessMessageInMemoryMaxRatio`).
    pub memory_percent: u8,
}

/// How far ahead of the append position disk blocks are preallocated, in bytes.
#[derive(Debug, Clone)]
pub struct Allocation {
    /// Blocks are preallocated in steps of this size, so that a full disk is an error of the
    /// preallocation and never a fault inside a mapped page. The step is small enough that a small
    /// volume can hold a large, sparse file.
    pub step: u64,
    /// Pages are faulted in this far ahead of the append position.
    pub touch_ahead: u64,
}

/// A setting that contradicts itself or another setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The setting.
    pub about: About,
    /// The contradiction, in words.
    pub why: String,
}

/// The setting that a [`Contradiction`] is about. The caller that read it from a file knows its key
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// [`Config::commit_log_file_size`]
    CommitLogFileSize,
    /// [`Config::consume_queue_file_size`]
    ConsumeQueueFileSize,
    /// [`Config::index`]
    Index,
    /// [`Config::commit_log`] and [`Config::read_only_commit_log`]
    CommitLog,
    /// A setting without a key in a file.
    Memory,
    /// [`Retention::delete_when`]
    DeleteWhen,
    /// [`Retention::max_used`]
    MaxUsed,
    /// [`Retention::clean_forcibly`]
    CleanForcibly,
    /// [`Retention::refuse_writes`]
    RefuseWrites,
    /// [`Retention::clean_forcibly`] and [`Retention::refuse_writes`]
    CleaningAndRefusal,
}

impl Config {
    /// Java's defaults for a store in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Config {
            root: root.into(),
            commit_log: Vec::new(),
            read_only_commit_log: Vec::new(),
            commit_log_file_size: 1 << 30,
            consume_queue_file_size: 6_000_000,
            max_message_size: 4 << 20,
            tags_code: TagsCode::default(),
            flush: Flush {
                mode: FlushMode::Async,
                interval: Duration::from_millis(500),
                least_pages: 4,
                thorough_interval: Duration::from_secs(10),
            },
            index: Index { enabled: true, slots: 5_000_000, entries: 20_000_000 },
            retention: Retention {
                delete_when: vec![4],
                reserved: Duration::from_secs(72 * 3600),
                max_used: 75,
                clean_forcibly: 85,
                refuse_writes: 90,
                forcibly_enabled: true,
                batch_max: 10,
                pause: Duration::from_millis(100),
                interval: Duration::from_secs(10),
            },
            transfer: Transfer {
                bytes_in_memory: 256 << 10,
                count_in_memory: 32,
                bytes_on_disk: 64 << 10,
                count_on_disk: 8,
                memory_percent: 40,
            },
            allocation: Allocation { step: 64 << 20, touch_ahead: 8 << 20 },
            open_files: 512,
            consume_queue_buffer: 64 << 20,
            consume_queue_cache: 32 << 20,
            consume_queue_write_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(10),
            checkpoint_bytes: 256 << 20,
            memory: None,
        }
    }

    /// Refuses contradictory settings, with the first of [`Self::contradictions`].
    pub fn validate(&self) -> Result<()> {
        self.contradictions().into_iter().next().map_or(Ok(()), |found| Err(Error::Config(found.why)))
    }

    /// All contradictions, in words.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |about: About, why: String| found.push(Contradiction { about, why });
        let smallest = (stored::MIN_SIZE + stored::BLANK_SIZE) as u64;
        if self.commit_log_file_size < smallest || self.commit_log_file_size > 1 << 31 {
            refuse(
                About::CommitLogFileSize,
                format!(
                    "a commit log file of {} bytes: between {smallest} and 2 GiB are possible, all the numbers in it are ints",
                    self.commit_log_file_size
                ),
            );
        }
        if self.consume_queue_file_size == 0 || self.consume_queue_file_size > 1 << 30 {
            refuse(
                About::ConsumeQueueFileSize,
                format!(
                    "a consume queue file of {} bytes: between 1 byte and 1 GiB are possible",
                    self.consume_queue_file_size
                ),
            );
        }
        let index_bytes = 40 + 4 * u64::from(self.index.slots) + 20 * u64::from(self.index.entries);
        if self.index.slots == 0 || self.index.entries < 2 {
            refuse(
                About::Index,
                format!(
                    "an index file of {} slots and {} entries: 1 slot and 2 entries are the least, as entry 0 is never used",
                    self.index.slots, self.index.entries
                ),
            );
        } else if index_bytes > i32::MAX as u64 {
            refuse(
                About::Index,
                format!(
                    "an index file of {index_bytes} bytes is above 2147483647: have fewer slots ({}), of 4 bytes each, or fewer entries \
                    ({}), of 20",
                    self.index.slots, self.index.entries
                ),
            );
        }
        if self.commit_log_dirs().0.is_empty() {
            refuse(
                About::CommitLog,
                "all directories of the commit log are read only: one has to take new files".into(),
            );
        }
        if self.open_files == 0 || self.consume_queue_buffer == 0 || self.allocation.step == 0 {
            refuse(About::Memory, "open files, consume queue buffer and allocation step cannot be 0".into());
        }
        found.extend(self.retention.contradictions());
        found
    }

    /// The directories of the commit log: those that get new files, and the others.
    pub fn commit_log_dirs(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let read_only = &self.read_only_commit_log;
        let writable: Vec<PathBuf> = match self.commit_log.is_empty() {
            true => vec![self.root.join("commitlog")],
            false => self.commit_log.iter().filter(|dir| !read_only.contains(dir)).cloned().collect(),
        };
        let others = read_only.iter().filter(|dir| !writable.contains(dir)).cloned().collect();
        (writable, others)
    }
}

impl Retention {
    /// Refuses contradictory settings, with the first of [`Self::contradictions`].
    pub fn validate(&self) -> Result<()> {
        self.contradictions().into_iter().next().map_or(Ok(()), |found| Err(Error::Config(found.why)))
    }

    /// All contradictions, in words.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |about: About, why: String| found.push(Contradiction { about, why });
        if let Some(hour) = self.delete_when.iter().find(|hour| **hour > 23) {
            refuse(About::DeleteWhen, format!("deleting at hour {hour}: there are 0 to 23"));
        }
        let Retention { max_used, clean_forcibly, refuse_writes, .. } = *self;
        let possible = 1..=100;
        for (about, name, percent) in [
            (About::MaxUsed, "max used", max_used),
            (About::CleanForcibly, "clean forcibly", clean_forcibly),
            (About::RefuseWrites, "refuse writes", refuse_writes),
        ] {
            if !possible.contains(&percent) {
                refuse(about, format!("{name} at {percent} %: 1 to 100 are possible"));
            }
        }
        if clean_forcibly > refuse_writes && possible.contains(&clean_forcibly) && possible.contains(&refuse_writes) {
            refuse(
                About::CleaningAndRefusal,
                format!(
                    "writes would be refused at {refuse_writes} %, before files are cleaned forcibly at {clean_forcibly} %"
                ),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_java() {
        let config = Config::new("/store");
        config.validate().unwrap();
        assert_eq!(config.commit_log_dirs(), (vec![PathBuf::from("/store/commitlog")], Vec::new()));
        assert_eq!((config.commit_log_file_size, config.consume_queue_file_size), (1_073_741_824, 6_000_000));
    }

    #[test]
    fn contradictions_are_told_in_words() {
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::new("/store");
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(refused(|config| config.commit_log_file_size = 10).contains("between 99 and 2 GiB"));
        assert!(refused(|config| config.retention.delete_when = vec![4, 24]).contains("hour 24"));
        assert!(refused(|config| config.retention.clean_forcibly = 95).contains("before files are cleaned"));
        assert!(refused(|config| config.index.entries = 1).contains("entry 0"));
        let all_read_only = refused(|config| {
            config.commit_log = vec!["/a".into()];
            config.read_only_commit_log = vec!["/a".into(), "/b".into()];
        });
        assert!(all_read_only.contains("one has to take new files"), "{all_read_only}");
    }
}
