//! Metrics of traffic by topic and group.

use super::{Kind, Stats};
use crate::metrics_page::{MetricsPage, Written, is_system, yes_or_no};
use prometheus::{IntCounterVec, Opts};
use rmq_protocol::names;

pub(super) fn traffic(stats: &Stats, to: &MetricsPage) -> Written {
    let labels = ["topic", "is_system", "consumer_group"];
    for (kind, name, help) in [
        (Kind::TopicPut, "rocketmq_messages_in_total", "Messages stored since the start, by topic."),
        (
            Kind::TopicPutSize,
            "rocketmq_throughput_in_total",
            "Bytes of message bodies stored since the start, by topic.",
        ),
    ] {
        let counters = IntCounterVec::new(Opts::new(name, help), &labels[..2])?;
        for (topic, value) in stats.values(kind) {
            counters.with_label_values(&[topic.as_str(), yes_or_no(is_system(&topic, ""))]).inc_by(value);
        }
        to.register(Box::new(counters))?;
    }
    for (kind, name, help) in [
        (Kind::GroupGet, "rocketmq_messages_out_total", "Messages read since the start, by topic and group."),
        (
            Kind::GroupGetSize,
            "rocketmq_throughput_out_total",
            "Bytes of records read since the start, by topic and group.",
        ),
        (
            Kind::SendBack,
            "rocketmq_messages_sent_back_total",
            "Messages that consumers sent back to be delivered again.",
        ),
    ] {
        let counters = IntCounterVec::new(Opts::new(name, help), &labels)?;
        for (key, value) in stats.values(kind) {
            let (topic, group) = key.split_once('@').unwrap_or((&key, ""));
            counters.with_label_values(&[topic, yes_or_no(is_system(topic, group)), group]).inc_by(value);
        }
        to.register(Box::new(counters))?;
    }
    Ok(())
}

/// A message becomes a dead letter in two ways: it is sent back to the broker once too often, or
/// the client itself sends it to the retry topic once too often. The latter is counted as stored in
/// the dead-letter topic.
pub(super) fn dead_letters(stats: &Stats, to: &MetricsPage) -> Written {
    let counters = IntCounterVec::new(
        Opts::new(
            "rocketmq_send_to_dlq_messages_total",
            "Messages that were tried too often and went to the dead letters of their group.",
        ),
        &["topic", "consumer_group", "is_system"],
    )?;
    let add = |topic: &str, group: &str, value| {
        counters.with_label_values(&[topic, group, yes_or_no(is_system(topic, group))]).inc_by(value);
    };
    for (key, value) in stats.values(Kind::DeadLetter) {
        let (topic, group) = key.split_once('@').unwrap_or((&key, ""));
        add(topic, group, value);
    }
    for (topic, value) in stats.values(Kind::TopicPut) {
        if let Some(group) = names::group_of_dead_letter_topic(&topic) {
            add(&names::retry_topic(group), group, value);
        }
    }
    to.register(Box::new(counters))
}
