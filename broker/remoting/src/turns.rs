//! Requests of one connection that are not answered on its task.
//!
//! A peer may ask for more at a time than a process can work on, and than the peer will read. So what works on a thread takes a turn ([`Connection::turn`]): a connection has
//! a few of them at a time, and none while too many answers wait for it to be read. What only waits is counted ([`Connection::defer`]). A connection
//! with too many of both is not read from.

use crate::{Connection, connection::Inner};
use std::sync::atomic::{Ordering::SeqCst, fence};
use tokio::sync::OwnedSemaphorePermit;

/// A request of a connection that waits, or is worked on elsewhere; it counts until this is dropped.
#[must_use = "it counts until it is dropped"]
pub struct Deferred {
    connection: Connection,
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let inner = self.connection.inner();
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

impl Connection {
    /// Counts a request as one that waits.
    pub fn defer(&self) -> Deferred {
        self.inner().deferred.fetch_add(1, SeqCst);
        Deferred { connection: self.clone() }
    }

    /// A turn, if there is one at once.
    pub fn try_turn(&self) -> Option<Turn> {
        if self.is_full() {
            return None;
        }
        let permit = self.inner().turns.clone().try_acquire_owned();
        permit.ok().map(|permit| Turn { _permit: permit, _deferred: self.defer() })
    }

    /// Waits for a turn; `None` when the connection has ended. Turns are given in the order in which they were asked for. The request counts as one that waits from this
    /// call on, not from the first time the future is polled.
    pub fn turn(&self) -> impl Future<Output = Option<Turn>> + Send + use<> {
        let (connection, deferred) = (self.clone(), self.defer());
        async move {
            let inner = connection.inner();
            let permit = inner.turns.clone().acquire_owned().await.ok()?;
            if connection.is_full() {
                connection.room_or_end().await;
            }
            connection.is_open().then_some(Turn { _permit: permit, _deferred: deferred })
        }
    }

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
            // If it is other connections that must give memory back, the connection's task checks that now and then.
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
