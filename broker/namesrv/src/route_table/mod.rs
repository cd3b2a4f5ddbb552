//! The routes: which brokers serve which topic.
//!
//! | module | contents |
//! |---|---|
//! | [`snapshot`] | the readers' view: groups, topics, queues |
//! | [`group`] | one broker group in it |
//! | [`json`] | routes as clients read them |
//! | [`register`] | registration of a broker, new or repeated |
//! | [`unregister`] | removal of a broker: by its request, with its connection, or by timeout |
//! | [`shared`] | names that several clusters use |
//! | [`size`] | the memory of all of this, and its limit |
//! | [`contested`] | two living brokers with one name and id |
//! | [`topics`] | operators' changes of topics: add, delete, remove the write permission |
//!
//! [`RouteTable`] has one owner, the thread that applies all changes in sequence, and needs no
//! lock. After each change it publishes a new [`Snapshot`]; readers load that and never wait for
//! the owner.

mod contested;
pub(crate) mod group;
mod json;
mod register;
mod shared;
pub(crate) mod size;
pub(crate) mod snapshot;
mod topics;
mod unregister;

#[cfg(test)]
mod tests;

pub(crate) use group::Flavour;
pub(crate) use register::{Missing, Registrant};
pub(crate) use snapshot::Snapshot;

use crate::liveness::{Address, Liveness};
use arc_swap::ArcSwap;
use rmq_protocol::body::DataVersion;
use rustc_hash::FxHashMap;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The lowest id of a group has changed; `to` must be notified if the namesrv is configured to do
/// so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LowestIdChanged {
    pub(crate) broker: Arc<str>,
    pub(crate) lowest: (i64, String),
    /// The member that was removed.
    pub(crate) offline: Option<String>,
    /// The replication address of the member that was added.
    pub(crate) ha_address: Option<String>,
    pub(crate) to: Vec<String>,
}

/// All routes and all living brokers. See the module docs for its owner.
///
/// Invariant: every address of a group that has registered and is not evicted is in `live`.
pub(crate) struct RouteTable {
    snapshot: Snapshot,
    published: Arc<ArcSwap<Snapshot>>,
    live: Liveness,
    /// For each group, the member and version whose topics are known to be all in the table:
    /// registrations of that member and version need not be decoded. A broker may register only its
    /// changes, and such a registration may get lost; it differs from a full one only by its new
    /// version. So a member is entered when it registers the same version again and names every
    /// topic of its group here. A new version or a deletion removes the entry; after a deletion the
    /// next registration restores the topic, as in Java.
    complete: FxHashMap<Arc<str>, (Address, DataVersion)>,
    /// As of the last check.
    shared: shared::Shared,
    contested: contested::Contested,
    /// Bytes that routes may take, see [`size`].
    limit: usize,
}

impl RouteTable {
    /// An empty table that may grow to `limit` bytes.
    pub(crate) fn new(published: Arc<ArcSwap<Snapshot>>, limit: usize) -> Self {
        Self {
            snapshot: Snapshot::default(),
            published,
            live: Liveness::default(),
            complete: FxHashMap::default(),
            shared: shared::Shared::default(),
            contested: contested::Contested::default(),
            limit,
        }
    }

    pub(crate) fn live(&self) -> &Liveness {
        &self.live
    }

    /// Records a heartbeat; false if the broker is not registered.
    pub(crate) fn seen(&mut self, address: &Address, now: Duration) -> bool {
        self.live.seen(address, now)
    }

    fn publish(&self) {
        self.published.store(Arc::new(self.snapshot.clone()));
    }

    /// Replaces a group by one with these members; without members the group and its queues are
    /// removed.
    fn put_members(&mut self, name: &Arc<str>, cluster: &str, addresses: BTreeMap<i64, String>, acting_master: bool) {
        if addresses.is_empty() {
            self.snapshot.remove_group(name);
            self.complete.remove(name);
        } else {
            self.snapshot.put_group(group::Group::new(Arc::clone(name), cluster, addresses, acting_master));
        }
    }
}
