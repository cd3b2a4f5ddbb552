//! Looking into a store that no broker has open: what is in it, what is wrong with it, and cutting
//! off what is damaged.
//!
//! A check reads the whole log and compares the rest with it, because the rest is made from it. It
//! judges the log with the scanner and by the table of a start, [`crate::commit_log::recover`];
//! only that a start takes for granted what the checkpoint vouches for, and a check does not.
//! Settings are not needed: the sizes are those of the files.
//!
//! | file | what |
//! |---|---|
//! | [`log`] | the files of the log as they are, gaps and short files included |
//! | [`check`] | what is wrong |
//! | [`report`] | how that is told |
//! | [`dump`] | the records |
//! | [`repair`] | cutting the log where it is damaged, and making the rest agree with it again |

pub mod check;
pub mod dump;
mod log;
pub mod repair;
pub mod report;

use std::path::PathBuf;

use crate::consume_queue::tags_code::TagsCode;
pub use check::check;
pub use dump::{Piece, dump};
pub use repair::{Repair, Step, repair};
pub use report::{CheckpointReport, Ending, Finding, IndexReport, LogReport, Part, QueueReport, Report};

/// Where a store lies.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its root (`storePathRootDir`).
    pub root: PathBuf,
    /// The directories of its commit log (`storePathCommitLog`, `readOnlyCommitLogStorePaths`).
    pub commit_log: Vec<PathBuf>,
    /// Bytes of a commit log file (`mappedFileSizeCommitLog`); told by the files themselves where
    /// there are several whole ones.
    pub file_size: Option<u64>,
    /// Hash slots of an index file (`maxHashSlotNum`), which its files do not tell.
    pub index_slots: u32,
    /// What queue entries tell a filter ([`Config::tags_code`](crate::Config::tags_code)).
    pub tags_code: TagsCode,
}

impl Place {
    /// A store in `root` with nothing elsewhere, and the number of slots that is Java's default.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Place {
            commit_log: vec![root.join("commitlog")],
            root,
            file_size: None,
            index_slots: 5_000_000,
            tags_code: TagsCode::default(),
        }
    }

    fn queues(&self) -> PathBuf {
        self.root.join("consumequeue")
    }

    fn index(&self) -> PathBuf {
        self.root.join("index")
    }
}
