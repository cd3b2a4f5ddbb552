//! What a load has shown.

use crate::output;
use hdrhistogram::Histogram;
use serde::Serialize;

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Some lines
    Text,
    /// One JSON object
    Json,
}

/// What was done in the measured time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counted {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_failure: Option<String>,
}

/// CPU seconds: of the broker, if its process is known, and our own.
pub(super) struct Cost {
    pub(super) broker: Option<f64>,
    pub(super) own: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    #[serde(flatten)]
    counted: Counted,
    rate: f64,
    /// What a time is the time of.
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker_cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker_cpu_seconds_per_million: Option<f64>,
    own_cpu_seconds_per_million: f64,
}

/// In milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    mean: f64,
    p50: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl Report {
    /// `times` in nanoseconds, each the time of a `unit`.
    pub(super) fn new(unit: &'static str, counted: Counted, times: &Histogram<u64>, cost: Cost) -> Self {
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let messages = counted.messages.max(1) as f64;
        let per_million = |cpu: f64| cpu * 1e6 / messages;
        Self {
            rate: counted.messages as f64 / counted.seconds,
            unit,
            times: (!times.is_empty()).then(|| Times {
                mean: times.mean() / 1e6,
                p50: millis(times.value_at_quantile(0.5)),
                p99: millis(times.value_at_quantile(0.99)),
                p999: millis(times.value_at_quantile(0.999)),
                max: millis(times.max()),
            }),
            broker_cpu_seconds: cost.broker,
            broker_cpu_seconds_per_million: cost.broker.map(per_million),
            own_cpu_seconds_per_million: per_million(cost.own),
            counted,
        }
    }

    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let text = match format {
            Format::Text => self.text(),
            Format::Json => serde_json::to_string_pretty(self)?,
        };
        output::print(&text)
    }

    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} messages in {:.2} s: {:.0} a second, {:.1} MB a second",
            self.counted.messages,
            self.counted.seconds,
            self.rate,
            self.counted.bytes as f64 / self.counted.seconds / 1e6
        )];
        if let Some(times) = &self.times {
            lines.push(format!(
                "{} in ms: mean {:.3}  p50 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}",
                self.unit, times.mean, times.p50, times.p99, times.p999, times.max
            ));
        }
        if let (Some(seconds), Some(per_million)) = (self.broker_cpu_seconds, self.broker_cpu_seconds_per_million) {
            lines.push(format!("CPU of the broker: {seconds:.2} s, {per_million:.2} s a million messages"));
        }
        lines.push(format!("CPU of this load: {:.2} s a million messages", self.own_cpu_seconds_per_million));
        if let Some(why) = &self.counted.first_failure {
            lines.push(format!("{} failed, the first: {why}", self.counted.failed));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_rate_percentiles_and_cost() {
        let mut times = Histogram::new_with_max(60_000_000_000, 3).unwrap();
        for millis in 1..=1000 {
            times.record(millis * 1_000_000).unwrap();
        }
        let counted =
            Counted { messages: 1000, bytes: 1_024_000, seconds: 2.0, failed: 1, first_failure: Some("busy".into()) };
        let report = Report::new("send", counted, &times, Cost { broker: Some(0.05), own: 0.02 });
        assert_eq!(
            report.text(),
            "1000 messages in 2.00 s: 500 a second, 0.5 MB a second\n\
             send in ms: mean 500.500  p50 500.171  p99 990.380  p99.9 999.293  max 1000.342\n\
             CPU of the broker: 0.05 s, 50.00 s a million messages\n\
             CPU of this load: 20.00 s a million messages\n\
             1 failed, the first: busy"
        );
        let empty = Histogram::new_with_max(10, 3).unwrap();
        let counted = Counted { messages: 0, bytes: 0, seconds: 1.0, failed: 0, first_failure: None };
        let nothing = Report::new("pull", counted, &empty, Cost { broker: None, own: 0.1 });
        assert_eq!(nothing.text().lines().count(), 2);
    }
}
