//! The state of each watch of the API server, and what of its objects is kept.
//!
//! A watch that fails is tried again with pauses of its own, so one that is refused does not slow
//! down the others. Its errors end here: they are logged, counted and reported by `/readyz`, and no
//! controller sees them.
//!
//! A namespace of `watchNamespaces` may be gone, or lack its Role. The API server then refuses the
//! list with 403 or 404. It does the same for a moment when it starts and has not read its roles
//! yet, so only `MIN_REFUSALS` over `REFUSED_FOR` are believed. Then what would be listed counts as
//! absent, so that the other namespaces go on. An empty store is no evidence that nothing exists:
//! a caller that must know asks `refusal`, and objects that need something from there say in their
//! condition that it cannot be seen. A refused watch of *all* namespaces is waited for: there is
//! nothing else to go on with.
//!
//! Reconciles wait until every store is listed, through a channel that wakes all of them.
//! `Store::wait_until_ready` of kube-runtime 5.0 keeps the waker of the one task that polled last;
//! the others that wait for the same store are never woken.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future::ready};
use kube::{
    Resource,
    runtime::{
        WatchStreamExt,
        reflector::store::Writer,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{
    error::plain,
    process::{jittered, metrics::Metrics},
};

/// Objects in one page of a list. A page is held as it came, with the fields that are stripped
/// afterwards.
const PAGE: u32 = 100;
/// Pause after the first failure of a watch; doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// How long a failure is reported after it happened: a watch that still fails does so again in less
/// than this.
const RECENT: Duration = Duration::from_secs(150);
/// Refusals in a row before a first list is given up.
const MIN_REFUSALS: u32 = 4;
/// How long the API server must have refused by then.
pub const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Where `kubectl apply` keeps a copy of the manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How far the first list of a watch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// What is there is not known yet.
    Pending,
    /// The API server refuses to tell; what is there counts as nothing.
    Refused,
    /// The store holds what is there.
    Complete,
}

/// One watch.
#[derive(Debug)]
pub struct Watch {
    kind: String,
    /// `None`: all namespaces.
    namespace: Option<String>,
    metrics: Metrics,
    /// How long refusals must last before its first list is given up.
    refused_for: Duration,
    listing: watch::Sender<Listing>,
    outcomes: Mutex<Outcomes>,
}

/// What came of the requests of a watch.
#[derive(Debug)]
struct Outcomes {
    /// In a row.
    failures: u32,
    /// Refusals since it last delivered something, and when the first came. Other failures in
    /// between say nothing about rights.
    refusals: u32,
    refused_since: Option<Instant>,
    /// The last one.
    problem: Option<(String, Instant)>,
    /// When it last delivered something.
    delivered: Instant,
    /// When its first list was complete or refused.
    listed: Option<Instant>,
}

impl Watch {
    /// A watch that has delivered nothing yet, and gives up its first list when it was refused for
    /// this long.
    pub fn new(kind: &str, namespace: Option<&str>, metrics: &Metrics, refused_for: Duration) -> Arc<Self> {
        metrics.watch_listed(kind, namespace, false);
        Arc::new(Self {
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            metrics: metrics.clone(),
            refused_for,
            listing: watch::Sender::new(Listing::Pending),
            outcomes: Mutex::new(Outcomes {
                failures: 0,
                refusals: 0,
                refused_since: None,
                problem: None,
                delivered: Instant::now(),
                listed: None,
            }),
        })
    }

    /// Waits until it is known what is there. Any number of tasks may wait.
    pub async fn listed(&self) {
        // The sender lives as long as `self`, so the only error there is cannot come.
        let _ = self.listing.subscribe().wait_for(|listing| *listing != Listing::Pending).await;
    }

    /// Since when nothing came of a first list that is not complete; `None` when it is, or is
    /// refused.
    pub(crate) fn pending_since(&self) -> Option<Instant> {
        (*self.listing.borrow() == Listing::Pending).then(|| self.outcomes.lock().delivered)
    }

    /// When its first list was complete or refused.
    pub(crate) fn listed_at(&self) -> Option<Instant> {
        self.outcomes.lock().listed
    }

    /// What it fails with at present.
    pub(crate) fn problem(&self) -> Option<String> {
        let outcomes = self.outcomes.lock();
        let (text, at) = outcomes.problem.as_ref()?;
        let refused = *self.listing.borrow() == Listing::Refused;
        (refused || at.elapsed() < RECENT).then(|| format!("{self} fails: {text}"))
    }

    /// Why its store may lack objects that exist: the API server refuses to tell of the namespace.
    /// `None` when nothing was refused since it last delivered something.
    pub(crate) fn refusal(&self) -> Option<String> {
        let outcomes = self.outcomes.lock();
        outcomes.refused_since?;
        let (text, _) = outcomes.problem.as_ref()?;
        Some(format!("{self} is refused: {text}"))
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Notes an event that is in the store by now.
    pub(crate) fn deliver<K>(&self, event: &Event<K>) {
        let mut outcomes = self.outcomes.lock();
        outcomes.delivered = Instant::now();
        // The first events of a list come before each failure of its next page, too.
        if matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_)) {
            outcomes.failures = 0;
            outcomes.refusals = 0;
            outcomes.refused_since = None;
            outcomes.problem = None;
        }
        if matches!(event, Event::InitDone) {
            outcomes.listed.get_or_insert_with(Instant::now);
        }
        drop(outcomes);
        if matches!(event, Event::InitDone) {
            self.metrics.watch_listed(&self.kind, self.namespace.as_deref(), true);
            self.listing.send_replace(Listing::Complete);
        }
    }

    /// Notes a failure that came at `now`.
    pub(crate) fn fail(&self, error: &watcher::Error, now: Instant) {
        let (refused, text) = describe(error);
        let gives_up = {
            let mut outcomes = self.outcomes.lock();
            outcomes.failures = outcomes.failures.saturating_add(1);
            outcomes.problem = Some((text.clone(), now));
            if refused {
                outcomes.refusals = outcomes.refusals.saturating_add(1);
                outcomes.refused_since.get_or_insert(now);
            }
            let lasting =
                outcomes.refused_since.is_some_and(|since| now.saturating_duration_since(since) >= self.refused_for);
            refused && self.namespace.is_some() && outcomes.refusals >= MIN_REFUSALS && lasting
        };
        self.metrics.watch_failed(&self.kind, self.namespace.as_deref(), if refused { "refused" } else { "failed" });
        let given_up = gives_up
            && self.listing.send_if_modified(|listing| {
                let pending = *listing == Listing::Pending;
                if pending {
                    *listing = Listing::Refused;
                }
                pending
            });
        if given_up {
            self.outcomes.lock().listed = Some(now);
            tracing::warn!(
                watch = %self, error = text,
                "the API server refuses this watch: its objects count as absent and the other watches go on; \
                 does the namespace exist, and the operator's Role in it?"
            );
        } else {
            tracing::warn!(watch = %self, error = text, "the watch fails; it is tried again with growing pauses");
        }
    }
}

