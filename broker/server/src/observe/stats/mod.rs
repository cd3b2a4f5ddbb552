//! Counters over time: messages per second by topic and group, as `brokerStatus`, `statsAll` and
//! Java's exporter query them.
//!
//! A counter is one atomic. A sampler records the value of every counter: every ten seconds for the
//! last minute, every ten minutes for the last hour, and every hour for the last day, as Java does.
//! A rate is the difference of two [`samples`]. So counting costs one atomic add, and a topic that
//! takes messages has two counters of some 1.5 KiB, which allows very many topics. The sampler also
//! records the values at the last two midnights, local time. A counter that has not changed for a
//! day is dropped, except those of the broker, whose totals are shown.

mod metrics;
mod samples;

use crate::{
    feature::{Feature, Tasks},
    metrics_page::{MetricsPage, Written},
};
use jiff::civil::Date;
use parking_lot::{Mutex, RwLock};
use rmq_protocol::body::{BrokerStats, StatsItem};
use rustc_hash::FxHashMap;
use samples::Samples;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The time between two samples for the last minute.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

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
    /// Messages sent back that had too many deliveries, by `topic@group`.
    DeadLetter,
    /// Messages stored, by cluster.
    BrokerPut,
    /// Messages read, by cluster.
    BrokerGet,
    /// Reads that found messages, by cluster.
    BrokerFound,
    /// Reads that found none, by cluster.
    BrokerMissed,
}

impl Kind {
    /// True for counters of the broker as a whole. There are few of these, and tools also query
    /// them for the last ten minutes.
    fn is_of_the_broker(self) -> bool {
        matches!(self, Self::BrokerPut | Self::BrokerGet | Self::BrokerFound | Self::BrokerMissed)
    }

    /// The kind with Java's name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "TOPIC_PUT_NUMS" => Self::TopicPut,
            "TOPIC_PUT_SIZE" => Self::TopicPutSize,
            "GROUP_GET_NUMS" => Self::GroupGet,
            "GROUP_GET_SIZE" => Self::GroupGetSize,
            "SNDBCK_PUT_NUMS" => Self::SendBack,
            "DLQ_PUT_NUMS" => Self::DeadLetter,
            "BROKER_PUT_NUMS" => Self::BrokerPut,
            "BROKER_GET_NUMS" => Self::BrokerGet,
            _ => return None,
        })
    }
}

/// A counter and its samples.
pub(crate) struct Counter {
    value: AtomicU64,
    /// Samples of the last minute, hour and day.
    samples: Mutex<[Samples; 3]>,
    /// The values at the midnight before the last and at the last one; 0 before the counter's
    /// first.
    mornings: [AtomicU64; 2],
}

impl Counter {
    fn new(kind: Kind) -> Self {
        let first = if kind.is_of_the_broker() { 60 } else { 6 };
        Self {
            value: AtomicU64::new(0),
            samples: Mutex::new([
                Samples::new(SAMPLE_EVERY, first),
                Samples::new(TEN_MINUTES, 6),
                Samples::new(HOUR, 24),
            ]),
            mornings: Default::default(),
        }
    }

