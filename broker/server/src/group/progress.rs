//! Progress of consumer groups: the lag, and the age of the oldest waiting message.

use super::{
    members::Consumers,
    offsets::{self, ConsumerOffsets},
    subscription::SubscriptionGroups,
};
use crate::{
    clock::now_millis,
    feature::{Feature, Tasks},
    metrics_page::{MAX_ROWS, MetricsPage, Written, is_system, yes_or_no},
    topic::Topics,
};
use prometheus::{GaugeVec, Opts};
use rmq_protocol::{body::MessageModel, names};
use rmq_store::{MessageStore, Millis};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The time limit, per scrape, for reading queue entries to get the ages of messages. The reads
/// block the thread of the HTTP port. Groups beyond the limit are shown without ages.
const AGES: Duration = Duration::from_millis(50);

/// Writes the progress of groups to disk periodically, and shows it as metrics.
pub(crate) struct ProgressWriter {
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) store: Arc<MessageStore>,
    /// The time between two writes.
    pub(crate) period: Duration,
}

impl Feature for ProgressWriter {
    fn correct(&self) {
        let end = |topic: &str, queue_id| self.topics.find(topic).map(|_| self.store.max_offset(topic, queue_id).get());
        self.offsets.correct(end);
    }

    fn start(self: Arc<Self>, tasks: &Tasks) {
        let consequence = "consumer groups and offsets cannot be written; after a crash messages would come again";
        tasks.write_every("write offsets", self.period, consequence, move || self.save());
    }

    /// A group that a pull has created must be on disk before its offsets: the offsets of a missing
    /// group are refused.
    fn save(&self) -> Result<(), rmq_store::Error> {
        self.groups.persist().and(self.offsets.persist())
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        // Clients of a broadcasting group keep their progress themselves. A group that is not
        // connected and never committed an offset only reads.
        let kept = |topic: &str, group: &str, finished: bool| match self.consumers.message_model(group) {
            Some(MessageModel::Broadcasting) => false,
            None if !finished => false,
            _ => self.topics.find(topic).is_some(),
        };
        read(self.offsets.progress(MAX_ROWS), kept, &self.store, to)
    }
}

/// The progress of one group in one topic, summed over all queues. Counts are messages, latencies
/// are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// Messages that are not finished.
    lag: i64,
    /// Messages that are handed out and not finished.
    inflight: i64,
    /// Messages that are not handed out.
    ready: i64,
    /// The age of the oldest message that is not finished; 0 if all are.
    lag_latency: Option<i64>,
    /// The age of the oldest message that is not handed out; 0 if all are.
    queueing_latency: Option<i64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { lag: 0, inflight: 0, ready: 0, lag_latency: Some(0), queueing_latency: Some(0) }
    }
}

impl Progress {
    /// Adds a queue: its bounds, the committed offset, the pulled offset, and a function for the
    /// age of a message, if the time limit allows a read.
    fn add(&mut self, (min, max): (i64, i64), committed: i64, pulled: Option<i64>, age: impl Fn(i64) -> Option<i64>) {
        let older = |known: Option<i64>, offset: i64| Some(known?.max(age(offset.max(min))?));
        let pulled = pulled.unwrap_or(committed);
        let (lag, ready) = (max.saturating_sub(committed).max(0), max.saturating_sub(pulled).max(0));
        self.lag = self.lag.saturating_add(lag);
        self.ready = self.ready.saturating_add(ready);
        self.inflight = self.inflight.saturating_add(pulled.saturating_sub(committed).max(0));
        // A message that was deleted before it was read has no age any more.
        if lag > 0 {
            self.lag_latency = older(self.lag_latency, committed);
        }
        if ready > 0 {
            self.queueing_latency = older(self.queueing_latency, pulled);
        }
    }
}

/// The name, the help text and the value of a metric.
type MetricRow = (&'static str, &'static str, fn(&Progress) -> Option<i64>);

