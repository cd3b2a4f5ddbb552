//! Two kinds of failure: the broker cannot start ([`Error`]), and a request is refused ([`Rejection`]).

use rmq_protocol::{
    Reply, ResponseCode, header,
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

/// The only way a handler refuses: a code and words that say what to do. Dispatch makes the answer of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The code.
    pub(crate) code: ResponseCode,
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

/// What a handler answers.
pub(crate) type Answer = Result<Reply, Rejection>;

impl Rejection {
    /// A refusal.
    pub(crate) fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self { code, remark: remark.into() }
    }

    /// A field that makes no sense.
    pub(crate) fn invalid(remark: impl Into<String>) -> Self {
        Self::new(ResponseCode::InvalidParameter, remark)
    }

    /// A topic that is not there.
    pub(crate) fn no_topic(topic: &str) -> Self {
        Self::new(
            ResponseCode::TopicNotExist,
            format!("the topic {topic} does not exist on this broker; create it first"),
        )
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
        Self::new(ResponseCode::SubscriptionGroupNotExist, remark)
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

    /// The answer.
    pub(crate) fn into_reply(self) -> Reply {
        Reply::refuse(self.code, self.remark)
    }
}

impl From<header::Error> for Rejection {
    fn from(error: header::Error) -> Self {
        Self::new(ResponseCode::SystemError, format!("the request cannot be read: {error}"))
    }
}

impl From<rmq_protocol::fastjson::Error> for Rejection {
    fn from(error: rmq_protocol::fastjson::Error) -> Self {
        Self::new(ResponseCode::SystemError, format!("the body cannot be read: {error}"))
    }
}

impl From<crate::config::Error> for Rejection {
    fn from(error: crate::config::Error) -> Self {
        Self::new(ResponseCode::InvalidParameter, error.to_string())
    }
}

impl From<crate::config::Refused> for Rejection {
    fn from(refused: crate::config::Refused) -> Self {
        let code = match refused {
            // Java's code for a key on the list. The others have nothing to do with who asks.
            crate::config::Refused::Listed(_) => ResponseCode::NoPermission,
            crate::config::Refused::Fixed(_) | crate::config::Refused::Wrong(_) => ResponseCode::InvalidParameter,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<rmq_store::Error> for Rejection {
    fn from(error: rmq_store::Error) -> Self {
        let code = match &error {
            rmq_store::Error::Full { .. } | rmq_store::Error::Closed | rmq_store::Error::ReadOnly(_) => {
                ResponseCode::ServiceNotAvailable
            }
            // Code and first word of a Java broker that has waited too long for its disk; clients try another broker, as they do after the former.
            rmq_store::Error::Stalled => {
                return Self::new(ResponseCode::SystemBusy, format!("[PC_SYNCHRONIZED]{error}"));
            }
            rmq_store::Error::Message(_) | rmq_store::Error::TooLarge { .. } => ResponseCode::MessageIllegal,
            _ => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<rmq_remoting::Error> for Rejection {
    fn from(error: rmq_remoting::Error) -> Self {
        let code = match error {
            rmq_remoting::Error::Timeout { .. } => ResponseCode::ConsumeMessageTimeout,
            _ => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
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
        for (refused, code) in [
            (Refused::Listed("a".to_owned()), ResponseCode::NoPermission),
            (Refused::Fixed("a".to_owned()), ResponseCode::InvalidParameter),
            (Refused::Wrong(unknown), ResponseCode::InvalidParameter),
        ] {
            assert_eq!(Rejection::from(refused).code, code);
        }
    }
}
