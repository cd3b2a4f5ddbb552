//! Registration of a broker, new or repeated.
//!
//! Every broker of a group registers every 30 s and whenever its topics change. The rules, Java's:
//!
//! - The topics of a group are those of its master (id 0). Without a master, if the members have
//!   the acting-master field, they are those of the member with the lowest id ("prime slave"),
//!   read-only if that member may act as master.
//! - Topics are taken over when the member is new under its id or their version differs; otherwise
//!   only missing topics are added, so that changes of permissions made here stay.
//! - An address is in its group only once: a slave that became master loses its old id.
//! - An id that is in use goes to the new broker, unless the holder's election epoch
//!   (`stateVersion`) is higher; then the new broker is not registered, and its registration under
//!   another id is removed too.
//! - A broker that is not registered under its id may not register a single topic: that would be a
//!   change to a table that is not known here.
//!
//! Java keeps the empty group that a refused broker leaves behind, the liveness entry of a member
//! whose id was taken, and permanently the route to a process that came back under another group's
//! name before its old connection was closed. None of them is kept here.

use super::{
    LowestIdChanged, RouteTable,
    group::{Group, MASTER},
    size::{self, Growth},
    snapshot::Queues,
};
use crate::{
    Error,
    capacity::check_length,
    liveness::{Address, DEFAULT_TIMEOUT, Live},
};
use rmq_protocol::body::{DataVersion, TopicConfig, perm};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The registering broker.
#[derive(Debug, Clone)]
pub(crate) struct Registrant {
    pub(crate) cluster: String,
    pub(crate) broker: String,
    pub(crate) id: i64,
    pub(crate) address: String,
    pub(crate) ha_address: String,
    /// Its timeout.
    pub(crate) timeout: Option<Duration>,
    /// Whether slaves may act as the master. Brokers before 5.0 do not send it.
    pub(crate) acting_master: Option<bool>,
    pub(crate) connection: u64,
}

/// The handling of topics that the group had and a registration does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They stay until the group is removed: this suits brokers that register only their changes.
    Keep,
    /// They are removed.
    Delete,
}

/// The master's address for replication, for a slave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Master {
    pub(crate) address: String,
    pub(crate) ha_address: String,
}

/// The outcome of a registration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// For slaves, if the master is alive.
    pub(crate) master: Option<Master>,
    pub(crate) lowest_id_changed: Option<LowestIdChanged>,
    /// The id belongs to a broker with a higher epoch; the new broker is not registered.
    pub(crate) ignored: bool,
    /// Another living broker uses this name and id, too.
    pub(crate) contested_by: Option<String>,
    /// True if that was not known before.
    pub(crate) contest_began: bool,
}

impl RouteTable {
    /// True if a registration of this version cannot change topics: it need not be decoded.
    pub(crate) fn needs_no_topics(&self, registrant: &Registrant, version: DataVersion) -> bool {
        let Some(group) = self.snapshot.group(&registrant.broker) else { return false };
        let addresses = group.addresses();
        if addresses.get(&registrant.id) != Some(&registrant.address) {
            return false;
        }
        if !supplies_topics(registrant, addresses) {
            return true;
        }
        let known = (Address::new(&registrant.cluster, &registrant.address), version);
        self.complete.get(group.name()) == Some(&known)
            && self.live.get(&known.0).is_some_and(|live| live.version == version)
    }

