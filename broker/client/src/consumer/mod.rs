//! Consuming messages.
//!
//! ```text
//! rebalance.rs   every 20 s, or when the broker says that the group changed: which queues are ours (allocate.rs)?
//!   | for each of them a task that pulls and a task that hands out
//!   v
//! pull.rs        waits for room -> one long poll (fetch.rs) -> queue.rs
//! work.rs        queue.rs -> the application's function -> finished, or sent back for another try
//! offsets.rs     every 5 s: how far the group is
//! requests.rs    what brokers ask of a consumer
//! ```
//!
//! A message is handed out at least once: after a crash, a rebalance or a lost answer, again. What
//! the function does not finish ([`Outcome::Later`]) goes back to the broker, which hands it out
//! again after a growing pause, up to [`Options::max_reconsume`] times; then it is a dead letter of
//! the group.
//!
//! **In order** ([`Order::Queue`]) the broker locks a queue for one member, messages are handed out
//! one batch at a time, and one that is not finished holds the queue until it is.
//!
//! **Stop.** [`Consumer::stop`] ends pulling, waits for the functions that run, stores the offsets,
//! gives the locks back and leaves the group, in this order. Dropping a consumer ends it at once;
//! what it finished in the last seconds is then handed out again.

mod allocate;
mod fetch;
mod offsets;
mod pull;
mod pull_consumer;
mod queue;
mod rates;
mod rebalance;
mod requests;
mod running_info;
mod work;

use crate::{Error, route::Route, session::Session};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use queue::Queue;
use rmq_protocol::{
    RequestCode,
    body::{CheckClientConfig, ConsumeFromWhere, ConsumeType, ConsumerData, EXPRESSION_SQL92, Heartbeat, Subscription},
    fastjson, header,
    message::{MessageExt, MessageQueue},
    names,
};
use rmq_remoting::Limits;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use pull_consumer::{PullConsumer, Pulled};
/// Who of a group gets a message: one member, or all.
pub use rmq_protocol::body::MessageModel as Model;
pub use running_info::{ConsumeDirectlyResult, ConsumeResult, ConsumeStatus, QueueInfo, RunningInfo};

/// How often offsets are stored.
const PERSIST: Duration = Duration::from_secs(5);

/// Where a group begins in a queue in which it has never been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FromWhere {
    /// With messages that are sent from now on. (As in Java: brokers treat a queue that still has
    /// its very first messages in memory as consumed from the beginning.)
    #[default]
    Last,
    /// With the oldest message.
    First,
    /// With the first message stored at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// In which order messages are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As soon as there is a free place: many at a time.
    #[default]
    None,
    /// Those of one queue one after another.
    Queue,
}

/// Which messages of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Tags joined by `||`; `*` for all messages.
    Tags(String),
    /// An SQL92 expression over properties. The broker must be told to allow these.
    Sql(String),
}

impl<T: Into<String>> From<T> for Filter {
    fn from(tags: T) -> Self {
        Self::Tags(tags.into())
    }
}

/// How a consumer consumes. Start from [`Options::new`], subscribe, and change what should differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Addresses of the namesrvs: `host:port`, several separated by `;`.
    pub namesrvs: String,
    /// The consumer group.
    pub group: String,
    /// Topics and filters. All members of a group must have the same.
    pub subscriptions: BTreeMap<String, Filter>,
    /// One member gets a message, or all do. Clustering.
    pub model: Model,
    /// Where to begin. Last.
    pub from: FromWhere,
    /// Many at a time or in order. None.
    pub order: Order,
    /// Functions that run at a time. 20.
    pub threads: u32,
    /// Messages handed out together, at most. 1.
    pub batch: u32,
    /// Messages pulled together, at most. 32.
    pub pull_batch: u32,
    /// Tries after the first before a message becomes a dead letter. Unset: what the broker has for
    /// the group (16 unless changed); in order, no limit.
    pub max_reconsume: Option<u32>,
    /// In order: the pause before a message that was not finished is handed out again. 1 second.
    pub suspend: Duration,
    /// A function that runs longer is dropped and its messages are sent back. 15 minutes.
    pub consume_timeout: Duration,
    /// How long [`Consumer::stop`] waits for functions that run. 30 seconds.
    pub stop_timeout: Duration,
    /// Time limit of a request. 3 seconds.
    pub timeout: Duration,
    /// Where a broadcasting consumer keeps its offsets. `$HOME/.rocketmq_offsets`.
    pub offset_dir: PathBuf,
    /// Second part of the client id. Unset: unique for clustering, `DEFAULT` for broadcasting,
    /// which must find its offsets again.
    pub instance: Option<String>,
}

