//! Sending messages.
//!
//! ```text
//! Message -> prepare (check, id, compress, encode; once)        prepare.rs
//!         -> back-pressure: messages and bytes in flight are bounded
//!         -> choose a queue, send, evaluate the response; retry on another broker         send.rs
//! ```
//!
//! [`Producer::send`] waits for the broker's response. To send many messages at once, call it many
//! times concurrently: a producer is cheap to clone, and up to [`Options::in_flight`] sends run
//! concurrently over one connection per broker.
//!
//! A send that fails after a timeout or a lost connection may have been stored, and the retry on
//! another broker then stores it again: consumers see duplicates, as with every RocketMQ client.
//! They carry the same message id.

mod fault;
mod prepare;
mod send;

use crate::{Error, session::Session};
use prepare::Prepared;
use rmq_protocol::{
    body::{Heartbeat, ProducerData},
    message::{Message, MessageQueue, message_id::UniqueIds},
    names,
};
use rmq_remoting::Limits;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::DropGuard;

/// The options of a producer. Start from [`Options::new`] and change what should differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Addresses of the namesrvs: `host:port`, several separated by `;`.
    pub namesrvs: String,
    /// The producer group.
    pub group: String,
    /// Timeout of a send, including retries. 3 seconds.
    pub timeout: Duration,
    /// Retries, each on another broker if there is one. 2.
    pub retries: u32,
    /// Bodies longer than this many bytes are compressed. 4096.
    pub compress_above: usize,
    /// Longest body, in bytes. 4 MiB, which is also the default limit of brokers.
    pub max_body: usize,
    /// The most messages in flight (a batch counts as one). 1024.
    pub in_flight: u32,
    /// The most bytes of bodies in flight. 32 MiB; a single larger batch is sent alone.
    pub in_flight_bytes: u32,
    /// The most queues per broker group of a topic that the first send creates. 4.
    pub default_queues: i32,
    /// Second part of the client id. Unique unless given.
    pub instance: Option<String>,
}

impl Options {
    /// The defaults.
    pub fn new(namesrvs: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            namesrvs: namesrvs.into(),
            group: group.into(),
            timeout: Duration::from_secs(3),
            retries: 2,
            compress_above: 4096,
            max_body: 4 * 1024 * 1024,
            in_flight: 1024,
            in_flight_bytes: 32 * 1024 * 1024,
            default_queues: 4,
            instance: None,
        }
    }
}

/// How durable a message was when the broker responded. It is stored in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As durable as the broker is configured to make it.
    Ok,
    /// In memory: the flush was not complete at the broker's timeout.
    FlushDiskTimeout,
    /// On the master: not on enough slaves at the broker's timeout.
    FlushSlaveTimeout,
    /// On the master: there is no slave.
    SlaveNotAvailable,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its durability.
    pub status: SendStatus,
    /// The id this client made for it.
    pub message_id: String,
    /// The id with its position.
    pub offset_message_id: String,
    /// The queue it lies in.
    pub queue: MessageQueue,
    /// Its offset there.
    pub queue_offset: i64,
}

/// A stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchReceipt {
    /// Its durability.
    pub status: SendStatus,
    /// The ids this client made, in the order of the messages.
    pub message_ids: Vec<String>,
    /// The ids with the positions of the messages, in the same order.
    pub offset_message_ids: Vec<String>,
    /// The queue they lie in.
    pub queue: MessageQueue,
    /// The offset of the first; the others follow.
    pub queue_offset: i64,
}

/// Sends messages. Cheap to clone; clones share everything. Dropping the last one stops it without
/// waiting.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

struct Inner {
    options: Options,
    session: Session,
    ids: UniqueIds,
    faults: fault::Faults,
    messages: Semaphore,
    bytes: Semaphore,
    _stop: DropGuard,
}

/// A permit for one send, released when it is over.
struct Permit<'a> {
    _message: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
}

impl Producer {
    /// Connects to a namesrv and starts.
    ///
    /// # Errors
    /// The options are invalid, or no namesrv can be reached.
    pub async fn start(options: Options) -> Result<Self, Error> {
        names::check_group(&options.group)
            .map_err(|why| Error::Argument(format!("producer group {:?}: {why}", options.group)))?;
        if options.in_flight == 0 || options.in_flight_bytes == 0 {
            return Err(Error::Argument(format!(
                "in_flight {} and in_flight_bytes {} must both be at least 1",
                options.in_flight, options.in_flight_bytes
            )));
        }
        // Never less than what may be in flight: a connection must not refuse what the producer
        // admitted.
        let limits = Limits {
            outbox: (options.in_flight_bytes as usize).saturating_mul(2).max(Limits::default().outbox),
            pending: (options.in_flight as usize).saturating_mul(2),
            ..Limits::default()
        };
        let session =
            Session::start(&options.namesrvs, options.instance.as_deref(), options.timeout, Arc::new(()), limits)
                .await?;
        let heartbeat = Heartbeat {
            client_id: session.client_id.to_string(),
            producer_data_set: vec![ProducerData { group_name: options.group.clone() }],
            ..Heartbeat::default()
        };
        session.keep(move || heartbeat.clone());
        Ok(Self(Arc::new(Inner {
            ids: UniqueIds::new(session.ip, std::process::id(), rand::random(), rand::random()),
            faults: fault::Faults::default(),
            messages: Semaphore::new(options.in_flight as usize),
            bytes: Semaphore::new(options.in_flight_bytes as usize),
            _stop: session.drop_guard(),
            session,
            options,
        })))
    }

