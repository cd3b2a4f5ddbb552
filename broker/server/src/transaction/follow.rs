//! What the log says about transactions.
//!
//! | record | says |
//! |---|---|
//! | of the half topic | a transaction is open |
//! | the same, made from an older one by a check | the older one is finished |
//! | with the `sysFlag` of a commit | the half message at its prepared transaction offset is finished |
//! | of the topic of given up transactions | the same |
//! | of the op topic | the half messages in its body are finished |
//!
//! So a transaction is finished with the record that commits it, although its op message follows
//! seconds later: a process that is killed in between commits nothing twice.

use super::{
    Transactions, half,
    half::Half as Contents,
    op,
    open::{Half, Owner},
};
use crate::{Error, clock::now_millis, table};
use rmq_protocol::{fastjson, message::stored::Record, names};
use rmq_store::{Dispatched, Follower, LogOffset, durable_file};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of the log without a transaction after which the place is written again. A start after a
/// crash reads so much more.
const WRITE_EVERY: u64 = 64 << 20;
/// Bytes before a truncation at which a start continues: the op messages of this part may be lost.
const BEFORE_TRUNCATION: u64 = 256 << 20;

/// The file with the place: `{"place":4711}`.
pub(super) struct PlaceFile {
    path: PathBuf,
}

impl PlaceFile {
    pub(super) fn new(root: &Path) -> Self {
        Self { path: root.join("config/transactionPlace.json") }
    }

    /// The place. `None` if there is no file: the directory is new, or a Java broker's.
    pub(super) fn read(&self) -> Result<Option<LogOffset>, Error> {
        // Without it the queues are read to their ends.
        let consequence = "the place is not known; commits of the last seconds before a crash may be checked";
        let read: Option<Place> = table::load_or_default(&self.path, consequence)?;
        Ok(read.map(|Place { place }| LogOffset::new(place)))
    }

    pub(super) fn write(&self, place: LogOffset) -> Result<(), rmq_store::Error> {
        durable_file::replace(&self.path, &fastjson::to_vec(&Place { place: place.get() }))
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Place {
    place: u64,
}

impl Transactions {
    pub(crate) fn follower(self: &Arc<Self>) -> Arc<dyn Follower> {
        Arc::clone(self) as _
    }

    fn take_half(&self, record: &Record<'_>, tags: Option<i64>) {
        if record.queue_id() != 0 || tags.is_none() {
            return;
        }
        let (now, time) = (self.now(), now_millis());
        let position = LogOffset::of(record);
        let half = Half { offset: record.queue_offset().into(), position };
        let contents = Contents::read(record);
        let due = now.saturating_add(self.wait(record, contents.as_ref().ok(), time));
        let mut state = self.state.lock();
        state.next_half = half.offset + 1;
        state.taken(record);
        if let Some(predecessor) = half::finishes(record) {
            state.finished_at(predecessor, position);
        }
        let Ok(contents) = &contents else {
            // It is given up when it is due.
            state.open.push(half, Owner::default(), due);
            return self.wake(&mut state);
        };
        state.open.push(half, contents.owner(), due);
        if contents.is_copy {
            state.note_copy(&contents.key, half.offset);
        }
        self.wake(&mut state);
    }

    fn take_op(&self, record: &Record<'_>) {
        let position = LogOffset::of(record);
        let mut state = self.state.lock();
        state.taken(record);
        let mut last = None;
        for offset in op::offsets(record) {
            last = last.max(Some(offset));
            let known = state.open.remove(offset);
            state.unproven.proof(offset, position);
            if !known && let Some(early) = &mut state.early {
                early.ops.insert(offset, position);
            }
        }
        state.ops.push(record.queue_offset().into(), last);
        self.settled.notify_all();
    }

    fn take_finish(&self, record: &Record<'_>, half: LogOffset) {
        let mut state = self.state.lock();
        state.taken(record);
        state.finished_at(half, LogOffset::of(record));
        self.settled.notify_all();
    }

    /// What is durable up to `place`, and the offsets that a Java broker would continue at.
    fn cover(&self, place: LogOffset) -> (Option<LogOffset>, Option<super::Offsets>) {
        let mut state = self.state.lock();
        let known = if state.early.is_some() { place.min(state.boundary) } else { place };
        let place = state.unproven.place(known);
        let near = |written: LogOffset| place.checked_since(written).is_some_and(|bytes| bytes < WRITE_EVERY);
        let write = match state.written {
            Some(written) if state.dirty => written != place,
            Some(written) => !near(written),
            None => true,
        };
        state.dirty &= !write;
        let offsets = state.candidate.take_if(|candidate| candidate.taken <= known);
        if state.candidate.is_none() && state.early.is_none() {
            state.candidate = Some(state.offsets());
        }
        (write.then_some(place), offsets)
    }
}

impl Transactions {
    /// Writes how many transactions of each topic are open, for a Java broker.
    fn write_counts(&self, now: i64) -> Result<(), rmq_store::Error> {
        let changed = {
            let mut state = self.state.lock();
            if self.role.is_slave() || !state.ready {
                return Ok(());
            }
            state.open.topics.changed(now)
        };
        let Some(changed) = changed else { return Ok(()) };
        let written = self.counts.lock().write(now, changed);
        written.inspect_err(|_| self.state.lock().open.topics.not_written())
    }
}

impl Follower for Transactions {
    fn name(&self) -> &'static str {
        "transactions"
    }

    fn take(&self, dispatched: &Dispatched<'_>) -> Result<(), rmq_store::Error> {
        let record = dispatched.record;
        match record.topic() {
            names::HALF_TOPIC => self.take_half(record, dispatched.tags_code),
            names::OP_HALF_TOPIC => self.take_op(record),
            _ => {
                if let Some(half) = half::finishes(record) {
                    self.take_finish(record, half);
                }
            }
        }
        Ok(())
    }

    fn place(&self) -> Option<LogOffset> {
        self.state.lock().written
    }

    fn sync(&self, place: LogOffset) -> Result<(), rmq_store::Error> {
        let (place, offsets) = self.cover(place);
        if let Some(place) = place {
            let written = self.file.write(place);
            let mut state = self.state.lock();
            match written {
                Ok(()) => state.written = Some(place),
                Err(error) => {
                    state.dirty = true;
                    return Err(error);
                }
            }
        }
        if let Some(offsets) = offsets {
            self.commit_offsets(&offsets);
        }
        self.write_counts(now_millis())
    }

    fn truncate(&self, to: LogOffset) -> Result<(), rmq_store::Error> {
        let mut state = self.state.lock();
        state.open.truncate(to);
        state.unproven.truncate(to);
        state.boundary = state.boundary.min(to);
        state.candidate = None;
        if let Some(early) = &mut state.early {
            early.truncate(to);
        }
        self.settled.notify_all();
        let place = to.saturating_sub(BEFORE_TRUNCATION);
        if state.written.is_none_or(|written| written <= place) {
            return Ok(());
        }
        state.written = Some(place);
        drop(state);
        self.file.write(place)
    }

    fn trim(&self, log_min: LogOffset) -> Result<(), rmq_store::Error> {
        let lost = self.state.lock().open.trim(log_min);
        if lost > 0 {
            self.lost(lost);
        }
        Ok(())
    }
}
