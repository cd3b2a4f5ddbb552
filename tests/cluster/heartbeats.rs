//! Heartbeats as the official clients send them, in the short form too, which our own client does not use.

use crate::servers::servers;
use rmq_client::{Admin, topic};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{ConsumerData, Heartbeat, Subscription},
    fastjson,
    header::{self, Header},
};
use std::{sync::Arc, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(30);

struct Consumer {
    client: rmq_remoting::Client,
    address: String,
}

impl Consumer {
    /// True if the broker wants the subscriptions in full.
    async fn heartbeat(&self, version: i64, without_sub: bool) -> bool {
        let subscriptions = if without_sub { vec![] } else { vec![Subscription::tags("heartbeat", "*", version)] };
        let group = ConsumerData {
            group_name: "heartbeat-g".into(),
            subscription_data_set: subscriptions,
            ..ConsumerData::default()
        };
        let heartbeat = Heartbeat {
            client_id: "127.0.0.1@heartbeat".into(),
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
        let pull = header::PullMessage {
            consumer_group: "heartbeat-g",
            topic: "heartbeat",
            queue_id: 0,
            queue_offset: 0,
            max_messages: 32,
            sys_flag: 0,
            commit_offset: 0,
            suspend_timeout: 0,
            subscription: None,
            subscription_version: version,
            expression_type: None,
            max_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
        };
        let command = Command::request(RequestCode::PullMessage, &pull);
        let answer = self.client.request(&self.address, command, TIMEOUT).await.unwrap();
        ResponseCode::from_number(answer.code).unwrap()
    }
}

/// Java's client numbers its subscriptions anew at each rebalance and drops the heartbeat that would tell, if one is on its way; all later ones are short,
/// and it pulled in vain for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_a_heartbeat_is_asked_for_its_subscriptions() {
    let admin = Admin::new(&servers().await.namesrvs).unwrap();
    let address = admin.masters(None).await.unwrap().remove(0).address;
    admin.put_topic(&address, &topic::Config::new("heartbeat", 1, 1, topic::READ_WRITE)).await.unwrap();
    let client = rmq_remoting::Client::new(Arc::new(()), rmq_remoting::Limits::default());
    let consumer = Consumer { client, address };
    assert!(consumer.heartbeat(1, false).await, "a new member");
    assert!(!consumer.heartbeat(1, true).await, "all is known");
    assert_eq!(consumer.pull(1).await, ResponseCode::PullNotFound);
    assert_eq!(consumer.pull(2).await, ResponseCode::SubscriptionNotLatest);
    assert!(consumer.heartbeat(2, true).await, "the newer subscription is wanted");
    consumer.heartbeat(2, false).await;
    assert_eq!(consumer.pull(2).await, ResponseCode::PullNotFound);
    assert!(!consumer.heartbeat(2, true).await);
    consumer.client.close().await;
}
