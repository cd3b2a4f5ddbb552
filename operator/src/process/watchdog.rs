//! Detects stalled controllers.
//!
//! Of each controller it is known which objects its watch has delivered that no reconcile has begun
//! for, how many reconciles wait for one of the permits that all controllers share, how many run,
//! and when one last began to run or ended. A controller with something to do is stalled when
//! nothing ends for so long:
//!
//! | for | then |
//! |---|---|
//! | 2 min (`NOT_READY`) | `/readyz` says 503 and names it |
//! | 10 min (`END`) | the process gives the Lease back and ends with an error; another begins |
//!
//! A single reconcile is ended after `DEADLINE`, so a stall of `END` is no slow broker: it is a
//! fault of the process. One that waits for a permit waits for reconciles of other controllers, so
//! it is not stalled while any of them ends: the process is busy, and would be so again after a
//! restart. A list that does not come is another matter: `/readyz` says so, and no restart would
//! bring it.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    error::Error,
    process::{metrics::Metrics, watches::Watch},
};

/// How long a controller may end nothing before it is reported.
const NOT_READY: Duration = Duration::from_secs(120);
/// How long before the process ends.
const END: Duration = Duration::from_secs(600);
/// How long one reconcile may take. Copying ten thousand topics to a new broker group is the
/// longest there is, and goes on where it was ended.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);
/// Between checks.
const PERIOD: Duration = Duration::from_secs(5);

/// What a controller has to do and whether it does it.
#[derive(Debug)]
pub(crate) struct Activity {
    kind: String,
    /// `None`: all namespaces.
    namespace: Option<String>,
    work: Mutex<Work>,
}

#[derive(Debug)]
struct Work {
    /// Hashes of the objects that wait for a reconcile: at most one for each object of the kind.
    waiting: HashSet<u64>,
    /// Reconciles that wait for a permit.
    queued: usize,
    /// Reconciles that have one.
    running: usize,
    /// When a reconcile last began to run or ended, or when the first thing to do came after there
    /// was none.
    since: Instant,
    /// When a reconcile last ended.
    ended: Option<Instant>,
}

impl Work {
    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.queued == 0 && self.running == 0
    }

    fn come(&mut self) {
        if self.idle() {
            self.since = Instant::now();
        }
    }
}

/// A reconcile that waits for a permit or runs. It ends when this is dropped.
pub(crate) struct Reconcile {
    activity: Arc<Activity>,
    runs: bool,
}

impl Reconcile {
    /// It has a permit.
    pub(crate) fn run(&mut self) {
        let mut work = self.activity.work.lock();
        work.queued = work.queued.saturating_sub(1);
        work.running += 1;
        work.since = Instant::now();
        self.runs = true;
    }
}

impl Drop for Reconcile {
    fn drop(&mut self) {
        let mut work = self.activity.work.lock();
        match self.runs {
            true => work.running = work.running.saturating_sub(1),
            false => work.queued = work.queued.saturating_sub(1),
        }
        work.since = Instant::now();
        work.ended = Some(work.since);
    }
}

impl Activity {
    pub(crate) fn new(kind: &str, namespace: Option<&str>) -> Arc<Self> {
        let work = Work { waiting: HashSet::new(), queued: 0, running: 0, since: Instant::now(), ended: None };
        Arc::new(Self { kind: kind.to_owned(), namespace: namespace.map(str::to_owned), work: Mutex::new(work) })
    }

    /// An object came that must be reconciled.
    pub(crate) fn wait(&self, namespace: &str, name: &str) {
        let mut work = self.work.lock();
        work.come();
        work.waiting.insert(hash(namespace, name));
    }

    /// An object that was to be reconciled is gone.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        let mut work = self.work.lock();
        work.waiting.remove(&hash(namespace, name));
        work.since = Instant::now();
    }

    /// A reconcile was started, and waits for a permit.
    pub(crate) fn begin(self: &Arc<Self>, namespace: &str, name: &str) -> Reconcile {
        let mut work = self.work.lock();
        work.come();
        work.waiting.remove(&hash(namespace, name));
        work.queued += 1;
        Reconcile { activity: self.clone(), runs: false }
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }
}

