//! Delayed messages: the delay levels.
//!
//! A message with delay level n is stored in queue n-1 of `SCHEDULE_TOPIC_XXXX`, with its own topic
//! and queue in properties. All messages of a level have the same delay, so each queue is in the
//! order of delivery, and one position per level records how far it is delivered
//! (`config/delayOffset.json`). One thread delivers: it sleeps until the first message of any level
//! is due, or a new one arrives. A crash repeats the deliveries since the last write of the
//! positions: a delayed message is delivered at least once, like every other message.
//!
//! Only a master delivers. A slave copies the positions.
//!
//! | file | what |
//! |---|---|
//! | this | the positions, and their file |
//! | [`delivery`] | the thread that delivers |

mod delivery;

pub(crate) use delivery::Delivery;

use crate::{
    Error,
    clock::now_millis,
    config::DelayLevels,
    feature::Feature,
    metrics_page::{MetricsPage, Written},
    rows,
    table::{self, TableFile},
};
use parking_lot::{Condvar, Mutex};
use rmq_protocol::{
    body::{DataVersion, DelayOffsetTable},
    fastjson, names,
};
use rmq_store::{Boundary, MessageStore, QueueOffset};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// The position of each level, and the wake-up signal of the thread.
pub(crate) struct Delay {
    levels: DelayLevels,
    state: Mutex<State>,
    alarm: Condvar,
    file: TableFile,
    undeliverable: AtomicU64,
    failing_levels: AtomicUsize,
    /// A warning about invalid positions of the master was logged.
    warned: AtomicBool,
}

/// [`DelayOffsetTable`] with rows that are not validated yet.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DelayRows {
    data_version: DataVersion,
    offset_table: serde_json::Map<String, serde_json::Value>,
}

/// The consequence of an invalid position, for the warning.
const BY_TIME: &str = "these levels go on with what was not due when the table was written";

impl DelayRows {
    /// Returns the table and its faults. A position that is no number is treated as one ahead of
    /// its queue; see [`Delay::correct`].
    fn read(self) -> (DelayOffsetTable, Vec<String>) {
        let mut wrong = Vec::new();
        let offset_table = rows::numbers("level", self.offset_table.into(), i64::MAX, &mut wrong);
        (DelayOffsetTable { data_version: self.data_version, offset_table }, wrong)
    }
}

struct State {
    version: DataVersion,
    /// The next position in the schedule topic, by level.
    offsets: BTreeMap<i32, i64>,
    changes: u64,
    /// A message has arrived since the last pass of the thread.
    arrived: bool,
    stopping: bool,
}

impl Delay {
    /// Reads `config/delayOffset.json` below the store's root.
    pub(crate) fn open(root: &Path, levels: DelayLevels) -> Result<Self, Error> {
        let path = root.join("config/delayOffset.json");
        let table = table::load_or_mend(&path, |rows: DelayRows| {
            let (table, wrong) = rows.read();
            rows::warn_of_numbers(path.display(), &wrong, BY_TIME);
            table
        })?;
        let DelayOffsetTable { data_version: version, offset_table: offsets } = table;
        Ok(Self {
            levels,
            state: Mutex::new(State { version, offsets, changes: 0, arrived: false, stopping: false }),
            alarm: Condvar::new(),
            file: TableFile::new(path),
            undeliverable: AtomicU64::new(0),
            failing_levels: AtomicUsize::new(0),
            warned: AtomicBool::new(false),
        })
    }

    pub(crate) fn levels(&self) -> &DelayLevels {
        &self.levels
    }

    pub(crate) fn snapshot(&self) -> DelayOffsetTable {
        let state = self.state.lock();
        DelayOffsetTable { data_version: state.version, offset_table: state.offsets.clone() }
    }

    /// Replaces the positions with the master's.
    pub(crate) fn replace(&self, rows: DelayRows) {
        let (table, wrong) = rows.read();
        if !wrong.is_empty() && !self.warned.swap(true, Relaxed) {
            rows::warn_of_numbers("the master's table of delays", &wrong, BY_TIME);
        }
        let mut state = self.state.lock();
        if state.offsets != table.offset_table {
            state.changes += 1;
        }
        state.version = table.data_version;
        state.offsets = table.offset_table;
    }

