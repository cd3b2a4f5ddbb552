//! Transaction messages: outcomes, checks, restarts, and what is refused.

mod checks;
mod crashes;
mod many_open;
mod outcomes;
mod refusals;
mod restarts;

use crate::hostile::{
    peer,
    wire::{Peer, Read, assert_refused, assert_taken, send_to},
};
use crate::servers::{ask, broker_with, copy_folder, folder, free_port};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{Heartbeat, ProducerData},
    fastjson,
    header::{CheckTransactionState, Empty, EndTransaction, Header},
    message::{
        OffsetId, Properties,
        properties::{PRODUCER_GROUP, REAL_TOPIC, TRANSACTION_CHECK_TIMES, TRANSACTION_PREPARED, UNIQ_KEY},
        stored::Record,
    },
    names,
};
use rmq_server::Broker;
use std::{net::SocketAddr, path::Path, time::Duration};

const COMMIT: i32 = 8;
const ROLL_BACK: i32 = 12;
const UNKNOWN: i32 = 0;

/// A broker that asks soon, with a store of its own below `root`.
async fn quick(root: &Path, more: &[(&str, &str)]) -> Broker {
    let http = free_port().to_string();
    let settings = [
        ("httpPort", http.as_str()),
        ("transactionTimeOut", "100"),
        ("transactionCheckInterval", "200"),
        ("transactionOpBatchInterval", "100"),
    ];
    let settings: Vec<_> = settings.into_iter().chain(more.iter().copied()).collect();
    broker_with(root, "t", "", 0, &settings).await
}

/// A half message as its producer knows it.
#[derive(Debug, Clone, PartialEq)]
struct Half {
    group: String,
    offset: i64,
    position: i64,
    key: String,
}

/// A question of the broker.
#[derive(Debug, Clone)]
struct Question {
    half: Half,
    topic: String,
    body: String,
    properties: Properties,
}

impl Question {
    fn times(&self) -> u32 {
        self.properties.get(TRANSACTION_CHECK_TIMES).unwrap().parse().unwrap()
    }
}

/// A client of a producer group. Questions come on a connection of their own.
struct Producer {
    group: String,
    requests: Peer,
    questions: peer::Peer,
}

impl Producer {
    async fn join(address: SocketAddr, group: &str, instance: &str) -> Self {
        let mut questions = peer::Peer::connect(&address.to_string()).await;
        let heartbeat = Heartbeat {
            client_id: format!("127.0.0.1@{group}-{instance}"),
            producer_data_set: vec![ProducerData { group_name: group.to_owned() }],
            ..Heartbeat::default()
        };
        let heartbeat = Command::request(RequestCode::HeartBeat, &Empty {}).with_body(fastjson::to_vec(&heartbeat));
        assert_taken(&questions.ask(heartbeat).await);
        Self { group: group.to_owned(), requests: Peer::new(address), questions }
    }

    /// Sends a half message.
    async fn try_prepare(&self, topic: &str, body: &str, more: &[(&str, &str)]) -> Command {
        let own = [(TRANSACTION_PREPARED, "true"), (PRODUCER_GROUP, &self.group)];
        let properties: Properties = own.into_iter().chain(more.iter().copied()).collect();
        let properties = properties.to_string();
        let mut header = send_to(topic, &properties);
        header.sys_flag = 4;
        header.born_timestamp = now();
        self.requests.ask(RequestCode::SendMessageV2, &header, body.into()).await
    }

    async fn prepare(&self, topic: &str, body: &str) -> Half {
        self.prepare_with(topic, body, &[]).await
    }

    async fn prepare_with(&self, topic: &str, body: &str, more: &[(&str, &str)]) -> Half {
        let answer = self.try_prepare(topic, body, more).await;
        assert_taken(&answer);
        let field = |name: &str| answer.fields.get(name).unwrap().to_owned();
        let id: OffsetId = field("msgId").parse().unwrap();
        Half {
            group: self.group.clone(),
            offset: field("queueOffset").parse().unwrap(),
            position: id.physical_offset as i64,
            key: field("transactionId"),
        }
    }

    async fn end(&self, half: &Half, outcome: i32) -> Command {
        self.requests.ask(RequestCode::EndTransaction, &end(half, outcome), Vec::new()).await
    }

    async fn answer(&self, question: &Question, outcome: i32) -> Command {
        let header = EndTransaction { from_check: Some(true), ..end(&question.half, outcome) };
        self.requests.ask(RequestCode::EndTransaction, &header, Vec::new()).await
    }

    /// The next question.
    async fn question(&mut self) -> Question {
        loop {
            let command = self.questions.next().await.expect("a connection that is open");
            if command.code == RequestCode::CheckTransactionState.number() && !command.is_response() {
                return question(&self.group, &command);
            }
        }
    }

    /// The next question, which is answered.
    async fn commit_when_asked(&mut self) -> Question {
        let question = self.question().await;
        assert_taken(&self.answer(&question, COMMIT).await);
        question
    }

    async fn close(self) {
        self.requests.close().await;
    }
}

fn question(group: &str, command: &Command) -> Question {
    let header = CheckTransactionState::decode(&command.fields).unwrap();
    assert_eq!(header.topic, Some(names::HALF_TOPIC));
    let record = Record::parse(&command.body).unwrap();
    let properties = Properties::parse(record.properties());
    let half = Half {
        group: group.to_owned(),
        offset: header.transaction_offset,
        position: header.commit_log_offset,
        key: header.transaction_id.unwrap().to_owned(),
    };
    assert_eq!(record.offset_id().to_string(), header.offset_message_id.unwrap());
    assert_eq!((record.physical_offset() as i64, record.queue_offset() as i64), (half.position, half.offset));
    assert_eq!((properties.get(UNIQ_KEY), header.message_id), (Some(half.key.as_str()), Some(half.key.as_str())));
    assert_eq!(properties.get(PRODUCER_GROUP), Some(group));
    let body = String::from_utf8_lossy(record.body()).into_owned();
    assert_eq!(properties.get(REAL_TOPIC), Some(record.topic()));
    Question { half, topic: record.topic().to_owned(), body, properties }
}

fn end(half: &Half, outcome: i32) -> EndTransaction<'_> {
    EndTransaction {
        topic: None,
        producer_group: &half.group,
        transaction_offset: half.offset,
        commit_log_offset: half.position,
        commit_or_rollback: outcome,
        from_check: None,
        message_id: &half.key,
        transaction_id: Some(&half.key),
    }
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn bodies(read: &[Read]) -> Vec<&str> {
    read.iter().map(|read| read.body.as_str()).collect()
}

/// The sum of the rows of a metric.
async fn figure(broker: &Broker, name: &str) -> f64 {
    let (_, page) = ask(broker.http_address().unwrap(), "/metrics").await;
    let rows = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    rows.map(|row| row.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The row of a topic.
async fn figure_of(broker: &Broker, name: &str, topic: &str) -> Option<f64> {
    let (_, page) = ask(broker.http_address().unwrap(), "/metrics").await;
    let row = page.lines().find(|line| line.starts_with(&format!("{name}{{topic=\"{topic}\"")))?;
    row.rsplit(' ').next()?.parse().ok()
}

/// Waits until a metric has a value.
async fn until_figure(broker: &Broker, name: &str, wanted: f64) {
    let reached = async {
        while figure(broker, name).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(peer::DEADLINE, reached).await;
    assert!(reached.is_ok(), "{name} is {}, not {wanted}", figure(broker, name).await);
}
