//! Which clients of which groups came by which connection.
//!
//! The end of a connection then costs what that connection had, and not a walk over all clients:
//! when many end together, as with a node, those walks held up everybody under one lock.

use super::Client;
use rmq_remoting::Connection;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// Clients in groups that one connection may have. An application has one client, in a few groups,
/// on a connection.
pub(crate) const MOST: usize = 1000;

/// (group, client id) by the number of their connection.
#[derive(Default)]
pub(super) struct Memberships {
    connections: FxHashMap<u64, BTreeSet<(String, String)>>,
}

impl Memberships {
    /// Whether the client may be in the group: it is already, or its connection has room for it.
    pub(super) fn admit(&self, group: &str, client: &Client) -> bool {
        self.connections.get(&client.connection.id()).is_none_or(|of_connection| {
            of_connection.len() < MOST || of_connection.contains(&(group.to_owned(), client.id.clone()))
        })
    }

    pub(super) fn begin(&mut self, group: &str, client: &Client) {
        let of_connection = self.connections.entry(client.connection.id()).or_default();
        of_connection.insert((group.to_owned(), client.id.clone()));
    }

    pub(super) fn end(&mut self, group: &str, client: &Client) {
        let connection = client.connection.id();
        if let Some(of_connection) = self.connections.get_mut(&connection) {
            of_connection.remove(&(group.to_owned(), client.id.clone()));
            if of_connection.is_empty() {
                self.connections.remove(&connection);
            }
        }
    }

    /// Ends all of a connection.
    pub(super) fn end_all(&mut self, connection: &Connection) -> BTreeSet<(String, String)> {
        self.connections.remove(&connection.id()).unwrap_or_default()
    }
}
