//! Sends: the path of messages into the commit log.
//!
//! | file | step |
//! |---|---|
//! | this | a request from its arrival to its acknowledgement |
//! | [`prepare`] | checks, the choice of the queue, what the broker changes in a message |
//! | [`one`], [`batch`] | a single message, and several in one request |
//! | [`properties`] | the property string |
//! | [`stalled`] | messages that wait for preallocated disk blocks |
//! | [`durability`] | messages that wait for the disk or for slaves before they are acknowledged |
//! | [`end_transaction`] | the outcome of a transaction, which stores its message |
//! | [`send_back`] | messages that a consumer sends back for redelivery |
//! | [`reply`] | replies to request messages, which are pushed to the client that waits |

mod batch;
pub(crate) mod durability;
pub(crate) mod end_transaction;
mod one;
mod prepare;
mod properties;
pub(crate) mod reply;
pub(crate) mod send_back;
pub(crate) mod stalled;

use crate::{
    clock::now_millis,
    config::{Config, Live},
    core::Core,
    error::Rejection,
    feature::Feature,
    group::{QueueLocks, subscription::SubscriptionGroups},
    metrics_page::{MetricsPage, WAITING, Written},
    observe::stats::{Kind, Stats},
    registration::Registration,
    replication::Slaves,
    response::PendingResponse,
    role::CurrentRole,
    timer::delay::Delay,
    topic::Topics,
    transaction::Transactions,
};
use bytes::Bytes;
use durability::{Durability, Wanted};
use rmq_protocol::{
    header::SendMessageV2,
    message::{OffsetId, message_id::UniqueIds},
    version::Version,
};
use rmq_store::{Deadline, LogOffset, MessageStore};
use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// The number of deliveries after which a message is a dead letter, unless its group or its client
/// sets another number.
const DEFAULT_TRIES: i32 = 16;

/// A request to store one message, or several.
pub(crate) struct SendRequest<'a> {
    pub(crate) header: SendMessageV2<'a>,
    pub(crate) body: &'a Bytes,
    /// The body holds several messages.
    pub(crate) batch: bool,
    pub(crate) client_version: Version,
    /// The address of the producer.
    pub(crate) born_host: SocketAddr,
}

/// The ids of the stored messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ids {
    One(OffsetId),
    /// The ids of a batch, joined by commas.
    Batch(String),
}

/// The description of a stored message that its producer receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent<'a> {
    pub(crate) ids: Ids,
    pub(crate) queue_id: i32,
    /// The queue offset of the message, or of the first message of a batch.
    pub(crate) queue_offset: i64,
    /// The unique key, which the client or, failing that, the broker gave the message. It may be
    /// empty for a batch.
    pub(crate) unique_key: Cow<'a, str>,
    pub(crate) region: Cow<'a, str>,
    pub(crate) trace_on: bool,
}

impl Sent<'_> {
    fn into_owned(self) -> Sent<'static> {
        Sent {
            unique_key: Cow::Owned(self.unique_key.into_owned()),
            region: Cow::Owned(self.region.into_owned()),
            ..self
        }
    }
}

/// The durability that a stored message has when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Everything that was required.
    All,
    /// The flush timed out. It may still succeed.
    NotDisk,
    /// The replication timed out. It may still succeed.
    NotSlaves,
}

/// The outcome of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledged<'a> {
    /// `None` for a message that was sent back: its response does not describe it.
    pub(crate) sent: Option<Sent<'a>>,
    pub(crate) reached: Reached,
}

/// A stored message, and what must happen before it is acknowledged.
pub(crate) struct Stored<'a> {
    pub(crate) sent: Option<Sent<'a>>,
    /// The log offset of the end of the record.
    pub(crate) end: LogOffset,
    pub(crate) wanted: Wanted,
    /// The message created its topic. The topic table has to be written.
    pub(crate) new_topic: bool,
}

impl Stored<'_> {
    fn into_owned(self) -> Stored<'static> {
        Stored { sent: self.sent.map(Sent::into_owned), ..self }
    }
}

