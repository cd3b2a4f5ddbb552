//! The contents of the HTTP pages for probes and scrapes, read from the features at each request.

use crate::{
    config::Live,
    feature::List,
    metrics_page::{MetricsPage, Written},
    registration::Registration,
    replication::{Following, LogCheck},
    role::CurrentRole,
};
use rmq_remoting::{Watchdog, http::Health};
use rmq_store::MessageStore;
use std::sync::{Arc, OnceLock};

/// The contents of `/healthz`, `/readyz` and `/metrics`.
pub(super) struct Page {
    pub(super) settings: Arc<Live>,
    pub(super) role: Arc<CurrentRole>,
    pub(super) store: Arc<MessageStore>,
    pub(super) registration: Arc<Registration>,
    pub(super) following: Arc<Following>,
    pub(super) log_check: Arc<LogCheck>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) features: List,
    /// Set when the broker stops, so that probes see the stop first.
    pub(super) stopping: OnceLock<()>,
}

impl Health for Page {
    /// Fails some time after a failure that only a restart repairs. Reads go on until then, so that
    /// consumers get messages that may not be on the disk.
    fn live(&self) -> Result<(), String> {
        let store = self.store.failure().map(|failure| (failure.since, failure.why));
        let watched = self.watchdog.ended().map(|ended| (ended.since, ended.why));
        let Some((since, why)) = [store, watched].into_iter().flatten().min() else { return Ok(()) };
        let reads = self.settings.load().network.reads_after_failure.0;
        if since.elapsed() < reads {
            return Ok(());
        }
        Err(format!("{why}; reads went on for {} ms (readsAfterFailureMillis)", reads.as_millis()))
    }

    /// Ready means: registered with a namesrv, recovered (or the port would not be open), able to
    /// take writes, and, for a slave, close to its master. One namesrv is enough: a client asks
    /// another one if its own does not answer.
    fn ready(&self) -> Result<String, String> {
        if self.stopping.get().is_some() {
            return Err("stopping".to_owned());
        }
        if !self.log_check.is_open() {
            return Err(format!("the log of this master was not checked yet; {}", self.log_check.describe()));
        }
        let missing = self.registration.missing();
        let unregistered = match missing.is_empty() {
            true => String::new(),
            false => format!("not registered with {}", missing.join(", ")),
        };
        if !missing.is_empty() && !self.registration.is_registered() {
            return Err(unregistered);
        }
        if let Some(ended) = self.watchdog.ended() {
            return Err(ended.why);
        }
        let settings = self.settings.load();
        if self.role.is_slave() {
            let limit = settings.replication.max_gap;
            match self.following.lag() {
                None => {
                    let mismatch = self.following.mismatch().map(|mismatch| mismatch.to_string());
                    return Err(mismatch.unwrap_or_else(|| "not connected to the master".to_owned()));
                }
                Some(lag) if lag > limit => {
                    return Err(format!("{lag} bytes behind the master, more than {limit} (haMaxGapNotInSync)"));
                }
                Some(_) => {}
            }
        }
        match self.store.metrics().refusing {
            Some(reason) => Err(format!("the store takes no writes: {reason}")),
            None => {
                let reasons = [Some(unregistered), self.registration.contested()];
                let reasons: Vec<_> = reasons.into_iter().flatten().filter(|reasons| !reasons.is_empty()).collect();
                Ok(reasons.join("; "))
            }
        }
    }

    fn metrics(&self) -> String {
        let identity = &self.settings.load().identity;
        let labels = [
            ("cluster", identity.cluster_name.as_str()),
            ("node_type", "broker"),
            ("node_id", identity.broker_name.as_str()),
        ];
        let page = MetricsPage::new(&labels);
        let written = self.write(&page).and_then(|()| page.into_text());
        written.unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be shown");
            String::new()
        })
    }
}

impl Page {
    fn write(&self, to: &MetricsPage) -> Written {
        self.features.iter().try_for_each(|feature| feature.metrics(to))?;
        to.gauge(
            "rocketmq_broker_permission",
            "What this broker permits: 2 write, 4 read, 6 both.",
            f64::from(self.settings.load().topics.permission),
        )?;
        to.counter(
            "rocketmq_broker_ended_threads_total",
            "Threads and tasks that have to run as long as the broker, and ended; the log says \
             which. Not 0: it has to be restarted.",
            self.watchdog.count() + self.store.metrics().threads_ended,
        )
    }
}
