//! What probes and scrapers are told, read when they ask from those who know it.

use super::{
    Metrics,
    progress::{self, MAX_ROWS, is_system, yes_or_no},
    sheet::{Filled, Sheet},
    store,
};
use crate::{
    admission::AtWork,
    config::Live,
    group::{
        members::{Consumers, Notices, Producers},
        offsets::ConsumerOffsets,
        subscription::SubscriptionGroups,
    },
    observe::stats::{Kind, Stats},
    pull::long_polling::LongPolling,
    registration::Registration,
    replication::{Following, LogCheck, Slaves},
    send::{durability::Durability, stalled},
    timer::delay::Delay,
    topic::Topics,
};
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts};
use rmq_protocol::{
    body::{ConsumeType, MessageModel},
    names, version,
};
use rmq_remoting::{Watchdog, http::Health};
use rmq_store::MessageStore;
use std::sync::{Arc, OnceLock};
use tokio_util::task::TaskTracker;

/// What `/healthz`, `/readyz` and `/metrics` tell.
pub(crate) struct Page {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) delay: Arc<Delay>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) long_polling: Arc<LongPolling>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) slaves: Arc<Slaves>,
    pub(crate) following: Arc<Following>,
    pub(crate) log_check: Arc<LogCheck>,
    pub(crate) durability: Arc<Durability>,
    pub(crate) stalled: Arc<stalled::Line>,
    pub(crate) settings: Arc<Live>,
    pub(crate) stats: Arc<Stats>,
    /// Requests that wait.
    pub(crate) waiting: TaskTracker,
    pub(crate) at_work: AtWork,
    pub(crate) watchdog: Arc<Watchdog>,
    /// Set when the broker stops: the first thing a probe should see.
    pub(crate) stopping: OnceLock<()>,
}

impl Health for Page {
    /// Fails some time after a failure that only a restart makes good. Reads go on until then, so that consumers get what
    /// may not be on the disk.
    fn live(&self) -> Result<(), String> {
        let store = self.store.failure().map(|failure| (failure.since, failure.why));
        let watched = self.watchdog.ended().map(|ended| (ended.since, ended.why));
        let Some((since, why)) = [store, watched].into_iter().flatten().min() else { return Ok(()) };
        let reads = self.settings.load().network.reads_after_failure.0;
        if since.elapsed() < reads {
            return Ok(());
        }
        Err(format!("{why}; reads went on for {} ms (readsAfterFailureMillis)", reads.as_millis()))
    }

    /// Known to a namesrv, recovered (or there would be no port to ask), able to take writes, and a slave near its master. One
    /// namesrv is enough: clients ask another one when theirs does not answer.
    fn ready(&self) -> Result<String, String> {
        if self.stopping.get().is_some() {
            return Err("stopping".to_owned());
        }
        if !self.log_check.is_open() {
            return Err(format!("the log of this master was not checked yet; {}", self.log_check.describe()));
        }
        let missing = self.registration.missing();
        let unregistered = match missing.is_empty() {
            true => String::new(),
            false => format!("not registered with {}", missing.join(", ")),
        };
        if !missing.is_empty() && !self.registration.is_registered() {
            return Err(unregistered);
        }
        if let Some(ended) = self.watchdog.ended() {
            return Err(ended.why);
        }
        let settings = self.settings.load();
        if settings.is_slave() {
            let limit = settings.replication.max_gap;
            match self.following.lag() {
                None => {
                    let mismatch = self.following.mismatch().map(|mismatch| mismatch.to_string());
                    return Err(mismatch.unwrap_or_else(|| "not connected to the master".to_owned()));
                }
                Some(lag) if lag > limit => {
                    return Err(format!("{lag} bytes behind the master, more than {limit} (haMaxGapNotInSync)"));
                }
                Some(_) => {}
            }
        }
        match self.store.figures().refusing {
            Some(reason) => Err(format!("the store takes no writes: {reason}")),
            None => {
                let words = [Some(unregistered), self.registration.contested()];
                let words: Vec<_> = words.into_iter().flatten().filter(|words| !words.is_empty()).collect();
                Ok(words.join("; "))
            }
        }
    }

    fn metrics(&self) -> String {
        let identity = &self.settings.load().identity;
        let labels = [
            ("cluster", identity.cluster_name.as_str()),
            ("node_type", "broker"),
            ("node_id", identity.broker_name.as_str()),
        ];
        let sheet = Sheet::new(&labels);
        if let Err(error) = self.metrics.write(&sheet).and_then(|()| self.read_all(&sheet)) {
            tracing::error!(%error, "some figures cannot be shown");
        }
        sheet.into_text()
    }
}