    /// Registers a broker with its topics by name; `topics` may be `None` only if
    /// [`RouteTable::needs_no_topics`] returned true.
    ///
    /// # Errors
    /// [`Error::NotRegisteredYet`]: a single topic from a broker that is not registered.
    /// [`Error::TooLong`], [`Error::TooMany`], [`Error::RoutesFull`]: a limit is exceeded. Nothing
    /// is changed then; a refused registration of a registered broker counts as a heartbeat.
    pub(crate) fn register(
        &mut self,
        now: Duration,
        registrant: &Registrant,
        version: DataVersion,
        topics: Option<&BTreeMap<String, TopicConfig>>,
        missing: Missing,
    ) -> Result<Outcome, Error> {
        let before = self.snapshot.group(&registrant.broker);
        let name = before.map_or_else(|| registrant.broker.as_str().into(), |group| Arc::clone(group.name()));
        let cluster = before.map_or(&registrant.cluster, |group| &group.data().cluster).clone();
        let mut addresses = before.map(|group| group.addresses().clone()).unwrap_or_default();
        let lowest_before = addresses.keys().next().copied();
        let address = Address::new(&registrant.cluster, &registrant.address);

        let new = !addresses.contains_key(&registrant.id);
        if new && topics.is_some_and(|topics| topics.len() == 1) {
            return Err(Error::NotRegisteredYet(registrant.broker.clone()));
        }
        if let Err(refused) = self.check_registration(registrant, topics) {
            self.live.seen(&address, now);
            return Err(refused);
        }
        addresses.retain(|id, held| {
            let stays = *id == registrant.id || *held != registrant.address;
            if !stays {
                self.contested.free(&(Arc::clone(&name), *id));
            }
            stays
        });
        let place = (Arc::clone(&name), registrant.id);
        let holder = addresses
            .get(&registrant.id)
            .filter(|held| **held != registrant.address)
            .map(|held| Address::new(&registrant.cluster, held));
        let epoch = holder.as_ref().and_then(|holder| self.live.get(holder)).map(|live| live.version.state_version);
        if epoch.is_some_and(|epoch| epoch > version.state_version) {
            tracing::warn!(
                ?registrant,
                ?epoch,
                "not registering a broker whose id belongs to another of a higher epoch"
            );
            let lowest_id_changed = self.unregister(&registrant.broker, &address);
            return Ok(Outcome { lowest_id_changed, ignored: true, ..Outcome::default() });
        }
        if self.live.get(&address).is_some_and(|live| live.broker != name) {
            // The process has a new name and registered before the end of its old connection was
            // noticed.
            self.unregister(&registrant.broker, &address);
        }
        addresses.insert(registrant.id, registrant.address.clone());
        let mut contest_began = false;
        // A process that changes its own address replaces no other broker.
        if let Some(holder) = holder
            && let Some(live) = self.live.remove(&holder)
            && live.connection != registrant.connection
        {
            contest_began =
                self.contested.replace(now, place.clone(), &registrant.address, &holder.address, live.connection);
        }
        let supplies = supplies_topics(registrant, &addresses);
        let acting = registrant.acting_master.unwrap_or_default();
        let came_below = acting && lowest_before.is_some_and(|before| registrant.id < before);
        let lowest = came_below.then(|| lowest_id_came(&name, registrant, &addresses));
        let mut changed = self.put_members_if_changed(&name, &cluster, addresses, acting);

        if let Some(topics) = topics.filter(|_| supplies) {
            let again = !new && self.live.get(&address).is_some_and(|live| live.version == version);
            let read_only = registrant.id != MASTER && acting;
            changed |= missing == Missing::Delete && self.delete_missing(&name, topics);
            changed |= self.take_topics(&name, topics, !again, read_only);
            self.note_if_complete(&name, (address.clone(), version), again, topics.len());
        }
        if self.live.insert(address, live_entry(now, registrant, &name, version)) {
            tracing::info!(cluster = registrant.cluster, broker = %name, id = registrant.id, address = registrant.address, "a broker came");
        }
        if changed {
            self.publish();
        }
        Ok(Outcome {
            master: self.master_of(registrant),
            lowest_id_changed: lowest,
            ignored: false,
            contested_by: self.contested.other_address(&place, &registrant.address),
            contest_began,
        })
    }

    fn check_registration(
        &self,
        registrant: &Registrant,
        topics: Option<&BTreeMap<String, TopicConfig>>,
    ) -> Result<(), Error> {
        let names = [
            ("broker name", &registrant.broker),
            ("cluster name", &registrant.cluster),
            ("broker's address", &registrant.address),
            ("broker's HA address", &registrant.ha_address),
        ];
        names.into_iter().try_for_each(|(what, name)| check_length(what, name))?;
        let group = self.snapshot.group(&registrant.broker);
        let mut addresses = group.map(|group| group.addresses().clone()).unwrap_or_default();
        addresses.retain(|id, held| *id == registrant.id || *held != registrant.address);
        let replaced = addresses.insert(registrant.id, registrant.address.clone()).is_some();
        let known = self.live.get(&Address::new(&registrant.cluster, &registrant.address)).is_some();
        let cluster = group.map_or(registrant.cluster.as_str(), Group::cluster);
        let before = group.map_or(0, Group::bytes);
        let mut growth = Growth {
            group: &registrant.broker,
            brokers: usize::from(!known && !replaced),
            members: addresses.len(),
            topics: 0,
            bytes: size::of_group(&registrant.broker, cluster, &addresses).saturating_sub(before),
        };
        for (key, config) in topics.filter(|_| supplies_topics(registrant, &addresses)).into_iter().flatten() {
            let topic = topic_name(key, config);
            check_length("topic", topic)?;
            let bytes = self.snapshot.growth(topic, &registrant.broker);
            growth.topics += usize::from(bytes > 0);
            growth.bytes += bytes;
        }
        self.check_room(&growth)
    }

