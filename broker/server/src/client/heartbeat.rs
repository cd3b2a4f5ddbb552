//! The presence of clients: requests 34, 35, 38, 46, and the end of a connection.

use crate::{
    clock::now_millis,
    config::Live,
    core::Core,
    error::{Reason, Rejection},
    feature::{Feature, Tasks},
    filter::{self, Filters},
    group::{
        QueueLocks,
        members::{self, Client, Consumers, MAX_MEMBERSHIPS, Notifications, Producers},
        subscription::SubscriptionGroups,
    },
    metrics_page::{MetricsPage, Written},
    registration::Registration,
    role::CurrentRole,
    topic::Topics,
};
use bytes::Bytes;
use rmq_protocol::{
    body::{CheckClientConfig, ConsumerData, EXPRESSION_SQL92, Heartbeat, perm},
    header::{
        HeartbeatResponse,
        owned::{ConsumerGroupRequest, UnregisterClient},
    },
    language::Language,
    names,
    version::Version,
};
use rmq_remoting::Connection;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// The limit of groups of one kind in a heartbeat, and of topics that one group may subscribe to.
/// Real clients have a few: each group in a Java client has threads of its own.
const MAX_GROUPS: usize = 256;
const MAX_SUBSCRIPTIONS: usize = 1000;
/// The number of refused groups that one response explains.
const MAX_REFUSALS: usize = 5;

/// The state that these requests use.
pub(crate) struct Clients {
    role: Arc<CurrentRole>,
    producers: Arc<Producers>,
    consumers: Arc<Consumers>,
    filters: Arc<Filters>,
    notifications: Arc<Notifications>,
    locks: Arc<QueueLocks>,
    groups: Arc<SubscriptionGroups>,
    topics: Arc<Topics>,
    registration: Arc<Registration>,
    settings: Arc<Live>,
    /// Tasks of requests that wait.
    tasks: TaskTracker,
    /// The runtime for blocking work.
    runtime: Handle,
}

/// The contents of a heartbeat.
pub(crate) struct HeartbeatRequest {
    pub(crate) heartbeat: Heartbeat,
    pub(crate) language: Language,
    pub(crate) version: Version,
}

/// What a heartbeat has created and must be written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Created {
    topics: bool,
    groups: bool,
}

impl Clients {
    pub(crate) fn new(core: &Core, locks: &Arc<QueueLocks>) -> Self {
        Self {
            role: Arc::clone(&core.role),
            producers: Arc::clone(&core.producers),
            consumers: Arc::clone(&core.consumers),
            filters: Arc::clone(&core.filters),
            groups: Arc::clone(&core.groups),
            topics: Arc::clone(&core.topics),
            registration: Arc::clone(&core.registration),
            settings: Arc::clone(&core.settings),
            notifications: Arc::default(),
            locks: Arc::clone(locks),
            tasks: core.tasks.clone(),
            runtime: core.runtime.clone(),
        }
    }

