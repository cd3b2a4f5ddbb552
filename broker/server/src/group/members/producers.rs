//! Producer groups and their clients.

use super::{Client, Memberships};
use parking_lot::Mutex;
use rmq_remoting::Connection;
use std::collections::BTreeMap;

/// Clients by id, by group.
#[derive(Default)]
pub(crate) struct Producers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, BTreeMap<String, Client>>,
    memberships: Memberships,
}

impl State {
    fn leave(&mut self, group: &str, client_id: &str) -> Option<Client> {
        let clients = self.groups.get_mut(group)?;
        let left = clients.remove(client_id);
        if clients.is_empty() {
            self.groups.remove(group);
        }
        left
    }
}

impl Producers {
    /// Registers a heartbeat. Returns false if the connection has too many clients already.
    pub(crate) fn register(&self, group: &str, client: Client) -> bool {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        if !memberships.admit(group, &client) {
            return false;
        }
        let clients = match groups.get_mut(group) {
            Some(clients) => clients,
            None => groups.entry(group.to_owned()).or_default(),
        };
        let connection = client.connection.id();
        if clients.get(&client.id).is_none_or(|known| known.connection.id() != connection) {
            memberships.begin(group, &client);
        }
        let before = clients.insert(client.id.clone(), client);
        if let Some(before) = before.filter(|before| before.connection.id() != connection) {
            memberships.end(group, &before);
        }
        true
    }

    /// Removes a client that unregisters.
    pub(crate) fn unregister(&self, group: &str, client_id: &str) {
        let mut state = self.state.lock();
        if let Some(client) = state.leave(group, client_id) {
            state.memberships.end(group, &client);
        }
    }

    /// Removes the clients of a connection that has ended.
    pub(crate) fn disconnect(&self, connection: &Connection) {
        let mut state = self.state.lock();
        for (group, client_id) in state.memberships.end_all(connection) {
            state.leave(&group, &client_id);
        }
    }

    /// Removes clients that were seen last before `oldest` (milliseconds since 1970).
    pub(crate) fn expire(&self, oldest: i64) {
        let mut state = self.state.lock();
        let State { groups, memberships } = &mut *state;
        groups.retain(|group, clients| {
            for (_, client) in clients.extract_if(.., |_, client| client.seen < oldest) {
                memberships.end(group, &client);
            }
            !clients.is_empty()
        });
    }

    /// The clients of a group.
    pub(crate) fn clients(&self, group: &str) -> Vec<Client> {
        let state = self.state.lock();
        state.groups.get(group).map(|clients| clients.values().cloned().collect()).unwrap_or_default()
    }

    /// The client with this id, in any group.
    pub(crate) fn find(&self, client_id: &str) -> Option<Client> {
        self.state.lock().groups.values().find_map(|clients| clients.get(client_id).cloned())
    }

    /// All clients, by group.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<Client>> {
        let state = self.state.lock();
        state.groups.iter().map(|(group, clients)| (group.clone(), clients.values().cloned().collect())).collect()
    }
}