impl Page {
    fn read_all(&self, to: &Sheet) -> Filled {
        self.read_broker(to)?;
        self.read_clients(to)?;
        store::read(&self.store, to)?;
        self.read_replication(to)?;
        self.read_traffic(to)?;
        self.read_dead_letters(to)?;
        self.read_delay(to)?;
        // Clients of a broadcasting group keep their progress themselves; who is not connected and never said what it has finished only looks.
        let kept = |topic: &str, group: &str, finished: bool| match self.consumers.message_model(group) {
            Some(MessageModel::Broadcasting) => false,
            None if !finished => false,
            _ => self.topics.find(topic).is_some(),
        };
        progress::read(self.offsets.progress(MAX_ROWS), kept, &self.store, to)
    }

    fn read_broker(&self, to: &Sheet) -> Filled {
        let permission = self.settings.load().topics.permission;
        to.gauge(
            "rocketmq_broker_permission",
            "What this broker permits: 2 write, 4 read, 6 both.",
            f64::from(permission),
        )?;
        to.count("rocketmq_topic_number", "Topics of this broker.", self.topics.len())?;
        to.count("rocketmq_consumer_group_number", "Consumer groups of this broker.", self.groups.len())?;
        to.count(
            "rocketmq_broker_parked_pulls",
            "Pulls parked until there are messages for them; beyond maxParkedPulls those of the connections with the most are answered at once.",
            self.long_polling.len(),
        )?;
        to.counter(
            "rocketmq_broker_displaced_pulls_total",
            "Parked pulls answered early, to make room for those of connections with fewer.",
            self.long_polling.displaced() as u64,
        )?;
        to.counter(
            "rocketmq_broker_group_notices_total",
            "Notices to consumers that their group has changed; a group is told at most every 100 ms.",
            self.notices.sent(),
        )?;
        to.count(
            "rocketmq_broker_unregistered_namesrvs",
            "Namesrvs this broker is not registered with.",
            self.registration.missing().len(),
        )?;
        to.count(
            "rocketmq_broker_contested_namesrvs",
            "Namesrvs with which another broker registers with this one's name and id: they lead clients to both.",
            self.registration.contested_namesrvs(),
        )?;
        to.counter(
            "rocketmq_broker_ended_threads_total",
            "Threads and tasks that have to run as long as the broker, and ended; the log says which. Not 0: it has to be restarted.",
            self.watchdog.count() + self.store.figures().threads_ended,
        )?;
        // Java has a row for each of its thread pools. Here sends, pulls and heartbeats are handled as they are read.
        let watermark = GaugeVec::new(
            Opts::new(
                "rocketmq_processor_watermark",
                "Requests that wait: shared ones for a turn of their connection, the disk or the answer of another process, \
                those of them that are at work on threads (at_work), sends for disk blocks, their flush or their slaves. \
                Beyond 10,000 at work more are refused, and beyond 10,000 for blocks.",
            ),
            &["processor"],
        )?;
        let [flush, slaves] = self.durability.waiting();
        let (stalled, bytes) = self.stalled.waiting();
        let (shared, at_work) = (self.waiting.len(), self.at_work.count());
        let waiting =
            [("shared", shared), ("at_work", at_work), ("blocks", stalled), ("flush", flush), ("slaves", slaves)];
        for (processor, waiting) in waiting {
            watermark.with_label_values(&[processor]).set(waiting as f64);
        }
        to.register(Box::new(watermark))?;
        to.count(
            "rocketmq_broker_stalled_send_bytes",
            "Memory of sends that wait for disk blocks, as the disk is slow; beyond 64 MiB more are refused as busy.",
            bytes,
        )
    }

    fn read_delay(&self, to: &Sheet) -> Filled {
        to.counter(
            "rocketmq_broker_undeliverable_delayed_total",
            "Delayed messages that could never be delivered; they are kept in the topic rmq_sys_DELAY_DLQ with the reason.",
            self.delay.undeliverable(),
        )?;
        to.count(
            "rocketmq_broker_failing_delay_levels",
            "Delay levels whose next message cannot be delivered just now; it is tried again each second, and the log says why.",
            self.delay.failing_levels(),
        )
    }

    fn read_clients(&self, to: &Sheet) -> Filled {
        let producers = IntGaugeVec::new(
            Opts::new("rocketmq_producer_connections", "Producers connected now, by language and version."),
            &["language", "version", "protocol_type"],
        )?;
        for client in self.producers.all().values().flatten() {
            let (language, version) = software(client);
            producers.with_label_values(&[language.as_str(), &version, "remoting"]).inc();
        }
        to.register(Box::new(producers))?;
        let consumers = IntGaugeVec::new(
            Opts::new("rocketmq_consumer_connections", "Consumers connected now, by group, language and version."),
            &["consumer_group", "language", "version", "consume_mode", "protocol_type", "is_system"],
        )?;
        for (name, group) in self.consumers.all(MAX_ROWS) {
            let mode = match group.consume_type {
                ConsumeType::Actively => "pull",
                ConsumeType::Passively => "push",
                ConsumeType::Pop => "pop",
            };
            let system = yes_or_no(names::is_system_group(&name));
            for client in group.clients.values() {
                let (language, version) = software(client);
                consumers.with_label_values(&[name.as_str(), &language, &version, mode, "remoting", system]).inc();
            }
        }
        to.register(Box::new(consumers))
    }

