//! The broker's figures for Prometheus. Names, units and labels are those of Java 5.x where it has the figure, so that its dashboards show them.
//!
//! | file | what |
//! |---|---|
//! | this | requests, which are counted here, and the text of all figures |
//! | [`durations`] | histograms that the store has counted |
//! | [`page`] | everything else, read from those who know it when a scraper asks |
//! | [`progress`] | how far consumer groups are |
//! | [`request_code`] | Java's names of requests |

mod durations;
mod page;
mod progress;
mod request_code;

pub(crate) use page::Page;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
    proto::{LabelPair, MetricType},
};
use rmq_protocol::RequestCode;
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Bounds of the time a request takes, in milliseconds: Java's, and below them those that matter here.
const LATENCY_MILLIS: [f64; 13] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1000.0, 2000.0, 3000.0];

/// Requests by code.
pub(crate) struct Metrics {
    registry: Registry,
    latency: FxHashMap<i32, prometheus::Histogram>,
    unknown: prometheus::IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let latency = HistogramVec::new(
            HistogramOpts::new(
                "rocketmq_rpc_latency_milliseconds",
                "Time a request took on its connection's task; waiting for disk, slaves or messages is not in it.",
            )
            .buckets(LATENCY_MILLIS.into()),
            &["protocol_type", "request_code"],
        )?;
        registry.register(Box::new(latency.clone()))?;
        let unknown = IntCounterVec::new(
            Opts::new("rocketmq_broker_unknown_requests_total", "Requests with a code nobody knows."),
            &[],
        )?;
        registry.register(Box::new(unknown.clone()))?;
        let row = |code: &RequestCode| {
            (code.number(), latency.with_label_values(&["remoting", &request_code::java_name(*code)]))
        };
        Ok(Self {
            latency: RequestCode::ALL.iter().map(row).collect(),
            unknown: unknown.with_label_values::<&str>(&[]),
            registry,
        })
    }

    /// Where others register what they count themselves.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A request was handled on its connection's task.
    pub(crate) fn handled(&self, code: i32, time: Duration) {
        match self.latency.get(&code) {
            Some(histogram) => histogram.observe(time.as_secs_f64() * 1000.0),
            None => self.unknown.inc(),
        }
    }

    /// What is counted here and what was `read` for this scrape, in Prometheus' text form with `labels` on every figure. Requests that nobody has made yet
    /// are left out. What cannot be written is told in a comment, which scrapers pass over.
    fn text(&self, read: &Registry, labels: &[(&str, &str)]) -> String {
        let mut families = self.registry.gather();
        for family in &mut families {
            if family.get_field_type() == MetricType::HISTOGRAM {
                let mut metrics = family.take_metric();
                metrics.retain(|metric| metric.get_histogram().get_sample_count() > 0);
                family.set_metric(metrics);
            }
        }
        families.extend(read.gather());
        for family in &mut families {
            let mut metrics = family.take_metric();
            for metric in &mut metrics {
                let mut pairs = metric.take_label();
                pairs.extend(labels.iter().map(|(name, value)| label(name, value)));
                metric.set_label(pairs);
            }
            family.set_metric(metrics);
        }
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            text.extend_from_slice(format!("# incomplete: {error}\n").as_bytes());
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_once_they_were_made_with_javas_words() {
        let metrics = Metrics::new().unwrap();
        metrics.handled(RequestCode::SendMessageV2.number(), Duration::from_micros(20));
        metrics.handled(RequestCode::BrokerRuntimeInfo.number(), Duration::from_millis(2));
        metrics.handled(-7, Duration::from_millis(2));
        let text = metrics.text(&Registry::new(), &[("cluster", "c")]);
        for line in [
            r#"rocketmq_rpc_latency_milliseconds_bucket{protocol_type="remoting",request_code="send_message_v2",cluster="c",le="0.01"} 0"#,
            r#"rocketmq_rpc_latency_milliseconds_bucket{protocol_type="remoting",request_code="send_message_v2",cluster="c",le="0.03"} 1"#,
            r#"rocketmq_rpc_latency_milliseconds_count{protocol_type="remoting",request_code="get_broker_runtime_info",cluster="c"} 1"#,
            r#"rocketmq_broker_unknown_requests_total{cluster="c"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("pull_message"), "{text}");
    }
}
