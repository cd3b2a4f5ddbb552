//! The words of an expression.
//!
//! Java's rules: the longest word counts. Keywords may be in any case, names are kept as written.
//! Between words there may be white space, `/* comments */`, and comments from `--` to the end of
//! their line; a `--` on a last line that does not end is two signs.

use super::{ParseError, Refused};

/// The kind of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    /// An integer, perhaps with an `L`.
    Integer,
    /// A number with a point or an exponent.
    Fraction,
    /// A string with its quotes.
    Text,
    Name,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    /// The end of the expression.
    End,
}

const KEYWORDS: [(&str, Kind); 12] = [
    ("NOT", Kind::Not),
    ("AND", Kind::And),
    ("OR", Kind::Or),
    ("BETWEEN", Kind::Between),
    ("IN", Kind::In),
    ("TRUE", Kind::True),
    ("FALSE", Kind::False),
    ("NULL", Kind::Null),
    ("IS", Kind::Is),
    ("CONTAINS", Kind::Contains),
    ("STARTSWITH", Kind::StartsWith),
    ("ENDSWITH", Kind::EndsWith),
];

/// A word and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// The offset of its first byte in the expression.
    pub(super) at: usize,
}

/// Reads words one after another.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next word; [`Kind::End`] at the end, as often as it is asked for.
    pub(super) fn next(&mut self) -> Result<Word<'t>, Refused> {
        self.skip();
        let (at, rest) = (self.at, &self.text.as_bytes()[self.at..]);
        let (kind, len) = match rest {
            [] => (Kind::End, 0),
            [b'<', b'>', ..] => (Kind::NotEqual, 2),
            [b'<', b'=', ..] => (Kind::LessOrEqual, 2),
            [b'>', b'=', ..] => (Kind::GreaterOrEqual, 2),
            [b'<', ..] => (Kind::Less, 1),
            [b'>', ..] => (Kind::Greater, 1),
            [b'=', ..] => (Kind::Equal, 1),
            [b'(', ..] => (Kind::Open, 1),
            [b')', ..] => (Kind::Close, 1),
            [b',', ..] => (Kind::Comma, 1),
            [b'+', ..] => (Kind::Plus, 1),
            [b'-', ..] => (Kind::Minus, 1),
            [b'\'', ..] => (Kind::Text, self.string_len(rest)?),
            [b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$', ..] => name(&self.text[at..]),
            _ => number(rest).ok_or_else(|| self.unknown(at))?,
        };
        self.at = at + len;
        Ok(Word { kind, text: &self.text[at..at + len], at })
    }

    /// Passes over white space and comments.
    fn skip(&mut self) {
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let len = match rest {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0C, ..] => 1,
                [b'-', b'-', line @ ..] => match memchr::memchr2(b'\n', b'\r', line) {
                    Some(len) => 2 + len + 1,
                    None => return,
                },
                [b'/', b'*', comment @ ..] => match memchr::memmem::find(comment, b"*/") {
                    Some(len) => 2 + len + 2,
                    None => return,
                },
                _ => return,
            };
            self.at += len;
        }
    }

    /// The length of a string with its quotes; `rest` begins with the first one. A quote inside is
    /// doubled.
    fn string_len(&self, rest: &[u8]) -> Result<usize, Refused> {
        let mut at = 1;
        while let Some(quote) = memchr::memchr(b'\'', &rest[at..]) {
            at += quote + 1;
            if rest.get(at) != Some(&b'\'') {
                return Ok(at);
            }
            at += 1;
        }
        Err(self.error(self.at, "the string that begins here has no closing quote"))
    }

    fn unknown(&self, at: usize) -> Refused {
        let letter = self.text[at..].chars().next().unwrap_or_default();
        let problem = match letter {
            '/' => "the comment that begins here does not end with */".to_owned(),
            '.' => "a point that belongs to no number".to_owned(),
            '!' => "there is no operator with '!': write <> for unequal, NOT to negate".to_owned(),
            '"' => "strings stand in single quotes".to_owned(),
            letter => format!("{letter:?} cannot stand outside of a string"),
        };
        self.error(at, problem)
    }

    pub(super) fn error(&self, at: usize, problem: impl Into<String>) -> Refused {
        Refused::new(ParseError::new(column(self.text, at), problem))
    }
}

/// The column of a byte, counted in characters from 1.
pub(super) fn column(text: &str, at: usize) -> usize {
    text.get(..at).map_or(0, |before| before.chars().count()) + 1
}

/// A name or a keyword.
fn name(rest: &str) -> (Kind, usize) {
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let len = rest.bytes().take_while(belongs).count();
    let word = &rest[..len];
    let keyword = KEYWORDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(word));
    (keyword.map_or(Kind::Name, |(_, kind)| *kind), len)
}

/// A number; `None` if there is none.
fn number(rest: &[u8]) -> Option<(Kind, usize)> {
    let whole = digits(rest);
    let point = rest.get(whole) == Some(&b'.');
    let fraction = if point { digits(&rest[whole + 1..]) } else { 0 };
    if whole + fraction == 0 {
        return None;
    }
    let end = whole + usize::from(point) + fraction;
    let exponent = exponent(&rest[end..]);
    if point || exponent > 0 {
        return Some((Kind::Fraction, end + exponent));
    }
    // No integer begins with a zero, so the zero is a word of its own.
    let whole = if rest[0] == b'0' { return Some((Kind::Integer, 1)) } else { whole };
    let long = matches!(rest.get(whole), Some(b'l' | b'L'));
    Some((Kind::Integer, whole + usize::from(long)))
}

fn digits(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn exponent(rest: &[u8]) -> usize {
    let sign = match rest {
        [b'e' | b'E', b'+' | b'-', ..] => 2,
        [b'e' | b'E', ..] => 1,
        _ => return 0,
    };
    match digits(&rest[sign..]) {
        0 => 0,
        digits => sign + digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(Kind, &str)> {
        let mut lexer = Lexer::new(text);
        let mut words = Vec::new();
        loop {
            let word = lexer.next().unwrap();
            if word.kind == Kind::End {
                return words;
            }
            words.push((word.kind, word.text));
        }
    }

    #[test]
    fn the_longest_word_counts() {
        use Kind::*;
        assert_eq!(words("a<=1L"), [(Name, "a"), (LessOrEqual, "<="), (Integer, "1L")]);
        assert_eq!(words("0123 0L"), [(Integer, "0"), (Integer, "123"), (Integer, "0"), (Name, "L")]);
        assert_eq!(
            words("00.5 1e3 1e 5.E1 .5"),
            [(Fraction, "00.5"), (Fraction, "1e3"), (Integer, "1"), (Name, "e"), (Fraction, "5.E1"), (Fraction, ".5")]
        );
        assert_eq!(words("iN inn 'it''s' ''"), [(In, "iN"), (Name, "inn"), (Text, "'it''s'"), (Text, "''")]);
    }

    #[test]
    fn comments_are_passed_over_if_they_end() {
        use Kind::*;
        assert_eq!(words("a /*b*/-- c\r\n/***/d"), [(Name, "a"), (Name, "d")]);
        assert_eq!(words("a --b"), [(Name, "a"), (Minus, "-"), (Minus, "-"), (Name, "b")]);
        let mut lexer = Lexer::new("/* a");
        assert_eq!(lexer.next().unwrap_err().column, 1);
    }
}
