//! Metrics of transactions. Those without `broker` in their names are Java's.

use super::Transactions;
use crate::{
    Error,
    clock::now_millis,
    metrics_page::{MetricsPage, Written},
};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Java's: 5 s, a minute, ten, an hour, twelve, a day.
const LATENCIES: [f64; 6] = [5.0, 60.0, 600.0, 3600.0, 43_200.0, 86_400.0];

/// Counters since the start. Topics beyond the limit of rows are counted together, under no name.
pub(super) struct Counters {
    commits: IntCounterVec,
    roll_backs: IntCounterVec,
    latencies: HistogramVec,
    pub(super) checks: AtomicU64,
    pub(super) given_up: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Result<Self, Error> {
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), &["topic"]).map_err(Error::Metrics);
        let latencies = HistogramOpts::new(
            "rocketmq_finish_message_latency_milliseconds",
            "Seconds, in spite of the name, which is Java's, from the birth of a message to its commit.",
        );
        Ok(Self {
            commits: counter("rocketmq_commit_messages_total", "Transactions that were committed.")?,
            roll_backs: counter("rocketmq_rollback_messages_total", "Transactions that were rolled back.")?,
            latencies: HistogramVec::new(latencies.buckets(LATENCIES.to_vec()), &["topic"]).map_err(Error::Metrics)?,
            checks: AtomicU64::default(),
            given_up: AtomicU64::default(),
            lost: AtomicU64::default(),
        })
    }
}

impl Transactions {
    pub(super) fn committed(&self, topic: &str, born: i64) {
        let topic = self.state.lock().open.topics.label(topic);
        let counters = &self.counters;
        counters.commits.with_label_values(&[topic]).inc();
        let seconds = now_millis().saturating_sub(born) / 1000;
        counters.latencies.with_label_values(&[topic]).observe(seconds.max(0) as f64);
    }

    pub(super) fn rolled_back(&self, topic: &str) {
        let topic = self.state.lock().open.topics.label(topic);
        self.counters.roll_backs.with_label_values(&[topic]).inc();
    }

    pub(super) fn metrics(&self, to: &MetricsPage) -> Written {
        let half = IntGaugeVec::new(
            Opts::new(
                "rocketmq_half_messages",
                "Transactions whose outcome is not known, by topic; no topic stands for those that a start has not \
                read yet. Beyond maxOpenTransactions more are refused as busy.",
            ),
            &["topic"],
        )?;
        let unproven = {
            let state = self.state.lock();
            for (topic, open) in state.open.topics.counts() {
                half.with_label_values(&[topic]).set(i64::try_from(open).unwrap_or(i64::MAX));
            }
            state.unproven.len()
        };
        let counters = &self.counters;
        to.register(Box::new(half))?;
        to.register(Box::new(counters.commits.clone()))?;
        to.register(Box::new(counters.roll_backs.clone()))?;
        to.register(Box::new(counters.latencies.clone()))?;
        to.counter(
            "rocketmq_broker_transaction_checks_total",
            "Questions to producers for the outcome of a transaction.",
            counters.checks.load(Relaxed),
        )?;
        to.counter(
            "rocketmq_broker_given_up_transactions_total",
            "Transactions without an outcome after all checks; they are kept in the topic TRANS_CHECK_MAX_TIME_TOPIC.",
            counters.given_up.load(Relaxed),
        )?;
        to.counter(
            "rocketmq_broker_lost_transactions_total",
            "Open transactions whose half message was deleted with the old files of the log.",
            counters.lost.load(Relaxed),
        )?;
        to.count(
            "rocketmq_broker_unproven_transactions",
            "Finished transactions whose op message is not on the disk yet; a start after a crash reads the log from the first of them.",
            unproven,
        )
    }
}
