//! What can go wrong in the store, by condition.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the store. What to do about it stands with each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused. Disk, permissions or limits want looking at.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk did not take what was written. Whether it is there will never be known: the system
    /// may have dropped the pages it could not write and forgotten about it.
    #[error("what was written to {} may not be on the disk: {source}", path.display())]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room for more. Reads go on; writes resume by themselves once there is room again.
    #[error("no space for {}: writes resume when space is back", path.display())]
    Full {
        /// The file or directory that could not grow.
        path: PathBuf,
    },
    /// Stored bytes that were complete once are damaged. Starting would lose what lies behind the
    /// damage, so a person has to decide: bring the file back from a copy, or cut it at the offset.
    #[error(
        "{} is damaged at physical offset {offset}: {reason}; `rocketmq admin store check` shows all that is wrong, \
        `rocketmq admin store repair` can cut the log there",
        file.display()
    )]
    Corruption {
        /// The damaged file.
        file: PathBuf,
        /// Where, as a physical offset of the commit log.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A consume queue lost entries in its middle; those behind would be given other numbers.
    /// Nothing is lost: the log has all that was in it.
    #[error(
        "{} is damaged at entry {entry}, and good ones follow; `rocketmq admin store repair` lets the queue be made again from the \
        log, and deleting the directory `consumequeue` lets all of them",
        file.display()
    )]
    QueueDamaged {
        /// The damaged file.
        file: PathBuf,
        /// Which entry of it, counted from 0.
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
        /// Bytes it would need.
        size: u64,
        /// The longest there can be.
        max: u64,
    },
    /// A flush failed before. What the disk holds is unknown, so nothing more is taken until a
    /// restart has read it back.
    #[error("the store takes no more writes: {0}")]
    ReadOnly(String),
    /// The disk gave no blocks, or no new file, for a message in time. Nothing of it is stored; the
    /// next one may well be.
    #[error("the disk is slow: it gave no room for the message in time; try again later")]
    Stalled,
    /// A replica's log ends inside a record: truncate to the dispatched offset before writing as a
    /// master.
    #[error("the log ends inside a record at {end}; its last whole record ends at {whole}")]
    PartialTail {
        /// End of the log.
        end: u64,
        /// End of the last whole record.
        whole: u64,
    },
    /// The offset is not within what the store holds, or not where the next byte has to go.
    #[error("offset {asked} is outside of {min}..{max}")]
    OutOfRange {
        /// The offset asked for.
        asked: u64,
        /// The smallest that would do.
        min: u64,
        /// The end of what would do.
        max: u64,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether the message itself is what cannot be stored: another attempt would end the same way.
    /// After any other error it may well succeed.
    pub fn is_about_message(&self) -> bool {
        matches!(self, Error::Message(_) | Error::Refused(_) | Error::TooLarge { .. })
    }

    /// For a failed attempt to sync `path`.
    pub(crate) fn sync(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Sync { path: path.to_owned(), source }
    }

    /// Names what was done to which path; a full disk becomes [`Error::Full`].
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path: path.to_owned() },
            _ => Error::Io { doing, path: path.to_owned(), source },
        }
    }
}

/// The outcome of something in the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;
