//! Metrics of the operator for `/metrics`. No label is a topic or an object: their state is in
//! their status, where kube-state-metrics reads it. Namespaces are those of `watchNamespaces`.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    histogram_opts,
};
use rmq_remoting::http::Places;

/// All of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    durations: HistogramVec,
    errors: IntCounterVec,
    applied: IntCounterVec,
    drift: IntCounterVec,
    admin_calls: HistogramVec,
    leader: IntGauge,
    watches_listed: IntGaugeVec,
    watch_failures: IntCounterVec,
    waiting: IntGaugeVec,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    ///
    /// # Errors
    /// Never in practice: names are constants, and a test makes one.
    pub fn new() -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let histogram = |options: HistogramOpts, labels: &[&str]| HistogramVec::new(options, labels);
        let metrics = Self {
            registry: Registry::new(),
            reconciles: counter(
                "rocketmq_operator_reconcile_total",
                "Reconciles by kind and result.",
                &["kind", "result"],
            )?,
            durations: histogram(
                histogram_opts!(
                    "rocketmq_operator_reconcile_duration_seconds",
                    "Time of one reconcile.",
                    vec![0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0]
                ),
                &["kind"],
            )?,
            errors: counter(
                "rocketmq_operator_reconcile_errors_total",
                "Reconciles that could not finish, by kind and reason.",
                &["kind", "reason"],
            )?,
            applied: counter(
                "rocketmq_operator_apply_changed_total",
                "Objects that an apply really changed, by kind. A steady rate means that another \
                 client changes them back.",
                &["kind"],
            )?,
            drift: counter(
                "rocketmq_operator_drift_corrected_total",
                "Times that a broker differed from an object and was written back, by kind.",
                &["kind"],
            )?,
            admin_calls: histogram(
                histogram_opts!(
                    "rocketmq_operator_admin_call_seconds",
                    "Time of a call to a broker or namesrv, by call and result.",
                    vec![0.001, 0.01, 0.1, 1.0, 5.0]
                ),
                &["call", "result"],
            )?,
            leader: IntGauge::new("rocketmq_operator_leader", "1 while this replica holds the lease and reconciles.")?,
            watches_listed: gauge(
                "rocketmq_operator_watch_listed",
                "1 when the objects of a kind are known, by kind and watched namespace (empty: \
                 all). 0 while their list is waited for or refused.",
                &["kind", "namespace"],
            )?,
            watch_failures: counter(
                "rocketmq_operator_watch_failures_total",
                "Lists and watches that failed, by kind, watched namespace (empty: all) and \
                 whether the API server refused.",
                &["kind", "namespace", "reason"],
            )?,
            waiting: gauge(
                "rocketmq_operator_waiting_objects",
                "Objects that came or changed and were not reconciled since, by kind and watched \
                 namespace (empty: all).",
                &["kind", "namespace"],
            )?,
        };
        let counters =
            [&metrics.reconciles, &metrics.errors, &metrics.applied, &metrics.drift, &metrics.watch_failures];
        for metric in counters {
            metrics.registry.register(Box::new(metric.clone()))?;
        }
        for metric in [&metrics.durations, &metrics.admin_calls] {
            metrics.registry.register(Box::new(metric.clone()))?;
        }
        for metric in [&metrics.watches_listed, &metrics.waiting] {
            metrics.registry.register(Box::new(metric.clone()))?;
        }
        metrics.registry.register(Box::new(metrics.leader.clone()))?;
        Ok(metrics)
    }

    /// A reconcile that ended well.
    pub fn reconciled(&self, kind: &str, took: Duration) {
        self.reconciles.with_label_values(&[kind, "ok"]).inc();
        self.durations.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// A reconcile that could not finish.
    pub fn failed(&self, kind: &str, reason: &str) {
        self.reconciles.with_label_values(&[kind, "error"]).inc();
        self.errors.with_label_values(&[kind, reason]).inc();
    }

    /// An apply that changed an object.
    pub fn applied(&self, kind: &str) {
        self.applied.with_label_values(&[kind]).inc();
    }

    /// A difference on a broker that was written back.
    pub fn drift_corrected(&self, kind: &str) {
        self.drift.with_label_values(&[kind]).inc();
    }

    /// A call to a broker or namesrv.
    pub fn admin_call(&self, call: &str, ok: bool, took: Duration) {
        self.admin_calls.with_label_values(&[call, if ok { "ok" } else { "error" }]).observe(took.as_secs_f64());
    }

    /// Whether this replica reconciles.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Whether the objects of a watch are known. `None`: all namespaces.
    pub fn watch_listed(&self, kind: &str, namespace: Option<&str>, listed: bool) {
        self.watches_listed.with_label_values(&[kind, namespace.unwrap_or_default()]).set(i64::from(listed));
    }

    /// A list or watch that failed.
    pub fn watch_failed(&self, kind: &str, namespace: Option<&str>, reason: &str) {
        self.watch_failures.with_label_values(&[kind, namespace.unwrap_or_default(), reason]).inc();
    }

    /// Objects of a controller that wait for a reconcile.
    pub fn waiting(&self, kind: &str, namespace: Option<&str>, objects: usize) {
        let objects = i64::try_from(objects).unwrap_or(i64::MAX);
        self.waiting.with_label_values(&[kind, namespace.unwrap_or_default()]).set(objects);
    }

    /// Adds those of the HTTP port.
    pub(crate) fn add(&self, places: &Places) -> prometheus::Result<()> {
        places.register(&self.registry)
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        // Writing into memory does not fail; a metric that cannot be encoded is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut buffer);
        String::from_utf8(buffer).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_appears_once_it_moved() {
        let metrics = Metrics::new().unwrap();
        metrics.reconciled("RocketMQTopic", Duration::from_millis(20));
        metrics.failed("RocketMQTopic", "unreachable");
        metrics.applied("Service");
        metrics.drift_corrected("RocketMQTopic");
        metrics.admin_call("topics", true, Duration::from_millis(2));
        metrics.leading(true);
        metrics.watch_listed("RocketMQTopic", Some("mq"), false);
        metrics.watch_failed("RocketMQTopic", Some("mq"), "refused");
        metrics.waiting("RocketMQTopic", None, 7);
        let text = metrics.text();
        for line in [
            r#"rocketmq_operator_reconcile_total{kind="RocketMQTopic",result="ok"} 1"#,
            r#"rocketmq_operator_reconcile_errors_total{kind="RocketMQTopic",reason="unreachable"} 1"#,
            r#"rocketmq_operator_apply_changed_total{kind="Service"} 1"#,
            r#"rocketmq_operator_drift_corrected_total{kind="RocketMQTopic"} 1"#,
            r#"rocketmq_operator_admin_call_seconds_count{call="topics",result="ok"} 1"#,
            "rocketmq_operator_leader 1",
            r#"rocketmq_operator_watch_listed{kind="RocketMQTopic",namespace="mq"} 0"#,
            r#"rocketmq_operator_watch_failures_total{kind="RocketMQTopic",namespace="mq",reason="refused"} 1"#,
            r#"rocketmq_operator_waiting_objects{kind="RocketMQTopic",namespace=""} 7"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
