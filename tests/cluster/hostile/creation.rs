//! What requests make a broker keep.

use super::peer::{Peer, Server, pull_of, request};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{
        ConsumerData, Heartbeat, LockBatch, LockBatchResponse, ProducerData, Subscription, SubscriptionGroup,
        SubscriptionGroupList, TopicConfig, TopicConfigList,
    },
    fastjson,
    header::{CloneGroupOffset, ConsumerGroupRequest, CreateTopic, UpdateConsumerOffset},
    message::MessageQueue,
};
use std::time::Duration;

const GROUPS: &str = "rocketmq_consumer_group_number";
const TOPICS: &str = "rocketmq_topic_number";

fn heartbeat(groups: usize, subscriptions: usize) -> Command {
    let consumer = |n: usize| ConsumerData {
        group_name: format!("made-{n}"),
        subscription_data_set: (0..subscriptions).map(|n| Subscription::tags(&format!("t{n}"), "*", 1)).collect(),
        ..ConsumerData::default()
    };
    let body = Heartbeat {
        client_id: "127.0.0.1@maker".into(),
        consumer_data_set: (0..groups).map(consumer).collect(),
        ..Heartbeat::default()
    };
    request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&body))
}

async fn is_refused(peer: &mut Peer, command: Command, description: &[&str]) {
    let (code, remark) = peer.code(command).await;
    assert_ne!(code, Some(ResponseCode::Success), "{description:?}");
    assert!(description.iter().all(|word| remark.contains(word)), "{description:?} is not in {remark:?}");
}

/// One frame made 50,000 groups and as many topics in 0.7 s, and told every namesrv.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_makes_no_more_groups_than_a_client_can_have() {
    let server = Server::start("made", &[]).await;
    let mut peer = server.peer().await;
    let before = (server.figure(GROUPS).await, server.figure(TOPICS).await);
    is_refused(&mut peer, heartbeat(3000, 0), &["3000", "256"]).await;
    is_refused(&mut peer, heartbeat(1, 1001), &["1001", "1000", "made-0"]).await;
    is_refused(&mut peer, heartbeat(50_000, 0), &["1048576"]).await;
    assert_eq!((server.figure(GROUPS).await, server.figure(TOPICS).await), before, "something was made");
    let producers = Heartbeat {
        client_id: "127.0.0.1@maker".into(),
        producer_data_set: (0..300).map(|n| ProducerData { group_name: format!("p-{n}") }).collect(),
        ..Heartbeat::default()
    };
    let command = request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&producers));
    is_refused(&mut peer, command, &["300", "256"]).await;

    // What a client may do, and no more of it by one connection.
    let (code, remark) = peer.code(heartbeat(256, 1)).await;
    assert_eq!(code, Some(ResponseCode::Success), "{remark}");
    assert_eq!((server.figure(GROUPS).await, server.figure(TOPICS).await), (before.0 + 256.0, before.1 + 256.0));
    let mut others = Vec::new();
    for client in 0..4 {
        let mut body: Heartbeat = fastjson::from_slice(&heartbeat(256, 1).body).unwrap();
        body.client_id = format!("127.0.0.1@other-{client}");
        others.push(peer.code(request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&body))).await);
    }
    let (code, remark) = others.pop().unwrap();
    assert_ne!(code, Some(ResponseCode::Success));
    assert!(remark.contains("1000"), "{remark}");
    server.broker.stop().await.unwrap();
}

