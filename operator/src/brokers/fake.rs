//! Brokers in memory, for tests: answers `Admin` and records every write.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use rmq_protocol::body::{SubscriptionGroup, SubscriptionGroupTable, TopicConfig, TopicConfigTable};

use crate::{
    brokers::admin::{Admin, Broker, Progress, Recovery, Result},
    error::AdminError,
};

/// One broker group; its master's address is its name.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    /// The cluster name that it is registered under.
    pub(crate) cluster: String,
    pub(crate) topics: BTreeMap<String, TopicConfig>,
    pub(crate) groups: BTreeMap<String, SubscriptionGroup>,
    pub(crate) permission: i32,
    pub(crate) slaves: u32,
    pub(crate) stored: u64,
    pub(crate) members: BTreeSet<String>,
    /// Rows of `brokerStatus` of the master, and of each slave.
    pub(crate) status: BTreeMap<String, String>,
    pub(crate) slave_status: BTreeMap<String, String>,
    /// Does not answer.
    pub(crate) down: bool,
    /// Answers writes with success and does nothing.
    pub(crate) deaf: bool,
    /// Refuses writes.
    pub(crate) refuses: bool,
}

impl Default for Master {
    fn default() -> Self {
        Self {
            cluster: "prod".to_owned(),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            permission: 6,
            slaves: 0,
            stored: 0,
            members: BTreeSet::new(),
            status: BTreeMap::new(),
            slave_status: BTreeMap::new(),
            down: false,
            deaf: false,
            refuses: false,
        }
    }
}

/// All of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) masters: BTreeMap<String, Master>,
    pub(crate) namesrv_down: bool,
    /// Calls that fetch whole tables.
    pub(crate) fetches: usize,
    /// Writes in order, as `verb broker name`.
    pub(crate) writes: Vec<String>,
}

/// Brokers by the list of their namesrvs, for code that connects by address. Each test has namesrvs
/// of its own.
static PUBLISHED: Mutex<BTreeMap<String, Fake>> = Mutex::new(BTreeMap::new());

impl Fake {
    /// Makes these brokers the ones behind a list of namesrvs.
    pub(crate) fn publish(&self, namesrvs: &str) {
        PUBLISHED.lock().insert(namesrvs.to_owned(), self.clone());
    }

    pub(crate) fn new(masters: &[(&str, Master)]) -> Self {
        let fake = Self::default();
        fake.0.lock().masters = masters.iter().map(|(name, master)| ((*name).to_owned(), master.clone())).collect();
        fake
    }

    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().writes)
    }

    pub(crate) fn change(&self, broker: &str, change: impl FnOnce(&mut Master)) {
        change(self.0.lock().masters.get_mut(broker).unwrap());
    }

    fn read<T>(&self, broker: &str, read: impl FnOnce(&Master) -> T) -> Result<T> {
        let state = self.0.lock();
        match state.masters.get(broker).filter(|master| !master.down) {
            Some(master) => Ok(read(master)),
            None => Err(AdminError::Unreachable { target: broker.to_owned(), why: "connection refused".to_owned() }),
        }
    }

    fn write(&self, verb: &str, broker: &str, what: &str, write: impl FnOnce(&mut Master)) -> Result<()> {
        if self.read(broker, |master| master.refuses)? {
            return Err(AdminError::Refused { target: broker.to_owned(), code: 1, remark: "not now".to_owned() });
        }
        let mut state = self.0.lock();
        state.writes.push(format!("{verb} {broker} {what}"));
        if let Some(master) = state.masters.get_mut(broker).filter(|master| !master.deaf) {
            write(master);
        }
        Ok(())
    }
}

/// Group and ordinal of the process at the DNS name of a pod.
fn process(address: &str) -> (&str, u32) {
    let pod = address.split('.').next().unwrap_or_default();
    pod.rsplit_once('-').map_or((pod, 0), |(group, ordinal)| (group, ordinal.parse().unwrap_or(0)))
}