impl Options {
    /// The defaults, without a subscription.
    pub fn new(namesrvs: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            namesrvs: namesrvs.into(),
            group: group.into(),
            subscriptions: BTreeMap::new(),
            model: Model::Clustering,
            from: FromWhere::Last,
            order: Order::None,
            threads: 20,
            batch: 1,
            pull_batch: 32,
            max_reconsume: None,
            suspend: Duration::from_secs(1),
            consume_timeout: Duration::from_secs(15 * 60),
            stop_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(3),
            offset_dir: PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".rocketmq_offsets"),
            instance: None,
        }
    }

    /// Adds a topic.
    #[must_use]
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        self.subscriptions.insert(topic.into(), filter.into());
        self
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Argument(why));
        if let Err(why) = names::check_group(&self.group) {
            return wrong(format!("consumer group {:?}: {why}", self.group));
        }
        for topic in self.subscriptions.keys() {
            if let Err(why) = names::check_topic(topic) {
                return wrong(format!("topic {topic:?}: {why}"));
            }
        }
        if self.subscriptions.is_empty() {
            return wrong("there is no subscription; call Options::subscribe".to_owned());
        }
        for (name, value, limit) in
            [("threads", self.threads, 10_000), ("batch", self.batch, 1024), ("pull_batch", self.pull_batch, 1024)]
        {
            if value == 0 || value > limit {
                return wrong(format!("{name} must be between 1 and {limit}, not {value}"));
            }
        }
        Ok(())
    }
}

/// Messages of one queue, in the queue's order, for one call of the application's function.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The queue they were pulled from. For a message on its second try it is one of the group's
    /// retry topic.
    pub queue: Arc<MessageQueue>,
    /// The messages; never none.
    pub messages: Arc<[MessageExt]>,
}

impl Deref for Delivery {
    type Target = [MessageExt];

    fn deref(&self) -> &Self::Target {
        &self.messages
    }
}

/// What the application's function made of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done with all of it.
    Done,
    /// All of it again later: after a pause that grows with the number of tries, or in order after
    /// [`Options::suspend`].
    Later,
    /// All of it again after the pause of this delay level of the broker (1 is 1 s, 3 is 10 s, 18
    /// is 2 h). In order the same as `Later`.
    LaterBy(u8),
    /// Never again: all of it becomes dead letters.
    Dead,
}

type Listener = Box<dyn Fn(Delivery) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A member of a consumer group that has messages handed to a function.
pub struct Consumer {
    core: Arc<Core>,
    _stop: DropGuard,
}

/// What the tasks of a consumer share.
struct Core {
    options: Options,
    session: Session,
    /// By topic; with the retry topic.
    subscriptions: BTreeMap<String, Arc<Subscription>>,
    listener: Listener,
    offsets: offsets::Offsets,
    queues: Mutex<BTreeMap<MessageQueue, Arc<Queue>>>,
    /// Held while locks of queues are asked for or given back at the brokers: renewing one after it
    /// was given back would keep the next member out for a minute.
    locking: tokio::sync::Mutex<()>,
    /// Functions that may run.
    workers: Arc<Semaphore>,
    /// Cancelled first when the consumer stops.
    pulling: CancellationToken,
    /// The balance, tasks that hand out, and functions that run: what must end before the offsets
    /// are stored for good.
    work: TaskTracker,
    rebalance: Notify,
    rates: rates::Rates,
    started: i64,
}

