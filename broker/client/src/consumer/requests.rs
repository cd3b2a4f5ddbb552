//! Requests of brokers to a consumer.

use super::{
    Core, Outcome,
    queue::Queue,
    running_info::{ConsumeDirectlyResult, ConsumeResult, QueueInfo, RunningInfo},
};
use rmq_protocol::{
    Command, Reply, RequestCode, ResponseCode,
    body::{ConsumerStatusBody, ResetOffsetBody, ResetOffsetListBody},
    fastjson,
    header::{self, Header},
    message::{MessageExt, MessageQueue, stored::Record},
    version,
};
use rmq_remoting::{Handler, Responder};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The queue limit for requests. Brokers send few; a request beyond the limit is refused.
const WAITING: usize = 64;

/// Receives requests on a connection's task and queues them for [`Core::respond`].
pub(super) struct Requests(mpsc::Sender<(Command, Responder)>);

pub(super) fn channel() -> (Requests, mpsc::Receiver<(Command, Responder)>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Requests(sender), receiver)
}

impl Handler for Requests {
    fn handle(&self, request: Command, responder: Responder) {
        if let Err(error) = self.0.try_send((request, responder)) {
            let (_, responder) = error.into_inner();
            responder.reply(&Reply::refuse(
                ResponseCode::SystemBusy,
                "this consumer has too many requests waiting, or stops",
            ));
        }
    }
}

impl Core {
    pub(super) async fn respond(self: Arc<Self>, mut requests: mpsc::Receiver<(Command, Responder)>) {
        while let Some((request, responder)) = requests.recv().await {
            match RequestCode::from_number(request.code) {
                Some(RequestCode::NotifyConsumerIdsChanged) => self.rebalance.notify_one(),
                Some(RequestCode::ResetConsumerClientOffset) => responder.reply(&self.reset_offsets(&request).await),
                Some(RequestCode::ConsumerStatusFromClient) => responder.reply(&self.status(&request)),
                Some(RequestCode::ConsumerRunningInfo) => {
                    responder.reply(&Reply::body(fastjson::to_vec(&self.running_info())))
                }
                Some(RequestCode::ConsumeMessageDirectly) => {
                    // The function may take long; other requests must not wait for it.
                    let core = Arc::clone(&self);
                    self.session.spawn(async move { responder.reply(&core.consume_directly(&request).await) });
                }
                _ => responder.reply(&Reply::refuse(
                    ResponseCode::RequestCodeNotSupported,
                    format!("a consumer does not know the request {}", request.code),
                )),
            }
        }
    }

    /// 220: resets queues of this member to other offsets. They are given up and taken over again,
    /// so that running deliveries cannot commit over the new offset.
    async fn reset_offsets(&self, request: &Command) -> Reply {
        let header = match header::ResetConsumerClientOffset::decode(&request.fields) {
            Ok(header) => header,
            Err(why) => return Reply::refuse(ResponseCode::InvalidParameter, why.to_string()),
        };
        let Some(table) = offset_table(&request.body) else {
            return Reply::refuse(ResponseCode::InvalidParameter, "the body is no table of offsets");
        };
        let mut failed = None;
        for (name, offset) in table.into_iter().filter(|(name, _)| name.topic == header.topic) {
            let Some(queue) = self.queues.lock().get(&name).cloned() else { continue };
            tracing::info!(group = self.options.group, queue = ?name, offset, "the broker moves the offset");
            queue.moved.store(true, Relaxed);
            queue.lost.store(true, Relaxed);
            if let Err(error) = self.offsets.set(&name, offset).await {
                failed = Some(error.to_string());
            }
            queue.stop.cancel();
        }
        failed.map_or_else(Reply::ok, |why| Reply::refuse(ResponseCode::SystemError, why))
    }

    /// 221: this member's offsets in a topic.
    fn status(&self, request: &Command) -> Reply {
        let header = match header::ConsumerStatus::decode(&request.fields) {
            Ok(header) => header,
            Err(why) => return Reply::refuse(ResponseCode::InvalidParameter, why.to_string()),
        };
        let queues = self.queues.lock();
        let ours = queues.iter().filter(|(name, _)| name.topic == header.topic);
        let table = ours.map(|(name, queue)| (name.clone(), queue.commit())).collect();
        Reply::body(fastjson::to_vec(&ConsumerStatusBody {
            message_queue_table: table,
            ..ConsumerStatusBody::default()
        }))
    }