/// A message that waits for disk blocks. Only the append remains.
pub(crate) enum Prepared {
    One(one::Prepared),
    Batch(batch::Prepared),
    Back(send_back::Prepared),
    End(Box<end_transaction::Prepared>),
}

/// What a request has to wait for before it is acknowledged.
pub(crate) enum Waits {
    /// The message is stored. It waits for the disk, for slaves, or for nothing.
    Durability(Stored<'static>),
    /// Preallocated disk blocks. Nothing is stored yet. The flag is set if a topic was created,
    /// which has to be written.
    Blocks { prepared: Prepared, new_topic: bool },
}

/// The result of a send that did not wait.
pub(crate) enum Outcome<'a> {
    Acknowledged(Acknowledged<'a>),
    Waits(Waits),
}

impl<'a> Outcome<'a> {
    fn stored(stored: Stored<'a>) -> Self {
        // The common case avoids the cost of the others.
        if stored.wanted.nothing() && !stored.new_topic {
            return Self::Acknowledged(Acknowledged { sent: stored.sent, reached: Reached::All });
        }
        Self::Waits(Waits::Durability(stored.into_owned()))
    }
}

/// The sends that wait.
pub(crate) struct Waiting {
    /// Requests that wait for disk blocks, and the bytes of memory that they hold.
    pub(crate) blocks: usize,
    pub(crate) block_bytes: usize,
    /// Requests that wait for a flush.
    pub(crate) flush: usize,
    pub(crate) slaves: usize,
    /// The longest time that a request has waited for a flush or for slaves.
    pub(crate) longest: Duration,
}

/// Stores messages and acknowledges them.
pub(crate) struct MessageWriter {
    role: Arc<CurrentRole>,
    store: Arc<MessageStore>,
    topics: Arc<Topics>,
    groups: Arc<SubscriptionGroups>,
    locks: Arc<QueueLocks>,
    delay: Arc<Delay>,
    transactions: Arc<Transactions>,
    registration: Arc<Registration>,
    settings: Arc<Live>,
    stats: Arc<Stats>,
    durability: Arc<Durability>,
    stalled: Arc<stalled::Queue>,
    /// Generates ids for messages whose clients set none.
    unique_ids: UniqueIds,
    /// The host address that is stored in the records.
    store_host: SocketAddr,
    /// The name that clients' message traces show as the region of this broker. It is fixed at the
    /// start.
    region: String,
    /// Tasks of requests that wait.
    tasks: TaskTracker,
    /// The runtime for blocking work.
    runtime: Handle,
}

impl MessageWriter {
    /// Creates a sender. `slaves` reports the offset that replication has confirmed.
    pub(crate) fn new(core: &Core, locks: &Arc<QueueLocks>, slaves: &Arc<Slaves>) -> Self {
        Self {
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            groups: Arc::clone(&core.groups),
            delay: Arc::clone(&core.delay),
            transactions: Arc::clone(&core.transactions),
            registration: Arc::clone(&core.registration),
            settings: Arc::clone(&core.settings),
            stats: Arc::clone(&core.stats),
            locks: Arc::clone(locks),
            durability: Arc::new(Durability::new(
                Arc::clone(&core.store),
                Arc::clone(slaves),
                Arc::clone(&core.settings),
            )),
            stalled: Arc::new(stalled::Queue::new(core.tasks.clone(), core.runtime.clone())),
            unique_ids: UniqueIds::new(core.store_host.ip(), std::process::id(), now_millis() as u32, 0),
            store_host: core.store_host,
            region: core.settings.load().identity.region.clone(),
            tasks: core.tasks.clone(),
            runtime: core.runtime.clone(),
        }
    }

    /// The numbers of sends that wait for disk blocks, a flush or slaves.
    pub(crate) fn waiting(&self) -> Waiting {
        let [flush, slaves] = self.durability.waiting();
        let (blocks, block_bytes) = self.stalled.waiting();
        Waiting { blocks, block_bytes, flush, slaves, longest: self.durability.longest_wait() }
    }

