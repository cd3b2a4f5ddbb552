//! Who serves which topic.
//!
//! | file | what |
//! |---|---|
//! | [`snapshot`] | the picture that readers see: groups, topics, queues |
//! | [`group`] | one broker group in it |
//! | [`json`] | routes as clients read them |
//! | [`register`] | a broker comes, or comes again |
//! | [`unregister`] | a broker goes: by its own word, with its connection, or by silence |
//! | [`shared`] | names that several clusters use |
//! | [`size`] | what all of this takes of memory, and how much it may |
//! | [`contested`] | two living brokers with one name and id |
//! | [`topics`] | what operators do to topics: add, delete, take the write permission away |
//!
//! [`RouteTable`] has one owner, the thread that carries out all changes one after another, and
//! needs no lock. After each change it publishes a new [`Snapshot`]; readers load that and never
//! meet the owner.

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

/// The lowest id of a group has changed; to be told to `to` if the namesrv is configured to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LowestIdChanged {
    pub(crate) broker: Arc<str>,
    pub(crate) lowest: (i64, String),
    /// The member that went.
    pub(crate) offline: Option<String>,
    /// Where the member that came lets others copy from.
    pub(crate) ha_address: Option<String>,
    pub(crate) to: Vec<String>,
}

/// All routes and all living brokers. See the head of this folder for its owner.
///
/// Invariant: every address of a group that has registered and is not evicted stands in `live`.
pub(crate) struct RouteTable {
    snapshot: Snapshot,
    published: Arc<ArcSwap<Snapshot>>,
    live: Liveness,
    /// By group, the member and version whose topics are known to be all in the table:
    /// registrations of that member and version need not be looked at. A broker may register only
    /// what it changed, and such a registration may get lost; nothing tells it from a whole one but
    /// that it brings a new version. So a member is entered when it registers the same version
    /// again and names every topic its group has here. A new version or a deletion strikes it out;
    /// after a deletion the next registration brings the topic back, as in Java.
    complete: FxHashMap<Arc<str>, (Address, DataVersion)>,
    /// As of the last look.
    shared: shared::Shared,
    contested: contested::Contested,
    /// Bytes that routes may take, see [`size`].
    limit: usize,
}

impl RouteTable {
    /// An empty one that may grow to `limit` bytes.
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

    /// A sign of life; false from somebody who is not registered.
    pub(crate) fn seen(&mut self, address: &Address, now: Duration) -> bool {
        self.live.seen(address, now)
    }

    fn publish(&self) {
        self.published.store(Arc::new(self.snapshot.clone()));
    }

    /// Puts a group with these members in the place of the one there is; with no members, none, and
    /// its queues go.
    fn put_members(&mut self, name: &Arc<str>, cluster: &str, addresses: BTreeMap<i64, String>, acting_master: bool) {
        if addresses.is_empty() {
            self.snapshot.remove_group(name);
            self.complete.remove(name);
        } else {
            self.snapshot.put_group(group::Group::new(Arc::clone(name), cluster, addresses, acting_master));
        }
    }
}
