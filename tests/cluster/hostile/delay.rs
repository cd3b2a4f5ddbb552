//! What lies in the way of delayed messages: each level is one queue, and whatever stops its first
//! message stops all.

use super::wire::{Peer, assert_refused, assert_taken, send_to};
use crate::servers::{ask, broker_with, folder, free_port};
use rmq_protocol::{
    RequestCode, ResponseCode,
    body::{Subscription, SubscriptionGroup, TopicConfig, TopicConfigList},
    fastjson,
    header::{Empty, SendMessageV2},
    message::{
        Properties, delay,
        properties::{DELAY, DLQ_ORIGIN_TOPIC, REAL_QUEUE_ID, REAL_TOPIC},
        stored::Draft,
    },
    names,
};
use rmq_store::{MessageStore, TagsCode};
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const LEVELS: (&str, &str) = ("messageDelayLevel", "1s 1s 1s");

/// Puts messages into the first delay level of a store that no broker has open.
fn store_delayed(root: &Path, messages: &[(Properties, &str)]) {
    let mut config = rmq_store::Config::new(root);
    config.commit_log_file_size = 64 << 20;
    config.allocation.step = 1 << 20;
    config.tags_code = TagsCode::with(|record| delay::entry_code(record, &[Duration::from_secs(1)]));
    let store = MessageStore::open(config, Vec::new()).unwrap();
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    for (properties, body) in messages {
        let properties = properties.to_string();
        let draft = Draft {
            topic: names::SCHEDULE_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: properties.as_bytes(),
            body: body.as_bytes(),
        };
        store.put(&draft).unwrap();
    }
    store.close().unwrap();
}

fn destination(topic: &str, queue_id: &str) -> Properties {
    [(REAL_TOPIC, topic), (REAL_QUEUE_ID, queue_id), (DELAY, "1"), ("color", "red")].into_iter().collect()
}

/// A broker wrote them that checked less: the level stood still for everybody, and the log said so
/// each second without a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_that_can_never_be_delivered_is_passed_and_kept() {
    let root = folder("undeliverable");
    let long = "t".repeat(256);
    let big = "p".repeat(30_000);
    let mut homeless = destination("", "0");
    homeless.set("color", "blue");
    let mut full = destination("a/b", "0");
    full.set("big", big);
    let messages = [
        (destination(&long, "0"), "long"),
        (destination("orders", "-1"), "negative"),
        (destination("orders", "x"), "no number"),
        (homeless, "homeless"),
        (full, "slash"),
        (destination(names::SCHEDULE_TOPIC, "0"), "again"),
        (destination("orders", "0"), "good"),
    ];
    store_delayed(&root.join("late"), &messages);
    let http = free_port().to_string();
    let broker = broker_with(&root, "late", "", 0, &[LEVELS, ("httpPort", &http)]).await;
    let peer = Peer::new(broker.address());
    assert_taken(&peer.send("orders", &[], "first").await);
    let bodies = |read: Vec<super::wire::Read>| read.into_iter().map(|read| read.body).collect::<Vec<_>>();
    assert!(bodies(peer.wait_for("orders", 0, 2).await).contains(&"good".to_owned()));
    let kept = peer.wait_for("rmq_sys_DELAY_DLQ", 0, 6).await;
    assert_eq!(kept[0].properties.get(DLQ_ORIGIN_TOPIC), Some(long.as_str()));
    assert_eq!(kept[0].properties.get("color"), Some("red"));
    let reasons: Vec<_> = kept.iter().map(|read| read.properties.get("UNDELIVERABLE").unwrap().to_owned()).collect();
    for (reason, named) in reasons.iter().zip(["256", "-1", "\"x\"", "REAL_TOPIC", "'/'", "for ever"]) {
        assert!(reason.contains(named), "{named} is not named: {reason}");
    }
    assert_eq!(bodies(kept), ["long", "negative", "no number", "homeless", "slash", "again"]);
    let (_, metrics) = ask(broker.http_address().unwrap(), "/metrics").await;
    let counted = metrics.lines().find(|line| line.starts_with("rocketmq_broker_undeliverable_delayed_total"));
    assert!(counted.is_some_and(|line| line.ends_with(" 6")), "{counted:?}");
    peer.close().await;
    broker.stop().await.unwrap();
}

