//! Numbers out of range: refused with what was asked, and never taken as another wish.

use super::wire::{Peer, assert_refused, assert_taken, pull_from, send_to};
use crate::servers::{broker_with, folder, servers};
use rmq_client::Admin;
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{Subscription, SubscriptionGroup},
    fastjson,
    header::{
        ConsumerSendMessageBack, Empty, Header, PullMessage, PullMessageResponse, QueryMessage, SendMessageV2,
        TopicRequest, UpdateConsumerOffset,
    },
    message::sys_flag::pull,
};
use rmq_server::Broker;

/// A broker with the topic `numbers` of four queues, five messages in queue 0, and the group
/// `numbers-g` at 2 there.
async fn start(name: &str) -> (Broker, Peer) {
    let broker = broker_with(&folder(name), "hostile", "", 0, &[]).await;
    let peer = Peer::new(broker.address());
    for number in 0..5 {
        assert_taken(&peer.send("numbers", &[("KEYS", "key")], &number.to_string()).await);
    }
    peer.wait_for("numbers", 0, 5).await;
    let group = fastjson::to_vec(&SubscriptionGroup::new("numbers-g"));
    assert_taken(&peer.ask(RequestCode::UpdateAndCreateSubscriptionGroup, &Empty {}, group).await);
    assert_taken(&commit(&peer, 0, 2).await);
    (broker, peer)
}

async fn commit(peer: &Peer, queue_id: i32, commit_offset: i64) -> Command {
    let header = UpdateConsumerOffset { consumer_group: "numbers-g", topic: "numbers", queue_id, commit_offset };
    peer.ask(RequestCode::UpdateConsumerOffset, &header, Vec::new()).await
}

async fn committed(peer: &Peer, queue_id: &str) -> Option<i64> {
    let fields = [("consumerGroup", "numbers-g"), ("topic", "numbers"), ("queueId", queue_id)];
    let answer = peer.ask_with(RequestCode::QueryConsumerOffset, &fields, Vec::new()).await;
    answer.fields.get("offset").and_then(|offset| offset.parse().ok())
}

