//! Selects a queue, sends, evaluates the response, and retries on another broker.

use super::{BatchReceipt, Inner, Receipt, SendStatus, prepare::Prepared};
use crate::{
    Error,
    link::Response,
    route::{Entry, Route, WriteQueue},
};
use rmq_protocol::{
    Command, RequestCode, ResponseCode, header,
    message::{MessageQueue, java},
    names::AUTO_CREATE_TOPIC,
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The pause before an overloaded broker gets a retry for the same queue.
const BUSY: Duration = Duration::from_millis(50);

/// A broker's response to a send that it carried out.
pub(super) struct Stored {
    status: SendStatus,
    offset_message_id: String,
    queue: MessageQueue,
    queue_offset: i64,
}

impl Stored {
    pub(super) fn receipt(self, prepared: Prepared) -> Receipt {
        Receipt {
            status: self.status,
            message_id: prepared.ids.into_iter().next().unwrap_or_default(),
            offset_message_id: self.offset_message_id,
            queue: self.queue,
            queue_offset: self.queue_offset,
        }
    }

    pub(super) fn batch_receipt(self, prepared: Prepared) -> BatchReceipt {
        BatchReceipt {
            status: self.status,
            message_ids: prepared.ids,
            offset_message_ids: self.offset_message_id.split(',').map(str::to_owned).collect(),
            queue: self.queue,
            queue_offset: self.queue_offset,
        }
    }
}

impl Inner {
    /// Tries queue after queue until one accepts the message, or the attempts or the time are used
    /// up.
    pub(super) async fn send_anywhere(&self, prepared: &Prepared) -> Result<Stored, Error> {
        let deadline = Instant::now() + self.options.timeout;
        let entry = self.session.routes.entry(&prepared.topic);
        let mut failed: Option<(String, Error)> = None;
        for _ in 0..=self.options.retries {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let route = self.route(&entry, &prepared.topic).await?;
            let target =
                self.choose(&entry, &route, failed.as_ref().map(|(broker, _)| broker.as_str()), &prepared.topic)?;
            match self.attempt(prepared, target, left).await {
                Ok(stored) => return Ok(stored),
                Err(error) if helps_elsewhere(&error) => {
                    tracing::debug!(topic = prepared.topic, broker = target.queue.broker_name, %error, "a send failed; trying again");
                    self.session.routes.renew(&prepared.topic).await;
                    failed = Some((target.queue.broker_name.clone(), error));
                }
                Err(error) => return Err(error),
            }
        }
        Err(failed.map_or(Error::Stopped, |(_, error)| error))
    }

    pub(super) async fn send_by_key(&self, prepared: &Prepared, key: &str) -> Result<Stored, Error> {
        let entry = self.session.routes.entry(&prepared.topic);
        let route = self.route(&entry, &prepared.topic).await?;
        let at = queue_of_key(key, route.write.len()).ok_or_else(|| not_writable(&prepared.topic))?;
        let mut left = self.options.retries;
        loop {
            match self.attempt(prepared, &route.write[at], self.options.timeout).await {
                // It is certainly not stored, so a retry on the same queue does not affect the
                // order.
                Err(error) if left > 0 && error.is(ResponseCode::SystemBusy) => {
                    left -= 1;
                    tokio::time::sleep(BUSY).await;
                }
                sent => return sent,
            }
        }
    }

    pub(super) async fn send_to_queue(&self, prepared: &Prepared, queue: &MessageQueue) -> Result<Stored, Error> {
        if queue.topic != prepared.topic {
            return Err(Error::Message(format!(
                "the queue is one of {}, the message's topic is {}",
                queue.topic, prepared.topic
            )));
        }
        let route = self.session.routes.existing(&prepared.topic).await?;
        let address =
            route.master(&queue.broker_name).ok_or_else(|| Error::NoBroker { group: queue.broker_name.clone() })?;
        let target = WriteQueue { queue: queue.clone(), address: address.into() };
        self.attempt(prepared, &target, self.options.timeout).await
    }

    pub(super) async fn send_one_way(&self, prepared: &Prepared) -> Result<(), Error> {
        let entry = self.session.routes.entry(&prepared.topic);
        let route = self.route(&entry, &prepared.topic).await?;
        let target = self.choose(&entry, &route, None, &prepared.topic)?;
        let (_, command) = self.command(prepared, target);
        Ok(self.session.link.remoting().one_way(&target.address, command).await?)
    }

    async fn route(&self, entry: &Entry, topic: &str) -> Result<Arc<Route>, Error> {
        self.session.routes.of(entry, topic, Some(self.options.default_queues)).await
    }

    /// The next queue in rotation, not on the broker that has just failed nor on an avoided one, if
    /// there is such a queue.
    fn choose<'a>(
        &self,
        entry: &Entry,
        route: &'a Route,
        failed: Option<&str>,
        topic: &str,
    ) -> Result<&'a WriteQueue, Error> {
        let now = Instant::now();
        let first = entry.next.fetch_add(1, Relaxed);
        choose(&route.write, first, |target| {
            failed != Some(target.queue.broker_name.as_str()) && !self.faults.is_avoided(&target.queue.broker_name, now)
        })
        .ok_or_else(|| not_writable(topic))
    }

    fn command(&self, prepared: &Prepared, target: &WriteQueue) -> (RequestCode, Command) {
        let request = if prepared.is_batch { RequestCode::SendBatchMessage } else { RequestCode::SendMessageV2 };
        let header = header::SendMessageV2 {
            producer_group: &self.options.group,
            topic: &prepared.topic,
            default_topic: AUTO_CREATE_TOPIC,
            default_topic_queues: self.options.default_queues,
            queue_id: target.queue.queue_id,
            sys_flag: prepared.sys_flag,
            born_timestamp: prepared.born,
            flag: prepared.flag,
            properties: Some(&prepared.properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(prepared.is_batch),
            broker_name: Some(&target.queue.broker_name),
        };
        (request, Command::request(request, &header).with_body(prepared.body.clone()))
    }

    async fn attempt(&self, prepared: &Prepared, target: &WriteQueue, timeout: Duration) -> Result<Stored, Error> {
        let (request, command) = self.command(prepared, target);
        let begun = Instant::now();
        let responded = self.session.link.remoting().request(&target.address, command, timeout).await;
        let now = Instant::now();
        let command = match responded {
            Ok(command) => command,
            Err(error) => {
                // A full connection is caused by this client, and is no fault of the broker.
                if !matches!(error, rmq_remoting::Error::Overloaded(_)) {
                    self.faults.unreachable(&target.queue.broker_name, now);
                }
                return Err(error.into());
            }
        };
        self.faults.responded(&target.queue.broker_name, now - begun, now);
        let response = Response { address: target.address.to_string(), request, command };
        let Some(status) = status(response.command.code) else {
            return Err(response.refused());
        };
        let header: header::SendMessageResponse = response.header()?;
        Ok(Stored {
            status,
            offset_message_id: header.message_id.to_owned(),
            queue: MessageQueue { queue_id: header.queue_id, ..target.queue.clone() },
            queue_offset: header.queue_offset,
        })
    }
}

