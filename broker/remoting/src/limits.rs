//! The limits of a set of connections, and the metrics that show their use.

use crate::{Budget, admission::Addresses};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Time between two checks of a connection that is not read from because memory is short.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The limits of connections. One value serves a listener or a client.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one frame; a longer one closes its connection.
    pub frame: usize,
    /// Connections at a time. Further ones are closed at once, as are those of an address that
    /// already has many (`admission.rs`).
    pub connections: usize,
    /// A connection that is idle in both directions for this long is closed.
    pub idle: Duration,
    /// Bytes of pending output on one connection: above it the peer is not read from, and pushes
    /// are dropped.
    pub outbox: usize,
    /// Our requests that may wait for a response on one connection.
    pub pending: usize,
    /// Requests of the peer without a response on one connection, parked pulls among them: above it
    /// the peer is not read from.
    pub unanswered: usize,
    /// Requests of one connection that may wait for threads, the disk or other processes: above it
    /// the peer is not read from.
    pub deferred: usize,
    /// Bytes of such requests of one connection: above it the peer is not read from.
    pub deferred_bytes: usize,
    /// Turns ([`Responder::turn`](crate::Responder::turn)) of one connection at a time.
    pub turns: usize,
    /// How long a connection that holds too much while the [`Budget`] is exhausted may take to
    /// release half of it.
    pub relief: Duration,
    /// How long a stopping connection may take to write its last responses.
    pub grace: Duration,
    /// The connect timeout.
    pub connect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: rmq_protocol::frame::MAX_FRAME,
            connections: 20_000,
            idle: Duration::from_secs(120),
            outbox: 8 * 1024 * 1024,
            pending: 65_536,
            unanswered: 65_536,
            deferred: 1000,
            deferred_bytes: 16 * 1024 * 1024,
            turns: 8,
            relief: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            connect: Duration::from_secs(3),
        }
    }
}

/// Metrics since the start, shared by all connections of a listener or client.
#[derive(Debug)]
pub struct Counters {
    /// The memory budget of their buffers; by default that of the process.
    pub budget: Arc<Budget>,
    /// Open now.
    pub connections: AtomicUsize,
    /// The same by address.
    pub(crate) addresses: Addresses,
    /// Opened.
    pub accepted: AtomicU64,
    /// Closed at once because there were too many, in total or from their address.
    pub refused: AtomicU64,
    /// Closed because of bytes that are no frame.
    pub malformed: AtomicU64,
    /// Closed by the idle timeout.
    pub idle_closed: AtomicU64,
    /// Frames read.
    pub frames_in: AtomicU64,
    /// Frames written.
    pub frames_out: AtomicU64,
    /// Bytes read.
    pub bytes_in: AtomicU64,
    /// Bytes written.
    pub bytes_out: AtomicU64,
    /// Reads with so many immediate responses that the thread paused afterwards, for more requests
    /// to accumulate.
    pub pauses: AtomicU64,
    /// One-way commands that were not sent because too much output was pending.
    pub pushes_dropped: AtomicU64,
    /// Our requests that were not sent because too much output or too many requests were pending.
    pub requests_refused: AtomicU64,
    /// Bytes that sockets have not accepted. Bytes that they accept at once are never counted, so
    /// counting costs nothing in normal operation.
    pub outbox_bytes: AtomicUsize,
    /// Bytes of read buffers.
    pub input_bytes: AtomicUsize,
    /// Bytes of requests that wait for threads, the disk or other processes. Those of parked pulls
    /// count only in the budget.
    pub deferred_bytes: AtomicUsize,
    /// Connections that are not read from now.
    pub held_back: AtomicUsize,
    /// How often a connection was not read from because its outbox was full.
    pub held_back_for_outbox: AtomicU64,
    /// How often a connection was not read from because too many of its requests had no response.
    pub held_back_for_requests: AtomicU64,
    /// How often a connection was not read from because it held more than its share of an exhausted
    /// budget.
    pub held_back_for_memory: AtomicU64,
    /// Connections closed because they did not release such memory.
    pub closed_for_memory: AtomicU64,
    /// Handlers that panicked; each panic closed its connection.
    pub panics: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self::with_budget(Budget::of_process())
    }
}

