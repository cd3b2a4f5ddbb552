//! The record: the same bytes in the commit log, in replication, and in a pull response.
//!
//! All numbers are big-endian.
//!
//! ```text
//! at  bytes
//!  0      4  size of the record, itself included
//!  4      4  magic: V1 0xDAA320A7, V2 0xDAA320AB
//!  8      4  CRC-32 of the body, sign bit cleared
//! 12      4  queue id
//! 16      4  flag, the application's own
//! 20      8  queue offset: number of the message in its queue (0 for prepared and rolled back)
//! 28      8  physical offset: position of byte 0 of this record in the commit log
//! 36      4  system flag
//! 40      8  born timestamp, ms
//! 48   8|20  born host: address 4|16 (system flag 0x10), port 4
//!         8  store timestamp, ms
//!      8|20  store host: address 4|16 (system flag 0x20), port 4
//!         4  times consumed before
//!         8  prepared transaction offset
//!         4  body length, then the body
//!       1|2  topic length (V1|V2), then the topic
//!         2  length of the property string, then the string
//! ```
//!
//! V2 exists for topics longer than 127 bytes. Three fields are known only under the append lock:
//! queue offset, physical offset and store timestamp. Their positions in the record are known
//! before, so [`Draft`] encodes everything else first and [`Prepared::write`] sets them during the
//! copy.
//!
//! If a record does not fit into the rest of a commit log file, a filler of 8 bytes ends the file
//! and the next one begins:
//!
//! ```text
//!  0      4  bytes left in the file, these included
//!  4      4  magic 0xCBD43194
//!  8         anything
//! ```
//!
//! Every file keeps room for those 8 bytes: a record is only written where 8 bytes remain after it.

mod draft;
mod record;

pub use draft::{Draft, Prepared};
pub use record::{Record, Records, check_prefix};

use super::Error;

/// Magic of a record whose topic length has one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length has two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the filler at the end of a file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Bytes of a filler's head, kept free at the end of every file.
pub const BLANK_SIZE: usize = 8;
/// The shortest record there can be: V1, two IPv4 hosts, nothing in it.
pub const MIN_SIZE: usize = PREFIX_V4 + 1 + 2;

/// Bytes before the body with two IPv4 hosts.
const PREFIX_V4: usize = 88;
/// Bytes before the body with two IPv6 hosts: the most that [`check_prefix`] needs.
pub const PREFIX_MAX: usize = PREFIX_V4 + 2 * 12;
const CRC_AT: usize = 8;
const QUEUE_ID_AT: usize = 12;
const FLAG_AT: usize = 16;
const QUEUE_OFFSET_AT: usize = 20;
const PHYSICAL_OFFSET_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const BORN_TIMESTAMP_AT: usize = 40;
const BORN_HOST_AT: usize = 48;

/// The longest topic a V1 record carries; Java reads its length as a signed byte.
const V1_TOPIC_MAX: usize = 127;
/// The longest topic a V2 record carries.
const V2_TOPIC_MAX: usize = 32767;

/// Which of the two forms a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Topics up to 127 bytes.
    V1,
    /// Longer topics.
    V2,
}

impl Version {
    /// The form Java chooses for a topic of this length.
    pub fn for_topic(len: usize) -> Self {
        if len > V1_TOPIC_MAX { Version::V2 } else { Version::V1 }
    }

    fn magic(self) -> u32 {
        match self {
            Version::V1 => MAGIC_V1,
            Version::V2 => MAGIC_V2,
        }
    }

    fn topic_len_bytes(self) -> usize {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }
}

/// The meaning of the first eight bytes at a position of the commit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A record of this many bytes.
    Record(usize, Version),
    /// A filler: the next record begins in the next file. Its size is the rest of the file.
    Blank(usize),
    /// Zeros: nothing was written here yet.
    Empty,
}

/// Reads the eight bytes at the start of `bytes`. An unknown magic or a size no record can have is
/// an error.
pub fn head(bytes: &[u8]) -> Result<Head, Error> {
    let short = || Error::Short { what: "record head", need: BLANK_SIZE, have: bytes.len() };
    let &[s0, s1, s2, s3, m0, m1, m2, m3] = bytes.first_chunk::<BLANK_SIZE>().ok_or_else(short)?;
    let said = i32::from_be_bytes([s0, s1, s2, s3]);
    let size = usize::try_from(said).map_err(|_| Error::Value { what: "record size", value: said.into() })?;
    let version = match u32::from_be_bytes([m0, m1, m2, m3]) {
        MAGIC_V1 => Version::V1,
        MAGIC_V2 => Version::V2,
        MAGIC_BLANK => return Ok(Head::Blank(size)),
        0 if size == 0 => return Ok(Head::Empty),
        other => return Err(Error::Magic(other)),
    };
    if size < MIN_SIZE {
        return Err(Error::Value { what: "record size", value: said.into() });
    }
    Ok(Head::Record(size, version))
}

/// The head of a filler for the `left` bytes that remain in a file.
pub fn blank(left: u32) -> [u8; BLANK_SIZE] {
    let mut bytes = [0; BLANK_SIZE];
    bytes[..4].copy_from_slice(&left.to_be_bytes());
    bytes[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
