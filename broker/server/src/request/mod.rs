//! The border between frames and features: it turns a frame into its response.
//!
//! | file | step |
//! |---|---|
//! | [`decode`] | request code and frame -> typed request, once |
//! | this | typed request -> feature, in its lane: one line per request |
//! | [`lanes`] | where a request is run |
//! | [`response`] | outcome -> response code and frame, once |
//! | [`unserved`] | why a request is not served |
//!
//! Sends are run on the connection's task. A send that must wait for a flush, for slaves or, on a
//! slow disk, for preallocated blocks continues elsewhere. Pulls are run on the connection's task
//! while their messages are in memory, which is the case for consumers that keep up. So a consumer
//! that reads old messages does not delay other consumers.

mod decode;
mod lanes;
mod response;
mod unserved;

pub(crate) use lanes::Lanes;

use crate::{
    admin::{
        broker::BrokerAdmin, consumer::ConsumerAdmin, group::GroupAdmin, query_message::Query, relay::Relay,
        topic::TopicAdmin,
    },
    client::{heartbeat::Clients, lock_queue::Locks, offsets::Offsets},
    error::Rejection,
    feature::List,
    observe::requests::Requests,
    pull::{Pull, Puller},
    replication::{LogCheck, requests::Tables},
    response::PendingResponse,
    send::{MessageWriter, Outcome, SendRequest, reply::Replies, send_back::SendBackRequest},
};
use decode::Request;
use response::outcome;
use rmq_protocol::{
    Command, Reply, RequestCode,
    header::{PullMessage, owned},
};
use rmq_remoting::{Connection, Handler, Responder};
use std::{sync::Arc, time::Instant};

/// The features that answer requests.
pub(crate) struct Features {
    pub(crate) writer: Arc<MessageWriter>,
    pub(crate) replies: Replies,
    pub(crate) puller: Arc<Puller>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) offsets: Offsets,
    pub(crate) locks: Locks,
    pub(crate) query: Query,
    pub(crate) relay: Arc<Relay>,
    pub(crate) tables: Tables,
    pub(crate) topic_admin: TopicAdmin,
    pub(crate) group_admin: GroupAdmin,
    pub(crate) consumer_admin: ConsumerAdmin,
    pub(crate) broker_admin: BrokerAdmin,
    pub(crate) log_check: Arc<LogCheck>,
}

/// Answers the requests of all connections.
pub(crate) struct RequestHandler {
    pub(crate) features: Arc<Features>,
    /// Told of connections that end.
    pub(crate) list: List,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) requests: Arc<Requests>,
}

impl Handler for RequestHandler {
    fn handle(&self, command: Command, to: Responder) {
        let started = Instant::now();
        let number = command.code;
        match RequestCode::from_number(number) {
            Some(code) if self.features.log_check.is_open() || is_allowed_unchecked(code) => {
                self.respond(code, command, to);
            }
            Some(_) => to.reply(&response::refused(self.features.log_check.refusal())),
            None => to.reply(&response::unsupported(number)),
        }
        self.requests.handled(number, started.elapsed());
    }

    fn has_body(&self, code: i32) -> bool {
        RequestCode::from_number(code).is_some_and(decode::has_body)
    }

    fn closed(&self, connection: &Connection) {
        self.list.iter().for_each(|feature| feature.disconnected(connection));
    }
}

