//! Attribute changes in the form of `updateTopic`: `+key=value,-key`.

use std::collections::BTreeMap;

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the attribute change {0:?} is none: write +key=value or -key")]
    Form(String),
    #[error("there is no attribute {0:?}; there are {known}", known = KNOWN.join(", "))]
    Unknown(String),
    #[error("the attribute {key} cannot be {value:?} on this broker; it can be {wanted}")]
    Value { key: String, value: String, wanted: &'static str },
}

const MESSAGE_TYPE: &str = "message.type";
const CLEANUP_POLICY: &str = "cleanup.policy";
const QUEUE_TYPE: &str = "queue.type";
const RESERVE_TIME: &str = "reserve.time";
const KNOWN: [&str; 4] = [CLEANUP_POLICY, MESSAGE_TYPE, QUEUE_TYPE, RESERVE_TIME];

/// Applies changes in text form to `attributes`.
pub(crate) fn apply(text: &str, attributes: &mut BTreeMap<String, String>) -> Result<(), Error> {
    let mut changed = attributes.clone();
    for change in text.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        let form = || Error::Form(change.to_owned());
        if let Some(addition) = change.strip_prefix('+') {
            let (key, value) = addition.split_once('=').ok_or_else(form)?;
            check(key, value)?;
            changed.insert(key.to_owned(), value.to_owned());
        } else {
            let key = change.strip_prefix('-').ok_or_else(form)?;
            if !KNOWN.contains(&key) {
                return Err(Error::Unknown(key.to_owned()));
            }
            changed.remove(key);
        }
    }
    *attributes = changed;
    Ok(())
}

fn check(key: &str, value: &str) -> Result<(), Error> {
    let (valid, wanted) = match key {
        MESSAGE_TYPE => (
            ["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"].contains(&value),
            "UNSPECIFIED, NORMAL, FIFO, DELAY, TRANSACTION or MIXED",
        ),
        CLEANUP_POLICY => (value == "DELETE", "DELETE"),
        QUEUE_TYPE => (value == "SimpleCQ", "SimpleCQ"),
        RESERVE_TIME => (value.parse::<i64>().is_ok(), "a number of milliseconds"),
        _ => return Err(Error::Unknown(key.to_owned())),
    };
    if valid { Ok(()) } else { Err(Error::Value { key: key.to_owned(), value: value.to_owned(), wanted }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_all_made_or_none() {
        let mut attributes = BTreeMap::from([("reserve.time".to_owned(), "5".to_owned())]);
        apply("+message.type=FIFO, -reserve.time", &mut attributes).unwrap();
        assert_eq!(attributes, BTreeMap::from([("message.type".to_owned(), "FIFO".to_owned())]));
        assert!(matches!(apply("-message.type,+cleanup.policy=COMPACTION", &mut attributes), Err(Error::Value { .. })));
        assert_eq!(attributes.len(), 1);
        assert!(matches!(apply("message.type=FIFO", &mut attributes), Err(Error::Form(_))));
        assert!(matches!(apply("+color=red", &mut attributes), Err(Error::Unknown(_))));
    }
}
