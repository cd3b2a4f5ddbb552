//! Tools for a store that no broker has open: list its contents, find damage, and cut it off.
//!
//! A check reads the whole log and compares the rest with it, because the rest is derived from it.
//! It judges the log with the scanner and the table of a start, [`crate::commit_log::recover`]; but
//! a start trusts what the checkpoint covers, and a check does not. It needs no settings: the sizes
//! are those of the files.
//!
//! | module | contents |
//! |---|---|
//! | [`log`] | the files of the log as found, including gaps and short files |
//! | [`check`] | the check |
//! | [`report`] | the result of a check |
//! | [`dump`] | the records |
//! | [`repair`] | cutting the log where it is damaged, and making the rest consistent with it |

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
pub use report::{At, CheckpointReport, Ending, Finding, IndexReport, LogReport, Part, QueueReport, Report};

/// The location of a store.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its root (`storePathRootDir`).
    pub root: PathBuf,
    /// The directories of its commit log (`storePathCommitLog`, `readOnlyCommitLogStorePaths`).
    pub commit_log: Vec<PathBuf>,
    /// Bytes of a commit log file (`mappedFileSizeCommitLog`); if there are several complete files,
    /// their own size is used.
    pub file_size: Option<u64>,
    /// Hash slots of an index file (`maxHashSlotNum`), which its files do not contain.
    pub index_slots: u32,
    /// The tags code of queue entries ([`Config::tags_code`](crate::Config::tags_code)).
    pub tags_code: TagsCode,
}

impl Place {
    /// A store in `root` with no other directories, and Java's default number of slots.
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
