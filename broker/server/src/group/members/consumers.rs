//! Consumer groups, their clients and their subscriptions.

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

/// A consumer group as its clients describe it. If they disagree, the last heartbeat counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) from_where: ConsumeFromWhere,
    pub(crate) clients: BTreeMap<String, Client>,
    /// Keyed by topic.
    pub(crate) subscriptions: BTreeMap<String, Arc<Subscription>>,
    /// A client has pulled with a newer subscription than its heartbeats contained. The
    /// subscriptions here are incomplete.
    pub(crate) outdated: bool,
    /// The encoded response with the ids of the clients, cached from the first request after a
    /// change: each of thousands of members asks after each change.
    ids: Option<Bytes>,
}

/// What a heartbeat or an unregistration changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// A client joined or left, so the members have to rebalance the queues.
    pub(crate) members: bool,
    /// The subscriptions of the group have changed.
    pub(crate) subscriptions: bool,
}

impl Change {
    /// The members must be notified.
    pub(crate) fn matters(self) -> bool {
        self.members || self.subscriptions
    }
}

impl Consumers {
    /// Whether the client may join the group: its connection has room for it.
    pub(crate) fn admits(&self, group: &str, client: &Client) -> bool {
        self.state.lock().memberships.admit(group, client)
    }

    /// Registers a full heartbeat. Returns `None` if the connection has too many clients already.
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

    /// Registers a heartbeat that omits the subscriptions. Returns false if this broker does not
    /// know them and needs a full heartbeat.
    pub(crate) fn touch(&self, group: &str, client: Client) -> bool {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        match groups.get_mut(group) {
            // A client that is new here joins only with a full heartbeat.
            Some(known) if known.has(&client) => !known.join(client, group, memberships) && !known.outdated,
            Some(_) | None => false,
        }
    }

    /// Notes that a client of the group has a newer subscription than is known here. Java's client
    /// may drop the heartbeat that would contain it while another one is in flight, and then
    /// continues with short ones. The response to the next short heartbeat asks for a full one.
    pub(crate) fn outdated(&self, group: &str) {
        if let Some(group) = self.state.lock().groups.get_mut(group) {
            group.outdated = true;
        }
    }

    /// Removes a client that unregisters.
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

    /// Removes the clients of a connection that has ended. Returns the groups that lost a member.
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

    /// Removes clients that were seen last before `oldest` (milliseconds since 1970). Returns the
    /// groups that lost a member.
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
            // An empty group is removed with its subscriptions. The next client of the group brings
            // its own.
            !group.clients.is_empty()
        });
        changed
    }

    /// A copy of the group, if it has clients.
    pub(crate) fn group(&self, group: &str) -> Option<Group> {
        self.state.lock().groups.get(group).cloned()
    }

    /// The subscription of the group to the topic. `None` if the group has no clients; `Some(None)`
    /// if they do not subscribe to the topic.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Option<Arc<Subscription>>> {
        self.state.lock().groups.get(group).map(|group| group.subscriptions.get(topic).cloned())
    }

    /// The message model of the group, if it has clients.
    pub(crate) fn message_model(&self, group: &str) -> Option<MessageModel> {
        self.state.lock().groups.get(group).map(|group| group.message_model)
    }

    /// The ids of the group's clients, as the body of a response. `None` if it has no clients.
    pub(crate) fn client_ids(&self, group: &str) -> Option<Bytes> {
        let mut state = self.state.lock();
        let Group { clients, ids, .. } = state.groups.get_mut(group)?;
        let make = || fastjson::to_vec(&ConsumerIds { consumer_id_list: clients.keys().cloned().collect() }).into();
        Some(ids.get_or_insert_with(make).clone())
    }

    /// The connections of the group's clients.
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

    /// The groups whose clients subscribe to the topic.
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

/// Removes an empty group with its subscriptions. The next client of the group brings its own.
fn forget_if_empty(groups: &mut BTreeMap<String, Group>, name: &str) {
    if groups.get(name).is_some_and(|group| group.clients.is_empty()) {
        groups.remove(name);
    }
}

impl Group {
    /// Whether the client is a member already, on the same connection.
    fn has(&self, client: &Client) -> bool {
        self.clients.get(&client.id).is_some_and(|known| known.connection.id() == client.connection.id())
    }

    /// Adds the client. Returns true if it is new, or has come back on another connection.
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

    /// Takes the newer version of each subscription and drops those that are no longer named.
    /// Returns true if the subscriptions of the group have changed.
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> bool {
        let mut changed = false;
        for subscription in subscriptions {
            match self.subscriptions.get_mut(&subscription.topic) {
                Some(known) => {
                    if subscription.sub_version > known.sub_version {
                        // The version of a pull consumer's subscription is its clock: a new version
                        // of the same expression is no change.
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
    fn a_subscription_changes_when_its_tags_do() {
        let mut group = Group::default();
        assert!(group.subscribe(&group_of(&[("t", "*", 1), ("u", "a", 1)])));
        assert!(!group.subscribe(&group_of(&[("t", "*", 2), ("u", "a", 2)])), "a new version of the same words");
        assert!(!group.subscribe(&group_of(&[("t", "b", 1), ("u", "a", 2)])), "an older version");
        assert!(group.subscribe(&group_of(&[("t", "b", 3), ("u", "a", 3)])));
        assert!(group.subscribe(&group_of(&[("t", "b", 4)])), "one less");
        assert_eq!(group.subscriptions.len(), 1);
    }
}
