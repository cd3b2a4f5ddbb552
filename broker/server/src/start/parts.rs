//! The parts of a broker and how they hang together: the one place where handlers get their handles.

use super::root;
use crate::{
    Error, address,
    admin::{
        broker::BrokerAdmin, consumer::ConsumerAdmin, group::GroupAdmin, query_message::Query, relay::Relay,
        runtime_info::RuntimeInfo, topic::TopicAdmin,
    },
    admission::AtWork,
    clock::now_millis,
    config::{Config, Live},
    group::{
        QueueLocks,
        heartbeat::Clients,
        lock_queue::Locks,
        members::{Consumers, Notices, Producers},
        offsets::{ConsumerOffsets, requests::Offsets},
        subscription::SubscriptionGroups,
    },
    observe::{
        metrics::{Metrics, Page},
        stats::Stats,
    },
    pull::{
        Puller,
        long_polling::{LongPolling, Ready},
    },
    registration::Registration,
    replication::{Following, LogCheck, Slaves, requests, tables::MetadataSync},
    request::{Border, Features, Lanes},
    send::{Sender, durability::Durability, reply::Replies, stalled},
    timer::delay::{Delay, Delivery},
    topic::Topics,
};
use rmq_protocol::message::message_id::UniqueIds;
use rmq_remoting::{Budget, Figures, Watchdog, metrics::Connections};
use rmq_store::MessageStore;
use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// What is there before the store is.
pub(super) struct Tables {
    pub(super) topics: Arc<Topics>,
    pub(super) groups: Arc<SubscriptionGroups>,
    pub(super) offsets: Arc<ConsumerOffsets>,
    pub(super) delay: Arc<Delay>,
    pub(super) long_polling: Arc<LongPolling>,
}

impl Tables {
    pub(super) fn open(config: &Config) -> Result<(Self, Ready), Error> {
        let root = root(config);
        let (long_polling, ready) = LongPolling::new();
        let tables = Self {
            topics: Arc::new(Topics::open(root, config)?),
            groups: Arc::new(SubscriptionGroups::open(root)?),
            offsets: Arc::new(ConsumerOffsets::open(root)?),
            delay: Arc::new(Delay::open(root, config.delay_levels()?)?),
            long_polling: Arc::new(long_polling),
        };
        Ok((tables, ready))
    }

    /// Writes all of them.
    pub(super) fn persist(&self) -> Result<(), rmq_store::Error> {
        let written = [self.topics.persist(), self.groups.persist(), self.offsets.persist(), self.delay.persist()];
        written.into_iter().collect()
    }
}

/// Everything that lasts as long as the broker.
pub(super) struct Parts {
    pub(super) settings: Arc<Live>,
    pub(super) store: Arc<MessageStore>,
    pub(super) store_host: SocketAddr,
    pub(super) tables: Tables,
    pub(super) producers: Arc<Producers>,
    pub(super) consumers: Arc<Consumers>,
    pub(super) notices: Arc<Notices>,
    pub(super) locks: Arc<QueueLocks>,
    pub(super) stats: Arc<Stats>,
    pub(super) registration: Arc<Registration>,
    pub(super) slaves: Arc<Slaves>,
    pub(super) following: Arc<Following>,
    pub(super) log_check: Arc<LogCheck>,
    pub(super) durability: Arc<Durability>,
    pub(super) figures: Arc<Figures>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stalled: Arc<stalled::Line>,
    pub(super) watchdog: Arc<Watchdog>,
    /// Tasks of requests that wait.
    pub(super) request_tasks: TaskTracker,
    pub(super) at_work: AtWork,
}

impl Parts {
    pub(super) fn build(
        settings: Arc<Live>,
        memory: u64,
        store: Arc<MessageStore>,
        tables: Tables,
        watchdog: Arc<Watchdog>,
    ) -> Result<Self, Error> {
        let store_host = {
            let config = settings.load();
            address::stored_host(&config.identity.broker_ip, config.network.listen_port)
        };
        let slaves = Arc::new(Slaves::new(Arc::clone(&store), Arc::clone(&settings)));
        // One for what others open and for what the broker opens.
        let budget = Arc::new(match settings.load().network.buffer_limit {
            0 => Budget::of_memory(memory),
            limit => Budget::new(limit),
        });
        let figures = Arc::new(Figures::with_budget(Arc::clone(&budget)));
        let metrics = Arc::new(Metrics::new().map_err(Error::Metrics)?);
        metrics
            .registry()
            .register(Box::new(Connections::new("server", Arc::clone(&figures))))
            .map_err(Error::Metrics)?;
        let request_tasks = TaskTracker::new();
        Ok(Self {
            registration: Arc::new(Registration::new(
                Arc::clone(&settings),
                Arc::clone(&tables.topics),
                Arc::clone(&budget),
            )),
            durability: Arc::new(Durability::new(Arc::clone(&store), Arc::clone(&slaves), Arc::clone(&settings))),
            slaves,
            following: Arc::new(Following::new(Arc::clone(&store), Arc::clone(&settings))),
            log_check: Arc::new(LogCheck::new(Arc::clone(&store), Arc::clone(&settings))),
            producers: Arc::default(),
            consumers: Arc::default(),
            notices: Arc::default(),
            locks: Arc::default(),
            stats: Arc::default(),
            stalled: Arc::new(stalled::Line::new(request_tasks.clone(), Handle::current())),
            request_tasks,
            at_work: AtWork::default(),
            watchdog,
            settings,
            store,
            store_host,
            tables,
            figures,
            metrics,
        })
    }

