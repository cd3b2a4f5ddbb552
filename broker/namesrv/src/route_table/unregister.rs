//! Removal of brokers: by their request, with their connection, or by timeout.

use super::{LowestIdChanged, RouteTable, group::MASTER};
use crate::liveness::Address;
use rmq_protocol::body::perm;
use std::{sync::Arc, time::Duration};

/// Brokers that were removed together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) brokers: Vec<Address>,
    /// The connections they had registered over.
    pub(crate) connections: Vec<u64>,
    pub(crate) lowest_id_changed: Vec<LowestIdChanged>,
}

impl RouteTable {
    /// Removes a broker from the group `broker`, unless it has registered in another one. A broker
    /// that is not registered is ignored.
    pub(crate) fn unregister(&mut self, broker: &str, address: &Address) -> Option<LowestIdChanged> {
        let live = self.live.remove(address);
        if live.is_some() {
            tracing::info!(cluster = address.cluster, broker, address = address.address, "a broker went");
        }
        let group = self.snapshot.group(live.as_ref().map_or(broker, |live| &live.broker))?;
        let (name, cluster, acting) = (Arc::clone(group.name()), group.cluster().to_owned(), group.acting_master());
        let lowest_before = group.lowest().map(|(id, _)| id);
        let mut addresses = group.addresses().clone();
        let members = addresses.len();
        addresses.retain(|id, held| {
            let stays = *held != address.address;
            if !stays {
                self.contested.free(&(Arc::clone(&name), *id));
            }
            stays
        });
        if addresses.len() == members {
            return None;
        }
        let lowest = addresses.first_key_value().map(|(id, address)| (*id, address.clone()));
        let to = addresses.values().cloned().collect();
        self.put_members(&name, &cluster, addresses, acting);
        if acting && lowest.as_ref().is_some_and(|(id, _)| *id != MASTER) {
            self.snapshot.set_perm(&name, |perm| perm & !perm::WRITE);
        }
        self.publish();
        let lowest = lowest.filter(|(id, _)| acting && Some(*id) != lowest_before)?;
        Some(LowestIdChanged { broker: name, lowest, offline: Some(address.address.clone()), ha_address: None, to })
    }

    /// A connection is closed: the brokers whose last registration came over it are removed.
    pub(crate) fn connection_closed(&mut self, connection: u64) -> Removed {
        self.contested.connection_closed(connection);
        let gone = self.live.of_connection(connection);
        self.remove_all(gone)
    }

    /// Brokers that exceeded their timeout are removed.
    pub(crate) fn evict(&mut self, now: Duration) -> Removed {
        let silent = self.live.silent(now);
        self.remove_all(silent)
    }

    fn remove_all(&mut self, brokers: Vec<(Address, u64)>) -> Removed {
        let mut gone = Removed::default();
        for (address, connection) in brokers {
            if let Some(live) = self.live.get(&address) {
                let broker = Arc::clone(&live.broker);
                gone.lowest_id_changed.extend(self.unregister(&broker, &address));
            }
            gone.brokers.push(address);
            gone.connections.push(connection);
        }
        gone
    }
}
