//! Topics and consumer groups: objects whose truth flows one way, from Kubernetes to brokers.
//!
//! Both kinds share one engine; `topic.rs` and `consumer_group.rs` say what is particular to each.
//!
//! - `decide.rs` is pure: an object, what the operator knows of it and an inventory give the writes
//!   that are due and a verdict.
//! - `reconcile.rs` is the lifecycle of an object in Kubernetes: reference, conflict, finalizer,
//!   status, events.
//!
//! What is not named by an object is never touched: other topics, system topics, and settings of a
//! topic that its object does not mention. Every write is read back; a broker that acknowledges a
//! write and does not carry it out is found.
//!
//! May touch the API server and brokers: `reconcile.rs` both, the kinds the brokers.

pub(crate) mod consumer_group;
pub(crate) mod decide;
pub(crate) mod reconcile;
pub(crate) mod topic;

use std::fmt::{self, Debug};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{CustomResourceExt, Resource};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use decide::{OnBroker, Verdict};
#[cfg(test)]
mod tests;

use crate::{
    api::{Adoption, ClusterRef, DeletionPolicy, Management, Origin},
    brokers::{
        admin::{self, Admin},
        pool::{Inventory, MasterTables},
    },
    error::AdminError,
};

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Field of the spec.
    pub field: &'static str,
    /// What the broker has.
    pub have: String,
    /// What the spec says.
    pub want: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, wanted {}", self.field, self.have, self.want)
    }
}

/// A broker's settings against a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What a write would change.
    pub changes: Vec<Change>,
    /// What differs and must not be changed, and why.
    pub refused: Option<String>,
}

/// What the status of an object remembers between reconciles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Whether the operator may write what the object names; `None`: not yet.
    pub origin: Option<Origin>,
    /// The cluster that `origin` is about.
    pub cluster_uid: Option<String>,
    /// Conditions as last written.
    pub conditions: Vec<Condition>,
}

/// A kind whose objects are made on brokers.
pub trait Provisioned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + CustomResourceExt
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// A broker's settings of one.
    type Config: Clone + Debug + Send + Sync;

    /// What people call it.
    const WHAT: &'static str;
    /// Holds the object until the deletion policy has been carried out.
    const FINALIZER: &'static str;

    /// RocketMQ's name of it.
    fn remote_name(&self) -> &str;
    /// The cluster it lives in.
    fn cluster_ref(&self) -> &ClusterRef;
    /// How far the operator goes.
    fn management(&self) -> Management;
    /// What to do with one that exists already.
    fn adoption(&self) -> Adoption;
    /// What to do on brokers when the object goes.
    fn deletion_policy(&self) -> DeletionPolicy;
    /// Whether the broker group with this index should have it.
    fn placed_on(&self, group: u32) -> bool;
    /// What the status remembers.
    fn record(&self) -> Record;

    /// Whether RocketMQ itself owns the name in this cluster; such a one is never touched.
    fn is_system(name: &str, cluster_name: &str) -> bool;
    /// The settings of one in a broker's tables.
    fn found<'a>(tables: &'a MasterTables, name: &str) -> Option<&'a Self::Config>;
    /// Settings against the spec.
    fn compare(&self, have: &Self::Config) -> Comparison;
    /// The settings to write: the spec over what is there.
    fn desired(&self, have: Option<&Self::Config>) -> Self::Config;

    /// Writes settings to a broker.
    fn put<A: Admin>(admin: &A, broker: &str, config: &Self::Config) -> impl Future<Output = admin::Result<()>> + Send;
    /// Deletes it from a broker.
    fn delete<A: Admin>(admin: &A, broker: &str, name: &str) -> impl Future<Output = admin::Result<()>> + Send;
    /// Makes namesrvs forget it once no broker has it.
    fn forget<A: Admin>(admin: &A, name: &str, cluster_name: &str) -> impl Future<Output = admin::Result<()>> + Send;
    /// Why it is not empty on a broker; `None` when it is.
    fn holds<A: Admin>(
        admin: &A,
        broker: &str,
        name: &str,
    ) -> impl Future<Output = admin::Result<Option<String>>> + Send;
    /// Counts for the status, asked of brokers about once a minute; what cannot be asked keeps its
    /// last value.
    fn statistics<A: Admin>(&self, admin: &A, brokers: &[String]) -> impl Future<Output = Value> + Send;

    /// The whole status.
    fn status(&self, record: &Record, brokers: &[OnBroker<Self::Config>], statistics: Value) -> Value;
}

/// What became of an object that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// No broker of the inventory had it.
    Gone,
    /// Brokers were asked; a later inventory says whether they did it.
    Requested,
    /// This broker may have it and could not be asked; nothing was done.
    Unknown(String),
    /// It is to be removed when it is empty, and is not, for this reason; nothing was done.
    Holds(String),
}

/// Carries out the deletion policy of an object on every broker of the cluster, then on the
/// namesrvs. `groups` are the broker names of the cluster by index.
///
/// # Errors
/// A broker that refused or did not answer; earlier deletions stand.
pub async fn remove<K: Provisioned, A: Admin>(
    object: &K,
    admin: &A,
    groups: &[String],
    cluster_name: &str,
    inventory: &Inventory,
) -> Result<Removal, AdminError> {
    let name = object.remote_name();
    let mut holders = Vec::new();
    for group in groups {
        let entry = inventory.brokers.iter().find(|entry| entry.broker.name == *group);
        match entry.map(|entry| (entry.broker.master.as_deref(), &entry.tables)) {
            Some((Some(master), Ok(tables))) if K::found(tables, name).is_some() => holders.push(master),
            Some((_, Ok(_))) => {}
            _ => return Ok(Removal::Unknown(group.clone())),
        }
    }
    if object.deletion_policy() == DeletionPolicy::DeleteIfEmpty {
        for master in &holders {
            if let Some(why) = K::holds(admin, master, name).await? {
                return Ok(Removal::Holds(why));
            }
        }
    }
    for master in &holders {
        K::delete(admin, master, name).await?;
    }
    K::forget(admin, name, cluster_name).await?;
    Ok(if holders.is_empty() { Removal::Gone } else { Removal::Requested })
}

/// Reconciles an object with the brokers of an inventory, without Kubernetes: what `rocketmq up`
/// does with the topics and groups of its manifest. What exists already is taken over. `groups` are
/// the broker names of the cluster by index. The verdict is about `inventory`; after writes, ask
/// again with a new one.
///
/// # Errors
/// A broker that refused a write or did not answer; earlier writes stand.
pub async fn once<K: Provisioned, A: Admin>(
    object: &K,
    admin: &A,
    groups: &[String],
    inventory: &Inventory,
) -> Result<Verdict, AdminError> {
    let decision = decide::decide(object, Some(Origin::Adopted), groups, inventory);
    for write in &decision.writes {
        K::put(admin, &write.address, &write.config).await?;
    }
    Ok(decision.verdict)
}
