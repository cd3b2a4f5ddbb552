//! Where the outcome of one request goes.
//!
//! Features give outcomes in their own types. How an outcome is written on the wire, its response
//! code above all, is known to the border alone ([`request`](crate::request)), which hands the
//! function over with the responder.

use crate::error::Rejection;
use rmq_protocol::Reply;
use rmq_remoting::{Connection, RequestMemory, Responder, Unsent};

/// The right to give the outcome of one request, once.
pub(crate) struct Answer<T> {
    to: Responder,
    write: fn(Result<T, Rejection>) -> Reply,
}

impl<T> Answer<T> {
    pub(crate) fn new(to: Responder, write: fn(Result<T, Rejection>) -> Reply) -> Self {
        Self { to, write }
    }

    /// Who asked.
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

    /// Gives the outcome as one of several that leave together, see [`Responder::reply_unsent`].
    pub(crate) fn give_unsent(self, outcome: Result<T, Rejection>) -> Unsent {
        self.to.reply_unsent(&(self.write)(outcome))
    }

    /// The responder, for the lane that runs the request.
    pub(crate) fn into_responder(self) -> Responder {
        self.to
    }
}