/// Whether a master answers the request before its log check has ended. These are the requests that
/// tools and other members need for the decision about the log. Every other request would read, or
/// change, state that a copy of another log may replace.
fn is_allowed_unchecked(code: RequestCode) -> bool {
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

impl RequestHandler {
    fn respond(&self, code: RequestCode, command: Command, to: Responder) {
        match decode::decode(code, &command, to.connection().peer()) {
            Ok(Some(request)) => self.run(request, &command, to),
            Ok(None) => to.reply(&response::unsupported(command.code)),
            Err(rejection) => to.reply(&response::refused(rejection)),
        }
    }

    fn run(&self, request: Request<'_>, command: &Command, to: Responder) {
        use Request as R;
        let f = &*self.features;
        match request {
            R::Send(request) => self.send(&request, to),
            R::SendBack(request) => self.send_back(request, to),
            R::Reply { v2 } => self.reply(v2, command.clone(), to),
            R::EndTransaction(request) => self.end_transaction(request, to),
            R::ResumeCheck(r) => self.blocking(to, move |f| outcome(f.writer.resume_check(&r), response::done)),
            R::Pull(request) => self.pull(&request, to),
            R::QueryMessage(r) => self.blocking(to, move |f| outcome(f.query.by_key(&r), response::messages)),
            R::ViewMessage(r) => self.blocking(to, move |f| outcome(f.query.by_place(&r), response::bytes)),

            R::Heartbeat(r) => {
                let heard = f.clients.heartbeat(r, to.connection());
                to.reply(&outcome(heard, response::heartbeat));
            }
            R::UnregisterClient(r) => {
                f.clients.unregister(&r);
                to.reply(&response::done(()));
            }
            R::ConsumerIds(r) => to.reply(&outcome(f.clients.consumer_ids(&r), response::bytes)),
            R::CheckClientConfig(r) => to.reply(&outcome(f.clients.check_expression(&r), response::done)),
            R::LockQueues(r) => to.reply(&outcome(f.locks.lock(r), response::json)),
            R::UnlockQueues(r) => {
                f.locks.unlock(&r);
                to.reply(&response::done(()));
            }
            R::QueryOffset(r) => match f.offsets.committed(&r) {
                Some(offset) => to.reply(&response::offset(offset)),
                None => self.blocking(to, move |f| outcome(f.offsets.query(&r), response::offset)),
            },
            R::UpdateOffset { header, one_way } => {
                to.reply(&outcome(f.offsets.update(&header, one_way), response::done));
            }
            R::MaxOffset(r) => to.reply(&outcome(f.offsets.max(&r), response::offset)),
            R::MinOffset(r) => to.reply(&outcome(f.offsets.min(&r), response::offset)),
            R::EarliestTime(r) => self.blocking(to, move |f| outcome(f.offsets.earliest(&r), response::timestamp)),
            R::SearchOffset(r) => self.blocking(to, move |f| outcome(f.offsets.search(&r), response::offset)),

            R::CreateGroups(body) => self.in_turn(to, async move |f| match body.parse() {
                Ok(groups) => outcome(f.group_admin.create(groups).await, response::done),
                Err(rejection) => response::refused(rejection),
            }),
            R::DeleteGroup(r) => {
                self.in_turn(to, async move |f| outcome(f.group_admin.delete(&r).await, response::done))
            }
            R::Group(r) => to.reply(&outcome(f.group_admin.one(&r), response::json)),
            R::ConsumerConnections(r) => {
                self.blocking(to, move |f| outcome(f.consumer_admin.consumer_connections(&r), response::json));
            }
            R::ProducerConnections(r) => {
                self.blocking(to, move |f| outcome(f.consumer_admin.producer_connections(&r), response::json));
            }
            R::Producers => self.blocking(to, |f| response::json(f.consumer_admin.producers())),
            R::ConsumeStats(r) => {
                self.blocking(to, move |f| outcome(f.consumer_admin.consume_stats(&r), response::json));
            }
            R::AllConsumeStats(r) => {
                self.blocking(to, move |f| response::json(f.consumer_admin.all_consume_stats(&r)));
            }
            R::ConsumeTimeSpan(r) => {
                self.blocking(to, move |f| outcome(f.consumer_admin.time_spans(&r), response::json));
            }
            R::CloneOffsets(r) => {
                self.blocking(to, move |f| outcome(f.consumer_admin.clone_offsets(&r), response::done));
            }
            R::CorrectionOffsets(r) => {
                self.blocking(to, move |f| outcome(f.consumer_admin.correction_offsets(&r), response::json));
            }
            R::ResetOffset(r) => self.blocking(to, move |f| outcome(f.relay.reset_offset(&r), response::json)),
            R::ConsumerStatus(r) => self.waiting(to, async move |f, to| {
                to.reply(&outcome(f.relay.consumer_status(&r).await, response::json));
            }),
            R::ConsumerRunningInfo(r) => {
                let command = command.clone();
                self.waiting(to, async move |f, to| pass_on(f.relay.running_info(&r, command).await, to));
            }
            R::ConsumeDirectly(r) => self.consume_directly(r, command.clone(), to),

            R::CreateTopic(r) => self.waiting(to, async move |f, to| {
                to.reply(&outcome(f.topic_admin.create(&r).await, response::done));
            }),
            R::CreateTopics(body) => self.waiting(to, async move |f, to| {
                to.reply(&match body.parse() {
                    Ok(topics) => outcome(f.topic_admin.create_several(topics).await, response::done),
                    Err(rejection) => response::refused(rejection),
                });
            }),
            R::DeleteTopic(r) => {
                self.in_turn(to, async move |f| outcome(f.topic_admin.delete(&r).await, response::done))
            }
            R::Topic(r) => to.reply(&outcome(f.topic_admin.one(&r), response::json)),
            R::TopicStats(r) => self.blocking(to, move |f| outcome(f.topic_admin.stats(&r), response::json)),
            R::TopicGroups(r) => self.blocking(to, move |f| response::json(f.topic_admin.groups(&r))),
            R::SystemTopics => self.blocking(to, |f| response::json(f.topic_admin.system_topics())),

            R::UpdateConfig(text) => {
                self.blocking(to, move |f| outcome(f.broker_admin.update_config(&text), response::changed_settings));
            }
            // A read of the settings waits for a change that is being written.
            R::Config => self.blocking(to, |f| response::settings(f.broker_admin.config())),
            R::RuntimeInfo => self.blocking(to, |f| response::json(f.broker_admin.runtime_info())),
            R::Stats(r) => to.reply(&outcome(f.broker_admin.stats(&r), response::json)),
            R::DeleteExpired => self.blocking(to, |f| outcome(f.broker_admin.delete_expired(), response::done)),
            R::CleanQueues => self.blocking(to, |f| outcome(f.broker_admin.clean_queues(), response::done)),
            // Tools print that there is no table where the answer has no body.
            R::ColdDataFlow => to.reply(&response::done(())),
            R::CleanUnusedTopics => self.blocking(to, |f| outcome(f.broker_admin.clean_unused(), response::done)),
            R::ConsumeQueue(r) => self.blocking(to, move |f| outcome(f.broker_admin.consume_queue(&r), response::json)),

            R::AllTopics(r) => {
                self.in_turn(to, async move |f| outcome(f.tables.topics(&r).await, response::topic_table))
            }
            R::AllGroups(r) => {
                self.in_turn(to, async move |f| outcome(f.tables.groups(&r).await, response::group_table))
            }
            R::AllOffsets => {
                self.in_turn(to, async move |f| outcome(f.tables.consumer_offsets().await, response::bytes));
            }
            R::AllDelayOffsets => to.reply(&response::json(f.tables.delay_offsets())),
            R::AllRequestModes => to.reply(&response::request_modes()),
            R::ExchangeHaInfo(r) => to.reply(&response::ha_info(f.tables.exchange(&r))),
            R::ResetFlushOffset(r) => to.reply(&outcome(f.tables.reset_flush_offset(&r), response::done)),
            R::HaStatus => to.reply(&response::json(f.tables.status())),
            R::RecoverMaster(r) => to.reply(&outcome(f.log_check.decide(&r), response::done)),
        }
    }

    fn send(&self, request: &SendRequest<'_>, to: Responder) {
        let writer = &self.features.writer;
        match writer.send(request) {
            Ok(Outcome::Acknowledged(acknowledged)) => to.reply(&response::acknowledged(Ok(acknowledged))),
            Ok(Outcome::Waits(waits)) => writer.wait(waits, PendingResponse::new(to, response::acknowledged)),
            Err(rejection) => to.reply(&response::refused(rejection)),
        }
    }

    fn send_back(&self, request: SendBackRequest, to: Responder) {
        let features = Arc::clone(&self.features);
        self.lanes.blocking(to, move |to| match features.writer.send_back(&request) {
            Ok(Outcome::Acknowledged(acknowledged)) => to.reply(&response::acknowledged(Ok(acknowledged))),
            Ok(Outcome::Waits(waits)) => features.writer.wait(waits, PendingResponse::new(to, response::acknowledged)),
            Err(rejection) => to.reply(&response::refused(rejection)),
        });
    }

    fn end_transaction(&self, request: owned::EndTransaction, to: Responder) {
        let features = Arc::clone(&self.features);
        self.lanes.blocking(to, move |to| match features.writer.end_transaction(&request) {
            Ok(Outcome::Acknowledged(acknowledged)) => to.reply(&response::acknowledged(Ok(acknowledged))),
            Ok(Outcome::Waits(waits)) => features.writer.wait(waits, PendingResponse::new(to, response::acknowledged)),
            Err(rejection) => to.reply(&response::refused(rejection)),
        });
    }

    fn reply(&self, v2: bool, mut command: Command, to: Responder) {
        command.detach_body();
        self.waiting(to, async move |f, to| {
            let stored = match decode::reply(v2, &command, to.connection().peer()) {
                Ok(request) => f.replies.reply(&request).await,
                Err(rejection) => Err(rejection),
            };
            to.reply(&response::acknowledged(stored));
        });
    }

    fn pull(&self, request: &PullMessage<'_>, to: Responder) {
        let to = PendingResponse::new(to, response::pulled);
        let Some(Pull { request, to }) = self.features.puller.pull(request, to) else { return };
        let puller = Arc::clone(&self.features.puller);
        self.lanes.blocking(to.into_responder(), move |to| {
            puller.pull_from_disk(Pull { request, to: PendingResponse::new(to, response::pulled) });
        });
    }

    fn consume_directly(&self, request: owned::ConsumeMessageDirectly, command: Command, to: Responder) {
        self.waiting(to, async move |f, to| {
            let Some(turn) = to.turn().await else { return };
            pass_on(Arc::clone(&f.relay).consume_directly(request, command, turn).await, to);
        });
    }

    fn blocking(&self, to: Responder, work: impl FnOnce(&Features) -> Reply + Send + 'static) {
        let features = Arc::clone(&self.features);
        self.lanes.blocking(to, move |to| to.reply(&work(&features)));
    }

    fn in_turn<F>(&self, to: Responder, work: impl FnOnce(Arc<Features>) -> F)
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        self.lanes.in_turn(to, work(Arc::clone(&self.features)));
    }

    fn waiting<F>(&self, to: Responder, work: impl FnOnce(Arc<Features>, Responder) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let features = Arc::clone(&self.features);
        self.lanes.waiting(to, |to| work(features, to));
    }
}

/// Forwards the response of a client to the tool that asked for it.
fn pass_on(responded: Result<Command, Rejection>, to: Responder) {
    match responded {
        Ok(command) => to.relay(command),
        Err(rejection) => to.reply(&response::refused(rejection)),
    }
}
