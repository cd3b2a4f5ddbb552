//! The right to finish a transaction, which one request or check has at a time.

use super::{
    Transactions,
    open::{Half, Open, Owner},
};
use rmq_store::QueueOffset;
use std::sync::Arc;

/// The right to finish a transaction. Dropped without, the transaction stays open.
pub(crate) struct Claim {
    of: Arc<Transactions>,
    half: Half,
    settled: bool,
}

impl Claim {
    pub(super) fn new(of: Arc<Transactions>, half: Half) -> Self {
        Self { of, half, settled: false }
    }

    /// The half message.
    pub(crate) fn half(&self) -> Half {
        self.half
    }

    /// The message of the transaction is stored, which was born at `born`. Its op message is
    /// written with others.
    pub(crate) fn commit(self, topic: &str, born: i64) {
        self.of.committed(topic, born);
        self.finish();
    }

    /// The transaction is rolled back, and its op message stored.
    pub(crate) fn roll_back(self, topic: &str) {
        self.of.rolled_back(topic);
        self.end(false);
    }

    /// The transaction is finished. Its op message is written with others.
    pub(super) fn finish(self) {
        self.end(true);
    }

    fn end(mut self, needs_op: bool) {
        self.settled = true;
        let mut state = self.of.state.lock();
        state.open.finish(self.half.offset);
        if needs_op {
            state.pending.push(self.half.offset, self.of.now());
            self.of.wake(&mut state);
        }
        self.of.settled.notify_all();
    }

    /// Gives the claim back. The transaction waits until `due`.
    pub(super) fn release(mut self, due: u64) {
        self.settled = true;
        self.back(|open, offset| open.release(offset, Some(due)));
    }

    /// Gives the claim back. The transaction is this owner's, and waits until `due`.
    pub(super) fn adopt(mut self, owner: Owner<'_>, due: u64) {
        self.settled = true;
        self.back(|open, offset| open.adopt(offset, owner, due));
    }

    fn back(&self, give: impl FnOnce(&mut Open, QueueOffset)) {
        let mut state = self.of.state.lock();
        give(&mut state.open, self.half.offset);
        self.of.wake(&mut state);
        self.of.settled.notify_all();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.settled {
            self.back(|open, offset| open.release(offset, None));
        }
    }
}
