//! The named fields of a command header (`extFields`): strings to strings, in the order they were
//! written.
//!
//! All text lies in one buffer and each field is three numbers, so a header of fifteen fields costs
//! two allocations instead of thirty. The price is that a field cannot be changed in place; no
//! caller needs to.

use std::fmt;

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    name: u32,
    value: u32,
}

/// Header fields, in wire order. Names are expected to be unique; [`Fields::get`] finds the first.
#[derive(Clone, Default)]
pub struct Fields {
    text: String,
    spans: Vec<Span>,
}

impl Fields {
    /// No fields, no allocation.
    pub const fn new() -> Self {
        Self { text: String::new(), spans: Vec::new() }
    }

    /// Room for `fields` fields of `bytes` bytes of names and values together.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), spans: Vec::with_capacity(fields) }
    }

    /// Bytes of all names and values.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Appends a field.
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_with(name, |text| text.push_str(value));
    }

    /// Appends a field whose value `write` appends to the text it is given.
    pub fn push_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        self.text.push_str(name);
        let value = self.text.len();
        write(&mut self.text);
        self.close(start, value);
    }

    /// Lets a parser append a name, then a value, to the text; a name without a value (`Ok(false)`)
    /// is removed again.
    pub(crate) fn push_parsed<P, E>(
        &mut self,
        parser: &mut P,
        name: impl FnOnce(&mut P, &mut String) -> Result<(), E>,
        value: impl FnOnce(&mut P, &mut String) -> Result<bool, E>,
    ) -> Result<(), E> {
        let start = self.text.len();
        name(parser, &mut self.text)?;
        let middle = self.text.len();
        if value(parser, &mut self.text)? {
            self.close(start, middle);
        } else {
            self.text.truncate(start);
        }
        Ok(())
    }

    // A frame is at most 16 MiB, so its header fits u32 by far.
    fn close(&mut self, start: usize, value: usize) {
        self.spans.push(Span {
            start: start as u32,
            name: (value - start) as u32,
            value: (self.text.len() - value) as u32,
        });
    }

    fn pair(&self, span: Span) -> (&str, &str) {
        let value = span.start as usize + span.name as usize;
        (&self.text[span.start as usize..value], &self.text[value..value + span.value as usize])
    }

    fn is_called(&self, span: Span, name: &str) -> bool {
        let start = span.start as usize;
        // Most names of a header differ in length: then nothing else is compared.
        span.name as usize == name.len() && self.text.as_bytes()[start..start + name.len()] == *name.as_bytes()
    }

    /// The value of the first field called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.spans.iter().find(|span| self.is_called(**span, name));
        found.map(|span| self.pair(*span).1)
    }

    /// Names and values in wire order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans.iter().map(|span| self.pair(*span))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// A reader that searches for each name after the last one it found, and so finds fields that
    /// come in the expected order in one step each.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { fields: self, next: 0 }
    }
}

/// See [`Fields::cursor`].
pub struct Cursor<'a> {
    fields: &'a Fields,
    next: usize,
}

impl<'a> Cursor<'a> {
    /// The value of the field called `name`, wherever it stands.
    pub fn get(&mut self, name: &str) -> Option<&'a str> {
        let fields = self.fields;
        let (before, after) = fields.spans.split_at(self.next);
        for (step, span) in after.iter().chain(before).enumerate() {
            if fields.is_called(*span, name) {
                self.next = (self.next + step) % fields.spans.len() + 1;
                return Some(fields.pair(*span).1);
            }
        }
        None
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl<'a> FromIterator<(&'a str, &'a str)> for Fields {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let mut fields = Self::new();
        for (name, value) in pairs {
            fields.push(name, value);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_finds_fields_in_any_order() {
        let fields: Fields = [("a", "1"), ("b", "2"), ("c", "")].into_iter().collect();
        let mut cursor = fields.cursor();
        assert_eq!(cursor.get("b"), Some("2"));
        assert_eq!(cursor.get("a"), Some("1"));
        assert_eq!(cursor.get("c"), Some(""));
        assert_eq!(cursor.get("c"), Some(""));
        assert_eq!(cursor.get("d"), None);
        assert_eq!(Fields::new().cursor().get("a"), None);
    }
}
