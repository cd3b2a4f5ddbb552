//! Pulls: reads of one queue for a consumer.
//!
//! | file | what |
//! |---|---|
//! | this | a pull from its arrival to its response |
//! | [`check`] | what a pull may ask for |
//! | [`outcome`] | the response, and the broker to pull from next |
//! | [`long_polling`] | pulls that wait for messages |

mod check;
pub(crate) mod long_polling;
mod outcome;

pub(crate) use outcome::{PullStatus, Pulled};

use crate::{
    admission::AtWork,
    config::{Config, Live},
    core::Core,
    error::Rejection,
    feature::{Feature, Tasks},
    filter::{Filters, Recent},
    group::{members::Consumers, offsets::ConsumerOffsets, subscription::SubscriptionGroups},
    metrics_page::{MetricsPage, Written},
    observe::stats::{Kind, Stats},
    replication::Following,
    response::PendingResponse,
    role::CurrentRole,
    topic::Topics,
};
use check::Checked;
use long_polling::{LongPolling, Parked, WAKERS};
use rmq_protocol::{
    body::Subscription,
    header::{Header, PullMessage, owned},
    message::sys_flag,
};
use rmq_remoting::Connection;
use rmq_store::{GetStatus, Got, MessageStore, QueueOffset};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The limit, in bytes, of the names and the subscription of a pull that is parked.
const MAX_PARKED_TEXT: usize = 16 << 10;

/// An offset that no message will have. Only the deadline ends the wait for it.
const NEVER: QueueOffset = QueueOffset::MAX;

/// Reads queues for consumers.
pub(crate) struct Puller {
    role: Arc<CurrentRole>,
    store: Arc<MessageStore>,
    topics: Arc<Topics>,
    groups: Arc<SubscriptionGroups>,
    consumers: Arc<Consumers>,
    filters: Arc<Filters>,
    recent: Recent,
    offsets: Arc<ConsumerOffsets>,
    long_polling: Arc<LongPolling>,
    following: Arc<Following>,
    settings: Arc<Live>,
    stats: Arc<Stats>,
    at_work: AtWork,
}

/// A pull that is not answered at once.
pub(crate) struct Pull {
    pub(crate) request: owned::PullMessage,
    pub(crate) to: PendingResponse<Pulled>,
}

/// The run of a pull: a parked pull runs again, and for the last time at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    First,
    Again,
    Last,
}

/// Where messages may be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Memory only.
    Memory,
    /// Memory and disk. A read from the disk blocks.
    Disk,
}

/// The result of a run.
enum Outcome {
    /// The messages may have to be read from the disk. The pull must run again where it may block.
    Cold,
    Respond(Pulled),
    /// There is no message yet, and the client accepts to wait.
    Wait {
        /// Where the next run reads: behind the messages that do not match.
        from: QueueOffset,
        /// The queue offset that the pull waits for.
        offset: QueueOffset,
        /// Wakes the pull only for messages whose tag may match.
        subscription: Option<Arc<Subscription>>,
        timeout: Duration,
    },
}

impl Puller {
    pub(crate) fn new(
        core: &Core,
        long_polling: &Arc<LongPolling>,
        following: &Arc<Following>,
        at_work: &AtWork,
    ) -> Self {
        Self {
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            groups: Arc::clone(&core.groups),
            consumers: Arc::clone(&core.consumers),
            filters: Arc::clone(&core.filters),
            recent: Recent::default(),
            offsets: Arc::clone(&core.offsets),
            settings: Arc::clone(&core.settings),
            stats: Arc::clone(&core.stats),
            long_polling: Arc::clone(long_polling),
            following: Arc::clone(following),
            at_work: at_work.clone(),
        }
    }

    /// Runs a pull that has just arrived. Returns a pull that must read from the disk, for
    /// [`Puller::pull_from_disk`].
    pub(crate) fn pull(&self, request: &PullMessage<'_>, to: PendingResponse<Pulled>) -> Option<Pull> {
        self.begin(request, to, Reading::Memory)
    }

    /// Runs a pull that has just arrived, from memory or disk. Blocks.
    pub(crate) fn pull_from_disk(&self, pull: Pull) {
        self.begin(&pull.request.borrowed(), pull.to, Reading::Disk);
    }

    /// Runs a pull for the first time. Its text is copied only if the response has to wait.
    fn begin(&self, request: &PullMessage<'_>, to: PendingResponse<Pulled>, reading: Reading) -> Option<Pull> {
        let now = Instant::now();
        match self.run(request, Run::First, reading) {
            Ok(Outcome::Cold) => return Some(Pull { request: request.clone().into_owned(), to }),
            Ok(Outcome::Respond(pulled)) => to.give(Ok(pulled)),
            Ok(Outcome::Wait { offset, subscription, timeout, .. }) => {
                let pull = Pull { request: request.clone().into_owned(), to };
                let parked = Parked { pull, offset, subscription, deadline: now + timeout, last_try: false };
                return self.park(parked, reading).map(|parked| parked.pull);
            }
            Err(rejection) => to.give(Err(rejection)),
        }
        None
    }

