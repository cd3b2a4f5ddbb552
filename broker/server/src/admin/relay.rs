//! Requests of tools that a client must answer: 220 to 223, 307, 309.

use crate::{
    blocking::blocking,
    clock::now_millis,
    config::Live,
    core::Core,
    error::{Reason, Rejection},
    group::{
        members::{Client, Consumers},
        offsets::ConsumerOffsets,
        subscription::SubscriptionGroups,
    },
    role::CurrentRole,
    topic::Topics,
};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{ConsumerStatusBody, MessageModel, QueueMap, QueueOffset, ResetOffsetBody, ResetOffsetListBody},
    fastjson,
    header::{
        self, ResetConsumerClientOffset,
        owned::{ConsumeMessageDirectly, ConsumerRunningInfo, ConsumerStatus, ResetOffset},
    },
    language::Language,
    message::{MessageQueue, OffsetId},
};
use rmq_remoting::Turn;
use rmq_store::{Boundary, LogOffset, MessageStore, Millis};
use std::{sync::Arc, time::Duration};

/// The timeout of a client's response.
const CLIENT: Duration = Duration::from_secs(10);

/// The value that Java's tools send for a number that is not set.
const NOT_SET: i32 = -1;

/// The target of an offset reset.
#[derive(Debug, Clone, Copy)]
enum Target {
    Offset(u64),
    End,
    /// Milliseconds since 1970.
    Time(i64),
}

impl Target {
    fn of(header: &ResetOffset) -> Result<Self, Rejection> {
        let one_queue = header.queue_id.is_some_and(|queue_id| queue_id != NOT_SET);
        match header.offset.filter(|offset| *offset != i64::from(NOT_SET)) {
            Some(offset) if !one_queue => {
                return Err(Rejection::number("offset", offset, "without a queueId, a timestamp alone is wanted"));
            }
            Some(offset) => {
                let wanted = "0 or more, or -1 for a timestamp instead, is wanted";
                return u64::try_from(offset)
                    .map(Self::Offset)
                    .map_err(|_| Rejection::number("offset", offset, wanted));
            }
            None => {}
        }
        match header.timestamp {
            -1 => Ok(Self::End),
            time @ 0.. => Ok(Self::Time(time)),
            time => Err(Rejection::number("timestamp", time, "milliseconds since 1970, or -1 for the end, are wanted")),
        }
    }
}

/// The state that these requests use.
pub(crate) struct Relay {
    role: Arc<CurrentRole>,
    store: Arc<MessageStore>,
    topics: Arc<Topics>,
    consumers: Arc<Consumers>,
    offsets: Arc<ConsumerOffsets>,
    groups: Arc<SubscriptionGroups>,
    settings: Arc<Live>,
}

impl Relay {
    pub(crate) fn new(core: &Core) -> Self {
        Self {
            role: Arc::clone(&core.role),
            store: Arc::clone(&core.store),
            topics: Arc::clone(&core.topics),
            consumers: Arc::clone(&core.consumers),
            offsets: Arc::clone(&core.offsets),
            groups: Arc::clone(&core.groups),
            settings: Arc::clone(&core.settings),
        }
    }

    /// Request 222: resets the offsets of a group, here and at its clients. Groups that are online
    /// are notified; groups that are offline start at the new offsets. Resets all queues or, if one
    /// of them cannot be reset, none.
    pub(crate) fn reset_offset(&self, header: &ResetOffset) -> Result<ResetOffsetBody, Rejection> {
        let settings = self.settings.load();
        self.role.require_master(Reason::Failed, "reset offsets on its master")?;
        let topic = self.topics.find(&header.topic).ok_or_else(|| Rejection::no_topic(&header.topic))?;
        if self.groups.find(&header.group).is_none() {
            return Err(Rejection::no_group(&header.group));
        }
        let target = Target::of(header)?;
        let queues = topic.read_queue_nums.max(topic.write_queue_nums);
        let moved = match header.queue_id.filter(|queue_id| *queue_id != NOT_SET) {
            None => 0..queues,
            Some(queue_id) if (0..queues).contains(&queue_id) => queue_id..queue_id + 1,
            Some(queue_id) => return Err(Rejection::no_queue(&header.topic, queues, queue_id)),
        };
        let moved = moved
            .map(|queue_id| {
                let target = self.offset_of(target, &header.topic, queue_id)?;
                let current = self.offsets.committed(&header.topic, &header.group, queue_id);
                // Without force a group is only reset to a lower offset; its unread messages stay
                // unread.
                let offset = match current {
                    Some(current) if !header.force && target > current => current,
                    _ => target,
                };
                let broker_name = settings.identity.broker_name.clone();
                Ok((MessageQueue { broker_name, queue_id, topic: header.topic.to_owned() }, offset))
            })
            .collect::<Result<Vec<_>, Rejection>>()?;
        for (queue, offset) in &moved {
            self.offsets.commit(&header.topic, &header.group, queue.queue_id, *offset);
        }
        if self.consumers.message_model(&header.group) != Some(MessageModel::Broadcasting) {
            self.tell_reset(header, &moved);
        }
        let body = ResetOffsetBody { offset_table: moved.into_iter().collect() };
        Ok(body)
    }

