//! Metrics of requests by code.

use super::request_code;
use crate::{
    feature::Feature,
    metrics_page::{MetricsPage, Written},
};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, proto::MetricType};
use rmq_protocol::RequestCode;
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Bucket bounds of the request duration in milliseconds: Java's, and smaller ones that matter
/// here.
const LATENCY_MILLIS: [f64; 13] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1000.0, 2000.0, 3000.0];

/// Requests by code.
pub(crate) struct Requests {
    registry: Registry,
    latency: FxHashMap<i32, prometheus::Histogram>,
    unknown: prometheus::IntCounter,
}

impl Requests {
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
            Opts::new("rocketmq_broker_unknown_requests_total", "Requests with an unknown code."),
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

    /// The registry in which connections register their counters.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a request that was handled on its connection's task.
    pub(crate) fn handled(&self, code: i32, time: Duration) {
        match self.latency.get(&code) {
            Some(histogram) => histogram.observe(time.as_secs_f64() * 1000.0),
            None => self.unknown.inc(),
        }
    }
}

impl Feature for Requests {
    /// Writes the metrics. Codes without a request so far are omitted.
    fn metrics(&self, to: &MetricsPage) -> Written {
        for mut family in self.registry.gather() {
            if family.get_field_type() == MetricType::HISTOGRAM {
                let mut metrics = family.take_metric();
                metrics.retain(|metric| metric.get_histogram().get_sample_count() > 0);
                family.set_metric(metrics);
            }
            to.write(family)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_once_they_were_made_with_javas_labels() {
        let metrics = Requests::new().unwrap();
        metrics.handled(RequestCode::SendMessageV2.number(), Duration::from_micros(20));
        metrics.handled(RequestCode::BrokerRuntimeInfo.number(), Duration::from_millis(2));
        metrics.handled(-7, Duration::from_millis(2));
        let page = MetricsPage::new(&[("cluster", "c")]);
        metrics.metrics(&page).unwrap();
        let text = page.into_text().unwrap();
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
