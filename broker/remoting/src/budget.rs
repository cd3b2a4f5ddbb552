//! The memory that buffers of connections may take in this process.
//!
//! Each connection has limits of its own ([`Limits`](crate::Limits)): 16 MiB of a frame that is not
//! complete, 8 MiB of answers that its peer does not read. Multiplied by 20,000 connections they
//! limit nothing, so all connections count their buffers here as well, and the requests that wait.
//!
//! **Policy.** While the budget is used up, a connection with more than its share
//! ([`Budget::share`]) is not read from; all others are served as usual, and whatever waits to be
//! written is written. Requests that have been read are handled, and room of an input buffer that
//! is not used is given back: neither is held against a peer. A connection that is held back so and
//! has not given back half of what it holds within 10 s is closed: an incomplete frame and a peer
//! that does not read would otherwise keep the memory for as long as they like. So there is no
//! deadlock, and the memory stays below the limit plus, for each connection, one share, one read
//! and one answer.

use crate::memory;
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Part of the process's memory that its network buffers may take.
const PART: u64 = 4;
/// The least and the largest default limit, in bytes.
const DEFAULT: std::ops::RangeInclusive<u64> = (16 << 20)..=(4 << 30);
/// The least and the largest share of a connection, in bytes: the buffer of one small read, and
/// that of a large one.
const SHARE: std::ops::RangeInclusive<usize> = (8 << 10)..=(64 << 10);

/// Bytes of buffers, and how many there may be. See the head of the file.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// The default budget of a process that may use so many bytes of memory: a quarter of them.
    pub fn of_memory(memory: u64) -> Self {
        let limit = (memory / PART).clamp(*DEFAULT.start(), *DEFAULT.end());
        Self::new(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The budget of connections that are given no other one: the default of this process.
    pub fn of_process() -> Arc<Self> {
        static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(|| Arc::new(Budget::of_memory(memory::usable())));
        Arc::clone(&BUDGET)
    }

    /// Bytes there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes there are.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() > self.limit
    }

    /// Bytes that each of so many connections may hold while the budget is exhausted.
    pub(crate) fn share(&self, connections: usize) -> usize {
        (self.limit / 2 / connections.max(1)).clamp(*SHARE.start(), *SHARE.end())
    }

    /// What was `before` bytes is `now` bytes.
    pub(crate) fn change(&self, before: usize, now: usize) {
        if now > before {
            self.used.fetch_add(now - before, Relaxed);
        } else if now < before {
            self.used.fetch_sub(before - now, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_budget_is_a_quarter_of_the_memory_within_bounds() {
        let limits = [0, 512 << 20, 1 << 40].map(|memory| Budget::of_memory(memory).limit());
        assert_eq!(limits, [16 << 20, 128 << 20, 4 << 30]);
    }

    #[test]
    fn shares_are_smaller_the_more_connections_there_are() {
        let budget = Budget::new(1 << 20);
        assert_eq!(budget.share(1), 64 << 10);
        assert_eq!(budget.share(16), 32 << 10);
        assert_eq!(budget.share(20_000), 8 << 10);
        budget.change(0, 2 << 20);
        assert!(budget.is_exhausted());
        budget.change(2 << 20, 10);
        assert_eq!((budget.used(), budget.is_exhausted()), (10, false));
    }
}
