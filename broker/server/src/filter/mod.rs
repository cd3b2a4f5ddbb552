//! Which messages a subscription wants, as far as the broker decides it.
//!
//! | file | what |
//! |---|---|
//! | this | the filter of a pull |
//! | [`sql`] | SQL92 expressions |
//! | [`registered`] | the expressions of groups; `config/consumerFilter.json` |
//! | [`recent`] | expressions that pulls bring along |
//!
//! By tags: the broker compares the hash of the tag, the client compares the tag itself. So a hash
//! collision costs one message that is sent in vain, and never withholds a message. By SQL92: the
//! broker evaluates the expression on the properties of the record, and the client does not filter
//! again.

mod recent;
mod registered;
pub(crate) mod sql;

pub(crate) use recent::Recent;
pub(crate) use registered::{FilterWriter, Filters};

use crate::error::{Reason, Rejection};
use rmq_protocol::{
    body::{EXPRESSION_SQL92, EXPRESSION_TAG, Subscription},
    message::stored::Record,
};
use rmq_store::Verdict;
use sql::{Expression, ParseError};
use std::{cell::Cell, sync::Arc};

/// The work of one read for evaluations, about in nanoseconds, on a connection's thread and on a
/// blocking one. A filter that rarely matches must not occupy a thread for long; usual expressions
/// stay below the limit for as many messages as one read examines.
const MAX_WORK: usize = 1_000_000;
const MAX_BLOCKING_WORK: usize = 20_000_000;

/// The filter of a pull.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    ByTags(Arc<Subscription>),
    ByProperties(Arc<Expression>),
}

/// Whether a subscription of this type is by SQL92; false if it is by tags.
///
/// # Errors
/// There is no such type, or this broker is not set to filter by properties.
pub(crate) fn is_sql(expression_type: &str, enabled: bool) -> Result<bool, Rejection> {
    match expression_type {
        "" | EXPRESSION_TAG => Ok(false),
        EXPRESSION_SQL92 if enabled => Ok(true),
        EXPRESSION_SQL92 => Err(Rejection::new(
            Reason::Failed,
            "this broker does not filter by SQL92: set enablePropertyFilter=true, or subscribe by tags",
        )),
        other => Err(Rejection::new(
            Reason::Failed,
            format!("this broker does not filter by {other}; subscribe by TAG or SQL92"),
        )),
    }
}

/// Parses the expression of a subscription.
pub(crate) fn parse(text: &str) -> Result<Arc<Expression>, Rejection> {
    Expression::parse(text).map(Arc::new).map_err(|error| wrong(&error))
}

fn wrong(error: &ParseError) -> Rejection {
    Rejection::new(Reason::WrongExpression, format!("the SQL92 expression is wrong: {error}"))
}

/// False if no client of this subscription wants a message whose tag has this hash. True if that
/// depends on other properties.
pub(crate) fn may_match(subscription: &Subscription, tags_code: i64) -> bool {
    subscription.sub_string == "*"
        || subscription.code_set.is_empty()
        || subscription.code_set.iter().any(|code| i64::from(*code) == tags_code)
}

impl Wanted {
    /// The subscription if the hash of a tag may decide that a message is not wanted.
    pub(crate) fn tags(&self) -> Option<&Arc<Subscription>> {
        match self {
            Self::ByTags(subscription) if subscription.sub_string != "*" => Some(subscription),
            Self::ByTags(_) | Self::ByProperties(_) => None,
        }
    }

    /// Whether a message is wanted; by tags, as far as their hash shows.
    pub(crate) fn accepts(&self, record: &Record<'_>) -> bool {
        match self {
            Self::ByTags(subscription) => may_match(subscription, record.tags_code()),
            Self::ByProperties(expression) => expression.matches(record.properties()),
        }
    }

    /// Whether messages must be judged on a blocking thread.
    pub(crate) fn is_heavy(&self) -> bool {
        match self {
            Self::ByTags(_) => false,
            Self::ByProperties(expression) => expression.is_heavy(),
        }
    }

    /// Reads with the filter: calls `read` with a store's filter.
    pub(crate) fn read<T>(&self, blocking: bool, read: impl FnOnce(rmq_store::Filter<'_>) -> T) -> T {
        match self {
            Self::ByTags(subscription) => {
                let by_tags_code = |code| may_match(subscription, code);
                read(rmq_store::Filter { by_tags_code: &by_tags_code, by_record: None })
            }
            Self::ByProperties(expression) => {
                let limit = if blocking { MAX_BLOCKING_WORK } else { MAX_WORK };
                let work = Cell::new(0);
                let judge = |record: &Record<'_>| judge(expression, record.properties(), &work, limit);
                read(rmq_store::Filter { by_tags_code: &|_| true, by_record: Some(&judge) })
            }
        }
    }
}

/// Judges a record, unless the records before it took all the work of this read.
fn judge(expression: &Expression, properties: &[u8], work: &Cell<usize>, limit: usize) -> Verdict {
    let before = work.get();
    let after = before.saturating_add(expression.work(properties));
    if before > 0 && after > limit {
        return Verdict::End;
    }
    work.set(after);
    if expression.matches(properties) { Verdict::Take } else { Verdict::Pass }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_protocol::message::java;

    #[test]
    fn tags_match_by_hash() {
        let subscription = Subscription::tags("t", "a || b", 1);
        assert!(may_match(&subscription, java::tags_code(Some("a"))));
        assert!(!may_match(&subscription, java::tags_code(Some("c"))));
        assert!(!may_match(&subscription, 0), "a message without a tag");
        assert!(may_match(&Subscription::tags("t", "*", 1), 0));
    }

    #[test]
    fn types_are_told_apart() {
        assert_eq!(is_sql("", false), Ok(false));
        assert_eq!(is_sql("TAG", true), Ok(false));
        assert_eq!(is_sql("SQL92", true), Ok(true));
        assert!(is_sql("SQL92", false).unwrap_err().remark.contains("enablePropertyFilter=true"));
        assert!(is_sql("sql92", true).is_err(), "Java's types have a case");
    }

    #[test]
    fn a_read_ends_when_its_evaluations_took_enough_work() {
        let expression = parse("a = '1'").unwrap();
        let work = Cell::new(0);
        let judged = |properties: &[u8]| judge(&expression, properties, &work, 1000);
        assert_eq!(judged(&[b'x'; 30_000]), Verdict::Pass, "the first one is judged whatever it takes");
        assert_eq!(judged(b"a\x011\x02"), Verdict::End);
        work.set(0);
        assert_eq!([judged(b"a\x011\x02"), judged(b"a\x012\x02")], [Verdict::Take, Verdict::Pass]);
    }
}
