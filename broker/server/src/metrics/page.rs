//! What probes and scrapers are told, read when they ask from those who know it.

use super::{
    Metrics,
    durations::Durations,
    progress::{self, MAX_ROWS, is_system, yes_or_no},
    sheet::Sheet,
};
use crate::{
    clock::now_millis,
    config::Live,
    connected::{Consumers, Producers},
    consumer_offset::ConsumerOffsets,
    durability::Durability,
    ha::{Following, Slaves},
    long_polling::LongPolling,
    registration::Registration,
    stalled,
    stats::{Kind, Stats},
    subscription_group::SubscriptionGroups,
    topic::Topics,
};
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use rmq_protocol::{
    body::{ConsumeType, MessageModel},
    names, version,
};
use rmq_remoting::http::Health;
use rmq_store::{DiskUse, MessageStore};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio_util::task::TaskTracker;

/// What `/readyz` and `/metrics` tell.
pub(crate) struct Page {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) long_polling: Arc<LongPolling>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) slaves: Arc<Slaves>,
    pub(crate) following: Arc<Following>,
    pub(crate) durability: Arc<Durability>,
    pub(crate) stalled: Arc<stalled::Line>,
    pub(crate) settings: Arc<Live>,
    pub(crate) stats: Arc<Stats>,
    /// Requests that wait.
    pub(crate) waiting: TaskTracker,
    /// Set when the broker stops: the first thing a probe should see.
    pub(crate) stopping: OnceLock<()>,
}

