//! The body of a batch send: messages of one topic and one queue, one after another.
//!
//! ```text
//! at  bytes
//!  0      4  size of this entry, itself included
//!  4      4  magic, 0
//!  8      4  body CRC, 0: the broker computes its own
//! 12      4  flag
//! 16      4  body length, then the body
//!         2  length of the property string, then the string
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::{Error, Message, properties};

const HEAD: usize = 20;

/// One message of a batch, borrowed from the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The application's flag.
    pub flag: i32,
    /// The payload.
    pub body: &'a [u8],
    /// Its property string.
    pub properties: &'a [u8],
}

/// The body for these messages, without their topics. Fails if a message exceeds its length fields.
pub fn encode<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Result<Bytes, Error> {
    let mut out = BytesMut::new();
    for message in messages {
        let properties = message.properties.encode()?;
        let size = HEAD + message.body.len() + 2 + properties.len();
        let fits = i32::try_from(size).is_ok();
        if !fits {
            return Err(Error::TooLong { what: "batch entry", len: size, max: i32::MAX as usize });
        }
        out.reserve(size);
        out.put_i32(size as i32);
        out.put_i32(0);
        out.put_i32(0);
        out.put_i32(message.flag);
        out.put_i32(message.body.len() as i32);
        out.put_slice(&message.body);
        out.put_i16(properties.len() as i16);
        out.put_slice(properties.as_bytes());
    }
    Ok(out.freeze())
}

/// The messages in a batch body, in order. After an error there is nothing more.
pub fn iter(body: &[u8]) -> Iter<'_> {
    Iter { rest: body }
}

/// Iterator over a batch body; see [`iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = entry(self.rest);
        self.rest = read.as_ref().map_or(&[], |(_, rest)| rest);
        Some(read.map(|(entry, _)| entry))
    }
}

fn entry(bytes: &[u8]) -> Result<(Entry<'_>, &[u8]), Error> {
    let short = |need| Error::Short { what: "batch entry", need, have: bytes.len() };
    let (head, _) = bytes.split_first_chunk::<HEAD>().ok_or_else(|| short(HEAD))?;
    let int = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (said, flag, body_len) = (int(0), int(12), int(16));
    let size = usize::try_from(said).map_err(|_| Error::Value { what: "batch entry size", value: said.into() })?;
    let whole = bytes.get(..size).ok_or_else(|| short(size))?;
    let found = |found: usize| Error::Length { what: "batch entry", said: said.into(), found: found as i64 };

    let body_len =
        usize::try_from(body_len).map_err(|_| Error::Value { what: "batch body length", value: body_len.into() })?;
    let after_body = HEAD.checked_add(body_len).ok_or_else(|| found(usize::MAX))?;
    let body = whole.get(HEAD..after_body).ok_or_else(|| found(after_body))?;
    let (len, properties) = whole[after_body..].split_first_chunk::<2>().ok_or_else(|| found(after_body + 2))?;
    let len = usize::from(u16::from_be_bytes(*len));
    if len > properties::MAX_LEN {
        return Err(Error::Value { what: "batch properties length", value: len as i64 });
    }
    if properties.len() != len {
        return Err(found(after_body + 2 + len));
    }
    Ok((Entry { flag, body, properties }, &bytes[size..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(flag: i32, body: &[u8], tag: &str) -> Message {
        let mut message = Message { flag, ..Message::new("T", body.to_vec()) };
        message.properties.set(properties::TAGS, tag);
        message
    }

    #[test]
    fn the_bytes_are_those_of_java() {
        let body = encode([&message(7, b"hi", "A")]).unwrap();
        #[rustfmt::skip]
        assert_eq!(&body[..], [
            0, 0, 0, 31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, b'h', b'i',
            0, 7, b'T', b'A', b'G', b'S', 1, b'A', 2,
        ]);
    }

    #[test]
    fn every_cut_is_an_error_or_the_end_of_an_entry() {
        let body = encode([&message(1, b"one", "A"), &message(2, b"", "B")]).unwrap();
        let first = i32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
        for end in 0..body.len() {
            let entries: Vec<_> = iter(&body[..end]).collect();
            let whole = end == 0 || end == first;
            assert_eq!(entries.iter().all(Result::is_ok), whole, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn batches_come_back(parts in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..50), "[a-z]{0,9}"), 0..9)) {
            let messages: Vec<_> = parts.iter().map(|(flag, body, tag)| message(*flag, body, tag)).collect();
            let body = encode(&messages).unwrap();
            let entries: Vec<_> = iter(&body).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(entries.len(), messages.len());
            for (entry, message) in entries.iter().zip(&messages) {
                prop_assert_eq!(entry.flag, message.flag);
                prop_assert_eq!(entry.body, &message.body[..]);
                prop_assert_eq!(&properties::Properties::parse(entry.properties), &message.properties);
            }
        }

        #[test]
        fn no_bytes_can_hurt(body in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(iter(&body).count() <= body.len());
        }
    }
}
