//! From a request's code to its handler: one line an arm.
//!
//! | way | where a request is handled | for |
//! |---|---|---|
//! | now | on the connection's task | what only touches memory |
//! | disk | on a blocking thread, with a turn | what reads or writes files |
//! | in turn | on a task, with a turn | answers that may be large, and tasks that use blocking threads |
//! | later | on a task, without a turn | what waits for other processes: clients, namesrvs |
//!
//! Sends are handled now; they go on later if they must wait for a flush, for slaves or, on a slow
//! disk, for blocks ([`stalled`]). Pulls are handled now while their messages are in memory, as
//! those of consumers that keep up are, so a consumer that reads old messages holds up no other
//! one.
//!
//! A connection has a few turns at a time, and none while its peer leaves too many answers unread.
//! Requests that wait for a turn are bounded by their connection and by the memory that they take:
//! the connection is not read from ([`Responder::turn`]). Only requests that have a turn count in
//! [`MAX_AT_WORK`], so peers that do not read their answers take no places from others.

use crate::{
    admin::{
        broker::BrokerAdmin, consumer::ConsumerAdmin, group::GroupAdmin, query_message::Query, relay::Relay,
        topic::TopicAdmin,
    },
    error::{Answer, Rejection},
    group::{heartbeat::Clients, lock_queue::Locks, offsets::requests::Offsets},
    observe::metrics::Metrics,
    pull::Pull,
    replication::{LogCheck, requests::Tables},
    send::{
        Send,
        durability::Durability,
        reply::Replies,
        send_back::SendBack,
        stalled::{self, Attempt},
    },
};
use rmq_protocol::{Command, Reply, RequestCode, ResponseCode};
use rmq_remoting::{Connection, Handler, Responder, Turn};
use rmq_store::Patience;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Requests of all connections that may be at work on blocking threads, or wait for one with a
/// turn. More are refused with the answer that Java gives when it is overloaded.
pub(crate) const MAX_AT_WORK: usize = 10_000;

/// How many of [`MAX_AT_WORK`] there are. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct AtWork(Arc<AtomicUsize>);

/// One of them; the place is free again when this is dropped.
pub(crate) struct Place(AtWork);

impl AtWork {
    /// How many requests are at work now.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// A place for one more request, if there is one.
    pub(crate) fn enter(&self) -> Option<Place> {
        // The place is given back when there were too many: the number is above the limit for a
        // moment only.
        let place = Place(self.clone());
        (self.0.fetch_add(1, Relaxed) < MAX_AT_WORK).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// All handlers of a broker.
pub(crate) struct Dispatch {
    pub(crate) send: Arc<Send>,
    pub(crate) send_back: Arc<SendBack>,
    pub(crate) replies: Arc<Replies>,
    pub(crate) pull: Arc<Pull>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) locks: Arc<Locks>,
    pub(crate) query: Arc<Query>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) topic_admin: Arc<TopicAdmin>,
    pub(crate) group_admin: Arc<GroupAdmin>,
    pub(crate) consumer_admin: Arc<ConsumerAdmin>,
    pub(crate) broker_admin: Arc<BrokerAdmin>,
    pub(crate) log_check: Arc<LogCheck>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stalled: Arc<stalled::Line>,
    pub(crate) at_work: AtWork,
    /// Tasks of requests that wait; ended before the store is closed.
    pub(crate) tasks: TaskTracker,
    /// Where requests are handled that are not handled on their connection's thread. Answers of
    /// sends that wait for a disk or a slave stay on that thread.
    pub(crate) runtime: Handle,
}

impl Handler for Dispatch {
    fn handle(&self, request: Command, responder: Responder) {
        let started = Instant::now();
        let number = request.code;
        match RequestCode::from_number(number) {
            Some(code) if self.log_check.is_open() || is_answered_unchecked(code) => {
                self.route(code, request, responder)
            }
            Some(_) => responder.reply(&self.log_check.refusal().into_reply()),
            None => responder.reply(&unsupported(number)),
        }
        self.metrics.handled(number, started.elapsed());
    }

    fn has_body(&self, code: i32) -> bool {
        RequestCode::from_number(code).is_some_and(has_body)
    }

