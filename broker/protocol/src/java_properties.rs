//! Java's properties text: the form of `broker.conf` and `namesrv.conf`, and the body of requests
//! 25, 26, 318 and 319.
//!
//! ```text
//! # a comment, as is a line that starts with !
//! brokerName = broker-a          '=', ':' or blanks separate key and value
//! namesrvAddr: 10.0.0.1:9876;\   a backslash at the end: the line goes on,
//!              10.0.0.2:9876     without the blanks that the next one begins with
//! greeting gr\u00fc\u00df dich   \uXXXX, \t, \n, \r, \f; another character is plain
//! ```
//!
//! Two deviations: Java keeps blanks at the end of a value, and then cannot parse `9876 ` as a
//! number. No setting needs them, so they are dropped unless written as escapes. A byte order mark,
//! which editors put before UTF-8, is not part of the first key.

use std::{iter::Peekable, str::Chars};

/// The pairs in the order of the text; a key that is written twice is there twice.
pub fn parse(text: &str) -> Vec<(String, String)> {
    logical_lines(text).iter().map(|(_, line)| pair(line)).collect()
}

/// A pair and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line it begins on; the first is 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// As [`parse`], with the lines.
pub fn entries(text: &str) -> Vec<Entry> {
    let entry = |(line, content): (usize, String)| {
        let (key, value) = pair(&content);
        Entry { line, key, value }
    };
    logical_lines(text).into_iter().map(entry).collect()
}

/// A finding about one of the pairs: an error, or a warning for its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// The number of the pair, from 0; none if it is about a default.
    pub pair: Option<usize>,
    /// What was found.
    pub what: T,
}

/// The text of a file. Java reads ISO-8859-1, so a comment may have any bytes; a key or a value has
/// to be UTF-8, because its letters would be guessed otherwise. Also returns the lines, from 1,
/// that are not UTF-8.
pub fn decode(bytes: &[u8]) -> (String, Vec<usize>) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (text.to_owned(), Vec::new());
    }
    let (mut text, mut wrong, mut continues) = (String::new(), Vec::new(), false);
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let content = line.trim_ascii();
        let comment = !continues && content.first().is_some_and(|first| matches!(first, b'#' | b'!'));
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => {
                text.extend(line.iter().map(|byte| char::from(*byte)));
                if !comment {
                    wrong.push(number);
                }
            }
        }
        let end = line.trim_ascii_end().len();
        let backslashes = line[..end].iter().rev().take_while(|byte| **byte == b'\\').count();
        continues = !comment && backslashes % 2 == 1;
    }
    (text, wrong)
}

/// `key=value` lines in the given order. Characters that [`parse`] would read as something else are
/// escaped, so that no value can inject another key; everything else is written as it is, as Java's
/// tools do.
pub fn to_text<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        escape(key, |c| matches!(c, '=' | ':' | ' ' | '#' | '!'), &mut text);
        text.push('=');
        let inner = value.trim_matches(' ');
        let start = value.find(|c| c != ' ').unwrap_or(value.len());
        text.push_str(&"\\ ".repeat(start));
        escape(inner, |_| false, &mut text);
        text.push_str(&"\\ ".repeat(value.len() - start - inner.len()));
        text.push('\n');
    }
    text
}

/// The longest unknown word, in bytes, that is compared with known ones.
const LONGEST: usize = 200;

