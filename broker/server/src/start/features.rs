//! Constructs the features of a broker, with their dependencies.

use super::page::Page;
use crate::{
    Error, address,
    admin::{
        broker::BrokerAdmin, consumer::ConsumerAdmin, group::GroupAdmin, query_message::Query, relay::Relay,
        runtime_info::RuntimeInfo, topic::TopicAdmin,
    },
    admission::AtWork,
    client::{heartbeat::Clients, lock_queue::Locks, offsets::Offsets},
    config::{Config, Live},
    core::Core,
    feature::List,
    filter::{FilterWriter, Filters},
    group::{QueueLocks, offsets::ConsumerOffsets, progress::ProgressWriter, subscription::SubscriptionGroups},
    observe::{requests::Requests, stats::Stats, store::StoreMetrics},
    pull::{Puller, long_polling::LongPolling},
    registration::Registration,
    replication::{Following, LogCheck, Slaves, metrics::Replication, requests, tables::MetadataSync},
    request::{Features, Lanes, RequestHandler},
    role::{CurrentRole, Role},
    send::{MessageWriter, reply::Replies},
    timer::delay::{Delay, Delivery},
    topic::Topics,
    transaction::{Checks, Transactions},
};
use rmq_remoting::{Budget, Counters, Watchdog, metrics::Connections};
use rmq_store::{Follower, MessageStore};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// The parts that exist before the store does.
pub(super) struct Tables {
    pub(super) role: Arc<CurrentRole>,
    pub(super) topics: Arc<Topics>,
    pub(super) groups: Arc<SubscriptionGroups>,
    pub(super) offsets: Arc<ConsumerOffsets>,
    pub(super) delay: Arc<Delay>,
    pub(super) transactions: Arc<Transactions>,
    pub(super) filters: Arc<Filters>,
    pub(super) long_polling: Arc<LongPolling>,
}

impl Tables {
    pub(super) fn open(settings: &Arc<Live>) -> Result<Self, Error> {
        let config: &Config = &settings.load();
        let root = Path::new(&config.store.root);
        let role = if config.is_slave() { Role::Slave { of: None } } else { Role::Master };
        let role = Arc::new(CurrentRole::new(role));
        let offsets = Arc::new(ConsumerOffsets::open(root)?);
        let transactions = Transactions::open(root, Arc::clone(settings), Arc::clone(&role), Arc::clone(&offsets))?;
        Ok(Self {
            role,
            topics: Arc::new(Topics::open(root, config)?),
            groups: Arc::new(SubscriptionGroups::open(root)?),
            delay: Arc::new(Delay::open(root, config.delay_levels()?)?),
            transactions: Arc::new(transactions),
            offsets,
            filters: Arc::new(Filters::open(root)?),
            long_polling: Arc::default(),
        })
    }

    /// The features that follow the log, in the order in which they take its records.
    pub(super) fn followers(&self) -> Vec<Arc<dyn Follower>> {
        vec![self.long_polling.follower(), self.delay.follower(), self.transactions.follower()]
    }
}

/// A broker whose parts are constructed and not started.
pub(super) struct Parts {
    pub(super) core: Core,
    pub(super) slaves: Arc<Slaves>,
    pub(super) following: Arc<Following>,
    pub(super) log_check: Arc<LogCheck>,
    pub(super) counters: Arc<Counters>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) handler: Arc<RequestHandler>,
    pub(super) page: Arc<Page>,
    pub(super) list: List,
}