impl Health for Page {
    /// Registered with every namesrv, recovered (or there would be no port to ask), and a slave near its master.
    fn ready(&self) -> Result<(), String> {
        if self.stopping.get().is_some() {
            return Err("stopping".to_owned());
        }
        let missing = self.registration.missing();
        if !missing.is_empty() {
            return Err(format!("not registered with {}", missing.join(", ")));
        }
        let settings = self.settings.load();
        if settings.is_slave() {
            let limit = settings.replication.max_gap;
            match self.following.lag() {
                None => return Err("not connected to the master".to_owned()),
                Some(lag) if lag > limit => {
                    return Err(format!("{lag} bytes behind the master, more than {limit} (haMaxGapNotInSync)"));
                }
                Some(_) => {}
            }
        }
        match self.store.figures().refusing {
            Some(reason) => Err(format!("the store takes no writes: {reason}")),
            None => Ok(()),
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

type Filled = prometheus::Result<()>;

fn gauge(to: &Sheet, name: &str, help: &str, value: f64) -> Filled {
    let gauge = Gauge::new(name, help)?;
    gauge.set(value);
    to.register(Box::new(gauge))
}

fn count(to: &Sheet, name: &str, help: &str, value: usize) -> Filled {
    let gauge = IntGauge::new(name, help)?;
    gauge.set(value as i64);
    to.register(Box::new(gauge))
}

fn counter(to: &Sheet, name: &str, help: &str, value: u64) -> Filled {
    let counter = prometheus::IntCounter::new(name, help)?;
    counter.inc_by(value);
    to.register(Box::new(counter))
}

impl Page {
    fn read_all(&self, to: &Sheet) -> Filled {
        self.read_broker(to)?;
        self.read_clients(to)?;
        self.read_store(to)?;
        self.read_replication(to)?;
        self.read_traffic(to)?;
        self.read_dead_letters(to)?;
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
        gauge(
            to,
            "rocketmq_broker_permission",
            "What this broker permits: 2 write, 4 read, 6 both.",
            f64::from(permission),
        )?;
        count(to, "rocketmq_topic_number", "Topics of this broker.", self.topics.len())?;
        count(to, "rocketmq_consumer_group_number", "Consumer groups of this broker.", self.groups.len())?;
        count(
            to,
            "rocketmq_broker_parked_pulls",
            "Pulls parked until there are messages for them; beyond maxParkedPulls they are answered at once.",
            self.long_polling.len(),
        )?;
        count(
            to,
            "rocketmq_broker_unregistered_namesrvs",
            "Namesrvs this broker is not registered with.",
            self.registration.missing().len(),
        )?;
        // Java has a row for each of its thread pools. Here sends, pulls and heartbeats are handled as they are read.
        let watermark = GaugeVec::new(
            Opts::new(
                "rocketmq_processor_watermark",
                "Requests that wait: shared ones for the disk or another's answer, sends for disk blocks, their flush or their slaves. Beyond 10,000 shared \
                ones more are refused, and beyond 10,000 for blocks.",
            ),
            &["processor"],
        )?;
        let [flush, slaves] = self.durability.waiting();
        let (stalled, bytes) = self.stalled.waiting();
        let waiting = [("shared", self.waiting.len()), ("blocks", stalled), ("flush", flush), ("slaves", slaves)];
        for (processor, waiting) in waiting {
            watermark.with_label_values(&[processor]).set(waiting as f64);
        }
        to.register(Box::new(watermark))?;
        count(
            to,
            "rocketmq_broker_stalled_send_bytes",
            "Memory of sends that wait for disk blocks, as the disk is slow; beyond 64 MiB more are refused as busy.",
            bytes,
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

    fn read_store(&self, to: &Sheet) -> Filled {
        let f = self.store.figures();
        let age = self.store.earliest_timestamp().map_or(0, |oldest| (now_millis() - oldest).max(0)) as u64;
        for (name, help, value) in [
            (
                "rocketmq_storage_size_bytes",
                "Bytes of commit log, from the oldest message to the end.",
                f.appended.saturating_sub(f.min_offset),
            ),
            (
                "rocketmq_storage_flush_behind_bytes",
                "Bytes of commit log not yet on the disk: a power cut would take them.",
                f.appended.saturating_sub(f.flushed),
            ),
            (
                "rocketmq_storage_dispatch_behind_bytes",
                "Bytes of commit log that consumers cannot see yet.",
                f.appended.saturating_sub(f.dispatched),
            ),
            (
                "rocketmq_storage_message_reserve_time_milliseconds",
                "Age of the oldest message there is, in milliseconds.",
                age,
            ),
        ] {
            let gauge = GaugeVec::new(Opts::new(name, help), &["storage_type", "storage_medium"])?;
            gauge.with_label_values(&["local", "disk"]).set(value as f64);
            to.register(Box::new(gauge))?;
        }
        gauge(to, "rocketmq_store_appended_offset", "End of the commit log, in bytes.", f.appended as f64)?;
        gauge(to, "rocketmq_store_flushed_offset", "Up to here the commit log is on the disk.", f.flushed as f64)?;
        gauge(to, "rocketmq_store_dispatched_offset", "Up to here consumers see the commit log.", f.dispatched as f64)?;
        gauge(
            to,
            "rocketmq_store_mapped_bytes",
            "Bytes of commit log and index files mapped: address space, of which the system keeps in memory what is used.",
            f.mapped_bytes as f64,
        )?;
        count(
            to,
            "rocketmq_store_queues",
            "Consume queues: a queue of a topic has one once it got a message.",
            f.queues,
        )?;
        count(to, "rocketmq_store_open_files", "Consume queue files open, of 512 at most.", f.open_files)?;
        count(to, "rocketmq_store_index_files", "Index files, which find messages by their keys.", f.index_files)?;
        gauge(
            to,
            "rocketmq_store_queue_buffer_bytes",
            "Bytes of consume queue entries not yet written to the disk.",
            f.consume_queue_pending as f64,
        )?;
        gauge(
            to,
            "rocketmq_store_queue_memory_bytes",
            "Memory of consume queue entries, as of when they were last written: the newest ones of each queue stay for consumers that keep up.",
            f.consume_queue_memory as f64,
        )?;
        counter(to, "rocketmq_store_put_messages_total", "Messages stored since the start.", f.put_messages)?;
        counter(to, "rocketmq_store_put_bytes_total", "Bytes of the records stored since the start.", f.put_bytes)?;
        counter(
            to,
            "rocketmq_store_put_failures_total",
            "Messages refused with an error instead of being stored.",
            f.put_failures,
        )?;
        counter(
            to,
            "rocketmq_store_damages_passed_over_total",
            "Damaged records and queue entries that pulls passed over, each time one met them; the log says which. Not 0: check the disk.",
            f.damages_passed_over,
        )?;
        counter(
            to,
            "rocketmq_store_late_blocks_total",
            "Sends that found no disk blocks ready and had to wait: many of them mean a disk too slow for what is sent.",
            f.puts_not_at_hand,
        )?;
        counter(
            to,
            "rocketmq_store_cold_reads_total",
            "Pulls whose messages had left the memory and came from the disk.",
            f.gets_not_at_hand,
        )?;
        for (name, help, counted) in [
            ("rocketmq_store_put_seconds", "Time to store a message, without waiting for disk or slaves.", f.put_times),
            ("rocketmq_store_append_lock_seconds", "Waits for another message that was being stored.", f.lock_waits),
            ("rocketmq_store_flush_seconds", "Time the disk took to take what was stored.", f.flush_times),
            ("rocketmq_store_get_seconds", "Time to look messages up, found or not.", f.get_times),
        ] {
            to.register(Box::new(Durations::new(name, help, counted)?))?;
        }
        gauge(
            to,
            "rocketmq_store_index_behind_bytes",
            "Bytes of log that queries by key cannot find yet; more than 0 only after the disk was full or failed.",
            f.index_behind as f64,
        )?;
        gauge(
            to,
            "rocketmq_store_refuses_writes",
            "1 while no messages are taken.",
            f64::from(u8::from(f.refusing.is_some())),
        )?;
        match self.store.disk_use() {
            Ok(used) => read_disk_use(&used, &self.store.config().root, to),
            Err(error) => {
                tracing::warn!(%error, "how full the disks are cannot be shown");
                Ok(())
            }
        }
    }

    fn read_replication(&self, to: &Sheet) -> Filled {
        if self.settings.load().is_slave() {
            let lag = self.following.lag();
            gauge(
                to,
                "rocketmq_broker_connected_to_master",
                "1 while this slave follows its master.",
                f64::from(u8::from(lag.is_some())),
            )?;
            return gauge(
                to,
                "rocketmq_broker_master_lag_bytes",
                "Bytes of its master's commit log that this slave lacks.",
                lag.unwrap_or(0) as f64,
            );
        }
        gauge(
            to,
            "rocketmq_store_confirmed_offset",
            "Up to here inSyncReplicas members have the commit log, this master among them; it stands still while too few follow.",
            self.slaves.confirmed() as f64,
        )?;
        gauge(
            to,
            "rocketmq_broker_in_sync_members",
            "Members that keep up, the master among them.",
            f64::from(self.slaves.in_sync()),
        )?;
        gauge(
            to,
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

/// The share that decides, and that of the volume of each directory that grows.
fn read_disk_use(used: &DiskUse, root: &Path, to: &Sheet) -> Filled {
    gauge(
        to,
        "rocketmq_store_disk_used_ratio",
        "Used share, 0 to 1, that decides on deletion and refusal: of the emptiest commit log disk, or of storePathRootDir's if fuller.",
        used.deciding() / 100.0,
    )?;
    let each = GaugeVec::new(
        Opts::new(
            "rocketmq_store_directory_disk_used_ratio",
            "Used share, 0 to 1, of the disk of each directory that gets new files.",
        ),
        &["directory"],
    )?;
    let directories = used.commit_log_dirs.iter().map(|(directory, percent)| (directory.as_path(), *percent));
    for (directory, percent) in directories.chain([(root, used.consume_queue)]) {
        each.with_label_values(&[&*directory.to_string_lossy()]).set(percent / 100.0);
    }
    to.register(Box::new(each))
}

/// A client's language and version as Java's labels have them.
fn software(client: &crate::connected::Client) -> (String, String) {
    (client.language.name().to_lowercase(), version::name(client.version).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk of consume queues refused writes while the figure told of the commit log's.
    #[test]
    fn the_disk_that_decides_is_shown_and_each_beside_it() {
        let used = DiskUse {
            commit_log: 30.0,
            commit_log_dirs: vec![("/a".into(), 30.0), ("/b".into(), 60.0)],
            consume_queue: 92.0,
        };
        let sheet = Sheet::new(&[]);
        read_disk_use(&used, Path::new("/store"), &sheet).unwrap();
        let text = sheet.into_text();
        let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let each = |path: &str, ratio: &str| {
            format!("rocketmq_store_directory_disk_used_ratio{{directory=\"{path}\"}} {ratio}")
        };
        let mut wanted = vec!["rocketmq_store_disk_used_ratio 0.92".to_owned()];
        wanted.extend([each("/a", "0.3"), each("/b", "0.6"), each("/store", "0.92")]);
        assert_eq!(rows, wanted);
    }
}
