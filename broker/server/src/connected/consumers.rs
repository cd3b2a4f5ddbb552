//! Consumer groups, their clients and what they subscribe to.

use super::Client;
use parking_lot::Mutex;
use rmq_protocol::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, Subscription};
use rmq_remoting::Connection;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Groups by name.
#[derive(Default)]
pub(crate) struct Consumers {
    groups: Mutex<BTreeMap<String, Group>>,
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
    /// A client has pulled with a newer subscription than it has told: what is known here is not enough.
    pub(crate) outdated: bool,
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
    /// A heartbeat with everything.
    pub(crate) fn register(&self, data: &ConsumerData, client: Client) -> Change {
        let mut groups = self.groups.lock();
        let group = match groups.get_mut(&data.group_name) {
            Some(group) => group,
            None => groups.entry(data.group_name.clone()).or_default(),
        };
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.from_where = data.consume_from_where;
        group.outdated = false;
        let members = group.join(client);
        let subscriptions = group.subscribe(&data.subscription_data_set);
        Change { members, subscriptions }
    }

    /// A heartbeat that leaves the subscriptions out; false if this broker does not know them and needs the whole.
    pub(crate) fn touch(&self, group: &str, client: Client) -> bool {
        match self.groups.lock().get_mut(group) {
            Some(group) => !group.join(client) && !group.outdated,
            None => false,
        }
    }

    /// A client of the group has a newer subscription than is known here. Java's client may drop the heartbeat that would tell it, while another is on its
    /// way, and then goes on with short ones: the next of those is answered with the wish for the whole.
    pub(crate) fn outdated(&self, group: &str) {
        if let Some(group) = self.groups.lock().get_mut(group) {
            group.outdated = true;
        }
    }

    /// A goodbye.
    pub(crate) fn unregister(&self, group: &str, client_id: &str) -> Change {
        let changed = self.remove(|g, client| g == group && client.id == client_id);
        Change { members: !changed.is_empty(), subscriptions: false }
    }

    /// The end of a connection: the groups that lost a member.
    pub(crate) fn disconnect(&self, connection: &Connection) -> BTreeSet<String> {
        self.remove(|_, client| client.connection.id() == connection.id())
    }

    /// Forgets clients that were seen last before `oldest` (milliseconds since 1970): the groups that lost a member.
    pub(crate) fn expire(&self, oldest: i64) -> BTreeSet<String> {
        self.remove(|_, client| client.seen < oldest)
    }

    fn remove(&self, gone: impl Fn(&str, &Client) -> bool) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        self.groups.lock().retain(|name, group| {
            let before = group.clients.len();
            group.clients.retain(|_, client| !gone(name, client));
            if group.clients.len() < before {
                changed.insert(name.clone());
            }
            // An empty group is forgotten with its subscriptions: who comes next says what he wants.
            !group.clients.is_empty()
        });
        changed
    }

    /// A copy of the group, if it has clients.
    pub(crate) fn group(&self, group: &str) -> Option<Group> {
        self.groups.lock().get(group).cloned()
    }

    /// What the group subscribes to in the topic. `None` if it has no clients; `Some(None)` if they do not subscribe to it.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Option<Arc<Subscription>>> {
        self.groups.lock().get(group).map(|group| group.subscriptions.get(topic).cloned())
    }

    /// How the group consumes, if it has clients.
    pub(crate) fn message_model(&self, group: &str) -> Option<MessageModel> {
        self.groups.lock().get(group).map(|group| group.message_model)
    }

    /// Ids of the group's clients; `None` without any.
    pub(crate) fn client_ids(&self, group: &str) -> Option<Vec<String>> {
        self.groups.lock().get(group).map(|group| group.clients.keys().cloned().collect())
    }

    /// Connections of the group's clients.
    pub(crate) fn connections(&self, group: &str) -> Vec<Connection> {
        let groups = self.groups.lock();
        groups
            .get(group)
            .map(|group| group.clients.values().map(|client| client.connection.clone()).collect())
            .unwrap_or_default()
    }

    /// One client of a group.
    pub(crate) fn client(&self, group: &str, client_id: &str) -> Option<Client> {
        self.groups.lock().get(group)?.clients.get(client_id).cloned()
    }

    /// Groups whose clients subscribe to the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        let groups = self.groups.lock();
        groups
            .iter()
            .filter(|(_, group)| group.subscriptions.contains_key(topic))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// A copy of the first `limit` groups by name.
    pub(crate) fn all(&self, limit: usize) -> Vec<(String, Group)> {
        self.groups.lock().iter().take(limit).map(|(name, group)| (name.clone(), group.clone())).collect()
    }
}

impl Group {
    /// True if the client is new, or has come back on another connection.
    fn join(&mut self, client: Client) -> bool {
        let connection = client.connection.id();
        match self.clients.insert(client.id.clone(), client) {
            Some(known) => known.connection.id() != connection,
            None => true,
        }
    }

    /// Takes the newer of each subscription and drops those that are not named any more; true if the group now subscribes to other things.
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> bool {
        let mut changed = false;
        for subscription in subscriptions {
            match self.subscriptions.get_mut(&subscription.topic) {
                Some(known) => {
                    if subscription.sub_version > known.sub_version {
                        // A pull consumer's version is its clock: a new version of the same words is no change.
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
        self.subscriptions.retain(|topic, _| subscriptions.iter().any(|subscription| subscription.topic == *topic));
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
