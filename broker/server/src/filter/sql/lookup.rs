//! Finds the properties that an expression names in a property string.

use memchr::memmem::Finder;
use rmq_protocol::message::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use std::fmt;

/// A name, prepared for the search.
#[derive(Debug)]
pub(super) struct Name {
    /// Separator, name, separator: an entry of this name begins so, unless it is the first.
    begin: Finder<'static>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes()))
    }
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        let mut begin = Vec::with_capacity(name.len() + 2);
        begin.push(PROPERTY_SEPARATOR);
        begin.extend_from_slice(name.as_bytes());
        begin.push(NAME_VALUE_SEPARATOR);
        Self { begin: Finder::new(&begin).into_owned() }
    }

    fn bytes(&self) -> &[u8] {
        let begin = self.begin.needle();
        &begin[1..begin.len() - 1]
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.bytes() == name.as_bytes()
    }

    /// The value in a property string; the last one if there are several. An entry without a value
    /// does not exist.
    pub(super) fn find<'p>(&self, properties: &'p [u8]) -> Option<&'p [u8]> {
        let len = self.begin.needle().len();
        let mut rest = properties;
        let mut found = None;
        if let Some(value) = properties.strip_prefix(&self.begin.needle()[1..]) {
            (found, rest) = value_of(value);
        }
        while let Some(at) = self.begin.find(rest) {
            let (value, behind) = value_of(&rest[at + len..]);
            found = value.or(found);
            rest = behind;
        }
        found
    }
}

/// The value at the start of `bytes`, and the rest from its separator on.
fn value_of(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let end = memchr::memchr(PROPERTY_SEPARATOR, bytes).unwrap_or(bytes.len());
    let (value, rest) = bytes.split_at(end);
    ((!value.is_empty()).then_some(value), rest)
}
