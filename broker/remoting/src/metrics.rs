//! The metrics of connections in Prometheus' format.

use crate::Counters;
use prometheus::{
    Encoder, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// Exports [`Counters`] through a process' [`Registry`]: `rocketmq_remoting_*`, with a label `side`
/// that separates accepted connections (`server`) from those that this process opened (`client`).
pub struct Connections {
    side: &'static str,
    counters: Arc<Counters>,
    descriptions: Vec<Desc>,
}

struct Row {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: fn(&Counters) -> u64,
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Counters) -> u64) -> Row {
    Row { name, help, kind: MetricType::COUNTER, read }
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Counters) -> u64) -> Row {
    Row { name, help, kind: MetricType::GAUGE, read }
}

const ROWS: [Row; 23] = [
    gauge("rocketmq_remoting_connections", "Connections that are open now.", |counters| {
        counters.connections.load(Relaxed) as u64
    }),
    gauge(
        "rocketmq_remoting_outbox_bytes",
        "Bytes that peers have not read yet; a peer that leaves more than 8 MiB is not read from until it reads.",
        |counters| counters.outbox_bytes.load(Relaxed) as u64,
    ),
    gauge(
        "rocketmq_remoting_input_bytes",
        "Bytes of buffers that connections read into, incomplete frames among them.",
        |counters| counters.input_bytes.load(Relaxed) as u64,
    ),
    gauge(
        "rocketmq_remoting_waiting_request_bytes",
        "Bytes of requests that wait for threads, the disk or other processes; a peer with more \
         than 16 MiB is not read from.",
        |counters| counters.deferred_bytes.load(Relaxed) as u64,
    ),
    gauge(
        "rocketmq_remoting_buffer_bytes",
        "Bytes of all input buffers, requests that wait and unread responses that share this side's \
         limit, which by default is one for the whole process.",
        |counters| counters.budget.used() as u64,
    ),
    gauge(
        "rocketmq_remoting_buffer_limit_bytes",
        "Above so many bytes of buffers a connection with more than its share is not read from, \
         and closed if it does not give back half of it within 10 s.",
        |counters| counters.budget.limit() as u64,
    ),
    gauge(
        "rocketmq_remoting_held_back_connections",
        "Connections not read from just now: too many bytes wait for the peer, too many of its \
         requests for a response, or it holds more than its share of the memory.",
        |counters| counters.held_back.load(Relaxed) as u64,
    ),
    counter(
        "rocketmq_remoting_held_back_for_outbox_total",
        "Times a connection was not read from because too many bytes waited for its peer to read.",
        |counters| counters.held_back_for_outbox.load(Relaxed),
    ),
    counter(
        "rocketmq_remoting_held_back_for_requests_total",
        "Times a connection was not read from because 65,536 of its requests were without a \
         response, or 1,000 or 16 MiB of them waited for threads, the disk or others.",
        |counters| counters.held_back_for_requests.load(Relaxed),
    ),
    counter(
        "rocketmq_remoting_held_back_for_memory_total",
        "Times a connection was not read from because it held more than its share while buffers \
         took more than their limit.",
        |counters| counters.held_back_for_memory.load(Relaxed),
    ),
    counter(
        "rocketmq_remoting_closed_for_memory_total",
        "Connections closed because they kept more than their share while buffers took more than their limit.",
        |counters| counters.closed_for_memory.load(Relaxed),
    ),
    counter(
        "rocketmq_remoting_handler_panics_total",
        "Connections closed because a request made its handler panic: a fault of this program.",
        |counters| counters.panics.load(Relaxed),
    ),
    counter(
        "rocketmq_remoting_requests_refused_total",
        "Requests of this process not sent because 65,536 waited for a response or the peer did not read.",
        |counters| counters.requests_refused.load(Relaxed),
    ),
    counter("rocketmq_remoting_accepted_total", "Connections opened since the start.", |counters| {
        counters.accepted.load(Relaxed)
    }),
    counter("rocketmq_remoting_refused_total", "Connections closed at once because there were too many.", |counters| {
        counters.refused.load(Relaxed)
    }),
    counter("rocketmq_remoting_malformed_total", "Connections closed for bytes that are no frame.", |counters| {
        counters.malformed.load(Relaxed)
    }),
    counter("rocketmq_remoting_idle_closed_total", "Connections closed by the idle timeout.", |counters| {
        counters.idle_closed.load(Relaxed)
    }),
    counter("rocketmq_remoting_frames_in_total", "Commands read: requests and responses.", |counters| {
        counters.frames_in.load(Relaxed)
    }),
    counter("rocketmq_remoting_frames_out_total", "Commands written: requests and responses.", |counters| {
        counters.frames_out.load(Relaxed)
    }),
    counter("rocketmq_remoting_bytes_in_total", "Bytes read from connections.", |counters| {
        counters.bytes_in.load(Relaxed)
    }),
    counter("rocketmq_remoting_bytes_out_total", "Bytes written to connections.", |counters| {
        counters.bytes_out.load(Relaxed)
    }),
    counter(
        "rocketmq_remoting_pauses_total",
        "Groups of 4 to 64 requests after whose responses a thread paused for up to 128 \
         microseconds, so that others gather.",
        |counters| counters.pauses.load(Relaxed),
    ),
    counter(
        "rocketmq_remoting_pushes_dropped_total",
        "One-way commands not sent because the peer did not read.",
        |counters| counters.pushes_dropped.load(Relaxed),
    ),
];

