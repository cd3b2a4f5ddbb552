//! The body of a registration (103), plain or compressed.
//!
//! ```text
//! plain       {"filterServerList":[..],"topicConfigSerializeWrapper":{..}}
//! compressed  zlib of:
//!             int length, data version as JSON
//!             int topics; each: int length, line (see TopicConfig::to_line)
//!             int length, filter servers as JSON
//!             int static topics; each: int length, JSON          (only from brokers of 5.0.0 on)
//! ```

use super::{TopicConfig, TopicConfigAndMappingTable, register_broker_json};
use crate::{
    fastjson,
    version::{V5_0_0, Version},
};
use bytes::{Buf, BufMut};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// The limit of one part of a compressed body: a topic with its attributes, or the filter servers.
/// Decoded, it takes some ten times as much.
const MAX_PART: usize = 64 * 1024;

/// The limits of a reader. A body of a few KiB must not be able to use all memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Topics.
    pub topics: usize,
    /// Bytes of an inflated body.
    pub inflated: u64,
    /// Leaves out what routes do not need: attributes of topics, filter servers, static topics.
    pub routes_only: bool,
}

impl Default for ReadLimits {
    /// Enough for everything of some 500,000 topics.
    fn default() -> Self {
        Self { topics: 500_000, inflated: 64 * 1024 * 1024, routes_only: false }
    }
}

/// What a broker registers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    /// An obsolete feature.
    pub filter_server_list: Vec<String>,
    /// The topics.
    pub topic_config_serialize_wrapper: TopicConfigAndMappingTable,
}