fn not_writable(topic: &str) -> Error {
    Error::NotWritable { topic: topic.to_owned() }
}

/// The first queue from `first` on that is `usable`, or else the next one in rotation.
fn choose(queues: &[WriteQueue], first: usize, usable: impl Fn(&WriteQueue) -> bool) -> Option<&WriteQueue> {
    let count = queues.len();
    let in_turn = |step: usize| &queues[(first % count + step) % count];
    (0..count).map(in_turn).find(|target| usable(target)).or_else(|| (count > 0).then(|| in_turn(0)))
}

/// The queue of a key among this many, as Java's selector by hash chooses it.
fn queue_of_key(key: &str, queues: usize) -> Option<usize> {
    let hash = i64::from(java::string_hash(key));
    (queues > 0).then(|| (hash % queues as i64).unsigned_abs() as usize)
}

fn status(code: i32) -> Option<SendStatus> {
    match ResponseCode::from_number(code)? {
        ResponseCode::Success => Some(SendStatus::Ok),
        ResponseCode::FlushDiskTimeout => Some(SendStatus::FlushDiskTimeout),
        ResponseCode::FlushSlaveTimeout => Some(SendStatus::FlushSlaveTimeout),
        ResponseCode::SlaveNotAvailable => Some(SendStatus::SlaveNotAvailable),
        _ => None,
    }
}

