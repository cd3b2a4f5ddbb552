//! Followers: data derived from the log, record by record.
//!
//! A follower takes every record in the order of the log. For each record the followers are called
//! one after another, in this order:
//!
//! | follower | where it continues after a start | while it cannot take a record |
//! |---|---|---|
//! | consume queues | at the checkpoint | the others wait |
//! | those of the broker | at a place of its own, or at the end of the log | the others go on |
//! | index | at the checkpoint | the others go on |
//!
//! A follower that the others do not wait for can lag: records skip it, and dispatch reads them
//! again for it, from the log, once it accepts them. The same mechanism leads from a place of its
//! own to the end of the log, so that a follower with much to do after a start delays no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rmq_protocol::message::stored::Record;

use crate::checkpoint::Marks;
use crate::consume_queue::tags_code::TagsCode;
use crate::consume_queue::{is_consumable, is_name};
use crate::error::Result;
use crate::position::{LogOffset, Millis, QueueOffset};

/// Pause after a record that failed because the disk was full.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Data derived from the log. Calls come from one thread at a time, usually the dispatch thread;
/// they may wait for the disk, and must neither truncate nor close the store.
pub trait Follower: Send + Sync {
    /// The name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Takes a record. After a crash, or an error of a follower that the others wait for, a record
    /// may be repeated.
    ///
    /// # Errors
    /// If it cannot take the record now; it is offered again later.
    fn take(&self, dispatched: &Dispatched<'_>) -> Result<()>;

    /// Whether the others wait while it cannot take a record, and [`MessageStore::dispatched`] with
    /// them.
    ///
    /// [`MessageStore::dispatched`]: crate::MessageStore::dispatched
    fn must_keep_up(&self) -> bool {
        false
    }

    /// Waits, at most `timeout`, until it can take some hundred records; `false` if it cannot.
    /// Called only if the others wait for it.
    fn wait_for_room(&self, timeout: Duration) -> bool {
        let _ = timeout;
        true
    }

    /// Where it continues when the store is opened: the last `place` that [`Follower::sync`] got
    /// and made durable. `None` if it needs only the records from the opening on. It loses records
    /// that retention has deleted before it took them.
    fn place(&self) -> Option<LogOffset> {
        None
    }

    /// Makes everything it has taken durable: all records before `place`, which are themselves on
    /// the disk.
    ///
    /// # Errors
    /// After [`Error::Sync`] it accepts no more writes until a restart; any other error is retried.
    ///
    /// [`Error::Sync`]: crate::Error::Sync
    fn sync(&self, place: LogOffset) -> Result<()> {
        let _ = place;
        Ok(())
    }

    /// Drops records at or behind `to`: the log has lost them, and others will take their place.
    ///
    /// # Errors
    /// It accepts no more writes until a restart.
    fn truncate(&self, to: LogOffset) -> Result<()> {
        let _ = to;
        Ok(())
    }

    /// Drops what it has of records before `log_min`, where the log now begins.
    ///
    /// # Errors
    /// If a file cannot be deleted; retried with the next deletion.
    fn trim(&self, log_min: LogOffset) -> Result<()> {
        let _ = log_min;
        Ok(())
    }
}

/// A record on its way to the followers.
#[derive(Debug, Clone, Copy)]
pub struct Dispatched<'a> {
    /// The record.
    pub record: &'a Record<'a>,
    /// The tags code of its queue entry, see [`TagsCode`]. `None` if the record belongs in no
    /// queue: half messages, rolled back ones, and those whose topic cannot be the name of a
    /// directory.
    pub tags_code: Option<i64>,
}

/// A message that has just become readable.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// Its queue offset.
    pub queue_offset: QueueOffset,
    /// The tags code of its queue entry, see [`TagsCode`].
    pub tags_code: i64,
    /// The position of its record.
    pub physical_offset: LogOffset,
    /// Bytes of the record.
    pub size: usize,
    /// When it was stored, ms.
    pub store_timestamp: Millis,
    /// Its property string.
    pub properties: &'a [u8],
}

/// A follower that calls `each` for every message that becomes readable after the store is opened.
/// `each` must not block.
pub fn arrivals(each: impl Fn(&Arrival<'_>) + Send + Sync + 'static) -> Arc<dyn Follower> {
    Arc::new(Arrivals(each))
}

struct Arrivals<F>(F);

impl<F: Fn(&Arrival<'_>) + Send + Sync> Follower for Arrivals<F> {
    fn name(&self) -> &'static str {
        "arrivals"
    }

    fn take(&self, dispatched: &Dispatched<'_>) -> Result<()> {
        if let Dispatched { record, tags_code: Some(tags_code) } = *dispatched {
            (self.0)(&Arrival {
                topic: record.topic(),
                queue_id: record.queue_id(),
                queue_offset: record.queue_offset().into(),
                tags_code,
                physical_offset: LogOffset::of(record),
                size: record.size(),
                store_timestamp: record.store_timestamp().into(),
                properties: record.properties(),
            });
        }
        Ok(())
    }
}

/// The lag of a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// [`Follower::name`].
    pub follower: &'static str,
    /// Bytes of the log it has yet to take: of all that is appended if the others wait for it, of
    /// what is dispatched if they do not.
    pub bytes: u64,
}

