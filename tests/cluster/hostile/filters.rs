//! SQL92 expressions that are broken, endless, or expensive.

use super::{
    peer::{Server, pull_of},
    wire::{Peer, assert_refused, assert_taken},
};
use crate::filters::{by_sql, check};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{EXPRESSION_SQL92, Subscription},
    fastjson,
    header::{Empty, Header, PullMessage, PullMessageResponse, SendMessageV2},
    message::sys_flag::pull,
};
use std::time::{Duration, Instant};

const ENABLED: [(&str, &str); 1] = [("enablePropertyFilter", "true")];

/// A pull with an expression of its own.
fn pull_by<'a>(topic: &'a str, expression: &'a str) -> PullMessage<'a> {
    PullMessage {
        sys_flag: pull::SUBSCRIPTION,
        subscription: Some(expression),
        expression_type: Some(EXPRESSION_SQL92),
        ..pull_of(topic, "filters-g", Duration::ZERO)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_is_none_is_an_error_in_every_request_and_nothing_is_kept() {
    let server = Server::start("hostile-filters", &ENABLED).await;
    server.put_topic("filters", 1).await;
    let peer = Peer::new(server.address);
    let mut version = 0;
    for (expression, words) in [
        (format!("a = '{}'", "x".repeat(1_000_000)), "1000006 bytes, more than the 65536"),
        (format!("{}a = 1{}", "(".repeat(10_000), ")".repeat(10_000)), "column 257: more than 256 parentheses"),
        (format!("{}(a = 1)", "NOT ".repeat(10_000)), "more than 256 signs in a row"),
        (vec!["a = 1"; 5000].join(" OR "), "more than 4096 operators"),
        ("a = 'it''s".to_owned(), "column 5: the string that begins here has no closing quote"),
        ("a = 99999999999999999999".to_owned(), "column 5: 99999999999999999999 is above 9223372036854775807"),
        ("a > 1e999".to_owned(), "column 5: 1e999 is above"),
        ("a = 1 /* and".to_owned(), "column 7: the comment that begins here"),
        ("\u{0}".to_owned(), "column 1: '\\0' cannot stand outside of a string"),
        (String::new(), "column 1: a property, a number"),
    ] {
        version += 1;
        let code = ResponseCode::SubscriptionParseFailed;
        assert_refused(&check(&peer, by_sql("filters", &expression, 1)).await, code, &[words]);
        assert_refused(&peer.heartbeat("filters-g", by_sql("filters", &expression, version)).await, code, &[words]);
        let pulled = peer.ask(RequestCode::PullMessage, &pull_by("filters", &expression), Vec::new()).await;
        assert_refused(&pulled, code, &[words]);
        assert_eq!(server.figure("rocketmq_broker_filters").await, 0.0, "{words}");
    }
    // Bytes that are no text, in the body of a request for a check.
    let mut body = fastjson::to_vec(&rmq_protocol::body::CheckClientConfig {
        subscription_data: by_sql("filters", "a = '?'", 1),
        ..Default::default()
    });
    let at = body.iter().position(|byte| *byte == b'?').unwrap();
    body[at] = 0xFF;
    let answer = peer.ask(RequestCode::CheckClientConfig, &Empty {}, body).await;
    assert_eq!(ResponseCode::from_number(answer.code), Some(ResponseCode::SystemError), "{:?}", answer.remark);
    assert_taken(&peer.heartbeat("filters-g", Subscription::tags("filters", "*", 99)).await);
    peer.close().await;
    server.broker.stop().await.unwrap();
}

/// A thousand searches through 30 KB of properties, for each message: others are served
/// meanwhile, and the reader gets on.
#[tokio::test(flavor = "multi_thread")]
async fn an_expensive_expression_gets_on_and_keeps_nobody_waiting() {
    let server = Server::start("expensive-filters", &ENABLED).await;
    server.put_topic("filters", 1).await;
    let mut peer = server.peer().await;
    let properties = format!("a\u{1}{}\u{2}", "x".repeat(30_000));
    let send = SendMessageV2 {
        producer_group: "filters-p",
        topic: "filters",
        properties: Some(&properties),
        ..SendMessageV2::default()
    };
    let count = 150;
    peer.send_many(&Command::request(RequestCode::SendMessageV2, &send).with_body("a message"), count).await;
    for _ in 0..count {
        assert_taken(&peer.next().await.expect("an answer"));
    }
    server.until("all are dispatched", "rocketmq_storage_dispatch_behind_bytes", |behind| behind == 0.0).await;
    let expression = (0..1000).map(|part| format!("a CONTAINS 'xy{part}'")).collect::<Vec<_>>().join(" OR ");
    let expensive = pull_by("filters", &expression);
    let (mut offset, mut pulls) = (0, 0);
    let mut other = server.peer().await;
    while offset < count as i64 {
        let header = PullMessage { queue_offset: offset, ..expensive.clone() };
        peer.send(&Command::request(RequestCode::PullMessage, &header)).await;
        let begun = Instant::now();
        let header = pull_of("filters", "other-g", Duration::ZERO);
        assert_taken(&other.ask(Command::request(RequestCode::PullMessage, &header)).await);
        assert!(begun.elapsed() < Duration::from_secs(5), "another reader waited {:?}", begun.elapsed());
        let answer = peer.next().await.expect("an answer");
        assert_eq!(answer.code, ResponseCode::PullRetryImmediately.number(), "at {offset}: {:?}", answer.remark);
        let next = PullMessageResponse::decode(&answer.fields).unwrap().next_offset;
        assert!(next > offset, "a pull from {offset} on got nowhere");
        (offset, pulls) = (next, pulls + 1);
    }
    assert!(pulls > 1, "one read did it all");
    server.broker.stop().await.unwrap();
}
