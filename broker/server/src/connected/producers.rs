//! Producer groups and their clients.

use super::Client;
use parking_lot::Mutex;
use rmq_remoting::Connection;
use std::collections::BTreeMap;

/// Clients by id, by group.
#[derive(Default)]
pub(crate) struct Producers {
    groups: Mutex<BTreeMap<String, BTreeMap<String, Client>>>,
}

impl Producers {
    /// A heartbeat.
    pub(crate) fn register(&self, group: &str, client: Client) {
        let mut groups = self.groups.lock();
        match groups.get_mut(group) {
            Some(clients) => clients.insert(client.id.clone(), client),
            None => groups.entry(group.to_owned()).or_default().insert(client.id.clone(), client),
        };
    }

    /// A goodbye.
    pub(crate) fn unregister(&self, group: &str, client_id: &str) {
        self.retain(|g, client| g != group || client.id != client_id);
    }

    /// The end of a connection.
    pub(crate) fn disconnect(&self, connection: &Connection) {
        self.retain(|_, client| client.connection.id() != connection.id());
    }

    /// Forgets clients that were seen last before `oldest` (milliseconds since 1970).
    pub(crate) fn expire(&self, oldest: i64) {
        self.retain(|_, client| client.seen >= oldest);
    }

    fn retain(&self, keep: impl Fn(&str, &Client) -> bool) {
        self.groups.lock().retain(|group, clients| {
            clients.retain(|_, client| keep(group, client));
            !clients.is_empty()
        });
    }

    /// The clients of a group.
    pub(crate) fn clients(&self, group: &str) -> Vec<Client> {
        self.groups.lock().get(group).map(|clients| clients.values().cloned().collect()).unwrap_or_default()
    }

    /// The client with this id, in whatever group.
    pub(crate) fn find(&self, client_id: &str) -> Option<Client> {
        self.groups.lock().values().find_map(|clients| clients.get(client_id).cloned())
    }

    /// Everybody.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<Client>> {
        self.groups.lock().iter().map(|(group, clients)| (group.clone(), clients.values().cloned().collect())).collect()
    }
}
