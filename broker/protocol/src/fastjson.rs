//! JSON as Java's fastjson writes and reads it.
//!
//! fastjson writes integer map keys bare (`{0:"a:1"}`) and objects as map keys
//! (`{{"queueId":0}:1}`); neither is JSON, and both are what Java's admin tools and older clients
//! expect. So there are two writers, [`to_vec`] with these deviations and serde_json's own for
//! standard JSON, and one reader, [`from_slice`], that accepts both and more: single quotes, bare
//! names, trailing commas.
//!
//! An object as a key is held in Rust as the text of that object: a map key that starts with `{` is
//! written raw, and read back as text. No topic, group or broker name can start so.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::ser::{CharEscape, Formatter};
use std::{
    borrow::Cow,
    io::{self, Write},
};

/// Deeper nesting is refused: no body of the protocol comes near this depth, and the recursion must
/// be bounded.
const MAX_DEPTH: usize = 64;

/// The text is not JSON, even by the lenient rules, or has another structure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No JSON.
    #[error("malformed JSON at byte {at}: {what}")]
    Malformed {
        /// The position.
        at: usize,
        /// The fault there.
        what: &'static str,
    },
    /// JSON of another structure.
    #[error("unexpected JSON: {}", without_types(_0))]
    Shape(#[from] serde_json::Error),
}

/// serde names the Rust type that it expected; for the author of the JSON that is an object.
fn without_types(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let Some((before, after)) = words.split_once("expected struct ") else { return words };
    let rest = after.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
    format!("{before}expected an object{rest}")
}

/// Reads standard JSON, or what fastjson writes in its place.
///
/// # Errors
/// [`Error::Malformed`] if the text is not JSON even by the lenient rules; [`Error::Shape`] if it
/// is not a `T`.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    match serde_json::from_slice(json) {
        Ok(value) => Ok(value),
        Err(standard) if standard.is_data() => Err(standard.into()),
        Err(_) => Ok(serde_json::from_str(&to_standard(json)?)?),
    }
}

/// For `deserialize_with`: integers, each as a number or, as fastjson takes it too, as text.
pub(crate) fn integers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Integer<'a> {
        Number(i32),
        Text(#[serde(borrow)] Cow<'a, str>),
    }
    let integers = Option::<Vec<Integer<'de>>>::deserialize(deserializer)?.unwrap_or_default();
    let number = |integer| match integer {
        Integer::Number(number) => Ok(number),
        Integer::Text(text) => {
            text.parse().map_err(|_| serde::de::Error::custom(format_args!("{text:?} is no integer")))
        }
    };
    integers.into_iter().map(number).collect()
}

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

/// Rewrites lenient JSON as standard JSON: bare and single-quoted names are quoted, an object as a
/// key becomes its text, trailing commas go.
///
/// # Errors
/// [`Error::Malformed`] if the lenient rules do not apply.
pub fn to_standard(json: &[u8]) -> Result<String, Error> {
    let mut scanner = Scanner::new(json)?;
    let mut out = String::with_capacity(json.len() + 32);
    scanner.rewrite(&mut out, 0)?;
    scanner.end()?;
    Ok(out)
}

