//! Brokers to avoid for a while.
//!
//! A broker that could not be reached or did not answer before the timeout is avoided for
//! [`UNREACHABLE`]; one that answered slowly is avoided for a time that grows with its latency. If
//! all brokers are avoided, all are used. As long as none is, a send costs one atomic read.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How long an unreachable broker is avoided.
const UNREACHABLE: Duration = Duration::from_secs(30);
/// A latency of at least the first number means that the broker is avoided for the second (both in
/// milliseconds). Java's table.
const SLOW: [(u64, u64); 5] = [(15_000, 30_000), (5_000, 10_000), (3_000, 6_000), (1_800, 5_000), (550, 2_000)];

#[derive(Default)]
pub(super) struct Faults {
    /// Length of the table, readable without its lock.
    avoided: AtomicUsize,
    until: Mutex<FxHashMap<String, Instant>>,
}

impl Faults {
    pub(super) fn is_avoided(&self, broker_name: &str, now: Instant) -> bool {
        self.avoided.load(Relaxed) > 0 && self.until.lock().get(broker_name).is_some_and(|until| *until > now)
    }

    /// Records a response, whatever its code.
    pub(super) fn responded(&self, broker_name: &str, took: Duration, now: Instant) {
        match avoided_for(took) {
            Some(pause) => self.avoid(broker_name, now + pause, now),
            None if self.avoided.load(Relaxed) > 0 => {
                let mut until = self.until.lock();
                until.remove(broker_name);
                self.avoided.store(until.len(), Relaxed);
            }
            None => {}
        }
    }

    /// Records that there was no response.
    pub(super) fn unreachable(&self, broker_name: &str, now: Instant) {
        self.avoid(broker_name, now + UNREACHABLE, now);
    }

    fn avoid(&self, broker_name: &str, end: Instant, now: Instant) {
        let mut until = self.until.lock();
        // Brokers that are gone for good leave the table with the next fault.
        until.retain(|_, end| *end > now);
        until.insert(broker_name.to_owned(), end);
        self.avoided.store(until.len(), Relaxed);
    }
}

fn avoided_for(took: Duration) -> Option<Duration> {
    let took = took.as_millis() as u64;
    SLOW.iter().find(|(slow, _)| took >= *slow).map(|(_, pause)| Duration::from_millis(*pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_and_silent_brokers_are_avoided_until_they_answer_or_time_passes() {
        let (faults, now) = (Faults::default(), Instant::now());
        faults.responded("a", Duration::from_millis(40), now);
        assert!(!faults.is_avoided("a", now));
        faults.responded("a", Duration::from_millis(600), now);
        faults.unreachable("b", now);
        assert!(faults.is_avoided("a", now) && faults.is_avoided("b", now) && !faults.is_avoided("c", now));
        let later = now + Duration::from_secs(3);
        assert!(!faults.is_avoided("a", later) && faults.is_avoided("b", later));
        faults.responded("b", Duration::from_millis(5), later);
        assert!(!faults.is_avoided("b", later));
    }

    #[test]
    fn the_pause_grows_with_the_slowness() {
        let pause = |millis| avoided_for(Duration::from_millis(millis)).map(|pause| pause.as_secs());
        assert_eq!(
            [549, 550, 1_800, 3_000, 5_000, 20_000].map(pause),
            [None, Some(2), Some(5), Some(6), Some(10), Some(30)]
        );
    }
}
