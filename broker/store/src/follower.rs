//! What is made from the log, record by record.
//!
//! A follower takes every record in the order of the log. For each record the followers are called
//! one after another, in this order:
//!
//! | follower | where it goes on after a start | while it cannot take a record |
//! |---|---|---|
//! | consume queues | where the checkpoint vouches for it | the others wait |
//! | those of the broker | at a place of its own, or at the end of the log | the others go on |
//! | index | where the checkpoint vouches for it | the others go on |
//!
//! A follower that the others do not wait for falls behind: records pass it by, and dispatch reads
//! them again for it, from the log, once it takes them. The same way leads from a place of its own
//! to the end of the log, so that a follower with much to do after a start delays no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rmq_protocol::message::stored::Record;

use crate::checkpoint::Marks;
use crate::consume_queue::tags_code::TagsCode;
use crate::consume_queue::{is_consumable, is_name};
use crate::error::Result;
use crate::position::{Millis, QueueOffset};

/// Pause after a record that a full disk prevented.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Something that is made from the log. Calls come from one thread at a time, on the dispatch
/// thread for the most part; they may wait for the disk, and must neither truncate nor close the
/// store.
pub trait Follower: Send + Sync {
    /// In logs and metrics.
    fn name(&self) -> &'static str;

    /// Takes a record. After a crash, or an error of a follower that the others wait for, a record
    /// may come again.
    ///
    /// # Errors
    /// Where it cannot take the record now; it is offered again later.
    fn take(&self, dispatched: &Dispatched<'_>) -> Result<()>;

    /// Whether the others wait while it cannot take a record, and [`MessageStore::dispatched`] with
    /// them.
    ///
    /// [`MessageStore::dispatched`]: crate::MessageStore::dispatched
    fn must_keep_up(&self) -> bool {
        false
    }

    /// Waits, at most `timeout`, until it can take some hundred records; `false` where it cannot.
    /// Asked only where the others wait for it.
    fn wait_for_room(&self, timeout: Duration) -> bool {
        let _ = timeout;
        true
    }

    /// Where it goes on when the store is opened: the last `place` that [`Follower::sync`] was told
    /// and made durable. `None` where it wants only what comes from then on. Records that retention
    /// has deleted before it took them are lost to it.
    fn place(&self) -> Option<u64> {
        None
    }

    /// Makes everything it has taken durable: all records before `place`, which are on the disk
    /// themselves.
    ///
    /// # Errors
    /// [`Error::Sync`] takes no more writes until a restart; any other is tried again.
    ///
    /// [`Error::Sync`]: crate::Error::Sync
    fn sync(&self, place: u64) -> Result<()> {
        let _ = place;
        Ok(())
    }

    /// Forgets records at or behind `to`: the log has lost them, and others will come there.
    ///
    /// # Errors
    /// It takes no more writes until a restart.
    fn truncate(&self, to: u64) -> Result<()> {
        let _ = to;
        Ok(())
    }

    /// Gives up what it has of records before `log_min`, where the log now begins.
    ///
    /// # Errors
    /// Where a file cannot be deleted; tried again with the next deletion.
    fn trim(&self, log_min: u64) -> Result<()> {
        let _ = log_min;
        Ok(())
    }
}

/// A record on its way to the followers.
#[derive(Debug, Clone, Copy)]
pub struct Dispatched<'a> {
    /// The record.
    pub record: &'a Record<'a>,
    /// What its queue entry tells a filter, see [`TagsCode`]. `None` where the record belongs in no
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
    /// Its number in the queue.
    pub queue_offset: QueueOffset,
    /// What its queue entry tells a filter, see [`TagsCode`].
    pub tags_code: i64,
    /// Where its record lies.
    pub physical_offset: u64,
    /// Bytes of the record.
    pub size: usize,
    /// When it was stored, ms.
    pub store_timestamp: Millis,
    /// Its property string.
    pub properties: &'a [u8],
}

/// A follower that calls `each` for every message that becomes readable from the opening of the
/// store on. `each` must not block.
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
                physical_offset: record.physical_offset(),
                size: record.size(),
                store_timestamp: record.store_timestamp().into(),
                properties: record.properties(),
            });
        }
        Ok(())
    }
}

/// How far a follower is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// [`Follower::name`].
    pub follower: &'static str,
    /// Bytes of the log it has yet to take: of all that is appended where the others wait for it,
    /// of what is dispatched where they do not.
    pub bytes: u64,
}