    /// Returns when every change made before is on disk. Blocks.
    pub(crate) fn persist(&self) -> Result<(), rmq_store::Error> {
        let changes = self.state.lock().changes;
        self.file.cover(changes, || {
            let covered = {
                let mut state = self.state.lock();
                state.version.next(now_millis());
                state.changes
            };
            (covered, fastjson::to_vec_pretty(&self.snapshot()))
        })
    }

    /// A delayed message has been stored.
    pub(crate) fn arrived(&self) {
        self.state.lock().arrived = true;
        self.alarm.notify_one();
    }

    /// Ends [`Delivery::run`].
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.alarm.notify_one();
    }

    /// Compares the positions with the queues of the store and corrects them, because a crash may
    /// have truncated the log, and a file may be another node's. Called at the start of a master,
    /// before any message is delivered.
    ///
    /// A position ahead of its queue proves only that, when it was written, every message that was
    /// due then had been delivered. Messages that were due later are delivered; the messages that
    /// the queue lost in a crash had been delivered.
    pub(crate) fn correct(&self, store: &MessageStore) {
        let mut state = self.state.lock();
        let written = state.version.timestamp;
        let mut corrected = Vec::new();
        state.offsets.retain(|level, offset| {
            if *level < 1 {
                corrected.push(format!("there is no level {level}"));
                return false;
            }
            let (min, max) = bounds(store, *level);
            let position = match u64::try_from(*offset) {
                Ok(position) if position <= max => position.max(min),
                Ok(_) => self.due_after(store, *level, written).unwrap_or(max).clamp(min, max),
                Err(_) => min,
            };
            if position as i64 != *offset {
                corrected.push(format!("level {level} from {offset} to {position}, of {min}..={max}"));
                *offset = position as i64;
            }
            true
        });
        if !corrected.is_empty() {
            state.changes += 1;
            tracing::warn!(corrected = corrected.join("; "), "positions of delayed messages did not fit their queues");
        }
    }

    /// The first message of a level that was due after `time` (ms). `None` if the time is not
    /// known.
    fn due_after(&self, store: &MessageStore, level: i32, time: i64) -> Option<u64> {
        let pause = i64::try_from(self.levels.pause(level)?.as_millis()).ok()?;
        let stored = time.checked_sub(pause).filter(|_| time > 0)?;
        store
            .offset_by_time(names::SCHEDULE_TOPIC, level - 1, stored.into(), Boundary::Lower)
            .ok()
            .map(QueueOffset::get)
    }

    /// The number of messages so far that could never be delivered.
    pub(crate) fn undeliverable(&self) -> u64 {
        self.undeliverable.load(Relaxed)
    }

    /// The number of levels whose next message cannot be delivered at present.
    pub(crate) fn failing_levels(&self) -> usize {
        self.failing_levels.load(Relaxed)
    }

    /// The position of a level, limited to its queue: messages that retention has deleted are
    /// skipped.
    fn position(&self, level: i32, min: u64, max: u64) -> u64 {
        let known = self.state.lock().offsets.get(&level).copied().unwrap_or(0);
        u64::try_from(known).unwrap_or(0).clamp(min, max)
    }

    fn advance(&self, level: i32, offset: u64) {
        let mut state = self.state.lock();
        state.offsets.insert(level, offset as i64);
        state.changes += 1;
    }
}

fn bounds(store: &MessageStore, level: i32) -> (u64, u64) {
    let (min, max) =
        (store.min_offset(names::SCHEDULE_TOPIC, level - 1), store.max_offset(names::SCHEDULE_TOPIC, level - 1));
    (min.get(), max.get())
}

impl Feature for Delay {
    fn metrics(&self, to: &MetricsPage) -> Written {
        to.counter(
            "rocketmq_broker_undeliverable_delayed_total",
            "Delayed messages that could never be delivered; they are kept in the topic \
             rmq_sys_DELAY_DLQ with the reason.",
            self.undeliverable(),
        )?;
        to.count(
            "rocketmq_broker_failing_delay_levels",
            "Delay levels whose next message cannot be delivered just now; it is tried again each \
             second, and the log says why.",
            self.failing_levels(),
        )
    }
}
