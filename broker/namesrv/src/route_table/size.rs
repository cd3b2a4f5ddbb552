//! The memory of routes, as estimated for their limit.
//!
//! It is an estimate, because the real size of an allocation is unknown; it was compared with the
//! memory of a process with 200,000 topics. A change copies the hash tables of the shards that it
//! modifies while readers hold the previous ones; that is included.

use super::{RouteTable, snapshot::Snapshot};
use crate::{
    Error,
    capacity::{MAX_BROKERS, MAX_MEMBERS, MAX_TOPICS_OF_GROUP},
};
use std::collections::BTreeMap;

/// Bytes of a topic beside its name: its slot in a hash table, and the headers of its name and its
/// row.
pub(crate) const TOPIC: usize = 176;
/// Bytes of its queues on one broker group.
pub(crate) const ROW: usize = 48;
/// Bytes of a broker group beside its names.
const GROUP: usize = 400;
/// Bytes of a member beside its address.
const MEMBER: usize = 400;
/// How many copies of a group's names and addresses are kept, mostly in prepared responses.
const COPIES: usize = 12;

/// Bytes of a group with these members.
pub(super) fn of_group(name: &str, cluster: &str, addresses: &BTreeMap<i64, String>) -> usize {
    let members: usize = addresses.values().map(|address| MEMBER + COPIES * address.len()).sum();
    GROUP + COPIES * (name.len() + cluster.len()) + members
}

/// The additions of a change to the table.
pub(super) struct Growth<'a> {
    pub(super) group: &'a str,
    /// Living brokers.
    pub(super) brokers: usize,
    /// The group's members after the change.
    pub(super) members: usize,
    /// Topics that the group does not have yet.
    pub(super) topics: usize,
    pub(super) bytes: usize,
}

impl RouteTable {
    /// # Errors
    /// [`Error::TooMany`], [`Error::RoutesFull`].
    pub(super) fn check_room(&self, growth: &Growth<'_>) -> Result<(), Error> {
        let group = growth.group;
        let too_many = |what, number, most| Error::TooMany { what, group: group.to_owned(), number, most };
        let brokers = self.live.len() + growth.brokers;
        if growth.brokers > 0 && brokers > MAX_BROKERS {
            return Err(too_many("living brokers", brokers, MAX_BROKERS));
        }
        if growth.members > MAX_MEMBERS {
            return Err(too_many("members of one broker group", growth.members, MAX_MEMBERS));
        }
        // Counting a group's topics visits all of them, so it is done only if the table has that
        // many.
        if growth.topics > 0 && self.snapshot.topic_count() + growth.topics > MAX_TOPICS_OF_GROUP {
            let topics = self.snapshot.topics_of(group).len() + growth.topics;
            if topics > MAX_TOPICS_OF_GROUP {
                return Err(too_many("topics of one broker group", topics, MAX_TOPICS_OF_GROUP));
            }
        }
        let used = self.snapshot.bytes();
        if growth.bytes > 0 && used + growth.bytes > self.limit {
            return Err(Error::RoutesFull { used, more: growth.bytes, most: self.limit });
        }
        Ok(())
    }
}

impl Snapshot {
    /// Bytes that a topic's queues on a group would add; 0 if they exist.
    pub(super) fn growth(&self, topic: &str, group: &str) -> usize {
        match self.queues(topic) {
            None => TOPIC + topic.len() + ROW,
            Some(_) if self.queues_on(topic, group).is_some() => 0,
            Some(_) => ROW,
        }
    }
}
