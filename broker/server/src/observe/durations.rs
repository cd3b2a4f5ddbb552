//! Exports durations that are counted in buckets of powers of two as a Prometheus histogram in
//! seconds.

use prometheus::{
    Opts,
    core::{Collector, Desc, Describer},
    proto::{Bucket, Histogram, Metric, MetricFamily, MetricType},
};
use std::time::Duration;

/// A snapshot of one histogram.
pub(super) struct Durations {
    desc: Desc,
    counted: rmq_store::Histogram,
}

impl Durations {
    pub(super) fn new(name: &str, help: &str, counted: rmq_store::Histogram) -> prometheus::Result<Self> {
        Ok(Self { desc: Opts::new(name, help).describe()?, counted })
    }
}

impl Collector for Durations {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut so_far = 0;
        // The last bucket has no upper bound. Prometheus derives it from the total count.
        let bounded = self.counted.buckets.iter().take(rmq_store::BUCKETS - 1);
        let buckets = bounded.enumerate().map(|(power, count)| {
            so_far += count;
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(so_far);
            bucket.set_upper_bound(Duration::from_micros(1 << power).as_secs_f64());
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.counted.count());
        histogram.set_sample_sum(self.counted.total.as_secs_f64());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};

    #[test]
    fn buckets_add_up_and_end_in_seconds() {
        let mut buckets = [0; rmq_store::BUCKETS];
        (buckets[0], buckets[10], buckets[rmq_store::BUCKETS - 1]) = (1, 5, 2);
        let counted = rmq_store::Histogram { buckets, total: Duration::from_secs(90), max: Duration::from_secs(44) };
        let registry = Registry::new();
        registry.register(Box::new(Durations::new("d_seconds", "How long.", counted).unwrap())).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "# TYPE d_seconds histogram",
            "d_seconds_bucket{le=\"0.000001\"} 1",
            "d_seconds_bucket{le=\"0.000512\"} 1",
            "d_seconds_bucket{le=\"0.001024\"} 6",
            "d_seconds_bucket{le=\"+Inf\"} 8",
            "d_seconds_sum 90",
            "d_seconds_count 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
