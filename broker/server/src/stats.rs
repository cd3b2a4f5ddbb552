//! Counters over time: messages a second by topic and group, as `brokerStatus`, `statsAll` and Java's exporter ask for them.
//!
//! A counter is one atomic. Once in ten seconds a sampler notes every counter's value; a rate is the difference of two notes. So counting costs an add, and asking costs
//! a walk over at most [`SAMPLES`] notes. A counter that nobody touched for an hour is dropped.

use parking_lot::{Mutex, RwLock};
use rmq_protocol::body::{BrokerStats, StatsItem};
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Between two notes.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// An hour of notes, and one to subtract from.
const SAMPLES: usize = 361;

/// What is counted. The names are Java's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Messages stored, by topic.
    TopicPut,
    /// Bytes stored, by topic.
    TopicPutSize,
    /// Messages read, by `topic@group`.
    GroupGet,
    /// Bytes read, by `topic@group`.
    GroupGetSize,
    /// Messages sent back, by `topic@group`.
    SendBack,
    /// Messages stored, by cluster.
    BrokerPut,
    /// Messages read, by cluster.
    BrokerGet,
}

impl Kind {
    /// The kind with Java's name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "TOPIC_PUT_NUMS" => Self::TopicPut,
            "TOPIC_PUT_SIZE" => Self::TopicPutSize,
            "GROUP_GET_NUMS" => Self::GroupGet,
            "GROUP_GET_SIZE" => Self::GroupGetSize,
            "SNDBCK_PUT_NUMS" => Self::SendBack,
            "BROKER_PUT_NUMS" => Self::BrokerPut,
            "BROKER_GET_NUMS" => Self::BrokerGet,
            _ => return None,
        })
    }
}

/// A counter and its notes.
#[derive(Default)]
pub(crate) struct Counter {
    value: AtomicU64,
    notes: Mutex<VecDeque<(Instant, u64)>>,
}

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.value.fetch_add(amount, Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.value.load(Relaxed)
    }

    fn note(&self, now: Instant) {
        let mut notes = self.notes.lock();
        notes.push_back((now, self.value()));
        if notes.len() > SAMPLES {
            notes.pop_front();
        }
    }

    /// Amount and rate over the last `span`, or over what is known of it.
    pub(crate) fn over(&self, span: Duration, now: Instant) -> StatsItem {
        let notes = self.notes.lock();
        // Notes come a little late; the one nearest to the span's beginning is half a step further back at most.
        let limit = span + SAMPLE_EVERY / 2;
        let Some((since, before)) = notes.iter().find(|(when, _)| now.duration_since(*when) <= limit).copied() else {
            return StatsItem::default();
        };
        let (sum, seconds) = (self.value() - before, now.duration_since(since).as_secs_f64());
        StatsItem { sum: sum as i64, tps: if seconds > 0.0 { sum as f64 / seconds } else { 0.0 }, avgpt: 0.0 }
    }

    /// Not touched for as long as notes are kept.
    fn is_stale(&self) -> bool {
        let notes = self.notes.lock();
        notes.len() >= SAMPLES && notes.front().is_some_and(|(_, before)| *before == self.value())
    }
}

/// All counters.
#[derive(Default)]
pub(crate) struct Stats {
    counters: RwLock<FxHashMap<Kind, ByKey>>,
}

type ByKey = FxHashMap<Box<str>, Arc<Counter>>;

impl Stats {
    /// Counts.
    pub(crate) fn add(&self, kind: Kind, key: &str, amount: u64) {
        if let Some(counter) = self.counters.read().get(&kind).and_then(|counters| counters.get(key)) {
            counter.add(amount);
            return;
        }
        let counter = {
            let mut counters = self.counters.write();
            Arc::clone(counters.entry(kind).or_default().entry(key.into()).or_default())
        };
        counter.note(Instant::now());
        counter.add(amount);
    }

    /// One counter.
    pub(crate) fn find(&self, kind: Kind, key: &str) -> Option<Arc<Counter>> {
        self.counters.read().get(&kind)?.get(key).map(Arc::clone)
    }

    /// All counters of a kind.
    pub(crate) fn values(&self, kind: Kind) -> Vec<(String, u64)> {
        let counters = self.counters.read();
        counters.get(&kind).into_iter().flatten().map(|(key, counter)| (key.to_string(), counter.value())).collect()
    }

    /// The last minute, hour and day (of the day, the last hour is known).
    pub(crate) fn describe(&self, kind: Kind, key: &str, now: Instant) -> Option<BrokerStats> {
        let counter = self.find(kind, key)?;
        let span = |seconds| counter.over(Duration::from_secs(seconds), now);
        Some(BrokerStats { stats_minute: span(60), stats_hour: span(3600), stats_day: span(86_400) })
    }

    /// Messages a second over the last minute.
    pub(crate) fn rate(&self, kind: Kind, key: &str, now: Instant) -> f64 {
        self.find(kind, key).map_or(0.0, |counter| counter.over(Duration::from_secs(60), now).tps)
    }

    /// Notes every counter; called every [`SAMPLE_EVERY`].
    pub(crate) fn sample(&self, now: Instant) {
        let all: Vec<Arc<Counter>> =
            self.counters.read().values().flat_map(|counters| counters.values().cloned()).collect();
        for counter in all {
            counter.note(now);
        }
        for counters in self.counters.write().values_mut() {
            counters.retain(|_, counter| !counter.is_stale());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_of_notes() {
        let stats = Stats::default();
        let start = Instant::now();
        stats.add(Kind::TopicPut, "t", 5);
        stats.sample(start);
        stats.add(Kind::TopicPut, "t", 120);
        let now = start + Duration::from_secs(60);
        let minute = stats.describe(Kind::TopicPut, "t", now).unwrap().stats_minute;
        assert!(minute.sum >= 120, "{minute:?}");
        assert!((minute.tps - 2.0).abs() < 0.2, "{minute:?}");
        assert!(stats.describe(Kind::TopicPut, "u", now).is_none());
    }

    #[test]
    fn a_counter_nobody_touches_for_an_hour_is_dropped() {
        let stats = Stats::default();
        stats.add(Kind::TopicPut, "t", 1);
        let start = Instant::now();
        for step in 0..2 * SAMPLES as u32 {
            stats.sample(start + SAMPLE_EVERY * step);
        }
        assert!(stats.find(Kind::TopicPut, "t").is_none());
    }
}
