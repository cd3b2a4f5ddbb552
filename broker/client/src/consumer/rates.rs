//! The rates of pulling and consumption by topic: counters, and their growth over the last minute.

use super::running_info::ConsumeStatus;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Samples kept: with one every 5 seconds, a minute.
const SAMPLES: usize = 12;

#[derive(Default)]
pub(super) struct Rates(Mutex<BTreeMap<String, Topic>>);

#[derive(Default)]
struct Topic {
    now: Counters,
    samples: VecDeque<(Option<Instant>, Counters)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    pulls: u64,
    pull_millis: u64,
    pulled: u64,
    batches: u64,
    consume_millis: u64,
    consumed: u64,
    failed: u64,
}

impl Rates {
    pub(super) fn pulled(&self, topic: &str, messages: usize, took: Duration) {
        self.count(topic, |counters| {
            counters.pulls += 1;
            counters.pulled += messages as u64;
            counters.pull_millis += took.as_millis() as u64;
        });
    }

    pub(super) fn consumed(&self, topic: &str, messages: usize, success: bool, took: Duration) {
        self.count(topic, |counters| {
            counters.batches += 1;
            counters.consume_millis += took.as_millis() as u64;
            *if success { &mut counters.consumed } else { &mut counters.failed } += messages as u64;
        });
    }

    fn count(&self, topic: &str, change: impl FnOnce(&mut Counters)) {
        let mut topics = self.0.lock();
        if let Some(known) = topics.get_mut(topic) {
            return change(&mut known.now);
        }
        change(&mut topics.entry(topic.to_owned()).or_default().now);
    }

    /// Must be called every 5 seconds.
    pub(super) fn sample(&self, now: Instant) {
        for topic in self.0.lock().values_mut() {
            if topic.samples.len() == SAMPLES {
                topic.samples.pop_front();
            }
            topic.samples.push_back((Some(now), topic.now));
        }
    }

    /// By topic.
    pub(super) fn statuses(&self, now: Instant) -> BTreeMap<String, ConsumeStatus> {
        let topics = self.0.lock();
        topics.iter().map(|(name, topic)| (name.clone(), topic.status(now))).collect()
    }
}

impl Topic {
    fn status(&self, now: Instant) -> ConsumeStatus {
        let (since, then) = self.samples.front().copied().unwrap_or_default();
        let seconds = since.map_or(0.0, |since| (now - since).as_secs_f64());
        let a_second = |new: u64, old: u64| if seconds > 0.0 { (new - old) as f64 / seconds } else { 0.0 };
        let average = |sum: u64, old: u64, count: u64, old_count: u64| {
            if count > old_count { (sum - old) as f64 / (count - old_count) as f64 } else { 0.0 }
        };
        let new = &self.now;
        ConsumeStatus {
            consume_failed_messages: new.failed as i64,
            consume_failed_tps: a_second(new.failed, then.failed),
            consume_ok_tps: a_second(new.consumed, then.consumed),
            consume_rt: average(new.consume_millis, then.consume_millis, new.batches, then.batches),
            pull_rt: average(new.pull_millis, then.pull_millis, new.pulls, then.pulls),
            pull_tps: a_second(new.pulled, then.pulled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_since_the_oldest_sample() {
        let (rates, start) = (Rates::default(), Instant::now());
        rates.consumed("t", 100, true, Duration::from_millis(5));
        rates.sample(start);
        rates.consumed("t", 30, true, Duration::from_millis(20));
        rates.consumed("t", 10, false, Duration::from_millis(40));
        let status = rates.statuses(start + Duration::from_secs(10))["t"];
        assert_eq!((status.consume_ok_tps, status.consume_failed_tps, status.consume_rt), (3.0, 1.0, 30.0));
        assert_eq!((status.consume_failed_messages, status.pull_tps), (10, 0.0));
    }
}
