//! Consumer groups, their clients and what they subscribe to.

use super::{Client, Memberships};
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_protocol::{
    body::{ConsumeFromWhere, ConsumeType, ConsumerData, ConsumerIds, MessageModel, Subscription},
    fastjson,
};
use rmq_remoting::Connection;
use rustc_hash::FxHashSet;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Groups by name.
#[derive(Default)]
pub(crate) struct Consumers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Group>,
    memberships: Memberships,
}

/// A consumer group as its clients describe it; where they disagree, the last one counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) from_where: ConsumeFromWhere,
    pub(crate) clients: BTreeMap<String, Client>,
    /// By topic.
    pub(crate) subscriptions: BTreeMap<String, Arc<Subscription>>,
    /// A client has pulled with a newer subscription than it has told: what is known here is not
    /// enough.
    pub(crate) outdated: bool,
    /// The ids of its clients as the answer that tells them, once somebody has asked since the last
    /// change: with thousands of members each asks at each change.
    ids: Option<Bytes>,
}

/// What a heartbeat or a goodbye changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// Somebody came or went, so the members have to share queues anew.
    pub(crate) members: bool,
    /// The group subscribes to something else than before.
    pub(crate) subscriptions: bool,
}

impl Change {
    /// The members must be told.
    pub(crate) fn matters(self) -> bool {
        self.members || self.subscriptions
    }
}

impl Consumers {
    /// Whether the client may join the group: its connection has room for it.
    pub(crate) fn admits(&self, group: &str, client: &Client) -> bool {
        self.state.lock().memberships.admit(group, client)
    }

    /// A heartbeat with everything; `None` if the connection has too many clients already.
    pub(crate) fn register(&self, data: &ConsumerData, client: Client) -> Option<Change> {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        if !memberships.admit(&data.group_name, &client) {
            return None;
        }
        let group = match groups.get_mut(&data.group_name) {
            Some(group) => group,
            None => groups.entry(data.group_name.clone()).or_default(),
        };
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.from_where = data.consume_from_where;
        group.outdated = false;
        let members = group.join(client, &data.group_name, memberships);
        let subscriptions = group.subscribe(&data.subscription_data_set);
        Some(Change { members, subscriptions })
    }

    /// A heartbeat that leaves the subscriptions out; false if this broker does not know them and
    /// needs the whole.
    pub(crate) fn touch(&self, group: &str, client: Client) -> bool {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        match groups.get_mut(group) {
            // A client that is new here is let in by a whole heartbeat only.
            Some(known) if known.has(&client) => !known.join(client, group, memberships) && !known.outdated,
            Some(_) | None => false,
        }
    }

    /// A client of the group has a newer subscription than is known here. Java's client may drop
    /// the heartbeat that would tell it, while another is on its way, and then goes on with short
    /// ones: the next of those is answered with the wish for the whole.
    pub(crate) fn outdated(&self, group: &str) {
        if let Some(group) = self.state.lock().groups.get_mut(group) {
            group.outdated = true;
        }
    }

    /// A goodbye.
    pub(crate) fn unregister(&self, group: &str, client_id: &str) -> Change {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        let left = groups.get_mut(group).and_then(|members| members.leave(client_id));
        if let Some(client) = &left {
            memberships.end(group, client);
            forget_if_empty(groups, group);
        }
        Change { members: left.is_some(), subscriptions: false }
    }

    /// The end of a connection: the groups that lost a member.
    pub(crate) fn disconnect(&self, connection: &Connection) -> BTreeSet<String> {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        let mut changed = BTreeSet::new();
        for (name, client_id) in memberships.end_all(connection) {
            let Some(group) = groups.get_mut(&name) else { continue };
            if group.leave(&client_id).is_some() {
                forget_if_empty(groups, &name);
                changed.insert(name);
            }
        }
        changed
    }

    /// Forgets clients that were seen last before `oldest` (milliseconds since 1970): the groups
    /// that lost a member.
    pub(crate) fn expire(&self, oldest: i64) -> BTreeSet<String> {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        let mut changed = BTreeSet::new();
        groups.retain(|name, group| {
            let silent = group.clients.extract_if(.., |_, client| client.seen < oldest);
            let mut any = false;
            for (_, client) in silent {
                memberships.end(name, &client);
                any = true;
            }
            if any {
                group.ids = None;
                changed.insert(name.clone());
            }
            // An empty group is forgotten with its subscriptions: who comes next says what he
            // wants.
            !group.clients.is_empty()
        });
        changed
    }

    /// A copy of the group, if it has clients.
    pub(crate) fn group(&self, group: &str) -> Option<Group> {
        self.state.lock().groups.get(group).cloned()
    }

