//! A memory budget for all connection buffers of this process.
//!
//! Each connection has limits of its own ([`Limits`](crate::Limits)): 16 MiB of an incomplete
//! frame, 8 MiB of responses that its peer does not read. With 20,000 connections these limits
//! bound nothing, so all connections count their buffers against this budget as well, and so do
//! waiting requests.
//!
//! **Policy.** While the budget is exhausted, a connection that holds more than its share
//! ([`Budget::share`]) is not read from. All other connections are served as usual, and pending
//! output is still written. Requests that have been read are handled, and unused room of an input
//! buffer is released, so neither is held against a peer. A connection under this back-pressure is
//! closed if it has not released half of what it holds within 10 s: otherwise an incomplete frame
//! or a peer that does not read could keep the memory without a time limit. So there is no
//! deadlock, and memory stays below the limit plus one share, one read and one response for each
//! connection.

use crate::memory;
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The part of the process's memory that its network buffers may take.
const PART: u64 = 4;
/// The least and the largest default limit, in bytes.
const DEFAULT: std::ops::RangeInclusive<u64> = (16 << 20)..=(4 << 30);
/// The least and the largest share of a connection, in bytes: the buffer of one small read, and
/// that of a large one.
const SHARE: std::ops::RangeInclusive<usize> = (8 << 10)..=(64 << 10);

/// The bytes in use by buffers and their limit. See the module docs.
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

    /// The default budget of a process that may use `memory` bytes: a quarter of them.
    pub fn of_memory(memory: u64) -> Self {
        let limit = (memory / PART).clamp(*DEFAULT.start(), *DEFAULT.end());
        Self::new(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The budget of connections that were given none: the default of this process.
    pub fn of_process() -> Arc<Self> {
        static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(|| Arc::new(Budget::of_memory(memory::usable())));
        Arc::clone(&BUDGET)
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() > self.limit
    }

    /// The bytes that each of this many connections may hold while the budget is exhausted.
    pub(crate) fn share(&self, connections: usize) -> usize {
        (self.limit / 2 / connections.max(1)).clamp(*SHARE.start(), *SHARE.end())
    }

    /// Changes a buffer's part of the budget from `before` to `now` bytes.
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
