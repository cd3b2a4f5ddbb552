//! SQL92 filters on the wire: what a heartbeat registers, what a pull gets, and what is kept in
//! `config/consumerFilter.json`.

use crate::{
    hostile::wire::{Peer, assert_refused, assert_taken},
    servers::{self, broker_with, folder, free_port},
};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{CheckClientConfig, ConsumerFilterTable, EXPRESSION_SQL92, Subscription},
    fastjson,
    header::{Empty, Header, PullMessage, PullMessageResponse},
    message::{stored::Records, sys_flag::pull},
};
use rmq_server::Broker;
use std::{path::Path, time::Duration};

const ENABLED: [(&str, &str); 1] = [("enablePropertyFilter", "true")];

pub(crate) fn by_sql(topic: &str, expression: &str, version: i64) -> Subscription {
    Subscription {
        topic: topic.to_owned(),
        expression_type: EXPRESSION_SQL92.to_owned(),
        sub_string: expression.to_owned(),
        sub_version: version,
        ..Subscription::default()
    }
}

/// Asks whether an expression may be subscribed with (46).
pub(crate) async fn check(peer: &Peer, subscription: Subscription) -> Command {
    let body = CheckClientConfig { group: "g".into(), subscription_data: subscription, ..CheckClientConfig::default() };
    peer.ask(RequestCode::CheckClientConfig, &Empty {}, fastjson::to_vec(&body)).await
}

/// A pull of what the group has subscribed to, from an offset on, that waits so long.
fn pull_at<'a>(topic: &'a str, group: &'a str, offset: i64, version: i64, wait: Duration) -> PullMessage<'a> {
    PullMessage {
        consumer_group: group,
        topic,
        queue_offset: offset,
        max_messages: 32,
        sys_flag: if wait.is_zero() { 0 } else { pull::SUSPEND },
        suspend_timeout: wait.as_millis() as i64,
        subscription_version: version,
        expression_type: Some(EXPRESSION_SQL92),
        ..PullMessage::default()
    }
}

async fn ask(peer: &Peer, header: &PullMessage<'_>) -> Command {
    peer.ask(RequestCode::PullMessage, header, Vec::new()).await
}

/// The code, the next offset and the bodies of an answer to a pull.
fn read(answer: &Command) -> (ResponseCode, i64, Vec<String>) {
    let code = ResponseCode::from_number(answer.code).unwrap();
    let next = PullMessageResponse::decode(&answer.fields).unwrap().next_offset;
    let bodies = Records::new(&answer.body).map(|record| String::from_utf8_lossy(record.unwrap().body()).into_owned());
    (code, next, bodies.collect())
}

/// Sends messages `0..count` with their number in the property `n`.
async fn send_numbers(peer: &Peer, topic: &str, numbers: std::ops::Range<u32>) {
    for number in numbers.clone() {
        let number = number.to_string();
        assert_taken(&peer.send(topic, &[("n", &number)], &number).await);
    }
    while peer.max_offset(topic, 0).await < i64::from(numbers.end) {
        tokio::task::yield_now().await;
    }
}