    /// Runs a parked pull again. Returns a pull that must read from the disk, for
    /// [`Puller::resume_from_disk`].
    pub(crate) fn resume(&self, parked: Parked) -> Option<Parked> {
        self.run_again(parked, Reading::Memory)
    }

    /// Runs a parked pull again, from memory or disk. Blocks.
    pub(crate) fn resume_from_disk(&self, parked: Parked) {
        self.run_again(parked, Reading::Disk);
    }

    fn run_again(&self, mut parked: Parked, reading: Reading) -> Option<Parked> {
        if !parked.pull.to.connection().is_open() {
            return None;
        }
        let run = if parked.last_try { Run::Last } else { Run::Again };
        match self.run(&parked.pull.request.borrowed(), run, reading) {
            Ok(Outcome::Cold) => return Some(parked),
            Ok(Outcome::Respond(pulled)) => parked.pull.to.give(Ok(pulled)),
            // The pull was woken for a message that does not match. Its deadline does not change;
            // its response tells the client where to continue.
            Ok(Outcome::Wait { from, offset, .. }) => {
                parked.pull.request.queue_offset = from.to_wire();
                return self.park(Parked { offset, ..parked }, reading);
            }
            Err(rejection) => parked.pull.to.give(Err(rejection)),
        }
        None
    }

    /// Parks a pull. If it cannot be parked, answers it: a moment ago there was nothing to read.
    /// Returns the pull if that needs the disk.
    fn park(&self, mut parked: Parked, reading: Reading) -> Option<Parked> {
        let (queue_id, offset) = (parked.pull.request.queue_id, parked.offset);
        let topic = parked.pull.request.topic.clone();
        let limit = match check::text_len(&parked.pull.request.borrowed()) {
            0..=MAX_PARKED_TEXT => self.settings.load().messages.max_parked,
            _ => 0,
        };
        parked.pull.to.park();
        if let Err(mut parked) = self.long_polling.park(parked, limit) {
            parked.last_try = true;
            return self.run_again(*parked, reading);
        }
        // A message may have arrived between the read and the parking.
        let end = self.store.max_offset(&topic, queue_id);
        if end > offset {
            self.long_polling.moved(&topic, queue_id, end);
        }
        None
    }

    fn run(&self, request: &PullMessage<'_>, run: Run, reading: Reading) -> Result<Outcome, Rejection> {
        let settings = self.settings.load();
        let checked = self.check(request, &settings)?;
        let Some(offset) = QueueOffset::from_wire(request.queue_offset) else {
            return Ok(Outcome::Respond(self.before_the_queue(request, &checked)));
        };
        let Some(mut got) = self.read(request, offset, &checked, reading)? else { return Ok(Outcome::Cold) };
        if run == Run::First {
            self.commit(request, offset, &got);
        }
        let kind = if got.status == GetStatus::Found { Kind::BrokerFound } else { Kind::BrokerMissed };
        self.stats.add(kind, &settings.identity.cluster_name, 1);
        if got.status == GetStatus::Found {
            self.count(request, &got, &settings);
            return Ok(Outcome::Respond(outcome::found(got, &checked, self.slaves_read(&settings))));
        }
        let follows = self.role.is_slave() && self.following.lag().is_some();
        let status = outcome::status_of_nothing(got.status, request.queue_offset, self.role.is_slave(), follows);
        let corrects = matches!(got.status, GetStatus::NoMatchedMessage | GetStatus::MessageWasRemoving);
        if self.role.is_slave() && !corrects {
            // A slave may lack messages that its master has, so it never corrects a client's
            // offset.
            got.next_offset = offset;
        }
        if status == PullStatus::NotFound
            && run != Run::Last
            && let Some(timeout) = check::wait_timeout(request, &settings.messages)
        {
            // The queue has messages beyond the offset, but none that matches. Only the deadline
            // wakes the pull.
            let wait_for = if got.max_offset > got.next_offset { NEVER } else { got.next_offset };
            let subscription = checked.wanted.tags().cloned();
            return Ok(Outcome::Wait { from: offset, offset: wait_for, subscription, timeout });
        }
        if got.status == GetStatus::NoMatchedMessage
            && got.next_offset >= got.max_offset
            && run == Run::Again
            && let Some(timeout) = check::wait_timeout(request, &settings.messages)
        {
            // A rarely matching filter would otherwise cost a request for each message that comes.
            // The first run responds, so that the client's offset moves on.
            let subscription = checked.wanted.tags().cloned();
            return Ok(Outcome::Wait { from: got.next_offset, offset: got.next_offset, subscription, timeout });
        }
        let suggested = if follows && !corrects {
            0
        } else {
            outcome::suggested(&got, &checked.group, self.slaves_read(&settings))
        };
        Ok(Outcome::Respond(outcome::nothing(&got, status, suggested, &checked)))
    }