impl std::fmt::Display for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "the watch of {} in namespace {namespace}", self.kind),
            None => write!(f, "the watch of {} in all namespaces", self.kind),
        }
    }
}

/// Whether the API server refused, and its sentence.
fn describe(error: &watcher::Error) -> (bool, String) {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            let refused = matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404));
            (refused, plain(error))
        }
        other => (false, other.to_string()),
    }
}

/// How lists and watches are made.
pub(crate) fn config() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// The pauses of one watch. They grow until it is complete again and not, as kube's own, until it
/// begins a list.
struct WatchBackoff(Arc<Watch>);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let failures = self.0.outcomes.lock().failures;
        let doubled = FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(10));
        Some(jittered(doubled.min(LONGEST_BACK_OFF)))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}

/// Events without errors, and objects without fields that are not read. With a writer they are in
/// its store when they come out.
pub(crate) fn follow<K>(
    watch: Arc<Watch>,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    writer: Option<Writer<K>>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let (failing, delivering) = (watch.clone(), watch.clone());
    let noted = events.inspect(move |event| {
        if let Err(error) = event {
            failing.fail(error, Instant::now());
        }
    });
    let kept = noted.backoff(WatchBackoff(watch)).filter(|event| ready(event.is_ok())).modify(strip);
    let stored = match writer {
        Some(writer) => kept.reflect(writer).left_stream(),
        None => kept.right_stream(),
    };
    stored.inspect(move |event| {
        if let Ok(event) = event {
            delivering.deliver(event);
        }
    })
}

