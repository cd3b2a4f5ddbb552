//! A command: one request or response, and the response that a handler builds.

use crate::{Fields, RequestCode, ResponseCode, frame, header::Header, language::Language, version};
use bytes::Bytes;

/// The size limit of a refusal's text, in bytes.
const LONGEST_REMARK: usize = 2000;

/// The form of a command's header. A response uses the form of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Serialization {
    /// fastjson text.
    #[default]
    Json,
    /// RocketMQ's own binary form. Its code is 16 bits wide, so codes above 32,767 (POP) cannot
    /// travel in it.
    Binary,
}

/// Set in `flag` of a response.
const RESPONSE: i32 = 1;
/// Set in `flag` of a request that must not get a response.
const ONE_WAY: i32 = 2;

/// One request or response as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Request code, or response code if [`Command::is_response`].
    pub code: i32,
    /// The language of the sender.
    pub language: Language,
    /// The release of the sender, see [`version`].
    pub version: version::Version,
    /// The sender's number for a request; the response carries the same. Each side counts its own.
    pub opaque: i32,
    /// Bit 0: this is a response; bit 1: the request is one-way.
    pub flag: i32,
    /// Text for an operator, usually why something failed.
    pub remark: Option<String>,
    /// The named fields.
    pub fields: Fields,
    /// What follows the header.
    pub body: Bytes,
    /// The form of the header.
    pub serialization: Serialization,
}

impl Command {
    /// A request with the fields of `header`. The connection that sends it sets the opaque.
    pub fn request<'a>(code: RequestCode, header: &impl Header<'a>) -> Self {
        let mut fields = Fields::with_capacity(16, 256);
        header.encode(&mut fields);
        Self {
            code: code.number(),
            language: Language::Rust,
            version: version::CURRENT,
            opaque: 0,
            flag: 0,
            remark: None,
            fields,
            body: Bytes::new(),
            serialization: Serialization::Json,
        }
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same as a request without a response.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.flag |= ONE_WAY;
        self
    }

    /// True for a response.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE != 0
    }

    /// True for a request that must not get a response.
    pub fn is_one_way(&self) -> bool {
        self.flag & ONE_WAY != 0
    }

    /// Bytes of its text and body.
    pub fn bytes(&self) -> usize {
        self.fields.text_len() + self.remark.as_ref().map_or(0, String::len) + self.body.len()
    }

    /// Copies the body to memory of its own. The body of a received command is a slice of its
    /// connection's buffer and keeps all of it alive; for a command that waits that may be much
    /// more than the body.
    pub fn detach_body(&mut self) {
        self.body = Bytes::copy_from_slice(&self.body);
    }

    /// The values that a response must repeat from this request.
    pub fn origin(&self) -> Origin {
        Origin { opaque: self.opaque, serialization: self.serialization }
    }

    /// Appends the whole frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        out.extend_from_slice(&self.body);
    }

    /// Appends everything of the frame but the body to `out`.
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        let head = frame::Head {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark: self.remark.as_deref(),
            fields: &self.fields,
        };
        head.encode(self.serialization, self.body.len(), out);
    }
}

/// The values that a response takes over from its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The request's number.
    pub opaque: i32,
    /// The request's header form.
    pub serialization: Serialization,
}

/// The body of a response: one piece, or slices of files that are sent without a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// One piece, possibly empty.
    Whole(Bytes),
    /// Pieces that follow each other.
    Parts(Vec<Bytes>),
}

impl Body {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Parts(parts) => parts.iter().map(Bytes::len).sum(),
        }
    }

    /// True without a byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order.
    pub fn parts(&self) -> &[Bytes] {
        match self {
            Self::Whole(bytes) => std::slice::from_ref(bytes),
            Self::Parts(parts) => parts,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

/// A response as built by a handler; the connection adds the values from the request.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The response code.
    pub code: ResponseCode,
    /// Text for an operator.
    pub remark: Option<String>,
    /// The named fields.
    pub fields: Fields,
    /// What follows the header.
    pub body: Body,
}

impl Reply {
    /// Success without any fields.
    pub fn ok() -> Self {
        Self::default()
    }

    /// Success with the fields of `header`.
    pub fn with<'a>(header: &impl Header<'a>) -> Self {
        Self::of(ResponseCode::Success, header)
    }

    /// `code` with the fields of `header`.
    pub fn of<'a>(code: ResponseCode, header: &impl Header<'a>) -> Self {
        let mut fields = Fields::with_capacity(8, 192);
        header.encode(&mut fields);
        Self { code, fields, ..Self::default() }
    }

    /// Success with a body.
    pub fn body(body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// A refusal with a text. A text that repeats much of a request is shortened in the middle: a
    /// header has room for 16 MiB, but a reader does not.
    pub fn refuse(code: ResponseCode, remark: impl Into<String>) -> Self {
        let mut remark = remark.into();
        if remark.len() > LONGEST_REMARK {
            let (head, tail) = (remark.floor_char_boundary(LONGEST_REMARK / 2), remark.len() - LONGEST_REMARK / 4);
            let tail = remark.ceil_char_boundary(tail);
            remark.replace_range(head..tail, " [...] ");
        }
        Self { code, remark: Some(remark), ..Self::default() }
    }

    /// The same with a remark.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Appends everything of the frame but the body to `out`.
    pub fn encode_head(&self, origin: Origin, out: &mut Vec<u8>) {
        let head = frame::Head {
            code: self.code.number(),
            language: Language::Rust,
            version: version::CURRENT,
            opaque: origin.opaque,
            flag: RESPONSE,
            remark: self.remark.as_deref(),
            fields: &self.fields,
        };
        head.encode(origin.serialization, self.body.len(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A remark that repeated a field of some MiB did not fit the length of a header, and the peer
    /// could not read what followed.
    #[test]
    fn a_refusal_that_repeats_a_large_request_keeps_its_beginning_and_its_end() {
        let key = "\u{1F980}".repeat(5 << 20);
        let remark = Reply::refuse(ResponseCode::SystemError, format!("the key {key} is unknown")).remark;
        let remark = remark.unwrap_or_default();
        assert!(remark.len() < LONGEST_REMARK, "{} bytes", remark.len());
        assert!(remark.starts_with("the key \u{1F980}") && remark.ends_with("\u{1F980} is unknown"), "{remark}");
    }
}
