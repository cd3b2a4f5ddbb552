//! Responses to the requests of a connection.

use crate::Connection;
use rmq_protocol::{Command, Reply, ResponseCode, command::Origin};
use std::{cell::Cell, sync::atomic::Ordering::SeqCst};

/// The remark of the response to a request whose handler panicked.
const PANICKED: &str = "this request made its handler panic, which is a fault of this program; its log says where";

/// Bytes that a waiting request takes beside its text and body: the command, its responder and its
/// task.
const REQUEST: usize = 512;

thread_local! {
    /// True while this thread handles requests on their connection's task.
    static HANDLING: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`HANDLING`] until it is dropped.
pub(crate) struct Handling;

impl Handling {
    pub(crate) fn begin() -> Self {
        HANDLING.set(true);
        Self
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        HANDLING.set(false);
    }
}

/// The right to respond to one request, once. Dropping it leaves the request without a response, as
/// for a one-way request. If a panic drops it, the peer gets an error.
pub struct Responder {
    connection: Connection,
    origin: Origin,
    one_way: bool,
    responded: bool,
    /// Memory of the request, in bytes.
    bytes: usize,
    /// The request is parked, and its memory counts in the budget.
    parked: bool,
}

impl Responder {
    pub(crate) fn new(connection: Connection, request: &Command) -> Self {
        Self {
            connection,
            origin: request.origin(),
            one_way: request.is_one_way(),
            responded: false,
            bytes: REQUEST + request.bytes(),
            parked: false,
        }
    }

    /// The connection of the request.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn request_bytes(&self) -> usize {
        self.bytes
    }

    /// Counts the memory of a request that waits for an event which may not come for long. It
    /// counts in the budget until this is dropped, but not as memory that the peer holds: the peer
    /// could not release it.
    pub fn park(&mut self) {
        if !std::mem::replace(&mut self.parked, true) {
            self.connection.inner().counters.budget.change(0, self.bytes);
        }
    }

    /// No caller waits for the response.
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }

    /// Sends the response. A one-way request or a closed connection gets none.
    pub fn reply(mut self, reply: &Reply) {
        self.send(reply);
    }

    fn send(&mut self, reply: &Reply) {
        self.responded = true;
        if self.one_way {
            return;
        }
        let inner = self.connection.inner();
        let pushed = inner.outbox.push_reply(self.origin, reply, &inner.stream, &inner.counters);
        self.connection.after_push(pushed);
    }

    /// Adds the response as one of several that are given at the same time: those of one connection
    /// leave in one write as soon as the first [`Unsent`] of them is dropped.
    pub fn reply_unsent(mut self, reply: &Reply) -> Unsent {
        self.responded = true;
        let inner = self.connection.inner();
        if !self.one_way {
            inner.outbox.hold_reply(self.origin, reply, &inner.counters);
        }
        Unsent { responder: self }
    }

    /// Forwards the response of another process to the same request.
    pub fn relay(mut self, mut response: Command) {
        self.responded = true;
        if self.one_way {
            return;
        }
        response.opaque = self.origin.opaque;
        response.serialization = self.origin.serialization;
        let inner = self.connection.inner();
        let pushed = inner.outbox.push_command(&response, &inner.stream, &inner.counters);
        self.connection.after_push(pushed);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.responded && std::thread::panicking() {
            // On the connection's task the end of the connection reports the panic, also after a
            // response.
            if !HANDLING.get() {
                tracing::error!(peer = %self.connection.peer(), "a request made its handler panic");
            }
            self.send(&Reply::refuse(ResponseCode::SystemError, PANICKED));
        }
        // Sequentially consistent, as on the reading side: either this thread sees `stopping`, or
        // the connection's task sees the zero.
        let inner = self.connection.inner();
        if self.parked {
            inner.counters.budget.change(self.bytes, 0);
        }
        let before = inner.unanswered.fetch_sub(1, SeqCst);
        if before == inner.limits.unanswered || (before == 1 && inner.stopping.load(SeqCst)) {
            inner.wake.notify_one();
        }
    }
}

/// A response that waits for others of its connection. When it is dropped all of them are written;
/// the request counts as unanswered until then.
#[must_use = "the response leaves when this is dropped"]
pub struct Unsent {
    responder: Responder,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let connection = &self.responder.connection;
        connection.after_push(connection.write());
    }
}
