//! Pulls as they are on the wire: what an answer says besides its messages, and what waiting
//! changes.

use rmq_client::Admin;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    header::{Header, PullMessage, PullMessageResponse},
    message::sys_flag::pull,
};
use std::{sync::Arc, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A client without rebalance and heartbeats: it says in each pull what it subscribes to.
pub(crate) struct Puller {
    client: rmq_remoting::Client,
    address: String,
    topic: &'static str,
    group: &'static str,
}

/// An answer without messages or with them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub(crate) code: ResponseCode,
    pub(crate) next_offset: i64,
    pub(crate) suggested_broker_id: i64,
    pub(crate) bytes: usize,
}

impl Puller {
    pub(crate) fn new(address: &str, topic: &'static str, group: &'static str) -> Self {
        let client = rmq_remoting::Client::new(Arc::new(()), rmq_remoting::Limits::default());
        Self { client, address: address.to_owned(), topic, group }
    }

    /// Pulls from `offset`, willing to wait; commits `done` if there is one.
    pub(crate) async fn pull(&self, offset: i64, timeout: Duration, done: Option<i64>) -> Pulled {
        let commit = if done.is_some() { pull::COMMIT_OFFSET } else { 0 };
        let header = PullMessage {
            consumer_group: self.group,
            topic: self.topic,
            queue_id: 0,
            queue_offset: offset,
            max_messages: 32,
            sys_flag: pull::SUBSCRIPTION | pull::SUSPEND | commit,
            commit_offset: done.unwrap_or(0),
            suspend_timeout: timeout.as_millis() as i64,
            subscription: Some("*"),
            subscription_version: 0,
            expression_type: None,
            max_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
        };
        let command = Command::request(RequestCode::PullMessage, &header);
        let answer = self.client.request(&self.address, command, TIMEOUT).await.unwrap();
        let header = PullMessageResponse::decode(&answer.fields).unwrap();
        Pulled {
            code: ResponseCode::from_number(answer.code).unwrap(),
            next_offset: header.next_offset,
            suggested_broker_id: header.suggested_broker_id,
            bytes: answer.body.len(),
        }
    }
}

/// The queue had gone to another client meanwhile, which had done more; its progress was undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_pull_does_not_commit_again_when_it_wakes() {
    let admin = Admin::new(&crate::servers::servers().await.namesrvs).unwrap();
    let address = admin.masters(None).await.unwrap().remove(0).address;
    let config = rmq_client::topic::Config::new("parked", 1, 1, rmq_client::topic::READ_WRITE);
    admin.put_topic(&address, &config).await.unwrap();
    admin.put_consumer_group(&address, &rmq_protocol::body::SubscriptionGroup::new("parked-g")).await.unwrap();
    let queue = rmq_client::MessageQueue { broker_name: "broker-a".into(), queue_id: 0, topic: "parked".into() };
    let options = rmq_client::producer::Options::new(&crate::servers::servers().await.namesrvs, "p");
    let producer = rmq_client::Producer::start(options).await.unwrap();
    for _ in 0..9 {
        producer.send_to(&queue, rmq_client::Message::new("parked", "a")).await.unwrap();
    }
    while admin.max_offset(&address, "parked", 0).await.unwrap() < 9 {
        tokio::task::yield_now().await;
    }
    let puller = Puller::new(&address, "parked", "parked-g");
    let waiting = tokio::spawn(async move { puller.pull(9, Duration::from_secs(2), Some(5)).await });
    let committed = async |wanted| admin.consumer_offset(&address, "parked-g", &queue).await.unwrap() == Some(wanted);
    while !committed(5).await {
        assert!(!waiting.is_finished(), "it did not wait");
    }
    admin.set_consumer_offset(&address, "parked-g", &queue, 9).await.unwrap();
    assert_eq!(waiting.await.unwrap().code, ResponseCode::PullNotFound);
    assert!(committed(9).await, "the older progress came back");
}