    fn closed(&self, connection: &Connection) {
        self.pull.long_polling.forget(connection);
        self.clients.disconnected(connection);
    }
}

/// Requests that a master answers before its log was checked: what tools and other members need to
/// decide about it. All others would see, or change, a state that a copy of another log replaces.
fn is_answered_unchecked(code: RequestCode) -> bool {
    use RequestCode as C;
    matches!(
        code,
        C::RecoverMaster
            | C::BrokerRuntimeInfo
            | C::BrokerConfig
            | C::UpdateBrokerConfig
            | C::BrokerHaStatus
            | C::ExchangeBrokerHaInfo
    )
}

/// The requests whose bodies are read here.
fn has_body(code: RequestCode) -> bool {
    use RequestCode as C;
    matches!(
        code,
        C::SendMessage
            | C::SendMessageV2
            | C::SendBatchMessage
            | C::SendReplyMessage
            | C::SendReplyMessageV2
            | C::HeartBeat
            | C::CheckClientConfig
            | C::LockBatchQueues
            | C::UnlockBatchQueues
            | C::UpdateAndCreateTopicList
            | C::UpdateAndCreateSubscriptionGroup
            | C::UpdateAndCreateSubscriptionGroupList
            | C::UpdateBrokerConfig
    )
}

/// Of these the requests that wait for a turn or for other processes. Sends that wait are copied
/// when they begin to.
fn waits_with_its_body(code: RequestCode) -> bool {
    use RequestCode as C;
    matches!(
        code,
        C::SendReplyMessage
            | C::SendReplyMessageV2
            | C::UpdateAndCreateTopicList
            | C::UpdateAndCreateSubscriptionGroup
            | C::UpdateAndCreateSubscriptionGroupList
            | C::UpdateBrokerConfig
    )
}

fn unsupported(number: i32) -> Reply {
    Reply::refuse(ResponseCode::RequestCodeNotSupported, format!("request type {number} not supported"))
}

/// The border: a handler's answer becomes the answer on the wire.
fn reply(answer: Answer) -> Reply {
    answer.unwrap_or_else(Rejection::into_reply)
}

