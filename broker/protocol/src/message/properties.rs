//! The property string: `name \u{1} value \u{2}` repeated.
//!
//! Newer writers end the string with `\u{2}`, older ones omit the last one; both are read. An entry
//! with an empty name or an empty value is ignored. If a name is repeated the last value counts, as
//! in Java's map.
//!
//! The broker's hot path needs no map: [`iter`] and [`find`] search the string in place. The names
//! below have a meaning in the product; any other name belongs to an application.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::Error;

/// Between name and value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// After a value.
pub const PROPERTY_SEPARATOR: u8 = 2;
/// Longest property string: its length is a signed short in the record.
pub const MAX_LEN: usize = 32767;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// Every reserved name: an application must not set these.
        pub const RESERVED: &[&str] = &[$($name),*];
    };
}

names! {
    /// Keys for the index, separated by spaces.
    KEYS = "KEYS";
    /// The tag.
    TAGS = "TAGS";
    /// "false": the sender does not wait for flush and replication.
    WAIT = "WAIT";
    /// Delay level 1..=18.
    DELAY = "DELAY";
    /// The topic a retried message came from.
    RETRY_TOPIC = "RETRY_TOPIC";
    /// The topic of a delayed or half message.
    REAL_TOPIC = "REAL_TOPIC";
    /// The queue of a delayed or half message.
    REAL_QUEUE_ID = "REAL_QID";
    /// "true": a half message.
    TRANSACTION_PREPARED = "TRAN_MSG";
    /// The producer group that responds to transaction checks.
    PRODUCER_GROUP = "PGROUP";
    /// Smallest offset of the queue at the time of a pull.
    MIN_OFFSET = "MIN_OFFSET";
    /// Largest offset of the queue at the time of a pull.
    MAX_OFFSET = "MAX_OFFSET";
    /// The buyer id; obsolete, but still reserved.
    BUYER_ID = "BUYER_ID";
    /// Id of the message a retried one descends from.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    /// Set while a message moves between clusters.
    TRANSFER_FLAG = "TRANSFER_FLAG";
    /// Set when a moved message was corrected.
    CORRECTION_FLAG = "CORRECTION_FLAG";
    /// Set by the first generation of clients.
    MQ2_FLAG = "MQ2_FLAG";
    /// Times a message was consumed before.
    RECONSUME_TIME = "RECONSUME_TIME";
    /// Region of the broker.
    MSG_REGION = "MSG_REGION";
    /// Whether the broker wants message traces.
    TRACE_ON = "TRACE_ON";
    /// The id made by the producer.
    UNIQ_KEY = "UNIQ_KEY";
    /// Further parts of the unique id.
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
    /// Times a message may be consumed before it is dead.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    /// When the consumer began.
    CONSUME_START_TIME = "CONSUME_START_TIME";
    /// Messages in an inner batch.
    INNER_NUM = "INNER_NUM";
    /// First offset of an inner batch.
    INNER_BASE = "INNER_BASE";
    /// Where a duplicated message came from.
    DUP_INFO = "DUP_INFO";
    /// Seconds in which a half message is not checked.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Half queue offset of the message a re-appended half message stands for.
    TRANSACTION_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    /// The transaction's id.
    TRANSACTION_ID = "__transactionId__";
    /// Number of transaction checks.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    /// Instance (namespace) of the sender.
    INSTANCE_ID = "INSTANCE_ID";
    /// Ties a reply to its request.
    CORRELATION_ID = "CORRELATION_ID";
    /// The client a reply goes to.
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    /// The requester's timeout in milliseconds.
    TTL = "TTL";
    /// When a reply arrived at the broker.
    ARRIVE_TIME = "ARRIVE_TIME";
    /// When a reply was pushed.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    /// Cluster that took the message.
    CLUSTER = "CLUSTER";
    /// Kind of a request-reply message.
    MSG_TYPE = "MSG_TYPE";
    /// The handle of a popped message.
    POP_CK = "POP_CK";
    /// The offset behind a POP handle.
    POP_CK_OFFSET = "POP_CK_OFFSET";
    /// When a message was popped first.
    FIRST_POP_TIME = "1ST_POP_TIME";
    /// What keeps messages in order.
    SHARDING_KEY = "__SHARDINGKEY";
    /// Queue id at the broker that forwarded.
    FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID";
    /// Set on redirected messages.
    REDIRECT = "REDIRECT";
    /// Light queues the message is also part of.
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
    /// Its offsets in those queues.
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
    /// Context for message traces.
    TRACE_CONTEXT = "TRACE_CONTEXT";
    /// Deliver after so many seconds.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    /// Deliver at this time, in milliseconds.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    /// Deliver after so many milliseconds.
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    /// When the timer took the message.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    /// When the timer let it go.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    /// Rounds of the message in the timing wheel.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    /// When the timer is to let it go.
    TIMER_OUT_MS = "TIMER_OUT_MS";
    /// Unique key of a timer message to delete.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    /// The delay level a timer message had.
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
    /// The producer's address as text.
    BORN_HOST = "__BORNHOST";
    /// When it was made, as text.
    BORN_TIMESTAMP = "BORN_TIMESTAMP";
    /// Checksum over the record, written by brokers that are configured to.
    CRC32 = "__CRC32#";
    /// The topic a dead message came from.
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    /// The id of the message that died.
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
}

