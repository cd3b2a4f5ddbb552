//! Pulls that make the broker look at more than it hands out.

use super::peer::{Server, pull_of};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    header::{Header, PullMessage, PullMessageResponse, SendMessageV2},
    message::sys_flag::pull,
};
use std::time::Duration;

/// One pull looked at as many queue entries as its client named, 1.5 million, on the thread of its
/// connection and of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_matches_nothing_scans_a_bounded_part_and_returns_the_next_offset() {
    let server = Server::start("scans", &[]).await;
    server.put_topic("scans", 1).await;
    let (mut peer, count) = (server.peer().await, 3000);
    let send = SendMessageV2 {
        producer_group: "scans-p",
        topic: "scans",
        queue_id: 0,
        properties: Some("TAGS\u{1}other\u{2}"),
        ..SendMessageV2::default()
    };
    peer.send_many(&Command::request(RequestCode::SendMessageV2, &send).with_body("a message"), count).await;
    for _ in 0..count {
        let answer = peer.next().await.expect("an answer");
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    }
    server.until("all are dispatched", "rocketmq_storage_dispatch_behind_bytes", |behind| behind == 0.0).await;
    let (mut offset, mut pulls) = (0, 0);
    while offset < count as i64 {
        let header = PullMessage {
            queue_offset: offset,
            max_messages: i32::MAX,
            max_bytes: Some(i32::MAX),
            subscription: Some("wanted"),
            sys_flag: pull::SUBSCRIPTION,
            ..pull_of("scans", "scans-g", Duration::ZERO)
        };
        let answer = peer.ask(Command::request(RequestCode::PullMessage, &header)).await;
        assert_eq!(answer.code, ResponseCode::PullRetryImmediately.number(), "at {offset}: {:?}", answer.remark);
        let next = PullMessageResponse::decode(&answer.fields).unwrap().next_offset;
        assert!(next > offset && next - offset <= 1000, "a pull from {offset} on looked as far as {next}");
        (offset, pulls) = (next, pulls + 1);
    }
    assert!(pulls >= 3);
    server.broker.stop().await.unwrap();
}
