//! The readers' view: an immutable snapshot of all routes.
//!
//! A change creates a new snapshot that shares nearly everything with the previous one: topics lie
//! in shards, and only the shards of changed topics are copied. With 10,000 topics that is some
//! forty entries for one topic, and 256 reference counts for the rest. Readers may hold a snapshot
//! for any time and never wait; dropping the last reference frees it.

use super::{
    group::{Flavour, Group},
    json, size,
};
use rmq_protocol::body::{BrokerData, ClusterInfo, MemberGroup};
use rustc_hash::{FxHashMap, FxHasher};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    sync::Arc,
};

const SHARDS: usize = 256;

/// Topics with this prefix are shown unchanged: brokers track their own group with them.
const MEMBER_GROUP_TOPIC: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// A topic's queues on one broker group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queues {
    pub(crate) broker: Arc<str>,
    pub(crate) read: i32,
    pub(crate) write: i32,
    pub(crate) perm: i32,
    pub(crate) sys_flag: i32,
}

type Shard = FxHashMap<Arc<str>, Arc<[Queues]>>;

/// Invariants: a topic has queues on at least one group, on each at most once, in order of the
/// groups' names; every group that is named exists and has an address; an address is in its group
/// only once.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    groups: Arc<BTreeMap<Arc<str>, Arc<Group>>>,
    shards: Box<[Arc<Shard>]>,
    /// Its total memory, see [`size`].
    bytes: usize,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { groups: Arc::default(), shards: vec![Arc::default(); SHARDS].into(), bytes: 0 }
    }
}

fn shard_of(topic: &str) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(topic.as_bytes());
    // Bits that the maps inside do not use to select a bucket.
    (hasher.finish() >> 40) as usize % SHARDS
}

impl Snapshot {
    /// The response to 105; `None` if no broker has the topic.
    pub(crate) fn route(
        &self,
        topic: &str,
        order: Option<&str>,
        flavour: Flavour,
        acting_masters: bool,
    ) -> Option<Vec<u8>> {
        let queues = self.queues(topic)?;
        let acting_masters = acting_masters && !topic.starts_with(MEMBER_GROUP_TOPIC);
        let rows = queues.iter().filter_map(|queues| Some((queues, &**self.groups.get(&queues.broker)?)));
        Some(json::route(rows, order, flavour, acting_masters))
    }

    /// The queues of a topic.
    pub(crate) fn queues(&self, topic: &str) -> Option<&[Queues]> {
        self.shards[shard_of(topic)].get(topic).map(|queues| &**queues)
    }

    /// A broker group.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }

    /// All broker groups in order of their names.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values().map(|group| &**group)
    }

    /// All topics and their queues, in no order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &[Queues])> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(topic, queues)| (topic, &**queues))
    }

    /// The number of topics.
    pub(crate) fn topic_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// The estimated memory of everything.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Names of the topics that `wanted` selects, in order.
    pub(crate) fn topic_names(&self, wanted: impl Fn(&[Queues]) -> bool) -> Vec<String> {
        let names = self.topics().filter(|(_, queues)| wanted(queues)).map(|(topic, _)| &**topic);
        names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
    }

    /// The response to 106.
    pub(crate) fn cluster_info(&self) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for group in self.groups() {
            info.cluster_addr_table.entry(group.cluster().to_owned()).or_default().push(group.name().to_string());
            info.broker_addr_table.insert(group.name().to_string(), BrokerData::clone(group.data()));
        }
        info
    }

    /// The response to 901; a group that does not exist has no members.
    pub(crate) fn member_group(&self, cluster: &str, name: &str) -> MemberGroup {
        let broker_addrs = self.group(name).map(|group| group.addresses().clone()).unwrap_or_default();
        MemberGroup { broker_addrs, broker_name: name.to_owned(), cluster: cluster.to_owned() }
    }

    pub(super) fn put_group(&mut self, group: Group) {
        self.bytes += group.bytes();
        let before = Arc::make_mut(&mut self.groups).insert(Arc::clone(group.name()), Arc::new(group));
        self.bytes -= before.map_or(0, |before| before.bytes());
    }

    /// Removes a group and its queues of all topics.
    pub(super) fn remove_group(&mut self, name: &str) {
        let before = Arc::make_mut(&mut self.groups).remove(name);
        self.bytes -= before.map_or(0, |before| before.bytes());
        for topic in self.topics_of(name) {
            self.remove_queues(&topic, name);
        }
    }

    /// The topics that have queues on a group.
    pub(super) fn topics_of(&self, name: &str) -> Vec<Arc<str>> {
        let has = |queues: &[Queues]| position(queues, name).is_ok();
        self.topics().filter(|(_, queues)| has(queues)).map(|(topic, _)| Arc::clone(topic)).collect()
    }

    /// A topic's queues on one group.
    pub(super) fn queues_on(&self, topic: &str, name: &str) -> Option<&Queues> {
        let queues = self.queues(topic)?;
        position(queues, name).ok().map(|at| &queues[at])
    }

    /// Adds or replaces a topic's queues on one group; false if they exist already.
    pub(super) fn put_queues(&mut self, topic: &str, new: Queues) -> bool {
        self.bytes += self.growth(topic, &new.broker);
        let shard = &mut self.shards[shard_of(topic)];
        let Some(before) = shard.get(topic) else {
            Arc::make_mut(shard).insert(topic.into(), [new].into());
            return true;
        };
        let place = position(before, &new.broker);
        if place.is_ok_and(|at| before[at] == new) {
            return false;
        }
        let mut after = before.to_vec();
        match place {
            Ok(at) => after[at] = new,
            Err(at) => after.insert(at, new),
        }
        if let Some(queues) = Arc::make_mut(shard).get_mut(topic) {
            *queues = after.into();
        }
        true
    }

    /// Removes a topic's queues on one group, and with the last ones the topic; false if there were
    /// none.
    pub(super) fn remove_queues(&mut self, topic: &str, name: &str) -> bool {
        let shard = &mut self.shards[shard_of(topic)];
        let Some(before) = shard.get(topic) else { return false };
        let Ok(at) = position(before, name) else { return false };
        self.bytes -= size::ROW;
        if before.len() == 1 {
            self.bytes -= size::TOPIC + topic.len();
            Arc::make_mut(shard).remove(topic);
            return true;
        }
        let mut after = before.to_vec();
        after.remove(at);
        if let Some(queues) = Arc::make_mut(shard).get_mut(topic) {
            *queues = after.into();
        }
        true
    }

    /// Sets the permission of all queues of a group; returns how many topics have any.
    pub(super) fn set_perm(&mut self, name: &str, perm: impl Fn(i32) -> i32) -> usize {
        let topics = self.topics_of(name);
        for topic in &topics {
            if let Some(queues) = self.queues_on(topic, name) {
                let changed = Queues { perm: perm(queues.perm), ..queues.clone() };
                self.put_queues(topic, changed);
            }
        }
        topics.len()
    }
}

fn position(queues: &[Queues], name: &str) -> Result<usize, usize> {
    queues.binary_search_by(|queues| (*queues.broker).cmp(name))
}
