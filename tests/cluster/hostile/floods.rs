//! Many requests at once on one connection.

use super::peer::{DEADLINE, Server, request};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{TopicConfig, TopicConfigTable},
    fastjson,
    header::TopicRequest,
};
use std::time::Instant;

const TOPICS: usize = 4000;
const OUTBOX: &str = "rocketmq_remoting_outbox_bytes";

async fn many_topics(name: &str) -> Server {
    let server = Server::start(name, &[]).await;
    let topics = (0..TOPICS).map(|n| TopicConfig::new(format!("{name}-topic-with-a-name-{n:05}"), 8, 8, 6)).collect();
    server.put_topics(topics).await;
    server
}

/// The limit on unread answers was looked at once a read: 8 KB of requests took 198 MiB of answers, and others of the thread waited 1.65 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_requests_for_all_topics_takes_no_more_than_the_limit_of_a_connection() {
    let server = many_topics("floods").await;
    let (mut flood, count) = (server.peer().await, 280);
    flood.send_many(&request(RequestCode::AllTopicConfig), count).await;
    let mut other = server.peer().await;
    let (mut most, begun) = (0.0, Instant::now());
    // Held back, or, before there was a limit for each frame, answered as a whole.
    let all = TOPICS as f64 * 150.0 * count as f64 / 2.0;
    while most < all && server.figure("rocketmq_remoting_held_back_for_outbox_total").await < 1.0 {
        assert!(begun.elapsed() < DEADLINE, "the connection is neither held back nor answered: {most} bytes");
        assert_eq!(other.code(request(RequestCode::SystemTopicListFromBroker)).await.0, Some(ResponseCode::Success));
        most = server.figure(OUTBOX).await.max(most);
    }
    for _ in 0..20 {
        assert_eq!(other.code(request(RequestCode::SystemTopicListFromBroker)).await.0, Some(ResponseCode::Success));
        most = server.figure(OUTBOX).await.max(most);
    }
    // 8 MiB, and the answers of eight turns.
    let limit = (8 << 20) as f64 + 9.0 * TOPICS as f64 * 400.0;
    assert!(most < limit, "{most} bytes wait for one peer, {limit} may");
    for number in 0..count {
        let answer = flood.next().await.expect("an answer to each request");
        assert_eq!(answer.code, 0, "answer {number}: {:?}", answer.remark);
        if number % 40 == 0 {
            let table: TopicConfigTable = fastjson::from_slice(&answer.body).unwrap();
            assert!(table.topic_config_table.len() > TOPICS);
        }
    }
    assert_eq!(flood.code(request(RequestCode::SystemTopicListFromBroker)).await.0, Some(ResponseCode::Success));
    server.broker.stop().await.unwrap();
}

/// 10,000 requests of one connection might have waited for threads, after which all others were refused as busy; and whatever they asked for was made, read or not.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_threads_leave_room_for_those_of_others() {
    let server = Server::start("waiting", &[]).await;
    server.put_topic("waiting", 2000).await;
    let (mut flood, mut other) = (server.peer().await, server.peer().await);
    let stats = Command::request(RequestCode::TopicStatsInfo, &TopicRequest { topic: "waiting" });
    flood.send_many(&stats, 3000).await;
    let waiting = "rocketmq_processor_watermark";
    let mut most = 0.0;
    for _ in 0..20 {
        let (code, remark) = other.code(request(RequestCode::AllProducerInfo)).await;
        assert_eq!(code, Some(ResponseCode::Success), "{remark}");
        most = server.figure(waiting).await.max(most);
    }
    // Nobody reads the answers, so it stays so.
    server.until("it is held back", "rocketmq_remoting_held_back_connections", |held| held == 1.0).await;
    most = server.figure(waiting).await.max(most);
    assert!(most < 1100.0, "{most} requests waited");
    let unread = server.figure(OUTBOX).await;
    assert!(unread < (10 << 20) as f64, "{unread} bytes are not read");
    for _ in 0..100 {
        assert_eq!(flood.next().await.expect("an answer").code, 0);
    }
    drop(flood);
    server.until("nothing waits any more", waiting, |waiting| waiting == 0.0).await;
    server.broker.stop().await.unwrap();
}