/// Any text was a producer group, an empty one too. Those that official clients have by default
/// must pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_group_has_a_legal_name() {
    let server = Server::start("producers", &[]).await;
    let mut peer = server.peer().await;
    let heartbeat = |group: &str| {
        let body = Heartbeat {
            client_id: "127.0.0.1@producer".into(),
            producer_data_set: vec![ProducerData { group_name: group.into() }],
            ..Heartbeat::default()
        };
        request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&body))
    };
    is_refused(&mut peer, heartbeat(""), &["producer group", "the name is empty"]).await;
    is_refused(&mut peer, heartbeat("a b"), &["producer group", "a b", "' '"]).await;
    is_refused(&mut peer, heartbeat(&"g".repeat(256)), &["producer group", "256", "255"]).await;
    for group in [
        "DEFAULT_PRODUCER",
        "CLIENT_INNER_PRODUCER",
        "_INNER_TRACE_PRODUCER-g-PRODUCE-1",
        "MQ_INST_1%g",
        &"g".repeat(255),
    ] {
        let (code, remark) = peer.code(heartbeat(group)).await;
        assert_eq!(code, Some(ResponseCode::Success), "{group}: {remark}");
    }
    // Clients in Go write a list that is empty as null.
    let null = br#"{"clientID":"go","producerDataSet":null,"consumerDataSet":[{"groupName":"go","subscriptionDataSet":null}]}"#;
    let (code, remark) = peer.code(request(RequestCode::HeartBeat).with_body(null.to_vec())).await;
    assert_eq!(code, Some(ResponseCode::Success), "{remark}");
    server.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_and_locks_are_kept_of_queues_that_exist() {
    let server = Server::start("exists", &[]).await;
    server.put_topic("exists", 4).await;
    let mut peer = server.peer().await;
    // The pull makes the group.
    peer.ask(Command::request(RequestCode::PullMessage, &pull_of("exists", "exists-g", Duration::ZERO))).await;
    let update = |queue_id| {
        let header = UpdateConsumerOffset { consumer_group: "exists-g", topic: "exists", queue_id, commit_offset: 1 };
        Command::request(RequestCode::UpdateConsumerOffset, &header)
    };
    assert_eq!(peer.code(update(3)).await.0, Some(ResponseCode::Success));
    is_refused(&mut peer, update(4), &["exists", "4 queues", "no queueId 4"]).await;
    is_refused(&mut peer, update(i32::MAX), &["no queueId 2147483647"]).await;
    let offsets = peer.ask(request(RequestCode::AllConsumerOffset)).await;
    let text = String::from_utf8(offsets.body.to_vec()).unwrap();
    assert!(text.contains("exists@exists-g") && !text.contains("2147483647"), "{text}");

    let queue = |topic: &str, queue_id| MessageQueue { topic: topic.into(), broker_name: "exists".into(), queue_id };
    let batch = |group: &str| LockBatch {
        client_id: "c".into(),
        consumer_group: group.into(),
        mq_set: vec![queue("exists", 3), queue("exists", 4), queue("nowhere", 0)],
        only_this_broker: true,
    };
    let lock = |group| request(RequestCode::LockBatchQueues).with_body(fastjson::to_vec(&batch(group)));
    let answer = peer.ask(lock("exists-g")).await;
    let LockBatchResponse { locked } = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!(locked, [queue("exists", 3)]);
    let nameless = LockBatch { client_id: String::new(), ..batch("exists-g") };
    let nameless = request(RequestCode::LockBatchQueues).with_body(fastjson::to_vec(&nameless));
    is_refused(&mut peer, nameless, &["clientId is empty"]).await;
    server.broker.stop().await.unwrap();
}

fn lock_of(group: &str) -> Command {
    let body = LockBatch {
        client_id: "c".into(),
        consumer_group: group.into(),
        mq_set: vec![MessageQueue { topic: "locks".into(), broker_name: "locks".into(), queue_id: 0 }],
        only_this_broker: true,
    };
    request(RequestCode::LockBatchQueues).with_body(fastjson::to_vec(&body))
}

async fn locked(peer: &mut Peer, group: &str) -> usize {
    let answer = peer.ask(lock_of(group)).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    fastjson::from_slice::<LockBatchResponse>(&answer.body).unwrap().locked.len()
}

/// An ordered consumer that was quicker than its own heartbeat was refused, and consumed nothing
/// for 20 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_locks_before_its_first_heartbeat_gets_its_queues() {
    let server = Server::start("locks-early", &[]).await;
    server.put_topic("locks", 1).await;
    let mut peer = server.peer().await;
    let before = server.figure(GROUPS).await;
    assert_eq!(locked(&mut peer, "early-g").await, 1);
    assert_eq!(server.figure(GROUPS).await, before + 1.0, "made as a heartbeat would");
    assert_eq!(locked(&mut peer, "no name/").await, 0);
    assert_eq!(server.figure(GROUPS).await, before + 1.0);
    server.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_not_created_locks_when_it_has_members() {
    let server = Server::start("locks-made", &[("autoCreateSubscriptionGroup", "false")]).await;
    server.put_topic("locks", 1).await;
    let mut peer = server.peer().await;
    assert_eq!(locked(&mut peer, "made-0").await, 0);
    assert_eq!(peer.code(heartbeat(1, 1)).await.0, Some(ResponseCode::Success));
    assert_eq!(locked(&mut peer, "made-0").await, 1);
    server.broker.stop().await.unwrap();
}

