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
    /// Requests of ours that were not sent, for too much or too many were waiting.
    pub requests_refused: AtomicU64,
    /// Bytes that sockets have not taken. Those they take at once are never counted, so that it costs nothing while all is well.
    pub outbox_bytes: AtomicUsize,
    /// Connections that are not read from now.
    pub held_back: AtomicUsize,
    /// How often one was not, for its outbox was full.
    pub held_back_for_outbox: AtomicU64,
    /// How often one was not, for too many of its requests were without an answer.
    pub held_back_for_requests: AtomicU64,
}

impl Figures {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }
}

/// Shows in the figures that a connection is not read from, as long as that is so.
pub(crate) struct HeldBack<'f> {
    figures: &'f Figures,
    outbox: bool,
    requests: bool,
}

impl<'f> HeldBack<'f> {
    pub(crate) fn no(figures: &'f Figures) -> Self {
        Self { figures, outbox: false, requests: false }
    }

    /// What is full now: the outbox, the number of requests without an answer. Returns whether the connection may be read from.
    pub(crate) fn set(&mut self, outbox: bool, requests: bool) -> bool {
        let (before, now) = (self.outbox || self.requests, outbox || requests);
        if outbox && !self.outbox {
            Figures::add(&self.figures.held_back_for_outbox, 1);
        }
        if requests && !self.requests {
            Figures::add(&self.figures.held_back_for_requests, 1);
        }
        if now && !before {
            self.figures.held_back.fetch_add(1, Relaxed);
        } else if before && !now {
            self.figures.held_back.fetch_sub(1, Relaxed);
        }
        (self.outbox, self.requests) = (outbox, requests);
        !now
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.set(false, false);
    }
}
