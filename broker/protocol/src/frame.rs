//! The frame around a command.
//!
//! ```text
//! offset  size
//! 0       4          total: bytes that follow this word = 4 + header + body
//! 4       1          form of the header: 0 JSON, 1 ROCKETMQ binary
//! 5       3          header length
//! 8       header     see json_header.rs and binary_header.rs
//! 8+hdr   body       its meaning depends on the code; may be empty
//! ```
//!
//! A heartbeat with a JSON header of 20 bytes and a body of 2:
//!
//! ```
//! let mut frame = bytes::BytesMut::new();
//! frame.extend_from_slice(&[0, 0, 0, 26, 0, 0, 0, 20]);
//! frame.extend_from_slice(br#"{"code":34,"flag":2}"#);
//! frame.extend_from_slice(b"{}");
//! let command = rmq_protocol::frame::decode(&mut frame, 1 << 20)?.unwrap();
//! assert_eq!((command.code, command.flag, &command.body[..]), (34, 2, &b"{}"[..]));
//! # Ok::<(), rmq_protocol::frame::Error>(())
//! ```
//!
//! An invalid frame (a header longer than the frame, an unknown form, more bytes than allowed) ends
//! the connection: the start of the next frame is unknown.

use crate::{
    Command, Fields, Serialization, binary_header, fastjson, json_header, language::Language, version::Version,
};
use bytes::{Buf, Bytes, BytesMut};

/// The default limit of a frame, in bytes: Java's `com.rocketmq.remoting.frameMaxLength`.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// The limit of a header, in bytes. It is parsed on a thread that other connections share; the
/// longest headers of real clients have some 40 KiB, because of a message's properties.
pub const MAX_HEADER: usize = 1024 * 1024;

/// Length word and header-length word.
const PREFIX: usize = 8;

