//! The entry of a consume queue.
//!
//! ```text
//! at  bytes
//!  0      8  physical offset of the record
//!  8      4  its size
//! 12      8  tags code: hash of the tags, or another number from a rule of the broker
//! ```
//!
//! Entry `n` of a queue lies at byte `20 n` of its files, which are named by the byte they begin
//! at. Places without a message are filled with entries of physical offset 0 and the largest size.
//! A place that is not yet written is zero.

use crate::position::{LogOffset, QueueOffset};

/// Bytes of an entry.
pub(crate) const SIZE: usize = 20;

const FILLER_SIZE: u32 = i32::MAX as u32;

/// The position of a message in the commit log, and the tags code that a filter can check without
/// reading the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) physical_offset: LogOffset,
    pub(crate) size: u32,
    pub(crate) tags_code: i64,
}

impl Entry {
    /// The filler of places without a message.
    pub(crate) const FILLER: Entry = Entry { physical_offset: LogOffset::ZERO, size: FILLER_SIZE, tags_code: 0 };

    pub(crate) fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.physical_offset.get().to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// Reads an entry; `None` if none was written, or the bytes are not a valid entry.
    pub(crate) fn decode(bytes: &[u8; SIZE]) -> Option<Entry> {
        let [o0, o1, o2, o3, o4, o5, o6, o7, s0, s1, s2, s3, tags @ ..] = *bytes;
        let physical_offset = i64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
        let size = i32::from_be_bytes([s0, s1, s2, s3]);
        let entry = Entry {
            physical_offset: LogOffset::from_wire(physical_offset)?,
            size: u32::try_from(size).ok()?,
            tags_code: i64::from_be_bytes(tags),
        };
        (entry.size > 0).then_some(entry)
    }

    pub(crate) fn is_filler(&self) -> bool {
        self.size == FILLER_SIZE
    }

    /// Offset behind the record.
    pub(crate) fn end(&self) -> LogOffset {
        self.physical_offset + u64::from(self.size)
    }
}

/// The byte of a queue where the entry of an offset begins.
pub(crate) fn byte_of(offset: QueueOffset) -> u64 {
    offset.get() * SIZE as u64
}

/// The offset whose entry contains a byte of a queue.
pub(crate) fn offset_of(byte: u64) -> QueueOffset {
    QueueOffset::new(byte / SIZE as u64)
}

/// The entries in `bytes`, up to the first place without one.
pub(crate) fn iter(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    bytes.as_chunks::<SIZE>().0.iter().map_while(Entry::decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lies_as_drawn() {
        let entry = Entry { physical_offset: LogOffset::new(0x0102), size: 0x0304, tags_code: -2 };
        let bytes = entry.encode();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(Entry::decode(&bytes), Some(entry));
        assert_eq!(Entry::FILLER.encode()[8..12], [0x7F, 0xFF, 0xFF, 0xFF]);
        assert!(Entry::decode(&Entry::FILLER.encode()).unwrap().is_filler());
    }

    #[test]
    fn what_was_never_written_is_no_entry() {
        assert_eq!(Entry::decode(&[0; SIZE]), None);
        assert_eq!(Entry::decode(&[0xFF; SIZE]), None);
        let two = [Entry::FILLER.encode(), [0; SIZE], Entry::FILLER.encode()].concat();
        assert_eq!(iter(&two).count(), 1);
    }
}