    /// What a slave copies, or a master that is made whole from one.
    pub(super) fn metadata_sync(&self) -> MetadataSync {
        MetadataSync {
            topics: Arc::clone(&self.tables.topics),
            groups: Arc::clone(&self.tables.groups),
            offsets: Arc::clone(&self.tables.offsets),
            delay: Arc::clone(&self.tables.delay),
            budget: Arc::clone(&self.figures.budget),
        }
    }

    /// See [`ConsumerOffsets::correct`].
    ///
    /// Runs before the first request is taken: a message that came earlier would be behind a position that is still to be
    /// corrected.
    pub(super) fn correction(&self) -> impl FnOnce() + Send + 'static {
        let (topics, offsets) = (Arc::clone(&self.tables.topics), Arc::clone(&self.tables.offsets));
        let (delay, store) = (Arc::clone(&self.tables.delay), Arc::clone(&self.store));
        move || {
            offsets.correct(|topic: &str, queue_id| topics.find(topic).map(|_| store.max_offset(topic, queue_id)));
            delay.correct(&store);
        }
    }

    /// What a master delivers delayed messages with.
    pub(super) fn delivery(&self) -> Delivery {
        Delivery {
            delay: Arc::clone(&self.tables.delay),
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.tables.topics),
            registration: Arc::clone(&self.registration),
            store_host: self.store_host,
        }
    }

    /// What probes and scrapers are told.
    pub(super) fn page(&self) -> Page {
        Page {
            metrics: Arc::clone(&self.metrics),
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.tables.topics),
            groups: Arc::clone(&self.tables.groups),
            offsets: Arc::clone(&self.tables.offsets),
            delay: Arc::clone(&self.tables.delay),
            producers: Arc::clone(&self.producers),
            consumers: Arc::clone(&self.consumers),
            notices: Arc::clone(&self.notices),
            long_polling: Arc::clone(&self.tables.long_polling),
            registration: Arc::clone(&self.registration),
            slaves: Arc::clone(&self.slaves),
            following: Arc::clone(&self.following),
            log_check: Arc::clone(&self.log_check),
            durability: Arc::clone(&self.durability),
            stalled: Arc::clone(&self.stalled),
            settings: Arc::clone(&self.settings),
            stats: Arc::clone(&self.stats),
            waiting: self.request_tasks.clone(),
            at_work: self.at_work.clone(),
            watchdog: Arc::clone(&self.watchdog),
            stopping: OnceLock::new(),
        }
    }

    /// What answers requests.
    pub(super) fn border(&self) -> Border {
        let sender = Arc::new(self.sender());
        let features = Features {
            replies: Replies { sender: Arc::clone(&sender), producers: Arc::clone(&self.producers) },
            sender,
            puller: Arc::new(self.puller()),
            clients: Arc::new(self.clients()),
            offsets: Offsets {
                store: Arc::clone(&self.store),
                topics: Arc::clone(&self.tables.topics),
                groups: Arc::clone(&self.tables.groups),
                offsets: Arc::clone(&self.tables.offsets),
                settings: Arc::clone(&self.settings),
            },
            locks: Locks {
                locks: Arc::clone(&self.locks),
                topics: Arc::clone(&self.tables.topics),
                groups: Arc::clone(&self.tables.groups),
                consumers: Arc::clone(&self.consumers),
                settings: Arc::clone(&self.settings),
            },
            query: Query { store: Arc::clone(&self.store), settings: Arc::clone(&self.settings) },
            relay: Arc::new(Relay {
                store: Arc::clone(&self.store),
                topics: Arc::clone(&self.tables.topics),
                consumers: Arc::clone(&self.consumers),
                offsets: Arc::clone(&self.tables.offsets),
                groups: Arc::clone(&self.tables.groups),
                settings: Arc::clone(&self.settings),
            }),
            tables: self.table_requests(),
            topic_admin: self.topic_admin(),
            group_admin: GroupAdmin {
                groups: Arc::clone(&self.tables.groups),
                offsets: Arc::clone(&self.tables.offsets),
                settings: Arc::clone(&self.settings),
            },
            consumer_admin: self.consumer_admin(),
            broker_admin: self.broker_admin(),
            log_check: Arc::clone(&self.log_check),
        };
        let lanes =
            Lanes { at_work: self.at_work.clone(), tasks: self.request_tasks.clone(), runtime: Handle::current() };
        Border { features: Arc::new(features), lanes, metrics: Arc::clone(&self.metrics) }
    }

    fn sender(&self) -> Sender {
        Sender {
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.tables.topics),
            groups: Arc::clone(&self.tables.groups),
            locks: Arc::clone(&self.locks),
            delay: Arc::clone(&self.tables.delay),
            registration: Arc::clone(&self.registration),
            settings: Arc::clone(&self.settings),
            stats: Arc::clone(&self.stats),
            durability: Arc::clone(&self.durability),
            stalled: Arc::clone(&self.stalled),
            unique_ids: UniqueIds::new(self.store_host.ip(), std::process::id(), now_millis() as u32, 0),
            store_host: self.store_host,
            region: self.settings.load().identity.region.clone(),
            tasks: self.request_tasks.clone(),
            runtime: Handle::current(),
        }
    }

    /// Also what housekeeping runs parked pulls with.
    pub(super) fn puller(&self) -> Puller {
        Puller {
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.tables.topics),
            groups: Arc::clone(&self.tables.groups),
            consumers: Arc::clone(&self.consumers),
            offsets: Arc::clone(&self.tables.offsets),
            long_polling: Arc::clone(&self.tables.long_polling),
            following: Arc::clone(&self.following),
            settings: Arc::clone(&self.settings),
            stats: Arc::clone(&self.stats),
        }
    }

    /// Also what housekeeping forgets silent clients with.
    pub(super) fn clients(&self) -> Clients {
        Clients {
            producers: Arc::clone(&self.producers),
            consumers: Arc::clone(&self.consumers),
            notices: Arc::clone(&self.notices),
            groups: Arc::clone(&self.tables.groups),
            topics: Arc::clone(&self.tables.topics),
            registration: Arc::clone(&self.registration),
            settings: Arc::clone(&self.settings),
            tasks: self.request_tasks.clone(),
            runtime: Handle::current(),
        }
    }

    fn table_requests(&self) -> requests::Tables {
        requests::Tables {
            topics: Arc::clone(&self.tables.topics),
            groups: Arc::clone(&self.tables.groups),
            offsets: Arc::clone(&self.tables.offsets),
            delay: Arc::clone(&self.tables.delay),
            store: Arc::clone(&self.store),
            settings: Arc::clone(&self.settings),
            slaves: Arc::clone(&self.slaves),
            following: Arc::clone(&self.following),
            whole: requests::Whole::default(),
        }
    }

    fn topic_admin(&self) -> TopicAdmin {
        TopicAdmin {
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.tables.topics),
            consumers: Arc::clone(&self.consumers),
            offsets: Arc::clone(&self.tables.offsets),
            registration: Arc::clone(&self.registration),
            settings: Arc::clone(&self.settings),
            stats: Arc::clone(&self.stats),
        }
    }

    fn consumer_admin(&self) -> ConsumerAdmin {
        ConsumerAdmin {
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.tables.topics),
            groups: Arc::clone(&self.tables.groups),
            producers: Arc::clone(&self.producers),
            consumers: Arc::clone(&self.consumers),
            offsets: Arc::clone(&self.tables.offsets),
            settings: Arc::clone(&self.settings),
            stats: Arc::clone(&self.stats),
        }
    }

    fn broker_admin(&self) -> BrokerAdmin {
        BrokerAdmin {
            store: Arc::clone(&self.store),
            topics: Arc::clone(&self.tables.topics),
            consumers: Arc::clone(&self.consumers),
            registration: Arc::clone(&self.registration),
            settings: Arc::clone(&self.settings),
            stats: Arc::clone(&self.stats),
            following: Arc::clone(&self.following),
            log_check: Arc::clone(&self.log_check),
            runtime_info: Arc::new(RuntimeInfo {
                store: Arc::clone(&self.store),
                delay: Arc::clone(&self.tables.delay),
                settings: Arc::clone(&self.settings),
                stats: Arc::clone(&self.stats),
                durability: Arc::clone(&self.durability),
                stalled: Arc::clone(&self.stalled),
                registration: Arc::clone(&self.registration),
                at_work: self.at_work.clone(),
                booted: now_millis(),
            }),
        }
    }
}