impl Dispatch {
    fn route(&self, code: RequestCode, mut request: Command, to: Responder) {
        use RequestCode as C;
        if waits_with_its_body(code) {
            request.detach_body();
        }
        match code {
            C::SendMessage | C::SendMessageV2 | C::SendBatchMessage => self.send(code, request, to),
            C::ConsumerSendMessageBack => self.disk(to, {
                let (after, send_back, line) =
                    (self.after_send(), Arc::clone(&self.send_back), Arc::clone(&self.stalled));
                // Blocking threads are not for this wait either: see `stalled`.
                move |to| match send_back.send_back(&request, Patience::None) {
                    Ok(Attempt::Stalled { new_topic }) => {
                        let again = move |request: &Command, patience| send_back.send_back(request, patience);
                        after.finish_in_turn(&line, new_topic, request, to, again);
                    }
                    attempt => after.finish(attempt, to),
                }
            }),
            C::SendReplyMessage | C::SendReplyMessageV2 => self.later(to, &self.replies, async move |replies, to| {
                let from = to.connection().peer();
                to.reply(&replies.reply(code, request, from).await);
            }),
            C::PullMessage | C::LitePullMessage => {
                if let Some((request, to)) = self.pull.pull(request, to) {
                    let pull = Arc::clone(&self.pull);
                    self.disk(to, move |to| pull.pull_from_disk(request, to));
                }
            }

            C::HeartBeat => self.heartbeat(&request, to),
            C::UnregisterClient => to.reply(&reply(self.clients.unregister(&request))),
            C::ConsumerListByGroup => to.reply(&reply(self.clients.consumer_ids(&request))),
            C::CheckClientConfig => to.reply(&reply(self.clients.check_expression(&request))),

            C::QueryConsumerOffset => match self.offsets.committed(&request) {
                Some(answer) => to.reply(&reply(answer)),
                None => self.on_disk(to, &self.offsets, move |offsets| offsets.query(&request)),
            },
            C::UpdateConsumerOffset => to.reply(&reply(self.offsets.update(&request))),
            C::MaxOffset => to.reply(&reply(self.offsets.max(&request))),
            C::MinOffset => to.reply(&reply(self.offsets.min(&request))),
            C::SearchOffsetByTimestamp => self.on_disk(to, &self.offsets, move |offsets| offsets.search(&request)),
            C::EarliestMessageStoreTime => self.on_disk(to, &self.offsets, move |offsets| offsets.earliest(&request)),

            C::LockBatchQueues => to.reply(&reply(self.locks.lock(&request))),
            C::UnlockBatchQueues => to.reply(&reply(self.locks.unlock(&request))),

            C::QueryMessage => self.on_disk(to, &self.query, move |query| query.by_key(&request)),
            C::ViewMessageById => self.on_disk(to, &self.query, move |query| query.by_place(&request)),

            C::AllTopicConfig => self.in_turn(to, &self.tables, async move |tables| tables.topics(&request).await),
            C::AllSubscriptionGroupConfig => {
                self.in_turn(to, &self.tables, async move |tables| tables.groups(&request).await);
            }
            C::AllConsumerOffset => self.in_turn(to, &self.tables, async |tables| tables.consumer_offsets().await),
            C::AllDelayOffset => to.reply(&reply(self.tables.delay_offsets())),
            C::AllMessageRequestMode => to.reply(&reply(self.tables.request_modes())),
            C::ExchangeBrokerHaInfo => to.reply(&reply(self.tables.exchange(&request))),
            C::BrokerHaStatus => to.reply(&reply(self.tables.status())),
            C::RecoverMaster => to.reply(&reply(self.log_check.decide(&request))),

            C::InvokeBrokerToResetOffset => self.on_disk(to, &self.relay, move |relay| relay.reset_offset(&request)),
            C::InvokeBrokerToGetConsumerStatus => self.later(to, &self.relay, async move |relay, to| {
                to.reply(&reply(relay.consumer_status(request).await));
            }),
            C::ConsumerRunningInfo => {
                self.later(to, &self.relay, async move |relay, to| relay.running_info(request, to).await)
            }
            C::ConsumeMessageDirectly => {
                self.later(to, &self.relay, async move |relay, to| relay.consume_directly(request, to).await)
            }

            C::UpdateAndCreateTopic => {
                self.later(to, &self.topic_admin, async move |admin, to| to.reply(&reply(admin.create(request).await)))
            }
            C::UpdateAndCreateTopicList => {
                self.later(to, &self.topic_admin, async move |admin, to| {
                    to.reply(&reply(admin.create_several(request).await))
                });
            }
            C::DeleteTopicInBroker => {
                self.in_turn(to, &self.topic_admin, async move |admin| admin.delete(request).await);
            }
            C::TopicStatsInfo => self.on_disk(to, &self.topic_admin, move |admin| admin.stats(&request)),
            C::QueryTopicConsumeByWho => self.on_disk(to, &self.topic_admin, move |admin| admin.groups(&request)),
            C::SystemTopicListFromBroker => self.on_disk(to, &self.topic_admin, move |admin| admin.system_topics()),
            C::TopicConfig => to.reply(&reply(self.topic_admin.one(&request))),

            C::UpdateAndCreateSubscriptionGroup => {
                self.in_turn(to, &self.group_admin, async move |admin| admin.create(request).await);
            }
            C::UpdateAndCreateSubscriptionGroupList => {
                self.in_turn(to, &self.group_admin, async move |admin| admin.create_several(request).await);
            }
            C::DeleteSubscriptionGroup => {
                self.in_turn(to, &self.group_admin, async move |admin| admin.delete(request).await);
            }
            C::SubscriptionGroupConfig => to.reply(&reply(self.group_admin.one(&request))),

            C::ConsumerConnectionList => {
                self.on_disk(to, &self.consumer_admin, move |admin| admin.consumer_connections(&request));
            }
            C::ProducerConnectionList => {
                self.on_disk(to, &self.consumer_admin, move |admin| admin.producer_connections(&request));
            }
            C::AllProducerInfo => self.on_disk(to, &self.consumer_admin, move |admin| admin.producers()),
            C::ConsumeStats => self.on_disk(to, &self.consumer_admin, move |admin| admin.consume_stats(&request)),
            C::BrokerConsumeStats => self.on_disk(to, &self.consumer_admin, move |admin| admin.all_consume_stats()),
            C::QueryConsumeTimeSpan => self.on_disk(to, &self.consumer_admin, move |admin| admin.time_spans(&request)),
            C::CloneGroupOffset => self.on_disk(to, &self.consumer_admin, move |admin| admin.clone_offsets(&request)),
            C::QueryCorrectionOffset => {
                self.on_disk(to, &self.consumer_admin, move |admin| admin.correction_offsets(&request));
            }

            C::UpdateBrokerConfig => self.on_disk(to, &self.broker_admin, move |admin| admin.update_config(&request)),
            // It waits for a change that is being written.
            C::BrokerConfig => self.on_disk(to, &self.broker_admin, |admin| admin.config()),
            C::BrokerRuntimeInfo => self.on_disk(to, &self.broker_admin, move |admin| admin.runtime_info()),
            C::ViewBrokerStatsData => to.reply(&reply(self.broker_admin.stats(&request))),
            C::DeleteExpiredCommitLog => self.on_disk(to, &self.broker_admin, move |admin| admin.delete_expired()),
            C::CleanExpiredConsumeQueue => self.on_disk(to, &self.broker_admin, move |admin| admin.clean_queues()),
            C::CleanUnusedTopic => self.on_disk(to, &self.broker_admin, move |admin| admin.clean_unused()),
            C::QueryConsumeQueue => self.on_disk(to, &self.broker_admin, move |admin| admin.consume_queue(&request)),

            // Codes of namesrvs, of clients, and of what this broker does not have.
            other => to.reply(&unsupported(other.number())),
        }
    }
}

