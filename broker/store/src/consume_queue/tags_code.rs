//! What a queue entry tells a filter.

use std::fmt;
use std::sync::Arc;

use rmq_protocol::message::stored::Record;

type Rule = dyn Fn(&Record<'_>) -> Option<i64> + Send + Sync;

/// The tags code of a queue entry: the hash of the tags, unless a rule of the broker puts another
/// number there.
#[derive(Clone, Default)]
pub struct TagsCode(Option<Arc<Rule>>);

impl TagsCode {
    /// With a rule: the number for a record, `None` for the hash of its tags. It is called for each
    /// message on the dispatch thread. Whether it gives a number must depend on nothing but the
    /// record; the number may depend on settings, so the store does not compare it later with the
    /// entry.
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

    /// Whether an entry with this code can be that of the record. Some entries have a number there
    /// that the record does not tell: those of the rule, and Java's queue extension, an option that
    /// brokers whose directory is opened here may have had on, puts its addresses below all hashes.
    pub(crate) fn agrees(&self, record: &Record<'_>, code: i64) -> bool {
        code < i64::from(i32::MIN) || code == record.tags_code() || self.ruled(record).is_some()
    }
}

impl fmt::Debug for TagsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "TagsCode(hash or rule)" } else { "TagsCode(hash)" })
    }
}
