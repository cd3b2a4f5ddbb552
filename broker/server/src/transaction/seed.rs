//! Reads back, after a start, the transactions that were open before.
//!
//! The queues are read up to the boundary, from which on the log is taken. Of a half message only
//! its queue entry is read here; the message itself when its check is due, which is at once. The
//! op messages fill a bitmap, one bit for each half message since the committed offset.

use super::{
    GROUP, Transactions, op,
    open::Half,
    state::{Ops, State},
};
use rmq_protocol::{message::stored::Records, names};
use rmq_store::{Error, Filter, Limits, LogOffset, MessageStore, QueueOffset};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Limits of one read.
const BATCH: Limits = Limits { messages: 256, bytes: 1 << 20 };
/// The pause after a failed read, and between two looks at how far the log is taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Half messages that are put among the open ones at a time.
const PART: usize = 4096;

/// What the queues hold before the boundary.
struct Found {
    /// Every transaction before it is finished. A Java broker passes half messages that it has
    /// stored again without an op message.
    from: QueueOffset,
    halves: Vec<Half>,
    next_half: QueueOffset,
    ops: Ops,
}

impl Transactions {
    /// Returns when the open transactions are complete, or false if the broker stops before.
    /// Blocks.
    pub(super) fn read_back(&self, store: &MessageStore) -> bool {
        let mut warned = false;
        let from = loop {
            match self.write_first_place().and_then(|()| self.find(store)) {
                Ok(found) => {
                    let from = found.from;
                    self.put(found);
                    break from;
                }
                Err(error) if !warned => {
                    warned = true;
                    tracing::warn!(%error, "the open transactions cannot be read yet; trying again");
                }
                Err(_) => {}
            }
            if self.rest() {
                return false;
            }
        };
        while store.metrics().behind("transactions") > 0 {
            if self.rest() {
                return false;
            }
        }
        let mut state = self.state.lock();
        state.open.pass(from);
        state.ready = true;
        self.settled.notify_all();
        if state.open.len() > 0 {
            tracing::info!(open = state.open.len(), "transactions from before the start are open");
        }
        true
    }

    /// Returns true if the broker stops.
    fn rest(&self) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + PAUSE;
        while !state.stopping && !self.alarm.wait_until(&mut state, until).timed_out() {}
        state.stopping
    }

    /// From now on a start continues at a place. What a Java broker has committed without an op
    /// message, before it was killed, lies before the place and stays open.
    fn write_first_place(&self) -> Result<(), Error> {
        let boundary = {
            let state = self.state.lock();
            if state.written.is_some() {
                return Ok(());
            }
            state.boundary
        };
        self.file.write(boundary)?;
        self.state.lock().written.get_or_insert(boundary);
        Ok(())
    }

    fn find(&self, store: &MessageStore) -> Result<Found, Error> {
        let boundary = self.state.lock().boundary;
        let begin = |topic: &str| {
            let committed = self.offsets.committed(topic, GROUP, 0).and_then(QueueOffset::from_wire);
            committed.unwrap_or_default().max(store.min_offset(topic, 0))
        };
        let (from, to) = (begin(names::HALF_TOPIC), store.max_offset(names::HALF_TOPIC, 0));
        let mut finished = Bits::new(from, to);
        let ops = read_ops(store, begin(names::OP_HALF_TOPIC), boundary, &mut finished)?;
        let (mut halves, mut next) = (Vec::new(), from);
        while next < to {
            match store.physical_offset(names::HALF_TOPIC, 0, next)? {
                Some(position) if position >= boundary => break,
                Some(position) if !finished.has(next) => halves.push(Half { offset: next, position }),
                _ => {}
            }
            next += 1;
        }
        Ok(Found { from, halves, next_half: next, ops })
    }

    fn put(&self, mut found: Found) {
        // The newest first, in parts: requests wait for the state meanwhile.
        while !found.halves.is_empty() {
            let part = found.halves.split_off(found.halves.len().saturating_sub(PART));
            self.put_part(part);
        }
        let mut state = self.state.lock();
        state.early = None;
        state.next_half = state.next_half.max(found.next_half);
        let since = std::mem::replace(&mut state.ops, found.ops);
        state.ops.needed.extend(since.needed);
        state.ops.next = since.next.or(state.ops.next);
    }

    fn put_part(&self, halves: Vec<Half>) {
        let mut state = self.state.lock();
        let State { open, unproven, early, boundary, .. } = &mut *state;
        let Some(early) = early else { return };
        let mut still_open = Vec::with_capacity(halves.len());
        for half in halves.into_iter().filter(|half| half.position < *boundary) {
            let (finished, op) = (early.finished.get(&half.position), early.ops.get(&half.offset));
            if let Some(finished) = finished {
                unproven.finished(half.offset, *finished);
            }
            if let Some(op) = op {
                unproven.proof(half.offset, *op);
            }
            if finished.is_none() && op.is_none() {
                still_open.push(half);
            }
        }
        open.put_before(still_open.into_iter());
    }
}

/// Reads the op queue up to the boundary.
fn read_ops(store: &MessageStore, from: QueueOffset, boundary: LogOffset, finished: &mut Bits) -> Result<Ops, Error> {
    let mut ops = Ops { needed: VecDeque::new(), next: Some(from) };
    let mut next = from;
    loop {
        let got = store.get(names::OP_HALF_TOPIC, 0, next, BATCH, Filter::ALL)?;
        for record in got.records.iter().flat_map(|piece| Records::new(piece)) {
            // A damaged op message costs a check of what it finished.
            let Ok(record) = record else { continue };
            if LogOffset::of(&record) >= boundary {
                return Ok(ops);
            }
            let mut last = None;
            for offset in op::offsets(&record) {
                finished.set(offset);
                last = last.max(Some(offset));
            }
            ops.push(record.queue_offset().into(), last);
        }
        if got.next_offset <= next {
            return Ok(ops);
        }
        next = got.next_offset;
    }
}

/// One bit for each half message of a range.
struct Bits {
    from: QueueOffset,
    words: Vec<u64>,
}

impl Bits {
    fn new(from: QueueOffset, to: QueueOffset) -> Self {
        let words = to.saturating_since(from).div_ceil(64);
        Self { from, words: vec![0; usize::try_from(words).unwrap_or(usize::MAX)] }
    }

    fn place(&self, offset: QueueOffset) -> Option<(usize, u64)> {
        let number = offset.get().checked_sub(self.from.get())?;
        Some((usize::try_from(number / 64).ok()?, 1 << (number % 64)))
    }

    fn set(&mut self, offset: QueueOffset) {
        if let Some((word, bit)) = self.place(offset)
            && let Some(word) = self.words.get_mut(word)
        {
            *word |= bit;
        }
    }

    fn has(&self, offset: QueueOffset) -> bool {
        self.place(offset).is_some_and(|(word, bit)| self.words.get(word).is_some_and(|word| word & bit != 0))
    }
}