    /// Request 34.
    ///
    /// An official client names all its groups in one heartbeat. A refused group must not prevent
    /// the others from registering. So the others are registered, and the response is the refusal:
    /// clients log it and continue. A heartbeat that exceeds a limit itself is refused before any
    /// of it is applied.
    pub(crate) fn heartbeat(
        &self,
        request: HeartbeatRequest,
        connection: &Connection,
    ) -> Result<HeartbeatResponse, Rejection> {
        let HeartbeatRequest { heartbeat, language, version } = request;
        check_numbers(&heartbeat)?;
        let client =
            Client { id: heartbeat.client_id, language, version, connection: connection.clone(), seen: now_millis() };
        let mut refusals = Vec::new();
        for producer in &heartbeat.producer_data_set {
            let group = &producer.group_name;
            match names::check_producer_group(group) {
                Err(error) => refusals.push(Rejection::producer_group_name(group, &error)),
                Ok(()) if self.producers.register(group, client.clone()) => {}
                Ok(()) => refusals.push(too_many_clients(group)),
            }
        }
        let mut made = Created::default();
        let mut subscription_changed = false;
        for data in &heartbeat.consumer_data_set {
            let taken = self.check(data, &client).and_then(|()| {
                if heartbeat.without_sub {
                    return Ok(!self.consumers.touch(&data.group_name, client.clone()));
                }
                self.consumer(data, client.clone(), &mut made)
            });
            match taken {
                Ok(changed) => {
                    subscription_changed |= changed;
                    refusals.extend(self.filters_of(data, heartbeat.without_sub));
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        self.persist(made);
        match all_in_one(refusals) {
            Some(refusal) => Err(refusal),
            None => Ok(HeartbeatResponse { supports_v2: true, subscription_changed }),
        }
    }

    /// Makes every check that can refuse a group, before the group or its topic is created.
    fn check(&self, data: &ConsumerData, client: &Client) -> Result<(), Rejection> {
        self.check_name(&data.group_name)?;
        let topics = data.subscription_data_set.len();
        if topics > MAX_SUBSCRIPTIONS {
            return Err(Rejection::invalid(format!(
                "the group {} subscribes to {topics} topics, over the limit of {MAX_SUBSCRIPTIONS}; use several groups",
                data.group_name
            )));
        }
        if !self.consumers.admits(&data.group_name, client) {
            return Err(too_many_clients(&data.group_name));
        }
        Ok(())
    }

    /// A group that is in the table already is accepted with any name. It may come from a broker
    /// with looser checks.
    fn check_name(&self, group: &str) -> Result<(), Rejection> {
        match names::check_group(group) {
            Err(error) if self.groups.find(group).is_none() => Err(Rejection::group_name(group, &error)),
            _ => Ok(()),
        }
    }

    fn consumer(&self, data: &ConsumerData, client: Client, made: &mut Created) -> Result<bool, Rejection> {
        let settings = self.settings.load();
        let group =
            self.groups.find_or_create(&data.group_name, settings.topics.auto_create_group && !self.role.is_slave());
        let mut notify = settings.clients.notify_members;
        if let Some((group, new)) = group {
            made.groups |= new;
            notify &= group.notify_consumer_ids_changed_enable;
            if !self.role.is_slave() {
                made.topics |= self.retry_topic(data, group.retry_queue_nums);
            }
        }
        let change = self.consumers.register(data, client).ok_or_else(|| too_many_clients(&data.group_name))?;
        if change.matters() && notify {
            self.notifications.changed(&data.group_name);
        }
        Ok(change.subscriptions)
    }

    /// Registers the SQL92 expressions that are in force for the group, and refuses those that are
    /// wrong. The group is registered in any case: it may subscribe to other topics.
    fn filters_of(&self, data: &ConsumerData, without_sub: bool) -> Vec<Rejection> {
        if without_sub || !self.settings.load().messages.property_filter {
            return Vec::new();
        }
        let (name, subscriptions) = (&data.group_name, &data.subscription_data_set);
        self.filters.keep_only(name, subscriptions);
        let by_sql = subscriptions.iter().filter(|subscription| subscription.expression_type == EXPRESSION_SQL92);
        by_sql
            .filter_map(|subscription| {
                // Another client may have brought a newer one.
                let current = self.consumers.subscription(name, &subscription.topic)??;
                self.filters.wanted(name, &current, true).err()
            })
            .map(|refusal| Rejection { remark: format!("group {name}: {}", refusal.remark), ..refusal })
            .collect()
    }

    fn retry_topic(&self, data: &ConsumerData, queues: i32) -> bool {
        let name = names::retry_topic(&data.group_name);
        if names::check_topic(&name).is_err() {
            // A group from the table may have a name that is too long for a retry topic. It
            // consumes without retries.
            return false;
        }
        // Clients of a group without retries also ask for the route of this topic.
        let (_, new) = self.topics.find_or_create(&name, queues.max(1), perm::READ | perm::WRITE);
        if new {
            self.registration.announce();
        }
        new
    }

    fn persist(&self, made: Created) {
        let topics = (made.topics && self.topics.begin_write()).then(|| Arc::clone(&self.topics));
        let groups = (made.groups && self.groups.begin_write()).then(|| Arc::clone(&self.groups));
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

    /// Some clients of these groups have left.
    fn left<'a>(&self, groups: impl IntoIterator<Item = &'a String> + Clone) {
        for group in groups.clone() {
            if self.consumers.message_model(group).is_none() {
                self.filters.left(group);
            }
        }
        self.notify_all(groups);
    }

    fn notify_all<'a>(&self, groups: impl IntoIterator<Item = &'a String>) {
        if !self.settings.load().clients.notify_members {
            return;
        }
        for group in groups {
            if self.groups.find(group).is_none_or(|group| group.notify_consumer_ids_changed_enable) {
                self.notifications.changed(group);
            }
        }
    }

    /// Request 35.
    pub(crate) fn unregister(&self, header: &UnregisterClient) {
        if let Some(group) = &header.producer_group {
            self.producers.unregister(group, &header.client_id);
        }
        if let Some(group) = &header.consumer_group
            && self.consumers.unregister(group, &header.client_id).matters()
        {
            self.left([group]);
        }
    }

    /// Request 38.
    pub(crate) fn consumer_ids(&self, header: &ConsumerGroupRequest) -> Result<Bytes, Rejection> {
        self.consumers.client_ids(&header.consumer_group).ok_or_else(|| {
            Rejection::new(Reason::Failed, format!("no client of the group {} is connected", header.consumer_group))
        })
    }

    /// Request 46.
    pub(crate) fn check_expression(&self, config: &CheckClientConfig) -> Result<(), Rejection> {
        let subscription = &config.subscription_data;
        let enabled = self.settings.load().messages.property_filter;
        if filter::is_sql(&subscription.expression_type, enabled)? {
            filter::parse(&subscription.sub_string)?;
        }
        Ok(())
    }

    /// Removes clients that were seen last before `oldest` (milliseconds since 1970).
    pub(crate) fn expire(&self, oldest: i64) {
        self.producers.expire(oldest);
        self.left(&self.consumers.expire(oldest));
    }
}

/// Checks numbers before any part of the heartbeat is stored.
fn check_numbers(heartbeat: &Heartbeat) -> Result<(), Rejection> {
    let (producers, consumers) = (heartbeat.producer_data_set.len(), heartbeat.consumer_data_set.len());
    if producers.max(consumers) > MAX_GROUPS {
        return Err(Rejection::invalid(format!(
            "a heartbeat with {producers} producer groups and {consumers} consumer groups is over \
             the limit of {MAX_GROUPS} of each; use several clients"
        )));
    }
    Ok(())
}

/// Combines the refusals of all groups into one response.
fn all_in_one(refusals: Vec<Rejection>) -> Option<Rejection> {
    let more = refusals.len().saturating_sub(MAX_REFUSALS);
    let mut refusals = refusals.into_iter();
    let mut first = refusals.next()?;
    for refusal in refusals.take(MAX_REFUSALS - 1) {
        first.remark.push_str("; ");
        first.remark.push_str(&refusal.remark);
    }
    if more > 0 {
        first.remark.push_str(&format!("; and {more} groups more"));
    }
    Some(first)
}

fn too_many_clients(group: &str) -> Rejection {
    Rejection::invalid(format!(
        "this connection has {MAX_MEMBERSHIPS} clients in groups, the most there may be; the group \
         {group} needs a connection of its own"
    ))
}

/// The time between two scans for silent clients.
const EXPIRE: Duration = Duration::from_secs(10);

impl Feature for Clients {
    fn start(self: Arc<Self>, tasks: &Tasks) {
        let notifications = Arc::clone(&self.notifications).run(Arc::clone(&self.consumers), tasks.stop.clone());
        tasks.run("notify consumer groups", notifications);
        tasks.every("expire clients", EXPIRE, move || {
            let expiry = self.settings.load().clients.expiry.0.as_millis() as i64;
            self.expire(now_millis() - expiry);
            self.locks.expire(Instant::now());
            std::future::ready(())
        });
    }

    /// Removes the clients of the connection.
    fn disconnected(&self, connection: &Connection) {
        self.producers.disconnect(connection);
        self.left(&self.consumers.disconnect(connection));
    }

    fn metrics(&self, to: &MetricsPage) -> Written {
        to.counter(
            "rocketmq_broker_group_notices_total",
            "Notifications to consumers that their group has changed; a group is notified at most every 100 ms.",
            self.notifications.sent(),
        )?;
        members::metrics(&self.producers, &self.consumers, to)
    }
}