impl Admin for Fake {
    fn connect(namesrvs: &[String]) -> Self {
        PUBLISHED.lock().get(&namesrvs.join(";")).cloned().unwrap_or_default()
    }

    async fn brokers(&self) -> Result<Vec<Broker>> {
        let state = self.0.lock();
        if state.namesrv_down {
            return Err(AdminError::Unreachable { target: "namesrv".to_owned(), why: "connection refused".to_owned() });
        }
        let broker = |(name, master): (&String, &Master)| Broker {
            name: name.clone(),
            cluster: master.cluster.clone(),
            master: (!master.down).then(|| name.clone()),
            slaves: master.slaves,
        };
        Ok(state.masters.iter().map(broker).collect())
    }

    async fn status(&self, broker: &str) -> Result<BTreeMap<String, String>> {
        let (group, ordinal) = process(broker);
        self.read(group, |master| match ordinal {
            0 => master.status.clone(),
            _ => master.slave_status.clone(),
        })
    }

    async fn recover(&self, broker: &str, recovery: &Recovery) -> Result<()> {
        let what = match recovery {
            Recovery::CopyFrom(address) => format!("copy {address}"),
            Recovery::AcceptLoss => "accept-loss".to_owned(),
        };
        self.write("recover", process(broker).0, &what, |master| {
            master.status.insert("logCheck".to_owned(), "open".to_owned());
            master.slave_status.clear();
        })
    }

    async fn topics(&self, broker: &str) -> Result<TopicConfigTable> {
        self.0.lock().fetches += 1;
        let topic_config_table = self.read(broker, |master| master.topics.clone())?;
        Ok(TopicConfigTable { topic_config_table, ..TopicConfigTable::default() })
    }

    async fn put_topic(&self, broker: &str, topic: &TopicConfig) -> Result<()> {
        let topic = topic.clone();
        self.write("put", broker, &topic.topic_name.clone(), |master| {
            master.topics.insert(topic.topic_name.clone(), topic);
        })
    }

    async fn delete_topic(&self, broker: &str, topic: &str) -> Result<()> {
        self.write("delete", broker, topic, |master| {
            master.topics.remove(topic);
        })
    }

    async fn forget_topic(&self, topic: &str, _: &str) -> Result<()> {
        self.0.lock().writes.push(format!("forget {topic}"));
        Ok(())
    }

    async fn stored_messages(&self, broker: &str, _: &str) -> Result<u64> {
        self.read(broker, |master| master.stored)
    }

    async fn consumer_groups(&self, broker: &str) -> Result<SubscriptionGroupTable> {
        let subscription_group_table = self.read(broker, |master| master.groups.clone())?;
        Ok(SubscriptionGroupTable { subscription_group_table, ..SubscriptionGroupTable::default() })
    }

    async fn put_consumer_group(&self, broker: &str, group: &SubscriptionGroup) -> Result<()> {
        let group = group.clone();
        self.write("put", broker, &group.group_name.clone(), |master| {
            master.groups.insert(group.group_name.clone(), group);
        })
    }

    async fn delete_consumer_group(&self, broker: &str, group: &str) -> Result<()> {
        self.write("delete", broker, group, |master| {
            master.groups.remove(group);
        })
    }

    async fn progress(&self, broker: &str, _: &str) -> Result<Progress> {
        self.read(broker, |master| Progress { lag: master.stored, topics: master.topics.keys().cloned().collect() })
    }

    async fn members(&self, broker: &str, _: &str) -> Result<BTreeSet<String>> {
        self.read(broker, |master| master.members.clone())
    }

    async fn permission(&self, broker: &str) -> Result<i32> {
        self.read(broker, |master| master.permission)
    }

    async fn set_permission(&self, broker: &str, bits: i32) -> Result<()> {
        self.write("permit", broker, &bits.to_string(), |master| master.permission = bits)
    }
}
