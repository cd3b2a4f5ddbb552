//! What tools and the operator ask of namesrvs and brokers.
//!
//! One file a family of requests. A call names the server it asks where that matters (`address` of
//! a broker); calls without an address find the servers themselves. Reading from namesrvs asks one
//! after another until one answers; writing asks all, for namesrvs share nothing.
//!
//! Nothing here is retried and nothing is cached: the caller knows how fresh an answer must be.

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

/// How long a server may take, unless told otherwise.
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
    /// [`Error::Namesrvs`]: the list is not one.
    pub fn new(namesrvs: &str) -> Result<Self, Error> {
        Ok(Self { link: Link::new(namesrvs, TIMEOUT, Arc::new(()), Limits::default())? })
    }

    /// An admin that shares the connections of a producer or consumer.
    pub(crate) fn over(link: Link) -> Self {
        Self { link }
    }

    /// The same with another time limit for each request; 5 seconds unless set.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { link: self.link.with_timeout(timeout) }
    }

    /// The addresses of the namesrvs.
    pub fn namesrvs(&self) -> &[String] {
        self.link.namesrvs()
    }

    /// Closes the connections to all servers for which `keep` is false, such as brokers that are
    /// gone.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.link.remoting().retain(keep);
    }

    /// Closes all connections, those of clones too. Calls fail from now on.
    pub async fn close(&self) {
        self.link.remoting().close().await;
    }
}
