//! Messages that come later: the delay levels.
//!
//! A message with a delay level n is stored in queue n-1 of `SCHEDULE_TOPIC_XXXX`, its own topic and queue in properties. All messages of a level wait equally long, so each
//! queue is in the order of delivery, and one position a level says how far it is delivered (`config/delayOffset.json`).
//! One thread delivers: it sleeps until the first message of any level is due, or a new one arrives. A crash repeats the deliveries since the last
//! write of the positions: a delayed message comes at least once, as all others do.
//!
//! Only a master delivers; a slave copies the positions.

mod levels;

pub(crate) use levels::{Levels, parse_levels};

use crate::{
    Error,
    clock::now_millis,
    table::{self, TableFile},
};
use parking_lot::{Condvar, Mutex};
use rmq_protocol::{
    body::{DataVersion, DelayOffsetTable},
    fastjson,
    message::{
        properties,
        stored::{Draft, Record, Records},
    },
    names,
};
use rmq_remoting::Watchdog;
use rmq_store::{Filter, Limits, MessageStore};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Pause after a delivery that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Between two writes of the positions.
const PERSIST_EVERY: Duration = Duration::from_secs(10);
/// Messages read at once.
const BATCH: Limits = Limits { messages: 32, bytes: 1 << 20 };
/// Longest sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How far each level is delivered, and the thread's alarm clock.
pub(crate) struct Delay {
    levels: Levels,
    state: Mutex<State>,
    alarm: Condvar,
    file: TableFile,
}

struct State {
    version: DataVersion,
    /// Next position in the schedule topic, by level.
    offsets: BTreeMap<i32, i64>,
    changes: u64,
    /// A message has arrived since the thread last looked.
    arrived: bool,
    stopping: bool,
}

impl Delay {
    /// Reads `config/delayOffset.json` below the store's root.
    pub(crate) fn open(root: &Path, levels: Levels) -> Result<Self, Error> {
        let path = root.join("config/delayOffset.json");
        let DelayOffsetTable { data_version: version, offset_table: offsets } = table::load(&path)?;
        Ok(Self {
            levels,
            state: Mutex::new(State { version, offsets, changes: 0, arrived: false, stopping: false }),
            alarm: Condvar::new(),
            file: TableFile::new(path),
        })
    }

    pub(crate) fn levels(&self) -> &Levels {
        &self.levels
    }

    pub(crate) fn snapshot(&self) -> DelayOffsetTable {
        let state = self.state.lock();
        DelayOffsetTable { data_version: state.version, offset_table: state.offsets.clone() }
    }

    /// Takes over the master's positions.
    pub(crate) fn replace(&self, table: DelayOffsetTable) {
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

    /// Ends [`Delay::deliver_until_stopped`].
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.alarm.notify_one();
    }

    /// The thread's body.
    pub(crate) fn deliver_until_stopped(&self, store: &MessageStore, store_host: SocketAddr) {
        let mut persist_at = Instant::now() + PERSIST_EVERY;
        loop {
            let next = self.deliver_due(store, store_host);
            let now = Instant::now();
            if now >= persist_at {
                persist_at = now + PERSIST_EVERY;
                if let Err(error) = self.persist() {
                    tracing::warn!(%error, "cannot write how far delayed messages are delivered; a crash would repeat some");
                }
            }
            let mut state = self.state.lock();
            let until = (now + next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)).min(if state.changes > 0 {
                persist_at
            } else {
                now + LONGEST_SLEEP
            });
            while !state.arrived && !state.stopping {
                if self.alarm.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
            state.arrived = false;
            if state.stopping {
                return;
            }
        }
    }

    /// Delivers what is due, one batch of each level, so that none starves the others and a stop is seen in between; returns the time until more is.
    fn deliver_due(&self, store: &MessageStore, store_host: SocketAddr) -> Option<Duration> {
        (1..=self.levels.count()).filter_map(|level| self.deliver_level(store, store_host, level)).min()
    }