impl std::fmt::Display for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "the controller of {} in namespace {namespace}", self.kind),
            None => write!(f, "the controller of {}", self.kind),
        }
    }
}

fn hash(namespace: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, name).hash(&mut hasher);
    hasher.finish()
}

/// A controller that ends nothing.
#[derive(Debug)]
struct Stall {
    controller: String,
    waiting: usize,
    queued: usize,
    running: usize,
    length: Duration,
}

/// Over all controllers of this process and the watches they need.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pub(crate) controllers: Vec<Arc<Activity>>,
    /// No reconcile proceeds before their first lists.
    pub(crate) stores: Vec<Arc<Watch>>,
    /// They only report changes of children.
    pub(crate) children: Vec<Arc<Watch>>,
}

/// What `/readyz` reports about the controllers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Why this process is not ready.
    pub(crate) faults: Vec<String>,
    /// What else does not go well.
    pub(crate) notes: Vec<String>,
}

impl Watchdog {
    pub(crate) fn health(&self, now: Instant) -> Health {
        let mut health = Health::default();
        for watch in &self.stores {
            let since = watch.pending_since();
            let silent = since.map(|since| now.duration_since(since)).filter(|silent| *silent >= NOT_READY);
            health.faults.extend(
                silent.map(|silent| {
                    format!("{watch} has listed nothing for {} s: all controllers wait", silent.as_secs())
                }),
            );
        }
        for stall in self.stalls(now).filter(|stall| stall.length >= NOT_READY) {
            health.faults.push(format!(
                "{} has reconciled nothing for {} s while {} objects and {} reconciles wait and {} \
                 reconciles run; the process ends after {} s",
                stall.controller,
                stall.length.as_secs(),
                stall.waiting,
                stall.queued,
                stall.running,
                END.as_secs()
            ));
        }
        health.notes = self.stores.iter().chain(&self.children).filter_map(|watch| watch.problem()).collect();
        health
    }

    /// Controllers with something to do, and since when they did nothing. None while a first list
    /// is waited for.
    fn stalls(&self, now: Instant) -> impl Iterator<Item = Stall> {
        let pending = self.stores.iter().any(|watch| watch.pending_since().is_some());
        // What waited for lists was not stalled before the last of them came.
        let listed = self.stores.iter().filter_map(|watch| watch.listed_at()).max();
        let ended = self.controllers.iter().filter_map(|activity| activity.work.lock().ended).max();
        self.controllers.iter().filter(move |_| !pending).filter_map(move |activity| {
            let work = activity.work.lock();
            // All that it has begun waits for a permit, which comes when a reconcile of any
            // controller ends.
            let shared = ended.filter(|_| work.queued > 0 && work.running == 0);
            let since = [listed, shared].into_iter().flatten().fold(work.since, Instant::max);
            (!work.idle()).then(|| Stall {
                controller: activity.to_string(),
                waiting: work.waiting.len(),
                queued: work.queued,
                running: work.running,
                length: now.saturating_duration_since(since),
            })
        })
    }

    /// The error to end with, when a controller has stood still for too long.
    fn end(&self, now: Instant) -> Option<Error> {
        let stall = self.stalls(now).find(|stall| stall.length >= END)?;
        Some(Error::Stalled {
            controller: stall.controller,
            waiting: stall.waiting.saturating_add(stall.queued),
            running: stall.running,
            seconds: stall.length.as_secs(),
        })
    }