    /// Reads the queue. Returns `None` if that needs the disk, or a filter that takes long, and
    /// `reading` does not allow it.
    fn read(
        &self,
        request: &PullMessage<'_>,
        offset: QueueOffset,
        checked: &Checked,
        reading: Reading,
    ) -> Result<Option<Got>, Rejection> {
        let (topic, queue_id, limits) = (request.topic, request.queue_id, check::limits(request));
        let blocking = reading == Reading::Disk;
        if checked.wanted.is_heavy() && !blocking {
            return Ok(None);
        }
        Ok(checked.wanted.read(blocking, |filter| match blocking {
            true => self.store.get(topic, queue_id, offset, limits, filter).map(Some),
            false => self.store.get_if_resident(topic, queue_id, offset, limits, filter),
        })?)
    }

    /// Commits the offset that the client had reached when it sent the pull. When a parked pull
    /// runs again, another client may have committed more, or an offset may have been reset. A
    /// client that is ahead of the queue has read a log that lost its end since; the group must not
    /// start there.
    fn commit(&self, request: &PullMessage<'_>, offset: QueueOffset, got: &Got) {
        if request.sys_flag & sys_flag::pull::COMMIT_OFFSET != 0
            && offset <= got.max_offset
            && QueueOffset::from_wire(request.commit_offset).is_some_and(|commit| commit <= got.max_offset)
            && !self.role.is_slave()
        {
            self.offsets.commit(request.topic, request.consumer_group, request.queue_id, request.commit_offset);
        }
    }

    /// The response to a negative offset: the start of the queue, as in Java.
    fn before_the_queue(&self, request: &PullMessage<'_>, checked: &Checked) -> Pulled {
        let min = self.store.min_offset(request.topic, request.queue_id);
        let max = self.store.max_offset(request.topic, request.queue_id);
        outcome::before_the_queue(request.queue_offset, min..=max, checked)
    }

    /// Whether slaves serve reads in this group, or this broker is a slave.
    fn slaves_read(&self, settings: &Config) -> bool {
        settings.replication.slave_read || self.role.is_slave()
    }

    fn count(&self, request: &PullMessage<'_>, got: &Got, settings: &Config) {
        let (messages, bytes) = (got.count as u64, got.size as u64);
        let key = [request.topic, "@", request.consumer_group].concat();
        self.stats.add(Kind::GroupGet, &key, messages);
        self.stats.add(Kind::GroupGetSize, &key, bytes);
        self.stats.add(Kind::BrokerGet, &settings.identity.cluster_name, messages);
        self.offsets.note_pull(request.topic, request.consumer_group, request.queue_id, got.next_offset.to_wire());
    }
}

/// A pull is answered at most this long after its deadline.
const EXPIRE: Duration = Duration::from_millis(500);

impl Feature for Puller {
    /// Drops the parked pulls of the connection.
    fn disconnected(&self, connection: &Connection) {
        self.long_polling.forget(connection);
    }

    fn stop(&self) {
        self.long_polling.release();
    }

    fn start(self: Arc<Self>, tasks: &Tasks) {
        for waker in 0..WAKERS {
            // This task ends after the last connection: the pulls that the stop releases are
            // answered first.
            let (puller, stop, readers) = (Arc::clone(&self), tasks.stop.clone(), tasks.tracker.clone());
            tasks.run("resume parked pulls", async move {
                while let Some(Some(parked)) = stop.run_until_cancelled(puller.long_polling.woken(waker)).await {
                    if let Some(parked) = puller.resume(parked) {
                        let (puller, blocking) = (Arc::clone(&puller), readers.clone());
                        readers.spawn(async move {
                            let thread = puller.at_work.thread().await;
                            blocking.spawn_blocking(move || {
                                puller.resume_from_disk(parked);
                                drop(thread);
                            });
                        });
                    }
                }
            });
        }
        tasks.every("expire parked pulls", EXPIRE, move || {
            self.long_polling.expire(Instant::now());
            std::future::ready(())
        });
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        to.count(
            "rocketmq_broker_parked_pulls",
            "Pulls parked until there are messages for them; beyond maxParkedPulls those of the \
             connections with the most are answered at once.",
            self.long_polling.len(),
        )?;
        to.counter(
            "rocketmq_broker_displaced_pulls_total",
            "Parked pulls answered early, to make room for those of connections with fewer.",
            self.long_polling.displaced() as u64,
        )
    }
}