/// Writes the number that Java's checkpoint has for a follower; the argument is the store timestamp
/// of the last record dispatched.
type Mark = Box<dyn Fn(&mut Marks, Millis) + Send + Sync>;

/// All followers, in the order in which they take a record.
pub(crate) struct Followers {
    tags_code: TagsCode,
    slots: Vec<Slot>,
}

struct Slot {
    follower: Arc<dyn Follower>,
    must_keep_up: bool,
    /// Where it continues, if it has a place of its own.
    place: Option<LogOffset>,
    /// Set for followers that the checkpoint covers.
    mark: Option<Mark>,
    /// For metrics: its place if it lags; `u64::MAX` if it does not.
    behind: AtomicU64,
    /// The place of the last sync, for followers with a place of their own.
    synced: AtomicU64,
}

/// How far dispatch has got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// The last record handled: its physical offset and store timestamp.
    pub(crate) last: Option<(LogOffset, Millis)>,
    /// For each follower, in their order: its lag, if it lags.
    behind: Vec<Option<Behind>>,
}

/// A lagging follower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    /// The first record it has not taken.
    pub(crate) from: LogOffset,
    /// When the record is offered again.
    pub(crate) retry_at: Instant,
}

impl Behind {
    fn refused(from: LogOffset) -> Self {
        Behind { from, retry_at: Instant::now() + RETRY }
    }
}

impl Turn {
    /// Forgets everything at or behind `to`: a follower that lagged only there lags no longer.
    pub(crate) fn truncate(&mut self, to: LogOffset, last: Option<(LogOffset, Millis)>) {
        self.last = last;
        self.behind.iter_mut().for_each(|behind| *behind = behind.filter(|behind| behind.from < to));
    }
}

/// The positions of the followers, between two records.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// The last record handled: its physical offset and store timestamp.
    pub(crate) last: Option<(LogOffset, Millis)>,
    /// For each follower: the first record it has not taken, and whether it lags.
    places: Vec<(LogOffset, bool)>,
}

impl Followers {
    /// Creates the list for a store whose queue entries have this code; it is empty.
    pub(crate) fn new(tags_code: TagsCode) -> Self {
        Followers { tags_code, slots: Vec::new() }
    }

    /// Adds a follower that the checkpoint covers, which therefore takes part in recovery.
    pub(crate) fn add(
        &mut self,
        follower: Arc<dyn Follower>,
        mark: impl Fn(&mut Marks, Millis) + Send + Sync + 'static,
    ) {
        self.push(follower, Some(Box::new(mark)));
    }

    /// Adds a follower that continues at a place of its own, or at the end of the log.
    pub(crate) fn add_own(&mut self, follower: Arc<dyn Follower>) {
        self.push(follower, None);
    }

    fn push(&mut self, follower: Arc<dyn Follower>, mark: Option<Mark>) {
        let must_keep_up = follower.must_keep_up();
        let place = if mark.is_none() { follower.place() } else { None };
        let (behind, synced) = (AtomicU64::new(u64::MAX), AtomicU64::new(place.unwrap_or_default().get()));
        self.slots.push(Slot { follower, must_keep_up, place, mark, behind, synced });
    }

    /// The initial position: nothing is dispatched, and no follower lags.
    pub(crate) fn begin(&self) -> Turn {
        Turn { last: None, behind: vec![None; self.slots.len()] }
    }

    /// Takes a record that is read back while the store is opened.
    pub(crate) fn recover(&self, turn: &mut Turn, record: &Record<'_>) -> Result<()> {
        self.hand_out(turn, record, |slot| slot.mark.is_some())
    }

    /// Sets the followers with places of their own to those, once recovery has found where the log
    /// ends.
    pub(crate) fn start(&self, turn: &mut Turn, end: LogOffset) -> Result<()> {
        for (slot, behind) in self.slots.iter().zip(&mut turn.behind) {
            let Some(from) = slot.place else { continue };
            if from > end {
                slot.follower.truncate(end)?;
            } else if from < end {
                *behind = Some(Behind { from, retry_at: Instant::now() });
            }
        }
        self.publish(turn);
        Ok(())
    }

    /// Passes a record to all followers that do not lag.
    pub(crate) fn take(&self, turn: &mut Turn, record: &Record<'_>) -> Result<()> {
        self.hand_out(turn, record, |_| true)
    }

    fn hand_out(&self, turn: &mut Turn, record: &Record<'_>, to: impl Fn(&Slot) -> bool) -> Result<()> {
        let dispatched = self.dispatched(record);
        for (slot, behind) in self.slots.iter().zip(&mut turn.behind) {
            if behind.is_some() || !to(slot) {
                continue;
            }
            match slot.follower.take(&dispatched) {
                Ok(()) => {}
                Err(error) if slot.must_keep_up => return Err(error),
                Err(error) => {
                    let follower = slot.follower.name();
                    tracing::warn!(follower, %error, "it falls behind the log until it can be written again");
                    *behind = Some(Behind::refused(LogOffset::of(record)));
                }
            }
        }
        turn.last = Some((LogOffset::of(record), record.store_timestamp().into()));
        Ok(())
    }

