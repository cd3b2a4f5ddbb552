//! Connections to clusters, and what their brokers hold.
//!
//! All topics and consumer groups of a cluster are judged against one `Inventory`: one bulk fetch a
//! broker and minute, however many objects there are. After a write, its caller asks for an
//! inventory younger than that; writers that wait for it at the same time share one fetch, so
//! reading back ten thousand topics costs a few fetches.
//!
//! What brokers hold like each other is kept once (`table.rs`), and an inventory is let go before
//! anything is waited for.
//!
//! A cluster that does not answer is left alone for a growing pause (1 s to 1 min), so that its
//! thousand topics cannot keep the queue busy for the others.
//!
//! Locks: `clusters` is short and never held over an await. Each cluster's `inventory` is an async
//! lock held during a fetch: that is what makes callers share it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use parking_lot::Mutex;
use rmq_protocol::body::{SubscriptionGroup, TopicConfig};

use crate::{
    api::reference::ClusterKey,
    brokers::{
        admin::{Admin, Broker},
        table::Table,
    },
    error::AdminError,
    process::{jittered, metrics::Metrics},
};

/// How often brokers are compared with objects that are well.
pub const PERIOD: Duration = Duration::from_secs(60);
/// How old an inventory may be for that. Less than the shortest [`Inventory::next_comparison`], so
/// that the first object to come after a period fetches, and those that come soon after it share
/// what it fetched: no difference stands for longer than one period.
pub const INVENTORY_AGE: Duration = Duration::from_secs(53);
/// Brokers of a cluster whose tables are on their way at the same time. Each holds a body of some
/// 300 bytes a topic or group beside what is read from it.
const AT_A_TIME: usize = 4;
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// What one broker group held when it was asked.
#[derive(Clone, Debug)]
pub struct GroupInventory {
    /// Name and addresses.
    pub broker: Broker,
    /// Tables of its master; the error when it could not be asked.
    pub tables: Result<MasterTables, AdminError>,
}

/// Topics and consumer groups of one master, as an inventory keeps them.
#[derive(Clone, Debug, Default)]
pub struct MasterTables {
    /// Topics.
    pub topics: Table<TopicConfig>,
    /// Consumer groups.
    pub consumer_groups: Table<SubscriptionGroup>,
}

/// Topics and consumer groups of one master, by name, as it returned them.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Topics.
    pub topics: BTreeMap<String, TopicConfig>,
    /// Consumer groups.
    pub consumer_groups: BTreeMap<String, SubscriptionGroup>,
}

/// What all registered brokers of a cluster held.
#[derive(Clone, Debug)]
pub struct Inventory {
    begun: Instant,
    /// In order of name.
    pub brokers: Vec<GroupInventory>,
}

impl Inventory {
    /// How long until the next comparison with a newer one: a period after this one was begun, 10 %
    /// more or less.
    pub fn next_comparison(&self) -> Duration {
        jittered(PERIOD).saturating_sub(self.begun.elapsed()).max(Duration::from_secs(1))
    }
}

/// Why there is no inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// What the last try said.
    pub error: AdminError,
    /// When to ask again.
    pub retry_in: Duration,
}

/// Connections by cluster.
#[derive(Debug)]
pub struct Pool<A> {
    metrics: Metrics,
    clusters: Mutex<HashMap<ClusterKey, Arc<Connection<A>>>>,
}

#[derive(Debug)]
struct Connection<A> {
    namesrvs: String,
    admin: A,
    inventory: tokio::sync::Mutex<Option<Arc<Inventory>>>,
    back_off: Mutex<Option<BackOff>>,
}

#[derive(Clone, Debug)]
struct BackOff {
    error: AdminError,
    length: Duration,
    until: Instant,
}

