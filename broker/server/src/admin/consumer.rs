//! Requests about clients and their progress: 203, 204, 208, 303, 308, 314, 317, 328.

use crate::{
    clock::now_millis,
    config::Live,
    core::Core,
    error::{Reason, Rejection},
    group::{
        members::{Consumers, Producers},
        offsets::ConsumerOffsets,
        subscription::SubscriptionGroups,
    },
    observe::stats::{Kind, Stats},
    role::CurrentRole,
    topic::Topics,
};
use rmq_protocol::{
    body::{
        BrokerConsumeStatsBody, ConsumeOffset, ConsumeStatsBody, ConsumeTimeSpans, ConsumerConnection,
        CorrectionOffsets, ProducerConnection, ProducerInfo, ProducerTable, QueueTimeSpan,
    },
    header::owned::{
        BrokerConsumeStats, CloneGroupOffset, ConsumeStats, ConsumerGroupRequest, ProducerGroupRequest,
        QueryConsumeTimeSpan, QueryCorrectionOffset,
    },
    message::MessageQueue,
};
use rmq_store::{MessageStore, Millis, QueueOffset};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// The state that these requests use.
pub(crate) struct ConsumerAdmin {
    role: Arc<CurrentRole>,
    store: Arc<MessageStore>,
    topics: Arc<Topics>,
    groups: Arc<SubscriptionGroups>,
    producers: Arc<Producers>,
    consumers: Arc<Consumers>,
    offsets: Arc<ConsumerOffsets>,
    settings: Arc<Live>,
    stats: Arc<Stats>,
}

impl ConsumerAdmin {
    pub(crate) fn new(core: &Core) -> Self {
        Self {
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            groups: Arc::clone(&core.groups),
            producers: Arc::clone(&core.producers),
            consumers: Arc::clone(&core.consumers),
            offsets: Arc::clone(&core.offsets),
            settings: Arc::clone(&core.settings),
            stats: Arc::clone(&core.stats),
        }
    }

    /// Request 203.
    pub(crate) fn consumer_connections(&self, header: &ConsumerGroupRequest) -> Result<ConsumerConnection, Rejection> {
        let group = self.consumers.group(&header.consumer_group).ok_or_else(|| {
            Rejection::new(
                Reason::NotOnline,
                format!("no client of the group {} is connected here", header.consumer_group),
            )
        })?;
        let body = ConsumerConnection {
            connection_set: group.clients.values().map(|client| client.describe()).collect(),
            consume_from_where: group.from_where,
            consume_type: group.consume_type,
            message_model: group.message_model,
            subscription_table: group
                .subscriptions
                .iter()
                .map(|(topic, subscription)| (topic.clone(), (**subscription).clone()))
                .collect(),
        };
        Ok(body)
    }

    /// Request 204.
    pub(crate) fn producer_connections(&self, header: &ProducerGroupRequest) -> Result<ProducerConnection, Rejection> {
        let clients = self.producers.clients(&header.producer_group);
        if clients.is_empty() {
            return Err(Rejection::new(
                Reason::Failed,
                format!("no client of the producer group {} is connected here", header.producer_group),
            ));
        }
        let body = ProducerConnection { connection_set: clients.iter().map(|client| client.describe()).collect() };
        Ok(body)
    }

    /// Request 328.
    pub(crate) fn producers(&self) -> ProducerTable {
        let info = |client: &crate::group::members::Client| ProducerInfo {
            client_id: client.id.clone(),
            language: client.language.name().to_owned(),
            last_update_timestamp: client.seen,
            // As Java writes an address.
            remote_ip: format!("/{}", client.connection.peer()),
            version: client.version,
        };
        let data = self
            .producers
            .all()
            .into_iter()
            .map(|(group, clients)| (group, clients.iter().map(info).collect()))
            .collect();
        ProducerTable { data }
    }

    /// Request 208.
    pub(crate) fn consume_stats(&self, header: &ConsumeStats) -> Result<ConsumeStatsBody, Rejection> {
        let given = |list: Option<&str>| -> Vec<String> {
            list.unwrap_or_default().split(';').filter(|topic| !topic.trim().is_empty()).map(str::to_owned).collect()
        };
        let named = [header.topic.as_deref(), header.topics.as_deref()]
            .into_iter()
            .map(given)
            .find(|topics| !topics.is_empty());
        let topics = named.unwrap_or_else(|| self.topics_of(&header.consumer_group));
        let mut body = ConsumeStatsBody::default();
        for topic in topics {
            let one = self.progress(&topic, &header.consumer_group);
            body.consume_tps += one.consume_tps;
            body.offset_table.0.extend(one.offset_table.0);
        }
        Ok(body)
    }

    fn topics_of(&self, group: &str) -> Vec<String> {
        let mut topics = self.offsets.topics_of(group);
        topics.extend(self.consumers.group(group).into_iter().flat_map(|group| group.subscriptions.into_keys()));
        topics.into_iter().collect()
    }

    fn progress(&self, topic: &str, group: &str) -> ConsumeStatsBody {
        let Some(config) = self.topics.find(topic) else {
            tracing::debug!(topic, group, "a group has offsets in a topic that is gone");
            return ConsumeStatsBody::default();
        };
        let broker_name = self.settings.load().identity.broker_name.clone();
        let rows = (0..config.read_queue_nums).map(|queue_id| {
            let (_, max) = (self.store.min_offset(topic, queue_id), self.store.max_offset(topic, queue_id));
            let consumer_offset = self.offsets.committed(topic, group, queue_id).unwrap_or(0).max(0);
            let pull_offset = self.offsets.pulled(topic, group, queue_id).unwrap_or(consumer_offset);
            let last =
                QueueOffset::from_wire(consumer_offset - 1).and_then(|offset| self.stored(topic, queue_id, offset));
            let queue = MessageQueue { broker_name: broker_name.clone(), queue_id, topic: topic.to_owned() };
            (
                queue,
                ConsumeOffset {
                    broker_offset: max.to_wire(),
                    consumer_offset,
                    last_timestamp: last.unwrap_or(0),
                    pull_offset,
                },
            )
        });
        ConsumeStatsBody {
            offset_table: rows.collect(),
            consume_tps: self.stats.rate(Kind::GroupGet, &[topic, "@", group].concat(), Instant::now()),
        }
    }

