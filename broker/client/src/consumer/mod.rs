//! Consuming messages.
//!
//! ```text
//! rebalance.rs   every 20 s, or when the group changed: this member's queues (allocate.rs)
//!   | for each of them a task that pulls and a task that delivers
//!   v
//! pull.rs        waits for room -> one long poll (fetch.rs) -> queue.rs
//! work.rs        queue.rs -> the application's function -> finished, or sent back for a retry
//! offsets.rs     every 5 s: commits the group's offsets
//! requests.rs    requests of brokers to the consumer
//! ```
//!
//! A message is delivered at least once, and delivered again after a crash, a rebalance or a lost
//! response. A message that the function does not finish ([`Outcome::Later`]) goes back to the
//! broker, which delivers it again after a growing pause, up to [`Options::max_reconsume`] times;
//! then it becomes a dead letter of the group.
//!
//! **In order** ([`Order::Queue`]) the broker locks a queue for one member, messages are delivered
//! one batch at a time, and an unfinished batch blocks the queue until it is finished.
//!
//! **Stop.** [`Consumer::stop`] ends pulling, waits for running functions, stores the offsets,
//! releases the locks and leaves the group, in this order. Dropping a consumer ends it at once;
//! messages that it finished in the last seconds are then delivered again.

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
/// Which members of a group get a message: one, or all.
pub use rmq_protocol::body::MessageModel as Model;
pub use running_info::{ConsumeDirectlyResult, ConsumeResult, ConsumeStatus, QueueInfo, RunningInfo};

/// How often offsets are stored.
const PERSIST: Duration = Duration::from_secs(5);

/// Where a group begins in a queue without a stored offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FromWhere {
    /// With messages that are sent from now on. (As in Java: brokers begin a queue that still has
    /// its very first messages in memory at its beginning.)
    #[default]
    Last,
    /// With the oldest message.
    First,
    /// With the first message stored at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// In which order messages are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As soon as a function may run: many at a time.
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
    /// An SQL92 expression over properties, such as `amount > 100 AND region = 'north'`, which the
    /// broker evaluates. It must have `enablePropertyFilter=true`.
    Sql(String),
}

impl<T: Into<String>> From<T> for Filter {
    fn from(tags: T) -> Self {
        Self::Tags(tags.into())
    }
}

/// The options of a consumer. Start from [`Options::new`], subscribe, and change what should
/// differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Addresses of the namesrvs: `host:port`, several separated by `;`.
    pub namesrvs: String,
    /// The consumer group.
    pub group: String,
    /// Topics and filters. All members of a group must have the same.
    pub subscriptions: BTreeMap<String, Filter>,
    /// Clustering (one member gets a message) or broadcasting (all do). Clustering.
    pub model: Model,
    /// The initial offset. Last.
    pub from: FromWhere,
    /// Concurrent or in order. Concurrent.
    pub order: Order,
    /// Functions that run at a time. 20.
    pub threads: u32,
    /// The most messages in one delivery. 1.
    pub batch: u32,
    /// The most messages in one pull. 32.
    pub pull_batch: u32,
    /// Retries before a message becomes a dead letter. Unset: the broker's setting for the group
    /// (16 unless changed); in order, no limit.
    pub max_reconsume: Option<u32>,
    /// In order: the pause before an unfinished message is delivered again. 1 second.
    pub suspend: Duration,
    /// A function that runs longer is dropped and its messages are sent back. 15 minutes.
    pub consume_timeout: Duration,
    /// How long [`Consumer::stop`] waits for running functions. 30 seconds.
    pub stop_timeout: Duration,
    /// Timeout of a request. 3 seconds.
    pub timeout: Duration,
    /// The directory for the offsets of a broadcasting consumer. `$HOME/.rocketmq_offsets`.
    pub offset_dir: PathBuf,
    /// Second part of the client id. Unset: unique for clustering, `DEFAULT` for broadcasting,
    /// where a restart must find the stored offsets.
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
    /// The queue they were pulled from. For a retried message it is one of the group's retry topic.
    pub queue: Arc<MessageQueue>,
    /// The messages; never empty.
    pub messages: Arc<[MessageExt]>,
}

impl Deref for Delivery {
    type Target = [MessageExt];

    fn deref(&self) -> &Self::Target {
        &self.messages
    }
}

/// The outcome of a delivery, returned by the application's function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is consumed.
    Done,
    /// All of it is delivered again later: after a pause that grows with the number of attempts, or
    /// in order after [`Options::suspend`].
    Later,
    /// All of it is delivered again after the pause of this delay level of the broker (1 is 1 s, 3
    /// is 10 s, 18 is 2 h). In order the same as `Later`.
    LaterBy(u8),
    /// None of it is delivered again: all of it becomes dead letters.
    Dead,
}

type Listener = Box<dyn Fn(Delivery) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A member of a consumer group that passes messages to a function.
pub struct Consumer {
    core: Arc<Core>,
    _stop: DropGuard,
}

/// The state shared by the tasks of a consumer.
struct Core {
    options: Options,
    session: Session,
    /// By topic; including the retry topic.
    subscriptions: BTreeMap<String, Arc<Subscription>>,
    listener: Listener,
    offsets: offsets::Offsets,
    queues: Mutex<BTreeMap<MessageQueue, Arc<Queue>>>,
    /// Held while queue locks are requested or released at the brokers: renewing a lock after its
    /// release would block the next member for a minute.
    locking: tokio::sync::Mutex<()>,
    /// Permits for running functions.
    workers: Arc<Semaphore>,
    /// Cancelled first when the consumer stops.
    pulling: CancellationToken,
    /// The rebalance, the delivering tasks, and running functions: they must end before the final
    /// commit of the offsets.
    work: TaskTracker,
    rebalance: Notify,
    rates: rates::Rates,
    started: i64,
}

impl Consumer {
    /// Joins the group and passes messages to `listener` from now on. It is called for several
    /// deliveries at a time, on tokio's tasks, so it must not block the thread; a panic counts as
    /// [`Outcome::Later`].
    ///
    /// # Errors
    /// The options are invalid, no namesrv can be reached, a broker refuses a filter, or the offset
    /// file of a broadcasting consumer cannot be read.
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
        // From here on an error must stop the tasks that were started.
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
        core.session.spawn(Arc::clone(core).respond(requests));
        core.session.spawn(Arc::clone(core).persist());
        core.work.spawn(Arc::clone(core).keep_balanced());
        Ok(consumer)
    }

    /// The id of this consumer at brokers.
    pub fn client_id(&self) -> &str {
        &self.core.session.client_id
    }

    /// The queues it currently consumes.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.core.queues.lock().keys().cloned().collect()
    }

    /// Its runtime information, as tools see it.
    pub fn running_info(&self) -> RunningInfo {
        self.core.running_info()
    }

    /// Stops the consumer gracefully, see the module docs.
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

    /// Whether a queue must be locked at the broker: in order, and only in clustering, as other
    /// members do not compete for it otherwise.
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

    /// Whether a broker has to evaluate the expression, because it is not plain tags.
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

/// The subscriptions for heartbeats; in clustering they include the group's retry topic.
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

/// The tags that a member checks itself: brokers compare only hashes.
fn wanted_tags(subscription: &Subscription) -> Option<BTreeSet<&str>> {
    (!subscription.tags_set.is_empty()).then(|| subscription.tags_set.iter().map(String::as_str).collect())
}
