//! The tags code of a queue entry, which a filter checks.

use std::fmt;
use std::sync::Arc;

use rmq_protocol::message::stored::Record;

type Rule = dyn Fn(&Record<'_>) -> Option<i64> + Send + Sync;

/// The tags code of a queue entry: the hash of the tags, unless a rule of the broker provides
/// another number.
#[derive(Clone, Default)]
pub struct TagsCode(Option<Arc<Rule>>);

impl TagsCode {
    /// The rule returns the number for a record, or `None` for the hash of its tags. It is called
    /// for each message on the dispatch thread. Whether it returns a number must depend on nothing
    /// but the record; the number may depend on settings, so the store does not compare it later
    /// with the entry.
    pub fn with(rule: impl Fn(&Record<'_>) -> Option<i64> + Send + Sync + 'static) -> Self {
        TagsCode(Some(Arc::new(rule)))
    }

    fn ruled(&self, record: &Record<'_>) -> Option<i64> {
        self.0.as_ref().and_then(|rule| rule(record))
    }

    /// The code for the entry of a record.
    pub(crate) fn of(&self, record: &Record<'_>) -> i64 {
        self.ruled(record).unwrap_or_else(|| record.tags_code())
    }

    /// Whether an entry with this code can be that of the record. Some codes do not follow from the
    /// record: those of the rule, and the addresses of Java's queue extension, which lie below all
    /// hashes. A directory that is opened here may come from a broker with that option.
    pub(crate) fn agrees(&self, record: &Record<'_>, code: i64) -> bool {
        code < i64::from(i32::MIN) || code == record.tags_code() || self.ruled(record).is_some()
    }
}

impl fmt::Debug for TagsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "TagsCode(hash or rule)" } else { "TagsCode(hash)" })
    }
}
