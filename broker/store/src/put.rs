//! Storing messages.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rmq_protocol::message::OffsetId;
use rmq_protocol::message::stored::Prepared;
use rmq_protocol::message::sys_flag::{self, Transaction};

use crate::MessageStore;
use crate::commit_log::append::{Numbering, Placed};
use crate::consume_queue;
use crate::error::{Error, Result};
use crate::position::{LogOffset, Millis, QueueOffset};

/// A message to be stored: everything about its record that is known before it has a position.
pub use rmq_protocol::message::stored::Draft as NewMessage;

/// The default time that a put waits for disk blocks. Java's clients wait three seconds for all
/// attempts of a send: this leaves time for the response, and for an attempt at another broker.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// The deadline of a put if preallocation is late: for disk blocks, or for the next file. Almost no
/// put has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// It must not block: for threads that serve other requests too.
    Now,
    /// A point in time. One that has passed is equivalent to [`Deadline::Now`].
    At(Instant),
}

impl Deadline {
    /// Two seconds from now, which is within the timeout of a client.
    pub fn client() -> Self {
        Deadline::At(Instant::now() + CLIENT_TIMEOUT)
    }
}

/// The position of a stored message. It can be read from the commit log. The watermarks show
/// whether it is durable, replicated, or in its queue: each of these holds once its watermark has
/// reached `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The start of its record.
    pub physical_offset: LogOffset,
    /// The end of its record.
    pub end: LogOffset,
    /// Its queue offset; 0 for prepared and rolled back messages, which are not in the queue.
    pub queue_offset: QueueOffset,
    /// When it was stored, ms.
    pub store_timestamp: Millis,
    /// The address that is part of its id.
    pub store_host: SocketAddr,
}

impl Appended {
    /// The offset message id.
    pub fn id(&self) -> OffsetId {
        OffsetId { host: self.store_host, physical_offset: self.physical_offset.get() }
    }

    /// Bytes of the record.
    pub fn size(&self) -> u64 {
        self.end - self.physical_offset
    }
}

impl MessageStore {
    /// Stores a message. It returns as soon as the bytes are in the log: they are in the page
    /// cache, and not necessarily on the disk. Blocks if preallocation is late.
    ///
    /// # Errors
    /// [`Error::Full`] while there is no space, [`Error::Stalled`] if the disk took too long to
    /// provide some, [`Error::ReadOnly`] after a failed flush, [`Error::PartialTail`] on a replica
    /// whose log ends inside a record, [`Error::Message`], [`Error::TooLarge`] or
    /// [`Error::Refused`] for a message that cannot be stored anywhere.
    pub fn put(&self, message: &NewMessage<'_>) -> Result<Appended> {
        self.put_within(message, Deadline::client())?.ok_or(Error::Stalled)
    }

    /// The same, but `None` if there are no blocks by `deadline`: nothing of the message is stored
    /// then.
    ///
    /// # Errors
    /// As [`MessageStore::put`].
    pub fn put_within(&self, message: &NewMessage<'_>, deadline: Deadline) -> Result<Option<Appended>> {
        self.put_checked(message, deadline, |message| self.check(message))
    }

    /// The same for a message that was stored before: `max_message_size` may have been lowered
    /// since, and is not checked.
    ///
    /// # Errors
    /// As [`MessageStore::put`].
    pub fn put_again_within(&self, message: &NewMessage<'_>, deadline: Deadline) -> Result<Option<Appended>> {
        self.put_checked(message, deadline, check_place)
    }

