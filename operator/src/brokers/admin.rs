//! What the operator asks of brokers and namesrvs, and nothing more.
//!
//! Narrow on purpose: the controllers are written against this trait, `remote.rs` answers it over
//! the network, tests answer it from memory. Every call has a deadline of its own; a write without
//! an answer may or may not have happened, so the caller reads every write back.

use std::collections::{BTreeMap, BTreeSet};

use rmq_protocol::body::{SubscriptionGroup, SubscriptionGroupTable, TopicConfig, TopicConfigTable};

use crate::error::AdminError;

/// Result of an admin call.
pub type Result<T> = std::result::Result<T, AdminError>;

/// A broker name as namesrvs know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broker {
    /// RocketMQ's broker name: the group.
    pub name: String,
    /// RocketMQ's cluster name that it registered under.
    pub cluster: String,
    /// Address of the member with brokerId 0.
    pub master: Option<String>,
    /// Number of registered members with another id.
    pub slaves: u32,
}

impl Broker {
    /// Whether it is the group of this name of this cluster. A namesrv may serve several clusters,
    /// and any process that reaches it can register a broker of any name.
    pub(crate) fn is_of(&self, cluster_name: &str, group: &str) -> bool {
        self.name == group && self.cluster == cluster_name
    }
}

/// How far a consumer group has come on one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages not consumed yet.
    pub lag: u64,
    /// Topics it has offsets for; retry topics left out.
    pub topics: BTreeSet<String>,
}

/// What a master is to do that takes no writes, as its log is empty or shorter than a slave's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Copy the log and the tables of the member at this address, then take writes.
    CopyFrom(String),
    /// Take writes with the log as it is.
    AcceptLoss,
}

/// Admin calls to the brokers and namesrvs of one cluster. Cheap to clone.
pub trait Admin: Clone + Send + Sync + 'static {
    /// A handle for the cluster with these namesrvs; connects when first used.
    fn connect(namesrvs: &[String]) -> Self;

    /// Registered brokers, from the first namesrv that answers.
    fn brokers(&self) -> impl Future<Output = Result<Vec<Broker>>> + Send;

    /// What a broker says of itself: the rows of `brokerStatus`.
    fn status(&self, broker: &str) -> impl Future<Output = Result<BTreeMap<String, String>>> + Send;

    /// Tells a master that waits for it what to do about its log.
    fn recover(&self, broker: &str, recovery: &Recovery) -> impl Future<Output = Result<()>> + Send;

    /// All topics of a broker.
    fn topics(&self, broker: &str) -> impl Future<Output = Result<TopicConfigTable>> + Send;

    /// Creates a topic or changes it to this.
    fn put_topic(&self, broker: &str, topic: &TopicConfig) -> impl Future<Output = Result<()>> + Send;

    /// Deletes a topic with its messages on one broker. A topic that is not there is deleted
    /// already.
    fn delete_topic(&self, broker: &str, topic: &str) -> impl Future<Output = Result<()>> + Send;

    /// Makes every namesrv forget a topic on the brokers of one cluster.
    fn forget_topic(&self, topic: &str, cluster_name: &str) -> impl Future<Output = Result<()>> + Send;

    /// Messages of a topic that a broker stores, consumed or not; consumers may still go back to
    /// them.
    fn stored_messages(&self, broker: &str, topic: &str) -> impl Future<Output = Result<u64>> + Send;

    /// All consumer groups of a broker.
    fn consumer_groups(&self, broker: &str) -> impl Future<Output = Result<SubscriptionGroupTable>> + Send;

    /// Creates a consumer group or changes it to this.
    fn put_consumer_group(&self, broker: &str, group: &SubscriptionGroup) -> impl Future<Output = Result<()>> + Send;

    /// Deletes a consumer group with its offsets on one broker. A group that is not there is
    /// deleted already.
    fn delete_consumer_group(&self, broker: &str, group: &str) -> impl Future<Output = Result<()>> + Send;

    /// Progress of a consumer group on a broker; nothing when it never consumed there.
    fn progress(&self, broker: &str, group: &str) -> impl Future<Output = Result<Progress>> + Send;

    /// Client ids of the members connected to a broker; empty when there are none.
    fn members(&self, broker: &str, group: &str) -> impl Future<Output = Result<BTreeSet<String>>> + Send;

    /// The permission bits of a broker as a whole.
    fn permission(&self, broker: &str) -> impl Future<Output = Result<i32>> + Send;

    /// Changes them at once, without restart.
    fn set_permission(&self, broker: &str, bits: i32) -> impl Future<Output = Result<()>> + Send;
}