/// Writes the number that Java's checkpoint has for a follower; told the store timestamp of the
/// last record dispatched.
type Mark = Box<dyn Fn(&mut Marks, Millis) + Send + Sync>;

/// All followers, in the order in which they take a record.
pub(crate) struct Followers {
    tags_code: TagsCode,
    slots: Vec<Slot>,
}

struct Slot {
    follower: Arc<dyn Follower>,
    must_keep_up: bool,
    /// Where it goes on, if it has a place of its own.
    place: Option<u64>,
    /// There for those that the checkpoint vouches for.
    mark: Option<Mark>,
    /// For metrics: where it is behind; `u64::MAX` where it is not.
    behind: AtomicU64,
    /// The last place it was synced to, for those with one of their own.
    synced: AtomicU64,
}

/// How far dispatch has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// The last record handled: its physical offset and store timestamp.
    pub(crate) last: Option<(u64, Millis)>,
    /// For each follower, in their order: where it is behind, if it is.
    behind: Vec<Option<Behind>>,
}

/// A follower that is behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    /// The first record it has not taken.
    pub(crate) from: u64,
    /// When it is offered again.
    pub(crate) retry_at: Instant,
}

impl Behind {
    fn refused(from: u64) -> Self {
        Behind { from, retry_at: Instant::now() + RETRY }
    }
}

impl Turn {
    /// Nothing at or behind `to` is there any more, and nothing was missed there.
    pub(crate) fn truncate(&mut self, to: u64, last: Option<(u64, Millis)>) {
        self.last = last;
        self.behind.iter_mut().for_each(|behind| *behind = behind.filter(|behind| behind.from < to));
    }
}

/// Where the followers stand, between two records.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// The last record handled: its physical offset and store timestamp.
    pub(crate) last: Option<(u64, Millis)>,
    /// For each follower: the first record it has not taken, and whether it is behind.
    places: Vec<(u64, bool)>,
}

impl Followers {
    /// Of a store whose queue entries have this code; there are none yet.
    pub(crate) fn new(tags_code: TagsCode) -> Self {
        Followers { tags_code, slots: Vec::new() }
    }

    /// Adds one that the checkpoint vouches for, which therefore takes part in recovery.
    pub(crate) fn add(
        &mut self,
        follower: Arc<dyn Follower>,
        mark: impl Fn(&mut Marks, Millis) + Send + Sync + 'static,
    ) {
        self.push(follower, Some(Box::new(mark)));
    }

    /// Adds one that goes on at a place of its own, or at the end of the log.
    pub(crate) fn add_own(&mut self, follower: Arc<dyn Follower>) {
        self.push(follower, None);
    }

    fn push(&mut self, follower: Arc<dyn Follower>, mark: Option<Mark>) {
        let must_keep_up = follower.must_keep_up();
        let place = if mark.is_none() { follower.place() } else { None };
        let (behind, synced) = (AtomicU64::new(u64::MAX), AtomicU64::new(place.unwrap_or(0)));
        self.slots.push(Slot { follower, must_keep_up, place, mark, behind, synced });
    }

    /// Nothing is dispatched, and none is behind.
    pub(crate) fn begin(&self) -> Turn {
        Turn { last: None, behind: vec![None; self.slots.len()] }
    }

    /// Takes a record that is read back, while the store is opened.
    pub(crate) fn recover(&self, turn: &mut Turn, record: &Record<'_>) -> Result<()> {
        self.hand_out(turn, record, |slot| slot.mark.is_some())
    }