/// Appends an entry to a property string. The string so far must end with a separator.
pub fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value);
    out.push(PROPERTY_SEPARATOR);
}

/// The entries of a property string, in the order they stand in it.
pub fn iter(raw: &[u8]) -> Iter<'_> {
    Iter { rest: raw }
}

/// Iterator over `(name, value)`; see [`iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr::memchr(PROPERTY_SEPARATOR, self.rest).unwrap_or(self.rest.len());
            let entry = &self.rest[..end];
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if let Some(at) = memchr::memchr(NAME_VALUE_SEPARATOR, entry)
                && at > 0
                && at + 1 < entry.len()
            {
                return Some((&entry[..at], &entry[at + 1..]));
            }
        }
        None
    }
}

/// The value of `name` in a property string, as the bytes that stand there.
pub fn find<'a>(raw: &'a [u8], name: &str) -> Option<&'a [u8]> {
    iter(raw).filter(|(found, _)| *found == name.as_bytes()).last().map(|(_, value)| value)
}

/// The value of `name` as text; bytes that are not UTF-8 become U+FFFD, as in Java.
pub fn find_str<'a>(raw: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    find(raw, name).map(String::from_utf8_lossy)
}

/// The value of `name` as a number; `None` also if it is not a number.
pub fn find_number<T: std::str::FromStr>(raw: &[u8], name: &str) -> Option<T> {
    std::str::from_utf8(find(raw, name)?).ok()?.parse().ok()
}

/// Properties as a map, ordered by name so that the same properties always make the same string.
///
/// A sorted map rather than a list: 32 KiB of foreign property string can hold eight thousand
/// names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Reads a property string. Every string is valid: text that is not an entry is skipped, as in
    /// Java.
    pub fn parse(raw: &[u8]) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Properties(iter(raw).map(|(name, value)| (text(name), text(value))).collect())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of `name` as a number; `None` also if it is not a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Sets `name`. An entry with an empty name or value would be lost in transfer, so it is
    /// removed instead.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || value.is_empty() {
            self.0.remove(&name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// Removes `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Names and values by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The property string; an error if it exceeds the limit of a record.
    pub fn encode(&self) -> Result<String, Error> {
        let text = self.to_string();
        if text.len() > MAX_LEN {
            return Err(Error::TooLong { what: "property string", len: text.len(), max: MAX_LEN });
        }
        Ok(text)
    }
}

/// The property string, whatever its length.
impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| write!(f, "{name}\u{1}{value}\u{2}"))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut properties = Properties::default();
        entries.into_iter().for_each(|(name, value)| properties.set(name, value));
        properties
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_separator_may_be_missing() {
        for raw in ["a\u{1}1\u{2}b\u{1}2\u{2}", "a\u{1}1\u{2}b\u{1}2"] {
            let properties = Properties::parse(raw.as_bytes());
            assert_eq!(properties.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        }
    }

    #[test]
    fn entries_without_name_or_value_do_not_exist() {
        let raw = "\u{1}x\u{2}y\u{1}\u{2}\u{2}z\u{2}k\u{1}v\u{2}".as_bytes();
        assert_eq!(iter(raw).collect::<Vec<_>>(), [(&b"k"[..], &b"v"[..])]);
        let mut properties = Properties::parse(raw);
        properties.set("k", "");
        assert!(properties.is_empty());
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        let raw = "TAGS\u{1}old\u{2}TAGS\u{1}new\u{2}".as_bytes();
        assert_eq!(find_str(raw, TAGS).as_deref(), Some("new"));
        assert_eq!(Properties::parse(raw).get(TAGS), Some("new"));
        assert_eq!(find(raw, "TAG"), None);
    }

    #[test]
    fn a_value_may_contain_the_name_separator() {
        assert_eq!(find("a\u{1}b\u{1}c".as_bytes(), "a"), Some("b\u{1}c".as_bytes()));
    }

    #[test]
    fn numbers_that_are_none_are_absent() {
        let raw = "DELAY\u{1}3\u{2}REAL_QID\u{1}x".as_bytes();
        assert_eq!(find_number::<i32>(raw, DELAY), Some(3));
        assert_eq!(find_number::<i32>(raw, REAL_QUEUE_ID), None);
    }

    #[test]
    fn a_string_over_the_limit_is_refused() {
        let mut properties = Properties::default();
        properties.set("k", "v".repeat(MAX_LEN - 3));
        assert_eq!(properties.encode().map(|text| text.len()), Ok(MAX_LEN));
        properties.set("k2", "v");
        assert!(matches!(properties.encode(), Err(Error::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn maps_survive_the_string(entries in prop::collection::btree_map("[^\u{1}\u{2}]{1,20}", "[^\u{1}\u{2}]{1,20}", 0..20)) {
            let properties: Properties = entries.clone().into_iter().collect();
            let text = properties.encode().unwrap();
            prop_assert_eq!(&Properties::parse(text.as_bytes()), &properties);
            for (name, value) in &entries {
                let found = find_str(text.as_bytes(), name);
                prop_assert_eq!(found.as_deref(), Some(value.as_str()));
            }
        }

        #[test]
        fn any_bytes_can_be_read(raw in prop::collection::vec(0u8..5, 0..64)) {
            let map = Properties::parse(&raw);
            for (name, _) in iter(&raw) {
                prop_assert!(map.get(std::str::from_utf8(name).unwrap()).is_some());
            }
        }
    }
}