/// Official clients name all their groups in one heartbeat: one with an illegal name silenced all
/// others.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_refused_does_not_silence_the_others_of_its_client() {
    let server = Server::start("one-bad-group", &[]).await;
    let mut peer = server.peer().await;
    let mut body: Heartbeat = fastjson::from_slice(&heartbeat(3, 1).body).unwrap();
    body.consumer_data_set[0].group_name = "g".repeat(249);
    body.consumer_data_set[1].subscription_data_set =
        (0..1001).map(|n| Subscription::tags(&format!("t{n}"), "*", 1)).collect();
    body.producer_data_set = vec![ProducerData { group_name: "p".into() }];
    let before = server.figure(GROUPS).await;
    let command = request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&body));
    is_refused(&mut peer, command, &["249", "made-1", "1001"]).await;
    for (group, members) in [("made-2", true), ("made-1", false)] {
        let header = ConsumerGroupRequest { consumer_group: group };
        let (code, _) = peer.code(Command::request(RequestCode::ConsumerListByGroup, &header)).await;
        assert_eq!(code == Some(ResponseCode::Success), members, "{group}");
    }
    assert_eq!(server.figure(GROUPS).await, before + 1.0, "what is refused makes nothing");
    server.broker.stop().await.unwrap();
}

/// The group and its retry topic were made first, and then its client was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_too_many_on_its_connection_makes_no_group() {
    let server = Server::start("too-many", &[]).await;
    let mut peer = server.peer().await;
    let full = |client: usize| {
        let mut body: Heartbeat = fastjson::from_slice(&heartbeat(250, 1).body).unwrap();
        body.client_id = format!("127.0.0.1@{client}");
        request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&body))
    };
    for client in 0..4 {
        assert_eq!(peer.code(full(client)).await.0, Some(ResponseCode::Success));
    }
    let before = (server.figure(GROUPS).await, server.figure(TOPICS).await);
    let mut body: Heartbeat = fastjson::from_slice(&heartbeat(1, 1).body).unwrap();
    body.consumer_data_set[0].group_name = "one-more".into();
    let command = request(RequestCode::HeartBeat).with_body(fastjson::to_vec(&body));
    is_refused(&mut peer, command, &["1000", "one-more"]).await;
    assert_eq!((server.figure(GROUPS).await, server.figure(TOPICS).await), before, "something was made");
    server.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_queues_is_limited_whichever_request_it_comes_by() {
    let settings = [("autoCreateSubscriptionGroup", "false")];
    let server = Server::start("numbers-of-queues", &settings).await;
    let mut peer = server.peer().await;
    let create = CreateTopic {
        topic: "large",
        default_topic: "TBW102",
        read_queues: 65_537,
        write_queues: 1,
        perm: 6,
        filter_type: "SINGLE_TAG",
        sys_flag: None,
        order: None,
        attributes: None,
        force: None,
    };
    is_refused(&mut peer, Command::request(RequestCode::UpdateAndCreateTopic, &create), &["65537", "65536"]).await;
    let topics = TopicConfigList { topic_config_list: vec![TopicConfig::new("large", 1, 2_000_000_000, 6)] };
    let list = request(RequestCode::UpdateAndCreateTopicList).with_body(fastjson::to_vec(&topics));
    is_refused(&mut peer, list, &["writeQueueNums=2000000000", "65536"]).await;
    let group = SubscriptionGroup { retry_queue_nums: 2_000_000_000, ..SubscriptionGroup::new("large-g") };
    let one = request(RequestCode::UpdateAndCreateSubscriptionGroup).with_body(fastjson::to_vec(&group));
    is_refused(&mut peer, one, &["retryQueueNums", "2000000000", "65536"]).await;
    let groups = SubscriptionGroupList { group_config_list: vec![group] };
    let list = request(RequestCode::UpdateAndCreateSubscriptionGroupList).with_body(fastjson::to_vec(&groups));
    is_refused(&mut peer, list, &["retryQueueNums", "2000000000"]).await;
    let clone =
        CloneGroupOffset { source_group: "TOOLS_CONSUMER", target_group: "not-there", topic: None, offline: None };
    is_refused(&mut peer, Command::request(RequestCode::CloneGroupOffset, &clone), &["not-there"]).await;
    server.broker.stop().await.unwrap();
}
