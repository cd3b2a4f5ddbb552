//! Notices controllers that stand still.
//!
//! Each controller has a pulse: which objects its watch has delivered that no reconcile has begun
//! for, how many reconciles run, and when one last ended. A controller with something to do that
//! ends nothing is stalled:
//!
//! | for | then |
//! |---|---|
//! | 2 min (`NOT_READY`) | `/readyz` says 503 and names it |
//! | 10 min (`END`) | the process ends with an error, the Lease is given back, and another process begins afresh |
//!
//! A single reconcile is ended after `DEADLINE`, so a stall of `END` is no slow broker: it is a
//! fault of the process. A list that does not come is another matter: `/readyz` says so, and no
//! restart would bring it.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{error::Error, metrics::Metrics, watches::Watch};

/// How long a controller may end nothing before it is told.
const NOT_READY: Duration = Duration::from_secs(120);
/// How long before the process ends.
const END: Duration = Duration::from_secs(600);
/// How long one reconcile may take. Copying ten thousand topics to a new broker group is the
/// longest there is, and goes on where it was ended.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);
/// Between looks.
const PERIOD: Duration = Duration::from_secs(5);

/// What a controller has to do and whether it does it.
#[derive(Debug)]
pub(crate) struct Pulse {
    kind: String,
    /// `None`: all namespaces.
    namespace: Option<String>,
    work: Mutex<Work>,
}

#[derive(Debug)]
struct Work {
    /// Hashes of the objects that wait for a reconcile: at most one for each object of the kind.
    waiting: HashSet<u64>,
    running: usize,
    /// When a reconcile last ended, or when the first thing to do came after there was none.
    since: Instant,
}

impl Work {
    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }

    fn come(&mut self) {
        if self.idle() {
            self.since = Instant::now();
        }
    }
}

/// A reconcile that runs.
pub(crate) struct Running(Arc<Pulse>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut work = self.0.work.lock();
        work.running = work.running.saturating_sub(1);
        work.since = Instant::now();
    }
}

impl Pulse {
    pub(crate) fn new(kind: &str, namespace: Option<&str>) -> Arc<Self> {
        let work = Work { waiting: HashSet::new(), running: 0, since: Instant::now() };
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

    /// A reconcile began; it ends when the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>, namespace: &str, name: &str) -> Running {
        let mut work = self.work.lock();
        work.come();
        work.waiting.remove(&hash(namespace, name));
        work.running += 1;
        Running(self.clone())
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }
}

impl std::fmt::Display for Pulse {
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
    running: usize,
    length: Duration,
}

/// Over all controllers of this process and the watches they need.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pub(crate) controllers: Vec<Arc<Pulse>>,
    /// Without their first lists no reconcile goes on.
    pub(crate) stores: Vec<Arc<Watch>>,
    /// They only bring news of children.
    pub(crate) children: Vec<Arc<Watch>>,
}

/// What `/readyz` tells of the controllers.
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
                "{} has reconciled nothing for {} s while {} objects wait and {} reconciles run; the process ends after {} s",
                stall.controller,
                stall.length.as_secs(),
                stall.waiting,
                stall.running,
                END.as_secs()
            ));
        }
        health.notes = self.stores.iter().chain(&self.children).filter_map(|watch| watch.trouble()).collect();
        health
    }

    /// Controllers with something to do, and since when they did nothing. None while a first list
    /// is waited for.
    fn stalls(&self, now: Instant) -> impl Iterator<Item = Stall> {
        let pending = self.stores.iter().any(|watch| watch.pending_since().is_some());
        // What waited for lists was not stalled before the last of them came.
        let listed = self.stores.iter().filter_map(|watch| watch.listed_at()).max();
        self.controllers.iter().filter(move |_| !pending).filter_map(move |pulse| {
            let work = pulse.work.lock();
            let since = listed.map_or(work.since, |listed| work.since.max(listed));
            (!work.idle()).then(|| Stall {
                controller: pulse.to_string(),
                waiting: work.waiting.len(),
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
            waiting: stall.waiting,
            running: stall.running,
            seconds: stall.length.as_secs(),
        })
    }

    /// Tells metrics what waits, and returns when a controller has stood still for too long.
    pub(crate) async fn stalled(&self, metrics: &Metrics) -> Error {
        loop {
            tokio::time::sleep(PERIOD).await;
            for pulse in &self.controllers {
                let waiting = pulse.work.lock().waiting.len();
                metrics.waiting(&pulse.kind, pulse.namespace.as_deref(), waiting);
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

    fn watchdog(pulse: &Arc<Pulse>, stores: Vec<Arc<Watch>>) -> Watchdog {
        Watchdog { controllers: vec![Pulse::new("RocketMQTopic", None), pulse.clone()], stores, children: Vec::new() }
    }

    /// Clusters and consumer groups were not reconciled any more, `/readyz` said 200 and the
    /// process stayed.
    #[test]
    fn a_controller_that_stands_still_is_told_and_then_ends_the_process() {
        let pulse = Pulse::new("RocketMQCluster", Some("mq"));
        let watchdog = watchdog(&pulse, Vec::new());
        pulse.wait("mq", "prod");
        let hangs = pulse.begin("mq", "other");
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

    #[test]
    fn a_controller_with_nothing_to_do_is_not_stalled() {
        let pulse = Pulse::new("RocketMQTopic", None);
        let watchdog = watchdog(&pulse, Vec::new());
        pulse.wait("mq", "orders");
        pulse.wait("mq", "gone");
        pulse.forget("mq", "gone");
        drop(pulse.begin("mq", "orders"));
        let later = Instant::now() + END * 2;
        assert_eq!(watchdog.health(later), Health::default());
        assert!(watchdog.end(later).is_none());
    }

    #[test]
    fn a_list_that_does_not_come_is_told_and_is_no_stall() {
        let pulse = Pulse::new("RocketMQTopic", None);
        let list = Watch::new("RocketMQConsumerGroup", None, &Metrics::new().unwrap(), Duration::ZERO);
        let watchdog = watchdog(&pulse, vec![list]);
        pulse.wait("mq", "orders");
        let later = Instant::now() + END * 2;
        let faults = watchdog.health(later).faults;
        assert!(
            matches!(&faults[..], [fault] if fault.contains("RocketMQConsumerGroup in all namespaces")),
            "{faults:?}"
        );
        assert!(watchdog.end(later).is_none());
    }
}
