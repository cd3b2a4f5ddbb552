//! Heartbeats as the official clients send them, in the short form too, which our own client does
//! not use.

use crate::servers::servers;
use rmq_client::{Admin, Message, Producer, producer::Options, topic};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{ConsumerData, Heartbeat, Subscription},
    fastjson,
    header::{self, Header},
    message::{properties, stored::Records},
};
use std::{sync::Arc, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(30);

struct Consumer {
    client: rmq_remoting::Client,
    address: String,
    group: &'static str,
}

impl Consumer {
    /// True if the broker wants the subscriptions in full.
    async fn heartbeat(&self, version: i64, without_sub: bool) -> bool {
        let subscriptions = if without_sub { vec![] } else { vec![Subscription::tags("heartbeat", "*", version)] };
        self.send(subscriptions, without_sub).await
    }

    async fn subscribe(&self, subscription: Subscription) {
        self.send(vec![subscription], false).await;
    }

    async fn send(&self, subscriptions: Vec<Subscription>, without_sub: bool) -> bool {
        let group = ConsumerData {
            group_name: self.group.into(),
            subscription_data_set: subscriptions,
            ..ConsumerData::default()
        };
        let heartbeat = Heartbeat {
            client_id: format!("127.0.0.1@{}", self.group),
            consumer_data_set: vec![group],
            heartbeat_fingerprint: 1,
            without_sub,
            ..Heartbeat::default()
        };
        let command = Command::request(RequestCode::HeartBeat, &header::Empty {});
        let command = command.with_body(fastjson::to_vec(&heartbeat));
        let answer = self.client.request(&self.address, command, TIMEOUT).await.unwrap();
        header::HeartbeatResponse::decode(&answer.fields).unwrap().subscription_changed
    }

    async fn pull(&self, version: i64) -> ResponseCode {
        self.pull_as("heartbeat", version, None).await.0
    }

    /// The code, and how many messages come.
    async fn pull_as(&self, topic: &str, version: i64, expression_type: Option<&str>) -> (ResponseCode, usize) {
        let pull = header::PullMessage {
            consumer_group: self.group,
            topic,
            queue_id: 0,
            queue_offset: 0,
            max_messages: 32,
            sys_flag: 0,
            commit_offset: 0,
            suspend_timeout: 0,
            subscription: None,
            subscription_version: version,
            expression_type,
            max_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
        };
        let command = Command::request(RequestCode::PullMessage, &pull);
        let answer = self.client.request(&self.address, command, TIMEOUT).await.unwrap();
        (ResponseCode::from_number(answer.code).unwrap(), Records::new(&answer.body).count())
    }
}

/// Java's client numbers its subscriptions anew at each rebalance and drops the heartbeat that
/// would tell, if one is on its way; all later ones are short, and it pulled in vain for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_a_heartbeat_is_asked_for_its_subscriptions() {
    let admin = Admin::new(&servers().await.namesrvs).unwrap();
    let address = admin.masters(None).await.unwrap().remove(0).address;
    admin.put_topic(&address, &topic::Config::new("heartbeat", 1, 1, topic::READ_WRITE)).await.unwrap();
    let client = rmq_remoting::Client::new(Arc::new(()), rmq_remoting::Limits::default());
    let consumer = Consumer { client, address, group: "heartbeat-g" };
    assert!(consumer.heartbeat(1, false).await, "a new member");
    assert!(!consumer.heartbeat(1, true).await, "all is known");
    assert_eq!(consumer.pull(1).await, ResponseCode::PullNotFound);
    assert_eq!(consumer.pull(2).await, ResponseCode::PullNotFound, "the pull goes on meanwhile");
    assert!(consumer.heartbeat(2, true).await, "the newer subscription is wanted");
    consumer.heartbeat(2, false).await;
    assert_eq!(consumer.pull(2).await, ResponseCode::PullNotFound);
    assert!(!consumer.heartbeat(2, true).await);
    consumer.client.close().await;
}

/// For up to 30 s, until the next heartbeat, all pulls of a client were refused whose subscription
/// was newer than the broker knew.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_newer_subscription_by_tags_goes_on_and_filters_by_itself() {
    let namesrvs = &servers().await.namesrvs;
    let admin = Admin::new(namesrvs).unwrap();
    let address = admin.masters(None).await.unwrap().remove(0).address;
    admin.put_topic(&address, &topic::Config::new("newer", 1, 1, topic::READ_WRITE)).await.unwrap();
    let producer = Producer::start(Options::new(namesrvs.as_str(), "newer-p")).await.unwrap();
    for tags in ["a", "b"] {
        let mut message = Message::new("newer", tags);
        message.properties.set(properties::TAGS, tags);
        producer.send(message).await.unwrap();
    }
    producer.stop().await;
    let dispatched = async {
        while admin.max_offset(&address, "newer", 0).await.unwrap() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, dispatched).await.expect("two messages in their queue");
    let client = rmq_remoting::Client::new(Arc::new(()), rmq_remoting::Limits::default());
    let consumer = Consumer { client, address, group: "newer-g" };
    consumer.subscribe(Subscription::tags("newer", "a", 1)).await;
    assert_eq!(consumer.pull_as("newer", 1, Some("TAG")).await, (ResponseCode::Success, 1), "filtered");
    assert_eq!(consumer.pull_as("newer", 2, Some("TAG")).await, (ResponseCode::Success, 2), "not filtered");
    assert_eq!(consumer.pull_as("newer", 2, None).await, (ResponseCode::Success, 2));
    assert_eq!(consumer.pull_as("newer", 2, Some("SQL92")).await, (ResponseCode::SubscriptionNotLatest, 0));
    consumer.subscribe(Subscription::tags("newer", "b", 2)).await;
    assert_eq!(consumer.pull_as("newer", 2, Some("TAG")).await, (ResponseCode::Success, 1), "filtered anew");
    consumer.client.close().await;
}
