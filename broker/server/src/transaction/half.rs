//! The contents of half messages: what the broker reads in one, and what it makes of it.

use super::open::Owner;
use rmq_protocol::message::{
    properties,
    stored::{Draft, Record},
    sys_flag::{self, Transaction},
};
use rmq_protocol::names;
use rmq_store::LogOffset;
use std::{borrow::Cow, net::SocketAddr};

/// What a half message says.
pub(crate) struct Half<'a> {
    /// Where the message belongs once it is committed.
    pub(crate) topic: Cow<'a, str>,
    pub(crate) queue_id: i32,
    /// The producer group that knows the outcome.
    pub(crate) group: Cow<'a, str>,
    /// The transaction id.
    pub(crate) key: Cow<'a, str>,
    /// How often the producers were asked.
    pub(crate) checks: u32,
    /// It was stored before, and checked, put back or resumed since.
    pub(crate) is_copy: bool,
    /// The time after its birth in which producers are not asked, in milliseconds, if the producer
    /// set one.
    pub(crate) immunity: Option<i64>,
}

impl<'a> Half<'a> {
    /// Reads a record of the half topic. Returns why it cannot be a half message.
    pub(crate) fn read(record: &Record<'a>) -> Result<Self, String> {
        if record.topic() != names::HALF_TOPIC {
            return Err(format!("it is a message of the topic {}", record.topic()));
        }
        Self::read_any(record)
    }

    /// Reads a copy of a half message in whatever topic.
    pub(crate) fn read_any(record: &Record<'a>) -> Result<Self, String> {
        let missing = |name: &str| format!("its property {name} is missing");
        let text = |name: &str| record.property(name).ok_or_else(|| missing(name));
        let queue_id = text(properties::REAL_QUEUE_ID)?;
        let number = |name: &str| record.property(name).and_then(|value| value.trim().parse::<i64>().ok());
        Ok(Self {
            topic: text(properties::REAL_TOPIC)?,
            queue_id: queue_id
                .parse()
                .ok()
                .filter(|queue_id| *queue_id >= 0)
                .ok_or_else(|| format!("its property {} is no queue: {queue_id:?}", properties::REAL_QUEUE_ID))?,
            group: Some(text(properties::PRODUCER_GROUP)?)
                .filter(|group| !group.is_empty())
                .ok_or_else(|| missing(properties::PRODUCER_GROUP))?,
            key: record.property(properties::UNIQ_KEY).unwrap_or_default(),
            checks: number(properties::TRANSACTION_CHECK_TIMES)
                .map_or(0, |checks| u32::try_from(checks.max(0)).unwrap_or(u32::MAX)),
            is_copy: record.property(properties::TRANSACTION_CHECK_TIMES).is_some(),
            immunity: number(properties::CHECK_IMMUNITY_TIME_IN_SECONDS)
                .filter(|seconds| *seconds >= 0)
                .map(|seconds| seconds.saturating_mul(1000)),
        })
    }

    /// Whose transaction it is.
    pub(super) fn owner(&self) -> Owner<'_> {
        Owner { group: Some(&self.group), topic: &self.topic }
    }

    /// Whether a check may not ask yet, at the age `age`. A producer whose clock is ahead is asked.
    pub(super) fn is_immune(&self, age: i64) -> bool {
        self.immunity.is_some_and(|immunity| (0..immunity).contains(&age))
    }

    /// Milliseconds after its birth after which only an answer to a check may finish it: the
    /// property, but `timeout` at least, as in Java.
    pub(crate) fn immunity(&self, timeout: i64) -> i64 {
        self.immunity.unwrap_or(0).max(timeout)
    }
}

/// The half message that a record finishes. A commit has its position, as in Java. A copy of a half
/// message, in whose field Java leaves 0, has the position and one more: 0 is no half message. A
/// committed message that a consumer has sent back to a Java broker has the `sysFlag` of a commit,
/// and 0.
pub(super) fn finishes(record: &Record<'_>) -> Option<LogOffset> {
    let marked = LogOffset::from_wire(record.prepared_transaction_offset())?;
    match record.topic() {
        names::HALF_TOPIC | names::CHECK_MAX_TIME_TOPIC => marked.checked_sub(1),
        _ => {
            let commits = sys_flag::transaction(record.sys_flag()) == Transaction::Commit;
            (commits && record.reconsume_times() == 0).then_some(marked)
        }
    }
}

/// The property string of a half message with the number of its checks.
pub(crate) fn with_checks(own: &[u8], checks: u32) -> Vec<u8> {
    let mut written = Vec::with_capacity(own.len() + properties::TRANSACTION_CHECK_TIMES.len() + 8);
    let mut push = |name: &[u8], value: &[u8]| properties::push(&mut written, name, value);
    let others = properties::iter(own).filter(|(name, _)| *name != properties::TRANSACTION_CHECK_TIMES.as_bytes());
    others.for_each(|(name, value)| push(name, value));
    push(properties::TRANSACTION_CHECK_TIMES.as_bytes(), checks.to_string().as_bytes());
    written
}

/// A copy of a half message that takes its place, in the half topic or in that of the given up.
pub(super) fn copy<'a>(
    record: &Record<'a>,
    topic: &'a str,
    properties: &'a [u8],
    store_host: SocketAddr,
) -> Option<Draft<'a>> {
    let marked = LogOffset::of(record).to_wire().checked_add(1)?;
    Some(Draft { topic, queue_id: 0, store_host, properties, prepared_transaction_offset: marked, ..Draft::of(record) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message;
    use rmq_store::NewMessage;

    /// Where the message of `draft` says that a half message lies which it finishes.
    fn finished(draft: &NewMessage<'_>) -> Option<u64> {
        let bytes = draft.prepare().unwrap().to_vec(0, 0, 0);
        finishes(&Record::parse(&bytes).unwrap()).map(LogOffset::get)
    }

    #[test]
    fn a_committed_message_that_was_sent_back_finishes_nothing() {
        let sys_flag = sys_flag::with_transaction(0, Transaction::Commit);
        let commit = NewMessage { sys_flag, prepared_transaction_offset: 0, ..message(b"") };
        assert_eq!(finished(&commit), Some(0));
        assert_eq!(finished(&NewMessage { reconsume_times: 1, ..commit }), None);
        assert_eq!(finished(&NewMessage { prepared_transaction_offset: 5, ..message(b"") }), None, "a plain message");
        let copy = NewMessage { topic: names::HALF_TOPIC, prepared_transaction_offset: 6, ..message(b"") };
        assert_eq!(
            (finished(&copy), finished(&NewMessage { prepared_transaction_offset: 0, ..copy })),
            (Some(5), None)
        );
    }

    #[test]
    fn an_immunity_that_is_no_number_is_none_and_a_clock_ahead_gives_none() {
        let read = |immunity: &str| {
            let properties = format!(
                "REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}PGROUP\u{1}g\u{2}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}{immunity}\u{2}"
            );
            let draft = NewMessage { topic: names::HALF_TOPIC, properties: properties.as_bytes(), ..message(b"") };
            let bytes = draft.prepare().unwrap().to_vec(0, 0, 0);
            let half = Half::read(&Record::parse(&bytes).unwrap()).unwrap();
            (half.immunity, half.is_immune(500), half.is_immune(-1))
        };
        assert_eq!(read("1"), (Some(1000), true, false));
        assert_eq!((read("x"), read("-1")), ((None, false, false), (None, false, false)));
    }
}