/// What follows a send: persist the topic it made, and answer when the message is where it has to
/// be.
struct AfterSend {
    durability: Arc<Durability>,
    topics: Arc<crate::topic::Topics>,
    tasks: TaskTracker,
    runtime: Handle,
}

impl AfterSend {
    /// There were no blocks for what `request` brings: `again` makes another attempt when its turn
    /// has come.
    fn finish_in_turn(
        self,
        line: &Arc<stalled::Line>,
        new_topic: bool,
        mut request: Command,
        to: Responder,
        again: impl FnOnce(&Command, Patience) -> Result<Attempt, Rejection> + std::marker::Send + 'static,
    ) {
        self.persist(new_topic);
        request.detach_body();
        let memory = to.hold_memory();
        line.stand(request.bytes(), move |turn| {
            self.finish(turn.and_then(|patience| again(&request, patience)), to);
            drop(memory);
        });
    }

    fn finish(&self, attempt: Result<Attempt, Rejection>, to: Responder) {
        if let Ok(Attempt::Stalled { new_topic }) = attempt {
            self.persist(new_topic);
        }
        let stored = match attempt.and_then(Attempt::last) {
            Ok(stored) => stored,
            Err(rejection) => return to.reply(&rejection.into_reply()),
        };
        self.persist(stored.new_topic.is_some());
        if stored.wanted.nothing() {
            return to.reply(&stored.reply);
        }
        self.durability.answer_when_reached(stored, to, &self.tasks);
    }

