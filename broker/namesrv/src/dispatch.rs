//! The routing of request codes to handlers, one line each.
//!
//! A request that only reads is answered at once, on the connection's task, from the current
//! snapshots. A request that changes something goes to the thread that owns the data.

use crate::{
    Clock, Config, Error, handler,
    handler::{Files, Routes},
    kv_config::Table,
    metrics::Metrics,
    route_table::Snapshot,
    worker::Worker,
};
use arc_swap::ArcSwap;
use rmq_protocol::{Command, Reply, RequestCode};
use rmq_remoting::{Connection, Handler, Responder};
use std::{sync::Arc, time::Duration};

/// The state for readers: the current snapshots.
pub(crate) struct View {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) routes: Arc<ArcSwap<Snapshot>>,
    pub(crate) kv: Arc<ArcSwap<Table>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// The start of this namesrv on that clock.
    pub(crate) started: Duration,
}

impl View {
    /// True once clients may get routes (`needWaitForService`).
    pub(crate) fn is_ready(&self) -> bool {
        let config = self.config.load();
        !config.need_wait_for_service || (self.clock)().saturating_sub(self.started) >= config.wait_for_service
    }
}

/// The handler of all connections.
pub(crate) struct Dispatch {
    pub(crate) view: Arc<View>,
    pub(crate) routes: Worker<Routes>,
    pub(crate) files: Worker<Files>,
}

impl Handler for Dispatch {
    fn handle(&self, request: Command, responder: Responder) {
        use RequestCode as Code;
        match RequestCode::from_number(request.code) {
            Some(Code::RouteInfoByTopic) => self.read(handler::route_info::by_topic, &request, responder),
            Some(Code::BrokerClusterInfo) => self.read(handler::cluster_info::clusters, &request, responder),
            Some(Code::BrokerMemberGroup) => self.read(handler::cluster_info::member_group, &request, responder),
            Some(Code::AllTopicListFromNamesrv) => self.read(handler::topic_list::all, &request, responder),
            Some(Code::TopicsByCluster) => self.read(handler::topic_list::of_cluster, &request, responder),
            Some(Code::SystemTopicListFromNamesrv) => self.read(handler::topic_list::of_system, &request, responder),
            Some(Code::UnitTopicList) => self.read(handler::topic_list::units, &request, responder),
            Some(Code::HasUnitSubTopicList) => self.read(handler::topic_list::unit_subscriptions, &request, responder),
            Some(Code::HasUnitSubUnUnitTopicList) => {
                self.read(handler::topic_list::unit_subscriptions_only, &request, responder)
            }
            Some(Code::KvConfig) => self.read(handler::kv_config::value, &request, responder),
            Some(Code::KvListByNamespace) => self.read(handler::kv_config::namespace, &request, responder),
            Some(Code::NamesrvConfig) => self.read(handler::namesrv_config::settings, &request, responder),

            Some(Code::RegisterBroker) => self.routes.submit(handler::register_broker::register, request, responder),
            Some(Code::UnregisterBroker) => self.routes.submit(handler::broker::unregister, request, responder),
            Some(Code::BrokerHeartbeat) => self.routes.submit(handler::broker::heartbeat, request, responder),
            Some(Code::QueryDataVersion) => self.routes.submit(handler::broker::data_version, request, responder),
            Some(Code::WipeWritePermOfBroker) => {
                self.routes.submit(handler::broker::wipe_write_perm, request, responder)
            }
            Some(Code::AddWritePermOfBroker) => self.routes.submit(handler::broker::add_write_perm, request, responder),
            Some(Code::RegisterTopicInNamesrv) => self.routes.submit(handler::topic::register, request, responder),
            Some(Code::DeleteTopicInNamesrv) => self.routes.submit(handler::topic::delete, request, responder),

            Some(Code::PutKvConfig) => self.files.submit(handler::kv_config::put, request, responder),
            Some(Code::DeleteKvConfig) => self.files.submit(handler::kv_config::delete, request, responder),
            Some(Code::UpdateNamesrvConfig) => self.files.submit(handler::namesrv_config::update, request, responder),
            _ => self.read(|_, request| Err(Error::Unsupported(request.code)), &request, responder),
        }
    }

    fn closed(&self, connection: &Connection) {
        let id = connection.id();
        self.routes.post(move |routes| routes.connection_closed(id));
    }
}

impl Dispatch {
    fn read(&self, read: fn(&View, &Command) -> Result<Reply, Error>, request: &Command, responder: Responder) {
        let reply = read(&self.view, request);
        let reply = reply.unwrap_or_else(|error| error.into_reply(request.code, responder.connection().peer()));
        responder.reply(&reply);
    }
}
