//! The caps of a set of connections, and the figures that show how near they are.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// What connections may use. One value serves a listener or a client.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one frame; a longer one ends its connection.
    pub frame: usize,
    /// Connections at a time; further ones are closed at once.
    pub connections: usize,
    /// A connection without a byte in either direction for so long is closed.
    pub idle: Duration,
    /// Bytes that may wait to be written on one connection: above it the peer is not read from, and pushes are dropped.
    pub outbox: usize,
    /// Requests of ours that may wait for an answer on one connection.
    pub pending: usize,
    /// Requests of the peer that may be without an answer on one connection, parked pulls among them: above it the peer is not read from.
    pub unanswered: usize,
    /// How long a stopping connection may take to write its last answers.
    pub grace: Duration,
    /// How long opening a connection may take.
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
            grace: Duration::from_secs(5),
            connect: Duration::from_secs(3),
        }
    }
}

/// Counters since the start, shared by all connections of a listener or client.
#[derive(Debug, Default)]
pub struct Figures {
    /// Open now.
    pub connections: AtomicUsize,
    /// Opened.
    pub accepted: AtomicU64,
    /// Closed at once, for there were too many.
    pub refused: AtomicU64,
    /// Closed for bytes that are no frame.
    pub malformed: AtomicU64,
    /// Closed for silence.
    pub idle_closed: AtomicU64,
    /// Frames read.
    pub frames_in: AtomicU64,
    /// Frames written.
    pub frames_out: AtomicU64,
    /// Bytes read.
    pub bytes_in: AtomicU64,
    /// Bytes written.
    pub bytes_out: AtomicU64,
    /// Reads whose requests were answered at once and were so many that the thread paused afterwards, for others to gather.
    pub pauses: AtomicU64,
    /// One-way commands that were not sent, for too much was waiting.
    pub pushes_dropped: AtomicU64,
}

impl Figures {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }
}
