//! The broker's figures for Prometheus. Names are those of Java 5.x where one exists.
//!
//! Almost everything is read when a scraper asks, from those who know it; only requests are counted here.

use crate::{
    clock::now_millis,
    config::Live,
    connected::{Consumers, Producers},
    consumer_offset::ConsumerOffsets,
    ha::{Following, Slaves},
    long_polling::LongPolling,
    registration::Registration,
    stats::{Kind, Stats},
    subscription_group::SubscriptionGroups,
    topic::Topics,
};
use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};
use rmq_protocol::{RequestCode, names};
use rmq_remoting::http::Health;
use rmq_store::MessageStore;
use rustc_hash::FxHashMap;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Bounds of the time a request takes on its connection's task, in seconds.
const HANDLING_SECONDS: [f64; 8] = [0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.01, 0.1, 1.0];
/// Groups and topics whose lag is shown; a broker with more has other tools.
const MAX_LAG_ROWS: usize = 10_000;

/// Requests by code.
pub(crate) struct Metrics {
    registry: Registry,
    handling: FxHashMap<i32, prometheus::Histogram>,
    unknown: prometheus::IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let handling = HistogramVec::new(
            HistogramOpts::new(
                "rocketmq_broker_handling_seconds",
                "Time a request took on its connection's task; waiting for disk, slaves or messages is not in it.",
            )
            .buckets(HANDLING_SECONDS.into()),
            &["request_code"],
        )?;
        registry.register(Box::new(handling.clone()))?;
        let unknown = IntCounterVec::new(
            Opts::new("rocketmq_broker_unknown_requests_total", "Requests with a code nobody knows."),
            &[],
        )?;
        registry.register(Box::new(unknown.clone()))?;
        Ok(Self {
            handling: RequestCode::ALL
                .iter()
                .map(|code| (code.number(), handling.with_label_values(&[code.name()])))
                .collect(),
            unknown: unknown.with_label_values::<&str>(&[]),
            registry,
        })
    }

    /// Where others register what they count themselves.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A request was handled on its connection's task.
    pub(crate) fn handled(&self, code: i32, time: Duration) {
        match self.handling.get(&code) {
            Some(histogram) => histogram.observe(time.as_secs_f64()),
            None => self.unknown.inc(),
        }
    }
}

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
    pub(crate) settings: Arc<Live>,
    pub(crate) stats: Arc<Stats>,
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
        let read = Registry::new();
        if let Err(error) = self.read_all(&read) {
            tracing::error!(%error, "some figures cannot be shown");
        }
        let mut text = rmq_remoting::metrics::text(self.metrics.registry());
        text.push_str(&rmq_remoting::metrics::text(&read));
        text
    }
}

type Filled = prometheus::Result<()>;

fn gauge(registry: &Registry, name: &str, help: &str, value: f64) -> Filled {
    let gauge = Gauge::new(name, help)?;
    gauge.set(value);
    registry.register(Box::new(gauge))
}

fn count(registry: &Registry, name: &str, help: &str, value: usize) -> Filled {
    let gauge = IntGauge::new(name, help)?;
    gauge.set(value as i64);
    registry.register(Box::new(gauge))
}

fn counter(registry: &Registry, name: &str, help: &str, value: u64) -> Filled {
    let counter = prometheus::IntCounter::new(name, help)?;
    counter.inc_by(value);
    registry.register(Box::new(counter))
}

impl Page {
    fn read_all(&self, registry: &Registry) -> Filled {
        self.read_broker(registry)?;
        self.read_store(registry)?;
        self.read_replication(registry)?;
        self.read_traffic(registry)?;
        self.read_lag(registry)
    }

    fn read_broker(&self, to: &Registry) -> Filled {
        let permission = self.settings.load().topics.permission;
        gauge(
            to,
            "rocketmq_broker_permission",
            "What this broker permits: 2 write, 4 read, 6 both.",
            f64::from(permission),
        )?;
        count(to, "rocketmq_topic_number", "Topics of this broker.", self.topics.len())?;
        count(to, "rocketmq_consumer_group_number", "Consumer groups of this broker.", self.groups.len())?;
        count(to, "rocketmq_producer_connections", "Producers connected.", self.producers.len())?;
        count(to, "rocketmq_consumer_connections", "Consumers connected.", self.consumers.len())?;
        count(to, "rocketmq_broker_parked_pulls", "Pulls that wait for messages.", self.long_polling.len())?;
        count(
            to,
            "rocketmq_broker_unregistered_namesrvs",
            "Namesrvs this broker is not registered with.",
            self.registration.missing().len(),
        )
    }

