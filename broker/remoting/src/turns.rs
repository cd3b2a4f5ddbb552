//! Requests without an immediate response: their number and their memory.
//!
//! A peer may request more at a time than a process can work on, and more than the peer reads. So a
//! request that needs a thread takes a turn ([`Responder::turn`]): a connection has a few turns at
//! a time, and none while too much output is pending for its peer. A request that only waits is
//! counted ([`Responder::defer`]). A connection with too many of either, or with too many bytes of
//! them, is not read from.
//!
//! All of them count in the [`Budget`](crate::Budget) with their headers and bodies.

use crate::{Connection, Responder, connection::Inner};
use std::sync::atomic::{
    Ordering::{Relaxed, SeqCst},
    fence,
};
use tokio::sync::OwnedSemaphorePermit;

/// The memory of a request that waits. It counts until this is dropped.
#[must_use = "it counts until it is dropped"]
pub struct RequestMemory {
    connection: Connection,
    bytes: usize,
}

impl RequestMemory {
    fn new(connection: &Connection, bytes: usize) -> Self {
        let inner = connection.inner();
        inner.deferred_bytes.fetch_add(bytes, SeqCst);
        inner.counters.deferred_bytes.fetch_add(bytes, Relaxed);
        inner.counters.budget.change(0, bytes);
        Self { connection: connection.clone(), bytes }
    }
}

impl Drop for RequestMemory {
    fn drop(&mut self) {
        let inner = self.connection.inner();
        inner.counters.budget.change(self.bytes, 0);
        inner.counters.deferred_bytes.fetch_sub(self.bytes, Relaxed);
        let (before, limit) = (inner.deferred_bytes.fetch_sub(self.bytes, SeqCst), inner.limits.deferred_bytes);
        if before >= limit && before - self.bytes < limit {
            inner.wake.notify_one();
        }
    }
}

/// A request of a connection that waits, or that another thread works on. It counts until this is
/// dropped.
#[must_use = "it counts until it is dropped"]
pub struct Deferred {
    memory: RequestMemory,
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let inner = self.memory.connection.inner();
        if inner.deferred.fetch_sub(1, SeqCst) == inner.limits.deferred {
            inner.wake.notify_one();
        }
    }
}

/// The right to work on one request of a connection, until it is dropped.
#[must_use = "the turn is over when it is dropped"]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _deferred: Deferred,
}

impl Responder {
    /// Counts the memory of a request that waits where the number of requests has a limit of its
    /// own.
    pub fn hold_memory(&self) -> RequestMemory {
        RequestMemory::new(self.connection(), self.request_bytes())
    }

    /// Counts the request as waiting.
    pub fn defer(&self) -> Deferred {
        self.connection().inner().deferred.fetch_add(1, SeqCst);
        Deferred { memory: self.hold_memory() }
    }

    /// A turn, if one is free now.
    pub fn try_turn(&self) -> Option<Turn> {
        if self.connection().is_full() {
            return None;
        }
        let permit = self.connection().inner().turns.clone().try_acquire_owned();
        permit.ok().map(|permit| Turn { _permit: permit, _deferred: self.defer() })
    }

    /// Waits for a turn; `None` when the connection has ended. Turns are given in the order of the
    /// calls. The request counts as waiting from this call on, not from the first poll of the
    /// future.
    pub fn turn(&self) -> impl Future<Output = Option<Turn>> + Send + use<> {
        let (connection, deferred) = (self.connection().clone(), self.defer());
        async move {
            let inner = connection.inner();
            let permit = inner.turns.clone().acquire_owned().await.ok()?;
            if connection.is_full() {
                connection.room_or_end().await;
            }
            connection.is_open().then_some(Turn { _permit: permit, _deferred: deferred })
        }
    }
}

impl Connection {
    /// Waits until there is room in the outbox, or the connection has ended.
    async fn room_or_end(&self) {
        let inner = self.inner();
        let _counted = WaitsForRoom::new(inner);
        loop {
            // Created before the condition is checked, so that no change in between is missed.
            let drained = inner.drained.notified();
            fence(SeqCst);
            if !self.is_open() || !self.is_full() {
                return;
            }
            // If other connections must release memory, the connection's task checks that
            // periodically.
            inner.wake.notify_one();
            drained.await;
        }
    }
}

/// Counts in `Inner::waiting_for_room`.
struct WaitsForRoom<'a>(&'a Inner);

impl<'a> WaitsForRoom<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.waiting_for_room.fetch_add(1, SeqCst);
        Self(inner)
    }
}

impl Drop for WaitsForRoom<'_> {
    fn drop(&mut self) {
        self.0.waiting_for_room.fetch_sub(1, SeqCst);
    }
}