/// Answered with success, and the group went to the end of the queue: what it had not read was
/// skipped.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_to_an_offset_that_is_not_there_is_refused() {
    let (broker, peer) = start("reset").await;
    let reset = async |group: &str, queue_id: &str, offset: &str, timestamp: &str| {
        let fields = [
            ("topic", "numbers"),
            ("group", group),
            ("queueId", queue_id),
            ("offset", offset),
            ("timestamp", timestamp),
            ("isForce", "true"),
        ];
        peer.ask_with(RequestCode::InvokeBrokerToResetOffset, &fields, Vec::new()).await
    };
    let wrong = [
        (("0", "-5", "0"), ResponseCode::InvalidParameter, ["-5", "offset"]),
        (("0", "104", "0"), ResponseCode::SystemError, ["104", "0..=5"]),
        (("0", "6", "0"), ResponseCode::SystemError, ["6", "0..=5"]),
        (("-2", "-1", "0"), ResponseCode::InvalidParameter, ["-2", "queueId"]),
        (("4", "0", "0"), ResponseCode::InvalidParameter, ["4", "queueId"]),
        (("-1", "3", "0"), ResponseCode::InvalidParameter, ["3", "queueId"]),
        (("-1", "-1", "-7"), ResponseCode::InvalidParameter, ["-7", "timestamp"]),
        (("0", "x3", "0"), ResponseCode::SystemError, ["x3", "offset"]),
        (("0x", "3", "0"), ResponseCode::SystemError, ["0x", "queueId"]),
    ];
    for ((queue_id, offset, timestamp), code, named) in wrong {
        assert_refused(&reset("numbers-g", queue_id, offset, timestamp).await, code, &named);
        assert_eq!(committed(&peer, "0").await, Some(2), "{named:?}");
    }
    let unknown = reset("nobody", "-1", "-1", "-1").await;
    assert_refused(&unknown, ResponseCode::SubscriptionGroupNotExist, &["nobody"]);
    // As the tools ask: one queue to an offset, all to a time, all to the end.
    assert_taken(&reset("numbers-g", "0", "4", "0").await);
    assert_eq!(committed(&peer, "0").await, Some(4));
    assert_taken(&reset("numbers-g", "-1", "-1", "0").await);
    assert_eq!(committed(&peer, "0").await, Some(0));
    assert_taken(&reset("numbers-g", "-1", "-1", "-1").await);
    assert_eq!(committed(&peer, "0").await, Some(5));
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Offsets of queues that do not exist were stored, and those beyond the end of one skipped what
/// came next.
#[tokio::test(flavor = "multi_thread")]
async fn an_offset_of_no_queue_or_beyond_its_end_is_not_stored() {
    let (broker, peer) = start("commits").await;
    for (queue_id, offset, named) in [(4, 1, "4"), (99, 1, "99"), (-1, 1, "-1"), (0, -1, "-1")] {
        assert_refused(&commit(&peer, queue_id, offset).await, ResponseCode::InvalidParameter, &[named]);
    }
    // As clients tell their progress, who do not wait for an answer; the next request of the
    // connection does.
    let header =
        UpdateConsumerOffset { consumer_group: "numbers-g", topic: "numbers", queue_id: 0, commit_offset: 100 };
    peer.tell(RequestCode::UpdateConsumerOffset, &header).await;
    assert_eq!(committed(&peer, "0").await, Some(2));
    let pull = async |header: PullMessage<'static>| peer.ask(RequestCode::PullMessage, &header, Vec::new()).await;
    let asking = |queue_offset, commit_offset| PullMessage {
        queue_offset,
        commit_offset,
        sys_flag: pull::SUBSCRIPTION | pull::COMMIT_OFFSET,
        ..pull_from("numbers", "numbers-g")
    };
    // A client that was ahead of a broker whose log a crash has cut: it is told, and its place is
    // not taken for the group's.
    let ahead = pull(asking(100, 100)).await;
    assert_refused(&ahead, ResponseCode::PullOffsetMoved, &[]);
    assert_eq!(PullMessageResponse::decode(&ahead.fields).unwrap().next_offset, 5);
    assert_eq!(committed(&peer, "0").await, Some(2));
    assert_taken(&pull(asking(0, 3)).await);
    assert_eq!(committed(&peer, "0").await, Some(3));
    assert_refused(&pull(asking(0, -3)).await, ResponseCode::InvalidParameter, &["-3", "commitOffset"]);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// An offset file of another node, or a log that a crash has cut: the group began behind messages
/// that it had never seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_groups_offset_ahead_of_its_queue_skips_no_message() {
    let (broker, peer) = start("offsets-ahead").await;
    peer.close().await;
    broker.stop().await.unwrap();
    let root = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster/offsets-ahead");
    let table = r#"{"offsetTable":{"numbers@numbers-g":{0:105,1:7,2:-3},"numbers@other":{0:4},"gone@other":{0:4}}}"#;
    std::fs::write(root.join("hostile/config/consumerOffset.json"), table).unwrap();
    let broker = broker_with(&root, "hostile", "", 0, &[]).await;
    let peer = Peer::new(broker.address());
    assert_eq!(committed(&peer, "0").await, Some(5));
    assert_eq!(committed(&peer, "1").await, Some(0));
    assert_eq!(committed(&peer, "2").await, Some(0));
    let all = peer.ask(RequestCode::AllConsumerOffset, &Empty {}, Vec::new()).await;
    let all = String::from_utf8_lossy(&all.body).into_owned();
    assert!(all.contains(r#""numbers@other":{0:4}"#) && all.contains(r#""gone@other":{0:4}"#), "{all}");
    peer.close().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_with_numbers_out_of_range_is_refused_or_corrected_as_java_does() {
    let (broker, peer) = start("pulls").await;
    let ask = async |header: PullMessage<'static>| peer.ask(RequestCode::PullMessage, &header, Vec::new()).await;
    let plain = || pull_from("numbers", "numbers-g");
    let answer = ask(PullMessage { max_messages: -1, ..plain() }).await;
    assert_refused(&answer, ResponseCode::InvalidParameter, &["maxMsgNums", "-1"]);
    // What the Go client's pull consumer asks for.
    assert_taken(&ask(PullMessage { max_messages: 0, ..plain() }).await);
    let answer = ask(PullMessage { max_bytes: Some(-9), ..plain() }).await;
    assert_refused(&answer, ResponseCode::InvalidParameter, &["maxMsgBytes", "-9"]);
    let waiting = PullMessage { suspend_timeout: -8, sys_flag: pull::SUBSCRIPTION | pull::SUSPEND, ..plain() };
    let answer = ask(waiting).await;
    assert_refused(&answer, ResponseCode::InvalidParameter, &["suspendTimeoutMillis", "-8"]);
    for queue_id in [-1, 4] {
        assert_refused(
            &ask(PullMessage { queue_id, ..plain() }).await,
            ResponseCode::SystemError,
            &[&queue_id.to_string()],
        );
    }
    let answer = ask(PullMessage { queue_offset: -5, ..plain() }).await;
    assert_refused(&answer, ResponseCode::PullOffsetMoved, &["-5"]);
    assert_eq!(PullMessageResponse::decode(&answer.fields).unwrap().next_offset, 0);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// A request with fields that are good, the field that is replaced, and by what.
type Case<'a> = (RequestCode, &'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);

/// Every number of every request that this broker answers, one at a time, with what it cannot be.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_out_of_range_are_refused_with_their_value() {
    let (broker, peer) = start("ranges").await;
    use RequestCode as C;
    let send =
        [("a", "p"), ("b", "numbers"), ("c", "TBW102"), ("d", "4"), ("e", "0"), ("f", "0"), ("g", "1"), ("h", "0")];
    let create = [
        ("topic", "created"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    let queue = [("topic", "numbers"), ("queueId", "0")];
    let search = [("topic", "numbers"), ("queueId", "0"), ("timestamp", "0")];
    let query = [("topic", "numbers"), ("key", "key"), ("maxNum", "1"), ("beginTimestamp", "0"), ("endTimestamp", "9")];
    let entries = [("topic", "numbers"), ("queueId", "0"), ("index", "0"), ("count", "1")];
    let offset = [("consumerGroup", "numbers-g"), ("topic", "numbers"), ("queueId", "0")];
    let back = [("offset", "0"), ("group", "numbers-g"), ("delayLevel", "1")];
    let cases: &[Case<'_>] = &[
        (C::SendMessageV2, &send, "e", &["9", "x"]),
        (C::SendMessageV2, &send, "f", &["4", "8", "12"]),
        (C::SendMessageV2, &send, "j", &["-1", "x"]),
        (C::SendMessageV2, &send, "l", &["-2", "99999999999"]),
        (C::UpdateAndCreateTopic, &create, "readQueueNums", &["-1", "65537"]),
        (C::UpdateAndCreateTopic, &create, "writeQueueNums", &["-1", "65537", "2"]),
        (C::UpdateAndCreateTopic, &create, "perm", &["-1", "8"]),
        (C::UpdateAndCreateTopic, &create, "topicSysFlag", &["-1", "4", "x"]),
        (C::MaxOffset, &queue, "queueId", &["-1", "4"]),
        (C::MinOffset, &queue, "queueId", &["-1", "4"]),
        (C::EarliestMessageStoreTime, &queue, "queueId", &["-1", "4"]),
        (C::SearchOffsetByTimestamp, &search, "queueId", &["-1", "4"]),
        (C::SearchOffsetByTimestamp, &search, "boundaryType", &["middle"]),
        (C::QueryMessage, &query, "maxNum", &["0", "-1"]),
        (C::QueryConsumeQueue, &entries, "index", &["-1", "5"]),
        (C::QueryConsumeQueue, &entries, "count", &["0", "-1"]),
        (C::QueryConsumeQueue, &entries, "queueId", &["-1", "9"]),
        (C::QueryConsumerOffset, &offset, "queueId", &["-1", "4"]),
        (C::AllTopicConfig, &[("topicSeq", "0")], "topicSeq", &["-1"]),
        (C::AllTopicConfig, &[("topicSeq", "0")], "maxTopicNum", &["0", "-1"]),
        (C::AllSubscriptionGroupConfig, &[("groupSeq", "0")], "groupSeq", &["-1"]),
        (C::AllSubscriptionGroupConfig, &[("groupSeq", "0")], "maxGroupNum", &["0"]),
        (C::ConsumerSendMessageBack, &back, "offset", &["-1", "3"]),
        (C::ConsumerSendMessageBack, &back, "maxReconsumeTimes", &["-2", "x"]),
    ];
    for (code, fields, name, values) in cases {
        for value in *values {
            let mut asked: Vec<_> = fields.iter().copied().filter(|(field, _)| field != name).collect();
            asked.push((name, value));
            let answer = peer.ask_with(*code, &asked, b"body".to_vec()).await;
            let remark = answer.remark.clone().unwrap_or_default();
            assert!(answer.code != 0 && remark.contains(value), "{code:?} {name}={value}: {} {remark}", answer.code);
        }
    }
    for (name, value) in
        [("retryQueueNums", "-1"), ("retryQueueNums", "65537"), ("retryMaxTimes", "-2"), ("brokerId", "-1")]
    {
        let body = format!(r#"{{"groupName":"created","{name}":{value}}}"#);
        let answer = peer.ask(C::UpdateAndCreateSubscriptionGroup, &Empty {}, body.into_bytes()).await;
        assert_refused(&answer, ResponseCode::InvalidParameter, &[name, value]);
    }
    let queues = r#"[{"topic":"numbers","brokerName":"numbers","queueId":-1},{"topic":"numbers","brokerName":"numbers","queueId":0}]"#;
    let body = format!(r#"{{"consumerGroup":"numbers-g","clientId":"c","mqSet":{queues}}}"#);
    let answer = peer.ask(C::LockBatchQueues, &Empty {}, body.into_bytes()).await;
    assert_refused(&answer, ResponseCode::InvalidParameter, &["-1"]);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Stored as -2147483648, a number of tries that never ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_number_of_tries_is_not_counted_beyond() {
    let (broker, peer) = start("tries").await;
    let header = SendMessageV2 { reconsume_times: Some(i32::MAX), queue_id: 1, ..send_to("numbers", "") };
    assert_taken(&peer.ask(RequestCode::SendMessageV2, &header, b"tired".to_vec()).await);
    let offset = peer.wait_for("numbers", 1, 1).await[0].physical_offset;
    assert_taken(&peer.heartbeat("numbers-g", Subscription::tags("numbers", "*", 1)).await);
    for delay_level in [0, -1] {
        let header = ConsumerSendMessageBack {
            offset,
            group: "numbers-g",
            delay_level,
            max_reconsume_times: Some(i32::MAX),
            ..ConsumerSendMessageBack::default()
        };
        assert_taken(&peer.ask(RequestCode::ConsumerSendMessageBack, &header, Vec::new()).await);
    }
    let dead = peer.wait_for("%DLQ%numbers-g", 0, 2).await;
    assert!(dead.iter().all(|dead| dead.reconsume_times == i32::MAX), "{dead:?}");
    // One below the largest asks for the level 3 + 2,147,483,646.
    let header = SendMessageV2 { reconsume_times: Some(i32::MAX - 1), queue_id: 1, ..send_to("numbers", "") };
    assert_taken(&peer.ask(RequestCode::SendMessageV2, &header, b"tired".to_vec()).await);
    let offset = peer.wait_for("numbers", 1, 2).await[1].physical_offset;
    let header = ConsumerSendMessageBack {
        offset,
        group: "numbers-g",
        max_reconsume_times: Some(i32::MAX),
        ..ConsumerSendMessageBack::default()
    };
    let fields = Command::request(RequestCode::ConsumerSendMessageBack, &header).fields;
    let fields: Vec<_> = fields.iter().collect();
    assert_taken(&peer.ask_with(RequestCode::ConsumerSendMessageBack, &fields, Vec::new()).await);
    let highest = async || peer.max_offset("SCHEDULE_TOPIC_XXXX", 17).await == 1;
    crate::replication::until("the message is in the highest level's queue", highest).await;
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Sums of offsets that a tool may store left the range of their type, and who asked got no answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_offsets_can_be_added_up() {
    let (broker, peer) = start("sums").await;
    for queue_id in 0..4 {
        assert_taken(&commit(&peer, queue_id, i64::MAX).await);
    }
    assert_taken(&peer.ask(RequestCode::BrokerConsumeStats, &Empty {}, Vec::new()).await);
    let fields = [("topic", "numbers"), ("group", "numbers-g")];
    assert_taken(&peer.ask_with(RequestCode::QueryConsumeTimeSpan, &fields, Vec::new()).await);
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Java's admin asks for 64 and got 32.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_by_key_finds_as_many_as_javas() {
    let (broker, peer) = start("query").await;
    for number in 0..70 {
        assert_taken(&peer.send("numbers", &[("KEYS", "many")], &number.to_string()).await);
    }
    let query = async |max| {
        let header = QueryMessage { topic: "numbers", key: "many", max, begin: 0, end: i64::MAX, unique_key: None };
        let answer = peer.ask(RequestCode::QueryMessage, &header, Vec::new()).await;
        rmq_protocol::message::stored::Records::new(&answer.body).count()
    };
    let found = async {
        while query(64).await < 64 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::wire::DEADLINE, found).await.expect("64 of 70 messages");
    assert_eq!((query(10).await, query(100).await), (10, 64));
    peer.close().await;
    broker.stop().await.unwrap();
}

/// Templates and defaults hang on them; Java refuses it too.
#[tokio::test(flavor = "multi_thread")]
async fn the_topics_named_after_cluster_and_broker_cannot_be_deleted() {
    let admin = Admin::new(&servers().await.namesrvs).unwrap();
    let master = admin.masters(None).await.unwrap().remove(0);
    let peer = Peer::at(&master.address);
    let clusters = admin.cluster_info().await.unwrap().cluster_addr_table;
    for topic in [&master.name, clusters.keys().next().unwrap()] {
        let answer = peer.ask(RequestCode::DeleteTopicInBroker, &TopicRequest { topic }, Vec::new()).await;
        assert_refused(&answer, ResponseCode::InvalidParameter, &[topic]);
        assert!(admin.topic_config(&master.address, topic).await.unwrap().is_some());
    }
    peer.close().await;
    admin.close().await;
}