    fn deliver_level(&self, store: &MessageStore, store_host: SocketAddr, level: i32) -> Option<Duration> {
        let pause = self.levels.pause(level)?;
        let queue_id = level - 1;
        let (min, max) =
            (store.min_offset(names::SCHEDULE_TOPIC, queue_id), store.max_offset(names::SCHEDULE_TOPIC, queue_id));
        // Positions beyond the queue come from a store that lost its end; before it, from retention.
        let offset = (self.state.lock().offsets.get(&level).copied().unwrap_or(0).max(0) as u64).clamp(min, max);
        if offset >= max {
            return None;
        }
        let got = match store.get(names::SCHEDULE_TOPIC, queue_id, offset, BATCH, Filter::ALL) {
            Ok(got) => got,
            Err(error) => {
                tracing::error!(level, %error, "delayed messages cannot be read");
                return Some(RETRY);
            }
        };
        if got.count == 0 && got.next_offset <= offset {
            return Some(RETRY);
        }
        for record in got.records.iter().flat_map(|piece| Records::new(piece)) {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(level, %error, "a delayed message cannot be read");
                    return Some(RETRY);
                }
            };
            let left = time_left(record.store_timestamp(), pause, now_millis());
            if !left.is_zero() {
                return Some(left);
            }
            if let Err(error) = deliver(store, store_host, &record) {
                tracing::warn!(level, %error, "cannot deliver a delayed message; trying again");
                return Some(RETRY);
            }
            self.advance(level, record.queue_offset() + 1);
        }
        self.advance(level, got.next_offset);
        Some(Duration::ZERO)
    }

    fn advance(&self, level: i32, offset: u64) {
        let mut state = self.state.lock();
        state.offsets.insert(level, offset as i64);
        state.changes += 1;
    }
}

/// Time until a message is due that waits `pause` from `stored` on. A clock that was set back cannot make it wait longer than `pause`.
fn time_left(stored: i64, pause: Duration, now: i64) -> Duration {
    let left = stored.saturating_add(pause.as_millis() as i64).saturating_sub(now);
    Duration::from_millis(left.max(0) as u64).min(pause)
}

/// Puts the message where it belongs. As in Java its properties still say that it was delayed.
fn deliver(store: &MessageStore, store_host: SocketAddr, record: &Record<'_>) -> Result<(), rmq_store::Error> {
    let (topic, queue_id) = (
        record.property(properties::REAL_TOPIC),
        properties::find_number(record.properties(), properties::REAL_QUEUE_ID),
    );
    let (Some(topic), Some(queue_id)) = (topic, queue_id) else {
        tracing::error!(
            offset = record.physical_offset(),
            "a delayed message does not say where it belongs; it is left where it is"
        );
        return Ok(());
    };
    store.put(&Draft { topic: &topic, queue_id, store_host, ..Draft::of(record) }).map(|_| ())
}

/// Runs [`Delay::deliver_until_stopped`] on a thread of its own: it reads from the disk, and waits for blocks to put into. It begins
/// when `until_open`, which blocks, says that the log may be appended to.
pub(crate) fn start(
    delay: Arc<Delay>,
    store: Arc<MessageStore>,
    store_host: SocketAddr,
    until_open: impl FnOnce() -> bool + Send + 'static,
    watchdog: Arc<Watchdog>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let deliver = move || {
        if until_open() {
            delay.deliver_until_stopped(&store, store_host);
        }
    };
    std::thread::Builder::new().name("delay".into()).spawn(move || watchdog.thread("delay", deliver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_does_not_lengthen_the_wait() {
        let pause = Duration::from_secs(5);
        assert_eq!(time_left(1000, pause, 2000), Duration::from_secs(4));
        assert_eq!(time_left(1000, pause, 6000), Duration::ZERO);
        assert_eq!(time_left(1_000_000, pause, 0), pause);
    }
}
