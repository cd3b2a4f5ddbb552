//! Administrative requests of tools and the operator to namesrvs and brokers.
//!
//! One file per family of requests. A call names its server if that matters (`address` of a
//! broker); calls without an address find the servers themselves. A read from namesrvs tries one
//! after another until one responds; a write goes to all of them, because namesrvs share nothing.
//!
//! Nothing here is retried or cached: the caller knows how fresh a result must be.

mod broker;
mod cluster;
mod consumer_group;
mod message;
mod namesrv;
mod offset;
mod topic;

use crate::{Error, link::Link};
use rmq_remoting::Limits;
use std::{sync::Arc, time::Duration};

pub use cluster::BrokerAddress;
pub use offset::Boundary;

/// The default timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Admin calls to one cluster of namesrvs and the brokers registered there. Cheap to clone; clones
/// share connections.
#[derive(Clone)]
pub struct Admin {
    link: Link,
}

impl Admin {
    /// An admin for the namesrvs at these addresses: `host:port`, several separated by `;`. No
    /// connection is opened yet.
    ///
    /// # Errors
    /// [`Error::Namesrvs`]: the list is invalid.
    pub fn new(namesrvs: &str) -> Result<Self, Error> {
        Ok(Self { link: Link::new(namesrvs, TIMEOUT, Arc::new(()), Limits::default())? })
    }

    /// An admin that shares the connections of a producer or consumer.
    pub(crate) fn over(link: Link) -> Self {
        Self { link }
    }

    /// The same with another timeout for each request; the default is 5 seconds.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { link: self.link.with_timeout(timeout) }
    }

    /// The addresses of the namesrvs.
    pub fn namesrvs(&self) -> &[String] {
        self.link.namesrvs()
    }

    /// Closes the connections to all servers that `keep` rejects, such as brokers that are gone.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.link.remoting().retain(keep);
    }

    /// Closes all connections, those of clones too. Calls fail from now on.
    pub async fn close(&self) {
        self.link.remoting().close().await;
    }
}
