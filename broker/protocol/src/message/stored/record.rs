//! Decoding a record: a view that borrows the bytes it was parsed from.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::{Error, OffsetId, java, properties, sys_flag};
use super::{
    BORN_HOST_AT, BORN_TIMESTAMP_AT, CRC_AT, FLAG_AT, Head, PHYSICAL_OFFSET_AT, QUEUE_ID_AT, QUEUE_OFFSET_AT,
    SYS_FLAG_AT, Version, head,
};

/// One record, borrowed. Only [`Record::parse`] creates it, so its parts are known to be
/// consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    bytes: &'a [u8],
    version: Version,
    store_timestamp_at: u32,
    /// Times consumed, prepared transaction offset and body length follow the store host here.
    tail_at: u32,
    body: (u32, u32),
    topic: &'a str,
    properties: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes` and ignores what follows it. The body's checksum is
    /// not computed here, see [`Record::check_body`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let Head::Record(size, version) = head(bytes)? else {
            return Err(Error::Magic(super::MAGIC_BLANK));
        };
        let bytes = bytes.get(..size).ok_or(Error::Short { what: "record", need: size, have: bytes.len() })?;
        let mut cursor = Cursor { bytes, at: SYS_FLAG_AT };
        let flag = cursor.int("system flag")?;
        cursor.skip(8, "born timestamp")?;
        cursor.host(flag & sys_flag::BORN_HOST_V6 != 0, "born host")?;
        let store_timestamp_at = cursor.at as u32;
        cursor.skip(8, "store timestamp")?;
        cursor.host(flag & sys_flag::STORE_HOST_V6 != 0, "store host")?;
        let tail_at = cursor.at as u32;
        cursor.skip(12, "transaction offset")?;
        let body_len = cursor.int("body length")?;
        let body_len =
            usize::try_from(body_len).map_err(|_| Error::Value { what: "body length", value: body_len.into() })?;
        let body = (cursor.at as u32, body_len as u32);
        cursor.skip(body_len, "body")?;
        let topic_len = match version {
            Version::V1 => usize::from(cursor.take(1, "topic length")?[0]),
            Version::V2 => cursor.short("topic length")?,
        };
        let topic = std::str::from_utf8(cursor.take(topic_len, "topic")?).map_err(|_| Error::Text("topic"))?;
        let properties_len = cursor.short("properties length")?;
        let properties = cursor.take(properties_len, "properties")?;
        if cursor.at != size {
            return Err(Error::Length { what: "record", said: size as i64, found: cursor.at as i64 });
        }
        for (what, at) in [("queue offset", QUEUE_OFFSET_AT), ("physical offset", PHYSICAL_OFFSET_AT)] {
            let value = long(bytes, at);
            if value < 0 {
                return Err(Error::Value { what, value });
            }
        }
        Ok(Record { bytes, version, store_timestamp_at, tail_at, body, topic, properties })
    }

    /// Compares the body with its checksum.
    pub fn check_body(&self) -> Result<(), Error> {
        let (said, found) = (self.body_crc(), java::crc32(self.body()));
        if said == found { Ok(()) } else { Err(Error::BodyCrc { said, found }) }
    }

    /// Whether the property string has been replaced by zeros. The checksum covers only the body,
    /// so a page that was lost, or a copy that was cut off, behind the body shows in nothing else.
    /// A string ends with a separator or a character; zeros inside it belong to an application
    /// unless they fill a sector.
    pub fn has_lost_properties(&self) -> bool {
        const SECTOR: usize = 512;
        let properties = self.properties();
        let longest_zeros = || properties.split(|byte| *byte != 0).map(<[u8]>::len).max().unwrap_or(0);
        properties.last() == Some(&0) || (properties.len() >= SECTOR && longest_zeros() >= SECTOR)
    }

    /// The record's own bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Their number.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Its form.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The checksum written down for the body.
    pub fn body_crc(&self) -> u32 {
        int(self.bytes, CRC_AT) as u32
    }

    /// Queue.
    pub fn queue_id(&self) -> i32 {
        int(self.bytes, QUEUE_ID_AT)
    }

    /// The application's flag.
    pub fn flag(&self) -> i32 {
        int(self.bytes, FLAG_AT)
    }

    /// Number in the queue.
    pub fn queue_offset(&self) -> u64 {
        long(self.bytes, QUEUE_OFFSET_AT) as u64
    }

    /// Position in the commit log.
    pub fn physical_offset(&self) -> u64 {
        long(self.bytes, PHYSICAL_OFFSET_AT) as u64
    }

    /// See [`sys_flag`].
    pub fn sys_flag(&self) -> i32 {
        int(self.bytes, SYS_FLAG_AT)
    }

    /// When the producer made the message, ms.
    pub fn born_timestamp(&self) -> i64 {
        long(self.bytes, BORN_TIMESTAMP_AT)
    }

    /// Where the producer was.
    pub fn born_host(&self) -> SocketAddr {
        host(self.bytes, BORN_HOST_AT, self.sys_flag() & sys_flag::BORN_HOST_V6 != 0)
    }

    /// When the broker stored the message, ms.
    pub fn store_timestamp(&self) -> i64 {
        long(self.bytes, self.store_timestamp_at as usize)
    }

    /// The broker that stored it first.
    pub fn store_host(&self) -> SocketAddr {
        host(self.bytes, self.store_timestamp_at as usize + 8, self.sys_flag() & sys_flag::STORE_HOST_V6 != 0)
    }

    /// How often it was delivered before.
    pub fn reconsume_times(&self) -> i32 {
        int(self.bytes, self.tail_at as usize)
    }

    /// For a committed transaction: the position of its half message.
    pub fn prepared_transaction_offset(&self) -> i64 {
        long(self.bytes, self.tail_at as usize + 4)
    }

    /// The payload.
    pub fn body(&self) -> &'a [u8] {
        let (at, len) = self.body;
        &self.bytes[at as usize..][..len as usize]
    }

    /// Topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The property string.
    pub fn properties(&self) -> &'a [u8] {
        self.properties
    }

    /// One property as text.
    pub fn property(&self, name: &str) -> Option<Cow<'a, str>> {
        properties::find_str(self.properties, name)
    }

    /// What tag filters compare: Java's hash of the tags; 0 if there are none.
    pub fn tags_code(&self) -> i64 {
        java::tags_code(self.property(properties::TAGS).as_deref())
    }

    /// The id that contains the position of this record.
    pub fn offset_id(&self) -> OffsetId {
        OffsetId { host: self.store_host(), physical_offset: self.physical_offset() }
    }
}

/// Checks the first bytes of a record, up to [`super::PREFIX_MAX`] of them, without the rest:
/// whether it belongs at `physical_offset`, and whether its size and the length of its body are
/// consistent.
pub fn check_prefix(bytes: &[u8], physical_offset: u64) -> Result<(), Error> {
    let Head::Record(size, version) = head(bytes)? else {
        return Err(Error::Magic(super::MAGIC_BLANK));
    };
    let mut cursor = Cursor { bytes, at: PHYSICAL_OFFSET_AT };
    let place = long(cursor.take(8, "physical offset")?, 0);
    if u64::try_from(place) != Ok(physical_offset) {
        return Err(Error::Value { what: "physical offset", value: place });
    }
    let flag = cursor.int("system flag")?;
    cursor.skip(8, "born timestamp")?;
    cursor.host(flag & sys_flag::BORN_HOST_V6 != 0, "born host")?;
    cursor.skip(8, "store timestamp")?;
    cursor.host(flag & sys_flag::STORE_HOST_V6 != 0, "store host")?;
    cursor.skip(12, "transaction offset")?;
    let body_len = cursor.int("body length")?;
    let least = i64::from(body_len) + cursor.at as i64 + version.topic_len_bytes() as i64 + 2;
    let most = least + super::V2_TOPIC_MAX as i64 + properties::MAX_LEN as i64;
    match body_len >= 0 && (least..=most).contains(&(size as i64)) {
        true => Ok(()),
        false => Err(Error::Length { what: "record", said: size as i64, found: least }),
    }
}

/// The records of a pull response's body, one after another. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Iterates over whole records that fill `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Records { rest: bytes }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = Record::parse(self.rest);
        self.rest = read.as_ref().map_or(&[], |record| &self.rest[record.size()..]);
        Some(read)
    }
}