    /// True if anything changed.
    fn put_members_if_changed(
        &mut self,
        name: &Arc<str>,
        cluster: &str,
        addresses: BTreeMap<i64, String>,
        acting: bool,
    ) -> bool {
        let group = self.snapshot.group(name);
        if group.is_some_and(|group| *group.addresses() == addresses && group.acting_master() == acting) {
            return false;
        }
        self.put_members(name, cluster, addresses, acting);
        true
    }

    fn note_if_complete(&mut self, name: &Arc<str>, known: (Address, DataVersion), again: bool, topics: usize) {
        if again && self.snapshot.topics_of(name).len() == topics {
            self.complete.insert(Arc::clone(name), known);
        } else {
            self.complete.remove(name);
        }
    }

    fn delete_missing(&mut self, name: &str, topics: &BTreeMap<String, TopicConfig>) -> bool {
        let named: BTreeSet<&str> = topics.iter().map(|(key, config)| topic_name(key, config)).collect();
        let mut changed = false;
        for topic in self.snapshot.topics_of(name) {
            changed |= !named.contains(&*topic) && self.snapshot.remove_queues(&topic, name);
        }
        changed
    }

    fn take_topics(
        &mut self,
        name: &Arc<str>,
        topics: &BTreeMap<String, TopicConfig>,
        take_over: bool,
        read_only: bool,
    ) -> bool {
        let mut changed = false;
        for (key, config) in topics {
            let topic = topic_name(key, config);
            if !take_over && self.snapshot.queues_on(topic, name).is_some() {
                continue;
            }
            let queues = Queues {
                broker: Arc::clone(name),
                read: config.read_queue_nums,
                write: config.write_queue_nums,
                perm: if read_only { config.perm & !perm::WRITE } else { config.perm },
                sys_flag: config.topic_sys_flag,
            };
            changed |= self.snapshot.put_queues(topic, queues);
        }
        changed
    }

    fn master_of(&self, registrant: &Registrant) -> Option<Master> {
        if registrant.id == MASTER {
            return None;
        }
        let address = self.snapshot.group(&registrant.broker)?.addresses().get(&MASTER)?;
        let live = self.live.get(&Address::new(&registrant.cluster, address))?;
        Some(Master { address: address.clone(), ha_address: live.ha_address.clone() })
    }
}

fn live_entry(now: Duration, registrant: &Registrant, name: &Arc<str>, version: DataVersion) -> Live {
    Live {
        broker: Arc::clone(name),
        last_seen: now,
        timeout: registrant.timeout.unwrap_or(DEFAULT_TIMEOUT),
        version,
        connection: registrant.connection,
        ha_address: registrant.ha_address.clone(),
    }
}

fn lowest_id_came(name: &Arc<str>, registrant: &Registrant, addresses: &BTreeMap<i64, String>) -> LowestIdChanged {
    let others = addresses.iter().filter(|(id, _)| **id != registrant.id || addresses.len() == 1);
    LowestIdChanged {
        broker: Arc::clone(name),
        lowest: (registrant.id, registrant.address.clone()),
        offline: None,
        ha_address: Some(registrant.ha_address.clone()),
        to: others.map(|(_, address)| address.clone()).collect(),
    }
}

fn supplies_topics(registrant: &Registrant, addresses: &BTreeMap<i64, String>) -> bool {
    let is_lowest = || addresses.keys().all(|id| *id >= registrant.id);
    registrant.id == MASTER || (registrant.acting_master.is_some() && is_lowest())
}

/// Brokers write a topic's name twice; some tools leave it out of the value.
fn topic_name<'a>(key: &'a str, config: &'a TopicConfig) -> &'a str {
    if config.topic_name.is_empty() { key } else { &config.topic_name }
}
