//! The errors of the store, by condition.

use std::io;
use std::path::{Path, PathBuf};

use crate::position::LogOffset;

/// An error of the store. Each variant names its remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused. Check disk, permissions and limits.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// A write did not reach the disk. It is unknown whether the data is there: the system may have
    /// dropped the pages it could not write and marked them clean.
    #[error("what was written to {} may not be on the disk: {source}", path.display())]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The disk is full. Reads go on; writes resume by themselves once there is room again.
    #[error("no space for {}: writes resume when space is back", path.display())]
    Full {
        /// The file or directory that could not grow.
        path: PathBuf,
    },
    /// Stored bytes that were once complete are damaged. A start would lose what lies behind the
    /// damage, so an operator has to decide: restore the file from a copy, or cut it at the offset.
    #[error(
        "{} is damaged at physical offset {offset}: {reason}; `rocketmq admin store check` shows all that is wrong, \
        `rocketmq admin store repair` can cut the log there",
        file.display()
    )]
    Corruption {
        /// The damaged file.
        file: PathBuf,
        /// The position, as a physical offset of the commit log.
        offset: LogOffset,
        /// The fault found there.
        reason: String,
    },
    /// A consume queue lost entries in its middle; later entries would get other numbers. No
    /// message is lost: the log has everything that was in the queue.
    #[error(
        "{} is damaged at entry {entry}, and good ones follow; `rocketmq admin store repair` lets the queue be made again from the \
        log, and deleting the directory `consumequeue` lets all of them",
        file.display()
    )]
    QueueDamaged {
        /// The damaged file.
        file: PathBuf,
        /// The entry in the file, counted from 0.
        entry: u64,
    },
    /// Another process, or another store in this one, has the directory open.
    #[error("{} is in use by another broker; stop it first, or give this one a directory of its own", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The configuration contradicts itself or the files on disk.
    #[error("store configuration: {0}")]
    Config(String),
    /// The message cannot be stored as a record.
    #[error(transparent)]
    Message(#[from] rmq_protocol::message::Error),
    /// The message cannot be stored, whatever its bytes.
    #[error("message refused: {0}")]
    Refused(String),
    /// The record is longer than a commit log file.
    #[error("a record of {size} bytes is above the limit of {max}")]
    TooLarge {
        /// Bytes of the record.
        size: u64,
        /// The largest record possible.
        max: u64,
    },
    /// A flush failed before. The state of the disk is unknown, so the store accepts nothing more
    /// until a restart has read it back.
    #[error("the store takes no more writes: {0}")]
    ReadOnly(String),
    /// The disk provided no blocks, or no new file, before the deadline of a message. Nothing of it
    /// is stored; a retry may succeed.
    #[error("the disk is slow: it gave no room for the message in time; try again later")]
    Stalled,
    /// A replica's log ends inside a record: truncate to the dispatched offset before writing as a
    /// master.
    #[error("the log ends inside a record at {end}; its last whole record ends at {whole}")]
    PartialTail {
        /// End of the log.
        end: LogOffset,
        /// End of the last complete record.
        whole: LogOffset,
    },
    /// The offset is outside of what the store holds, or is not where the next byte has to go.
    #[error("offset {asked} is outside of {min}..{max}")]
    OutOfRange {
        /// The requested offset.
        asked: LogOffset,
        /// The smallest valid offset.
        min: LogOffset,
        /// The end of the valid offsets.
        max: LogOffset,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether the message itself cannot be stored: a retry would fail the same way. After any
    /// other error a retry may succeed.
    pub fn is_about_message(&self) -> bool {
        matches!(self, Error::Message(_) | Error::Refused(_) | Error::TooLarge { .. })
    }

    /// For a failed attempt to sync `path`.
    pub(crate) fn sync(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Sync { path: path.to_owned(), source }
    }

    /// Adds the operation and the path; a full disk becomes [`Error::Full`].
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path: path.to_owned() },
            _ => Error::Io { doing, path: path.to_owned(), source },
        }
    }
}

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