/// Walks a record whose size is already known to be within `bytes`.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let end = self.at.saturating_add(len);
        let taken = self.bytes.get(self.at..end).ok_or(Error::Short { what, need: end, have: self.bytes.len() })?;
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, len: usize, what: &'static str) -> Result<(), Error> {
        self.take(len, what).map(|_| ())
    }

    fn int(&mut self, what: &'static str) -> Result<i32, Error> {
        self.take(4, what).map(|bytes| int(bytes, 0))
    }

    /// A length in two bytes, which Java reads as a signed number.
    fn short(&mut self, what: &'static str) -> Result<usize, Error> {
        let bytes = self.take(2, what)?;
        let value = i16::from_be_bytes([bytes[0], bytes[1]]);
        usize::try_from(value).map_err(|_| Error::Value { what, value: value.into() })
    }

    fn host(&mut self, v6: bool, what: &'static str) -> Result<(), Error> {
        self.skip(if v6 { 16 } else { 4 }, what)?;
        let port = self.int(what)?;
        u16::try_from(port).map(|_| ()).map_err(|_| Error::Value { what: "port", value: port.into() })
    }
}

// The places these are called with were checked by `parse`.

fn int(bytes: &[u8], at: usize) -> i32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    i32::from_be_bytes(value)
}

fn long(bytes: &[u8], at: usize) -> i64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(value)
}

fn host(bytes: &[u8], at: usize, v6: bool) -> SocketAddr {
    if v6 {
        let mut ip = [0; 16];
        ip.copy_from_slice(&bytes[at..at + 16]);
        SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), int(bytes, at + 16) as u16)
    } else {
        let mut ip = [0; 4];
        ip.copy_from_slice(&bytes[at..at + 4]);
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), int(bytes, at + 4) as u16)
    }
}
