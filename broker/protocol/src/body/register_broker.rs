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

use super::{TopicConfig, TopicConfigAndMappingTable};
use crate::{
    fastjson,
    version::{V5_0_0, Version},
};
use bytes::{Buf, BufMut};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// What a compressed body may grow to: some 500,000 topics. A few KiB of zeros must not become all of memory.
const MAX_INFLATED: u64 = 64 * 1024 * 1024;

/// What a broker registers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    /// A feature of old.
    pub filter_server_list: Vec<String>,
    /// The topics.
    pub topic_config_serialize_wrapper: TopicConfigAndMappingTable,
}

/// A registration that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The checksum in the header is another.
    #[error("the body's checksum is {found}, the header says {said}")]
    Checksum {
        /// Of the bytes that came.
        found: i32,
        /// In the header.
        said: i32,
    },
    /// Not zlib, or too large when inflated.
    #[error("the compressed body cannot be inflated: {0}")]
    Inflate(#[from] std::io::Error),
    /// It ends within a value.
    #[error("the body ends within a value")]
    Short(#[from] bytes::TryGetError),
    /// A topic line that is none.
    #[error("{0:?} is no topic")]
    Topic(String),
    /// JSON that is none.
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

    /// Reads either form; `sender` tells whether a compressed body has the static-topic part, which is passed over.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub fn decode(body: &[u8], compressed: bool, crc32: i32, sender: Version) -> Result<Self, RegistrationError> {
        let found = crate::message::java::crc32(body) as i32;
        if crc32 != 0 && crc32 != found {
            return Err(RegistrationError::Checksum { found, said: crc32 });
        }
        if !compressed {
            return if body.is_empty() { Ok(Self::default()) } else { Ok(fastjson::from_slice(body)?) };
        }
        let mut plain = Vec::new();
        ZlibDecoder::new(body).take(MAX_INFLATED).read_to_end(&mut plain)?;
        Self::from_inflated(&plain, sender)
    }

    fn from_inflated(mut plain: &[u8], sender: Version) -> Result<Self, RegistrationError> {
        let mut registration = Self::default();
        let table = &mut registration.topic_config_serialize_wrapper;
        table.data_version = fastjson::from_slice(part(&mut plain)?)?;
        for _ in 0..plain.try_get_i32()? {
            let line = String::from_utf8_lossy(part(&mut plain)?);
            let topic = TopicConfig::from_line(&line).ok_or_else(|| RegistrationError::Topic(line.into_owned()))?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        registration.filter_server_list = fastjson::from_slice(part(&mut plain)?)?;
        if sender >= V5_0_0 {
            for _ in 0..plain.try_get_i32()? {
                part(&mut plain)?;
            }
        }
        Ok(registration)
    }
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
        assert_eq!(RegisterBrokerBody::decode(&plain, false, crc, version::CURRENT).unwrap(), body);
        let compressed = body.to_compressed();
        assert_eq!(RegisterBrokerBody::decode(&compressed, true, 0, version::CURRENT).unwrap(), body);
        assert!(matches!(
            RegisterBrokerBody::decode(&plain, false, crc ^ 1, version::CURRENT),
            Err(RegistrationError::Checksum { .. })
        ));
    }

    #[test]
    fn an_inflated_body_cut_anywhere_is_an_error() {
        let mut plain = Vec::new();
        ZlibDecoder::new(&registration().to_compressed()[..]).read_to_end(&mut plain).unwrap();
        assert!(RegisterBrokerBody::from_inflated(&plain, version::CURRENT).is_ok());
        for cut in 0..plain.len() {
            assert!(RegisterBrokerBody::from_inflated(&plain[..cut], version::CURRENT).is_err(), "cut at {cut}");
        }
    }
}