/// Why a frame cannot be read; the connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than allowed.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Bytes announced.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Another protocol; its first bytes are not an allowed length.
    #[error("{0}")]
    Foreign(&'static str),
    /// The header does not fit its frame.
    #[error("the header is said to have {header} bytes in a frame of {length}")]
    HeaderLength {
        /// Bytes announced for the header.
        header: usize,
        /// Bytes announced for the frame.
        length: usize,
    },
    /// A header longer than allowed.
    #[error("a header of {0} bytes is over the limit of {MAX_HEADER}")]
    HeaderTooLong(usize),
    /// Neither JSON nor ROCKETMQ.
    #[error("unknown header form {0}")]
    Form(u8),
    /// An invalid JSON header.
    #[error("JSON header: {0}")]
    Json(#[from] fastjson::Error),
    /// An invalid binary header.
    #[error("binary header: {0}")]
    Binary(#[from] binary_header::Error),
}

/// Takes the next command off `buffer`; `None` while bytes are missing. The body is a slice of the
/// buffer's memory, not a copy.
///
/// # Errors
/// See [`Error`]; the buffer is then of no further use.
pub fn decode(buffer: &mut BytesMut, limit: usize) -> Result<Option<Command>, Error> {
    let Some(length) = buffer.first_chunk::<4>().map(|word| u32::from_be_bytes(*word) as usize) else {
        return Ok(None);
    };
    if length > limit {
        return Err(foreign(buffer).map_or(Error::TooLong { length, limit }, Error::Foreign));
    }
    let Some((_, [form, a, b, c])) = buffer
        .first_chunk::<PREFIX>()
        .and_then(|prefix| prefix.split_first_chunk::<4>())
        .map(|(length, form)| (length, [form[0], form[1], form[2], form[3]]))
    else {
        return if length < 4 { Err(Error::HeaderLength { header: 0, length }) } else { Ok(None) };
    };
    let header = u32::from_be_bytes([0, a, b, c]) as usize;
    if header + 4 > length {
        return Err(Error::HeaderLength { header, length });
    }
    if header > MAX_HEADER {
        return Err(Error::HeaderTooLong(header));
    }
    if form > 1 {
        return Err(Error::Form(form));
    }
    if buffer.len() < 4 + length {
        // One allocation for a large frame instead of a doubling series; the limit above bounds it.
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(4 + length);
    frame.advance(PREFIX);
    let mut command = match form {
        0 => json_header::decode(&frame[..header])?,
        _ => binary_header::decode(&frame[..header])?,
    };
    frame.advance(header);
    command.body = if frame.is_empty() { Bytes::new() } else { frame.freeze() };
    Ok(Some(command))
}

/// The name of the protocol, for those that often connect by mistake.
fn foreign(first: &[u8]) -> Option<&'static str> {
    match first.first_chunk::<4>()? {
        b"HTTP" => Some(
            "an HTTP server answers there: give the port for RocketMQ's clients, not the one for metrics and probes",
        ),
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"CONN" => {
            Some("an HTTP client talks to this port: metrics and probes are answered at httpPort")
        }
        b"PRI " => Some(
            "a client of HTTP/2 or gRPC talks to this port; it is not served, use a client of the remoting protocol",
        ),
        [0x16, 0x03, ..] => Some("a client talks TLS, which is not served: switch TLS off there"),
        [0x15, 0x03, ..] => Some("a server answers with TLS, which is not spoken here: give its port without TLS"),
        b"SSH-" => Some("an SSH server or client is there: check the port"),
        _ => None,
    }
}

/// A command without its body.
pub(crate) struct Head<'a> {
    pub(crate) code: i32,
    pub(crate) language: Language,
    pub(crate) version: Version,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Option<&'a str>,
    pub(crate) fields: &'a Fields,
}

impl Head<'_> {
    /// Appends prefix and header to `out`; `body` bytes are to follow.
    pub(crate) fn encode(&self, serialization: Serialization, body: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX]);
        match serialization {
            Serialization::Json => json_header::encode(self, out),
            Serialization::Binary => binary_header::encode(self, out),
        }
        let header = out.len() - start - PREFIX;
        let form = u32::from(serialization == Serialization::Binary) << 24;
        out[start..start + 4].copy_from_slice(&((4 + header + body) as u32).to_be_bytes());
        out[start + 4..start + PREFIX].copy_from_slice(&(form | header as u32).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RequestCode, header};
    use proptest::prelude::*;

    /// An HTTP server got the error "a frame of 1213486160 bytes is over the limit".
    #[test]
    fn another_protocol_is_called_by_its_name() {
        let refused = |first: &[u8]| decode(&mut BytesMut::from(first), MAX_FRAME).unwrap_err().to_string();
        for (first, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "an HTTP server answers there"),
            (b"GET / HTTP/1.1\r\n", "an HTTP client talks to this port"),
            (b"POST /x", "an HTTP client talks to this port"),
            (b"PRI * HTTP/2.0", "gRPC"),
            (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], "a client talks TLS"),
            (&[0x15, 0x03, 0x03, 0x00, 0x02], "a server answers with TLS"),
            (&[0x7F, 0xFF, 0xFF, 0xFF], "a frame of 2147483647 bytes is over the limit"),
        ] {
            assert!(refused(first).contains(expected), "{first:?}: {}", refused(first));
        }
    }

    fn commands() -> impl Strategy<Value = Command> {
        let fields = proptest::collection::vec(("[a-zA-Z_]{1,8}", ".{1,24}"), 0..6);
        (any::<i16>(), any::<i32>(), 0..4i32, proptest::option::of(".{1,20}"), fields, any::<Vec<u8>>(), any::<bool>())
            .prop_map(|(code, opaque, flag, remark, fields, body, json)| Command {
                code: i32::from(code),
                language: Language::Go,
                version: 431,
                opaque,
                flag,
                remark,
                fields: fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                body: body.into(),
                serialization: if json { Serialization::Json } else { Serialization::Binary },
            })
    }

    proptest! {
        #[test]
        fn commands_survive_the_wire_in_both_forms(command in commands(), second in commands()) {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            let length = bytes.len();
            second.encode(&mut bytes);
            let mut buffer = BytesMut::from(&bytes[..]);
            prop_assert_eq!(decode(&mut buffer, MAX_FRAME).unwrap().unwrap(), command);
            prop_assert_eq!(decode(&mut buffer, MAX_FRAME).unwrap().unwrap(), second);
            prop_assert!(buffer.is_empty());
            for cut in 0..length {
                prop_assert!(decode(&mut BytesMut::from(&bytes[..cut]), MAX_FRAME).unwrap().is_none());
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in any::<Vec<u8>>(), form in 0..3u8) {
            let mut framed = ((4 + bytes.len()) as u32).to_be_bytes().to_vec();
            framed.extend_from_slice(&((u32::from(form) << 24) | bytes.len() as u32).to_be_bytes());
            framed.extend_from_slice(&bytes);
            let _ = decode(&mut BytesMut::from(&framed[..]), MAX_FRAME);
            let _ = decode(&mut BytesMut::from(&bytes[..]), MAX_FRAME);
        }
    }

    #[test]
    fn frames_that_lie_are_refused() {
        let refuse = |bytes: &[u8]| decode(&mut BytesMut::from(bytes), 1024).unwrap_err();
        assert!(matches!(refuse(&[0, 0, 4, 1]), Error::TooLong { length: 1025, limit: 1024 }));
        assert!(matches!(refuse(&[0, 0, 0, 8, 0, 0, 0, 5]), Error::HeaderLength { header: 5, length: 8 }));
        assert!(matches!(refuse(&[0, 0, 0, 0]), Error::HeaderLength { .. }));
        assert!(matches!(refuse(&[0, 0, 0, 8, 2, 0, 0, 4]), Error::Form(2)));
    }

    #[test]
    fn a_large_frame_reserves_its_room_once() {
        let command = Command::request(RequestCode::HeartBeat, &header::Empty {}).with_body(vec![7; 100_000]);
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        let mut buffer = BytesMut::from(&bytes[..16]);
        assert!(decode(&mut buffer, MAX_FRAME).unwrap().is_none());
        assert!(buffer.capacity() >= bytes.len());
    }

    #[test]
    fn a_header_over_the_limit_is_refused_before_it_comes() {
        let head = |header: u32| {
            let mut bytes = (header + 4).to_be_bytes().to_vec();
            bytes.extend(header.to_be_bytes());
            decode(&mut BytesMut::from(&bytes[..]), MAX_FRAME)
        };
        assert!(matches!(head(MAX_HEADER as u32), Ok(None)));
        assert!(matches!(head(MAX_HEADER as u32 + 1), Err(Error::HeaderTooLong(_))));
    }
}