    fn offset_of(&self, target: Target, topic: &str, queue_id: i32) -> Result<i64, Rejection> {
        let (min, max) = (self.store.min_offset(topic, queue_id).get(), self.store.max_offset(topic, queue_id).get());
        let offset = match target {
            Target::Offset(offset) if (min..=max).contains(&offset) => offset,
            Target::Offset(offset) => {
                return Err(Rejection::new(
                    Reason::Failed,
                    format!("the offset {offset} is outside of {min}..={max}, what queue {queue_id} of {topic} holds"),
                ));
            }
            Target::End => max,
            Target::Time(time) => self.store.offset_by_time(topic, queue_id, time.into(), Boundary::Lower)?.get(),
        };
        Ok(offset as i64)
    }

    fn tell_reset(&self, header: &ResetOffset, moved: &[(MessageQueue, i64)]) {
        let notice = ResetConsumerClientOffset {
            topic: &header.topic,
            group: &header.group,
            timestamp: header.timestamp,
            force: header.force,
        };
        let Some(group) = self.consumers.group(&header.group) else { return };
        for client in group.clients.values() {
            let body = if client.language == Language::Cpp {
                let rows = moved.iter().map(|(queue, offset)| QueueOffset {
                    broker_name: queue.broker_name.clone(),
                    offset: *offset,
                    queue_id: queue.queue_id,
                    topic: queue.topic.clone(),
                });
                fastjson::to_vec(&ResetOffsetListBody { offset_table: rows.collect() })
            } else {
                fastjson::to_vec(&ResetOffsetBody { offset_table: moved.iter().cloned().collect() })
            };
            let command = Command::request(RequestCode::ResetConsumerClientOffset, &notice).with_body(body);
            if let Err(error) = client.connection.one_way(command) {
                tracing::warn!(%error, client = client.id, group = header.group, "a consumer cannot be notified of its new offsets");
            }
        }
    }

    /// Request 223.
    pub(crate) async fn consumer_status(&self, header: &ConsumerStatus) -> Result<ConsumerStatusBody, Rejection> {
        let group = self.consumers.group(&header.group).ok_or_else(|| offline(&header.group))?;
        let mut body = ConsumerStatusBody::default();
        for client in group.clients.values() {
            if header.client_address.as_ref().is_some_and(|wanted| !wanted.is_empty() && *wanted != client.id) {
                continue;
            }
            let ask = header::ConsumerStatus { topic: &header.topic, group: &header.group, client_address: None };
            let response = client
                .connection
                .request(Command::request(RequestCode::ConsumerStatusFromClient, &ask), CLIENT)
                .await?;
            if response.code == ResponseCode::Success.number() {
                let status: ConsumerStatusBody = fastjson::from_slice(&response.body)?;
                body.consumer_table.insert(client.id.clone(), status.message_queue_table);
            } else {
                body.consumer_table.insert(client.id.clone(), QueueMap::default());
            }
        }
        Ok(body)
    }

    /// Request 307: the response of the client.
    pub(crate) async fn running_info(
        &self,
        header: &ConsumerRunningInfo,
        request: Command,
    ) -> Result<Command, Rejection> {
        let client = self.client(&header.consumer_group, &header.client_id)?;
        Ok(client.connection.request(request, CLIENT).await?)
    }

    /// Request 309: the response of the client. The message travels with the request. It may have
    /// to be read from the disk, which needs `turn`; the wait for the client needs none. Until the
    /// turn ends, the request counts twice among those that wait.
    pub(crate) async fn consume_directly(
        self: Arc<Self>,
        header: ConsumeMessageDirectly,
        request: Command,
        turn: Turn,
    ) -> Result<Command, Rejection> {
        let found = blocking(move || {
            let found = self.message_for(&header);
            drop(turn);
            found
        });
        let (client, body) = found.await?;
        Ok(client.connection.request(request.with_body(body), CLIENT).await?)
    }

    fn message_for(&self, header: &ConsumeMessageDirectly) -> Result<(Client, bytes::Bytes), Rejection> {
        let client = self.client(&header.consumer_group, header.client_id.as_deref().unwrap_or_default())?;
        let id = header.message_id.as_deref().unwrap_or_default();
        let missing = || Rejection::new(Reason::NotFound, format!("there is no message {id}"));
        let body = match id.parse::<OffsetId>() {
            Ok(id) => self.store.record(LogOffset::new(id.physical_offset)).ok_or_else(missing)?,
            Err(_) => {
                let topic = header.topic.as_deref().unwrap_or_default();
                let mut found = self.store.query(topic, id, 1, Millis::default(), now_millis().into())?;
                found.records.pop().ok_or_else(missing)?
            }
        };
        Ok((client, body))
    }

    fn client(&self, group: &str, client_id: &str) -> Result<Client, Rejection> {
        self.consumers.client(group, client_id).ok_or_else(|| {
            Rejection::new(
                Reason::NotOnline,
                format!("the client {client_id} of the group {group} is not connected here"),
            )
        })
    }
}

fn offline(group: &str) -> Rejection {
    Rejection::new(Reason::NotOnline, format!("no client of the group {group} is connected here"))
}
