//! Requests written by hand, over the connections of [`super::peer`]: no client library checks them
//! before they leave.

use super::peer;
pub(crate) use super::peer::DEADLINE;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{ConsumerData, Heartbeat, Subscription},
    fastjson,
    header::{ConsumerSendMessageBack, Empty, Header, PullMessage, QueueRequest, SendMessageV2},
    message::{
        Properties,
        stored::{Record, Records},
        sys_flag::pull,
    },
};
use std::{net::SocketAddr, time::Duration};
use tokio::sync::Mutex;

/// A connection to one broker.
pub(crate) struct Peer {
    address: String,
    /// Opened by the first request.
    connection: Mutex<Option<peer::Peer>>,
}

/// A message that was read, by what the tests look at.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) body: String,
    pub(crate) properties: Properties,
    pub(crate) reconsume_times: i32,
    pub(crate) physical_offset: i64,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::at(&address.to_string())
    }

    pub(crate) fn at(address: &str) -> Self {
        Self { address: address.to_owned(), connection: Mutex::default() }
    }

    pub(crate) async fn ask<'a>(&self, code: RequestCode, header: &impl Header<'a>, body: Vec<u8>) -> Command {
        self.send_command(Command::request(code, header).with_body(body)).await
    }

    /// The same with fields as they come, of whatever type.
    pub(crate) async fn ask_with(&self, code: RequestCode, fields: &[(&str, &str)], body: Vec<u8>) -> Command {
        let mut command = Command::request(code, &Empty {}).with_body(body);
        command.fields = fields.iter().copied().collect();
        self.send_command(command).await
    }

    /// A request that has no answer.
    pub(crate) async fn tell<'a>(&self, code: RequestCode, header: &impl Header<'a>) {
        let mut connection = self.connection.lock().await;
        self.open(&mut connection).await.send(&Command::request(code, header).one_way()).await;
    }

    async fn send_command(&self, command: Command) -> Command {
        let mut connection = self.connection.lock().await;
        self.open(&mut connection).await.ask(command).await
    }

    async fn open<'a>(&self, connection: &'a mut Option<peer::Peer>) -> &'a mut peer::Peer {
        match connection {
            Some(open) => open,
            closed => closed.insert(peer::Peer::connect(&self.address).await),
        }
    }

    /// Sends one message to queue 0.
    pub(crate) async fn send(&self, topic: &str, properties: &[(&str, &str)], body: &str) -> Command {
        let properties: Properties = properties.iter().copied().collect();
        let properties = properties.to_string();
        self.ask(RequestCode::SendMessageV2, &send_to(topic, &properties), body.into()).await
    }

    /// A heartbeat of a consumer that subscribes to one topic, in this version of its subscription.
    pub(crate) async fn heartbeat(&self, group: &str, subscription: Subscription) -> Command {
        let consumer = ConsumerData {
            group_name: group.into(),
            subscription_data_set: vec![subscription],
            ..ConsumerData::default()
        };
        let heartbeat = Heartbeat {
            client_id: format!("127.0.0.1@{group}"),
            consumer_data_set: vec![consumer],
            ..Heartbeat::default()
        };
        self.ask(RequestCode::HeartBeat, &Empty {}, fastjson::to_vec(&heartbeat)).await
    }

    pub(crate) async fn send_back(&self, group: &str, offset: i64, delay_level: i32) -> Command {
        let header = ConsumerSendMessageBack { offset, group, delay_level, ..ConsumerSendMessageBack::default() };
        self.ask(RequestCode::ConsumerSendMessageBack, &header, Vec::new()).await
    }

    /// The number of messages that a queue ever had.
    pub(crate) async fn max_offset(&self, topic: &str, queue_id: i32) -> i64 {
        let answer = self.ask(RequestCode::MaxOffset, &QueueRequest { topic, queue_id }, Vec::new()).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        answer.fields.get("offset").unwrap().parse().unwrap()
    }

    /// Up to 32 messages of a queue from an offset on.
    pub(crate) async fn read(&self, topic: &str, queue_id: i32, offset: i64) -> Vec<Read> {
        let header = PullMessage { queue_id, queue_offset: offset, ..pull_from(topic, "TOOLS_CONSUMER") };
        let answer = self.ask(RequestCode::PullMessage, &header, Vec::new()).await;
        if answer.code != 0 {
            return Vec::new();
        }
        let read = |record: Record<'_>| Read {
            body: String::from_utf8_lossy(record.body()).into_owned(),
            properties: Properties::parse(record.properties()),
            reconsume_times: record.reconsume_times(),
            physical_offset: record.physical_offset() as i64,
        };
        Records::new(&answer.body).map(|record| read(record.unwrap())).collect()
    }

    /// Waits until a queue has so many messages, and reads them.
    pub(crate) async fn wait_for(&self, topic: &str, queue_id: i32, count: usize) -> Vec<Read> {
        let come = async {
            loop {
                let read = self.read(topic, queue_id, 0).await;
                if read.len() >= count {
                    return read;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let come = tokio::time::timeout(DEADLINE, come).await;
        come.unwrap_or_else(|_| panic!("{topic} queue {queue_id} does not get {count} messages"))
    }

    pub(crate) async fn close(self) {
        drop(self.connection.into_inner());
    }
}

/// A send to queue 0 that makes the topic if it is not there.
pub(crate) fn send_to<'a>(topic: &'a str, properties: &'a str) -> SendMessageV2<'a> {
    SendMessageV2 {
        producer_group: "hostile-p",
        topic,
        default_topic: "TBW102",
        default_topic_queues: 4,
        properties: Some(properties),
        ..SendMessageV2::default()
    }
}

/// A pull of all tags from the beginning of queue 0 that does not wait.
pub(crate) fn pull_from<'a>(topic: &'a str, group: &'a str) -> PullMessage<'a> {
    PullMessage {
        consumer_group: group,
        topic,
        max_messages: 32,
        sys_flag: pull::SUBSCRIPTION,
        subscription: Some("*"),
        ..PullMessage::default()
    }
}

/// Asserts that a request was refused, in words that name all of these.
#[track_caller]
pub(crate) fn assert_refused(answer: &Command, code: ResponseCode, named: &[&str]) {
    let remark = answer.remark.as_deref().unwrap_or_default();
    assert_eq!(ResponseCode::from_number(answer.code), Some(code), "{remark}");
    for word in named {
        assert!(remark.contains(word), "{word:?} is not named: {remark}");
    }
}

#[track_caller]
pub(crate) fn assert_taken(answer: &Command) {
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
}
