//! The errors of the start and of requests.

use rmq_protocol::{Reply, ResponseCode, body::RegistrationError, fastjson, header};
use std::{io, net::SocketAddr, path::PathBuf};

/// Why a namesrv does not start, or why it refuses a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of the configuration that begins with its separator.
    #[error("there is no key before '=' or ':'")]
    NoKey,
    /// One port for two listeners.
    #[error("httpPort {0} is the port of listenPort: take another")]
    SamePort(u16),
    /// An unknown key of the configuration.
    #[error("there is no setting {key}{}", nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default())]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that was probably intended.
        nearest: Option<&'static str>,
    },
    /// An invalid value of a key.
    #[error("{key} cannot be {value:?}; it must be {expected}{}", comment(value))]
    Value {
        /// The key.
        key: &'static str,
        /// The value found.
        value: String,
        /// The expected value.
        expected: &'static str,
    },
    /// Several of these, a line each.
    #[error("{}", _0.iter().map(|error| format!("\n  {error}")).collect::<String>())]
    Several(Vec<Error>),
    /// Listening on a port failed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Neither the KV file nor its backup can be read.
    #[error("cannot read {}: {reason}; restore a copy, or move it and its .bak away to start without KV settings", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// Starting a thread or registering the metrics failed.
    #[error("cannot start: {0}")]
    Start(String),

    /// A request without a required field.
    #[error(transparent)]
    Header(#[from] header::Error),
    /// A registration whose body cannot be decoded.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A body with invalid JSON.
    #[error(transparent)]
    Body(#[from] fastjson::Error),
    /// A registration whose body does not have its checksum.
    #[error("crc32 not match")]
    Checksum,
    /// A single topic from a broker that is not registered.
    #[error("register broker failed: {0} must register all its topics before single ones")]
    NotRegisteredYet(String),
    /// A name or an address that is too long.
    #[error("the {what} {begin:?}... has {bytes} bytes; {most} are possible")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// Its first characters.
        begin: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// A limit on a number is exceeded.
    #[error("with this registration of {group} there would be {number} {what}; {most} are possible")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The broker of the registration.
        group: String,
        /// How many.
        number: usize,
        /// The limit.
        most: usize,
    },
    /// The routes have reached their memory limit.
    #[error(
        "the routes of this namesrv take {used} of {most} bytes, and this would add {more}: give \
         the namesrv more memory, or raise maxRouteTableBytes, or delete topics"
    )]
    RoutesFull {
        /// Bytes in use.
        used: usize,
        /// Bytes to be added.
        more: usize,
        /// The limit.
        most: usize,
    },
    /// No broker has this topic. The text is Java's: tools search for it.
    #[error(
        "No topic route info in name server for the topic: {0}\nSee \
         https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )]
    NoRoute(String),
    /// Clients do not get routes yet (`needWaitForService`).
    #[error("name server not ready")]
    NotReady,
    /// Lists of topics are switched off.
    #[error("disable")]
    Disabled,
    /// The KV value does not exist.
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoValue {
        /// Namespace.
        namespace: String,
        /// Key in it.
        key: String,
    },
    /// The KV namespace does not exist.
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    /// The KV table has reached its limit.
    #[error("the KV table may have {0} bytes as JSON and would become larger; delete something first")]
    KvFull(usize),
    /// A file cannot be written; nothing was changed.
    #[error("cannot write {}: {source}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A setting that a request may not change.
    #[error("Can not update config in black list.")]
    BlackListed,
    /// A setting that is read only at the start.
    #[error("{0} takes effect only at a start: write it into the configuration file and restart the namesrv")]
    OnlyAtStart(&'static str),
    /// Too many changes are queued.
    #[error("[OVERLOAD] too many changes are waiting in this namesrv; try again later")]
    Overloaded,
    /// The namesrv is stopping.
    #[error("this namesrv is stopping")]
    Stopping,
    /// The request code is unknown.
    #[error(" request type {}", unsupported(*.0))]
    Unsupported(i32),
}

/// Tools ask namesrvs for a controller too.
fn unsupported(code: i32) -> String {
    match code {
        1001..=1018 => format!("{code} not supported: roles are static, so no namesrv runs a controller"),
        _ => format!("{code} not supported"),
    }
}

/// The error for a comment after a value.
fn comment(value: &str) -> &'static str {
    match rmq_protocol::address::has_comment(value) {
        true => "; in a properties file what follows a value is part of it, so put the comment on its own line",
        false => "",
    }
}

impl Error {
    /// Its response code.
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

    /// A registration that exceeds a limit.
    pub(crate) fn is_of_size(&self) -> bool {
        matches!(
            self,
            Self::TooLong { .. }
                | Self::TooMany { .. }
                | Self::RoutesFull { .. }
                | Self::Registration(RegistrationError::TooManyTopics { .. } | RegistrationError::TooLarge { .. })
        )
    }

    /// Errors that clients cause in normal operation by requesting what does not exist.
    fn is_everyday(&self) -> bool {
        matches!(self, Self::NoRoute(_) | Self::NoValue { .. } | Self::NoNamespace(_) | Self::NotReady | Self::Disabled)
    }

    /// The response to the request `code`. Refusals are logged here and nowhere else.
    pub(crate) fn into_reply(self, code: i32, peer: SocketAddr) -> Reply {
        if self.is_everyday() {
            tracing::debug!(code, %peer, error = %self, "refused");
        } else {
            tracing::warn!(code, %peer, error = %self, "refused");
        }
        Reply::refuse(self.code(), self.to_string())
    }
}
