//! Names that are legal by themselves and too long with the prefix that a broker puts before them.

use super::wire::{Peer, assert_refused, assert_taken, pull_from};
use crate::servers::{broker_with, folder};
use rmq_protocol::{
    RequestCode, ResponseCode,
    body::{Subscription, SubscriptionGroup},
    fastjson,
    header::{ConsumerGroupRequest, Empty, TopicRequest, UpdateConsumerOffset},
};

/// One group of 249 letters sent one message back, and no consumer of that broker got a retry any
/// more, over all restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_too_long_for_its_retry_topic_stops_no_delay_level() {
    let root = folder("long-group");
    let broker = broker_with(&root, "long", "", 0, &[("messageDelayLevel", "1s 1s 1s")]).await;
    let peer = Peer::new(broker.address());
    let long = "g".repeat(249);
    assert_taken(&peer.send("long-names", &[], "hello").await);
    let offset = peer.wait_for("long-names", 0, 1).await[0].physical_offset;
    let beat = peer.heartbeat(&long, Subscription::tags("long-names", "*", 1)).await;
    let back = peer.send_back(&long, offset, 0).await;

    assert_taken(&peer.heartbeat("short", Subscription::tags("long-names", "*", 1)).await);
    assert_taken(&peer.send_back("short", offset, 0).await);
    assert_eq!(peer.wait_for("%RETRY%short", 0, 1).await[0].body, "hello");
    assert_refused(&beat, ResponseCode::InvalidParameter, &["249", "248", &long]);
    assert_refused(&back, ResponseCode::SubscriptionGroupNotExist, &["249", "248"]);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// By whichever request a name comes, it is refused before anything of it is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_could_have_no_retry_topic_is_refused_by_every_request() {
    let root = folder("long-groups");
    let broker = broker_with(&root, "long", "", 0, &[]).await;
    let peer = Peer::new(broker.address());
    let long = "g".repeat(249);
    assert_taken(&peer.send("long-names", &[], "hello").await);
    let group = fastjson::to_vec(&SubscriptionGroup::new(&long));
    let created = peer.ask(RequestCode::UpdateAndCreateSubscriptionGroup, &Empty {}, group).await;
    assert_refused(&created, ResponseCode::InvalidParameter, &["249", "248"]);
    let pulled = peer.ask(RequestCode::PullMessage, &pull_from("long-names", &long), Vec::new()).await;
    assert_refused(&pulled, ResponseCode::SubscriptionGroupNotExist, &["249", "248"]);
    let header = UpdateConsumerOffset { consumer_group: &long, topic: "long-names", queue_id: 0, commit_offset: 1 };
    let committed = peer.ask(RequestCode::UpdateConsumerOffset, &header, Vec::new()).await;
    assert_refused(&committed, ResponseCode::SubscriptionGroupNotExist, &["249", "248"]);

    let longest = "g".repeat(248);
    assert_taken(&peer.heartbeat(&longest, Subscription::tags("long-names", "*", 1)).await);
    let offset = peer.wait_for("long-names", 0, 1).await[0].physical_offset;
    assert_taken(&peer.send_back(&longest, offset, 1).await);
    peer.wait_for(&format!("%RETRY%{longest}"), 0, 1).await;
    assert_taken(&peer.send_back(&longest, offset, -1).await);
    peer.wait_for(&format!("%DLQ%{longest}"), 0, 1).await;
    peer.close().await;
    broker.stop().await.unwrap();
}

/// The topic was made, written and told to the namesrvs, and then the message was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_the_retries_of_no_group_makes_no_topic() {
    let root = folder("no-group");
    let broker = broker_with(&root, "names", "", 0, &[]).await;
    let peer = Peer::new(broker.address());
    let refused = peer.send("%RETRY%nobody", &[], "hello").await;
    assert_refused(&refused, ResponseCode::SubscriptionGroupNotExist, &["nobody"]);
    let header = TopicRequest { topic: "%RETRY%nobody" };
    let topic = peer.ask(RequestCode::TopicConfig, &header, Vec::new()).await;
    assert_refused(&topic, ResponseCode::TopicNotExist, &["%RETRY%nobody"]);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Such a group may stand in the table of a broker that did not refuse it yet: it goes on, without
/// retries.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_too_long_for_its_retry_topic_that_is_there_already_goes_on() {
    let root = folder("long-old");
    let long = "g".repeat(250);
    let table = format!(r#"{{"subscriptionGroupTable":{{"{long}":{{"groupName":"{long}"}}}}}}"#);
    std::fs::create_dir_all(root.join("long/config")).unwrap();
    std::fs::write(root.join("long/config/subscriptionGroup.json"), table).unwrap();
    let broker = broker_with(&root, "long", "", 0, &[]).await;
    let peer = Peer::new(broker.address());
    assert_taken(&peer.send("long-names", &[], "hello").await);
    let offset = peer.wait_for("long-names", 0, 1).await[0].physical_offset;
    assert_taken(&peer.heartbeat(&long, Subscription::tags("long-names", "*", 1)).await);
    let header = ConsumerGroupRequest { consumer_group: &long };
    assert_taken(&peer.ask(RequestCode::ConsumerListByGroup, &header, Vec::new()).await);
    assert_taken(&peer.ask(RequestCode::PullMessage, &pull_from("long-names", &long), Vec::new()).await);
    let back = peer.send_back(&long, offset, 0).await;
    assert_refused(&back, ResponseCode::InvalidParameter, &["257", "255", "%RETRY%"]);
    // The dead letters' prefix is shorter.
    assert_taken(&peer.send_back(&long, offset, -1).await);
    peer.wait_for(&format!("%DLQ%{long}"), 0, 1).await;
    peer.close().await;
    broker.stop().await.unwrap();
}
