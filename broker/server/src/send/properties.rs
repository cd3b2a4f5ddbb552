//! The property string of a message that is being stored: what the broker adds, removes and reads.
//!
//! For nearly all messages the broker only appends properties, so the string is extended in place.
//! It is rewritten only if a property must be removed or changed.

use crate::config::Config;
use rmq_protocol::message::properties::{self, PROPERTY_SEPARATOR};

/// The properties that the broker interprets, collected in one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    pub(super) unique_key: Option<&'a str>,
    /// 0 means no delay.
    pub(super) delay_level: i32,
    /// False if the message asks not to wait for the disk or for slaves.
    pub(super) wait: bool,
    /// A half message.
    pub(super) transactional: bool,
    /// The producer group that knows the outcome of a half message.
    pub(super) producer_group: Option<&'a str>,
    /// The original topic of a retried message.
    pub(super) retry_topic: Option<&'a str>,
    /// The original id of a retried message.
    pub(super) origin_id: Option<&'a str>,
    /// A property that the broker interprets and whose value is invalid: its name, its value, and
    /// the expected form.
    pub(super) wrong: Option<(&'static str, &'a str, &'static str)>,
    /// The string already contains a property that the broker sets.
    must_be_written_anew: bool,
}

const LEVEL: &str = "a delay level is wanted, 0 (none) or more";
const BOOLEAN: &str = "true or false is wanted";
const NO_TIMER: &str = "this broker does not take messages for an arbitrary time; use a delay level (1 to 18)";

/// Parses like Java's `Boolean.parseBoolean` for the unambiguous words; any other text is `None`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Reads the properties.
pub(super) fn see(raw: &[u8]) -> Seen<'_> {
    let mut seen = Seen { wait: true, ..Seen::default() };
    for (name, value) in properties::iter(raw) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let text = std::str::from_utf8(value);
        // In a number or a boolean the replacement character is invalid like any other letter.
        let value = text.unwrap_or("\u{fffd}");
        match name {
            properties::DELAY => match value.parse() {
                Ok(level @ 0..) => seen.delay_level = level,
                _ => seen.wrong = Some((properties::DELAY, value, LEVEL)),
            },
            properties::WAIT => match boolean(value) {
                Some(wait) => seen.wait = wait,
                None => seen.wrong = Some((properties::WAIT, value, BOOLEAN)),
            },
            properties::TRANSACTION_PREPARED => match boolean(value) {
                Some(transactional) => seen.transactional = transactional,
                None => seen.wrong = Some((properties::TRANSACTION_PREPARED, value, BOOLEAN)),
            },
            properties::TIMER_DELAY_SEC => seen.wrong = Some((properties::TIMER_DELAY_SEC, value, NO_TIMER)),
            properties::TIMER_DELAY_MS => seen.wrong = Some((properties::TIMER_DELAY_MS, value, NO_TIMER)),
            properties::TIMER_DELIVER_MS => seen.wrong = Some((properties::TIMER_DELIVER_MS, value, NO_TIMER)),
            properties::TIMER_DEL_UNIQKEY => seen.wrong = Some((properties::TIMER_DEL_UNIQKEY, value, NO_TIMER)),
            properties::UNIQ_KEY => seen.unique_key = text.ok().or(seen.unique_key),
            properties::RETRY_TOPIC => seen.retry_topic = text.ok().or(seen.retry_topic),
            properties::ORIGIN_MESSAGE_ID => seen.origin_id = text.ok().or(seen.origin_id),
            properties::PRODUCER_GROUP => seen.producer_group = text.ok().or(seen.producer_group),
            properties::CLUSTER
            | properties::MSG_REGION
            | properties::TRACE_ON
            | properties::REAL_TOPIC
            | properties::REAL_QUEUE_ID
            | properties::TRANSACTION_ID
            | properties::TRANSACTION_CHECK_TIMES => seen.must_be_written_anew = true,
            _ => {}
        }
    }
    seen
}

