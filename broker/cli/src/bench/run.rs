//! One measured load: warm-up, begin, end, pace, and what was counted meanwhile.

use super::{
    Common, cpu,
    report::{Cost, Counted, Report},
};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Longest time the histogram can hold: a minute, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;
/// Significant digits of a time that are kept.
const DIGITS: u8 = 3;

pub(super) struct Run {
    common: Common,
    recording: AtomicBool,
    over: AtomicBool,
    ended: Notify,
    messages: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
    times: Mutex<Histogram<u64>>,
}

impl Run {
    pub(super) fn new(common: Common) -> anyhow::Result<Self> {
        Ok(Self {
            common,
            recording: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ended: Notify::new(),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            first_failure: Mutex::default(),
            times: Mutex::new(Histogram::new_with_max(LONGEST, DIGITS)?),
        })
    }

    /// The load goes on.
    pub(super) fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    /// So many messages of so many bytes in all, in one step that took so long, if that is of
    /// interest.
    pub(super) fn count(&self, messages: u64, bytes: u64, took: Option<Duration>) {
        if !self.recording.load(Relaxed) {
            return;
        }
        self.bytes.fetch_add(bytes, Relaxed);
        let all = self.messages.fetch_add(messages, Relaxed) + messages;
        if let Some(took) = took {
            self.times.lock().saturating_record((took.as_nanos() as u64).max(1));
        }
        if self.common.count.is_some_and(|count| all >= count) {
            self.end();
        }
    }

    pub(super) fn fail(&self, why: impl ToString) {
        self.failed.fetch_add(1, Relaxed);
        self.first_failure.lock().get_or_insert_with(|| why.to_string());
    }

    /// There is nothing more to do.
    pub(super) fn end(&self) {
        self.over.store(true, Relaxed);
        self.ended.notify_one();
    }

    /// Lets the load run for its time, and reports. `unit` is what one measured time is the time
    /// of.
    pub(super) async fn measure(&self, unit: &'static str) -> anyhow::Result<Report> {
        tokio::time::sleep(self.common.warm_up).await;
        let broker = self.common.broker_pid.map(cpu::Process::find).transpose()?;
        let own = cpu::own_seconds();
        let begun = Instant::now();
        self.recording.store(true, Relaxed);
        let _ = tokio::time::timeout(self.common.duration, self.ended.notified()).await;
        self.recording.store(false, Relaxed);
        let seconds = begun.elapsed().as_secs_f64();
        let own = cpu::own_seconds() - own;
        let broker = broker.map(|process| process.seconds_since()).transpose()?;
        self.end();
        let counted = Counted {
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            seconds,
            failed: self.failed.load(Relaxed),
            first_failure: self.first_failure.lock().take(),
        };
        if counted.messages == 0
            && let Some(why) = counted.first_failure
        {
            anyhow::bail!("nothing succeeded: {why}");
        }
        Ok(Report::new(unit, counted, &self.times.lock(), Cost { broker, own }))
    }
}

/// Turns at a steady rate, shared by all who take turns.
pub(super) struct RateLimiter {
    begun: Instant,
    interval: Option<Duration>,
    taken: AtomicU64,
}

impl RateLimiter {
    /// So many turns a second; without a rate there is no waiting.
    pub(super) fn new(rate: Option<f64>) -> Self {
        Self {
            begun: Instant::now(),
            interval: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            taken: AtomicU64::new(0),
        }
    }

    /// Waits for the next turn; returns when its time is measured from. Who comes late to a turn,
    /// as all were busy, has it measured from when it was due: waiting for a slow broker is part of
    /// what users see.
    pub(super) async fn turn(&self) -> Instant {
        let Some(interval) = self.interval else { return Instant::now() };
        let turn = self.taken.fetch_add(1, Relaxed);
        let due = self.begun + interval.mul_f64(turn as f64);
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_at_the_rate_and_a_late_one_counts_from_when_it_was_due() {
        let free = RateLimiter::new(None);
        let before = Instant::now();
        assert!(free.turn().await >= before);

        let limiter = RateLimiter {
            begun: Instant::now() - Duration::from_secs(1),
            interval: Some(Duration::from_millis(100)),
            taken: AtomicU64::new(0),
        };
        for turn in 0..10 {
            assert_eq!(limiter.turn().await, limiter.begun + Duration::from_millis(100) * turn);
        }
    }
}
