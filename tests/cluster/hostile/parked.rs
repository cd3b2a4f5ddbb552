//! Pulls that wait for messages, of peers that want to wait for ever.

use super::peer::{Server, pull_of};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    header::{PullMessage, SendMessageV2},
};
use std::time::Duration;

const PARKED: &str = "rocketmq_broker_parked_pulls";
const LIMIT: usize = 10;
const HOURS: Duration = Duration::from_secs(36_000);

fn pull(topic: &str, group: &str) -> Command {
    Command::request(RequestCode::PullMessage, &pull_of(topic, group, HOURS))
}

/// They stayed until their own timeout, descriptor included: 110 connections that were gone filled
/// the table, and long polls of all others returned at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_connection_parked_ends_with_it() {
    let server = Server::start("parked", &[("maxParkedPulls", "10")]).await;
    server.put_topic("parked", 1).await;
    for _ in 0..3 {
        let mut peer = server.peer().await;
        peer.send_many(&pull("parked", "parked-g"), LIMIT).await;
        server.until("they wait", PARKED, |parked| parked == LIMIT as f64).await;
        drop(peer);
        server.until("they are forgotten", PARKED, |parked| parked == 0.0).await;
    }
    server.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_that_fills_the_table_leaves_the_others_their_share() {
    let server = Server::start("fair", &[("maxParkedPulls", "10")]).await;
    server.put_topic("fair", 1).await;
    let mut greedy = server.peer().await;
    greedy.send_many(&pull("fair", "fair-greedy"), LIMIT).await;
    server.until("the table is full", PARKED, |parked| parked == LIMIT as f64).await;
    let refused = greedy.ask(pull("fair", "fair-greedy")).await;
    assert_eq!(refused.code, ResponseCode::PullNotFound.number(), "it has more than its share");

    let mut modest = server.peer().await;
    modest.send_many(&pull("fair", "fair-modest"), 3).await;
    server.until("some of the other are answered", "rocketmq_broker_displaced_pulls_total", |count| count >= 3.0).await;
    let early = greedy.next().await.expect("an early answer");
    assert_eq!(early.code, ResponseCode::PullNotFound.number(), "{:?}", early.remark);

    let send = SendMessageV2 { producer_group: "fair-p", topic: "fair", queue_id: 0, ..SendMessageV2::default() };
    let command = Command::request(RequestCode::SendMessageV2, &send).with_body("a message");
    assert_eq!(server.peer().await.ask(command).await.code, 0);
    for _ in 0..3 {
        let found = modest.next().await.expect("what it waited for");
        assert_eq!(found.code, ResponseCode::Success.number(), "it did not wait: {:?}", found.remark);
    }
    server.until("nobody waits", PARKED, |parked| parked == 0.0).await;
    server.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_with_a_long_text_is_answered_and_not_parked() {
    let server = Server::start("long-text", &[]).await;
    server.put_topic("long-text", 1).await;
    let tags = vec!["a-tag"; 10_000].join("||");
    let header = PullMessage { subscription: Some(&tags), ..pull_of("long-text", "long-text-g", HOURS) };
    let answer = server.peer().await.ask(Command::request(RequestCode::PullMessage, &header)).await;
    assert_eq!(answer.code, ResponseCode::PullNotFound.number(), "{:?}", answer.remark);
    server.broker.stop().await.unwrap();
}