    /// What the group subscribes to in the topic. `None` if it has no clients; `Some(None)` if they
    /// do not subscribe to it.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Option<Arc<Subscription>>> {
        self.state.lock().groups.get(group).map(|group| group.subscriptions.get(topic).cloned())
    }

    /// How the group consumes, if it has clients.
    pub(crate) fn message_model(&self, group: &str) -> Option<MessageModel> {
        self.state.lock().groups.get(group).map(|group| group.message_model)
    }

    /// Ids of the group's clients, as the body of an answer; `None` without any.
    pub(crate) fn client_ids(&self, group: &str) -> Option<Bytes> {
        let mut state = self.state.lock();
        let Group { clients, ids, .. } = state.groups.get_mut(group)?;
        let make = || fastjson::to_vec(&ConsumerIds { consumer_id_list: clients.keys().cloned().collect() }).into();
        Some(ids.get_or_insert_with(make).clone())
    }

    /// Connections of the group's clients.
    pub(crate) fn connections(&self, group: &str) -> Vec<Connection> {
        let state = self.state.lock();
        state
            .groups
            .get(group)
            .map(|group| group.clients.values().map(|client| client.connection.clone()).collect())
            .unwrap_or_default()
    }

    /// One client of a group.
    pub(crate) fn client(&self, group: &str, client_id: &str) -> Option<Client> {
        self.state.lock().groups.get(group)?.clients.get(client_id).cloned()
    }

    /// Groups whose clients subscribe to the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        let state = self.state.lock();
        state
            .groups
            .iter()
            .filter(|(_, group)| group.subscriptions.contains_key(topic))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// A copy of the first `limit` groups by name.
    pub(crate) fn all(&self, limit: usize) -> Vec<(String, Group)> {
        self.state.lock().groups.iter().take(limit).map(|(name, group)| (name.clone(), group.clone())).collect()
    }
}

/// An empty group is forgotten with its subscriptions: who comes next says what he wants.
fn forget_if_empty(groups: &mut BTreeMap<String, Group>, name: &str) {
    if groups.get(name).is_some_and(|group| group.clients.is_empty()) {
        groups.remove(name);
    }
}

impl Group {
    /// The client is a member already, by the same connection.
    fn has(&self, client: &Client) -> bool {
        self.clients.get(&client.id).is_some_and(|known| known.connection.id() == client.connection.id())
    }

    /// True if the client is new, or has come back on another connection.
    fn join(&mut self, client: Client, name: &str, memberships: &mut Memberships) -> bool {
        let known = self.has(&client);
        if !known {
            memberships.begin(name, &client);
            self.ids = None;
        }
        let before = self.clients.insert(client.id.clone(), client);
        if let Some(before) = before.filter(|_| !known) {
            memberships.end(name, &before);
        }
        !known
    }

    fn leave(&mut self, client_id: &str) -> Option<Client> {
        let left = self.clients.remove(client_id)?;
        self.ids = None;
        Some(left)
    }

    /// Takes the newer of each subscription and drops those that are not named any more; true if
    /// the group now subscribes to other things.
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> bool {
        let mut changed = false;
        for subscription in subscriptions {
            match self.subscriptions.get_mut(&subscription.topic) {
                Some(known) => {
                    if subscription.sub_version > known.sub_version {
                        // A pull consumer's version is its clock: a new version of the same words
                        // is no change.
                        changed |= known.sub_string != subscription.sub_string
                            || known.expression_type != subscription.expression_type;
                        *known = Arc::new(subscription.clone());
                    }
                }
                None => {
                    changed = true;
                    self.subscriptions.insert(subscription.topic.clone(), Arc::new(subscription.clone()));
                }
            }
        }
        let before = self.subscriptions.len();
        let named: FxHashSet<&str> = subscriptions.iter().map(|subscription| subscription.topic.as_str()).collect();
        self.subscriptions.retain(|topic, _| named.contains(topic.as_str()));
        changed || self.subscriptions.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_of(topics: &[(&str, &str, i64)]) -> Vec<Subscription> {
        topics.iter().map(|(topic, tags, version)| Subscription::tags(topic, tags, *version)).collect()
    }

    #[test]
    fn a_subscription_changes_when_its_words_do() {
        let mut group = Group::default();
        assert!(group.subscribe(&group_of(&[("t", "*", 1), ("u", "a", 1)])));
        assert!(!group.subscribe(&group_of(&[("t", "*", 2), ("u", "a", 2)])), "a new version of the same words");
        assert!(!group.subscribe(&group_of(&[("t", "b", 1), ("u", "a", 2)])), "an older version");
        assert!(group.subscribe(&group_of(&[("t", "b", 3), ("u", "a", 3)])));
        assert!(group.subscribe(&group_of(&[("t", "b", 4)])), "one less");
        assert_eq!(group.subscriptions.len(), 1);
    }
}
