//! Encoding a record: everything known before the append lock is encoded before it.

use std::net::{IpAddr, SocketAddr};

use super::super::{Error, java, properties, sys_flag};
use super::{
    BORN_HOST_AT, BORN_TIMESTAMP_AT, CRC_AT, FLAG_AT, PHYSICAL_OFFSET_AT, PREFIX_MAX, QUEUE_ID_AT, QUEUE_OFFSET_AT,
    Record, SYS_FLAG_AT, V2_TOPIC_MAX, Version,
};

/// The fields of a record that are known before it has a position.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Topic, at most 32,767 bytes.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// The application's flag.
    pub flag: i32,
    /// System flag; the two address family bits are set from the hosts below and overwrite those
    /// given here.
    pub sys_flag: i32,
    /// When the producer made the message, ms.
    pub born_timestamp: i64,
    /// Where the producer was.
    pub born_host: SocketAddr,
    /// The broker that stores it first.
    pub store_host: SocketAddr,
    /// How often it was delivered before.
    pub reconsume_times: i32,
    /// For a committed transaction: the position of its half message.
    pub prepared_transaction_offset: i64,
    /// The property string, at most 32,767 bytes.
    pub properties: &'a [u8],
    /// The payload.
    pub body: &'a [u8],
}

impl<'a> Draft<'a> {
    /// The fields of a stored record, to be changed and encoded again.
    pub fn of(record: &Record<'a>) -> Self {
        Draft {
            topic: record.topic(),
            queue_id: record.queue_id(),
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            properties: record.properties(),
            body: record.body(),
        }
    }

    /// Checks the lengths, computes the checksum and encodes the fixed part.
    pub fn prepare(&self) -> Result<Prepared<'a>, Error> {
        let limit = |what, len: usize, max: usize| match len > max {
            true => Err(Error::TooLong { what, len, max }),
            false => Ok(()),
        };
        limit("topic", self.topic.len(), V2_TOPIC_MAX)?;
        limit("property string", self.properties.len(), properties::MAX_LEN)?;
        // With both at their longest this leaves the size itself within a positive int.
        limit("body", self.body.len(), i32::MAX as usize - PREFIX_MAX - 2 * (2 + V2_TOPIC_MAX))?;

        let version = Version::for_topic(self.topic.len());
        let mut prefix = Prefix { bytes: [0; PREFIX_MAX], len: BORN_HOST_AT };
        let mut sys_flag = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            sys_flag |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            sys_flag |= sys_flag::STORE_HOST_V6;
        }
        prefix.host(self.born_host);
        let store_timestamp_at = prefix.len;
        prefix.len += 8;
        prefix.host(self.store_host);
        prefix.push(&self.reconsume_times.to_be_bytes());
        prefix.push(&self.prepared_transaction_offset.to_be_bytes());
        prefix.push(&(self.body.len() as i32).to_be_bytes());

        let prefix_len = prefix.len;
        let size =
            prefix_len + self.body.len() + version.topic_len_bytes() + self.topic.len() + 2 + self.properties.len();
        prefix.set(0, &(size as i32).to_be_bytes());
        prefix.set(4, &version.magic().to_be_bytes());
        prefix.set(CRC_AT, &java::crc32(self.body).to_be_bytes());
        prefix.set(QUEUE_ID_AT, &self.queue_id.to_be_bytes());
        prefix.set(FLAG_AT, &self.flag.to_be_bytes());
        prefix.set(SYS_FLAG_AT, &sys_flag.to_be_bytes());
        prefix.set(BORN_TIMESTAMP_AT, &self.born_timestamp.to_be_bytes());
        Ok(Prepared {
            prefix,
            store_timestamp_at,
            version,
            size,
            topic: self.topic,
            properties: self.properties,
            body: self.body,
        })
    }
}

/// A record that lacks only its position: queue offset, physical offset and store timestamp.
#[derive(Debug, Clone)]
pub struct Prepared<'a> {
    prefix: Prefix,
    store_timestamp_at: usize,
    version: Version,
    size: usize,
    topic: &'a str,
    properties: &'a [u8],
    body: &'a [u8],
}

impl Prepared<'_> {
    /// Bytes of the record.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes the record into `into`, whose length must be [`Prepared::size`]. The body, the topic
    /// and the property string are copied here for the first and last time.
    ///
    /// # Panics
    /// If `into` has another length: the caller reserved the wrong range.
    pub fn write(&self, into: &mut [u8], queue_offset: u64, physical_offset: u64, store_timestamp: i64) {
        assert_eq!(into.len(), self.size, "a record needs exactly its own size");
        let mut rest = into;
        let mut put = |bytes: &[u8]| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            now.copy_from_slice(bytes);
            rest = later;
        };
        put(&self.prefix.bytes[..QUEUE_OFFSET_AT]);
        put(&queue_offset.to_be_bytes());
        put(&physical_offset.to_be_bytes());
        put(&self.prefix.bytes[PHYSICAL_OFFSET_AT + 8..self.store_timestamp_at]);
        put(&store_timestamp.to_be_bytes());
        put(&self.prefix.bytes[self.store_timestamp_at + 8..self.prefix.len]);
        put(self.body);
        match self.version {
            Version::V1 => put(&[self.topic.len() as u8]),
            Version::V2 => put(&(self.topic.len() as u16).to_be_bytes()),
        }
        put(self.topic.as_bytes());
        put(&(self.properties.len() as u16).to_be_bytes());
        put(self.properties);
    }

    /// A copy of the record.
    pub fn to_vec(&self, queue_offset: u64, physical_offset: u64, store_timestamp: i64) -> Vec<u8> {
        let mut bytes = vec![0; self.size];
        self.write(&mut bytes, queue_offset, physical_offset, store_timestamp);
        bytes
    }
}

/// The part before the body.
#[derive(Debug, Clone)]
struct Prefix {
    bytes: [u8; PREFIX_MAX],
    len: usize,
}

impl Prefix {
    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.set(self.len, bytes);
        self.len += bytes.len();
    }

    fn host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.push(&ip.octets()),
            IpAddr::V6(ip) => self.push(&ip.octets()),
        }
        self.push(&u32::from(host.port()).to_be_bytes());
    }
}
