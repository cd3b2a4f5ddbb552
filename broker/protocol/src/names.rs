//! Names with a special meaning: system topics and groups, retry and dead-letter topics, and the
//! rules for names.

/// The topic whose route and settings serve as template for topics that are created by the first
/// send.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Delayed messages by level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Prepared transactions.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Finished transactions.
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Transactions without a known outcome.
pub const CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Message traces that clients write.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// A broker's own test topic.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// The official benchmark's topic.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Notes of moved offsets.
pub const OFFSET_MOVED_TOPIC: &str = "OFFSET_MOVED_EVENT";
/// Delayed messages that could not be delivered; the broker keeps them here with the reason.
pub const DELAY_DEAD_LETTER_TOPIC: &str = "rmq_sys_DELAY_DLQ";
/// Messages that wait for an arbitrary time.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Every topic below this prefix belongs to the system.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Namesrv KV namespace of fixed-order topics.
pub const ORDER_TOPIC_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

const RETRY_PREFIX: &str = "%RETRY%";
const DLQ_PREFIX: &str = "%DLQ%";

/// Longest topic an application may name, in bytes.
pub const MAX_TOPIC: usize = 127;
/// Longest retry or dead-letter topic, in bytes.
pub const MAX_LONG_NAME: usize = 255;
/// Longest group, in bytes: the name of its retry topic must be a legal one too.
pub const MAX_GROUP: usize = MAX_LONG_NAME - RETRY_PREFIX.len();

const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    HALF_TOPIC,
    TRACE_TOPIC,
    OP_HALF_TOPIC,
    CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
    "CHECKPOINT_TOPIC",
];

const CLOSED_TO_CLIENTS: [&str; 7] = [
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
    DELAY_DEAD_LETTER_TOPIC,
];

/// Groups that every broker knows from the start.
pub const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Groups below this prefix belong to the system.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// A topic of the system, not of an application: by name, or by the reserved prefix.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// A group of the system.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX) || SYSTEM_GROUPS.contains(&group)
}

/// Clients may not send to these.
pub fn is_closed_to_clients(topic: &str) -> bool {
    CLOSED_TO_CLIENTS.contains(&topic)
}

/// `%RETRY%group`: messages that wait for a retry.
pub fn retry_topic(group: &str) -> String {
    [RETRY_PREFIX, group].concat()
}

/// `cluster_REPLY_TOPIC`: replies of request-reply.
pub fn reply_topic(cluster: &str) -> String {
    [cluster, "_REPLY_TOPIC"].concat()
}

/// `%DLQ%group`: messages that ran out of attempts.
pub fn dead_letter_topic(group: &str) -> String {
    [DLQ_PREFIX, group].concat()
}

/// The group of a retry topic.
pub fn group_of_retry_topic(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

/// The group of a dead-letter topic.
pub fn group_of_dead_letter_topic(topic: &str) -> Option<&str> {
    topic.strip_prefix(DLQ_PREFIX)
}

/// A retry topic.
pub fn is_retry_topic(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// A dead-letter topic.
pub fn is_dead_letter_topic(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// Why a name is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// Too many bytes.
    #[error("the name is {length} bytes long, more than {limit}")]
    TooLong {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A character outside the alphabet.
    #[error("the name has the character {0:?}; letters, digits, '%', '|', '-' and '_' may be used")]
    Character(char),
}

/// Checks a topic's name: `^[%|a-zA-Z0-9_-]+$`, at most 127 bytes (255 for retry and dead-letter
/// topics).
pub fn check_topic(topic: &str) -> Result<(), NameError> {
    let limit = if is_retry_topic(topic) || is_dead_letter_topic(topic) { MAX_LONG_NAME } else { MAX_TOPIC };
    check_name(topic, limit)
}

/// Checks a group's name: the same alphabet, at most [`MAX_GROUP`] bytes.
pub fn check_group(group: &str) -> Result<(), NameError> {
    check_name(group, MAX_GROUP)
}

/// Checks a topic's or a group's name from a table: the same alphabet, and the longest length of
/// any name.
pub fn check_stored(name: &str) -> Result<(), NameError> {
    check_name(name, MAX_LONG_NAME)
}

/// Checks a producer group's name: the same alphabet, at most [`MAX_LONG_NAME`] bytes, as Java's
/// clients check it. It has no retry topic.
pub fn check_producer_group(group: &str) -> Result<(), NameError> {
    check_name(group, MAX_LONG_NAME)
}

fn check_name(name: &str, limit: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > limit {
        return Err(NameError::TooLong { length: name.len(), limit });
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '-' | '_'))) {
        Some(character) => Err(NameError::Character(character)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_alphabet_and_length() {
        assert_eq!(check_topic("orders_created-1"), Ok(()));
        assert_eq!(check_topic(""), Err(NameError::Empty));
        assert_eq!(check_topic("a b"), Err(NameError::Character(' ')));
        assert_eq!(check_topic(&"t".repeat(128)), Err(NameError::TooLong { length: 128, limit: 127 }));
        assert_eq!(check_topic(&retry_topic(&"g".repeat(200))), Ok(()));
    }

    #[test]
    fn every_legal_group_has_a_legal_retry_and_dead_letter_topic() {
        let longest = "g".repeat(MAX_GROUP);
        assert_eq!(check_group(&longest), Ok(()));
        assert_eq!((check_topic(&retry_topic(&longest)), check_topic(&dead_letter_topic(&longest))), (Ok(()), Ok(())));
        let longer = "g".repeat(MAX_GROUP + 1);
        assert_eq!(check_group(&longer), Err(NameError::TooLong { length: 249, limit: 248 }));
        assert!(check_topic(&retry_topic(&longer)).is_err());
    }

    #[test]
    fn system_names_are_known() {
        assert!(is_system_topic("rmq_sys_REVIVE_LOG_x") && is_system_topic(AUTO_CREATE_TOPIC));
        assert!(!is_system_topic("orders") && !is_system_topic("%RETRY%g"));
        assert!(is_system_group("CID_RMQ_SYS_TRANS") && is_system_group("TOOLS_CONSUMER"));
        assert_eq!(group_of_retry_topic("%RETRY%g"), Some("g"));
        assert_eq!(group_of_dead_letter_topic(&dead_letter_topic("g")), Some("g"));
    }
}
