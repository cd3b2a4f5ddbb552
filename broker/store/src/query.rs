//! Queries: messages by key or position, offsets by time, topics and queues.

use std::time::Instant;

use bytes::Bytes;
use rmq_protocol::message::properties;
use rmq_protocol::message::stored::Record;

use crate::MessageStore;
use crate::consume_queue::search::Boundary;
use crate::error::{Error, Result};
use crate::open::LAST_DISPATCH;
use crate::position::{LogOffset, Millis, QueueOffset};

/// The result of a query by key.
#[derive(Debug, Clone)]
pub struct Found {
    /// The records, newest first.
    pub records: Vec<Bytes>,
    /// Store timestamp of the last record in the index, ms.
    pub index_timestamp: Millis,
    /// The position of that record.
    pub index_offset: LogOffset,
}

/// The most entries that a query examines.
const SCAN_MAX: usize = 100_000;

impl MessageStore {
    /// Up to `max` messages of a topic that carry `key`, as unique key or among their keys, stored
    /// between two times (ms, both inclusive).
    ///
    /// # Errors
    /// Only if the disk fails.
    pub fn query(&self, topic: &str, key: &str, max: usize, begin: Millis, end: Millis) -> Result<Found> {
        let mut records: Vec<Bytes> = Vec::new();
        let (mut scanned, mut before) = (0, None);
        let (index_offset, index_timestamp) = self.index.end();
        self.index.find(topic, key, begin, end, &mut |offset| {
            scanned += 1;
            // A message that lists its key twice has two entries.
            let again = before.replace(offset) == Some(offset);
            if !again
                && let Some(bytes) = self.log.record(offset)
                && Record::parse(&bytes).is_ok_and(|record| {
                    record.topic() == topic
                        && record.check_body().is_ok()
                        && !record.has_lost_properties()
                        && (begin..=end).contains(&Millis::new(record.store_timestamp()))
                        && has_key(&record, key)
                })
            {
                records.push(bytes);
            }
            records.len() < max && scanned < SCAN_MAX
        })?;
        records.truncate(max);
        Ok(Found { records, index_timestamp, index_offset })
    }

