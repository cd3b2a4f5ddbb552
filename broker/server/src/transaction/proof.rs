//! Finished transactions whose op message is not in the log, or not safely.
//!
//! Op messages follow up to seconds behind the message that finished a transaction. A start reads
//! the op queue and then follows the log from a place; that place must not lie behind a finishing
//! record whose op message a crash may have taken.

use rmq_store::{LogOffset, QueueOffset};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

struct Proven {
    /// The position of the op message.
    op: LogOffset,
    offset: QueueOffset,
    /// The position of the record that finished the transaction.
    finished: LogOffset,
}

/// See the module.
#[derive(Default)]
pub(super) struct Unproven {
    /// By the offset of the half message: the position of the finishing record.
    waiting: BTreeMap<QueueOffset, LogOffset>,
    /// Their op message was taken from the log.
    proven: VecDeque<Proven>,
    /// The finishing records of both.
    positions: BTreeSet<LogOffset>,
}

impl Unproven {
    /// The record at `position` finished the transaction.
    pub(super) fn finished(&mut self, offset: QueueOffset, position: LogOffset) {
        if self.waiting.insert(offset, position).is_none() {
            self.positions.insert(position);
        }
    }

    /// The op message at `op` names the half message.
    pub(super) fn proof(&mut self, offset: QueueOffset, op: LogOffset) {
        if let Some(finished) = self.waiting.remove(&offset) {
            self.proven.push_back(Proven { op, offset, finished });
        }
    }

    /// Those without an op message.
    pub(super) fn waiting(&self) -> impl Iterator<Item = QueueOffset> {
        self.waiting.keys().copied()
    }

    /// Where a start can continue that finds the log up to `end`.
    pub(super) fn place(&mut self, end: LogOffset) -> LogOffset {
        while let Some(first) = self.proven.front().filter(|first| first.op < end) {
            self.positions.remove(&first.finished);
            self.proven.pop_front();
        }
        self.positions.first().map_or(end, |first| end.min(*first))
    }

    /// The log has lost everything at or behind `to`.
    pub(super) fn truncate(&mut self, to: LogOffset) {
        while let Some(last) = self.proven.pop_back_if(|last| last.op >= to) {
            self.waiting.insert(last.offset, last.finished);
        }
        self.waiting.retain(|_, finished| *finished < to);
        self.positions.retain(|position| *position < to);
    }

    /// Finished transactions without a safe op message.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> LogOffset {
        LogOffset::new(position)
    }

    #[test]
    fn the_place_waits_for_the_op_message_to_be_safe() {
        let mut unproven = Unproven::default();
        assert_eq!(unproven.place(at(50)).get(), 50);
        unproven.finished(1.into(), at(100));
        unproven.finished(2.into(), at(200));
        assert_eq!((unproven.place(at(90)).get(), unproven.place(at(300)).get()), (90, 100));
        unproven.proof(1.into(), at(400));
        assert_eq!(unproven.place(at(400)).get(), 100, "the op message is not covered");
        assert_eq!(unproven.place(at(401)).get(), 200);
        unproven.proof(2.into(), at(500));
        unproven.proof(9.into(), at(500));
        assert_eq!((unproven.place(at(600)).get(), unproven.len()), (600, 0));
    }

    #[test]
    fn a_lost_op_message_proves_nothing() {
        let mut unproven = Unproven::default();
        unproven.finished(1.into(), at(100));
        unproven.finished(2.into(), at(450));
        unproven.proof(1.into(), at(400));
        unproven.truncate(at(400));
        assert_eq!((unproven.place(at(1000)).get(), unproven.len()), (100, 1));
    }
}