    fn dispatched<'a>(&self, record: &'a Record<'a>) -> Dispatched<'a> {
        let in_queue = is_consumable(record) && is_name(record.topic());
        Dispatched { record, tags_code: in_queue.then(|| self.tags_code.of(record)) }
    }

    /// Whether all followers that the others wait for can take some records.
    pub(crate) fn wait_for_room(&self, timeout: Duration) -> bool {
        self.slots.iter().all(|slot| !slot.must_keep_up || slot.follower.wait_for_room(timeout))
    }

    /// The lagging followers that are due, by their number.
    pub(crate) fn due(&self, turn: &Turn) -> Vec<(usize, LogOffset)> {
        if turn.behind.iter().all(Option::is_none) {
            return Vec::new();
        }
        let now = Instant::now();
        let due =
            |(number, behind): (usize, &Option<Behind>)| Some((number, behind.filter(|at| at.retry_at <= now)?.from));
        turn.behind.iter().enumerate().filter_map(due).collect()
    }

    /// Passes a skipped record to a lagging follower; `false` if it still cannot take it.
    pub(crate) fn take_late(&self, turn: &mut Turn, number: usize, record: &Record<'_>) -> bool {
        let follower = &self.slots[number].follower;
        let Err(error) = follower.take(&self.dispatched(record)) else { return true };
        tracing::debug!(follower = follower.name(), %error, "it is still behind");
        turn.behind[number] = Some(Behind::refused(LogOffset::of(record)));
        false
    }

    /// A lagging follower has got to `from`; to the end if there is none.
    pub(crate) fn caught_up(&self, turn: &mut Turn, number: usize, from: Option<LogOffset>) {
        turn.behind[number] = from.map(|from| Behind { from, retry_at: Instant::now() });
        if from.is_none() {
            tracing::info!(follower = self.slots[number].follower.name(), "it has caught up with the log");
        }
    }

    /// Publishes the lag of each follower for metrics.
    pub(crate) fn publish(&self, turn: &Turn) {
        for (slot, behind) in self.slots.iter().zip(&turn.behind) {
            slot.behind.store(behind.map_or(LogOffset::MAX, |behind| behind.from).get(), Ordering::Relaxed);
        }
    }

    /// The lag of each follower, in a log that is dispatched up to one offset and ends at another.
    pub(crate) fn lags(&self, dispatched: LogOffset, appended: LogOffset) -> Vec<Lag> {
        let lag = |slot: &Slot| Lag {
            follower: slot.follower.name(),
            bytes: match slot.must_keep_up {
                true => appended.saturating_since(dispatched),
                false => dispatched.saturating_since(LogOffset::new(slot.behind.load(Ordering::Relaxed))),
            },
        };
        self.slots.iter().map(lag).collect()
    }

    /// Their positions after `turn`, in a log that is dispatched up to an offset.
    pub(crate) fn progress(&self, turn: &Turn, dispatched: LogOffset) -> Progress {
        let place = |behind: &Option<Behind>| behind.map_or((dispatched, false), |behind| (behind.from, true));
        Progress { last: turn.last, places: turn.behind.iter().map(place).collect() }
    }

    /// The last record that recovery need not repeat for any follower, `last` at most.
    pub(crate) fn vouched_for(&self, progress: &Progress, last: LogOffset) -> LogOffset {
        let behind =
            self.slots.iter().zip(&progress.places).filter(|(slot, (_, behind))| slot.mark.is_some() && *behind);
        behind.map(|(_, (from, _))| *from).fold(last, LogOffset::min)
    }

    /// Whether a follower with a place of its own has advanced since its last sync.
    pub(crate) fn is_unsynced(&self, progress: &Progress) -> bool {
        let mut places = self.slots.iter().zip(&progress.places);
        places.any(|(slot, (place, _))| slot.place.is_some() && slot.synced.load(Ordering::Relaxed) != place.get())
    }

    /// Makes what they have taken durable.
    pub(crate) fn sync(&self, progress: &Progress) -> Result<()> {
        for (slot, (place, _)) in self.slots.iter().zip(&progress.places) {
            slot.follower.sync(*place)?;
            slot.synced.store(place.get(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the numbers of the followers that do not lag, which were synced.
    pub(crate) fn mark(&self, progress: &Progress, store_timestamp: Millis, marks: &mut Marks) {
        for (slot, (_, behind)) in self.slots.iter().zip(&progress.places) {
            if let Some(mark) = slot.mark.as_ref().filter(|_| !behind) {
                mark(marks, store_timestamp);
            }
        }
    }

    /// Makes all followers drop records at or behind `to`, which the log has lost.
    pub(crate) fn truncate(&self, to: LogOffset) -> Result<()> {
        self.slots.iter().try_for_each(|slot| slot.follower.truncate(to))
    }

    /// Makes all followers drop records before `log_min`, which the log has lost.
    pub(crate) fn trim(&self, log_min: LogOffset) -> Result<()> {
        self.slots.iter().try_for_each(|slot| slot.follower.trim(log_min))
    }
}
