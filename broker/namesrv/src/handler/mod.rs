//! The handlers of requests, one file per family.
//!
//! A handler decodes header and body, reads a snapshot or changes what its thread owns, and builds
//! the response. It spawns nothing, takes no lock, and refuses with an [`crate::Error`], which the
//! dispatcher converts into a response.

pub(crate) mod broker;
pub(crate) mod cluster_info;
pub(crate) mod kv_config;
pub(crate) mod namesrv_config;
pub(crate) mod register_broker;
pub(crate) mod route_info;
pub(crate) mod topic;
pub(crate) mod topic_list;

use crate::{
    Clock, Config,
    capacity::Capacity,
    kv_config::{KvConfig, Table},
    metrics::Metrics,
    notify::Notifier,
    route_table::{LowestIdChanged, RouteTable},
};
use arc_swap::ArcSwap;
use rmq_remoting::Connection;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The most shared broker names that one check logs individually.
const MOST_TOLD: usize = 16;

/// The state of the thread that owns the routes.
pub(crate) struct Routes {
    pub(crate) table: RouteTable,
    pub(crate) capacity: Capacity,
    /// The connections that brokers registered over, by id.
    pub(crate) connections: FxHashMap<u64, Connection>,
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) kv: Arc<ArcSwap<Table>>,
    pub(crate) notifier: Notifier,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
}

impl Routes {
    /// A connection is closed; the brokers that registered over it are removed.
    pub(crate) fn connection_closed(&mut self, id: u64) {
        if self.connections.remove(&id).is_none() {
            return;
        }
        let gone = self.table.connection_closed(id);
        self.metrics.disconnected.inc_by(gone.brokers.len() as u64);
        self.after(gone.lowest_id_changed);
    }

    /// Runs every `scanNotActiveBrokerInterval`.
    pub(crate) fn periodic_scan(&mut self) {
        self.evict_silent();
        self.tell_shared_names();
        self.table.end_contests((self.clock)());
        self.metrics.contested.set(self.table.contests() as i64);
    }

    /// Removes expired brokers and closes their connections, so that a broker that hangs registers
    /// again when it resumes.
    fn evict_silent(&mut self) {
        let gone = self.table.evict((self.clock)());
        for (broker, connection) in gone.brokers.iter().zip(&gone.connections) {
            tracing::warn!(
                cluster = broker.cluster,
                address = broker.address,
                "a broker sent no heartbeat within its timeout; evicted"
            );
            if let Some(connection) = self.connections.remove(connection) {
                connection.close();
            }
        }
        self.metrics.evicted.inc_by(gone.brokers.len() as u64);
        self.after(gone.lowest_id_changed);
    }

    /// Logs clusters that have begun to share a broker name, once per occurrence.
    fn tell_shared_names(&mut self) {
        let new = self.table.newly_shared();
        for (broker, clusters) in new.iter().take(MOST_TOLD) {
            tracing::warn!(
                %broker,
                ?clusters,
                "several clusters use one broker name, so their topics and queues are mixed in \
                 routes and their masters replace each other; give each cluster namesrvs of its \
                 own, or its brokers other names (brokerName)"
            );
        }
        if let Some(more) = new.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            tracing::warn!(more, "further broker names are used by several clusters");
        }
        self.metrics.shared_names.set(self.table.shared_names() as i64);
    }

    /// Runs after each change that may add or remove brokers.
    pub(crate) fn after(&mut self, changed: impl IntoIterator<Item = LowestIdChanged>) {
        for connection in self.table.freed_connections() {
            if let Some(connection) = self.connections.get(&connection) {
                connection.close();
            }
        }
        self.metrics.brokers.set(self.table.live().len() as i64);
        if self.config.load().notify_min_broker_id_changed {
            changed.into_iter().for_each(|changed| self.notifier.lowest_id_changed(changed));
        }
    }
}

/// The state of the thread that owns the files.
pub(crate) struct Files {
    pub(crate) kv: KvConfig,
    pub(crate) config: Arc<ArcSwap<Config>>,
}