    fn put_checked(
        &self,
        message: &NewMessage<'_>,
        deadline: Deadline,
        check: impl FnOnce(&NewMessage<'_>) -> Result<()>,
    ) -> Result<Option<Appended>> {
        let begun = Instant::now();
        let outcome = check(message).and_then(|()| {
            let record = message.prepare()?;
            let size = record.size() as u64;
            let placed = self.append(message, std::slice::from_ref(&record), deadline)?;
            Ok(placed.map(|placed| appended(message, placed, 0, placed.physical_offset, size)))
        });
        self.count(begun, deadline, outcome.as_ref().map(|stored| stored.as_ref().map(|one| (1, one.size()))));
        outcome
    }

    /// Stores messages of one topic and queue, all or none, one after another in the log and in the
    /// queue.
    ///
    /// # Errors
    /// As [`MessageStore::put`]; [`Error::Refused`] if the messages are for several queues, or
    /// there are none.
    pub fn put_batch(&self, messages: &[NewMessage<'_>]) -> Result<Vec<Appended>> {
        self.put_batch_within(messages, Deadline::client())?.ok_or(Error::Stalled)
    }

    /// The same, but `None` if there are no blocks by `deadline`: nothing of the messages is stored
    /// then.
    ///
    /// # Errors
    /// As [`MessageStore::put_batch`].
    pub fn put_batch_within(&self, messages: &[NewMessage<'_>], deadline: Deadline) -> Result<Option<Vec<Appended>>> {
        let begun = Instant::now();
        let outcome = self.append_batch(messages, deadline);
        let sizes = |all: &Vec<Appended>| (all.len() as u64, all.iter().map(Appended::size).sum());
        self.count(begun, deadline, outcome.as_ref().map(|stored| stored.as_ref().map(sizes)));
        outcome
    }

    fn append_batch(&self, messages: &[NewMessage<'_>], deadline: Deadline) -> Result<Option<Vec<Appended>>> {
        let first = messages.first().ok_or(Error::Refused("a batch without messages".into()))?;
        let mut records = Vec::with_capacity(messages.len());
        for message in messages {
            if (message.topic, message.queue_id, state(message)) != (first.topic, first.queue_id, state(first)) {
                return Err(Error::Refused(format!(
                    "a batch must go to one queue: queue {} of {:?} is one, queue {} of {:?} another",
                    first.queue_id, first.topic, message.queue_id, message.topic
                )));
            }
            self.check(message)?;
            records.push(message.prepare()?);
        }
        let Some(placed) = self.append(first, &records, deadline)? else { return Ok(None) };
        let mut at = placed.physical_offset;
        let place = |(number, (message, record)): (usize, (&NewMessage<'_>, &Prepared<'_>))| {
            let size = record.size() as u64;
            let begin = at;
            at += size;
            appended(message, placed, number as u64, begin, size)
        };
        Ok(Some(messages.iter().zip(&records).enumerate().map(place).collect()))
    }

    fn check(&self, message: &NewMessage<'_>) -> Result<()> {
        if message.body.len() > self.config.max_message_size {
            let (size, max) = (message.body.len() as u64, self.config.max_message_size as u64);
            return Err(Error::TooLarge { size, max });
        }
        check_place(message)
    }

    fn append(&self, message: &NewMessage<'_>, records: &[Prepared<'_>], deadline: Deadline) -> Result<Option<Placed>> {
        match state(message) {
            Transaction::None | Transaction::Commit => {
                let queue = self.table.find_or_create(message.topic, message.queue_id);
                self.log.append(records, Numbering::From(&queue.next), deadline)
            }
            Transaction::Prepared | Transaction::Rollback => self.log.append(records, Numbering::None, deadline),
        }
    }

    fn count(&self, begun: Instant, deadline: Deadline, sizes: Result<Option<(u64, u64)>, &Error>) {
        let counters = &self.log.counters;
        match sizes {
            Ok(Some((messages, bytes))) => {
                counters.put_messages.fetch_add(messages, Ordering::Relaxed);
                counters.put_bytes.fetch_add(bytes, Ordering::Relaxed);
                counters.put_times.add(begun.elapsed());
            }
            Ok(None) if deadline == Deadline::Now => {
                counters.puts_would_block.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None) | Err(_) => {
                counters.put_failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Appends a master's bytes. `offset` is their position in the master's log, and must be the
    /// end of this log. An empty log begins where the master's file begins. The bytes may end
    /// inside a record, which is dispatched when the rest has arrived.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `offset` is not the end of the log; otherwise as
    /// [`MessageStore::put`].
    pub fn append_replica(&self, offset: LogOffset, bytes: &[u8]) -> Result<()> {
        let taken = self.log.append_replica(offset, bytes, Deadline::client())?;
        if taken == bytes.len() { Ok(()) } else { Err(Error::Stalled) }
    }

    /// The same without blocking: appends as much as has preallocated blocks, and returns how many
    /// bytes that was.
    ///
    /// # Errors
    /// As [`MessageStore::append_replica`].
    pub fn append_replica_nonblocking(&self, offset: LogOffset, bytes: &[u8]) -> Result<usize> {
        self.log.append_replica(offset, bytes, Deadline::Now)
    }
}

fn check_place(message: &NewMessage<'_>) -> Result<()> {
    if message.queue_id < 0 {
        return Err(Error::Refused(format!("the queue id {} is negative", message.queue_id)));
    }
    if !consume_queue::is_name(message.topic) {
        return Err(Error::Refused(format!(
            "the topic {:?} of {} bytes cannot be the name of a directory: at most 255 bytes, without '/'",
            message.topic,
            message.topic.len()
        )));
    }
    Ok(())
}

fn state(message: &NewMessage<'_>) -> Transaction {
    sys_flag::transaction(message.sys_flag)
}

fn appended(message: &NewMessage<'_>, placed: Placed, number: u64, physical_offset: LogOffset, size: u64) -> Appended {
    let queue_offset = match state(message) {
        Transaction::None | Transaction::Commit => placed.queue_offset + number,
        Transaction::Prepared | Transaction::Rollback => QueueOffset::ZERO,
    };
    Appended {
        physical_offset,
        end: physical_offset + size,
        queue_offset,
        store_timestamp: placed.store_timestamp,
        store_host: message.store_host,
    }
}