    fn read_replication(&self, to: &Sheet) -> Filled {
        if self.settings.load().is_slave() {
            let lag = self.following.lag();
            to.gauge(
                "rocketmq_broker_connected_to_master",
                "1 while this slave follows its master.",
                f64::from(u8::from(lag.is_some())),
            )?;
            to.gauge(
                "rocketmq_broker_log_mismatch",
                "1 while this slave copies nothing, as its log and its master's do not go together; /readyz says how they differ.",
                f64::from(u8::from(self.following.mismatch().is_some())),
            )?;
            return to.gauge(
                "rocketmq_broker_master_lag_bytes",
                "Bytes of its master's commit log that this slave lacks.",
                lag.unwrap_or(0) as f64,
            );
        }
        to.gauge(
            "rocketmq_broker_log_checked",
            "1 once this master takes writes; 0 while it compares its log with its slaves' or waits for a decision (checkLogBeforeWrites).",
            f64::from(u8::from(self.log_check.is_open())),
        )?;
        to.gauge(
            "rocketmq_store_confirmed_offset",
            "Up to here inSyncReplicas members have the commit log, this master among them; it stands still while too few follow.",
            self.slaves.confirmed() as f64,
        )?;
        to.gauge(
            "rocketmq_broker_in_sync_members",
            "Members that keep up, the master among them.",
            f64::from(self.slaves.in_sync()),
        )?;
        to.gauge(
            "rocketmq_broker_slave_lag_bytes",
            "Bytes the slave furthest behind lacks.",
            self.slaves.lag().unwrap_or(0) as f64,
        )
    }

    fn read_traffic(&self, to: &Sheet) -> Filled {
        let labels = ["topic", "is_system", "consumer_group"];
        for (kind, name, help) in [
            (Kind::TopicPut, "rocketmq_messages_in_total", "Messages stored since the start, by topic."),
            (
                Kind::TopicPutSize,
                "rocketmq_throughput_in_total",
                "Bytes of message bodies stored since the start, by topic.",
            ),
        ] {
            let counters = IntCounterVec::new(Opts::new(name, help), &labels[..2])?;
            for (topic, value) in self.stats.values(kind) {
                counters.with_label_values(&[topic.as_str(), yes_or_no(is_system(&topic, ""))]).inc_by(value);
            }
            to.register(Box::new(counters))?;
        }
        for (kind, name, help) in [
            (Kind::GroupGet, "rocketmq_messages_out_total", "Messages read since the start, by topic and group."),
            (
                Kind::GroupGetSize,
                "rocketmq_throughput_out_total",
                "Bytes of records read since the start, by topic and group.",
            ),
            (
                Kind::SendBack,
                "rocketmq_messages_sent_back_total",
                "Messages that consumers sent back to be delivered again.",
            ),
        ] {
            let counters = IntCounterVec::new(Opts::new(name, help), &labels)?;
            for (key, value) in self.stats.values(kind) {
                let (topic, group) = key.split_once('@').unwrap_or((&key, ""));
                counters.with_label_values(&[topic, yes_or_no(is_system(topic, group)), group]).inc_by(value);
            }
            to.register(Box::new(counters))?;
        }
        Ok(())
    }

    /// Two ways lead there: a message that is sent back to the broker once too often, and one that a client itself sends to the retry topic once too often. The
    /// latter is counted as stored in the dead-letter topic.
    fn read_dead_letters(&self, to: &Sheet) -> Filled {
        let counters = IntCounterVec::new(
            Opts::new(
                "rocketmq_send_to_dlq_messages_total",
                "Messages that were tried too often and went to the dead letters of their group.",
            ),
            &["topic", "consumer_group", "is_system"],
        )?;
        let add = |topic: &str, group: &str, value| {
            counters.with_label_values(&[topic, group, yes_or_no(is_system(topic, group))]).inc_by(value);
        };
        for (key, value) in self.stats.values(Kind::DeadLetter) {
            let (topic, group) = key.split_once('@').unwrap_or((&key, ""));
            add(topic, group, value);
        }
        for (topic, value) in self.stats.values(Kind::TopicPut) {
            if let Some(group) = names::group_of_dead_letter_topic(&topic) {
                add(&names::retry_topic(group), group, value);
            }
        }
        to.register(Box::new(counters))
    }
}

/// A client's language and version as Java's labels have them.
fn software(client: &crate::group::members::Client) -> (String, String) {
    (client.language.name().to_lowercase(), version::name(client.version).to_lowercase())
}