/// `maxMessageSize` was lowered while a larger message waited, and fewer levels were configured
/// than had messages.
#[tokio::test(flavor = "multi_thread")]
async fn limits_lowered_between_two_starts_stop_no_delayed_message() {
    let root = folder("lowered");
    let broker = broker_with(&root, "late", "", 0, &[("messageDelayLevel", "2s 2s 2s 2s")]).await;
    let peer = Peer::new(broker.address());
    let large = "l".repeat(5000);
    assert_taken(&peer.send("orders", &[(DELAY, "1")], &large).await);
    assert_taken(&peer.send("orders", &[(DELAY, "1")], "small").await);
    assert_taken(&peer.send("orders", &[(DELAY, "4")], "fourth level").await);
    peer.close().await;
    broker.stop().await.unwrap();
    let lower = [("messageDelayLevel", "1s"), ("maxMessageSize", "1000")];
    let broker = broker_with(&root, "late", "", 0, &lower).await;
    let peer = Peer::new(broker.address());
    let bodies: Vec<_> = peer.wait_for("orders", 0, 3).await.into_iter().map(|read| read.body).collect();
    assert!(bodies.contains(&large) && bodies.contains(&"small".to_owned()), "{bodies:?}");
    assert!(bodies.contains(&"fourth level".to_owned()), "{bodies:?}");
    // What was taken once can also be sent back.
    let offset = peer.read("orders", 0, 0).await.iter().find(|read| read.body == large).unwrap().physical_offset;
    assert_taken(&peer.heartbeat("lowered", Subscription::tags("orders", "*", 1)).await);
    assert_taken(&peer.send_back("lowered", offset, 1).await);
    assert_eq!(peer.wait_for("%RETRY%lowered", 0, 1).await[0].body, large);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// A file of another node, or a log that a crash has cut: as many messages as the position was
/// ahead never came.
#[tokio::test(flavor = "multi_thread")]
async fn a_delay_position_ahead_of_its_queue_holds_back_no_message() {
    for (position, has_time) in [(3, false), (999_999, false), (999_999, true)] {
        let root = folder("ahead");
        let levels = [("messageDelayLevel", "1s 10s 1s")];
        let broker = broker_with(&root, "late", "", 0, &levels).await;
        let peer = Peer::new(broker.address());
        assert_taken(&peer.send("orders", &[(DELAY, "1")], "before").await);
        peer.wait_for("orders", 0, 1).await;
        if has_time {
            assert_taken(&peer.send("orders", &[(DELAY, "2")], "on its way").await);
        }
        peer.close().await;
        broker.stop().await.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let timestamp = if has_time { now } else { 0 };
        let version = format!(r#"{{"counter":1,"stateVersion":0,"timestamp":{timestamp}}}"#);
        let table = format!(r#"{{"dataVersion":{version},"offsetTable":{{1:{position},2:{position},7:-4}}}}"#);
        std::fs::write(root.join("late/config/delayOffset.json"), table).unwrap();
        let broker = broker_with(&root, "late", "", 0, &levels).await;
        let peer = Peer::new(broker.address());
        assert_taken(&peer.send("orders", &[(DELAY, "1")], "after").await);
        let mut wanted = vec!["before", "after"];
        if has_time {
            wanted.push("on its way");
        }
        let bodies: Vec<_> = peer.wait_for("orders", 0, wanted.len()).await.into_iter().map(|read| read.body).collect();
        assert_eq!(bodies, wanted, "position {position} of {timestamp}");
        peer.close().await;
        broker.stop().await.unwrap();
    }
}

/// `retryQueueNums` was raised to 4 after the retry topic was made with one queue: three of four
/// messages were out of reach.
#[tokio::test(flavor = "multi_thread")]
async fn retries_go_to_queues_that_can_be_read() {
    let root = folder("retry-queues");
    let broker = broker_with(&root, "late", "", 0, &[("messageDelayLevel", "1s 5s 1s")]).await;
    let peer = Peer::new(broker.address());
    assert_taken(&peer.send("orders", &[], "hello").await);
    let offset = peer.wait_for("orders", 0, 1).await[0].physical_offset;
    assert_taken(&peer.heartbeat("more", Subscription::tags("orders", "*", 1)).await);
    let group = SubscriptionGroup { retry_queue_nums: 4, ..SubscriptionGroup::new("more") };
    let put = peer.ask(RequestCode::UpdateAndCreateSubscriptionGroup, &Empty {}, fastjson::to_vec(&group)).await;
    assert_taken(&put);
    for _ in 0..12 {
        assert_taken(&peer.send_back("more", offset, 1).await);
    }
    assert_eq!(peer.wait_for("%RETRY%more", 0, 12).await.len(), 12);
    // Queues that are taken away while messages are on their way to them.
    let topics = |queues| {
        let config = TopicConfig::new("shrinking", queues, queues, 6);
        fastjson::to_vec(&TopicConfigList { topic_config_list: vec![config] })
    };
    assert_taken(&peer.ask(RequestCode::UpdateAndCreateTopicList, &Empty {}, topics(4)).await);
    let properties = Properties::from_iter([(DELAY, "2")]).to_string();
    for queue_id in 0..4 {
        let header = SendMessageV2 { queue_id, ..send_to("shrinking", &properties) };
        assert_taken(&peer.ask(RequestCode::SendMessageV2, &header, b"shrinks".to_vec()).await);
    }
    assert_taken(&peer.ask(RequestCode::UpdateAndCreateTopicList, &Empty {}, topics(1)).await);
    assert_eq!(peer.wait_for("shrinking", 0, 4).await.len(), 4);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Answered with success and delivered at once, to consumers that were to get it hours later.
#[tokio::test(flavor = "multi_thread")]
async fn a_property_of_the_brokers_that_is_none_of_its_values_is_refused() {
    let root = folder("properties");
    let broker = broker_with(&root, "late", "", 0, &[LEVELS]).await;
    let peer = Peer::new(broker.address());
    assert_taken(&peer.send("orders", &[], "hello").await);
    peer.wait_for("orders", 0, 1).await;
    let wrong = [
        (DELAY, "4x"),
        (DELAY, " 1 "),
        (DELAY, "1.5"),
        (DELAY, "99999999999"),
        (DELAY, "-1"),
        ("WAIT", "yes"),
        ("TRAN_MSG", "1"),
        ("TIMER_DELAY_MS", "soon"),
        ("TIMER_DELAY_SEC", "5"),
        ("TIMER_DELIVER_MS", "-3"),
    ];
    for (name, value) in wrong {
        let answer = peer.send("orders", &[(name, value)], "wrong").await;
        assert_refused(&answer, ResponseCode::MessageIllegal, &[name, value]);
    }
    assert_eq!(peer.max_offset("orders", 0).await, 1, "nothing of what was refused is stored");
    for (name, value) in [(DELAY, "0"), ("WAIT", "False"), ("WAIT", "true"), ("TRAN_MSG", "false")] {
        assert_taken(&peer.send("orders", &[(name, value)], "right").await);
    }
    peer.wait_for("orders", 0, 5).await;
    // Clients that retry ask for more than the highest level, and mean the highest.
    assert_taken(&peer.send("orders", &[(DELAY, "99")], "capped").await);
    peer.wait_for("orders", 0, 6).await;
    peer.close().await;
    broker.stop().await.unwrap();
}

/// The broker adds where the message is to go: what then would not fit is refused before it is
/// stored, and harms nobody.
#[tokio::test(flavor = "multi_thread")]
async fn properties_that_leave_no_room_for_the_brokers_own_are_refused() {
    let root = folder("full-properties");
    let broker = broker_with(&root, "late", "", 0, &[LEVELS]).await;
    let peer = Peer::new(broker.address());
    let full = "p".repeat(32_700);
    let refused = peer.send("orders", &[("big", &full), (DELAY, "1")], "full").await;
    assert_refused(&refused, ResponseCode::MessageIllegal, &["32767"]);
    assert_taken(&peer.send("orders", &[(DELAY, "1")], "next").await);
    assert_eq!(peer.wait_for("orders", 0, 1).await[0].body, "next");
    peer.close().await;
    broker.stop().await.unwrap();
}
