//! The thread that delivers delayed messages.
//!
//! All consumers share the queue of a level, so a failure of its first message blocks all of them.
//! Hence a failed delivery has two outcomes. A message that no later attempt could store is
//! skipped, counted, logged and kept in [`names::DELAY_DEAD_LETTER_TOPIC`]. After any other failure
//! the same message is retried without a limit.

use super::{Delay, bounds};
use crate::{
    clock::now_millis,
    feature::{Feature, Tasks},
    metrics_page::{MetricsPage, Written},
    registration::Registration,
    topic::{self, Topics},
};
use rmq_protocol::{
    message::{
        properties::{self, PROPERTY_SEPARATOR},
        stored::{Draft, Record, Records},
    },
    names,
};
use rmq_store::{Appended, Deadline, Error, Filter, Limits, MessageStore};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The pause after a failed delivery.
const RETRY: Duration = Duration::from_secs(1);
/// The time between two warnings about the same message.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The time between two writes of the positions.
const PERSIST_EVERY: Duration = Duration::from_secs(10);
/// Limits of one read.
const BATCH: Limits = Limits { messages: 32, bytes: 1 << 20 };
const ONE: Limits = Limits { messages: 1, bytes: 1 << 20 };
/// The longest sleep, so that a changed system clock is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The property of a kept message that contains the reason why it could not be delivered.
const REASON: &str = "UNDELIVERABLE";
/// The limit, in bytes, of a foreign name in a property that is added. A longer name might leave no
/// room for the other properties.
const NAME_MAX: usize = 1024;

/// The delivery thread and its state.
pub(crate) struct Delivery {
    pub(crate) delay: Arc<Delay>,
    pub(crate) store: Arc<MessageStore>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) store_host: SocketAddr,
}

/// Levels whose next message cannot be delivered: its offset, and the time of the last warning.
type Failing = BTreeMap<i32, (u64, Instant)>;

impl Feature for Delivery {
    fn correct(&self) {
        self.delay.correct(&self.store);
    }

    /// Delivery has a thread of its own, because it reads from the disk and waits for disk blocks.
    fn lead(self: Arc<Self>, tasks: &Tasks) -> Result<(), crate::Error> {
        tasks.thread("delay", move || self.run())
    }

    fn stop(&self) {
        self.delay.stop();
    }

    fn save(&self) -> Result<(), Error> {
        self.delay.persist()
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        to.counter(
            "rocketmq_broker_undeliverable_delayed_total",
            "Delayed messages that could never be delivered; they are kept in the topic rmq_sys_DELAY_DLQ with the reason.",
            self.delay.undeliverable(),
        )?;
        to.count(
            "rocketmq_broker_failing_delay_levels",
            "Delay levels whose next message cannot be delivered just now; it is tried again each second, and the log says why.",
            self.delay.failing_levels(),
        )
    }
}

impl Delivery {
    fn run(&self) {
        // Levels that were configured before are delivered to their end.
        let stored = self.store.queues(names::SCHEDULE_TOPIC).into_iter().map(|queue_id| queue_id.saturating_add(1));
        let levels: BTreeSet<i32> = (1..=self.delay.levels.count()).chain(stored).collect();
        let mut failing = Failing::new();
        let mut persist_at = Instant::now() + PERSIST_EVERY;
        loop {
            // One batch per level, so that no level starves the others, and a stop is noticed in
            // between.
            let next = levels.iter().filter_map(|level| self.deliver_level(*level, &mut failing)).min();
            self.delay.failing_levels.store(failing.len(), Relaxed);
            let now = Instant::now();
            if now >= persist_at {
                persist_at = now + PERSIST_EVERY;
                if let Err(error) = self.delay.persist() {
                    tracing::warn!(%error, "cannot write how far delayed messages are delivered; a crash would repeat some");
                }
            }
            let mut state = self.delay.state.lock();
            let until = (now + next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)).min(if state.changes > 0 {
                persist_at
            } else {
                now + LONGEST_SLEEP
            });
            while !state.arrived && !state.stopping {
                if self.delay.alarm.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
            state.arrived = false;
            if state.stopping {
                return;
            }
        }
    }

