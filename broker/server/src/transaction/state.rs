//! The state of all transactions, which the log changes, and requests and checks.

use super::{
    op::Pending,
    open::{Half, Open},
    proof::Unproven,
};
use crate::config::Config;
use rmq_protocol::message::stored::Record;
use rmq_store::{LogOffset, QueueOffset};
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::{collections::VecDeque, hash::BuildHasher};

/// Entries of [`Ops`]. While one transaction stays open, every op message is one.
const MAX_NEEDED: usize = 65_536;

/// What is known of all transactions.
pub(super) struct State {
    pub(super) open: Open,
    copies: Copies,
    pub(super) pending: Pending,
    pub(super) unproven: Unproven,
    pub(super) ops: Ops,
    /// The offset of the next half message.
    pub(super) next_half: QueueOffset,
    /// The position of the last record of a transaction.
    pub(super) last_taken: LogOffset,
    /// The log is taken from here on. What was open before is read from the queues.
    pub(super) boundary: LogOffset,
    /// What the log said about half messages that are not read back yet. `None` afterwards.
    pub(super) early: Option<Early>,
    /// Everything is read back. Requests and checks may claim.
    pub(super) ready: bool,
    pub(super) stopping: bool,
    /// The thread of the checks sleeps until then.
    pub(super) sleeps_until: u64,
    /// The place in the file.
    pub(super) written: Option<LogOffset>,
    /// A record was taken since the file was written.
    pub(super) dirty: bool,
    /// Offsets that may be committed when the log is durable up to what was taken for them.
    pub(super) candidate: Option<Offsets>,
}

impl State {
    /// Nothing is known but the place in the file.
    pub(super) fn new(written: Option<LogOffset>) -> Self {
        Self {
            open: Open::default(),
            copies: Copies::default(),
            pending: Pending::default(),
            unproven: Unproven::default(),
            ops: Ops::default(),
            next_half: QueueOffset::ZERO,
            last_taken: LogOffset::ZERO,
            boundary: written.unwrap_or(LogOffset::MAX),
            early: Some(Early::default()),
            ready: false,
            stopping: false,
            sleeps_until: 0,
            written,
            dirty: false,
            candidate: None,
        }
    }

    pub(super) fn taken(&mut self, record: &Record<'_>) {
        self.last_taken = LogOffset::of(record) + record.size() as u64;
        self.dirty = true;
    }

    /// A record at `position` finished the half message at `half`.
    pub(super) fn finished_at(&mut self, half: LogOffset, position: LogOffset) {
        if let Some(offset) = self.open.remove_at(half) {
            self.unproven.finished(offset, position);
        } else if let Some(early) = &mut self.early {
            early.finished.insert(half, position);
        }
    }

    /// When the next op message is to be written.
    pub(super) fn op_due(&self, config: &Config) -> Option<u64> {
        let ops = &config.transactions;
        self.pending.due(ops.op_bytes as usize, ops.op_interval.0.as_millis() as u64)
    }

    /// A copy of the half message with this transaction id has this offset.
    pub(super) fn note_copy(&mut self, key: &str, offset: QueueOffset) {
        let Self { copies, open, .. } = self;
        copies.note(key, offset);
        // Forgets those that are not open any more, now and then.
        if copies.newest.len() > 2 * open.len() + 1024 {
            copies.newest.retain(|_, offset| open.half(*offset).is_some());
            copies.newest.shrink_to_fit();
        }
    }

    /// The newest copy of the half message with this transaction id, if it is open.
    pub(super) fn newest_copy(&self, key: &str) -> Option<Half> {
        self.open.half(self.copies.find(key)?)
    }

    /// Finished transactions whose op message a kill has lost get another: until they have one, a
    /// start has to read the log from there.
    pub(super) fn add_missing_ops(&mut self, now: u64) {
        let Self { unproven, pending, .. } = self;
        unproven.waiting().for_each(|offset| pending.push(offset, now));
    }

    pub(super) fn offsets(&mut self) -> Offsets {
        let half = self.open.oldest().unwrap_or(self.next_half);
        Offsets { taken: self.last_taken, half, op: self.ops.behind(half) }
    }
}

/// Offsets at which a start can continue, if the log is durable up to `taken`.
pub(super) struct Offsets {
    pub(super) taken: LogOffset,
    pub(super) half: QueueOffset,
    pub(super) op: Option<QueueOffset>,
}

/// What the log said about half messages that were not read back yet.
#[derive(Default)]
pub(super) struct Early {
    /// The position of the half message, and that of the record that finished it.
    pub(super) finished: FxHashMap<LogOffset, LogOffset>,
    /// The offset of the half message, and the position of the op message.
    pub(super) ops: FxHashMap<QueueOffset, LogOffset>,
}

impl Early {
    pub(super) fn truncate(&mut self, to: LogOffset) {
        self.finished.retain(|_, position| *position < to);
        self.ops.retain(|_, position| *position < to);
    }
}

/// Op messages that a start has to read again: their offsets, and the last half message of each.
#[derive(Default)]
pub(super) struct Ops {
    pub(super) needed: VecDeque<(QueueOffset, QueueOffset)>,
    pub(super) next: Option<QueueOffset>,
}

impl Ops {
    pub(super) fn push(&mut self, op: QueueOffset, last: Option<QueueOffset>) {
        self.next = Some(op + 1);
        if let Some(last) = last {
            self.needed.push_back((op, last));
        }
        if self.needed.len() > MAX_NEEDED {
            self.merge();
        }
    }

    /// Makes one entry of every two: a start may read one op message more.
    fn merge(&mut self) {
        let needed = self.needed.make_contiguous();
        let pair =
            |pair: &[(QueueOffset, QueueOffset)]| Some((pair.first()?.0, pair.iter().map(|(_, last)| *last).max()?));
        self.needed = needed.chunks(2).filter_map(pair).collect();
    }

    /// The first op message that names half messages at or behind `half`.
    fn behind(&mut self, half: QueueOffset) -> Option<QueueOffset> {
        while self.needed.front().is_some_and(|(_, last)| *last < half) {
            self.needed.pop_front();
        }
        self.needed.front().map(|(op, _)| *op).or(self.next)
    }
}

/// The newest copy of each half message that was checked, by a hash of the transaction id. An
/// outcome that arrives for an older copy finishes the newest.
#[derive(Default)]
struct Copies {
    newest: FxHashMap<u64, QueueOffset>,
}

impl Copies {
    fn note(&mut self, key: &str, offset: QueueOffset) {
        if !key.is_empty() {
            self.newest.insert(FxBuildHasher.hash_one(key), offset);
        }
    }

    fn find(&self, key: &str) -> Option<QueueOffset> {
        self.newest.get(&FxBuildHasher.hash_one(key)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn op_messages_beside_one_that_stays_open_are_few_entries_and_none_is_passed() {
        let mut ops = Ops::default();
        (0..200_000u64).for_each(|number| ops.push(number.into(), Some((number + 1).into())));
        assert!(ops.needed.len() <= MAX_NEEDED, "{}", ops.needed.len());
        for half in [0, 1, 2, 777, 65_537, 199_999, 200_000] {
            let first = ops.behind(half.into()).unwrap().get();
            assert!(first <= half.saturating_sub(1) && first + 128 > half.saturating_sub(1), "{first} for {half}");
        }
        assert_eq!(ops.behind(200_001.into()), Some(200_000.into()));
    }
}
