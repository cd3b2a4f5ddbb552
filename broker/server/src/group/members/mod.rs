//! Connected clients: producers, consumers and their subscriptions.
//!
//! Nothing here is stored. A client exists from its first heartbeat until it unregisters, its
//! connection ends, or it sends no heartbeat for too long.

mod consumers;
mod memberships;
mod metrics;
mod notifications;
mod producers;

pub(crate) use consumers::Consumers;
pub(crate) use memberships::MOST as MAX_MEMBERSHIPS;
use memberships::Memberships;
pub(crate) use metrics::metrics;
pub(crate) use notifications::Notifications;
pub(crate) use producers::Producers;

use rmq_protocol::{body, language::Language, version::Version};
use rmq_remoting::Connection;

/// A client on a connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) language: Language,
    pub(crate) version: Version,
    pub(crate) connection: Connection,
    /// The time of its last heartbeat, in milliseconds since 1970.
    pub(crate) seen: i64,
}

impl Client {
    /// The client as tools show it.
    pub(crate) fn describe(&self) -> body::Connection {
        body::Connection {
            client_addr: self.connection.peer().to_string(),
            client_id: self.id.clone(),
            language: self.language.name().to_owned(),
            version: self.version,
        }
    }
}
