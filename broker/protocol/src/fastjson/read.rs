//! The reader of lenient text: a scanner that passes over it, or rewrites it as standard JSON.

use super::{Error, quote};
use std::borrow::Cow;

/// Deeper nesting is refused: no body of the protocol comes near this depth, and the recursion must
/// be bounded.
const MAX_DEPTH: usize = 64;

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
