//! The right to respond to one request.
//!
//! Features give outcomes in their own types. Only the border ([`request`](crate::request)) knows
//! how an outcome is encoded, in particular its response code. It passes the encoding function with
//! the responder.

use crate::error::Rejection;
use rmq_protocol::Reply;
use rmq_remoting::{Connection, RequestMemory, Responder, Unsent};

/// The right to give the outcome of one request, once.
pub(crate) struct PendingResponse<T> {
    to: Responder,
    write: fn(Result<T, Rejection>) -> Reply,
}

impl<T> PendingResponse<T> {
    pub(crate) fn new(to: Responder, write: fn(Result<T, Rejection>) -> Reply) -> Self {
        Self { to, write }
    }

    /// The connection that the request came from.
    pub(crate) fn connection(&self) -> &Connection {
        self.to.connection()
    }

    /// Counts the memory of a request that is parked, see [`Responder::park`].
    pub(crate) fn park(&mut self) {
        self.to.park();
    }

    /// Counts the memory of a request that waits, until the result is dropped.
    pub(crate) fn hold_memory(&self) -> RequestMemory {
        self.to.hold_memory()
    }

    pub(crate) fn give(self, outcome: Result<T, Rejection>) {
        self.to.reply(&(self.write)(outcome));
    }

    /// Gives the outcome as one of several that are sent together, see [`Responder::reply_unsent`].
    pub(crate) fn give_unsent(self, outcome: Result<T, Rejection>) -> Unsent {
        self.to.reply_unsent(&(self.write)(outcome))
    }

    /// The responder, for the lane that runs the request.
    pub(crate) fn into_responder(self) -> Responder {
        self.to
    }
}