/// A registration that cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The checksum in the header differs.
    #[error("the body's checksum is {found}, the header says {said}")]
    Checksum {
        /// Of the received bytes.
        found: i32,
        /// In the header.
        said: i32,
    },
    /// Not zlib, or too large when inflated.
    #[error("the compressed body cannot be inflated: {0}")]
    Inflate(#[from] std::io::Error),
    /// Inflated it exceeds the reader's limit.
    #[error(
        "the compressed body has more than {most} bytes when inflated; register fewer topics, or \
         give the namesrv more memory"
    )]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// More topics than the reader's limit.
    #[error(
        "the registration names {topics} topics; {most} are possible: delete topics, or give the namesrv more memory"
    )]
    TooManyTopics {
        /// How many.
        topics: usize,
        /// The limit.
        most: usize,
    },
    /// It ends within a value.
    #[error("the body ends within a value")]
    Short(#[from] bytes::TryGetError),
    /// A part of a compressed body that is too long.
    #[error("a topic or list of the compressed body has {bytes} bytes; {MAX_PART} are possible")]
    LongPart {
        /// Its length.
        bytes: usize,
    },
    /// An invalid topic line.
    #[error("{0:?} is no topic")]
    Topic(String),
    /// Invalid JSON.
    #[error(transparent)]
    Json(#[from] fastjson::Error),
}

impl RegisterBrokerBody {
    /// The plain form.
    pub fn to_plain(&self) -> Vec<u8> {
        fastjson::to_vec(self)
    }

    /// The compressed form, with the static-topic part.
    pub fn to_compressed(&self) -> Vec<u8> {
        let table = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        let mut put = |bytes: &[u8]| {
            plain.put_i32(bytes.len() as i32);
            plain.put_slice(bytes);
        };
        put(&fastjson::to_vec(&table.data_version));
        plain.put_i32(table.topic_config_table.len() as i32);
        for topic in table.topic_config_table.values() {
            let line = topic.to_line();
            plain.put_i32(line.len() as i32);
            plain.put_slice(line.as_bytes());
        }
        let servers = fastjson::to_vec(&self.filter_server_list);
        plain.put_i32(servers.len() as i32);
        plain.put_slice(&servers);
        plain.put_i32(0);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail; if it did, the empty body would be refused by its reader.
        encoder.write_all(&plain).and_then(|()| encoder.finish()).unwrap_or_default()
    }

    /// Reads either form. The version of `sender` determines whether a compressed body has the
    /// static-topic part, which is ignored.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub fn decode(
        body: &[u8],
        compressed: bool,
        crc32: i32,
        sender: Version,
        limits: &ReadLimits,
    ) -> Result<Self, RegistrationError> {
        let found = crate::message::java::crc32(body) as i32;
        if crc32 != 0 && crc32 != found {
            return Err(RegistrationError::Checksum { found, said: crc32 });
        }
        if !compressed {
            return if body.is_empty() { Ok(Self::default()) } else { register_broker_json::decode(body, limits) };
        }
        let mut plain = Vec::new();
        let read = ZlibDecoder::new(body).take(limits.inflated.saturating_add(1)).read_to_end(&mut plain)?;
        if read as u64 > limits.inflated {
            return Err(RegistrationError::TooLarge { most: limits.inflated });
        }
        Self::from_inflated(&plain, sender, limits)
    }

    fn from_inflated(mut plain: &[u8], sender: Version, limits: &ReadLimits) -> Result<Self, RegistrationError> {
        let mut registration = Self::default();
        let table = &mut registration.topic_config_serialize_wrapper;
        table.data_version = fastjson::from_slice(part(&mut plain)?)?;
        let topics = plain.try_get_i32()?;
        check_topics(usize::try_from(topics).unwrap_or_default(), limits)?;
        for _ in 0..topics {
            let line = part(&mut plain)?;
            if line.len() > MAX_PART {
                return Err(RegistrationError::LongPart { bytes: line.len() });
            }
            let line = String::from_utf8_lossy(line);
            let mut topic = TopicConfig::from_line(&line).ok_or_else(|| RegistrationError::Topic(line.into_owned()))?;
            if limits.routes_only {
                topic.attributes.clear();
            }
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let servers = part(&mut plain)?;
        if servers.len() > MAX_PART {
            return Err(RegistrationError::LongPart { bytes: servers.len() });
        }
        if !limits.routes_only {
            registration.filter_server_list = fastjson::from_slice(servers)?;
        }
        if sender >= V5_0_0 {
            for _ in 0..plain.try_get_i32()? {
                part(&mut plain)?;
            }
        }
        Ok(registration)
    }
}

pub(super) fn check_topics(topics: usize, limits: &ReadLimits) -> Result<(), RegistrationError> {
    if topics <= limits.topics {
        return Ok(());
    }
    Err(RegistrationError::TooManyTopics { topics, most: limits.topics })
}

fn part<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], bytes::TryGetError> {
    let length = from.try_get_i32()?;
    let (taken, rest) = usize::try_from(length)
        .ok()
        .and_then(|length| from.split_at_checked(length))
        .ok_or(bytes::TryGetError { requested: length as usize, available: from.len() })?;
    *from = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version;

    fn registration() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version.counter = 7;
        for name in ["a", "b"] {
            table.topic_config_table.insert(name.into(), TopicConfig::new(name, 4, 4, 6));
        }
        body
    }

    #[test]
    fn both_forms_come_back() {
        let body = registration();
        let plain = body.to_plain();
        let crc = crate::message::java::crc32(&plain) as i32;
        assert_eq!(
            RegisterBrokerBody::decode(&plain, false, crc, version::CURRENT, &ReadLimits::default()).unwrap(),
            body
        );
        let compressed = body.to_compressed();
        assert_eq!(
            RegisterBrokerBody::decode(&compressed, true, 0, version::CURRENT, &ReadLimits::default()).unwrap(),
            body
        );
        assert!(matches!(
            RegisterBrokerBody::decode(&plain, false, crc ^ 1, version::CURRENT, &ReadLimits::default()),
            Err(RegistrationError::Checksum { .. })
        ));
    }

    #[test]
    fn an_inflated_body_cut_anywhere_is_an_error() {
        let mut plain = Vec::new();
        ZlibDecoder::new(&registration().to_compressed()[..]).read_to_end(&mut plain).unwrap();
        assert!(RegisterBrokerBody::from_inflated(&plain, version::CURRENT, &ReadLimits::default()).is_ok());
        for cut in 0..plain.len() {
            assert!(
                RegisterBrokerBody::from_inflated(&plain[..cut], version::CURRENT, &ReadLimits::default()).is_err(),
                "cut at {cut}"
            );
        }
    }

    /// A few KiB became hundreds of MiB: topics of thirteen bytes, zeros compressed a thousandfold.
    #[test]
    fn what_a_reader_does_not_take_is_refused_before_it_is_made() {
        let body = registration();
        let limits = |topics, inflated| ReadLimits { topics, inflated, routes_only: true };
        for (bytes, compressed) in [(body.to_plain(), false), (body.to_compressed(), true)] {
            let read = |limits| RegisterBrokerBody::decode(&bytes, compressed, 0, version::CURRENT, &limits);
            assert_eq!(read(limits(2, 1 << 20)).unwrap(), body);
            let refused = read(limits(1, 1 << 20)).unwrap_err();
            assert!(matches!(refused, RegistrationError::TooManyTopics { topics: 2, most: 1 }), "{refused}");
        }
        let refused =
            RegisterBrokerBody::decode(&body.to_compressed(), true, 0, version::CURRENT, &limits(2, 10)).unwrap_err();
        assert!(matches!(refused, RegistrationError::TooLarge { most: 10 }), "{refused}");
    }

    #[test]
    fn routes_need_neither_attributes_nor_filter_servers() {
        let mut body = registration();
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        let fifo = TopicConfig { topic_sys_flag: 2, ..TopicConfig::new("fifo", 1, 2, 4) };
        table.insert("fifo".into(), fifo);
        let bare = body.clone();
        for topic in body.topic_config_serialize_wrapper.topic_config_table.values_mut() {
            topic.attributes.insert("message.type".into(), "FIFO".into());
        }
        body.filter_server_list = vec!["server".into()];
        let limits = ReadLimits { routes_only: true, ..ReadLimits::default() };
        let plain = RegisterBrokerBody::decode(&body.to_plain(), false, 0, version::CURRENT, &limits).unwrap();
        assert_eq!(plain, bare);
        // A topic's line has no system flag.
        let compressed = RegisterBrokerBody::decode(&body.to_compressed(), true, 0, version::CURRENT, &limits).unwrap();
        let topics = |body: &RegisterBrokerBody| body.topic_config_serialize_wrapper.topic_config_table.len();
        assert_eq!((topics(&compressed), compressed.filter_server_list.len()), (3, 0));
        assert!(compressed.topic_config_serialize_wrapper.topic_config_table.values().all(|t| t.attributes.is_empty()));
        // fastjson's deviations are read as before.
        let loose = br#"{topicConfigSerializeWrapper:{topicConfigTable:{'t':{perm:4,},},dataVersion:{counter:3}}}"#;
        let loose = RegisterBrokerBody::decode(loose, false, 0, version::CURRENT, &limits).unwrap();
        let table = loose.topic_config_serialize_wrapper;
        assert_eq!(
            (table.data_version.counter, table.topic_config_table["t"].clone()),
            (3, TopicConfig::new("", 16, 16, 4))
        );
    }
}
