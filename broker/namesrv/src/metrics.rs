//! The metrics of a namesrv: `rocketmq_namesrv_*`.

use crate::Error;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};
use std::time::Duration;

/// Bounds of the registration histogram, in seconds: from a known version to 100,000 new topics.
const REGISTRATION_SECONDS: [f64; 8] = [0.000_1, 0.000_5, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0];

pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) brokers: IntGauge,
    pub(crate) groups: IntGauge,
    pub(crate) topics: IntGauge,
    pub(crate) shared_names: IntGauge,
    pub(crate) contested: IntGauge,
    pub(crate) waiting: IntGauge,
    pub(crate) waiting_bytes: IntGauge,
    pub(crate) route_bytes: IntGauge,
    pub(crate) route_bytes_limit: IntGauge,
    pub(crate) kv_bytes: IntGauge,
    pub(crate) refused: IntCounter,
    pub(crate) ended: IntGauge,
    pub(crate) unregistered: IntCounter,
    pub(crate) disconnected: IntCounter,
    pub(crate) evicted: IntCounter,
    found: IntCounter,
    not_found: IntCounter,
    unchanged: IntCounter,
    taken: IntCounter,
    registration_seconds: Histogram,
}

impl Metrics {
    /// # Errors
    /// A duplicate name, which is a bug in this crate.
    pub(crate) fn new() -> Result<Self, Error> {
        Self::registered_with(Registry::new()).map_err(|error| Error::Start(error.to_string()))
    }

    fn registered_with(registry: Registry) -> prometheus::Result<Self> {
        let gauge = |name, help| add(&registry, IntGauge::new(name, help)?);
        let counters = |name, help, label| add(&registry, IntCounterVec::new(Opts::new(name, help), &[label])?);
        let gone = counters("rocketmq_namesrv_brokers_gone_total", "Brokers removed from routes, by cause.", "how")?;
        let lookups = counters(
            "rocketmq_namesrv_route_lookups_total",
            "Route lookups, by whether the topic was found.",
            "found",
        )?;
        let registrations = counters(
            "rocketmq_namesrv_registrations_total",
            "Registrations taken, by whether their version was known and so nothing had to be done.",
            "unchanged",
        )?;
        let seconds = HistogramOpts::new("rocketmq_namesrv_registration_seconds", "Time to carry out a registration.")
            .buckets(REGISTRATION_SECONDS.into());
        Ok(Self {
            brokers: gauge("rocketmq_namesrv_brokers", "Brokers that are registered and alive.")?,
            groups: gauge("rocketmq_namesrv_broker_groups", "Broker groups with a member alive.")?,
            topics: gauge("rocketmq_namesrv_topics", "Topics that somebody serves.")?,
            shared_names: gauge(
                "rocketmq_namesrv_shared_broker_names",
                "Broker names that several clusters use: their topics and queues are mixed in routes.",
            )?,
            contested: gauge(
                "rocketmq_namesrv_contested_broker_ids",
                "Broker names and ids that two running brokers take from each other: producers write to both.",
            )?,
            waiting: gauge("rocketmq_namesrv_waiting_changes", "Changes that wait to be carried out.")?,
            waiting_bytes: gauge("rocketmq_namesrv_waiting_bytes", "Bytes of their bodies.")?,
            route_bytes: gauge("rocketmq_namesrv_route_table_bytes", "Memory that routes take, as estimated.")?,
            route_bytes_limit: gauge(
                "rocketmq_namesrv_route_table_bytes_limit",
                "Memory that routes may take (maxRouteTableBytes); registrations that need more are refused.",
            )?,
            kv_bytes: gauge("rocketmq_namesrv_kv_bytes", "Length of the KV table as JSON.")?,
            refused: add(
                &registry,
                IntCounter::new(
                    "rocketmq_namesrv_refused_registrations_total",
                    "Registrations refused as too large or as the routes are full; the log says why.",
                )?,
            )?,
            ended: gauge(
                "rocketmq_namesrv_ended_threads",
                "Threads and tasks that have to run as long as the namesrv, and ended; the log \
                 says which. Not 0: it has to be restarted.",
            )?,
            unregistered: gone.with_label_values(&["unregistered"]),
            disconnected: gone.with_label_values(&["disconnected"]),
            evicted: gone.with_label_values(&["silent"]),
            found: lookups.with_label_values(&["true"]),
            not_found: lookups.with_label_values(&["false"]),
            unchanged: registrations.with_label_values(&["true"]),
            taken: registrations.with_label_values(&["false"]),
            registration_seconds: add(&registry, Histogram::with_opts(seconds)?)?,
            registry,
        })
    }

    pub(crate) fn looked_up(&self, found: bool) {
        if found { self.found.inc() } else { self.not_found.inc() }
    }

    pub(crate) fn registered(&self, unchanged: bool, took: Duration) {
        if unchanged {
            self.unchanged.inc()
        } else {
            self.taken.inc()
        }
        self.registration_seconds.observe(took.as_secs_f64());
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
