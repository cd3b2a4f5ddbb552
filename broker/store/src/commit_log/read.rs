//! Reading: bytes that borrow the mapping and keep their file alive.

use std::sync::Arc;

use bytes::Bytes;
use rmq_protocol::message::stored::{self, Head, Record};

use super::CommitLog;
use crate::error::{Error, Result};
use crate::mapped_file::{self, MappedFile};
use crate::position::{LogOffset, Millis};

impl CommitLog {
    /// Up to `max` bytes from `offset`, all from one file. Empty at the end of the log.
    pub(crate) fn range(&self, offset: LogOffset, max: usize) -> Result<Bytes> {
        match self.locate(offset, max)? {
            Some((file, len)) => self.share(&file, offset, len),
            None => Ok(Bytes::new()),
        }
    }

    /// The same, or `None` if an access to the bytes would cause a page fault that waits for the
    /// disk.
    pub(crate) fn range_if_resident(&self, offset: LogOffset, max: usize) -> Result<Option<Bytes>> {
        match self.locate(offset, max)? {
            Some((file, len)) if !file.is_resident(offset, len) => Ok(None),
            Some((file, len)) => self.share(&file, offset, len).map(Some),
            None => Ok(Some(Bytes::new())),
        }
    }

    /// The same, after a prefetch of the pages.
    pub(crate) fn range_from_disk(&self, offset: LogOffset, max: usize) -> Result<Bytes> {
        let Some((file, len)) = self.locate(offset, max)? else { return Ok(Bytes::new()) };
        file.fetch(offset, len)?;
        self.share(&file, offset, len)
    }

    /// The file that contains `offset`, and how many bytes it has from there, at most `max`. `None`
    /// at the end of the log.
    fn locate(&self, offset: LogOffset, max: usize) -> Result<Option<(Arc<MappedFile>, usize)>> {
        let end = self.appended.value();
        if offset == end {
            return Ok(None);
        }
        let file = (offset < end).then(|| self.file_at(offset)).flatten().ok_or_else(|| self.out_of_range(offset))?;
        let len = usize::try_from(end.min(file.published()).saturating_since(offset)).unwrap_or(max).min(max);
        Ok(Some((file, len)))
    }

    fn share(&self, file: &Arc<MappedFile>, offset: LogOffset, len: usize) -> Result<Bytes> {
        mapped_file::share(file, offset, len).ok_or_else(|| self.out_of_range(offset))
    }

    fn out_of_range(&self, offset: LogOffset) -> Error {
        Error::OutOfRange { asked: offset, min: self.min(), max: self.appended.value() }
    }

    /// The file and the size of the record that begins at `offset`; `None` if no record begins
    /// there, or the disk cannot read it.
    pub(crate) fn record_at(&self, offset: LogOffset) -> Option<(Arc<MappedFile>, usize)> {
        let file = self.file_at(offset)?;
        let size = {
            let Ok(Head::Record(size, _)) = stored::head(from_disk(&file, offset, stored::BLANK_SIZE)?) else {
                return None;
            };
            let record = Record::parse(from_disk(&file, offset, size)?).ok()?;
            (LogOffset::of(&record) == offset).then_some(size)?
        };
        Some((file, size))
    }

    /// Whether the log could end at `offset`: a record or a filler begins there, or a file.
    pub(crate) fn is_boundary(&self, offset: LogOffset) -> bool {
        let head = || stored::head(from_disk(&*self.file_at(offset)?, offset, stored::BLANK_SIZE)?).ok();
        offset.get().is_multiple_of(self.file_size)
            || self.record_at(offset).is_some()
            || matches!(head(), Some(Head::Blank(_)))
    }

    /// A copy of the record that begins at `offset`; `None` if no record begins there.
    pub(crate) fn record(&self, offset: LogOffset) -> Option<Bytes> {
        let (file, size) = self.record_at(offset)?;
        mapped_file::share(&file, offset, size)
    }

    /// Store timestamp of the record at `offset`, ms.
    pub(crate) fn store_timestamp(&self, offset: LogOffset) -> Option<Millis> {
        let (file, size) = self.record_at(offset)?;
        Record::parse(file.bytes(offset, size)?).ok().map(|record| Millis::new(record.store_timestamp()))
    }

    /// Store timestamp of the oldest record, ms.
    pub(crate) fn earliest_store_timestamp(&self) -> Option<Millis> {
        self.store_timestamp(self.min())
    }

    /// Bytes mapped by the log's files.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.files.read().len() as u64 * self.file_size
    }
}

/// Published bytes that may have to be read from the disk; `None` if not all of them are published,
/// or the disk cannot read them.
fn from_disk(file: &MappedFile, offset: LogOffset, len: usize) -> Option<&[u8]> {
    if let Err(error) = file.fetch(offset, len) {
        tracing::error!(%error, offset = offset.get(), "a record cannot be read");
        return None;
    }
    file.bytes(offset, len)
}