    /// Tells metrics what waits, and returns when a controller has stood still for too long.
    pub(crate) async fn stalled(&self, metrics: &Metrics) -> Error {
        loop {
            tokio::time::sleep(PERIOD).await;
            for activity in &self.controllers {
                let waiting = activity.work.lock().waiting.len();
                metrics.waiting(&activity.kind, activity.namespace.as_deref(), waiting);
            }
            if let Some(error) = self.end(Instant::now()) {
                return error;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(activity: &Arc<Activity>, stores: Vec<Arc<Watch>>) -> Watchdog {
        Watchdog {
            controllers: vec![Activity::new("RocketMQTopic", None), activity.clone()],
            stores,
            children: Vec::new(),
        }
    }

    /// Clusters and consumer groups were not reconciled any more, `/readyz` said 200 and the
    /// process stayed.
    #[test]
    fn a_stalled_controller_is_reported_and_then_ends_the_process() {
        let activity = Activity::new("RocketMQCluster", Some("mq"));
        let watchdog = watchdog(&activity, Vec::new());
        activity.wait("mq", "prod");
        let mut hangs = activity.begin("mq", "other");
        hangs.run();
        let began = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(watchdog.health(began + NOT_READY - second), Health::default());
        let faults = watchdog.health(began + NOT_READY).faults;
        assert!(
            matches!(&faults[..], [fault] if fault.contains("the controller of RocketMQCluster in namespace mq")),
            "{faults:?}"
        );
        assert!(watchdog.end(began + END - second).is_none());
        let text = watchdog.end(began + END).unwrap().to_string();
        assert!(text.contains("RocketMQCluster in namespace mq") && text.contains("1 objects wait"), "{text}");
        // One reconcile that ends is work done, and what waits begins to wait anew.
        drop(hangs);
        let ended = Instant::now();
        assert!(watchdog.end(ended + END - second).is_none());
        assert!(watchdog.end(ended + END + second).is_some());
    }

    /// With many namespaces some controllers wait longer than `END` for a permit, while the others
    /// work. That ended the operator, and would have done so again.
    #[test]
    fn a_controller_that_waits_for_a_permit_is_busy_while_any_reconcile_ends() {
        let busy = Activity::new("RocketMQTopic", Some("a"));
        let waits = Activity::new("RocketMQTopic", Some("b"));
        let watchdog =
            Watchdog { controllers: vec![busy.clone(), waits.clone()], stores: Vec::new(), children: Vec::new() };
        let long_ago = Instant::now();
        let set = |activity: &Activity, change: &dyn Fn(&mut Work)| change(&mut activity.work.lock());
        let mut queued = waits.begin("b", "orders");
        let later = long_ago + END * 2;
        set(&busy, &|work| work.ended = Some(later));
        assert_eq!(watchdog.health(later), Health::default());
        assert!(watchdog.end(later + END - Duration::from_secs(1)).is_none());
        let text = watchdog.end(later + END).unwrap().to_string();
        assert!(text.contains("in namespace b"), "nothing ends any more, so no permit comes: {text}");

        // With a permit it answers for itself, and its time begins then.
        queued.run();
        set(&waits, &|work| work.since = later);
        set(&busy, &|work| work.ended = Some(later + END));
        assert!(watchdog.end(later + END - Duration::from_secs(1)).is_none());
        assert!(watchdog.end(later + END).is_some());
        drop(queued);

        // Objects that no reconcile was started for do not wait for permits.
        waits.wait("b", "payments");
        set(&waits, &|work| work.since = long_ago);
        assert!(watchdog.end(later + END).is_some(), "the controller starts nothing");
    }

    #[test]
    fn a_controller_with_nothing_to_do_is_not_stalled() {
        let activity = Activity::new("RocketMQTopic", None);
        let watchdog = watchdog(&activity, Vec::new());
        activity.wait("mq", "orders");
        activity.wait("mq", "gone");
        activity.forget("mq", "gone");
        drop(activity.begin("mq", "orders"));
        let later = Instant::now() + END * 2;
        assert_eq!(watchdog.health(later), Health::default());
        assert!(watchdog.end(later).is_none());
    }

    #[test]
    fn a_list_that_does_not_come_is_reported_and_is_no_stall() {
        let activity = Activity::new("RocketMQTopic", None);
        let list = Watch::new("RocketMQConsumerGroup", None, &Metrics::new().unwrap(), Duration::ZERO);
        let watchdog = watchdog(&activity, vec![list]);
        activity.wait("mq", "orders");
        let later = Instant::now() + END * 2;
        let faults = watchdog.health(later).faults;
        assert!(
            matches!(&faults[..], [fault] if fault.contains("RocketMQConsumerGroup in all namespaces")),
            "{faults:?}"
        );
        assert!(watchdog.end(later).is_none());
    }
}