impl Counters {
    /// Metrics of connections with this budget.
    pub fn with_budget(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            connections: AtomicUsize::default(),
            addresses: Addresses::default(),
            accepted: AtomicU64::default(),
            refused: AtomicU64::default(),
            malformed: AtomicU64::default(),
            idle_closed: AtomicU64::default(),
            frames_in: AtomicU64::default(),
            frames_out: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            pauses: AtomicU64::default(),
            pushes_dropped: AtomicU64::default(),
            requests_refused: AtomicU64::default(),
            outbox_bytes: AtomicUsize::default(),
            input_bytes: AtomicUsize::default(),
            deferred_bytes: AtomicUsize::default(),
            held_back: AtomicUsize::default(),
            held_back_for_outbox: AtomicU64::default(),
            held_back_for_requests: AtomicU64::default(),
            held_back_for_memory: AtomicU64::default(),
            closed_for_memory: AtomicU64::default(),
            panics: AtomicU64::default(),
        }
    }

    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }
}

/// Why a connection is not read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reasons {
    /// Too much output is pending for its peer.
    pub(crate) outbox: bool,
    /// Too many of its requests have no response, or wait for threads.
    pub(crate) requests: bool,
    /// It holds more than its share of an exhausted budget.
    pub(crate) memory: bool,
}

impl Reasons {
    fn any(self) -> bool {
        self.outbox || self.requests || self.memory
    }
}

/// Counts a connection in the metrics while it is not read from.
pub(crate) struct ReadPause<'f> {
    counters: &'f Counters,
    reasons: Reasons,
}

impl<'f> ReadPause<'f> {
    /// The state of a connection that is read from.
    pub(crate) fn none(counters: &'f Counters) -> Self {
        Self { counters, reasons: Reasons::default() }
    }

    /// Sets the current reasons. Returns whether the connection may be read from.
    pub(crate) fn update(&mut self, now: Reasons) -> bool {
        let before = std::mem::replace(&mut self.reasons, now);
        for (now, before, counter) in [
            (now.outbox, before.outbox, &self.counters.held_back_for_outbox),
            (now.requests, before.requests, &self.counters.held_back_for_requests),
            (now.memory, before.memory, &self.counters.held_back_for_memory),
        ] {
            if now && !before {
                Counters::add(counter, 1);
            }
        }
        if now.any() && !before.any() {
            self.counters.held_back.fetch_add(1, Relaxed);
        } else if before.any() && !now.any() {
            self.counters.held_back.fetch_sub(1, Relaxed);
        }
        !now.any()
    }
}

impl Drop for ReadPause<'_> {
    fn drop(&mut self) {
        self.update(Reasons::default());
    }
}

/// The deadline by which a connection that holds more than its share of the memory must have
/// released half of it.
#[derive(Default)]
pub(crate) struct MemoryDeadline {
    /// The deadline, and the bytes that the connection must be below.
    until: Option<(Instant, usize)>,
}

/// The outcome of checking a [`MemoryDeadline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryCheck {
    /// There is no deadline.
    Met,
    /// It has to be checked again at this time.
    Again(Instant),
    /// It has passed.
    Missed,
}

impl MemoryDeadline {
    /// Checks a connection that holds this many bytes; `too_many` says whether they exceed its
    /// share.
    pub(crate) fn check(&mut self, too_many: bool, bytes: usize, relief: Duration) -> MemoryCheck {
        if !too_many {
            self.until = None;
            return MemoryCheck::Met;
        }
        let now = Instant::now();
        let (until, below) = *self.until.get_or_insert((now + relief, bytes / 2));
        if bytes < below {
            self.until = Some((now + relief, bytes / 2));
        } else if now >= until {
            return MemoryCheck::Missed;
        }
        MemoryCheck::Again(now + CHECK_INTERVAL)
    }
}