    /// Delivers the due messages of a level, one batch at most. Returns the time until the next is
    /// due.
    fn deliver_level(&self, level: i32, failing: &mut Failing) -> Option<Duration> {
        let pause = self.delay.levels.pause(level)?;
        let (min, max) = bounds(&self.store, level);
        let mut position = self.delay.position(level, min, max);
        if position >= max {
            return None;
        }
        let got = match self.store.get(names::SCHEDULE_TOPIC, level - 1, position.into(), BATCH, Filter::ALL) {
            Ok(got) => got,
            Err(error) => return Some(fails(failing, level, position, None, &error.to_string())),
        };
        if got.count == 0 && got.next_offset.get() <= position {
            return Some(RETRY);
        }
        for record in got.records.iter().flat_map(|piece| Records::new(piece)) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(self.pass_damaged(level, position, &error.to_string(), failing)),
            };
            let left = time_left(record.store_timestamp(), pause, now_millis());
            if !left.is_zero() {
                return Some(left);
            }
            if let Err(error) = self.deliver(level, &record) {
                return Some(fails(failing, level, position, Some(&record), &error.to_string()));
            }
            position = record.queue_offset() + 1;
            failing.remove(&level);
            self.delay.advance(level, position);
        }
        self.delay.advance(level, got.next_offset.get());
        Some(Duration::ZERO)
    }

    /// Stores the message in its own topic and queue. As in Java, its properties still contain the
    /// delay.
    fn deliver(&self, level: i32, record: &Record<'_>) -> Result<(), Error> {
        let delivered = destination(record).map(|(topic, queue_id)| {
            let known = self.topics.find(&topic);
            // The queue may have been removed meanwhile, and then no consumer would read it.
            let queue_id = known.map_or(queue_id, |known| topic::readable_queue(&known, queue_id));
            self.put(&Draft { topic: &topic, queue_id, store_host: self.store_host, ..Draft::of(record) })
        });
        match delivered {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_about_message() => self.keep(level, record, &error.to_string()),
            Ok(Err(error)) => Err(error),
            Err(reason) => self.keep(level, record, &reason),
        }
    }

    /// Ignores the current `maxMessageSize`, because the message was accepted before.
    fn put(&self, draft: &Draft<'_>) -> Result<Appended, Error> {
        self.store.put_again_within(draft, Deadline::client())?.ok_or(Error::Stalled)
    }

    /// Keeps a message that can never be delivered, with the reason, in a topic that an
    /// administrator can read.
    fn keep(&self, level: i32, record: &Record<'_>, reason: &str) -> Result<(), Error> {
        self.registration.ensure_topic(names::DELAY_DEAD_LETTER_TOPIC);
        let topic = record.property(properties::REAL_TOPIC).unwrap_or_default();
        let id = record.offset_id().to_string();
        let added = [
            (properties::DLQ_ORIGIN_TOPIC, shortened(&topic)),
            (properties::DLQ_ORIGIN_MESSAGE_ID, id.as_str()),
            (REASON, shortened(reason)),
        ];
        let kept = self.put(&Draft {
            topic: names::DELAY_DEAD_LETTER_TOPIC,
            queue_id: 0,
            store_host: self.store_host,
            properties: &with_added(record.properties(), &added),
            ..Draft::of(record)
        });
        let kept_at = match kept {
            Ok(kept) => Some(kept.queue_offset),
            // The message stays readable in its level's queue for as long as the log has it.
            Err(error) if error.is_about_message() => {
                tracing::error!(level, offset = record.queue_offset(), %error, "a delayed message cannot be kept either");
                None
            }
            Err(error) => return Err(error),
        };
        self.delay.undeliverable.fetch_add(1, Relaxed);
        tracing::error!(
            level,
            offset = record.queue_offset(),
            topic = shortened(&topic),
            id,
            reason,
            kept_in = names::DELAY_DEAD_LETTER_TOPIC,
            ?kept_at,
            "a delayed message can never be delivered and is skipped"
        );
        Ok(())
    }

    /// Skips bytes that are no record. Nothing of them can be kept.
    fn pass_damaged(&self, level: i32, position: u64, error: &str, failing: &mut Failing) -> Duration {
        let next = match self.store.get(names::SCHEDULE_TOPIC, level - 1, position.into(), ONE, Filter::ALL) {
            Ok(got) if got.next_offset.get() > position => got.next_offset.get(),
            Ok(_) => return RETRY,
            Err(error) => return fails(failing, level, position, None, &error.to_string()),
        };
        self.delay.undeliverable.fetch_add(1, Relaxed);
        tracing::error!(level, offset = position, error, "a damaged delayed message is skipped");
        self.delay.advance(level, next);
        Duration::ZERO
    }
}

/// Records that a message cannot be delivered at present. Warns, unless a recent warning was about
/// the same message.
fn fails(failing: &mut Failing, level: i32, offset: u64, record: Option<&Record<'_>>, error: &str) -> Duration {
    let now = Instant::now();
    let warned = failing.get(&level).is_some_and(|(known, at)| *known == offset && now - *at < WARN_EVERY);
    if !warned {
        failing.insert(level, (offset, now));
        let topic = record.and_then(|record| record.property(properties::REAL_TOPIC)).unwrap_or_default();
        tracing::warn!(
            level,
            offset,
            topic = shortened(&topic),
            error,
            "cannot deliver a delayed message; trying again"
        );
    }
    RETRY
}

