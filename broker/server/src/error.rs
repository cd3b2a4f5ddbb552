//! Two kinds of failure: the broker cannot start ([`Error`]), and a request is refused
//! ([`Rejection`]).

use rmq_protocol::{
    header,
    names::{self, NameError},
};
use std::{io, path::PathBuf};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that contradict each other or themselves.
    #[error("configuration: {0}")]
    Config(#[from] crate::config::Error),
    /// A port is taken, or an address is not ours.
    #[error("cannot listen on {address}: {source}; is another broker running here?")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] rmq_store::Error),
    /// A thread cannot be started, or broke.
    #[error("the thread {name}: {source}")]
    Thread {
        /// What it does.
        name: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// A figure with a name that is taken, which is a bug of ours.
    #[error("metrics: {0}")]
    Metrics(prometheus::Error),
    /// A table of the broker cannot be read.
    #[error("{path}: {reason}")]
    Table {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a request is refused, in the broker's terms. The border has a response code for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A field or a body makes no sense, or a number is out of range.
    Invalid,
    /// A message cannot be what it says.
    IllegalMessage,
    /// A permission of the broker, a topic or a group.
    NotPermitted,
    NoTopic,
    NoGroup,
    /// What was asked for is not there.
    NotFound,
    /// No such client is connected.
    NotOnline,
    NotSubscribed,
    /// The client knows a newer subscription than the broker.
    SubscriptionOutdated,
    /// This broker takes no writes just now, and another may.
    Unavailable,
    /// Too many wait already.
    Busy,
    /// A client did not answer in time.
    ClientTimeout,
    /// Everything else, faults of the disk among them.
    Failed,
}

/// The only way a feature refuses: a reason, and words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The reason.
    pub(crate) reason: Reason,
    /// The words.
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

    /// A field that makes no sense.
    pub(crate) fn invalid(remark: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, remark)
    }

    /// A topic that is not there.
    pub(crate) fn no_topic(topic: &str) -> Self {
        Self::new(Reason::NoTopic, format!("the topic {topic} does not exist on this broker; create it first"))
    }

    /// A queue that the topic does not have.
    pub(crate) fn no_queue(topic: &str, queues: i32, queue_id: i32) -> Self {
        Self::invalid(format!("the topic {topic} has {queues} queues here: there is no queueId {queue_id}"))
    }

    /// A number that is out of range.
    pub(crate) fn number(field: &str, value: i64, wanted: &str) -> Self {
        Self::invalid(format!("the field {field} cannot be {value}: {wanted}"))
    }

    /// A group that is not there.
    pub(crate) fn no_group(group: &str) -> Self {
        let remark = match names::check_group(group) {
            Ok(()) => format!("the consumer group {group} does not exist on this broker; create it first"),
            Err(error) => group_name(group, &error),
        };
        Self::new(Reason::NoGroup, remark)
    }

    /// A name that no topic can have.
    pub(crate) fn topic_name(topic: &str, error: &NameError) -> Self {
        Self::invalid(format!("no topic can be called {topic:?}: {error}"))
    }

    /// A name that no group can have.
    pub(crate) fn group_name(group: &str, error: &NameError) -> Self {
        Self::invalid(group_name(group, error))
    }

    /// A name that no producer group can have.
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
            // Java's code for a key on the list. The others have nothing to do with who asks.
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
            // Code and first word of a Java broker that has waited too long for its disk; clients
            // try another broker, as they do after the former.
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

    /// "there is no setting" was answered as a lack of permission, and tools advised to look at
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
