//! What can go wrong, at the start and with a request.

use rmq_protocol::{Reply, ResponseCode, body::RegistrationError, fastjson, header};
use std::{io, net::SocketAddr, path::PathBuf};

/// Why a namesrv does not start, or why it refuses a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of the configuration that begins with its separator.
    #[error("there is no key before '=' or ':'")]
    NoKey,
    /// A port that two would listen on.
    #[error("httpPort {0} is the port of listenPort: take another")]
    SamePort(u16),
    /// A key of the configuration that nobody knows.
    #[error("there is no setting {key}{}", nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default())]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value that the key cannot have.
    #[error("{key} cannot be {value:?}; it must be {expected}{}", comment(value))]
    Value {
        /// The key.
        key: &'static str,
        /// What was found.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Several of these, a line each.
    #[error("{}", _0.iter().map(|error| format!("\n  {error}")).collect::<String>())]
    Several(Vec<Error>),
    /// A port cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Neither the KV file nor its backup can be read.
    #[error("cannot read {}: {reason}; put a good copy there, or move it and its .bak away to start without KV settings", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No thread can be started, or none of the metrics be registered.
    #[error("cannot start: {0}")]
    Start(String),

    /// A request without a field it needs.
    #[error(transparent)]
    Header(#[from] header::Error),
    /// A registration whose body cannot be read.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A body that is not the JSON it should be.
    #[error(transparent)]
    Body(#[from] fastjson::Error),
    /// A registration whose body is not what its sender saw leaving.
    #[error("crc32 not match")]
    Checksum,
    /// A single topic from a broker that is not registered.
    #[error("register broker failed: {0} must register all its topics before single ones")]
    NotRegisteredYet(String),
    /// A name or an address that is too long.
    #[error("the {what} {begin:?}... has {bytes} bytes; {most} are possible")]
    TooLong {
        /// What it names.
        what: &'static str,
        /// Its first letters.
        begin: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// More of something than a namesrv takes.
    #[error("with this registration of {group} there would be {number} {what}; {most} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Whose registration it was.
        group: String,
        /// How many.
        number: usize,
        /// The limit.
        most: usize,
    },
    /// The routes take all the memory they may.
    #[error(
        "the routes of this namesrv take {used} of {most} bytes, and this would add {more}: give the namesrv more memory, or raise \
         maxRouteTableBytes, or delete topics"
    )]
    RoutesFull {
        /// What they take.
        used: usize,
        /// What would be added.
        more: usize,
        /// The limit.
        most: usize,
    },
    /// Nobody has this topic. The words are Java's: tools look for them.
    #[error(
        "No topic route info in name server for the topic: {0}\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )]
    NoRoute(String),
    /// Clients are not answered yet (`needWaitForService`).
    #[error("name server not ready")]
    NotReady,
    /// Lists of topics are switched off.
    #[error("disable")]
    Disabled,
    /// No such KV value.
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoValue {
        /// Namespace.
        namespace: String,
        /// Key in it.
        key: String,
    },
    /// No such KV namespace.
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    /// The KV table is as large as it may be.
    #[error("the KV table may have {0} bytes as JSON and would become larger; delete something first")]
    KvFull(usize),
    /// A file cannot be written; nothing was changed.
    #[error("cannot write {}: {source}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A setting that may not be changed from outside.
    #[error("Can not update config in black list.")]
    BlackListed,
    /// A setting that is read only at a start.
    #[error("{0} takes effect only at a start: write it into the configuration file and restart the namesrv")]
    OnlyAtStart(&'static str),
    /// Too many changes are waiting.
    #[error("[OVERLOAD] too many changes are waiting in this namesrv; try again later")]
    Overloaded,
    /// The namesrv stops.
    #[error("this namesrv is stopping")]
    Stopping,
    /// A request this process does not know.
    #[error(" request type {0} not supported")]
    Unsupported(i32),
}

/// What somebody is told who wrote a comment behind a value.
fn comment(value: &str) -> &'static str {
    match rmq_protocol::address::has_comment(value) {
        true => "; in a properties file what follows a value is part of it, so put the comment on its own line",
        false => "",
    }
}

impl Error {
    /// The response code that tells it.
    pub fn code(&self) -> ResponseCode {
        match self {
            Self::NoRoute(_) => ResponseCode::TopicNotExist,
            Self::NoValue { .. } | Self::NoNamespace(_) => ResponseCode::QueryNotFound,
            Self::BlackListed => ResponseCode::NoPermission,
            Self::OnlyAtStart(_)
            | Self::NoKey
            | Self::SamePort(_)
            | Self::UnknownKey { .. }
            | Self::Value { .. }
            | Self::Several(_) => ResponseCode::InvalidParameter,
            Self::Overloaded => ResponseCode::SystemBusy,
            Self::Unsupported(_) => ResponseCode::RequestCodeNotSupported,
            _ => ResponseCode::SystemError,
        }
    }

    /// A registration that does not fit.
    pub(crate) fn is_of_size(&self) -> bool {
        matches!(
            self,
            Self::TooLong { .. }
                | Self::TooMany { .. }
                | Self::RoutesFull { .. }
                | Self::Registration(RegistrationError::TooManyTopics { .. } | RegistrationError::TooLarge { .. })
        )
    }

    /// What clients cause all day by asking for what is not there.
    fn is_everyday(&self) -> bool {
        matches!(self, Self::NoRoute(_) | Self::NoValue { .. } | Self::NoNamespace(_) | Self::NotReady | Self::Disabled)
    }

    /// The answer to the request `code`. The one place where a refusal is logged.
    pub(crate) fn into_reply(self, code: i32, peer: SocketAddr) -> Reply {
        if self.is_everyday() {
            tracing::debug!(code, %peer, error = %self, "refused");
        } else {
            tracing::warn!(code, %peer, error = %self, "refused");
        }
        Reply::refuse(self.code(), self.to_string())
    }
}
