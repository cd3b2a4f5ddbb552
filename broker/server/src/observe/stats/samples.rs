//! Samples of a counter over a bounded time.
//!
//! Of consecutive samples with the same value only the first and the last are kept: a counter that
//! does not change costs two samples.

use rmq_protocol::body::StatsItem;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The tolerance for a sampler that runs late or early.
const SLACK: Duration = Duration::from_secs(5);

/// The minimum time span of a rate. A new counter is known for microseconds only: over such a span,
/// one message would be thousands per second.
const LEAST: Duration = Duration::from_secs(10);

/// Samples of one counter, which only grows; oldest first.
pub(super) struct Samples {
    /// The time between two samples.
    step: Duration,
    /// The limit of samples: those of the whole time span, and one to subtract from.
    most: usize,
    ring: VecDeque<(Instant, u64)>,
}

impl Samples {
    /// Samples of the last `steps` steps.
    pub(super) const fn new(step: Duration, steps: usize) -> Self {
        Self { step, most: steps + 1, ring: VecDeque::new() }
    }

    /// The time span that samples are kept for.
    pub(super) fn whole(&self) -> Duration {
        self.step * (self.most as u32 - 1)
    }

    /// Records the value if the last sample is a step old.
    pub(super) fn record(&mut self, now: Instant, value: u64) {
        let due = |last: &(Instant, u64)| now.saturating_duration_since(last.0) + SLACK >= self.step;
        if !self.ring.back().is_none_or(due) {
            return;
        }
        let flat = self.ring.iter().rev().take(2).filter(|(_, recorded)| *recorded == value).count() == 2;
        match self.ring.back_mut() {
            Some(last) if flat => last.0 = now,
            _ => self.ring.push_back((now, value)),
        }
        while self.ring.len() > self.most
            || self
                .ring
                .get(1)
                .is_some_and(|(when, _)| now.saturating_duration_since(*when) > self.whole() + self.step / 2)
        {
            self.ring.pop_front();
        }
    }

    /// Amount and rate over the last `span`, or over the time that has samples, of a counter whose
    /// value is `value` now.
    pub(super) fn over(&self, span: Duration, now: Instant, value: u64) -> StatsItem {
        // The sample nearest to the start of the span.
        let limit = span + self.step / 2;
        let first = self.ring.partition_point(|(when, _)| now.saturating_duration_since(*when) > limit);
        let Some((when, before)) = self.ring.get(first).copied() else { return StatsItem::default() };
        // Between two samples of one value the counter did not change.
        let flat =
            first.checked_sub(1).and_then(|earlier| self.ring.get(earlier)).is_some_and(|record| record.1 == before);
        let time = if flat { span } else { now.saturating_duration_since(when) };
        let (sum, seconds) = (value.saturating_sub(before), time.max(LEAST).as_secs_f64());
        StatsItem { sum: sum as i64, tps: sum as f64 / seconds, avgpt: 0.0 }
    }

    /// Whether the counter had the value `value` for as long as samples are kept.
    pub(super) fn untouched(&self, now: Instant, value: u64) -> bool {
        self.ring
            .front()
            .is_some_and(|(when, recorded)| *recorded == value && now.saturating_duration_since(*when) >= self.whole())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_of_a_counter_is_not_thousands_a_second() {
        let (mut samples, start) = (Samples::new(STEP, 6), Instant::now());
        samples.record(start, 0);
        for since in [Duration::ZERO, Duration::from_micros(217), Duration::from_secs(9)] {
            let minute = samples.over(Duration::from_secs(60), start + since, 1);
            assert_eq!((minute.sum, minute.tps), (1, 0.1), "{since:?}");
        }
    }

    const STEP: Duration = Duration::from_secs(10);

    #[test]
    fn a_rate_is_right_after_a_time_of_rest() {
        let (mut samples, start) = (Samples::new(STEP, 6), Instant::now());
        for step in 0..100 {
            samples.record(start + STEP * step, 5);
        }
        assert_eq!(samples.len(), 2);
        let now = start + STEP * 99 + Duration::from_secs(1);
        let minute = samples.over(Duration::from_secs(60), now, 65);
        assert_eq!((minute.sum, minute.tps), (60, 1.0));
    }

    #[test]
    fn a_counter_that_is_never_at_rest_keeps_a_bounded_number_of_notes() {
        let (mut samples, start) = (Samples::new(STEP, 6), Instant::now());
        for step in 0..100 {
            samples.record(start + STEP * step, u64::from(step) * 10);
            samples.record(start + STEP * step + STEP / 4, 7);
        }
        assert!(samples.len() <= 7, "{}", samples.len());
        let minute = samples.over(Duration::from_secs(60), start + STEP * 99, 990);
        assert_eq!((minute.sum, minute.tps), (60, 1.0));
    }
}
