//! The metrics of the store. The server exports them and answers `brokerStatus` from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::follower::Lag;
use crate::position::{LogOffset, Millis};

/// Buckets of a [`Histogram`]: bucket `n` counts durations below `2^n` microseconds, the last one
/// everything longer.
pub const BUCKETS: usize = 26;

/// Durations by power of two.
#[derive(Debug, Default)]
pub(crate) struct Times {
    buckets: [AtomicU64; BUCKETS],
    total_micros: AtomicU64,
    max_micros: AtomicU64,
}

impl Times {
    pub(crate) fn add(&self, time: Duration) {
        let micros = time.as_micros() as u64;
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.total_micros.fetch_add(micros, Ordering::Relaxed);
        if micros > self.max_micros.load(Ordering::Relaxed) {
            self.max_micros.fetch_max(micros, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            total: Duration::from_micros(self.total_micros.load(Ordering::Relaxed)),
            max: Duration::from_micros(self.max_micros.load(Ordering::Relaxed)),
        }
    }
}

/// Durations by power of two since the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket `n` counts durations below `2^n` microseconds that are in no earlier bucket; the last
    /// one is unbounded.
    pub buckets: [u64; BUCKETS],
    /// Sum of all.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
}

impl Histogram {
    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A quantile: the end of the bucket of the last duration within the share, and never more than
    /// the longest duration. Zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (share * self.count() as f64).ceil() as u64;
        let counted = self.buckets.iter().scan(0, |counted, bucket| {
            *counted += bucket;
            Some(*counted)
        });
        let end = counted.take_while(|counted| *counted < wanted).count().min(BUCKETS - 1);
        if end == BUCKETS - 1 { self.max } else { self.max.min(Duration::from_micros(1 << end)) }
    }
}

/// Live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) put_messages: AtomicU64,
    pub(crate) put_bytes: AtomicU64,
    pub(crate) put_failures: AtomicU64,
    pub(crate) puts_would_block: AtomicU64,
    pub(crate) put_times: Times,
    pub(crate) lock_waits: Times,
    pub(crate) flush_times: Times,
    pub(crate) get_times: Times,
    pub(crate) gets_not_resident: AtomicU64,
    pub(crate) damages_passed_over: AtomicU64,
}

/// A snapshot of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Messages stored since the store was opened; a batch of n counts n.
    pub put_messages: u64,
    /// Bytes of their records.
    pub put_bytes: u64,
    /// Puts refused with an error.
    pub put_failures: u64,
    /// Non-blocking puts that found no preallocated blocks; each was followed by one that could
    /// block.
    pub puts_would_block: u64,
    /// From the call of a put to its return.
    pub put_times: Histogram,
    /// Of that, waiting for the append lock.
    pub lock_waits: Histogram,
    /// How long flushes of the commit log took.
    pub flush_times: Histogram,
    /// From the call of a get to its return, whatever its result.
    pub get_times: Histogram,
    /// Non-blocking gets whose messages were not in memory; each was followed by one that waited
    /// for the disk.
    pub gets_not_resident: u64,
    /// Damaged records and queue entries that gets skipped; each counts once per get that met it.
    pub damages_passed_over: u64,
    /// Threads of the store that ended unexpectedly.
    pub threads_ended: u64,
    /// Start of the commit log.
    pub min_offset: LogOffset,
    /// Bytes of expired commit log files that are kept for a reader that has yet to copy them.
    pub held_bytes: u64,
    /// End of the commit log.
    pub appended: LogOffset,
    /// The commit log is durable up to here.
    pub flushed: LogOffset,
    /// Messages are visible to consumers up to here.
    pub dispatched: LogOffset,
    /// Store timestamp of the last record, ms; 0 if there is none.
    pub last_store_timestamp: Millis,
    /// Bytes mapped, of the commit log and the index.
    pub mapped_bytes: u64,
    /// Topics that have consume queues.
    pub topics: usize,
    /// Consume queues.
    pub queues: usize,
    /// Bytes of consume queue entries waiting to be written.
    pub consume_queue_pending: u64,
    /// Bytes of memory that consume queue entries occupied at the last write: the entries kept in
    /// memory, and those added meanwhile.
    pub consume_queue_memory: u64,
    /// Open consume queue files.
    pub open_files: usize,
    /// Index files.
    pub index_files: usize,
    /// The lag of each follower of the log, in their order. A follower that the others do not wait
    /// for lags while it cannot be written, most often because the disk is full, or while it
    /// catches up from a place of its own.
    pub followers: Vec<Lag>,
    /// Why writes are refused, if they are.
    pub refusing: Option<String>,
}

impl Metrics {
    /// Bytes of the log that a follower has yet to take; 0 if there is none of that name.
    pub fn behind(&self, follower: &str) -> u64 {
        self.followers.iter().find(|lag| lag.follower == follower).map_or(0, |lag| lag.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_powers_of_two() {
        let times = Times::default();
        for micros in [0, 1, 2, 3, 1000, u64::MAX >> 20] {
            times.add(Duration::from_micros(micros));
        }
        let histogram = times.snapshot();
        assert_eq!((histogram.buckets[0], histogram.buckets[1], histogram.buckets[2]), (1, 1, 2));
        assert_eq!((histogram.buckets[10], histogram.buckets[BUCKETS - 1]), (1, 1));
        assert_eq!((histogram.count(), histogram.max), (6, Duration::from_micros(u64::MAX >> 20)));
    }

    #[test]
    fn a_quantile_is_the_end_of_a_bucket_or_the_longest() {
        let times = Times::default();
        assert_eq!(times.snapshot().quantile(0.99), Duration::ZERO);
        (0..98).for_each(|_| times.add(Duration::from_micros(100)));
        times.add(Duration::from_micros(5000));
        times.add(Duration::from_secs(100));
        let histogram = times.snapshot();
        let quantiles = [0.5, 0.98, 0.99, 0.999].map(|share| histogram.quantile(share));
        assert_eq!(quantiles, [128, 128, 8192, 100_000_000].map(Duration::from_micros));
    }
}