    fn persist(&self, new_topic: bool) {
        if !new_topic {
            return;
        }
        // One write that has yet to begin covers all topics that are made until then.
        if !self.topics.begin_write() {
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
}

impl Dispatch {
    fn after_send(&self) -> AfterSend {
        AfterSend {
            durability: Arc::clone(&self.send.durability),
            topics: Arc::clone(&self.send.topics),
            tasks: self.tasks.clone(),
            runtime: self.runtime.clone(),
        }
    }

    fn send(&self, code: RequestCode, request: Command, to: Responder) {
        let from = to.connection().peer();
        match self.send.send(code, &request, from, Patience::None) {
            // The common case needs none of what the others do.
            Ok(Attempt::Stored(stored)) if stored.wanted.nothing() && stored.new_topic.is_none() => {
                to.reply(&stored.reply);
            }
            Ok(Attempt::Stalled { new_topic }) => {
                let send = Arc::clone(&self.send);
                let again = move |request: &Command, patience| send.send(code, request, from, patience);
                self.after_send().finish_in_turn(&self.stalled, new_topic, request, to, again);
            }
            attempt => self.after_send().finish(attempt, to),
        }
    }

    fn heartbeat(&self, request: &Command, to: Responder) {
        match self.clients.heartbeat(request, to.connection()) {
            Err(rejection) => to.reply(&rejection.into_reply()),
            Ok((answer, made)) => {
                to.reply(&answer);
                if made == crate::group::heartbeat::Made::default() {
                    return;
                }
                let topics =
                    (made.topics && self.clients.topics.begin_write()).then(|| Arc::clone(&self.clients.topics));
                let groups =
                    (made.groups && self.clients.groups.begin_write()).then(|| Arc::clone(&self.clients.groups));
                if topics.is_none() && groups.is_none() {
                    return;
                }
                let write = move || {
                    let written = topics.map_or(Ok(()), |topics| topics.write());
                    if let Err(error) = groups.map_or(Ok(()), |groups| groups.write()).and(written) {
                        tracing::warn!(%error, "a new group cannot be written to disk; it lasts until the broker ends");
                    }
                };
                self.tasks.spawn_blocking_on(write, &self.runtime);
            }
        }
    }

    /// On a blocking thread, with a turn of its connection.
    fn disk(&self, to: Responder, work: impl FnOnce(Responder) + std::marker::Send + 'static) {
        if let Some(turn) = to.try_turn() {
            return work_on_thread(&self.at_work, &self.tasks, &self.runtime, turn, to, work);
        }
        let (at_work, tasks, runtime) = (self.at_work.clone(), self.tasks.clone(), self.runtime.clone());
        let turn = to.turn();
        let wait = async move {
            if let Some(turn) = turn.await {
                work_on_thread(&at_work, &tasks, &runtime, turn, to, work);
            }
        };
        self.tasks.spawn_on(wait, &self.runtime);
    }

    /// On a task, with a turn of its connection.
    fn in_turn<H, F>(
        &self,
        to: Responder,
        handler: &Arc<H>,
        work: impl FnOnce(Arc<H>) -> F + std::marker::Send + 'static,
    ) where
        H: std::marker::Send + Sync + 'static,
        F: Future<Output = Answer> + std::marker::Send + 'static,
    {
        let (handler, at_work, turn) = (Arc::clone(handler), self.at_work.clone(), to.turn());
        let answer = async move {
            let Some(turn) = turn.await else { return };
            match at_work.enter() {
                Some(place) => {
                    to.reply(&reply(work(handler).await));
                    drop((place, turn));
                }
                None => to.reply(&overloaded()),
            }
        };
        self.tasks.spawn_on(answer, &self.runtime);
    }

    fn on_disk<H>(&self, to: Responder, handler: &Arc<H>, work: impl FnOnce(&H) -> Answer + std::marker::Send + 'static)
    where
        H: std::marker::Send + Sync + 'static,
    {
        let handler = Arc::clone(handler);
        self.disk(to, move |to| to.reply(&reply(work(&handler))));
    }

    /// On a task of its own, without a turn. Such requests are bounded by their connection, as
    /// those that wait for a turn are.
    fn later<H, F>(&self, to: Responder, handler: &Arc<H>, work: impl FnOnce(Arc<H>, Responder) -> F)
    where
        F: Future<Output = ()> + std::marker::Send + 'static,
    {
        let deferred = to.defer();
        let work = work(Arc::clone(handler), to);
        let work = async move {
            work.await;
            drop(deferred);
        };
        self.tasks.spawn_on(work, &self.runtime);
    }
}

fn work_on_thread(
    at_work: &AtWork,
    tasks: &TaskTracker,
    runtime: &Handle,
    turn: Turn,
    to: Responder,
    work: impl FnOnce(Responder) + std::marker::Send + 'static,
) {
    let Some(place) = at_work.enter() else { return to.reply(&overloaded()) };
    let work = move || {
        work(to);
        drop((place, turn));
    };
    tasks.spawn_blocking_on(work, runtime);
}

fn overloaded() -> Reply {
    Reply::refuse(
        ResponseCode::SystemBusy,
        format!("[OVERLOAD]system busy, {MAX_AT_WORK} requests are at work already; try again later"),
    )
}
