//! The common dependencies of features.

use crate::{
    config::Live,
    filter::Filters,
    group::{
        members::{Consumers, Producers},
        offsets::ConsumerOffsets,
        subscription::SubscriptionGroups,
    },
    observe::stats::Stats,
    registration::Registration,
    role::CurrentRole,
    timer::delay::Delay,
    topic::Topics,
    transaction::Transactions,
};
use rmq_store::MessageStore;
use std::{net::SocketAddr, sync::Arc};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// The parts that several features need. Each feature takes the parts that it uses when it is
/// constructed; none keeps the whole.
pub(crate) struct Core {
    pub(crate) settings: Arc<Live>,
    pub(crate) role: Arc<CurrentRole>,
    pub(crate) store: Arc<MessageStore>,
    /// The address that is stored in the records.
    pub(crate) store_host: SocketAddr,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) delay: Arc<Delay>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) stats: Arc<Stats>,
    /// Tasks of requests that wait. They end before the store is closed.
    pub(crate) tasks: TaskTracker,
    /// Runs the requests that are not run on their connection's thread. Responses of sends that
    /// wait for a disk or a slave stay on that thread.
    pub(crate) runtime: Handle,
}