impl Consumer {
    /// Joins the group, and has messages handed to `listener` from now on. It is called for several
    /// deliveries at a time, on tokio's tasks, so it must not block the thread; a panic counts as
    /// [`Outcome::Later`].
    ///
    /// # Errors
    /// The options make no sense, no namesrv can be reached, a broker refuses a filter, or the
    /// offset file of a broadcasting consumer cannot be read.
    pub async fn start<F, Fut>(options: Options, listener: F) -> Result<Self, Error>
    where
        F: Fn(Delivery) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        options.check()?;
        let (handler, requests) = requests::channel();
        let broadcasting = options.model == Model::Broadcasting;
        let instance = options.instance.clone().or_else(|| broadcasting.then(|| "DEFAULT".to_owned()));
        let session = Session::start(
            &options.namesrvs,
            instance.as_deref(),
            options.timeout,
            Arc::new(handler),
            Limits::default(),
        )
        .await?;
        let core = Arc::new(Core {
            offsets: offsets::Offsets::open(&options.group, options.model, &options.offset_dir, session.clone())
                .await?,
            subscriptions: subscriptions(&options, crate::session::now()),
            listener: Box::new(move |delivery| Box::pin(listener(delivery))),
            queues: Mutex::default(),
            locking: tokio::sync::Mutex::default(),
            workers: Arc::new(Semaphore::new(options.threads as usize)),
            pulling: session.stop.child_token(),
            work: TaskTracker::new(),
            rebalance: Notify::new(),
            rates: rates::Rates::default(),
            started: crate::session::now(),
            session,
            options,
        });
        // From here on an error must not leave tasks behind.
        let consumer = Self { _stop: core.session.drop_guard(), core };
        let core = &consumer.core;
        for topic in core.subscriptions.keys() {
            match core.session.routes.existing(topic).await {
                Ok(route) => core.check_filter(topic, &route).await?,
                Err(Error::NoRoute { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        core.session.send_heartbeat(&core.heartbeat()).await;
        let beating = Arc::clone(core);
        core.session.keep(move || beating.heartbeat());
        core.session.spawn(Arc::clone(core).answer(requests));
        core.session.spawn(Arc::clone(core).persist());
        core.work.spawn(Arc::clone(core).keep_balanced());
        Ok(consumer)
    }

    /// The id by which brokers know this consumer.
    pub fn client_id(&self) -> &str {
        &self.core.session.client_id
    }

    /// The queues it consumes now.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.core.queues.lock().keys().cloned().collect()
    }

    /// What tools see of it.
    pub fn running_info(&self) -> RunningInfo {
        self.core.running_info()
    }

    /// Ends consumption in good order, see the head of this module.
    pub async fn stop(self) {
        let core = &self.core;
        core.pulling.cancel();
        core.work.close();
        if tokio::time::timeout(core.options.stop_timeout, core.work.wait()).await.is_err() {
            tracing::warn!(
                group = core.options.group,
                "a consuming function did not end in time; its messages will be consumed again"
            );
        }
        let queues: Vec<_> = core.queues.lock().values().cloned().collect();
        core.offsets.persist_surely(&queues).await;
        let names: Vec<_> = queues.iter().map(|queue| queue.name.clone()).collect();
        core.unlock(&names).await;
        core.session.stop.cancel();
        core.session.tasks.close();
        core.session.tasks.wait().await;
        core.session.leave(None, Some(&core.options.group)).await;
    }
}

impl Core {
    fn is_ordered(&self) -> bool {
        self.options.order == Order::Queue
    }

    fn is_broadcasting(&self) -> bool {
        self.options.model == Model::Broadcasting
    }

    /// In order, a queue must be locked at the broker: only members of a cluster compete for it.
    fn needs_locks(&self) -> bool {
        self.is_ordered() && !self.is_broadcasting()
    }

    fn heartbeat(&self) -> Heartbeat {
        let consumer = ConsumerData {
            consume_from_where: match self.options.from {
                FromWhere::Last => ConsumeFromWhere::ConsumeFromLastOffset,
                FromWhere::First => ConsumeFromWhere::ConsumeFromFirstOffset,
                FromWhere::Timestamp(_) => ConsumeFromWhere::ConsumeFromTimestamp,
            },
            consume_type: ConsumeType::Passively,
            group_name: self.options.group.clone(),
            message_model: self.options.model,
            subscription_data_set: self
                .subscriptions
                .values()
                .map(|subscription| Subscription::clone(subscription))
                .collect(),
            unit_mode: false,
        };
        Heartbeat {
            client_id: self.session.client_id.to_string(),
            consumer_data_set: vec![consumer],
            ..Heartbeat::default()
        }
    }

    /// A broker reads expressions that are not plain tags.
    async fn check_filter(&self, topic: &str, route: &Route) -> Result<(), Error> {
        let subscription = &self.subscriptions[topic];
        let broker = route.brokers.values().flat_map(|group| group.values()).next();
        let (true, Some(address)) = (subscription.expression_type == EXPRESSION_SQL92, broker) else {
            return Ok(());
        };
        let body = CheckClientConfig {
            client_id: self.session.client_id.to_string(),
            group: self.options.group.clone(),
            namespace: None,
            subscription_data: Subscription::clone(subscription),
        };
        let body = fastjson::to_vec(&body);
        self.session.link.ask_with(address, RequestCode::CheckClientConfig, &header::Empty {}, body).await.map(|_| ())
    }

    async fn persist(self: Arc<Self>) {
        let mut tick = tokio::time::interval(PERSIST);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.rates.sample(Instant::now());
            let queues: Vec<_> = self.queues.lock().values().cloned().collect();
            self.offsets.persist(&queues).await;
        }
    }
}

/// The subscriptions as heartbeats carry them; members of a cluster also have the topic of the
/// group's retries.
fn subscriptions(options: &Options, version: i64) -> BTreeMap<String, Arc<Subscription>> {
    let mut all: BTreeMap<_, _> = options
        .subscriptions
        .iter()
        .map(|(topic, filter)| {
            let subscription = match filter {
                Filter::Tags(tags) => Subscription::tags(topic, tags, version),
                Filter::Sql(expression) => Subscription {
                    expression_type: EXPRESSION_SQL92.to_owned(),
                    ..Subscription {
                        sub_string: expression.clone(),
                        sub_version: version,
                        topic: topic.clone(),
                        ..Subscription::default()
                    }
                },
            };
            (topic.clone(), Arc::new(subscription))
        })
        .collect();
    if options.model == Model::Clustering {
        let retry = names::retry_topic(&options.group);
        all.insert(retry.clone(), Arc::new(Subscription::tags(&retry, "*", version)));
    }
    all
}

/// The tags a member looks for itself: brokers compare hashes only.
fn wanted_tags(subscription: &Subscription) -> Option<BTreeSet<&str>> {
    (!subscription.tags_set.is_empty()).then(|| subscription.tags_set.iter().map(String::as_str).collect())
}