impl<A: Admin> Pool<A> {
    /// No connections yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, clusters: Mutex::default() }
    }

    /// The handle of a cluster; a new one when its namesrvs changed.
    pub fn admin(&self, key: &ClusterKey, namesrvs: &str) -> A {
        self.connection(key, namesrvs).admin.clone()
    }

    /// Closes the connections of a cluster that is gone.
    pub fn forget(&self, key: &ClusterKey) {
        self.clusters.lock().remove(key);
    }

    /// What the brokers of a cluster hold, not older than `since`.
    ///
    /// # Errors
    /// When no namesrv answers. A broker that does not respond has the error in its own entry.
    pub async fn inventory(
        &self,
        key: &ClusterKey,
        namesrvs: &str,
        since: Instant,
    ) -> Result<Arc<Inventory>, Unavailable> {
        let connection = self.connection(key, namesrvs);
        let mut held = connection.inventory.lock().await;
        if let Some(inventory) = held.as_ref().filter(|inventory| inventory.begun >= since) {
            return Ok(inventory.clone());
        }
        if let Some(back_off) = connection.back_off.lock().clone()
            && let Some(left) = back_off.until.checked_duration_since(Instant::now())
        {
            return Err(Unavailable { error: back_off.error, retry_in: left });
        }
        let began = Instant::now();
        let fetched = fetch(&connection.admin, began, held.as_deref()).await;
        self.metrics.admin_call("inventory", fetched.is_ok(), began.elapsed());
        match fetched {
            Ok(inventory) => {
                *connection.back_off.lock() = None;
                let inventory = Arc::new(inventory);
                *held = Some(inventory.clone());
                Ok(inventory)
            }
            Err(error) => {
                let mut back_off = connection.back_off.lock();
                let length =
                    back_off.as_ref().map_or(FIRST_BACK_OFF, |back_off| (back_off.length * 2).min(LONGEST_BACK_OFF));
                *back_off = Some(BackOff { error: error.clone(), length, until: Instant::now() + length });
                Err(Unavailable { error, retry_in: length })
            }
        }
    }

    fn connection(&self, key: &ClusterKey, namesrvs: &str) -> Arc<Connection<A>> {
        let mut clusters = self.clusters.lock();
        match clusters.get(key).filter(|connection| connection.namesrvs == namesrvs) {
            Some(connection) => connection.clone(),
            None => {
                let addresses: Vec<String> = namesrvs.split(';').map(str::to_owned).collect();
                let connection = Arc::new(Connection {
                    namesrvs: namesrvs.to_owned(),
                    admin: A::connect(&addresses),
                    inventory: tokio::sync::Mutex::default(),
                    back_off: Mutex::default(),
                });
                clusters.insert(key.clone(), connection.clone());
                connection
            }
        }
    }
}

/// Asks a few brokers at a time. What they hold like each other, or like `before`, is kept once.
async fn fetch<A: Admin>(admin: &A, begun: Instant, before: Option<&Inventory>) -> Result<Inventory, AdminError> {
    let mut brokers = admin.brokers().await?;
    brokers.sort_by(|left, right| left.name.cmp(&right.name));
    let asked = brokers.into_iter().map(|broker| async move {
        let tables = match &broker.master {
            Some(master) => tables(admin, master).await,
            None => {
                Err(AdminError::Unreachable { target: broker.name.clone(), why: "no master is registered".to_owned() })
            }
        };
        (broker, tables)
    });
    let mut answers = std::pin::pin!(futures::stream::iter(asked).buffered(AT_A_TIME));
    let mut entries: Vec<GroupInventory> = Vec::new();
    while let Some((broker, fetched)) = answers.next().await {
        let tables = fetched.map(|fetched| {
            let known = before.map(|before| before.brokers.as_slice()).unwrap_or_default();
            let held = known.iter().filter(|other| other.broker.name == broker.name).chain(&entries);
            let held = held.filter_map(|other| other.tables.as_ref().ok());
            MasterTables {
                topics: Table::sharing(fetched.topics, held.clone().map(|held| &held.topics)),
                consumer_groups: Table::sharing(fetched.consumer_groups, held.map(|held| &held.consumer_groups)),
            }
        });
        entries.push(GroupInventory { broker, tables });
    }
    Ok(Inventory { begun, brokers: entries })
}

/// Both tables of a master.
pub async fn tables<A: Admin>(admin: &A, master: &str) -> Result<Tables, AdminError> {
    let (topics, groups) = futures::future::try_join(admin.topics(master), admin.consumer_groups(master)).await?;
    Ok(Tables { topics: topics.topic_config_table, consumer_groups: groups.subscription_group_table })
}