/// Java's default: the setting is off, and a client learns it at its start.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_sql_is_refused_and_nothing_is_kept() {
    let root = folder("no-filters");
    let broker = broker_with(&root, "plain", "", 0, &[]).await;
    let peer = Peer::new(broker.address());
    let words = ["SQL92", "enablePropertyFilter=true"];
    assert_refused(&check(&peer, by_sql("t", "n = 1", 1)).await, ResponseCode::SystemError, &words);
    assert_taken(&check(&peer, Subscription::tags("t", "a", 1)).await);
    send_numbers(&peer, "t", 0..1).await;
    assert_taken(&peer.heartbeat("g", by_sql("t", "n = 1", 1)).await);
    assert_refused(&ask(&peer, &pull_at("t", "g", 0, 1, Duration::ZERO)).await, ResponseCode::SystemError, &words);
    peer.close().await;
    broker.stop().await.unwrap();
    assert!(!root.join("plain/config/consumerFilter.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_gets_what_matches_the_expression_of_its_group_or_its_own() {
    let root = folder("filters");
    let broker = broker_with(&root, "filters", "", 0, &ENABLED).await;
    let peer = Peer::new(broker.address());
    assert_taken(&check(&peer, by_sql("t", "n BETWEEN 3 AND 4 OR n = '9'", 1)).await);
    let wrong = check(&peer, by_sql("t", "n BETWEEN 3", 1)).await;
    assert_refused(&wrong, ResponseCode::SubscriptionParseFailed, &["column 12", "AND is expected"]);
    send_numbers(&peer, "t", 0..12).await;

    let before = ask(&peer, &pull_at("t", "g", 0, 1, Duration::ZERO)).await;
    assert_refused(&before, ResponseCode::SubscriptionNotExist, &["heartbeat"]);
    assert_taken(&peer.heartbeat("g", by_sql("t", "n BETWEEN 3 AND 4 OR n = '9'", 1)).await);
    let found = read(&ask(&peer, &pull_at("t", "g", 0, 1, Duration::ZERO)).await);
    assert_eq!(found, (ResponseCode::Success, 12, vec!["3".into(), "4".into(), "9".into()]));
    let nothing = read(&ask(&peer, &pull_at("t", "g", 10, 1, Duration::ZERO)).await);
    assert_eq!(nothing, (ResponseCode::PullRetryImmediately, 12, vec![]));

    // The client has another expression already. No other stands in for it, as the client does not
    // filter again.
    let newer = ask(&peer, &pull_at("t", "g", 0, 2, Duration::ZERO)).await;
    assert_refused(&newer, ResponseCode::SubscriptionNotLatest, &["g"]);
    assert_taken(&peer.heartbeat("g", by_sql("t", "n = 7", 2)).await);
    assert_eq!(read(&ask(&peer, &pull_at("t", "g", 0, 2, Duration::ZERO)).await).2, ["7"]);

    // A wrong one is told in the answer to the heartbeat and in those to the pulls.
    let told = peer.heartbeat("g", by_sql("t", "n = ", 3)).await;
    assert_refused(&told, ResponseCode::SubscriptionParseFailed, &["group g", "column 5"]);
    let pulled = ask(&peer, &pull_at("t", "g", 0, 3, Duration::ZERO)).await;
    assert_refused(&pulled, ResponseCode::SubscriptionParseFailed, &["column 5"]);

    let own = |subscription| PullMessage {
        sys_flag: pull::SUBSCRIPTION,
        subscription: Some(subscription),
        ..pull_at("t", "pull-g", 0, 1, Duration::ZERO)
    };
    assert_eq!(read(&ask(&peer, &own("n >= 10")).await).2, ["10", "11"]);
    assert_refused(&ask(&peer, &own("n >= ")).await, ResponseCode::SubscriptionParseFailed, &["column 6"]);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Waits until a pull is parked. One that comes behind the messages gets its answer at once.
async fn until_parked(broker: &Broker) {
    let parked = |line: &str| line.starts_with("rocketmq_broker_parked_pulls") && !line.ends_with(" 0");
    let wait = async {
        while !servers::ask(broker.http_address().unwrap(), "/metrics").await.1.lines().any(parked) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("a parked pull");
}

/// A message that does not match costs a look, and no answer: the client would only ask again.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_pull_waits_for_a_message_that_matches_and_moves_on_at_its_deadline() {
    let root = folder("parked-filters");
    let http = free_port().to_string();
    let broker = broker_with(&root, "parked", "", 0, &[ENABLED[0], ("httpPort", http.as_str())]).await;
    let (peer, waiting) = (Peer::new(broker.address()), Peer::new(broker.address()));
    send_numbers(&peer, "t", 0..1).await;
    assert_taken(&peer.heartbeat("g", by_sql("t", "n = 50", 1)).await);
    let pulled = tokio::spawn(async move {
        let answer = ask(&waiting, &pull_at("t", "g", 1, 1, Duration::from_secs(60))).await;
        (waiting, read(&answer))
    });
    until_parked(&broker).await;
    send_numbers(&peer, "t", 1..50).await;
    assert!(!pulled.is_finished(), "it was answered without a message");
    send_numbers(&peer, "t", 50..51).await;
    let (waiting, found) = pulled.await.unwrap();
    assert_eq!((found.0, found.2), (ResponseCode::Success, vec!["50".to_owned()]));

    let wait = Duration::from_secs(5);
    let pulled = tokio::spawn(async move { read(&ask(&waiting, &pull_at("t", "g", 51, 1, wait)).await) });
    until_parked(&broker).await;
    send_numbers(&peer, "t", 51..60).await;
    let nothing = pulled.await.unwrap();
    assert_eq!(nothing, (ResponseCode::PullNotFound, 60, vec![]), "the client skips what does not match");
    peer.close().await;
    broker.stop().await.unwrap();
}

fn filters(root: &Path) -> ConsumerFilterTable {
    fastjson::from_slice(&std::fs::read(root.join("kept/config/consumerFilter.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_kept_in_javas_file_and_dead_without_clients() {
    let root = folder("kept-filters");
    let broker = broker_with(&root, "kept", "", 0, &ENABLED).await;
    let peer = Peer::new(broker.address());
    send_numbers(&peer, "t", 0..3).await;
    assert_taken(&peer.heartbeat("g", by_sql("t", "n = 1", 5)).await);
    broker.stop().await.unwrap();
    peer.close().await;
    let row = filters(&root).filter_data_by_topic["t"].group_filter_data["g"].clone();
    assert_eq!((row.expression.as_str(), row.client_version, row.topic.as_str()), ("n = 1", 5, "t"));
    assert!(row.born_time > 0);

    let broker = broker_with(&root, "kept", "", 0, &ENABLED).await;
    let peer = Peer::new(broker.address());
    let before = ask(&peer, &pull_at("t", "g", 0, 5, Duration::ZERO)).await;
    assert_refused(&before, ResponseCode::SubscriptionNotExist, &["heartbeat"]);
    assert_taken(&peer.heartbeat("g", by_sql("t", "n = 1", 5)).await);
    assert_eq!(read(&ask(&peer, &pull_at("t", "g", 0, 5, Duration::ZERO)).await).2, ["1"]);
    // By tags from now on.
    assert_taken(&peer.heartbeat("g", Subscription::tags("t", "*", 6)).await);
    assert_eq!(read(&ask(&peer, &pull_at("t", "g", 0, 5, Duration::ZERO)).await).2.len(), 3);
    broker.stop().await.unwrap();
    peer.close().await;
    let after = filters(&root).filter_data_by_topic["t"].group_filter_data["g"].clone();
    assert!(after.dead && after.dead_time >= row.born_time && after.born_time == row.born_time, "{after:?}");
}
