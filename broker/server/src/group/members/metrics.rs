//! Metrics of connected clients.

use super::{Client, Consumers, Producers};
use crate::metrics_page::{MAX_ROWS, MetricsPage, Written, yes_or_no};
use prometheus::{IntGaugeVec, Opts};
use rmq_protocol::{body::ConsumeType, names, version};

/// Writes the number of clients by language and version.
pub(crate) fn metrics(of_producers: &Producers, of_consumers: &Consumers, to: &MetricsPage) -> Written {
    let producers = IntGaugeVec::new(
        Opts::new("rocketmq_producer_connections", "Producers connected now, by language and version."),
        &["language", "version", "protocol_type"],
    )?;
    for client in of_producers.all().values().flatten() {
        let (language, version) = software(client);
        producers.with_label_values(&[language.as_str(), &version, "remoting"]).inc();
    }
    to.register(Box::new(producers))?;
    let consumers = IntGaugeVec::new(
        Opts::new("rocketmq_consumer_connections", "Consumers connected now, by group, language and version."),
        &["consumer_group", "language", "version", "consume_mode", "protocol_type", "is_system"],
    )?;
    for (name, group) in of_consumers.all(MAX_ROWS) {
        let mode = match group.consume_type {
            ConsumeType::Actively => "pull",
            ConsumeType::Passively => "push",
            ConsumeType::Pop => "pop",
        };
        let system = yes_or_no(names::is_system_group(&name));
        for client in group.clients.values() {
            let (language, version) = software(client);
            consumers.with_label_values(&[name.as_str(), &language, &version, mode, "remoting", system]).inc();
        }
    }
    to.register(Box::new(consumers))
}

/// A client's language and version, in the form of Java's labels.
fn software(client: &Client) -> (String, String) {
    (client.language.name().to_lowercase(), version::name(client.version).to_lowercase())
}
