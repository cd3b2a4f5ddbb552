//! The JSON form of a header, as fastjson writes the Java command object:
//! `{"code":0,"extFields":{"a":"1"},"flag":1,"language":"JAVA","opaque":7,"remark":"..","serializeTypeCurrentRPC":"JSON","version":513}`.
//!
//! Written with the keys in Java's (alphabetical) order; absent values are omitted. Keys are read
//! in any order; unknown ones are ignored, and the raw text of a field value that is not a string
//! is used.

use crate::{
    Command, Fields, Serialization,
    fastjson::{Error, Scanner, quote},
    frame::Head,
    language::Language,
};
use bytes::Bytes;
use std::borrow::Cow;

pub(crate) fn decode(header: &[u8]) -> Result<Command, Error> {
    let mut scanner = Scanner::new(header)?;
    let mut command = Command {
        code: 0,
        language: Language::Java,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        fields: Fields::new(),
        body: Bytes::new(),
        serialization: Serialization::Json,
    };
    scanner.expect(b'{', "an object is wanted")?;
    loop {
        while scanner.take(b',') {}
        if scanner.take(b'}') {
            return Ok(command);
        }
        let key = key(&mut scanner)?;
        scanner.expect(b':', "a colon is missing")?;
        match &*key {
            "code" => command.code = number(&mut scanner)?,
            "version" => command.version = number(&mut scanner)?,
            "opaque" => command.opaque = number(&mut scanner)?,
            "flag" => command.flag = number(&mut scanner)?,
            "language" => {
                if let Some(language) = scalar(&mut scanner)? {
                    command.language = Language::from_name(&language);
                }
            }
            "remark" => {
                command.remark = scalar(&mut scanner)?.map(Cow::into_owned);
            }
            "extFields" => fields(&mut scanner, header.len(), &mut command.fields)?,
            _ => scanner.skip(1)?,
        }
        if !matches!(scanner.peek(), Some(b',' | b'}')) {
            return scanner.fail("a comma or closing brace is missing");
        }
    }
}

fn fields(scanner: &mut Scanner<'_>, room: usize, fields: &mut Fields) -> Result<(), Error> {
    if scanner.peek() == Some(b'n') {
        return scanner.skip(1);
    }
    scanner.expect(b'{', "extFields must be an object")?;
    *fields = Fields::with_capacity(16, room);
    loop {
        match scanner.peek() {
            Some(b',') => {
                scanner.advance();
                continue;
            }
            Some(b'}') => {
                scanner.advance();
                return Ok(());
            }
            _ => {}
        }
        if let Some((name, value)) = scanner.plain_pair() {
            fields.push(name, value);
        } else {
            fields.push_parsed(scanner, name, |scanner, out| {
                scanner.expect(b':', "a colon is missing")?;
                text(scanner, out)
            })?;
        }
        if !matches!(scanner.peek(), Some(b',' | b'}')) {
            return scanner.fail("a comma or closing brace is missing");
        }
    }
}

fn key<'a>(scanner: &mut Scanner<'a>) -> Result<Cow<'a, str>, Error> {
    match scanner.peek() {
        Some(b'"' | b'\'') => scanner.quoted_text(),
        _ => scanner.bare().map(Cow::Borrowed),
    }
}

fn name(scanner: &mut Scanner<'_>, out: &mut String) -> Result<(), Error> {
    out.push_str(&key(scanner)?);
    Ok(())
}

/// Appends a value's text to `out`; false for null.
fn text(scanner: &mut Scanner<'_>, out: &mut String) -> Result<bool, Error> {
    // Properties are nearly always escaped: unescaped in place, they are copied once.
    if let Some(b'"' | b'\'') = scanner.peek() {
        return scanner.quoted(out).map(|()| true);
    }
    let value = scalar(scanner)?;
    out.push_str(value.as_deref().unwrap_or_default());
    Ok(value.is_some())
}

/// A value's text; none for null.
fn scalar<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Cow<'a, str>>, Error> {
    match scanner.peek() {
        Some(b'"' | b'\'') => scanner.quoted_text().map(Some),
        Some(b'{' | b'[') => {
            let mut out = String::new();
            scanner.rewrite(&mut out, 2)?;
            Ok(Some(Cow::Owned(out)))
        }
        _ => Ok(Some(scanner.bare()?).filter(|bare| *bare != "null").map(Cow::Borrowed)),
    }
}

fn number(scanner: &mut Scanner<'_>) -> Result<i32, Error> {
    match scalar(scanner)?.map(|digits| digits.parse()) {
        Some(Ok(number)) => Ok(number),
        _ => scanner.fail("a 32-bit number is wanted"),
    }
}

pub(crate) fn encode(head: &Head<'_>, out: &mut Vec<u8>) {
    let mut push = |piece: &str| out.extend_from_slice(piece.as_bytes());
    push("{\"code\":");
    push(itoa::Buffer::new().format(head.code));
    if !head.fields.is_empty() {
        push(",\"extFields\":{");
        for (at, (name, value)) in head.fields.iter().enumerate() {
            if at > 0 {
                push(",");
            }
            quote(name, &mut push);
            push(":");
            quote(value, &mut push);
        }
        push("}");
    }
    push(",\"flag\":");
    push(itoa::Buffer::new().format(head.flag));
    push(",\"language\":\"");
    push(head.language.name());
    push("\",\"opaque\":");
    push(itoa::Buffer::new().format(head.opaque));
    if let Some(remark) = head.remark {
        push(",\"remark\":");
        quote(remark, &mut push);
    }
    push(",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    push(itoa::Buffer::new().format(head.version));
    push("}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_other_writers_are_read() {
        let command = decode(
            br#" { 'opaque' : 5, code:"310" , "extFields":{"n":1,"b":true,"x":null,"p":"a\u0001b"}, "new":{"k":[1,"}"]}, "language":"KLINGON","remark":null, } "#,
        )
        .unwrap();
        assert_eq!((command.code, command.opaque, command.language, command.remark), (310, 5, Language::Other, None));
        assert_eq!(command.fields, [("n", "1"), ("b", "true"), ("p", "a\u{1}b")].into_iter().collect());
        assert!(decode(br#"{"code":1,"extFields":null}"#).unwrap().fields.is_empty());
    }

    #[test]
    fn a_number_out_of_range_is_an_error() {
        assert!(decode(br#"{"code":4294967296}"#).is_err());
        assert!(decode(br#"{"code":}"#).is_err());
        assert!(decode(br#"["code"]"#).is_err());
    }
}