    /// Puts those with places of their own there, once recovery has found where the log ends.
    pub(crate) fn start(&self, turn: &mut Turn, end: u64) -> Result<()> {
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

    /// Hands a record to all that are not behind.
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
                    *behind = Some(Behind::refused(record.physical_offset()));
                }
            }
        }
        turn.last = Some((record.physical_offset(), record.store_timestamp().into()));
        Ok(())
    }

    fn dispatched<'a>(&self, record: &'a Record<'a>) -> Dispatched<'a> {
        let in_queue = is_consumable(record) && is_name(record.topic());
        Dispatched { record, tags_code: in_queue.then(|| self.tags_code.of(record)) }
    }

    /// Whether all that the others wait for can take some records.
    pub(crate) fn wait_for_room(&self, timeout: Duration) -> bool {
        self.slots.iter().all(|slot| !slot.must_keep_up || slot.follower.wait_for_room(timeout))
    }

    /// Those that are behind and due, by their number.
    pub(crate) fn due(&self, turn: &Turn) -> Vec<(usize, u64)> {
        if turn.behind.iter().all(Option::is_none) {
            return Vec::new();
        }
        let now = Instant::now();
        let due =
            |(number, behind): (usize, &Option<Behind>)| Some((number, behind.filter(|at| at.retry_at <= now)?.from));
        turn.behind.iter().enumerate().filter_map(due).collect()
    }

    /// Hands a record that passed it by to one that is behind; `false` where it still cannot take
    /// it.
    pub(crate) fn take_late(&self, turn: &mut Turn, number: usize, record: &Record<'_>) -> bool {
        let follower = &self.slots[number].follower;
        let Err(error) = follower.take(&self.dispatched(record)) else { return true };
        tracing::debug!(follower = follower.name(), %error, "it is still behind");
        turn.behind[number] = Some(Behind::refused(record.physical_offset()));
        false
    }

    /// One that was behind has come to `from`; to the end where there is none.
    pub(crate) fn caught_up(&self, turn: &mut Turn, number: usize, from: Option<u64>) {
        turn.behind[number] = from.map(|from| Behind { from, retry_at: Instant::now() });
        if from.is_none() {
            tracing::info!(follower = self.slots[number].follower.name(), "it has caught up with the log");
        }
    }

    /// Publishes for metrics how far each is behind.
    pub(crate) fn publish(&self, turn: &Turn) {
        for (slot, behind) in self.slots.iter().zip(&turn.behind) {
            slot.behind.store(behind.map_or(u64::MAX, |behind| behind.from), Ordering::Relaxed);
        }
    }

    /// How far each is behind, in a log that is dispatched up to one offset and ends at another.
    pub(crate) fn lags(&self, dispatched: u64, appended: u64) -> Vec<Lag> {
        let lag = |slot: &Slot| Lag {
            follower: slot.follower.name(),
            bytes: match slot.must_keep_up {
                true => appended.saturating_sub(dispatched),
                false => dispatched.saturating_sub(slot.behind.load(Ordering::Relaxed)),
            },
        };
        self.slots.iter().map(lag).collect()
    }

    /// Where they stand after `turn`, in a log that is dispatched up to an offset.
    pub(crate) fn progress(&self, turn: &Turn, dispatched: u64) -> Progress {
        let place = |behind: &Option<Behind>| behind.map_or((dispatched, false), |behind| (behind.from, true));
        Progress { last: turn.last, places: turn.behind.iter().map(place).collect() }
    }

    /// The last record of which no follower needs to be told again by recovery, `last` at most.
    pub(crate) fn vouched_for(&self, progress: &Progress, last: u64) -> u64 {
        let behind =
            self.slots.iter().zip(&progress.places).filter(|(slot, (_, behind))| slot.mark.is_some() && *behind);
        behind.map(|(_, (from, _))| *from).fold(last, u64::min)
    }

    /// Whether one with a place of its own has come further than it was synced to.
    pub(crate) fn is_unsynced(&self, progress: &Progress) -> bool {
        let mut places = self.slots.iter().zip(&progress.places);
        places.any(|(slot, (place, _))| slot.place.is_some() && slot.synced.load(Ordering::Relaxed) != *place)
    }

    /// Makes what they have taken durable.
    pub(crate) fn sync(&self, progress: &Progress) -> Result<()> {
        for (slot, (place, _)) in self.slots.iter().zip(&progress.places) {
            slot.follower.sync(*place)?;
            slot.synced.store(*place, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the numbers of those that are not behind, which were synced.
    pub(crate) fn mark(&self, progress: &Progress, store_timestamp: Millis, marks: &mut Marks) {
        for (slot, (_, behind)) in self.slots.iter().zip(&progress.places) {
            if let Some(mark) = slot.mark.as_ref().filter(|_| !behind) {
                mark(marks, store_timestamp);
            }
        }
    }

    /// Lets all forget records at or behind `to`, which the log has lost.
    pub(crate) fn truncate(&self, to: u64) -> Result<()> {
        self.slots.iter().try_for_each(|slot| slot.follower.truncate(to))
    }

    /// Lets all give up records before `log_min`, which the log has lost.
    pub(crate) fn trim(&self, log_min: u64) -> Result<()> {
        self.slots.iter().try_for_each(|slot| slot.follower.trim(log_min))
    }
}
