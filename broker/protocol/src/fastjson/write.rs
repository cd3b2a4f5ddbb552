//! The writer: serde_json's with fastjson's keys.

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};
use std::io::{self, Write};

/// Writes as fastjson does by default: bare integer keys, object keys, no spaces.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    write(value, Style::compact())
}

/// Writes like fastjson's pretty form, which Java's configuration files have: a tab per level, no
/// space after the colon.
pub fn to_vec_pretty<T: Serialize>(value: &T) -> Vec<u8> {
    write(value, Style { indent: Some(0), ..Style::compact() })
}

fn write<T: Serialize>(value: &T, style: Style) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, style);
    // Writing to memory cannot fail, and no type of the protocol has a key that JSON cannot
    // represent; an incomplete body is refused by its reader.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok(), "a protocol type that JSON cannot hold: {written:?}");
    out
}

/// How a key is being written. The opening quote is held back until it is known whether the key is
/// text (quoted), a number (bare) or an object (raw).
#[derive(Clone, Copy, PartialEq)]
enum Key {
    None,
    Pending,
    Quoted,
    Raw,
}

struct Style {
    key: Key,
    in_key: bool,
    indent: Option<usize>,
    empty: bool,
}

impl Style {
    fn compact() -> Self {
        Self { key: Key::None, in_key: false, indent: None, empty: false }
    }

    fn line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        let Some(depth) = self.indent else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..depth).try_for_each(|_| out.write_all(b"\t"))
    }

    fn open<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.indent = self.indent.map(|depth| depth + 1);
        self.empty = true;
        out.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.indent = self.indent.map(|depth| depth - 1);
        if !self.empty {
            self.line(out)?;
        }
        self.empty = false;
        out.write_all(bracket)
    }

    fn item<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.empty = false;
        self.line(out)
    }
}

impl Formatter for Style {
    fn begin_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.in_key {
            self.key = Key::Pending;
            return Ok(());
        }
        out.write_all(b"\"")
    }

    fn end_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        match std::mem::replace(&mut self.key, Key::None) {
            Key::Pending => out.write_all(b"\"\""),
            Key::Quoted => out.write_all(b"\""),
            Key::Raw => Ok(()),
            // A number as a key, see `write_i64`; or the end of a text that is not a key.
            Key::None if self.in_key => Ok(()),
            Key::None => out.write_all(b"\""),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if self.key == Key::Pending {
            self.key = if fragment.starts_with('{') { Key::Raw } else { Key::Quoted };
            if self.key == Key::Quoted {
                out.write_all(b"\"")?;
            }
        }
        out.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        if self.key == Key::Pending {
            self.key = Key::Quoted;
            out.write_all(b"\"")?;
        }
        let raw = self.key == Key::Raw;
        match escape {
            CharEscape::Quote if raw => out.write_all(b"\""),
            CharEscape::ReverseSolidus if raw => out.write_all(b"\\"),
            CharEscape::Quote => out.write_all(b"\\\""),
            CharEscape::ReverseSolidus => out.write_all(b"\\\\"),
            CharEscape::Solidus => out.write_all(b"/"),
            CharEscape::Backspace => out.write_all(b"\\b"),
            CharEscape::FormFeed => out.write_all(b"\\f"),
            CharEscape::LineFeed => out.write_all(b"\\n"),
            CharEscape::CarriageReturn => out.write_all(b"\\r"),
            CharEscape::Tab => out.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(out, "\\u{byte:04x}"),
        }
    }

    fn write_i32<W: ?Sized + Write>(&mut self, out: &mut W, value: i32) -> io::Result<()> {
        self.write_i64(out, i64::from(value))
    }

    fn write_u32<W: ?Sized + Write>(&mut self, out: &mut W, value: u32) -> io::Result<()> {
        self.write_i64(out, i64::from(value))
    }

    fn write_i64<W: ?Sized + Write>(&mut self, out: &mut W, value: i64) -> io::Result<()> {
        if self.key == Key::Pending {
            self.key = Key::None;
        }
        out.write_all(itoa::Buffer::new().format(value).as_bytes())
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(out, first)?;
        self.in_key = true;
        Ok(())
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _out: &mut W) -> io::Result<()> {
        self.in_key = false;
        self.key = Key::None;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(out, first)
    }
}

/// Passes `text` on as the pieces of a JSON string: quotes, backslashes and control characters are
/// escaped.
pub(crate) fn quote(text: &str, mut push: impl FnMut(&str)) {
    const DIGITS: &str = "0123456789abcdef";
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    push("\"");
    // A scan of all bytes is cheaper than one that stops at the first match, as it is vectorised.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        push(text);
        push("\"");
        return;
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if is_plain(byte) {
            continue;
        }
        push(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => push("\\\""),
            b'\\' => push("\\\\"),
            b'\n' => push("\\n"),
            b'\r' => push("\\r"),
            b'\t' => push("\\t"),
            control => {
                push("\\u00");
                for digit in [control >> 4, control & 15].map(usize::from) {
                    push(&DIGITS[digit..=digit]);
                }
            }
        }
    }
    push(&text[plain..]);
    push("\"");
}
