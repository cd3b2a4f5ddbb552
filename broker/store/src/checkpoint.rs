//! What is known to be on the disk, so that a start after a crash does not read everything again.
//!
//! `checkpoint` is a file of 4096 bytes that begins with six numbers of 8 bytes, big-endian:
//!
//! ```text
//! at
//!  0  store timestamp up to which the commit log is flushed, ms
//!  8  the same for the consume queues
//! 16  the same for the index
//! 24  the master's flushed offset (kept as found)
//! 32  the confirmed offset (kept as found)
//! 40  physical offset of the last record that is flushed in log, consume queue and index
//! ```
//!
//! Java before 5.5.1 does not know the last one; it is then 0 and the timestamps decide. A value
//! only grows, and only after the `fsync` that it stands for.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fail_point;
use crate::position::{LogOffset, Millis};

const FILE_SIZE: u64 = 4096;
const USED: usize = 48;

/// The numbers of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    pub(crate) commit_log_timestamp: Millis,
    pub(crate) consume_queue_timestamp: Millis,
    pub(crate) index_timestamp: Millis,
    pub(crate) master_flushed_offset: i64,
    pub(crate) confirmed_offset: i64,
    /// Start of the last record that needs no second dispatch; 0 if unknown.
    pub(crate) dispatched_record: i64,
}

impl Marks {
    /// The last record that needs no second dispatch, if it is known.
    pub(crate) fn known_record(&self) -> Option<LogOffset> {
        LogOffset::from_wire(self.dispatched_record).filter(|record| *record > LogOffset::ZERO)
    }

    /// The numbers in the checkpoint of the store in `root`, without changing anything. `None` if
    /// there are none.
    pub(crate) fn read(root: &Path) -> Result<Option<Marks>> {
        let path = root.join("checkpoint");
        let bytes = match fail_point::at("checkpoint::read", || std::fs::read(&path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        Ok(bytes.first_chunk().map(Marks::decode))
    }

    fn decode(bytes: &[u8; USED]) -> Marks {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |at: usize| i64::from_be_bytes(numbers[at]);
        Marks {
            commit_log_timestamp: Millis::new(number(0)),
            consume_queue_timestamp: Millis::new(number(1)),
            index_timestamp: Millis::new(number(2)),
            master_flushed_offset: number(3),
            confirmed_offset: number(4),
            dispatched_record: number(5),
        }
    }

    fn encode(&self) -> [u8; USED] {
        let mut bytes = [0; USED];
        let numbers = [
            self.commit_log_timestamp.get(),
            self.consume_queue_timestamp.get(),
            self.index_timestamp.get(),
            self.master_flushed_offset,
            self.confirmed_offset,
            self.dispatched_record,
        ];
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_be_bytes();
        }
        bytes
    }
}

/// The open checkpoint file.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    file: File,
    marks: Marks,
}

impl Checkpoint {
    /// Opens or creates the checkpoint of the store in `root`. A file too short to hold the numbers
    /// counts as new: its writer crashed before the checkpoint covered anything.
    pub(crate) fn open(root: &Path) -> Result<Checkpoint> {
        let path = root.join("checkpoint");
        let open = || -> io::Result<(File, Marks)> {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let len = file.metadata()?.len();
            let mut bytes = [0; USED];
            if len >= USED as u64 {
                file.read_exact_at(&mut bytes, 0)?;
            }
            if len < FILE_SIZE {
                file.set_len(FILE_SIZE)?;
            }
            Ok((file, Marks::decode(&bytes)))
        };
        let (file, marks) = fail_point::at("checkpoint::open", open).map_err(Error::io("open", &path))?;
        Ok(Checkpoint { path, file, marks })
    }

    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    /// Writes the numbers and waits until they are on the disk.
    pub(crate) fn write(&mut self, marks: Marks) -> Result<()> {
        if marks == self.marks {
            return Ok(());
        }
        let write = || self.file.write_all_at(&marks.encode(), 0);
        fail_point::at("checkpoint::write", write).map_err(Error::io("write", &self.path))?;
        fail_point::at("checkpoint::sync", || self.file.sync_data()).map_err(Error::sync(&self.path))?;
        self.marks = marks;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_lie_where_java_looks_for_them() {
        let root = tempfile::tempdir().unwrap();
        let marks = Marks {
            commit_log_timestamp: Millis::new(1),
            consume_queue_timestamp: Millis::new(2),
            index_timestamp: Millis::new(3),
            master_flushed_offset: 4,
            confirmed_offset: 5,
            dispatched_record: 0x0102,
        };
        Checkpoint::open(root.path()).unwrap().write(marks).unwrap();
        let bytes = std::fs::read(root.path().join("checkpoint")).unwrap();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[7], 1);
        assert_eq!(bytes[15], 2);
        assert_eq!(bytes[23], 3);
        assert_eq!(bytes[40..48], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert!(bytes[48..].iter().all(|byte| *byte == 0));
        assert_eq!(Checkpoint::open(root.path()).unwrap().marks(), marks);
    }

    #[test]
    fn a_short_file_vouches_for_nothing() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("checkpoint"), [9; 47]).unwrap();
        assert_eq!(Checkpoint::open(root.path()).unwrap().marks(), Marks::default());
    }
}