    /// Up to `max` bytes of the log from `offset` on, all from one file; empty at the end of the
    /// log. Replicas get these.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn read(&self, offset: LogOffset, max: usize) -> Result<Bytes> {
        self.log.range(offset, max)
    }

    /// The same, but `None` where the bytes would have to come from the disk. Never blocks.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn read_resident(&self, offset: LogOffset, max: usize) -> Result<Option<Bytes>> {
        self.log.range_if_resident(offset, max)
    }

    /// The same, with the bytes prefetched from the disk first. Blocks.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], and [`Error::Io`] if the disk cannot be read.
    pub fn read_from_disk(&self, offset: LogOffset, max: usize) -> Result<Bytes> {
        self.log.range_from_disk(offset, max)
    }

    /// The record that begins at `offset`; `None` if none does.
    pub fn record(&self, offset: LogOffset) -> Option<Bytes> {
        self.log.record(offset)
    }

    /// First byte of the log.
    pub fn min_physical_offset(&self) -> LogOffset {
        self.log.min()
    }

    /// End of the log.
    pub fn max_physical_offset(&self) -> LogOffset {
        self.log.appended.value()
    }

    /// First offset of a queue; 0 if it does not exist.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> QueueOffset {
        self.table.find(topic, queue_id).map_or(QueueOffset::ZERO, |queue| queue.bounds().0)
    }

    /// The offset of the next readable message of a queue; 0 if it does not exist.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> QueueOffset {
        self.table.find(topic, queue_id).map_or(QueueOffset::ZERO, |queue| queue.bounds().1)
    }

    /// The offset of the next message of a queue, counting those that are not readable yet; 0 if it
    /// does not exist.
    pub fn next_offset(&self, topic: &str, queue_id: i32) -> QueueOffset {
        self.table.find(topic, queue_id).map_or(QueueOffset::ZERO, |queue| queue.next().max(queue.bounds().1))
    }

    /// The offset of a queue at a time (ms), within the queue's bounds; 0 if it does not exist.
    ///
    /// # Errors
    /// Only if the disk fails.
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, time: Millis, boundary: Boundary) -> Result<QueueOffset> {
        match self.table.find(topic, queue_id) {
            Some(queue) => queue.offset_at(self.table.files(), &self.log, time, boundary),
            None => Ok(QueueOffset::ZERO),
        }
    }

    /// The store timestamp of the message at a queue offset, ms; `None` if it is deleted or never
    /// existed.
    ///
    /// # Errors
    /// Only if the disk fails.
    pub fn store_timestamp(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Result<Option<Millis>> {
        let Some(queue) = self.table.find(topic, queue_id) else { return Ok(None) };
        let entry = queue.entry(self.table.files(), offset)?;
        Ok(entry.and_then(|entry| self.log.store_timestamp(entry.physical_offset)))
    }

    /// The position in the log of the message at a queue offset; `None` if it is deleted or never
    /// existed.
    ///
    /// # Errors
    /// Only if the disk fails.
    pub fn physical_offset(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Result<Option<LogOffset>> {
        let Some(queue) = self.table.find(topic, queue_id) else { return Ok(None) };
        let entry = queue.entry(self.table.files(), offset)?;
        Ok(entry.filter(|entry| !entry.is_filler()).map(|entry| entry.physical_offset))
    }

    /// The store timestamp of the oldest message, ms; `None` in an empty store.
    pub fn earliest_timestamp(&self) -> Option<Millis> {
        self.log.earliest_store_timestamp()
    }

    /// Whether a message at this physical offset is probably still in memory.
    pub fn is_in_memory(&self, physical_offset: LogOffset) -> bool {
        self.max_physical_offset().saturating_since(physical_offset) <= self.memory_bytes
    }

    /// The topics that have queues.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.table.topics().iter().map(|topic| topic.to_string()).collect();
        topics.sort_unstable();
        topics
    }

    /// The queues of a topic.
    pub fn queues(&self, topic: &str) -> Vec<i32> {
        let mut ids: Vec<i32> = self.table.of_topic(topic).iter().map(|queue| queue.id()).collect();
        ids.sort_unstable();
        ids
    }

    /// Deletes the queues of a topic; its records stay in the log until their files are deleted.
    /// Returns how many queues it had.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn delete_topic(&self, topic: &str) -> Result<usize> {
        // Records that are not dispatched yet would create the queues again, and be delivered to
        // the readers of a new topic of this name.
        let end = self.log.appended.value();
        let _ = self.log.dispatched.wait_until(end, Instant::now() + LAST_DISPATCH);
        self.table.delete_topic(topic)
    }

    /// Deletes the queues of all topics that `keep` rejects; returns their names.
    ///
    /// # Errors
    /// As [`MessageStore::delete_topic`].
    pub fn clean_unused_topics(&self, keep: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let unused: Vec<String> = self.topics().into_iter().filter(|topic| !keep(topic)).collect();
        unused.iter().try_for_each(|topic| self.delete_topic(topic).map(|_| ()))?;
        Ok(unused)
    }

    /// Cuts the log of a replica at `to`, the point up to which it agrees with its new master, and
    /// drops everything that was dispatched from behind it. `to` is the start of a record, or at or
    /// behind the last dispatched one. A broker whose role is fixed never calls this; one whose
    /// master is elected does, if its log diverges from that of the new master.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the log cannot end there.
    pub fn truncate(&self, to: LogOffset) -> Result<()> {
        self.upkeep.around_truncation(to, |turn| {
            let dispatched = self.log.dispatched.value();
            if to < dispatched && !self.log.is_boundary(to) {
                return Err(Error::OutOfRange { asked: to, min: self.log.min(), max: dispatched });
            }
            self.log.truncate(to)?;
            if to < dispatched {
                self.log.dispatched.rewind(to);
                // Entries of the records that are cut would pass for those of their successors.
                let last = self.forget(to).inspect_err(|error| {
                    self.log.fail(format!("a truncation to {to} failed half way: {error}"));
                })?;
                turn.truncate(to, last);
            }
            Ok(())
        })
    }

    /// Makes the followers drop what the log has lost, and returns the last record that they have:
    /// its offset and store timestamp.
    fn forget(&self, to: LogOffset) -> Result<Option<(LogOffset, Millis)>> {
        self.dispatch.followers.truncate(to)?;
        let last = self.table.last_record()?;
        Ok(last.and_then(|offset| Some((offset, self.log.store_timestamp(offset)?))))
    }
}

fn has_key(record: &Record<'_>, key: &str) -> bool {
    record.property(properties::UNIQ_KEY).is_some_and(|unique| unique == key)
        || record.property(properties::KEYS).is_some_and(|keys| keys.split(' ').any(|word| word == key))
}
