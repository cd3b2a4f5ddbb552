//! The ROCKETMQ binary form of a header.
//!
//! ```text
//! short code | byte language | short version | int opaque | int flag | int length, remark | int length, fields
//! fields: as often as fit: short length, name | int length, value
//! ```
//! Empty texts are absent ones: an empty remark decodes to none. A field with an empty value is
//! kept, empty, because its name was sent. Codes are signed shorts, so 200,050 would arrive as
//! 3,442: commands with such codes must use JSON.

use crate::{Command, Fields, Serialization, frame::Head, language::Language};
use bytes::{Buf, BufMut, Bytes};

/// Why the bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends within a value, or a length is negative.
    #[error("ends within a value")]
    Short,
    /// A text is not UTF-8.
    #[error("text is not UTF-8")]
    Text,
}

impl From<bytes::TryGetError> for Error {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Short
    }
}

pub(crate) fn decode(mut header: &[u8]) -> Result<Command, Error> {
    let header = &mut header;
    let code = i32::from(header.try_get_i16()?);
    let language = Language::from_number(header.try_get_u8()?);
    let version = i32::from(header.try_get_i16()?);
    let opaque = header.try_get_i32()?;
    let flag = header.try_get_i32()?;
    let length = header.try_get_i32()?;
    let remark = text(header, length)?;
    let length = header.try_get_i32()?;
    let mut rest = slice(header, length)?;
    let mut fields = Fields::with_capacity(if rest.is_empty() { 0 } else { 16 }, rest.len());
    while !rest.is_empty() {
        let length = i32::from(rest.try_get_i16()?);
        let name = text(&mut rest, length)?;
        let length = rest.try_get_i32()?;
        fields.push(name, text(&mut rest, length)?);
    }
    Ok(Command {
        code,
        language,
        version,
        opaque,
        flag,
        remark: (!remark.is_empty()).then(|| remark.to_owned()),
        fields,
        body: Bytes::new(),
        serialization: Serialization::Binary,
    })
}

fn slice<'a>(from: &mut &'a [u8], length: i32) -> Result<&'a [u8], Error> {
    let length = usize::try_from(length).map_err(|_| Error::Short)?;
    let (taken, rest) = from.split_at_checked(length).ok_or(Error::Short)?;
    *from = rest;
    Ok(taken)
}

fn text<'a>(from: &mut &'a [u8], length: i32) -> Result<&'a str, Error> {
    std::str::from_utf8(slice(from, length)?).map_err(|_| Error::Text)
}

pub(crate) fn encode(head: &Head<'_>, out: &mut Vec<u8>) {
    out.put_i16(head.code as i16);
    out.put_u8(head.language.number());
    out.put_i16(head.version as i16);
    out.put_i32(head.opaque);
    out.put_i32(head.flag);
    let remark = head.remark.unwrap_or_default();
    out.put_i32(remark.len() as i32);
    out.put_slice(remark.as_bytes());
    out.put_i32(head.fields.iter().map(|(name, value)| (6 + name.len() + value.len()) as i32).sum());
    for (name, value) in head.fields.iter() {
        out.put_i16(name.len() as i16);
        out.put_slice(name.as_bytes());
        out.put_i32(value.len() as i32);
        out.put_slice(value.as_bytes());
    }
}