    /// The id of this producer at brokers.
    pub fn client_id(&self) -> &str {
        &self.0.session.client_id
    }

    /// Sends a message to some queue of its topic; retries on another broker if that can help.
    ///
    /// # Errors
    /// The message is invalid, there is no route, or all attempts failed: then the last one's
    /// error.
    pub async fn send(&self, message: Message) -> Result<Receipt, Error> {
        let prepared = self.0.prepare(message).await?;
        let _room = self.0.room(&prepared).await?;
        self.0.send_anywhere(&prepared).await.map(|stored| stored.receipt(prepared))
    }

    /// Sends messages of one topic together, to one queue. They are stored all or not at all.
    ///
    /// # Errors
    /// As [`Producer::send`]; also if the topics differ, a message is delayed or there is none.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<BatchReceipt, Error> {
        let prepared = self.0.prepare_batch(messages)?;
        let _room = self.0.room(&prepared).await?;
        self.0.send_anywhere(&prepared).await.map(|stored| stored.batch_receipt(prepared))
    }

    /// Sends a message to the queue of its `key`, so that messages of one key are consumed in order
    /// as long as the number of queues stays the same. There is no retry on another queue: that
    /// would break the order.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_ordered(&self, mut message: Message, key: &str) -> Result<Receipt, Error> {
        message.properties.set(rmq_protocol::message::properties::SHARDING_KEY, key);
        let prepared = self.0.prepare(message).await?;
        let _room = self.0.room(&prepared).await?;
        self.0.send_by_key(&prepared, key).await.map(|stored| stored.receipt(prepared))
    }

    /// Sends a message to this queue, once.
    ///
    /// # Errors
    /// As [`Producer::send`]; [`Error::NoBroker`] if the queue's broker group has no master.
    pub async fn send_to(&self, queue: &MessageQueue, message: Message) -> Result<Receipt, Error> {
        let prepared = self.0.prepare(message).await?;
        let _room = self.0.room(&prepared).await?;
        self.0.send_to_queue(&prepared, queue).await.map(|stored| stored.receipt(prepared))
    }

    /// Sends a one-way message: it may be lost without an error.
    ///
    /// # Errors
    /// The message is invalid, there is no route, or the connection is full.
    pub async fn send_one_way(&self, message: Message) -> Result<(), Error> {
        let prepared = self.0.prepare(message).await?;
        let _room = self.0.room(&prepared).await?;
        self.0.send_one_way(&prepared).await
    }

    /// The queues of a topic that can be written, in the order in which [`Producer::send_ordered`]
    /// counts them.
    ///
    /// # Errors
    /// No namesrv answered, or [`Error::NoRoute`].
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, Error> {
        let route = self.0.session.routes.existing(topic).await?;
        Ok(route.write.iter().map(|target| target.queue.clone()).collect())
    }

    /// Waits for the sends in flight, at most for the timeout of a send, leaves the group and
    /// closes the connections. Sends fail from now on.
    pub async fn stop(&self) {
        let inner = &*self.0;
        let all = inner.messages.acquire_many(inner.options.in_flight);
        let waited = tokio::time::timeout(inner.options.timeout, all).await;
        inner.messages.close();
        inner.bytes.close();
        drop(waited);
        inner.session.stop.cancel();
        inner.session.tasks.close();
        inner.session.tasks.wait().await;
        inner.session.leave(Some(&inner.options.group), None).await;
    }
}

impl Inner {
    async fn room(&self, prepared: &Prepared) -> Result<Permit<'_>, Error> {
        let stopped = |_| Error::Stopped;
        let bytes = u32::try_from(prepared.body.len()).unwrap_or(u32::MAX).min(self.options.in_flight_bytes);
        Ok(Permit {
            _message: self.messages.acquire().await.map_err(stopped)?,
            _bytes: self.bytes.acquire_many(bytes).await.map_err(stopped)?,
        })
    }
}
