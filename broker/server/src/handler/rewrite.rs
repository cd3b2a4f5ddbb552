//! The property string of a message on its way in: what the broker adds, takes away and reads.
//!
//! Nearly all messages only get something appended, so the string is extended in place; only when a name must go or change is it written anew.

use rmq_protocol::message::properties::{self, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

/// What the broker wants to know of a message's properties, gathered in one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    pub(super) unique_key: Option<&'a str>,
    /// 0 is none.
    pub(super) delay_level: i32,
    /// False if the message says that it need not wait for disk or slaves.
    pub(super) wait: bool,
    pub(super) transactional: bool,
    pub(super) timer: bool,
    /// The topic that a retried message had first.
    pub(super) retry_topic: Option<&'a str>,
    /// The id that it had first.
    pub(super) origin_id: Option<&'a str>,
    /// A name that the broker sets is there already.
    must_be_written_anew: bool,
}

/// Reads the properties.
pub(super) fn see(raw: &[u8]) -> Seen<'_> {
    let mut seen = Seen { wait: true, ..Seen::default() };
    for (name, value) in properties::iter(raw) {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else { continue };
        match name {
            properties::UNIQ_KEY => seen.unique_key = Some(value),
            properties::DELAY => seen.delay_level = value.parse().unwrap_or(0),
            properties::WAIT => seen.wait = value.eq_ignore_ascii_case("true"),
            properties::TRANSACTION_PREPARED => seen.transactional = value.eq_ignore_ascii_case("true"),
            properties::RETRY_TOPIC => seen.retry_topic = Some(value),
            properties::ORIGIN_MESSAGE_ID => seen.origin_id = Some(value),
            properties::TIMER_DELAY_SEC | properties::TIMER_DELAY_MS | properties::TIMER_DELIVER_MS => {
                seen.timer = true
            }
            properties::CLUSTER | properties::REAL_TOPIC | properties::REAL_QUEUE_ID => {
                seen.must_be_written_anew = true
            }
            _ => {}
        }
    }
    seen
}

/// Appends `raw`, with the named properties set and others removed, to `out`.
pub(super) fn write(raw: &[u8], seen: &Seen<'_>, set: &[(&str, &str)], removed: &[&str], out: &mut Vec<u8>) {
    let touched =
        |name: &[u8]| set.iter().map(|(n, _)| *n).chain(removed.iter().copied()).any(|n| n.as_bytes() == name);
    if seen.must_be_written_anew || !removed.is_empty() {
        for (name, value) in properties::iter(raw).filter(|(name, _)| !touched(name)) {
            push(out, name, value);
        }
    } else {
        out.extend_from_slice(raw);
        if !raw.is_empty() && raw.last() != Some(&PROPERTY_SEPARATOR) {
            out.push(PROPERTY_SEPARATOR);
        }
    }
    for (name, value) in set {
        push(out, name.as_bytes(), value.as_bytes());
    }
}

fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value);
    out.push(PROPERTY_SEPARATOR);
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
    fn what_matters_is_seen() {
        let seen = see(b"UNIQ_KEY\x01U\x02DELAY\x013\x02WAIT\x01false\x02TRAN_MSG\x01true\x02");
        assert_eq!(seen.unique_key, Some("U"));
        assert_eq!((seen.delay_level, seen.wait, seen.transactional, seen.timer), (3, false, true, false));
        assert!(see("TIMER_DELAY_MS\u{1}5\u{2}".as_bytes()).timer);
        assert!(see(b"").wait);
    }
}
