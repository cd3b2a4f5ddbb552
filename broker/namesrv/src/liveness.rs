//! Liveness of brokers: their last heartbeat, their connection, and the version of their topics.
//!
//! A broker is removed when it unregisters, when its connection closes, or when it has been silent
//! for longer than its own timeout. The caller provides the time as time since a fixed point, so
//! that tests control the clock.

use rmq_protocol::body::DataVersion;
use rustc_hash::FxHashMap;
use std::{sync::Arc, time::Duration};

/// The timeout of a broker that sent none.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// One process: an address may be used in several clusters, as seen from different networks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) cluster: String,
    pub(crate) address: String,
}

impl Address {
    pub(crate) fn new(cluster: &str, address: &str) -> Self {
        Self { cluster: cluster.to_owned(), address: address.to_owned() }
    }
}

/// The state of a living broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    /// Its group.
    pub(crate) broker: Arc<str>,
    pub(crate) last_seen: Duration,
    pub(crate) timeout: Duration,
    /// The version of its topics at the last registration.
    pub(crate) version: DataVersion,
    /// The connection that it registered over, see [`rmq_remoting::Connection::id`].
    pub(crate) connection: u64,
    /// The address that its slaves replicate from.
    pub(crate) ha_address: String,
}

/// All living brokers.
#[derive(Debug, Default)]
pub(crate) struct Liveness(FxHashMap<Address, Live>);

impl Liveness {
    pub(crate) fn get(&self, address: &Address) -> Option<&Live> {
        self.0.get(address)
    }

    /// Adds or renews a broker; true if it is new.
    pub(crate) fn insert(&mut self, address: Address, live: Live) -> bool {
        self.0.insert(address, live).is_none()
    }

    pub(crate) fn remove(&mut self, address: &Address) -> Option<Live> {
        self.0.remove(address)
    }

    /// Records a heartbeat; false if the broker is not registered.
    pub(crate) fn seen(&mut self, address: &Address, now: Duration) -> bool {
        let live = self.0.get_mut(address);
        live.map(|live| live.last_seen = now).is_some()
    }

    /// Brokers that exceeded their timeout, with their connections.
    pub(crate) fn silent(&self, now: Duration) -> Vec<(Address, u64)> {
        let silent = |live: &Live| live.last_seen.saturating_add(live.timeout) < now;
        self.filtered(silent)
    }

    /// Brokers that registered over a connection.
    pub(crate) fn of_connection(&self, connection: u64) -> Vec<(Address, u64)> {
        self.filtered(|live| live.connection == connection)
    }

    fn filtered(&self, wanted: impl Fn(&Live) -> bool) -> Vec<(Address, u64)> {
        let found = self.0.iter().filter(|(_, live)| wanted(live));
        let mut found: Vec<_> = found.map(|(address, live)| (address.clone(), live.connection)).collect();
        found.sort();
        found
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Address, &Live)> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