const METRICS: [MetricRow; 5] = [
    ("rocketmq_consumer_lag_messages", "Messages a group has not finished.", |progress| Some(progress.lag)),
    ("rocketmq_consumer_inflight_messages", "Messages handed out and not finished.", |progress| {
        Some(progress.inflight)
    }),
    ("rocketmq_consumer_ready_messages", "Messages of a topic not yet handed out to the group.", |progress| {
        Some(progress.ready)
    }),
    ("rocketmq_consumer_lag_latency_milliseconds", "Age of the oldest message that is not finished.", |progress| {
        progress.lag_latency
    }),
    (
        "rocketmq_consumer_queueing_latency_milliseconds",
        "Age of the oldest message that was not handed out.",
        |progress| progress.queueing_latency,
    ),
];

/// `kept` returns whether the progress of a group in a topic is kept on this broker; its third
/// argument says whether the group has committed an offset in the topic. Filters are not applied,
/// because the tags of unread messages are not known: in a topic with tags a group may have fewer
/// messages to read.
fn read(
    rows: Vec<offsets::Progress>,
    kept: impl Fn(&str, &str, bool) -> bool,
    store: &MessageStore,
    to: &MetricsPage,
) -> prometheus::Result<()> {
    let mut groups = Vec::new();
    let (now, begun) = (now_millis(), Instant::now());
    for (key, committed, pulled) in rows {
        let Some((topic, group)) = offsets::split(&key) else { continue };
        if names::is_system_group(group) || !kept(topic, group, !committed.is_empty()) {
            continue;
        }
        let mut progress = Progress::default();
        for queue_id in store.queues(topic) {
            let bounds = (store.min_offset(topic, queue_id).to_wire(), store.max_offset(topic, queue_id).to_wire());
            let age = |offset: i64| {
                if begun.elapsed() > AGES {
                    return None;
                }
                let offset = u64::try_from(offset).unwrap_or(0);
                let stored = store.store_timestamp(topic, queue_id, offset.into()).ok().flatten().map(Millis::get);
                Some(stored.map_or(0, |stored| now.saturating_sub(stored).max(0)))
            };
            let finished = committed.get(&queue_id).copied().unwrap_or(0);
            progress.add(bounds, finished, pulled.get(&queue_id).copied(), age);
        }
        groups.push((key, progress));
    }
    METRICS.iter().try_for_each(|metric| write(*metric, &groups, to))
}

/// Writes one metric of all groups.
fn write((name, help, value): MetricRow, groups: &[(String, Progress)], to: &MetricsPage) -> prometheus::Result<()> {
    let gauges = GaugeVec::new(Opts::new(name, help), &["topic", "consumer_group", "is_retry", "is_system"])?;
    for (key, progress) in groups {
        let (Some((topic, group)), Some(value)) = (offsets::split(key), value(progress)) else { continue };
        let (retry, system) = (names::is_retry_topic(topic), is_system(topic, group));
        let values = [topic, group, yes_or_no(retry), yes_or_no(system)];
        gauges.with_label_values(&values).set(value as f64);
    }
    to.register(Box::new(gauges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_added_up_and_the_oldest_message_counts() {
        let mut progress = Progress::default();
        // The age of an offset is its distance from 1000.
        let age = |offset: i64| Some(1000 - offset);
        progress.add((0, 10), 4, Some(7), age);
        progress.add((0, 10), 10, Some(10), |_| Some(99_999));
        let after_two = Progress { lag: 6, inflight: 3, ready: 3, lag_latency: Some(996), queueing_latency: Some(993) };
        assert_eq!(progress, after_two, "a queue that is read to its end waits for nobody");
        progress.add((8, 10), 2, None, age);
        assert_eq!(
            (progress.lag, progress.ready, progress.lag_latency),
            (14, 11, Some(996)),
            "behind what was deleted"
        );
        progress.add((0, 10), 20, Some(5), age);
        assert_eq!((progress.lag, progress.inflight, progress.ready), (14, 3, 16), "an offset ahead of the queue");
        progress.add((0, 10), 4, Some(10), |_| None);
        assert_eq!((progress.lag_latency, progress.queueing_latency), (None, Some(995)), "an age nobody looked at");
    }
}