    /// 307.
    pub(super) fn running_info(&self) -> RunningInfo {
        let ordered = self.is_ordered();
        let properties = [
            ("PROP_NAMESERVER_ADDR", self.session.link.namesrvs().join(";")),
            ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
            ("PROP_CLIENT_VERSION", version::CURRENT_NAME.to_owned()),
            ("PROP_CONSUMER_START_TIMESTAMP", self.started.to_string()),
            ("PROP_CONSUMEORDERLY", ordered.to_string()),
            ("PROP_THREADPOOL_CORE_SIZE", self.options.threads.to_string()),
            ("consumerGroup", self.options.group.clone()),
        ];
        RunningInfo {
            jstack: None,
            mq_table: self
                .queues
                .lock()
                .iter()
                .map(|(name, queue)| (name.clone(), queue_info(queue, ordered)))
                .collect(),
            properties: properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            status_table: self.rates.statuses(Instant::now()),
            subscription_set: self.subscriptions.values().map(|subscription| (**subscription).clone()).collect(),
        }
    }

    /// 309: passes one message to the function, independently of the queues.
    async fn consume_directly(&self, request: &Command) -> Reply {
        let message = match Record::parse(&request.body) {
            Ok(record) => self.unwrapped(MessageExt::from_record(&record)),
            Err(why) => return Reply::refuse(ResponseCode::InvalidParameter, format!("the body is no message: {why}")),
        };
        let broker = header::ConsumeMessageDirectly::decode(&request.fields)
            .ok()
            .and_then(|header| header.broker_name)
            .unwrap_or_default();
        let name = MessageQueue {
            broker_name: broker.to_owned(),
            queue_id: message.queue_id,
            topic: message.message.topic.clone(),
        };
        let begun = Instant::now();
        let outcome = self.call(&Queue::new(name, 0, CancellationToken::new()), &[message].into()).await;
        let result = ConsumeDirectlyResult {
            consume_result: if outcome == Outcome::Done { ConsumeResult::Success } else { ConsumeResult::Later },
            order: self.is_ordered(),
            spent_time_mills: begun.elapsed().as_millis() as i64,
            ..ConsumeDirectlyResult::default()
        };
        Reply::body(fastjson::to_vec(&result))
    }
}

/// The map form, or the list form that brokers send to clients that cannot read object keys.
fn offset_table(body: &[u8]) -> Option<Vec<(MessageQueue, i64)>> {
    if let Ok(body) = fastjson::from_slice::<ResetOffsetBody>(body) {
        return Some(body.offset_table.0.into_iter().collect());
    }
    let list: ResetOffsetListBody = fastjson::from_slice(body).ok()?;
    let row = |row: rmq_protocol::body::QueueOffset| {
        (MessageQueue { broker_name: row.broker_name, queue_id: row.queue_id, topic: row.topic }, row.offset)
    };
    Some(list.offset_table.into_iter().map(row).collect())
}

fn queue_info(queue: &Queue, ordered: bool) -> QueueInfo {
    let contents = queue.contents();
    QueueInfo {
        cached_msg_count: contents.messages as i32,
        cached_msg_max_offset: contents.max,
        cached_msg_min_offset: contents.min,
        cached_msg_size_in_mi_b: (contents.bytes >> 20) as i32,
        commit_offset: queue.commit(),
        droped: queue.lost.load(Relaxed),
        last_consume_timestamp: queue.last_consume.load(Relaxed),
        last_lock_timestamp: queue.last_lock.load(Relaxed),
        last_pull_timestamp: queue.last_pull.load(Relaxed),
        locked: queue.is_locked(),
        transaction_msg_count: if ordered { contents.running as i32 } else { 0 },
        transaction_msg_max_offset: 0,
        transaction_msg_min_offset: 0,
        try_unlock_times: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_offset_table_are_read() {
        let queue = MessageQueue { broker_name: "b".into(), queue_id: 1, topic: "t".into() };
        let map = br#"{"offsetTable":{{"brokerName":"b","queueId":1,"topic":"t"}:7}}"#;
        let list = br#"{"offsetTable":[{"brokerName":"b","offset":7,"queueId":1,"topic":"t"}]}"#;
        assert_eq!(offset_table(map).unwrap(), [(queue.clone(), 7)]);
        assert_eq!(offset_table(list).unwrap(), [(queue, 7)]);
        assert!(offset_table(b"[").is_none());
    }
}