    pub(crate) fn add(&self, amount: u64) {
        self.value.fetch_add(amount, Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.value.load(Relaxed)
    }

    /// The values at the midnight before the last and at the last one.
    pub(crate) fn mornings(&self) -> [u64; 2] {
        self.mornings.each_ref().map(|morning| morning.load(Relaxed))
    }

    fn record(&self, now: Instant) {
        let mut samples = self.samples.lock();
        let value = self.value();
        samples.iter_mut().for_each(|samples| samples.record(now, value));
    }

    fn is_untouched(&self, now: Instant) -> bool {
        let [_, _, day] = &*self.samples.lock();
        day.untouched(now, self.value())
    }

    /// Records that `passed` midnights have passed since the last recorded one.
    fn midnight(&self, passed: i32) {
        let [yesterday, today] = &self.mornings;
        let value = self.value();
        yesterday.store(if passed > 1 { value } else { today.load(Relaxed) }, Relaxed);
        today.store(value, Relaxed);
    }

    /// Amount and rate over the last `span`, a day at most, or over the time that has samples.
    pub(crate) fn over(&self, span: Duration, now: Instant) -> StatsItem {
        let samples = self.samples.lock();
        let [first, hour, day] = &*samples;
        let reaching = [first, hour].into_iter().find(|samples| samples.whole() >= span).unwrap_or(day);
        reaching.over(span, now, self.value())
    }
}

/// All counters.
#[derive(Default)]
pub(crate) struct Stats {
    counters: RwLock<FxHashMap<Kind, ByKey>>,
    /// The day of the last sample.
    today: Mutex<Option<Date>>,
}

type ByKey = FxHashMap<Box<str>, Arc<Counter>>;

impl Stats {
    /// Adds to a counter.
    pub(crate) fn add(&self, kind: Kind, key: &str, amount: u64) {
        if let Some(counter) = self.counters.read().get(&kind).and_then(|counters| counters.get(key)) {
            counter.add(amount);
            return;
        }
        let counter = {
            let mut counters = self.counters.write();
            let of_kind = counters.entry(kind).or_default();
            Arc::clone(of_kind.entry(key.into()).or_insert_with(|| Arc::new(Counter::new(kind))))
        };
        counter.record(Instant::now());
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

    /// The last minute, hour and day.
    pub(crate) fn describe(&self, kind: Kind, key: &str, now: Instant) -> Option<BrokerStats> {
        let counter = self.find(kind, key)?;
        let span = |seconds| counter.over(Duration::from_secs(seconds), now);
        Some(BrokerStats { stats_minute: span(60), stats_hour: span(3600), stats_day: counter.over(DAY, now) })
    }

    /// Messages per second over the last minute.
    pub(crate) fn rate(&self, kind: Kind, key: &str, now: Instant) -> f64 {
        self.find(kind, key).map_or(0.0, |counter| counter.over(Duration::from_secs(60), now).tps)
    }

    /// Samples every counter; called every [`SAMPLE_EVERY`].
    pub(crate) fn sample(&self, now: Instant) {
        self.sample_on(now, jiff::Zoned::now().date());
    }

    /// The same for a given date.
    pub(crate) fn sample_on(&self, now: Instant, date: Date) {
        let passed = self.midnights_until(date);
        let all: Vec<Arc<Counter>> =
            self.counters.read().values().flat_map(|counters| counters.values().cloned()).collect();
        for counter in all {
            counter.record(now);
            if passed > 0 {
                counter.midnight(passed);
            }
        }
        for (kind, counters) in self.counters.write().iter_mut() {
            if !matches!(kind, Kind::BrokerPut | Kind::BrokerGet) {
                counters.retain(|_, counter| !counter.is_untouched(now));
            }
        }
    }

    /// The number of midnights since the last sample. A clock that was set back has passed none,
    /// and passes none until it reaches its earlier date again.
    fn midnights_until(&self, date: Date) -> i32 {
        let mut today = self.today.lock();
        let passed = today.map_or(0, |known| known.duration_until(date).as_hours() / 24);
        if passed > 0 || today.is_none() {
            *today = Some(date);
        }
        i32::try_from(passed).unwrap_or(i32::MAX).max(0)
    }
}

impl Feature for Stats {
    fn start(self: Arc<Self>, tasks: &Tasks) {
        tasks.every("sample rates", SAMPLE_EVERY, move || {
            self.sample(Instant::now());
            std::future::ready(())
        });
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        metrics::traffic(self, to)?;
        metrics::dead_letters(self, to)
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

    /// A clock of a broker that can be set.
    struct Clock {
        start: Instant,
        midnight: jiff::civil::DateTime,
    }

    impl Clock {
        fn at(&self, since: Duration) -> (Instant, Date) {
            (self.start + since, self.midnight.saturating_add(since).date())
        }

        fn sample(&self, stats: &Stats, from: Duration, until: Duration) {
            let mut since = from;
            while since < until {
                let (now, date) = self.at(since);
                stats.sample_on(now, date);
                since += SAMPLE_EVERY;
            }
        }
    }

    fn clock() -> Clock {
        Clock { start: Instant::now(), midnight: jiff::civil::date(2024, 2, 28).at(0, 0, 0, 0) }
    }

    #[test]
    fn a_counter_unchanged_for_a_day_is_dropped_and_the_brokers_own_is_not() {
        let (stats, clock) = (Stats::default(), clock());
        stats.add(Kind::TopicPut, "t", 1);
        stats.add(Kind::BrokerPut, "c", 1);
        clock.sample(&stats, Duration::ZERO, 20 * HOUR);
        assert!(stats.find(Kind::TopicPut, "t").is_some());
        clock.sample(&stats, 20 * HOUR, 27 * HOUR);
        assert!(stats.find(Kind::TopicPut, "t").is_none());
        assert_eq!(stats.find(Kind::BrokerPut, "c").unwrap().value(), 1);
    }

    #[test]
    fn a_day_has_24_hours_and_an_hour_60_minutes_and_their_notes_are_few() {
        let (stats, clock) = (Stats::default(), clock());
        for hour in 0..60 {
            clock.sample(&stats, HOUR * hour, HOUR * hour + SAMPLE_EVERY);
            stats.add(Kind::TopicPut, "t", 3600);
            clock.sample(&stats, HOUR * hour + SAMPLE_EVERY, HOUR * (hour + 1));
        }
        let counter = stats.find(Kind::TopicPut, "t").unwrap();
        assert!(counter.samples.lock().iter().zip([7, 7, 25]).all(|(samples, most)| samples.len() <= most));
        let reported = stats.describe(Kind::TopicPut, "t", clock.at(60 * HOUR).0).unwrap();
        assert_eq!(reported.stats_day.sum, 24 * 3600, "{reported:?}");
        assert!((reported.stats_day.tps - 1.0).abs() < 0.05, "{reported:?}");
        assert_eq!((reported.stats_hour.sum, reported.stats_hour.tps.round()), (3600, 1.0), "{reported:?}");
    }

    #[test]
    fn the_values_of_the_last_two_midnights_are_known() {
        let (stats, clock) = (Stats::default(), clock());
        let mornings = || stats.find(Kind::BrokerPut, "c").unwrap().mornings();
        let noon = 12 * HOUR;
        clock.sample(&stats, noon, noon + SAMPLE_EVERY);
        stats.add(Kind::BrokerPut, "c", 10);
        clock.sample(&stats, noon, DAY);
        assert_eq!(mornings(), [0, 0], "the day of the start has begun with nothing");
        clock.sample(&stats, DAY, DAY + HOUR);
        assert_eq!(mornings(), [0, 10]);
        stats.add(Kind::BrokerPut, "c", 5);
        clock.sample(&stats, DAY + HOUR, 2 * DAY + HOUR);
        assert_eq!(mornings(), [10, 15], "over the 29th of February");
        clock.sample(&stats, DAY + noon, DAY + noon + HOUR);
        clock.sample(&stats, 2 * DAY, 2 * DAY + HOUR);
        assert_eq!(mornings(), [10, 15], "a clock that was set back and forth");
        clock.sample(&stats, 5 * DAY, 5 * DAY + HOUR);
        assert_eq!(mornings(), [15, 15], "a machine that slept");
    }
}
