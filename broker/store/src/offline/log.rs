//! The files of a log as found on the disk.

use std::path::PathBuf;

use super::Place;
use crate::commit_log::recover::{self, Files};
use crate::error::{Error, Result};
use crate::position::{LogOffset, QueueOffset};

/// The log in pieces without gaps; an undamaged one is one piece.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) pieces: Vec<Files>,
    pub(super) file_size: u64,
    pub(super) files: usize,
    /// Files of an unexpected size, and their size.
    pub(super) odd: Vec<(LogOffset, PathBuf, u64)>,
    pub(super) unfinished: Option<PathBuf>,
}

impl Log {
    /// Lists the files. Their size is the distance from one to the next.
    pub(super) fn list(place: &Place) -> Result<Log> {
        let mut list = Vec::new();
        for dir in &place.commit_log {
            if !dir.is_dir() {
                return Err(Error::Config(format!("there is no commit log in {}", dir.display())));
            }
            for (base, path) in recover::listed(dir)? {
                let len = std::fs::metadata(&path).map_err(Error::io("look at", &path))?.len();
                list.push((base, path, len));
            }
        }
        list.sort_unstable();
        let unfinished = list.pop_if(|(_, _, len)| *len == 0).map(|(_, path, _)| path);
        let steps = list.array_windows().map(|[(base, ..), (next, ..)]| *next - *base);
        let told = || steps.min().or(list.first().map(|(_, _, len)| *len)).unwrap_or(1);
        let file_size = place.file_size.unwrap_or_else(told).max(1);
        let odd: Vec<_> = list.iter().filter(|(_, _, len)| *len != file_size).cloned().collect();
        let (files, mut pieces) = (list.len(), Vec::<Files>::new());
        for (base, path, _) in list {
            match pieces.last_mut() {
                // A short file ends its piece: what follows it is not contiguous with it.
                Some(piece) if piece.limit() == base && !odd.iter().any(|(at, ..)| *at + file_size == base) => {
                    piece.list.push((base, path));
                }
                _ => pieces.push(Files { list: vec![(base, path)], file_size, unfinished: None }),
            }
        }
        if pieces.is_empty() {
            pieces.push(Files { list: Vec::new(), file_size, unfinished: None });
        }
        Ok(Log { pieces, file_size, files, odd, unfinished })
    }

    fn piece(&self, offset: LogOffset) -> Option<&Files> {
        self.pieces.iter().rev().find(|piece| piece.first() <= offset)
    }

    /// The file that contains an offset.
    pub(super) fn file_of(&self, offset: LogOffset) -> PathBuf {
        self.piece(offset).map_or_else(PathBuf::new, |piece| piece.file_of(offset))
    }

    /// Whether the record at an offset is this message of a queue.
    pub(super) fn is_record(
        &self,
        offset: LogOffset,
        topic: &str,
        queue_id: i32,
        queue_offset: QueueOffset,
    ) -> Result<bool> {
        let Some(piece) = self.piece(offset) else { return Ok(false) };
        let same = piece.record(offset, |record| {
            record.topic() == topic && record.queue_id() == queue_id && record.queue_offset() == queue_offset.get()
        })?;
        Ok(same == Some(true))
    }
}
