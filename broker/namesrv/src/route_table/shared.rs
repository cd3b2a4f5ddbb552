//! Broker names that several clusters use.
//!
//! A group is identified by its broker name alone, as in Java's namesrv. Brokers of two clusters
//! that share a name are therefore one group: one route has the topics of both, and the master that
//! registered last has the place of the master. Both clusters are registered all the same, because
//! a cluster that is renamed looks the same for a moment; this module finds them, so that the log
//! reports them.

use super::RouteTable;
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Clusters by the broker name they share.
pub(super) type Shared = BTreeMap<Arc<str>, BTreeSet<String>>;

impl RouteTable {
    /// Finds the names that are shared now, and returns those that were not at the last check, with
    /// all clusters that use them. One step for each living broker.
    pub(crate) fn newly_shared(&mut self) -> Vec<(Arc<str>, BTreeSet<String>)> {
        let mut first: FxHashMap<&Arc<str>, &str> = FxHashMap::default();
        let mut shared = Shared::new();
        for (address, live) in self.live.iter() {
            let cluster = *first.entry(&live.broker).or_insert(&address.cluster);
            if cluster != address.cluster {
                let clusters = shared.entry(Arc::clone(&live.broker)).or_default();
                clusters.extend([cluster.to_owned(), address.cluster.clone()]);
            }
        }
        let known = |name: &Arc<str>, clusters: &BTreeSet<String>| {
            self.shared.get(name).is_some_and(|known| clusters.is_subset(known))
        };
        let new = shared.iter().filter(|(name, clusters)| !known(name, clusters));
        let new = new.map(|(name, clusters)| (Arc::clone(name), clusters.clone())).collect();
        self.shared = shared;
        new
    }

    /// The number of shared names at the last check.
    pub(crate) fn shared_names(&self) -> usize {
        self.shared.len()
    }
}