    /// The time at which a message was stored. `None` if the message is gone, or cannot be read.
    fn stored(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Option<i64> {
        self.store.store_timestamp(topic, queue_id, offset).ok().flatten().map(Millis::get)
    }

    /// Request 317.
    pub(crate) fn all_consume_stats(&self, header: &BrokerConsumeStats) -> BrokerConsumeStatsBody {
        let ordered_only = header.order.unwrap_or_default();
        let is_wanted = |topic: &String| !ordered_only || self.topics.find(topic).is_some_and(|topic| topic.order);
        let settings = self.settings.load();
        let mut body = BrokerConsumeStatsBody {
            broker_addr: crate::address::join(&settings.identity.broker_ip, settings.network.listen_port),
            ..BrokerConsumeStatsBody::default()
        };
        for group in self.groups.snapshot().subscription_group_table.into_keys() {
            let topics = self.topics_of(&group).into_iter().filter(is_wanted);
            let stats: Vec<_> = topics.map(|topic| self.progress(&topic, &group)).collect();
            for row in stats.iter().flat_map(|stats| stats.offset_table.0.values()) {
                let behind = |end: i64| end.saturating_sub(row.consumer_offset);
                body.total_diff = body.total_diff.saturating_add(behind(row.broker_offset));
                body.total_inflight_diff = body.total_inflight_diff.saturating_add(behind(row.pull_offset));
            }
            if !stats.is_empty() {
                body.consume_stats_list.push(BTreeMap::from([(group, stats)]));
            }
        }
        body
    }

    /// Request 303.
    pub(crate) fn time_spans(&self, header: &QueryConsumeTimeSpan) -> Result<ConsumeTimeSpans, Rejection> {
        let topic = self.topics.find(&header.topic).ok_or_else(|| Rejection::no_topic(&header.topic))?;
        let broker_name = self.settings.load().identity.broker_name.clone();
        let time = |queue_id, offset| self.stored(&header.topic, queue_id, offset);
        let spans = (0..topic.write_queue_nums).map(|queue_id| {
            let (min, max) =
                (self.store.min_offset(&header.topic, queue_id), self.store.max_offset(&header.topic, queue_id));
            let committed = self.offsets.committed(&header.topic, &header.group, queue_id);
            let consumed = committed
                .and_then(|offset| QueueOffset::from_wire(offset.saturating_sub(1)))
                .and_then(|offset| time(queue_id, offset));
            let min_time_stamp = time(queue_id, min).unwrap_or(-1);
            // A group that has consumed nothing is at the oldest message.
            let consume_time_stamp = consumed.unwrap_or(min_time_stamp);
            let waiting = committed.and_then(QueueOffset::from_wire).unwrap_or(min);
            let delay_time = if waiting < max {
                time(queue_id, waiting).map_or(0, |stored| now_millis().saturating_sub(stored).max(0))
            } else {
                0
            };
            QueueTimeSpan {
                consume_time_stamp,
                delay_time,
                max_time_stamp: max.before().and_then(|last| time(queue_id, last)).unwrap_or(-1),
                message_queue: MessageQueue {
                    broker_name: broker_name.clone(),
                    queue_id,
                    topic: header.topic.to_owned(),
                },
                min_time_stamp,
            }
        });
        Ok(ConsumeTimeSpans { consume_time_span_set: spans.collect() })
    }

    /// Request 314.
    pub(crate) fn clone_offsets(&self, header: &CloneGroupOffset) -> Result<(), Rejection> {
        if self.groups.find(&header.source_group).is_none() {
            return Err(Rejection::no_group(&header.source_group));
        }
        let settings = self.settings.load();
        self.groups
            .find_or_create(&header.target_group, settings.topics.auto_create_group && !self.role.is_slave())
            .ok_or_else(|| Rejection::no_group(&header.target_group))?;
        let topics = match header.topic.as_ref().filter(|topic| !topic.is_empty()) {
            Some(topic) => vec![topic.to_owned()],
            None => self.offsets.topics_of(&header.source_group).into_iter().collect(),
        };
        for topic in topics {
            self.offsets.copy(&topic, &header.source_group, &header.target_group);
        }
        Ok(())
    }

    /// Request 308: the lowest offset among the named groups, for each queue in which the compared
    /// group has an offset.
    pub(crate) fn correction_offsets(&self, header: &QueryCorrectionOffset) -> Result<CorrectionOffsets, Rejection> {
        let compared = self.offsets.queues(&header.topic, &header.compare_group);
        let mut least: BTreeMap<i32, i64> = BTreeMap::new();
        let groups = self.offsets.groups_of(&header.topic);
        let filtered: Vec<&str> =
            header.filter_groups.as_deref().unwrap_or_default().split(',').map(str::trim).collect();
        for group in groups.iter().filter(|group| !filtered.contains(&group.as_str())) {
            for (queue_id, offset) in self.offsets.queues(&header.topic, group) {
                if compared.contains_key(&queue_id) {
                    least.entry(queue_id).and_modify(|known| *known = (*known).min(offset)).or_insert(offset);
                }
            }
        }
        Ok(CorrectionOffsets { correction_offsets: least })
    }
}