    fn read_store(&self, to: &Registry) -> Filled {
        let f = self.store.figures();
        gauge(to, "rocketmq_storage_size", "Bytes of messages stored.", (f.appended - f.min_offset) as f64)?;
        gauge(
            to,
            "rocketmq_storage_flush_behind_bytes",
            "Bytes not yet on disk.",
            f.appended.saturating_sub(f.flushed) as f64,
        )?;
        gauge(
            to,
            "rocketmq_storage_dispatch_behind_bytes",
            "Bytes that consumers cannot see yet.",
            f.appended.saturating_sub(f.dispatched) as f64,
        )?;
        let age = self.store.earliest_timestamp().map_or(0, |oldest| (now_millis() - oldest).max(0));
        gauge(to, "rocketmq_storage_message_reserve_time", "Age of the oldest message, in milliseconds.", age as f64)?;
        gauge(to, "rocketmq_store_appended_offset", "End of the commit log.", f.appended as f64)?;
        gauge(to, "rocketmq_store_flushed_offset", "Up to here the commit log is on disk.", f.flushed as f64)?;
        gauge(to, "rocketmq_store_dispatched_offset", "Up to here consumers see it.", f.dispatched as f64)?;
        gauge(to, "rocketmq_store_confirmed_offset", "Up to here enough members have it.", f.confirmed as f64)?;
        gauge(to, "rocketmq_store_mapped_bytes", "Bytes of files mapped into memory.", f.mapped_bytes as f64)?;
        count(to, "rocketmq_store_queues", "Consume queues.", f.queues)?;
        count(to, "rocketmq_store_open_files", "Consume queue files open.", f.open_files)?;
        gauge(
            to,
            "rocketmq_store_queue_buffer_bytes",
            "Consume queue entries not yet written.",
            f.consume_queue_pending as f64,
        )?;
        counter(to, "rocketmq_store_put_messages_total", "Messages stored since the start.", f.put_messages)?;
        counter(to, "rocketmq_store_put_bytes_total", "Bytes of their records.", f.put_bytes)?;
        counter(to, "rocketmq_store_put_failures_total", "Messages not stored.", f.put_failures)?;
        gauge(to, "rocketmq_store_put_seconds_max", "The longest put since the start.", f.put_times.max.as_secs_f64())?;
        gauge(
            to,
            "rocketmq_store_append_lock_seconds_max",
            "The longest wait for the append lock.",
            f.lock_waits.max.as_secs_f64(),
        )?;
        gauge(to, "rocketmq_store_flush_seconds_max", "The longest flush.", f.flush_times.max.as_secs_f64())?;
        if let Ok(used) = self.store.disk_use() {
            gauge(
                to,
                "rocketmq_store_disk_used_ratio",
                "Used share of the commit log's disk, 0 to 1.",
                used.commit_log / 100.0,
            )?;
        }
        gauge(
            to,
            "rocketmq_store_refuses_writes",
            "1 while no messages are taken.",
            f64::from(u8::from(f.refusing.is_some())),
        )
    }

    fn read_replication(&self, to: &Registry) -> Filled {
        if self.settings.load().is_slave() {
            let lag = self.following.lag();
            gauge(
                to,
                "rocketmq_broker_connected_to_master",
                "1 while this slave follows its master.",
                f64::from(u8::from(lag.is_some())),
            )?;
            return gauge(to, "rocketmq_broker_master_lag_bytes", "Bytes this slave lacks.", lag.unwrap_or(0) as f64);
        }
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

    fn read_traffic(&self, to: &Registry) -> Filled {
        let labels = ["topic", "consumer_group"];
        for (kind, name, help) in [
            (Kind::TopicPut, "rocketmq_messages_in_total", "Messages stored."),
            (Kind::TopicPutSize, "rocketmq_throughput_in_total", "Bytes of message bodies stored."),
        ] {
            let counters = IntCounterVec::new(Opts::new(name, help), &labels[..1])?;
            for (topic, value) in self.stats.values(kind) {
                counters.with_label_values(&[&topic]).inc_by(value);
            }
            to.register(Box::new(counters))?;
        }
        for (kind, name, help) in [
            (Kind::GroupGet, "rocketmq_messages_out_total", "Messages read."),
            (Kind::GroupGetSize, "rocketmq_throughput_out_total", "Bytes of records read."),
            (Kind::SendBack, "rocketmq_messages_sent_back_total", "Messages that consumers sent back."),
        ] {
            let counters = IntCounterVec::new(Opts::new(name, help), &labels)?;
            for (key, value) in self.stats.values(kind) {
                let (topic, group) = key.split_once('@').unwrap_or((&key, ""));
                counters.with_label_values(&[topic, group]).inc_by(value);
            }
            to.register(Box::new(counters))?;
        }
        Ok(())
    }

    fn read_lag(&self, to: &Registry) -> Filled {
        let lag = GaugeVec::new(
            Opts::new("rocketmq_consumer_lag_messages", "Messages a group has not finished."),
            &["topic", "consumer_group"],
        )?;
        for (key, queues) in self.offsets.snapshot().offset_table.into_iter().take(MAX_LAG_ROWS) {
            let Some((topic, group)) = crate::consumer_offset::split(&key) else { continue };
            if names::is_system_group(group) {
                continue;
            }
            let behind = queues.iter().map(|(queue_id, offset)| {
                let max = self.store.max_offset(topic, *queue_id) as i64;
                (max - offset).max(0)
            });
            lag.with_label_values(&[topic, group]).set(behind.sum::<i64>() as f64);
        }
        to.register(Box::new(lag))
    }
}
