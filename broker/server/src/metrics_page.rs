//! The text of one scrape.
//!
//! Each metric is written and dropped at once. Collected as a whole, with a row for each of ten
//! thousand topics and groups, the metrics took 2 KiB of memory per row, and the allocator kept
//! that for each thread that had ever answered a scrape. The text of a row has 200 bytes.

use prometheus::{
    Gauge, IntCounter, IntGauge, IntGaugeVec, Opts, TextEncoder,
    core::Collector,
    proto::{LabelPair, Metric, MetricFamily},
};
use rmq_protocol::names;
use std::{cell::RefCell, collections::BTreeMap};

/// A metric with one label, whose rows come from several features.
pub(crate) struct SharedGauge {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) label: &'static str,
}

/// Java has a row for each of its thread pools. Here sends, pulls and heartbeats are handled as
/// they are read.
pub(crate) const WAITING: SharedGauge = SharedGauge {
    name: "rocketmq_processor_watermark",
    help: "Requests that wait: shared ones for a turn of their connection, the disk or the answer \
     of another process, those of them that are at work on threads (at_work), sends for disk \
     blocks, their flush or their slaves. Beyond 10,000 at work more are refused, and beyond 10,000 \
     for blocks.",
    label: "processor",
};

/// The limit of groups and topics that are shown. Larger brokers need other tools.
pub(crate) const MAX_ROWS: usize = 10_000;

/// Whether the topic or the group is a system one in Java's labels.
pub(crate) fn is_system(topic: &str, group: &str) -> bool {
    names::is_system_topic(topic) || names::is_system_group(group)
}

/// A boolean label value.
pub(crate) fn yes_or_no(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

type Rows = (&'static SharedGauge, Vec<(&'static str, usize)>);

/// Whether metrics could be written.
pub(crate) type Written = prometheus::Result<()>;

/// Metrics in Prometheus' text format, with common labels on each.
pub(crate) struct MetricsPage {
    labels: Vec<LabelPair>,
    text: RefCell<String>,
    rows: RefCell<BTreeMap<&'static str, Rows>>,
}

impl MetricsPage {
    pub(crate) fn new(labels: &[(&str, &str)]) -> Self {
        Self {
            labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
            text: RefCell::default(),
            rows: RefCell::default(),
        }
    }

    /// Writes the current metrics of a collector. A metric without rows is omitted. The name is
    /// that of the registry method that this one replaces.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn register(&self, collector: Box<dyn Collector>) -> Written {
        collector.collect().into_iter().try_for_each(|family| self.write(family))
    }

    /// Writes what a collector or a registry has gathered.
    ///
    /// # Errors
    /// As [`MetricsPage::register`].
    pub(crate) fn write(&self, mut family: MetricFamily) -> Written {
        let mut metrics = family.take_metric();
        if metrics.is_empty() {
            return Ok(());
        }
        // A registry sorts the rows, a collector does not.
        metrics.sort_by(|one, other| values(one).cmp(values(other)));
        for metric in &mut metrics {
            let mut pairs = metric.take_label();
            pairs.extend(self.labels.iter().cloned());
            metric.set_label(pairs);
        }
        family.set_metric(metrics);
        TextEncoder::new().encode_utf8(&[family], &mut self.text.borrow_mut())
    }

    /// Writes a gauge.
    ///
    /// # Errors
    /// As [`MetricsPage::register`].
    pub(crate) fn gauge(&self, name: &str, help: &str, value: f64) -> Written {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.register(Box::new(gauge))
    }

    /// Writes a current number as a gauge.
    ///
    /// # Errors
    /// As [`MetricsPage::register`].
    pub(crate) fn count(&self, name: &str, help: &str, value: usize) -> Written {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(value as i64);
        self.register(Box::new(gauge))
    }

    /// Writes a counter: the number since the start.
    ///
    /// # Errors
    /// As [`MetricsPage::register`].
    pub(crate) fn counter(&self, name: &str, help: &str, value: u64) -> Written {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.register(Box::new(counter))
    }

    /// Adds a row to a metric that several features contribute to. The metric is written at the
    /// end.
    pub(crate) fn row(&self, shared: &'static SharedGauge, value_of_label: &'static str, value: usize) {
        let mut rows = self.rows.borrow_mut();
        rows.entry(shared.name).or_insert_with(|| (shared, Vec::new())).1.push((value_of_label, value));
    }

    /// The text.
    ///
    /// # Errors
    /// As [`MetricsPage::register`].
    pub(crate) fn into_text(self) -> prometheus::Result<String> {
        for (shared, rows) in self.rows.take().into_values() {
            let gauges = IntGaugeVec::new(Opts::new(shared.name, shared.help), &[shared.label])?;
            for (value_of_label, value) in rows {
                gauges.with_label_values(&[value_of_label]).set(value as i64);
            }
            self.register(Box::new(gauges))?;
        }
        Ok(self.text.into_inner())
    }
}

fn values(metric: &Metric) -> impl Iterator<Item = &str> {
    metric.get_label().iter().map(LabelPair::value)
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
