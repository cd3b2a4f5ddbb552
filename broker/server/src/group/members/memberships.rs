//! Tracks which clients of which groups use which connection.
//!
//! So the cost of a connection's end depends on that connection alone, without a scan of all
//! clients. When many connections end together, as they do when a node fails, such scans blocked
//! all other users of one lock.

use super::Client;
use rmq_remoting::Connection;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// The limit of memberships (clients times groups) on one connection. An application has one
/// client, in a few groups, on a connection.
pub(crate) const MOST: usize = 1000;

/// (group, client id) by the number of the connection.
#[derive(Default)]
pub(super) struct Memberships {
    connections: FxHashMap<u64, BTreeSet<(String, String)>>,
}

impl Memberships {
    /// Whether the client may be in the group: it is a member already, or its connection has room.
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

    /// Removes all memberships of a connection.
    pub(super) fn end_all(&mut self, connection: &Connection) -> BTreeSet<(String, String)> {
        self.connections.remove(&connection.id()).unwrap_or_default()
    }
}