/// The known word that `unknown` is probably a misspelling of: ignoring case, at most a third of
/// its letters are wrong, missing, extra or swapped with their neighbour. The nearest word is
/// chosen, and the first of equally near ones. A word that is much longer than any key is not a
/// misspelling; the cost of a comparison grows with its length.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > LONGEST {
        return None;
    }
    let letters: Vec<char> = unknown.chars().flat_map(char::to_lowercase).collect();
    let limit = (letters.len() / 3).max(1);
    known
        .map(|word| (distance(&letters, &word.chars().flat_map(char::to_lowercase).collect::<Vec<_>>()), word))
        .filter(|(distance, word)| *distance <= limit && *distance < word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Lines with their continuations, without blank ones and comments, and without the blanks they
/// begin with. Escapes are still in them. Each with the number of its line, from 1.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let natural = (1..)
        .zip(text.split('\n'))
        .flat_map(|(number, line)| line.strip_suffix('\r').unwrap_or(line).split('\r').map(move |line| (number, line)));
    for (number, line) in natural {
        let line = line.trim_start_matches(is_blank);
        if !continues && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let continued = line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        let content = if continued { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, last)) if continues => last.push_str(content),
            _ => lines.push((number, content.to_owned())),
        }
        continues = continued;
    }
    // The rest of a lone backslash at the end of the text, or before a blank line.
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

fn pair(line: &str) -> (String, String) {
    let mut letters = line.chars().peekable();
    let mut key = String::new();
    while let Some(letter) = letters.next_if(|c| !is_blank(*c) && !matches!(c, '=' | ':')) {
        push_unescaped(letter, &mut letters, &mut key);
    }
    skip_blanks(&mut letters);
    if letters.next_if(|c| matches!(c, '=' | ':')).is_some() {
        skip_blanks(&mut letters);
    }
    let mut value = String::new();
    // Where the value ends if only plain blanks follow.
    let mut end = 0;
    while let Some(letter) = letters.next() {
        push_unescaped(letter, &mut letters, &mut value);
        if !is_blank(letter) {
            end = value.len();
        }
    }
    value.truncate(end);
    (key, value)
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\u{c}')
}

fn skip_blanks(letters: &mut Peekable<Chars<'_>>) {
    while letters.next_if(|c| is_blank(*c)).is_some() {}
}

/// Appends `letter`, or what the escape that it begins stands for.
fn push_unescaped(letter: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    if letter != '\\' {
        out.push(letter);
        return;
    }
    match rest.next() {
        Some('t') => out.push('\t'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('f') => out.push('\u{c}'),
        Some('u') => out.push(unicode(rest)),
        Some(other) => out.push(other),
        None => {}
    }
}

/// The character of `\uXXXX`, or of two of them that are a surrogate pair. Java refuses the whole
/// text because of bad digits; here they become one U+FFFD.
fn unicode(rest: &mut Peekable<Chars<'_>>) -> char {
    let first = digits(rest);
    if let Some(high @ 0xD800..0xDC00) = first {
        let mut ahead = rest.clone();
        if ahead.next() == Some('\\')
            && ahead.next() == Some('u')
            && let Some(low @ 0xDC00..0xE000) = digits(&mut ahead)
        {
            *rest = ahead;
            return char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
                .unwrap_or(char::REPLACEMENT_CHARACTER);
        }
    }
    first.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn digits(rest: &mut Peekable<Chars<'_>>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| {
        let digit = rest.next_if(char::is_ascii_hexdigit)?.to_digit(16)?;
        Some(value * 16 + digit)
    })
}

fn escape(part: &str, special: impl Fn(char) -> bool, out: &mut String) {
    for letter in part.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            letter => {
                if special(letter) {
                    out.push('\\');
                }
                out.push(letter);
            }
        }
    }
}

