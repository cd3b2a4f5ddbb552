//! The text of one scrape.
//!
//! Figures are written as they come and dropped: with a row for each of ten thousand topics and groups all of them together took 2 KiB of memory a row, and the allocator kept
//! that for each thread that had answered a scraper once. A row's text has 200 bytes.

use prometheus::{
    Gauge, IntCounter, IntGauge, TextEncoder,
    core::Collector,
    proto::{LabelPair, Metric, MetricFamily},
};
use std::cell::RefCell;

/// Whether figures could be written.
pub(super) type Filled = prometheus::Result<()>;

/// Figures in Prometheus' text form, with some labels on each.
pub(super) struct Sheet {
    labels: Vec<LabelPair>,
    text: RefCell<String>,
}

impl Sheet {
    pub(super) fn new(labels: &[(&str, &str)]) -> Self {
        Self { labels: labels.iter().map(|(name, value)| label(name, value)).collect(), text: RefCell::default() }
    }

    /// Writes figures as they are now; those without rows are left out. Named as the method of a registry, in whose place this is.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn register(&self, figures: Box<dyn Collector>) -> Filled {
        figures.collect().into_iter().try_for_each(|family| self.write(family))
    }

    /// Writes what a collector or a registry has gathered.
    ///
    /// # Errors
    /// As [`Sheet::register`].
    pub(super) fn write(&self, mut family: MetricFamily) -> Filled {
        let mut metrics = family.take_metric();
        if metrics.is_empty() {
            return Ok(());
        }
        // A registry sorts them, a collector does not.
        metrics.sort_by(|one, other| values(one).cmp(values(other)));
        for metric in &mut metrics {
            let mut pairs = metric.take_label();
            pairs.extend(self.labels.iter().cloned());
            metric.set_label(pairs);
        }
        family.set_metric(metrics);
        TextEncoder::new().encode_utf8(&[family], &mut self.text.borrow_mut())
    }

    /// Writes a measure that goes up and down.
    ///
    /// # Errors
    /// As [`Sheet::register`].
    pub(super) fn gauge(&self, name: &str, help: &str, value: f64) -> Filled {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.register(Box::new(gauge))
    }

    /// Writes how many there are.
    ///
    /// # Errors
    /// As [`Sheet::register`].
    pub(super) fn count(&self, name: &str, help: &str, value: usize) -> Filled {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(value as i64);
        self.register(Box::new(gauge))
    }

    /// Writes how many there have been since the start.
    ///
    /// # Errors
    /// As [`Sheet::register`].
    pub(super) fn counter(&self, name: &str, help: &str, value: u64) -> Filled {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.register(Box::new(counter))
    }

    pub(super) fn into_text(self) -> String {
        self.text.into_inner()
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
