//! Many clients of one group that come and go.

use super::peer::{DEADLINE, Peer, Server, request};
use rmq_protocol::{
    Command, RequestCode,
    body::{ConsumerData, ConsumerIds, Heartbeat, Subscription},
    fastjson,
    header::ConsumerGroupRequest,
};
use std::time::{Duration, Instant};

const GROUP: &str = "joins-g";
const SENT: &str = "rocketmq_broker_group_notices_total";

fn heartbeat(client: usize) -> Command {
    let group = ConsumerData {
        group_name: GROUP.into(),
        subscription_data_set: vec![Subscription::tags("joins", "*", 1)],
        ..ConsumerData::default()
    };
    let body =
        Heartbeat { client_id: format!("127.0.0.1@{client}"), consumer_data_set: vec![group], ..Heartbeat::default() };
    request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&body))
}

async fn members(peer: &mut Peer) -> usize {
    let header = ConsumerGroupRequest { consumer_group: GROUP };
    let answer = peer.ask(Command::request(RequestCode::ConsumerListByGroup, &header)).await;
    let ids: ConsumerIds = fastjson::from_slice(&answer.body).unwrap();
    ids.consumer_id_list.len()
}

/// Reads until a notice has come after which the group has so many members.
async fn is_told(peer: &mut Peer, count: usize) {
    let reported = async {
        while members(peer).await != count {
            // Each join or end is told after it, so this comes.
            while peer.next().await.expect("a notice").code != RequestCode::NotifyConsumerIdsChanged.number() {}
        }
    };
    tokio::time::timeout(DEADLINE, reported).await.expect("a notice of the last change");
}

/// Each join told every member: six million notices and 40 s for 3,500 clients.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_notified_of_many_joins_and_ends_together_and_of_the_last_one() {
    let server = Server::start("joins", &[]).await;
    server.put_topic("joins", 1).await;
    let (clients, mut peers, begun) = (150, Vec::new(), Instant::now());
    for client in 0..clients {
        let mut peer = server.peer().await;
        assert_eq!(peer.ask(heartbeat(client)).await.code, 0);
        peers.push(peer);
    }
    for peer in [0, clients / 2, clients - 1] {
        is_told(&mut peers[peer], clients).await;
    }
    let rounds = begun.elapsed().as_millis() as f64 / 100.0 + 2.0;
    let sent = server.figure(SENT).await;
    let most = rounds * clients as f64;
    let each = (clients * clients / 2) as f64;
    assert!(
        sent <= most,
        "{sent} notices in {:?}, at most {most} may be; one for each join were {each}",
        begun.elapsed()
    );

    let (mut last, begun) = (peers.swap_remove(0), Instant::now());
    drop(peers);
    is_told(&mut last, 1).await;
    let sent = server.figure(SENT).await - sent;
    let most = (begun.elapsed().as_millis() as f64 / 100.0 + 2.0) * clients as f64;
    assert!(sent <= most, "{sent} notices of the ends, at most {most} may be");
    server.broker.stop().await.unwrap();
}

/// A client that comes back by another connection is not taken away with the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_come_back_by_another_connection_stays() {
    let server = Server::start("comes-back", &[]).await;
    server.put_topic("joins", 1).await;
    let (mut first, mut second, mut other) = (server.peer().await, server.peer().await, server.peer().await);
    first.ask(heartbeat(1)).await;
    other.ask(heartbeat(2)).await;
    second.ask(heartbeat(1)).await;
    first.ask(heartbeat(3)).await;
    assert_eq!(members(&mut other).await, 3);
    drop(first);
    is_told(&mut other, 2).await;
    assert_eq!(members(&mut second).await, 2);
    tokio::time::timeout(Duration::from_secs(60), server.broker.stop()).await.unwrap().unwrap();
}
