//! The result of a check.

use std::fmt;
use std::path::PathBuf;

use super::log::Log;
use crate::commit_log::recover::Files;
use crate::position::{LogOffset, Millis, QueueOffset};

/// The most findings of one part that are listed; the rest is counted.
const KEPT: usize = 100;

/// A part of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All records.
    CommitLog,
    /// For each queue, the positions of its messages.
    ConsumeQueue,
    /// For each key, the positions of its messages.
    Index,
    /// What is known to be on the disk.
    Checkpoint,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::CommitLog => "commit log",
            Part::ConsumeQueue => "consume queue",
            Part::Index => "index",
            Part::Checkpoint => "checkpoint",
        })
    }
}

/// The position of a finding: in the commit log, whose files are found by it, or in the file of
/// another part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A physical offset.
    Log(LogOffset),
    /// A byte of the file.
    File(u64),
}

impl At {
    /// The number.
    pub fn get(self) -> u64 {
        match self {
            At::Log(offset) => offset.get(),
            At::File(byte) => byte,
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The part of the store.
    pub part: Part,
    /// Whether a start would refuse it, or lose or hide messages because of it. A finding that is
    /// no damage is fixed by the next start, or is information for an operator.
    pub damage: bool,
    /// The file or directory.
    pub file: PathBuf,
    /// Where, if it is a single place.
    pub at: Option<At>,
    /// The finding in words.
    pub text: String,
}

/// What follows the last record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Nothing was written behind the last record.
    End,
    /// The last append was cut off, for this reason; a start removes it.
    TornTail(String),
    /// A start refuses the log, for this reason.
    Corruption(String),
}

/// The commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// Files.
    pub files: usize,
    /// Bytes of each; 0 if there are none.
    pub file_size: u64,
    /// First byte.
    pub min_offset: LogOffset,
    /// End of the last record before the first damage.
    pub end: LogOffset,
    /// Records before that.
    pub records: u64,
    /// Good records behind it.
    pub records_behind_damage: u64,
    /// Store timestamp of the first record, ms.
    pub first_store_timestamp: Option<Millis>,
    /// Store timestamp of the last record before `end`, ms.
    pub last_store_timestamp: Option<Millis>,
    /// What follows `end`.
    pub ending: Ending,
    /// Start of the last record before `end`.
    pub(super) last_record: Option<LogOffset>,
    /// The latest store timestamp of all.
    pub(super) newest_timestamp: Millis,
}

/// The consume queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueReport {
    /// Topics with queues.
    pub topics: usize,
    /// Queues.
    pub queues: usize,
    /// Entries in them.
    pub entries: u64,
    /// Messages of the log that are in no queue yet; a start adds them.
    pub pending: u64,
    /// Messages of topics without any queue: the topic was deleted.
    pub without_queue: u64,
    /// Queues with a wrong entry: topic, id, and the offset of the first one.
    pub(super) damaged: Vec<(String, i32, QueueOffset)>,
}

/// The index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexReport {
    /// Files.
    pub files: usize,
    /// Entries in them.
    pub entries: u64,
    /// Keys of records that are not in it.
    pub missing: u64,
    pub(super) damaged: bool,
}

/// The checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Store timestamp up to which the commit log is on the disk, ms.
    pub commit_log_timestamp: Millis,
    /// The same for consume queues.
    pub consume_queue_timestamp: Millis,
    /// The same for the index.
    pub index_timestamp: Millis,
    /// Start of the last record that is in its queue and the index; 0 if unknown.
    pub dispatched_record: i64,
    /// Where a start would begin to read the log again; none if it would refuse the log.
    pub scan_start: Option<LogOffset>,
}

/// The full result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The last stop was not clean: the process was killed or its machine failed.
    pub crashed: bool,
    /// The commit log.
    pub log: LogReport,
    /// The consume queues.
    pub queues: QueueReport,
    /// The index.
    pub index: IndexReport,
    /// The checkpoint, if there is one.
    pub checkpoint: Option<CheckpointReport>,
    /// The findings, up to a hundred for each part.
    pub findings: Vec<Finding>,
    /// How many findings are damage, including those not listed.
    pub damages: u64,
}

impl LogReport {
    pub(super) fn new(log: &Log) -> Self {
        LogReport {
            files: log.files,
            file_size: if log.files > 0 { log.file_size } else { 0 },
            min_offset: log.pieces.first().map_or(LogOffset::ZERO, Files::first),
            end: LogOffset::ZERO,
            records: 0,
            records_behind_damage: 0,
            first_store_timestamp: None,
            last_store_timestamp: None,
            ending: Ending::End,
            last_record: None,
            newest_timestamp: Millis::default(),
        }
    }
}

impl Report {
    pub(super) fn new(crashed: bool, log: LogReport) -> Self {
        let (queues, index) = (QueueReport::default(), IndexReport::default());
        Report { crashed, log, queues, index, checkpoint: None, findings: Vec::new(), damages: 0 }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.damages += u64::from(finding.damage);
        if self.findings.iter().filter(|other| other.part == finding.part).count() < KEPT {
            self.findings.push(finding);
        }
    }
}