/// What the broker says in every message. A consumer traces no message without a region.
pub(super) fn of_the_broker(settings: &Config) -> [(&'static str, &str); 3] {
    [
        (properties::CLUSTER, settings.identity.cluster_name.as_str()),
        (properties::MSG_REGION, settings.identity.region.as_str()),
        (properties::TRACE_ON, if settings.topics.trace_on { "true" } else { "false" }),
    ]
}

/// Appends `raw` to `out`, with the properties of `set` set and those of `removed` removed.
pub(super) fn write(raw: &[u8], seen: &Seen<'_>, set: &[(&str, &str)], removed: &[&str], out: &mut Vec<u8>) {
    let touched =
        |name: &[u8]| set.iter().map(|(n, _)| *n).chain(removed.iter().copied()).any(|n| n.as_bytes() == name);
    if seen.must_be_written_anew || !removed.is_empty() {
        for (name, value) in properties::iter(raw).filter(|(name, _)| !touched(name)) {
            properties::push(out, name, value);
        }
    } else {
        out.extend_from_slice(raw);
        if !raw.is_empty() && raw.last() != Some(&PROPERTY_SEPARATOR) {
            out.push(PROPERTY_SEPARATOR);
        }
    }
    for (name, value) in set {
        properties::push(out, name.as_bytes(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(raw: &str, set: &[(&str, &str)], removed: &[&str]) -> String {
        let mut out = Vec::new();
        write(raw.as_bytes(), &see(raw.as_bytes()), set, removed, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn additions_follow_what_is_there() {
        assert_eq!(written("a\u{1}1", &[("CLUSTER", "c")], &[]), "a\u{1}1\u{2}CLUSTER\u{1}c\u{2}");
        assert_eq!(written("", &[("CLUSTER", "c")], &[]), "CLUSTER\u{1}c\u{2}");
    }

    #[test]
    fn a_name_set_twice_is_there_once() {
        assert_eq!(
            written("CLUSTER\u{1}x\u{2}a\u{1}1\u{2}", &[("CLUSTER", "c")], &[]),
            "a\u{1}1\u{2}CLUSTER\u{1}c\u{2}"
        );
        assert_eq!(written("DELAY\u{1}3\u{2}a\u{1}1\u{2}", &[], &["DELAY"]), "a\u{1}1\u{2}");
    }

    #[test]
    fn what_a_client_says_for_the_broker_is_replaced() {
        let settings = Config::default();
        let set = of_the_broker(&settings);
        let expected =
            "a\u{1}1\u{2}CLUSTER\u{1}DefaultCluster\u{2}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}";
        for raw in
            ["a\u{1}1", "MSG_REGION\u{1}x\u{2}a\u{1}1\u{2}TRACE_ON\u{1}\u{2}", "a\u{1}1\u{2}TRACE_ON\u{1}false\u{2}"]
        {
            assert_eq!(written(raw, &set, &[]), expected, "{raw}");
        }
    }

    #[test]
    fn what_matters_is_seen() {
        let seen = see(b"UNIQ_KEY\x01U\x02DELAY\x013\x02WAIT\x01false\x02TRAN_MSG\x01true\x02");
        assert_eq!(seen.unique_key, Some("U"));
        assert_eq!((seen.delay_level, seen.wait, seen.transactional, seen.wrong), (3, false, true, None));
        assert!(see(b"").wait);
    }

    #[test]
    fn a_value_that_is_none_is_never_taken_as_another() {
        let wrong = |raw: &'static str| see(raw.as_bytes()).wrong.map(|(name, value, _)| (name, value));
        for value in ["4x", " 1 ", "1.5", "99999999999", "-1", "\u{661}"] {
            let raw = format!("a\u{1}1\u{2}DELAY\u{1}{value}\u{2}");
            assert_eq!(see(raw.as_bytes()).wrong, Some(("DELAY", value, LEVEL)));
        }
        assert_eq!(wrong("WAIT\u{1}0\u{2}"), Some(("WAIT", "0")));
        assert_eq!(wrong("TRAN_MSG\u{1}yes\u{2}"), Some(("TRAN_MSG", "yes")));
        assert_eq!(wrong("TIMER_DELAY_MS\u{1}5\u{2}"), Some(("TIMER_DELAY_MS", "5")));
        assert_eq!(see(b"DELAY\x013\xff\x02").wrong, Some(("DELAY", "\u{fffd}", LEVEL)));
        assert_eq!(wrong("DELAY\u{1}0\u{2}WAIT\u{1}FALSE\u{2}TRAN_MSG\u{1}False\u{2}"), None);
    }
}
