//! The errors of the client, with their remedies.

use rmq_protocol::{RequestCode, ResponseCode, address::AddressError, fastjson, header};

/// A call that failed. [`Error::remedy`] returns what an operator can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The list of namesrv addresses is invalid.
    #[error("{given:?} is no list of namesrv addresses: {why}")]
    Namesrvs {
        /// The list.
        given: String,
        /// The fault in it.
        why: AddressError,
    },
    /// None of the namesrvs answered.
    #[error("no namesrv answered, the last attempt: {last}")]
    NoNamesrv {
        /// The error of the last one that was tried.
        last: Box<Error>,
    },
    /// No response: no connection, a lost one, or a timeout. It is unknown whether the request was
    /// carried out, except if there was no connection.
    #[error(transparent)]
    Connection(#[from] rmq_remoting::Error),
    /// The server refused the request.
    #[error("{address} refused {request}: {remark} (code {code}{})", name_of_code(*code))]
    Refused {
        /// The server.
        address: String,
        /// Name of the request.
        request: &'static str,
        /// The response code, see [`ResponseCode`].
        code: i32,
        /// The server's remark.
        remark: String,
    },
    /// The server sent an invalid response.
    #[error("the response of {address} to {request} cannot be read: {why}")]
    InvalidResponse {
        /// The server.
        address: String,
        /// Name of the request.
        request: &'static str,
        /// The fault in it.
        why: String,
    },
    /// The namesrvs know no broker with this topic.
    #[error("the topic {topic} has no route")]
    NoRoute {
        /// The topic.
        topic: String,
    },
    /// The topic exists, but has no writable queue.
    #[error("no queue of the topic {topic} can be written")]
    NotWritable {
        /// The topic.
        topic: String,
    },
    /// The broker group is not part of the cluster, or has no master.
    #[error("no broker of the group {group} is registered")]
    NoBroker {
        /// The broker group.
        group: String,
    },
    /// The message is invalid; nothing was sent.
    #[error("the message cannot be sent: {0}")]
    Message(String),
    /// An argument is invalid; nothing was sent.
    #[error("{0}")]
    Argument(String),
    /// A file of this client failed: the offsets of a broadcasting consumer.
    #[error("{path}: {source}")]
    File {
        /// The path.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// This producer, consumer or admin was stopped.
    #[error("it was stopped")]
    Stopped,
}

/// The name of a known response code, with a blank before it.
fn name_of_code(code: i32) -> String {
    ResponseCode::from_number(code).map(|code| format!(" {}", code.name())).unwrap_or_default()
}

impl Error {
    /// The response code, if a server refused.
    pub fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Refused { code, .. } => ResponseCode::from_number(*code),
            _ => None,
        }
    }

    /// True if the server refused with `code`.
    pub fn is(&self, code: ResponseCode) -> bool {
        self.code() == Some(code)
    }

    /// True if no server could be reached or it did not answer: the same call may succeed later.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::NoNamesrv { .. })
    }

    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Namesrvs { .. } => "give host:port, several of them separated by ';'",
            Self::NoNamesrv { .. } => {
                "check the namesrv addresses, that the namesrvs run, and that this machine may connect to them"
            }
            Self::Connection(rmq_remoting::Error::Overloaded(_)) => {
                "send less at a time, or wait for responses before sending more"
            }
            Self::Connection(_) => {
                "check that the server runs and that this machine can connect to the address it registered"
            }
            Self::NoRoute { .. } => "create the topic, or check its name and the namesrv addresses",
            Self::NotWritable { .. } => {
                "give the topic write permission and write queues, and check that a master is running"
            }
            Self::NoBroker { .. } => "check the name of the broker group, and that its master runs and is registered",
            Self::Message(_) | Self::Argument(_) => "correct it and try again",
            Self::File { .. } => "check that the folder exists and may be written",
            Self::Stopped => "start a new one",
            Self::InvalidResponse { .. } => {
                "check that the address is that of a RocketMQ server of a supported release"
            }
            Self::Refused { .. } => match self.code() {
                Some(ResponseCode::TopicNotExist) => "create the topic first",
                Some(ResponseCode::SubscriptionGroupNotExist) => "create the consumer group first",
                Some(ResponseCode::ConsumerNotOnline) => "start a consumer of the group first",
                Some(ResponseCode::NoPermission) => {
                    "check the permission of the broker and the topic, and the user's rights"
                }
                Some(ResponseCode::InvalidParameter) => "correct what the server's remark names",
                Some(ResponseCode::SystemBusy | ResponseCode::FlowControl) => {
                    "the broker is overloaded: try again, or add brokers"
                }
                Some(ResponseCode::ServiceNotAvailable) => {
                    "the broker takes no writes now (a slave, a full disk, or stopping): try another one"
                }
                Some(ResponseCode::RequestCodeNotSupported) => {
                    "this server does not know the request: check the address and its release"
                }
                _ => "see the server's remark and its log",
            },
        }
    }

    pub(crate) fn invalid_response(address: &str, request: RequestCode, why: impl ToString) -> Self {
        Self::InvalidResponse { address: address.to_owned(), request: request.name(), why: why.to_string() }
    }
}

/// Why a response is invalid.
pub(crate) enum Unreadable {
    Header(header::Error),
    Body(fastjson::Error),
    Record(rmq_protocol::message::Error),
    Text,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
            Self::Text => f.write_str("the text is not UTF-8"),
        }
    }
}

impl From<header::Error> for Unreadable {
    fn from(error: header::Error) -> Self {
        Self::Header(error)
    }
}

impl From<fastjson::Error> for Unreadable {
    fn from(error: fastjson::Error) -> Self {
        Self::Body(error)
    }
}

impl From<rmq_protocol::message::Error> for Unreadable {
    fn from(error: rmq_protocol::message::Error) -> Self {
        Self::Record(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_code_and_remark_and_has_a_remedy() {
        let error =
            Error::Refused { address: "a:1".into(), request: "SendMessageV2", code: 17, remark: "no topic".into() };
        assert_eq!(error.to_string(), "a:1 refused SendMessageV2: no topic (code 17 TopicNotExist)");
        assert!(error.is(ResponseCode::TopicNotExist) && error.remedy().contains("create"));
        let unknown = Error::Refused { address: "a:1".into(), request: "MaxOffset", code: 9999, remark: String::new() };
        assert_eq!((unknown.code(), unknown.to_string().as_str()), (None, "a:1 refused MaxOffset:  (code 9999)"));
    }
}