/// True if another broker may accept what this one did not: Java's list of codes, and every failure
/// without a response.
fn helps_elsewhere(error: &Error) -> bool {
    match error {
        Error::Connection(_) => true,
        Error::Refused { .. } => matches!(
            error.code(),
            Some(
                ResponseCode::TopicNotExist
                    | ResponseCode::ServiceNotAvailable
                    | ResponseCode::SystemError
                    | ResponseCode::SystemBusy
                    | ResponseCode::NoPermission
                    | ResponseCode::NoBuyerId
                    | ResponseCode::NotInCurrentUnit
                    | ResponseCode::GoAway
            )
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(brokers: &[&str]) -> Vec<WriteQueue> {
        let queue = |name: &&str| MessageQueue { broker_name: (*name).to_owned(), queue_id: 0, topic: "t".into() };
        brokers.iter().map(|name| WriteQueue { queue: queue(name), address: Arc::from(*name) }).collect()
    }

    #[test]
    fn a_failed_broker_is_passed_over_if_there_is_another() {
        let both = queues(&["a", "a", "b"]);
        let chosen = |first, queues| {
            choose(queues, first, |target| target.queue.broker_name != "a").map(|target| &*target.address)
        };
        for first in [0, 1, 2, usize::MAX] {
            assert_eq!(chosen(first, &both), Some("b"));
        }
        assert_eq!(chosen(7, &queues(&["a"])), Some("a"));
        assert!(choose(&[], 3, |_| true).is_none());
    }

    #[test]
    fn turns_go_round() {
        let three = queues(&["a", "b", "c"]);
        let seen: Vec<_> =
            (0..4).filter_map(|turn| choose(&three, turn, |_| true)).map(|target| &*target.address).collect();
        assert_eq!(seen, ["a", "b", "c", "a"]);
    }

    #[test]
    fn keys_choose_queues_as_in_java() {
        // "polygenelubricants".hashCode() is the smallest int there is; Java takes the remainder
        // before the absolute value.
        assert_eq!(queue_of_key("polygenelubricants", 7), Some((2_147_483_648_u64 % 7) as usize));
        assert_eq!((queue_of_key("a", 4), queue_of_key("a", 0)), (Some(1), None));
    }

    #[test]
    fn only_what_another_broker_can_cure_is_tried_again() {
        let refused = |code: ResponseCode| Error::Refused {
            address: "a".into(),
            request: "SendMessageV2",
            code: code.number(),
            remark: String::new(),
        };
        for code in [
            ResponseCode::SystemBusy,
            ResponseCode::TopicNotExist,
            ResponseCode::ServiceNotAvailable,
            ResponseCode::NoPermission,
        ] {
            assert!(helps_elsewhere(&refused(code)), "{code:?}");
        }
        for code in
            [ResponseCode::MessageIllegal, ResponseCode::InvalidParameter, ResponseCode::RequestCodeNotSupported]
        {
            assert!(!helps_elsewhere(&refused(code)), "{code:?}");
        }
        assert!(helps_elsewhere(&Error::Connection(rmq_remoting::Error::Closed("a".into()))));
        assert!(!helps_elsewhere(&Error::Message("too long".into())));
    }
}