/// The topic and queue of a message, or why they are unknown.
fn destination(record: &Record<'_>) -> Result<(String, i32), String> {
    let missing = |name: &str| format!("it does not say where it belongs: {name} is missing");
    let topic = record.property(properties::REAL_TOPIC).ok_or_else(|| missing(properties::REAL_TOPIC))?;
    if topic == names::SCHEDULE_TOPIC {
        return Err(format!("it belongs to {topic}: delivered it would wait again, for ever"));
    }
    let queue_id = record.property(properties::REAL_QUEUE_ID).ok_or_else(|| missing(properties::REAL_QUEUE_ID))?;
    match queue_id.parse::<i32>() {
        Ok(number @ 0..) => Ok((topic.into_owned(), number)),
        _ => Err(format!("{} {:?} is no queue", properties::REAL_QUEUE_ID, shortened(&queue_id))),
    }
}

/// Adds properties to a property string. The original properties are dropped if both together would
/// be too long.
fn with_added(own: &[u8], added: &[(&str, &str)]) -> Vec<u8> {
    let mut end = Vec::new();
    for (name, value) in added.iter().filter(|(_, value)| !value.is_empty()) {
        properties::push(&mut end, name.as_bytes(), value.as_bytes());
    }
    let mut all = own.to_vec();
    if !all.is_empty() && all.last() != Some(&PROPERTY_SEPARATOR) {
        all.push(PROPERTY_SEPARATOR);
    }
    all.extend_from_slice(&end);
    if all.len() > properties::MAX_LEN { end } else { all }
}

fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(NAME_MAX)).unwrap_or(text)
}

/// The time until a message is due that was stored at `stored` and has the delay `pause`. A clock
/// that was set back cannot make it wait longer than `pause`.
fn time_left(stored: i64, pause: Duration, now: i64) -> Duration {
    let pause_millis = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    let left = stored.saturating_add(pause_millis).saturating_sub(now);
    Duration::from_millis(left.max(0) as u64).min(pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Live,
        role::{CurrentRole, Role},
        testing::{member, message},
    };
    use std::path::Path;

    /// A level with a delay of 0, and the thread's state that delivers it.
    fn delivery(root: &Path) -> Delivery {
        let (settings, store): (Arc<Live>, _) = member(root, &[("messageDelayLevel", "0s")]);
        let config = settings.load_full();
        let topics = Arc::new(Topics::open(root, &config).unwrap());
        Delivery {
            delay: Arc::new(Delay::open(root, config.delay_levels().unwrap()).unwrap()),
            registration: Arc::new(Registration::new(
                settings,
                Arc::new(CurrentRole::new(Role::Master)),
                Arc::clone(&topics),
                rmq_remoting::Budget::of_process(),
            )),
            topics,
            store,
            store_host: SocketAddr::from(([127, 0, 0, 1], 1)),
        }
    }

    #[test]
    fn a_message_that_cannot_be_stored_just_now_is_tried_again_and_never_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let first = delivery(folder.path());
        let delayed = rmq_store::NewMessage {
            topic: names::SCHEDULE_TOPIC,
            properties: b"REAL_TOPIC\x01T\x02REAL_QID\x013\x02",
            ..message(b"patient")
        };
        let stored = first.store.put(&delayed).unwrap();
        let dispatched = Instant::now() + Duration::from_secs(60);
        assert_eq!(first.store.dispatched().wait_until(stored.end, dispatched), Ok(true));
        first.store.close().unwrap();
        let mut failing = Failing::new();
        for _ in 0..3 {
            assert_eq!(first.deliver_level(1, &mut failing), Some(RETRY), "the store takes nothing more");
        }
        assert_eq!((failing.len(), first.delay.undeliverable(), first.delay.position(1, 0, 1)), (1, 0, 0));
        drop(first);

        let second = delivery(folder.path());
        failing.clear();
        assert_eq!(second.deliver_level(1, &mut failing), Some(Duration::ZERO));
        assert_eq!((failing.len(), second.delay.undeliverable(), second.delay.position(1, 0, 1)), (0, 0, 1));
        assert_eq!(second.store.next_offset("T", 3).get(), 1);
    }

    #[test]
    fn a_clock_set_back_does_not_lengthen_the_wait() {
        let pause = Duration::from_secs(5);
        assert_eq!(time_left(1000, pause, 2000), Duration::from_secs(4));
        assert_eq!(time_left(1000, pause, 6000), Duration::ZERO);
        assert_eq!(time_left(1_000_000, pause, 0), pause);
    }

    #[test]
    fn what_is_added_replaces_properties_that_leave_no_room_for_it() {
        let added = [(REASON, "x"), ("empty", "")];
        assert_eq!(with_added(b"a\x01b", &added), b"a\x01b\x02UNDELIVERABLE\x01x\x02");
        assert_eq!(with_added(b"", &added), b"UNDELIVERABLE\x01x\x02");
        assert_eq!(with_added(&[b'p'; properties::MAX_LEN], &added), b"UNDELIVERABLE\x01x\x02");
    }
}