impl Connections {
    /// Creates the collector of the connections that share `counters`; `side` is `server` or
    /// `client`.
    pub fn new(side: &'static str, counters: Arc<Counters>) -> Self {
        let labels = || [("side".to_owned(), side.to_owned())].into();
        let description = |row: &Row| Desc::new(row.name.to_owned(), row.help.to_owned(), Vec::new(), labels());
        // A description fails only if its name is invalid in Prometheus; the test below reads all
        // of them.
        let descriptions = ROWS.iter().filter_map(|row| description(row).ok()).collect();
        Self { side, counters, descriptions }
    }
}

impl Collector for Connections {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        ROWS.iter()
            .map(|row| {
                let mut label = LabelPair::default();
                label.set_name("side".to_owned());
                label.set_value(self.side.to_owned());
                let mut metric = Metric::default();
                metric.set_label(vec![label]);
                let value = (row.read)(&self.counters) as f64;
                if row.kind == MetricType::GAUGE {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                } else {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                }
                let mut family = MetricFamily::default();
                family.set_name(row.name.to_owned());
                family.set_help(row.help.to_owned());
                family.set_field_type(row.kind);
                family.set_metric(vec![metric]);
                family
            })
            .collect()
    }
}

/// All metrics of a registry in Prometheus' text format. A metric that cannot be encoded is
/// reported in a comment, which scrapers ignore.
pub fn text(registry: &Registry) -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        text.extend_from_slice(format!("# incomplete: {error}\n").as_bytes());
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_process_are_in_one_registry() {
        let registry = Registry::new();
        let (server, client) = (Arc::<Counters>::default(), Arc::<Counters>::default());
        registry.register(Box::new(Connections::new("server", Arc::clone(&server)))).unwrap();
        registry.register(Box::new(Connections::new("client", Arc::clone(&client)))).unwrap();
        server.connections.store(3, Relaxed);
        client.bytes_in.store(70, Relaxed);
        let text = text(&registry);
        for line in [
            "# TYPE rocketmq_remoting_connections gauge",
            "rocketmq_remoting_connections{side=\"server\"} 3",
            "# TYPE rocketmq_remoting_bytes_in_total counter",
            "rocketmq_remoting_bytes_in_total{side=\"client\"} 70",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 2 * ROWS.len());
    }
}