/// Edit distance: a letter inserted, deleted, replaced, or swapped with the next.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(left != right)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text)
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    /// An editor's byte order mark made a setting unknown that looked correct in every message.
    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_key() {
        assert_eq!(parse("\u{feff}brokerName=a"), [("brokerName".to_owned(), "a".to_owned())]);
        assert_eq!(parse("\u{feff}# a comment"), []);
        assert_eq!(parse("a=\u{feff}"), [("a".to_owned(), "\u{feff}".to_owned())]);
    }

    #[test]
    fn entries_know_the_lines_they_begin_on() {
        let lines: Vec<_> =
            entries("# c\n\na=1,\\\n  2\r\nb=3\n : = \n").into_iter().map(|entry| (entry.line, entry.key)).collect();
        assert_eq!(lines, [(3, "a".to_owned()), (5, "b".to_owned()), (6, String::new())]);
    }

    /// One Latin-1 letter in a comment made a file unreadable that Java reads.
    #[test]
    fn a_comment_may_have_any_bytes_and_a_value_only_utf_8() {
        let (text, wrong) = decode(b"# gr\xfc\xdfe\na=1\n!\xff\\\nb=\xe4\nc=\\\n  #\xe4\n");
        assert_eq!(wrong, [4, 6], "a line that goes on is no comment");
        assert_eq!(parse(&text)[0], ("a".to_owned(), "1".to_owned()));
        assert_eq!(decode("# ü\na=ü".as_bytes()), ("# ü\na=ü".to_owned(), Vec::new()));
    }

    #[test]
    fn separators_comments_and_blank_lines() {
        let text = "# c\n  ! c\n\na=1\n b : 2\r\nc 3\nd\t=\t4 \ne\nf==x\ng=a b # no comment\n=v\na=5";
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "4"),
            ("e", ""),
            ("f", "=x"),
            ("g", "a b # no comment"),
            ("", "v"),
            ("a", "5"),
        ];
        assert_eq!(parsed(text), pairs(expected));
    }

    #[test]
    fn a_line_goes_on_after_an_odd_number_of_backslashes() {
        assert_eq!(parsed("a=1,\\\n   2,\\\r\n\t#3\nb=\\\\\nc=x"), pairs([("a", "1,2,#3"), ("b", "\\"), ("c", "x")]));
        assert_eq!(parsed("a=1,\\\n   2"), pairs([("a", "1,2")]));
        assert_eq!(parsed("# no \\\na=1"), pairs([("a", "1")]));
        assert_eq!(parsed("a=1\\"), pairs([("a", "1")]));
        assert_eq!(parsed("\\\n\na=1"), pairs([("a", "1")]));
    }

    #[test]
    fn escapes_are_read() {
        assert_eq!(parsed(r"k\=\:\ x=\t\n\q\u00e4\ud83d\ude00\  "), pairs([("k=: x", "\t\nq\u{e4}\u{1F600} ")]));
        assert_eq!(parsed(r"a=\u00g1\ud800x"), pairs([("a", "\u{FFFD}g1\u{FFFD}x")]));
    }

    #[test]
    fn a_value_cannot_smuggle_in_a_key() {
        let text = to_text([("a", "1\nconfigStorePath=/etc"), ("b", " x\\ ")]);
        assert_eq!(text, "a=1\\nconfigStorePath=/etc\nb=\\ x\\\\\\ \n");
        assert_eq!(parsed(&text), pairs([("a", "1\nconfigStorePath=/etc"), ("b", " x\\ ")]));
    }

    #[test]
    fn a_misspelt_key_is_recognised_and_a_strange_one_not() {
        let known = ["listenPort", "brokerName", "brokerId", "flushDiskType"];
        assert_eq!(nearest("flushdisktype", known.into_iter()), Some("flushDiskType"));
        assert_eq!(nearest("litsenPort", known.into_iter()), Some("listenPort"));
        assert_eq!(nearest("brokerNam", known.into_iter()), Some("brokerName"));
        assert_eq!(nearest("maxMemory", known.into_iter()), None);
        assert_eq!(nearest("", ["a"].into_iter()), None);
        let long = "a".repeat(LONGEST + 1);
        assert_eq!(nearest(&long, [long.as_str()].into_iter()), None, "it would take long to compare");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entries in proptest::collection::vec(("\\PC{1,8}", "[ -~\n\r\t\u{c}\u{e4}\u{1F600}]{0,12}"), 0..5)) {
            let text = to_text(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            prop_assert_eq!(parse(&text), entries);
        }

        #[test]
        fn any_text_is_read(text in "[a=: \\\\#!u0\n\r\t]{0,40}") {
            let _ = parse(&text);
        }
    }
}