    /// Requests 10, 310, 320: stores the message or messages of a request, unless no disk blocks
    /// are preallocated for them. Does not block.
    pub(crate) fn send<'a>(&'a self, request: &SendRequest<'a>) -> Result<Outcome<'a>, Rejection> {
        let settings = self.settings.load();
        let target = self.target(request, &settings)?;
        if request.batch {
            self.send_batch(request, target, &settings)
        } else {
            self.send_one(request, target, &settings)
        }
    }

    /// Sends the response when the wait is over. Does not block.
    pub(crate) fn wait(self: &Arc<Self>, waits: Waits, to: PendingResponse<Acknowledged<'static>>) {
        match waits {
            Waits::Durability(stored) => self.acknowledge(stored, to),
            Waits::Blocks { prepared, new_topic } => {
                self.persist_topics(new_topic);
                let (writer, memory) = (Arc::clone(self), to.hold_memory());
                self.stalled.enqueue(prepared.bytes(), move |turn| {
                    match turn.and_then(|deadline| writer.append(prepared, deadline)) {
                        Ok(stored) => writer.acknowledge(stored, to),
                        Err(rejection) => to.give(Err(rejection)),
                    }
                    drop(memory);
                });
            }
        }
    }

    /// Appends a message that waited for disk blocks, or refuses it if none are available within
    /// `deadline`. Blocks.
    fn append(&self, prepared: Prepared, deadline: Deadline) -> Result<Stored<'static>, Rejection> {
        let stored = match prepared {
            Prepared::One(one) => self.append_one(one, deadline)?,
            Prepared::Batch(batch) => self.append_batch(&batch, deadline)?.map(Stored::into_owned),
            Prepared::Back(back) => self.append_back(back, deadline)?.ok(),
            Prepared::End(end) => self.append_end(*end, deadline)?.ok(),
        };
        stored.ok_or_else(|| rmq_store::Error::Stalled.into())
    }

    fn acknowledge(&self, stored: Stored<'static>, to: PendingResponse<Acknowledged<'static>>) {
        self.persist_topics(stored.new_topic);
        if stored.wanted.nothing() {
            return to.give(Ok(Acknowledged { sent: stored.sent, reached: Reached::All }));
        }
        self.durability.acknowledge_when_reached(stored, to, &self.tasks);
    }

    /// Schedules a write of the topic table if a message created its topic.
    fn persist_topics(&self, new_topic: bool) {
        // A scheduled write that has not begun covers every topic that is created before it begins.
        if !new_topic || !self.topics.begin_write() {
            return;
        }
        let topics = Arc::clone(&self.topics);
        let write = move || {
            if let Err(error) = topics.write() {
                tracing::warn!(%error, "a new topic cannot be written to disk; it lasts until the broker ends");
            }
        };
        self.tasks.spawn_blocking_on(write, &self.runtime);
    }

    fn count(&self, topic: &str, messages: usize, bytes: usize, settings: &Config) {
        self.stats.add(Kind::TopicPut, topic, messages as u64);
        self.stats.add(Kind::TopicPutSize, topic, bytes as u64);
        self.stats.add(Kind::BrokerPut, &settings.identity.cluster_name, messages as u64);
    }
}

impl Prepared {
    /// The bytes of memory that it holds.
    fn bytes(&self) -> usize {
        match self {
            Self::One(one) => one.bytes(),
            Self::Batch(batch) => batch.bytes(),
            Self::Back(back) => back.bytes(),
            Self::End(end) => end.bytes(),
        }
    }
}

impl Feature for MessageWriter {
    fn metrics(&self, to: &MetricsPage) -> Written {
        let waiting = self.waiting();
        to.row(&WAITING, "blocks", waiting.blocks);
        to.row(&WAITING, "flush", waiting.flush);
        to.row(&WAITING, "slaves", waiting.slaves);
        to.count(
            "rocketmq_broker_stalled_send_bytes",
            "Memory of sends that wait for disk blocks, as the disk is slow; beyond 64 MiB more are refused as busy.",
            waiting.block_bytes,
        )
    }
}
