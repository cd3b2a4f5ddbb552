//! The message: what an application sends, what a consumer gets, and the bytes in between.
//!
//! | module | contents |
//! |---|---|
//! | [`stored`] | the commit log record, also used in pull responses |
//! | [`batch`] | the body of a batch send |
//! | [`properties`] | the property string: separators, reserved names, limits |
//! | [`delay`] | the tags code of a delayed message's queue entry |
//! | [`message_id`] | ids made of a broker address and an offset, and the ids clients make |
//! | [`sys_flag`] | the bits of a message's and of a pull's system flag |
//! | [`java`] | two functions of the Java library that are part of the format: hash and CRC |
//!
//! Nothing here does I/O, reads a clock or uses async, so the broker, the client, the command line
//! and the fuzzers share it. Decoding never panics and never allocates more than the size of its
//! input; views borrow. Offsets are unsigned and checked once, when a record is parsed; timestamps
//! are milliseconds since 1970.

pub mod batch;
pub mod delay;
pub mod java;
pub mod message_id;
pub mod properties;
pub mod stored;
pub mod sys_flag;

use std::{cmp::Ordering, net::SocketAddr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use message_id::{OffsetId, UniqueId};
pub use properties::Properties;

/// Invalid bytes. The variant is the condition; the owner of the bytes knows the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ends inside the thing that was being read.
    #[error("{what} needs {need} bytes but only {have} are there")]
    Short {
        /// The part that was being read.
        what: &'static str,
        /// Bytes it needs, as far as known at that point.
        need: usize,
        /// Bytes available.
        have: usize,
    },
    /// The magic is not a known one.
    #[error("unknown record magic {0:#010x}")]
    Magic(u32),
    /// A length or count that contradicts another one.
    #[error("{what} says {said} bytes but its contents make {found}")]
    Length {
        /// Whose length it is.
        what: &'static str,
        /// The length written down.
        said: i64,
        /// The length that follows from the rest.
        found: i64,
    },
    /// A number outside the range of its field.
    #[error("{what} cannot be {value}")]
    Value {
        /// The field.
        what: &'static str,
        /// The value.
        value: i64,
    },
    /// Text that is not UTF-8.
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    /// The body does not have the checksum the record was stored with.
    #[error("the body's checksum is {found:#010x}, the record says {said:#010x}")]
    BodyCrc {
        /// Checksum in the record.
        said: u32,
        /// Checksum of the body as it is.
        found: u32,
    },
    /// A value to encode exceeds its length field.
    #[error("{what} has {len} bytes, {max} fit")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The longest there can be.
        max: usize,
    },
    /// A message id with a wrong number of digits, or with something that is no digit.
    #[error("{0:?} is not a message id")]
    Id(Box<str>),
}

/// One queue of a topic on one broker group. The fields are declared in fastjson's order; the sort
/// order is topic, group, queue, as tools list them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// Name of the broker group.
    pub broker_name: String,
    /// Number of the queue within the topic on that group.
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

impl MessageQueue {
    fn rank(&self) -> (&str, &str, i32) {
        (&self.topic, &self.broker_name, self.queue_id)
    }
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What an application sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// A number for the application's own use, carried unchanged.
    pub flag: i32,
    /// Reserved and application properties; tags and keys are among them.
    pub properties: Properties,
    /// The payload.
    pub body: Bytes,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Message { topic: topic.into(), flag: 0, properties: Properties::default(), body: body.into() }
    }

    /// The tag subscriptions filter by.
    pub fn tags(&self) -> Option<&str> {
        self.properties.get(properties::TAGS)
    }

    /// The keys the message can be found by, one after another.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.properties.get(properties::KEYS).unwrap_or_default().split(' ').filter(|key| !key.is_empty())
    }
}

/// A message as a consumer gets it: the message and the fields that the broker stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageExt {
    /// The message. A compressed body is still compressed; [`sys_flag::compression`] returns the
    /// method.
    pub message: Message,
    /// The id the producer gave it (`UNIQ_KEY`), or the offset id if there is none.
    pub msg_id: String,
    /// The id made of the storing broker's address and the physical offset.
    pub offset_msg_id: OffsetId,
    /// Bytes of the stored record.
    pub store_size: u32,
    /// Queue it lies in.
    pub queue_id: i32,
    /// Its number in that queue.
    pub queue_offset: u64,
    /// See [`sys_flag`].
    pub sys_flag: i32,
    /// When the producer made it, by the producer's clock.
    pub born_timestamp: i64,
    /// Where the producer was.
    pub born_host: SocketAddr,
    /// When the broker stored it, by the broker's clock.
    pub store_timestamp: i64,
    /// The broker that stored it first; a slave's copy still names its master.
    pub store_host: SocketAddr,
    /// Byte position in the commit log.
    pub physical_offset: u64,
    /// Masked CRC of the body as stored.
    pub body_crc: u32,
    /// How often it was delivered before.
    pub reconsume_times: i32,
    /// For a committed transaction: the position of its half message.
    pub prepared_transaction_offset: i64,
}

impl MessageExt {
    /// Copies a stored record out. The body is copied; if the record already lies in a [`Bytes`],
    /// slicing that is cheaper.
    pub fn from_record(record: &stored::Record<'_>) -> MessageExt {
        let offset_msg_id = OffsetId { host: record.store_host(), physical_offset: record.physical_offset() };
        let properties = Properties::parse(record.properties());
        MessageExt {
            msg_id: properties.get(properties::UNIQ_KEY).map_or_else(|| offset_msg_id.to_string(), str::to_owned),
            offset_msg_id,
            store_size: record.size() as u32,
            queue_id: record.queue_id(),
            queue_offset: record.queue_offset(),
            sys_flag: record.sys_flag(),
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            store_timestamp: record.store_timestamp(),
            store_host: record.store_host(),
            physical_offset: record.physical_offset(),
            body_crc: record.body_crc(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            message: Message {
                topic: record.topic().to_owned(),
                flag: record.flag(),
                properties,
                body: Bytes::copy_from_slice(record.body()),
            },
        }
    }
}
