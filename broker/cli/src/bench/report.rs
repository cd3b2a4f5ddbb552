//! What a load has shown.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::io::{self, Write};

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Some lines
    Text,
    /// One JSON object
    Json,
}

/// Times are in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    messages: u64,
    bytes: u64,
    seconds: f64,
    rate: f64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
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
    /// `failed`: how many steps, and why the first did. `cpu`: seconds of the broker, if known, and our own.
    pub(super) fn new(
        unit: &'static str,
        messages: u64,
        bytes: u64,
        seconds: f64,
        times: &Histogram<u64>,
        (failed, first_failure): (u64, Option<String>),
        (broker, own): (Option<f64>, f64),
    ) -> Self {
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let per_million = |cpu: f64| if messages > 0 { cpu * 1e6 / messages as f64 } else { 0.0 };
        Self {
            messages,
            bytes,
            seconds,
            rate: messages as f64 / seconds,
            failed,
            first_failure,
            unit,
            times: (!times.is_empty()).then(|| Times {
                mean: times.mean() / 1e6,
                p50: millis(times.value_at_quantile(0.5)),
                p99: millis(times.value_at_quantile(0.99)),
                p999: millis(times.value_at_quantile(0.999)),
                max: millis(times.max()),
            }),
            broker_cpu_seconds: broker,
            broker_cpu_seconds_per_million: broker.map(per_million),
            own_cpu_seconds_per_million: per_million(own),
        }
    }

    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let text = match format {
            Format::Text => self.text(),
            Format::Json => serde_json::to_string_pretty(self)?,
        };
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} messages in {:.2} s: {:.0} a second, {:.1} MB a second",
            self.messages,
            self.seconds,
            self.rate,
            self.bytes as f64 / self.seconds / 1e6
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
        if let Some(why) = &self.first_failure {
            lines.push(format!("{} failed, the first: {why}", self.failed));
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
        let report = Report::new("send", 1000, 1_024_000, 2.0, &times, (1, Some("busy".into())), (Some(0.05), 0.02));
        assert_eq!(
            report.text(),
            "1000 messages in 2.00 s: 500 a second, 0.5 MB a second\n\
             send in ms: mean 500.500  p50 500.171  p99 990.380  p99.9 999.293  max 1000.342\n\
             CPU of the broker: 0.05 s, 50.00 s a million messages\n\
             CPU of this load: 20.00 s a million messages\n\
             1 failed, the first: busy"
        );
        let empty = Histogram::new_with_max(10, 3).unwrap();
        let nothing = Report::new("pull", 0, 0, 1.0, &empty, (0, None), (None, 0.1));
        assert_eq!(nothing.text().lines().count(), 2);
    }
}