/// Takes away what no reconcile reads. Managed fields are often the larger part of an object.
fn strip<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    // An emptied map keeps its memory.
    metadata.annotations.take_if(|annotations| annotations.is_empty());
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{core::Status, runtime::reflector};
    use serde_json::json;

    use super::*;

    fn refusal(code: u16) -> watcher::Error {
        let status = Status { code, message: "no".to_owned(), ..Status::default() };
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    fn fresh(namespace: Option<&str>) -> Arc<Watch> {
        Watch::new("ConfigMap", namespace, &Metrics::new().unwrap(), REFUSED_FOR)
    }

    #[tokio::test]
    async fn everybody_who_waits_for_a_list_is_woken() {
        let watch = fresh(None);
        let waiters: Vec<_> = (0..50)
            .map(|_| {
                let watch = watch.clone();
                tokio::spawn(async move { watch.listed().await })
            })
            .collect();
        tokio::task::yield_now().await;
        watch.deliver(&Event::<()>::InitDone);
        for waiter in waiters {
            tokio::time::timeout(Duration::from_secs(60), waiter).await.unwrap().unwrap();
        }
    }

    #[test]
    fn a_refused_namespace_counts_as_listed_and_all_namespaces_do_not() {
        for (namespace, code, pending) in
            [(Some("gone"), 403, false), (Some("gone"), 404, false), (Some("gone"), 500, true), (None, 403, true)]
        {
            let watch = fresh(namespace);
            let began = Instant::now();
            for second in [0, 10, 20, 30] {
                watch.fail(&refusal(code), began + Duration::from_secs(second));
            }
            assert_eq!(watch.pending_since().is_some(), pending, "{namespace:?} {code}");
            assert!(watch.problem().unwrap().contains("ConfigMap"));
            assert_eq!(watch.refusal().is_some(), code != 500);
        }
    }

    /// An API server that has just started refuses what it allows a second later. One such answer
    /// made a namespace count as empty, and what was in it as deleted.
    #[test]
    fn a_refusal_is_believed_when_it_is_repeated_for_half_a_minute() {
        let second = Duration::from_secs(1);
        let began = Instant::now();
        let watch = fresh(Some("mq"));
        for refusals in 0..10 {
            watch.fail(&refusal(403), began + refusals * second);
            assert!(watch.pending_since().is_some(), "{refusals} s are not long");
        }
        watch.fail(&refusal(500), began + REFUSED_FOR);
        assert!(watch.pending_since().is_some(), "a failure is no refusal");
        watch.fail(&refusal(403), began + REFUSED_FOR);
        assert_eq!(watch.pending_since(), None);

        let seldom = fresh(Some("mq"));
        seldom.fail(&refusal(403), began);
        seldom.fail(&refusal(403), began + REFUSED_FOR * 2);
        assert!(seldom.pending_since().is_some(), "two are not several");
        seldom.deliver(&Event::<()>::InitDone);
        assert_eq!(seldom.refusal(), None);
        seldom.fail(&refusal(403), began + REFUSED_FOR * 3);
        assert!(seldom.refusal().unwrap().contains("namespace mq"), "what came since is not in the store");
    }

    #[test]
    fn pauses_grow_until_the_list_is_complete() {
        let watch = fresh(Some("gone"));
        let mut back_off = WatchBackoff(watch.clone());
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            watch.deliver(&Event::<()>::Init);
            watch.fail(&refusal(403), Instant::now());
            back_off.reset();
            let pause = back_off.next().unwrap();
            assert!(pause > last, "{pause:?} after {last:?}");
            last = pause;
        }
        for _ in 0..40 {
            watch.fail(&refusal(403), Instant::now());
        }
        assert!(back_off.next().unwrap() <= LONGEST_BACK_OFF.mul_f64(1.1));
        watch.deliver(&Event::<()>::InitDone);
        watch.fail(&refusal(403), Instant::now());
        assert!(back_off.next().unwrap() <= FIRST_BACK_OFF.mul_f64(1.1));
    }

    #[tokio::test]
    async fn a_store_keeps_neither_managed_fields_nor_the_last_applied_manifest() {
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "mq", "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:data": {}}}],
                "annotations": {LAST_APPLIED: "{}", "rocketmq.rs/pause": "true"},
            },
        }))
        .unwrap();
        let (store, writer) = reflector::store();
        let events = [Ok(Event::Init), Ok(Event::InitApply(map)), Ok(Event::InitDone)];
        let watch = fresh(None);
        follow(watch.clone(), stream::iter(events), Some(writer)).for_each(|_| ready(())).await;
        let kept = &store.state()[0].metadata;
        assert_eq!(kept.managed_fields, None);
        assert_eq!(kept.annotations.as_ref().unwrap().keys().collect::<Vec<_>>(), ["rocketmq.rs/pause"]);
        assert_eq!(watch.pending_since(), None);
    }
}
