//! Two kinds of failure: the broker cannot start ([`Error`]), or a request is refused
//! ([`Rejection`]).

use rmq_protocol::{
    header,
    names::{self, NameError},
};
use std::{io, path::PathBuf};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings are invalid or contradict each other.
    #[error("configuration: {0}")]
    Config(#[from] crate::config::Error),
    /// A port is taken, or an address does not belong to this machine.
    #[error("cannot listen on {address}: {source}; is another broker running here?")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] rmq_store::Error),
    /// A thread cannot be started, or panicked.
    #[error("the thread {name}: {source}")]
    Thread {
        /// The name of the thread.
        name: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A metric has a name that is taken. This is a bug of the broker.
    #[error("metrics: {0}")]
    Metrics(prometheus::Error),
    /// A table of the broker cannot be read.
    #[error("{path}: {reason}")]
    Table {
        /// The file of the table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a request is refused, in the broker's terms. The border has a response code for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A field or a body is invalid, or a number is out of range.
    Invalid,
    /// The message contradicts itself or is not valid.
    IllegalMessage,
    /// A permission of the broker, a topic or a group is missing.
    NotPermitted,
    NoTopic,
    NoGroup,
    /// The requested object does not exist.
    NotFound,
    /// No such client is connected.
    NotOnline,
    NotSubscribed,
    /// The client has a newer subscription than the broker.
    SubscriptionOutdated,
    /// The expression of a subscription is wrong.
    WrongExpression,
    /// This broker takes no writes at present. Another one may.
    Unavailable,
    /// Too many requests wait already.
    Busy,
    /// A client did not answer before the timeout.
    ClientTimeout,
    /// The outcome of a transaction came after its immunity from checks.
    OutcomeTooLate,
    /// Any other reason, including faults of the disk.
    Failed,
}

/// The only form in which a feature refuses a request: a reason, and text that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The reason.
    pub(crate) reason: Reason,
    /// The text.
    pub(crate) remark: String,
}

fn group_name(group: &str, error: &NameError) -> String {
    let retry_topic = match error {
        NameError::TooLong { .. } => {
            format!("; its retry topic is called %RETRY% and the group's name, {} bytes at most", names::MAX_LONG_NAME)
        }
        _ => String::new(),
    };
    format!("no consumer group can be called {group:?}: {error}{retry_topic}")
}

impl Rejection {
    /// A refusal.
    pub(crate) fn new(reason: Reason, remark: impl Into<String>) -> Self {
        Self { reason, remark: remark.into() }
    }

    /// The refusal of an invalid field.
    pub(crate) fn invalid(remark: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, remark)
    }

    /// The refusal for a topic that does not exist.
    pub(crate) fn no_topic(topic: &str) -> Self {
        Self::new(Reason::NoTopic, format!("the topic {topic} does not exist on this broker; create it first"))
    }

    /// The refusal for a queue that the topic does not have.
    pub(crate) fn no_queue(topic: &str, queues: i32, queue_id: i32) -> Self {
        Self::invalid(format!("the topic {topic} has {queues} queues here: there is no queueId {queue_id}"))
    }

    /// The refusal of a number that is out of range.
    pub(crate) fn number(field: &str, value: i64, wanted: &str) -> Self {
        Self::invalid(format!("the field {field} cannot be {value}: {wanted}"))
    }

    /// The refusal for a group that does not exist.
    pub(crate) fn no_group(group: &str) -> Self {
        let remark = match names::check_group(group) {
            Ok(()) => format!("the consumer group {group} does not exist on this broker; create it first"),
            Err(error) => group_name(group, &error),
        };
        Self::new(Reason::NoGroup, remark)
    }

    /// The refusal of a name that no topic can have.
    pub(crate) fn topic_name(topic: &str, error: &NameError) -> Self {
        Self::invalid(format!("no topic can be called {topic:?}: {error}"))
    }

    /// The refusal of a name that no group can have.
    pub(crate) fn group_name(group: &str, error: &NameError) -> Self {
        Self::invalid(group_name(group, error))
    }

    /// The refusal of a name that no producer group can have.
    pub(crate) fn producer_group_name(group: &str, error: &NameError) -> Self {
        Self::invalid(format!("no producer group can be called {group:?}: {error}"))
    }
}

impl From<header::Error> for Rejection {
    fn from(error: header::Error) -> Self {
        Self::new(Reason::Failed, format!("the request cannot be read: {error}"))
    }
}

impl From<rmq_protocol::fastjson::Error> for Rejection {
    fn from(error: rmq_protocol::fastjson::Error) -> Self {
        Self::new(Reason::Failed, format!("the body cannot be read: {error}"))
    }
}

impl From<crate::config::Error> for Rejection {
    fn from(error: crate::config::Error) -> Self {
        Self::new(Reason::Invalid, error.to_string())
    }
}

impl From<crate::config::Refused> for Rejection {
    fn from(refused: crate::config::Refused) -> Self {
        let reason = match refused {
            // Java's code for a key on the list. The other reasons do not depend on the client's
            // rights.
            crate::config::Refused::Listed(_) => Reason::NotPermitted,
            crate::config::Refused::Fixed(_) | crate::config::Refused::Wrong(_) => Reason::Invalid,
        };
        Self::new(reason, refused.to_string())
    }
}

impl From<rmq_store::Error> for Rejection {
    fn from(error: rmq_store::Error) -> Self {
        let reason = match &error {
            rmq_store::Error::Full { .. } | rmq_store::Error::Closed | rmq_store::Error::ReadOnly(_) => {
                Reason::Unavailable
            }
            // The code and the first word of a Java broker that has waited too long for its disk.
            // Clients react as to the one above: they try another broker.
            rmq_store::Error::Stalled => {
                return Self::new(Reason::Busy, format!("[PC_SYNCHRONIZED]{error}"));
            }
            rmq_store::Error::Message(_) | rmq_store::Error::TooLarge { .. } => Reason::IllegalMessage,
            _ => Reason::Failed,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<rmq_remoting::Error> for Rejection {
    fn from(error: rmq_remoting::Error) -> Self {
        let reason = match error {
            rmq_remoting::Error::Timeout { .. } => Reason::ClientTimeout,
            _ => Reason::Failed,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Error as Wrong, Refused};

    /// "there is no setting" was answered as a lack of permission, and tools advised to check
    /// rights.
    #[test]
    fn only_a_listed_setting_is_a_matter_of_permission() {
        let unknown = Wrong::Unknown { key: "fooBar".to_owned(), nearest: None };
        for (refused, reason) in [
            (Refused::Listed("a".to_owned()), Reason::NotPermitted),
            (Refused::Fixed("a".to_owned()), Reason::Invalid),
            (Refused::Wrong(unknown), Reason::Invalid),
        ] {
            assert_eq!(Rejection::from(refused).reason, reason);
        }
    }
}