impl Parts {
    /// Constructs the parts. `memory` is the limit of the process, in bytes.
    pub(super) fn build(
        settings: Arc<Live>,
        memory: u64,
        store: Arc<MessageStore>,
        tables: Tables,
        watchdog: Arc<Watchdog>,
    ) -> Result<Self, Error> {
        // One budget for incoming and outgoing connections.
        let budget = Arc::new(match settings.load().network.buffer_limit {
            0 => Budget::of_memory(memory),
            limit => Budget::new(limit),
        });
        let counters = Arc::new(Counters::with_budget(Arc::clone(&budget)));
        let long_polling = Arc::clone(&tables.long_polling);
        tables.transactions.opened(store.max_physical_offset());
        let core = core(settings, store, tables, budget);
        let slaves = Arc::new(Slaves::new(Arc::clone(&core.store), Arc::clone(&core.settings)));
        let following = Arc::new(Following::new(Arc::clone(&core.store), Arc::clone(&core.settings)));
        let log_check = Arc::new(LogCheck::new(Arc::clone(&core.store), Arc::clone(&core.settings)));
        let lanes =
            Arc::new(Lanes { at_work: AtWork::default(), tasks: core.tasks.clone(), runtime: core.runtime.clone() });
        let requests = Arc::new(Requests::new().map_err(Error::Metrics)?);
        let connections = Connections::new("server", Arc::clone(&counters));
        requests.registry().register(Box::new(connections)).map_err(Error::Metrics)?;

        let locks = Arc::<QueueLocks>::default();
        let writer = Arc::new(MessageWriter::new(&core, &locks, &slaves));
        let puller = Arc::new(Puller::new(&core, &long_polling, &following, &lanes.at_work));
        let clients = Arc::new(Clients::new(&core, &locks));
        let runtime_info = RuntimeInfo::new(&core, &writer, lanes.at_work.clone());
        let features = Features {
            replies: Replies::new(&core, &writer),
            writer: Arc::clone(&writer),
            puller: Arc::clone(&puller),
            clients: Arc::clone(&clients),
            offsets: Offsets::new(&core),
            locks: Locks::new(&core, &locks),
            query: Query::new(&core),
            relay: Arc::new(Relay::new(&core)),
            tables: requests::Tables::new(&core, &slaves, &following),
            topic_admin: TopicAdmin::new(&core),
            group_admin: GroupAdmin::new(&core),
            consumer_admin: ConsumerAdmin::new(&core),
            broker_admin: BrokerAdmin::new(&core, &following, &log_check, runtime_info),
            log_check: Arc::clone(&log_check),
        };
        let replication = Replication {
            role: Arc::clone(&core.role),
            slaves: Arc::clone(&slaves),
            following: Arc::clone(&following),
            log_check: Arc::clone(&log_check),
        };
        let delivery = Delivery {
            delay: Arc::clone(&core.delay),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            registration: Arc::clone(&core.registration),
            store_host: core.store_host,
        };
        let checks = Checks {
            transactions: Arc::clone(&core.transactions),
            store: Arc::clone(&core.store),
            producers: Arc::clone(&core.producers),
            registration: Arc::clone(&core.registration),
            settings: Arc::clone(&core.settings),
            role: Arc::clone(&core.role),
            store_host: core.store_host,
        };
        // In the order in which their metrics are shown.
        let list: List = Arc::new([
            Arc::clone(&requests) as _,
            Arc::clone(&core.topics) as _,
            Arc::clone(&core.groups) as _,
            puller,
            clients,
            Arc::clone(&core.registration) as _,
            Arc::clone(&lanes) as _,
            writer,
            Arc::new(StoreMetrics(Arc::clone(&core.store))),
            Arc::new(replication),
            Arc::clone(&core.stats) as _,
            Arc::new(delivery),
            Arc::new(checks),
            Arc::new(progress(&core)),
            Arc::new(FilterWriter { filters: Arc::clone(&core.filters), settings: Arc::clone(&core.settings) }),
        ]);
        let page = Page {
            settings: Arc::clone(&core.settings),
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            registration: Arc::clone(&core.registration),
            following: Arc::clone(&following),
            log_check: Arc::clone(&log_check),
            watchdog: Arc::clone(&watchdog),
            features: Arc::clone(&list),
            stopping: OnceLock::new(),
        };
        Ok(Self {
            core,
            slaves,
            following,
            log_check,
            counters,
            watchdog,
            handler: Arc::new(RequestHandler {
                features: Arc::new(features),
                list: Arc::clone(&list),
                lanes,
                requests,
            }),
            page: Arc::new(page),
            list,
        })
    }

    /// The copy of tables for a slave, or for a master that is restored from a slave.
    pub(super) fn metadata_sync(&self) -> MetadataSync {
        MetadataSync {
            topics: Arc::clone(&self.core.topics),
            groups: Arc::clone(&self.core.groups),
            offsets: Arc::clone(&self.core.offsets),
            delay: Arc::clone(&self.core.delay),
            budget: Arc::clone(&self.counters.budget),
        }
    }
}

fn core(settings: Arc<Live>, store: Arc<MessageStore>, tables: Tables, budget: Arc<Budget>) -> Core {
    let store_host = {
        let config = settings.load();
        address::stored_host(&config.identity.broker_ip, config.network.listen_port)
    };
    let registration =
        Registration::new(Arc::clone(&settings), Arc::clone(&tables.role), Arc::clone(&tables.topics), budget);
    Core {
        settings,
        role: tables.role,
        store,
        store_host,
        topics: tables.topics,
        groups: tables.groups,
        offsets: tables.offsets,
        delay: tables.delay,
        transactions: tables.transactions,
        producers: Arc::default(),
        consumers: Arc::default(),
        filters: tables.filters,
        registration: Arc::new(registration),
        stats: Arc::<Stats>::default(),
        tasks: TaskTracker::new(),
        runtime: Handle::current(),
    }
}

fn progress(core: &Core) -> ProgressWriter {
    ProgressWriter {
        offsets: Arc::clone(&core.offsets),
        groups: Arc::clone(&core.groups),
        consumers: Arc::clone(&core.consumers),
        topics: Arc::clone(&core.topics),
        store: Arc::clone(&core.store),
        period: core.settings.load().clients.flush_offsets.0,
    }
}