/// A cursor over lenient JSON text.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Inside an object that is a key. Each level of keys in keys would double the quotes of the
    /// level below, so only one level is allowed, as in Java's maps.
    in_key: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(json: &'a [u8]) -> Result<Self, Error> {
        match std::str::from_utf8(json) {
            Ok(text) => Ok(Self { text, at: 0, in_key: false }),
            Err(invalid) => Err(Error::Malformed { at: invalid.valid_up_to(), what: "not UTF-8" }),
        }
    }

    pub(crate) fn fail<T>(&self, what: &'static str) -> Result<T, Error> {
        Err(Error::Malformed { at: self.at, what })
    }

    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while self.at < bytes.len() && bytes[self.at].is_ascii_whitespace() {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    pub(crate) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), Error> {
        if self.take(wanted) { Ok(()) } else { self.fail(what) }
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.peek().is_none() { Ok(()) } else { self.fail("text after the value") }
    }

    /// A number, `true`, `false`, `null` or a bare name, as it stands.
    pub(crate) fn bare(&mut self) -> Result<&'a str, Error> {
        self.peek();
        let rest = &self.text[self.at..];
        let length = rest
            .bytes()
            .position(|b| {
                matches!(b, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b'\'') || b.is_ascii_whitespace()
            })
            .unwrap_or(rest.len());
        if length == 0 {
            return self.fail("a value is missing");
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// A quoted text, unescaped into `out`. The quote may be single or double.
    pub(crate) fn quoted(&mut self, out: &mut String) -> Result<(), Error> {
        let quote = self.opening()?;
        loop {
            let (plain, end) = self.plain(quote)?;
            out.push_str(plain);
            if end == quote {
                return Ok(());
            }
            self.escape(out)?;
        }
    }

    /// A quoted text, copied only if it has escapes.
    pub(crate) fn quoted_text(&mut self) -> Result<Cow<'a, str>, Error> {
        let begun = self.at;
        let quote = self.opening()?;
        let (plain, end) = self.plain(quote)?;
        if end == quote {
            return Ok(Cow::Borrowed(plain));
        }
        self.at = begun;
        let mut text = String::new();
        self.quoted(&mut text)?;
        Ok(Cow::Owned(text))
    }

    fn opening(&mut self) -> Result<u8, Error> {
        let Some(quote @ (b'"' | b'\'')) = self.peek() else { return self.fail("a quote is missing") };
        self.at += 1;
        Ok(quote)
    }

    /// A name and its value in the usual form: in double quotes, without escapes, with nothing
    /// between. Consumes nothing if they have another form.
    pub(crate) fn plain_pair(&mut self) -> Option<(&'a str, &'a str)> {
        let rest = &self.text[self.at..];
        let name = plain_text(rest)?;
        let behind = rest[name.len() + 2..].strip_prefix(':')?;
        let value = plain_text(behind)?;
        self.at += name.len() + value.len() + 5;
        Some((name, value))
    }

    /// Skips the peeked byte.
    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }

    /// The text before the next quote or backslash, and which of the two ended it.
    fn plain(&mut self, quote: u8) -> Result<(&'a str, u8), Error> {
        let rest = &self.text[self.at..];
        let Some(length) = quote_or_backslash(rest.as_bytes(), quote) else {
            return self.fail("the text has no end");
        };
        self.at += length + 1;
        Ok((&rest[..length], rest.as_bytes()[length]))
    }

    fn escape(&mut self, out: &mut String) -> Result<(), Error> {
        let Some(letter) = self.text[self.at..].chars().next() else { return self.fail("the text has no end") };
        self.at += letter.len_utf8();
        out.push(match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' | 'F' => '\u{c}',
            'v' => '\u{b}',
            '0'..='7' => char::from(letter as u8 - b'0'),
            'x' => char::from(self.hexadecimal(2)? as u8),
            'u' => self.unicode()?,
            other => other,
        });
        Ok(())
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<u32, Error> {
        let text = self.text.as_bytes().get(self.at..self.at + digits).unwrap_or_default();
        let value = text.iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?));
        let Some(value) = value.filter(|_| !text.is_empty()) else { return self.fail("a bad escape") };
        self.at += digits;
        Ok(value)
    }

    /// The rest of a `\u` escape. Half a surrogate pair, which Java can write and UTF-8 cannot
    /// represent, becomes U+FFFD.
    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.hexadecimal(4)?;
        if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hexadecimal(4)?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Skips a value of any kind.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<(), Error> {
        self.rewrite(&mut String::new(), depth)
    }

    pub(crate) fn rewrite(&mut self, out: &mut String, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return self.fail("nested too deeply");
        }
        match self.peek() {
            Some(b'{') => self.rewrite_object(out, depth),
            Some(b'[') => self.rewrite_array(out, depth),
            Some(b'"' | b'\'') => {
                let mut text = String::new();
                self.quoted(&mut text)?;
                quote(&text, |piece| out.push_str(piece));
                Ok(())
            }
            Some(_) => {
                out.push_str(self.bare()?);
                Ok(())
            }
            None => self.fail("a value is missing"),
        }
    }

    fn rewrite_object(&mut self, out: &mut String, depth: usize) -> Result<(), Error> {
        self.at += 1;
        out.push('{');
        let mut first = true;
        loop {
            while self.take(b',') {}
            if self.take(b'}') {
                out.push('}');
                return Ok(());
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            let mut key = String::new();
            match self.peek() {
                Some(b'{') if self.in_key => return self.fail("an object as key inside an object that is a key"),
                Some(b'{') => {
                    self.in_key = true;
                    self.rewrite(&mut key, depth + 1)?;
                    self.in_key = false;
                }
                Some(b'"' | b'\'') => self.quoted(&mut key)?,
                _ => key.push_str(self.bare()?),
            }
            quote(&key, |piece| out.push_str(piece));
            self.expect(b':', "a colon is missing")?;
            out.push(':');
            self.rewrite(out, depth + 1)?;
            if !matches!(self.peek(), Some(b',' | b'}')) {
                return self.fail("a comma or closing brace is missing");
            }
        }
    }

    fn rewrite_array(&mut self, out: &mut String, depth: usize) -> Result<(), Error> {
        self.at += 1;
        out.push('[');
        let mut first = true;
        loop {
            while self.take(b',') {}
            if self.take(b']') {
                out.push(']');
                return Ok(());
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            self.rewrite(out, depth + 1)?;
            if !matches!(self.peek(), Some(b',' | b']')) {
                return self.fail("a comma or closing bracket is missing");
            }
        }
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

/// The text in double quotes that begins here, if it has no escapes.
fn plain_text(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('"')?;
    let length = quote_or_backslash(rest.as_bytes(), b'"')?;
    (rest.as_bytes()[length] == b'"').then(|| &rest[..length])
}

fn quote_or_backslash(bytes: &[u8], quote: u8) -> Option<usize> {
    /// Nearly all names and values of headers are shorter, and are found faster byte by byte.
    const SHORT: usize = 16;
    let (short, long) = bytes.split_at(bytes.len().min(SHORT));
    let found = short.iter().position(|byte| *byte == quote || *byte == b'\\');
    found.or_else(|| memchr::memchr2(quote, b'\\', long).map(|at| short.len() + at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn integer_keys_are_bare_and_object_keys_raw() {
        let numbers: BTreeMap<i64, &str> = [(0, "a"), (7, "b\"\u{1}")].into();
        assert_eq!(to_vec(&numbers), br#"{0:"a",7:"b\"\u0001"}"#);
        let objects: BTreeMap<String, i32> = [(r#"{"queueId":0,"topic":"t"}"#.to_owned(), 1)].into();
        assert_eq!(to_vec(&objects), br#"{{"queueId":0,"topic":"t"}:1}"#);
        let texts: BTreeMap<&str, &str> = [("", ""), ("k", "{v}")].into();
        assert_eq!(to_vec(&texts), br#"{"":"","k":"{v}"}"#);
    }

    #[test]
    fn pretty_form_has_tabs_and_no_spaces() {
        let value: BTreeMap<&str, BTreeMap<i32, Vec<i32>>> =
            [("a", [(1, vec![2, 3])].into()), ("b", BTreeMap::new())].into();
        assert_eq!(
            String::from_utf8(to_vec_pretty(&value)).unwrap(),
            "{\n\t\"a\":{\n\t\t1:[\n\t\t\t2,\n\t\t\t3\n\t\t]\n\t},\n\t\"b\":{}\n}"
        );
    }

    #[test]
    fn lenient_text_is_read() {
        let read: BTreeMap<String, i32> = from_slice(br#"{{"queueId":0,'topic':"t"}:1,2:3,bare:4,}"#).unwrap();
        assert_eq!(
            read,
            [(r#"{"queueId":0,"topic":"t"}"#.to_owned(), 1), ("2".to_owned(), 3), ("bare".to_owned(), 4)].into()
        );
        let text: String = from_slice(br"'\u0041\ud83d\ude00\x41\''").unwrap();
        assert_eq!(text, "A\u{1F600}A'");
    }

    #[test]
    fn a_key_in_a_key_in_a_key_does_not_eat_all_memory() {
        for depth in 2..64 {
            let text = format!("{}\"a\":1{}", "{".repeat(depth), "}:1".repeat(depth - 1) + "}");
            assert_eq!(to_standard(text.as_bytes()).is_ok(), depth == 2, "{text}");
            let header = format!("{{\"code\":1,\"unknown\":{text}}}");
            assert_eq!(crate::json_header::decode(header.as_bytes()).is_ok(), depth == 2, "{header}");
        }
    }

    #[test]
    fn bad_text_is_an_error_wherever_it_is_cut() {
        let whole = br#"{"a":[1,{"b":"\u0041\n"}],{"c":1}:'x'}"#;
        assert!(to_standard(whole).is_ok());
        for cut in 0..whole.len() {
            assert!(to_standard(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(to_standard(&[b'['; 200]).is_err());
        assert!(to_standard(b"\xff").is_err());
    }
}
