//! A namesrv over real sockets: every request code, both kinds of client, silence, restarts,
//! invalid input.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod harness;

use harness::{Server, broker, options, register_body, server};
use rmq_protocol::{
    Command, Fields, RequestCode as Code, ResponseCode, Serialization,
    body::{
        ClusterInfo, DataVersion, KvTable, MemberGroupBody, QueueData, RegisterBrokerBody, TopicConfig, TopicList,
        TopicRoute,
    },
    fastjson, header,
    header::Header,
    java_properties,
    message::java,
    version,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

fn topics_of(answer: &Command) -> Vec<String> {
    fastjson::from_slice::<TopicList>(&answer.body).unwrap().topic_list
}

fn perm_of(route: &TopicRoute, broker: &str) -> i32 {
    route.queue_datas.iter().find(|queues| queues.broker_name == broker).unwrap().perm
}

#[tokio::test]
async fn a_registered_topic_has_a_route_until_its_broker_leaves() {
    let server = server("").await;
    let answer = server.ask(Code::RouteInfoByTopic, &header::TopicRequest { topic: "orders" }).await;
    assert_eq!(answer.code, ResponseCode::TopicNotExist.number());
    assert_eq!(
        answer.remark.unwrap(),
        "No topic route info in name server for the topic: orders\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    );
    server.register(&broker("a", 0, "10.0.0.1:10911"), &register_body(1, &["orders"])).await;
    let route = server.route("orders").await.unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs, [(0, "10.0.0.1:10911".to_owned())].into());
    assert_eq!((route.queue_datas[0].read_queue_nums, perm_of(&route, "a"), route.order_topic_conf), (4, 6, None));
    server.ok(Code::UnregisterBroker, &identity("a", "10.0.0.1:10911")).await;
    assert!(server.route("orders").await.is_none());
    server.stop().await;
}

fn identity<'a>(broker_name: &'a str, broker_address: &'a str) -> header::BrokerIdentity<'a> {
    header::BrokerIdentity { broker_name, broker_address, cluster_name: "c", broker_id: 0 }
}

#[tokio::test]
async fn old_clients_get_bare_keys_and_new_ones_standard_json() {
    let server = server("").await;
    server.register(&broker("\u{e4}", 0, "10.0.0.1:10911"), &register_body(1, &["orders"])).await;
    let bare = "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"10.0.0.1:10911\"},\"brokerName\":\"\u{e4}\",\"cluster\":\"c\",\"enableActingMaster\":false}],\
        \"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\"\u{e4}\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4}]}";
    let standard = bare.replace("{0:", "{\"0\":").replace('\u{e4}', "\\u00E4");
    for (sender, only_standard, serialization, expected) in [
        (version::V4_9_3, None, Serialization::Json, bare),
        (0, Some(false), Serialization::Binary, bare),
        (version::V4_9_4, None, Serialization::Binary, &standard),
        (0, Some(true), Serialization::Json, &standard),
    ] {
        let header = header::RouteInfo { topic: "orders", standard_json: only_standard };
        let request = Command { version: sender, serialization, ..Command::request(Code::RouteInfoByTopic, &header) };
        let answer = server.send(request).await;
        assert_eq!(std::str::from_utf8(&answer.body).unwrap(), expected, "{sender} {only_standard:?}");
        assert_eq!(answer.serialization, serialization);
    }
}

#[tokio::test]
async fn slaves_get_their_master_and_all_brokers_the_fixed_orders() {
    let server = server("orderMessageEnable=true").await;
    let master = server.register(&broker("a", 0, "m:1"), &register_body(1, &["orders"])).await;
    assert_eq!((master.fields.get("masterAddr"), master.body.len()), (None, 0));
    server.put("ORDER_TOPIC_CONFIG", "orders", "a:4").await;
    let slave = server.register(&broker("a", 1, "s:1"), &register_body(1, &["orders"])).await;
    let reported = header::RegisterBrokerResponse::decode(&slave.fields).unwrap();
    assert_eq!((reported.master_address, reported.ha_server_address), (Some("m:1"), Some("ha-m:1")));
    let table: KvTable = fastjson::from_slice(&slave.body).unwrap();
    assert_eq!(table.table, [("orders".to_owned(), "a:4".to_owned())].into());
    assert_eq!(server.route("orders").await.unwrap().order_topic_conf.as_deref(), Some("a:4"));

    server.update("orderMessageEnable=false\nreturnOrderTopicConfigToBroker=false").await;
    assert_eq!(server.route("orders").await.unwrap().order_topic_conf, None);
    assert!(server.register(&broker("a", 1, "s:1"), &register_body(1, &["orders"])).await.body.is_empty());
}

#[tokio::test]
async fn compressed_and_checked_registrations_are_read() {
    let server = server("").await;
    let mut body = RegisterBrokerBody::default();
    let topic = TopicConfig {
        attributes: [("message.type".to_owned(), "FIFO".to_owned())].into(),
        ..TopicConfig::new("fifo", 2, 2, 6)
    };
    body.topic_config_serialize_wrapper.topic_config_table =
        [("fifo".to_owned(), topic), ("b".to_owned(), TopicConfig::new("b", 1, 1, 4))].into();
    let compressed = body.to_compressed();
    let crc = java::crc32(&compressed) as i32;
    let header = header::RegisterBroker { compressed: Some(true), body_crc32: Some(crc), ..broker("a", 0, "m:1") };
    assert_eq!(server.register_raw(&header, compressed.clone()).await.code, 0);
    assert_eq!(server.route("fifo").await.unwrap().queue_datas[0].write_queue_nums, 2);

    let wrong = header::RegisterBroker { body_crc32: Some(crc ^ 1), ..header };
    let refused = server.register_raw(&wrong, compressed).await;
    assert_eq!((refused.code, refused.remark.as_deref()), (1, Some("crc32 not match")));
}

#[tokio::test]
async fn a_single_topic_from_a_stranger_is_refused() {
    let server = server("").await;
    let refused = server.register_raw(&broker("a", 0, "m:1"), register_body(1, &["orders"]).to_plain()).await;
    assert_eq!(refused.code, ResponseCode::SystemError.number());
    assert!(refused.remark.as_deref().unwrap().starts_with("register broker failed"), "{refused:?}");
}

#[tokio::test]
async fn versions_are_compared_and_heartbeats_taken() {
    let server = server("").await;
    server.register(&broker("a", 0, "m:1"), &register_body(5, &["orders"])).await;
    let ask = async |address, counter| {
        let asked = fastjson::to_vec(&DataVersion { counter, ..DataVersion::default() });
        server.send(Command::request(Code::QueryDataVersion, &identity("a", address)).with_body(asked)).await
    };
    for (address, counter, changed, known) in
        [("m:1", 5, "false", Some(5)), ("m:1", 6, "true", Some(5)), ("x:1", 5, "true", None)]
    {
        let answer = ask(address, counter).await;
        assert_eq!((answer.code, answer.fields.get("changed")), (0, Some(changed)), "{address} {counter}");
        let reported =
            (!answer.body.is_empty()).then(|| fastjson::from_slice::<DataVersion>(&answer.body).unwrap().counter);
        assert_eq!(reported, known, "{address} {counter}");
    }
    for broker_address in ["m:1", "nobody:1"] {
        let header =
            header::BrokerHeartbeat { cluster_name: "c", broker_name: "a", broker_address, ..Default::default() };
        server.ok(Code::BrokerHeartbeat, &header).await;
    }
}

#[tokio::test]
async fn clusters_members_and_lists_are_answered() {
    let server = server("").await;
    let mut body = register_body(1, &["plain", "unit", "sub", "both"]);
    for (name, flag) in [("unit", 1), ("sub", 2), ("both", 3)] {
        body.topic_config_serialize_wrapper.topic_config_table.get_mut(name).unwrap().topic_sys_flag = flag;
    }
    server.register(&broker("a", 0, "m:1"), &body).await;
    server.register(&broker("a", 1, "s:1"), &body).await;
    let other = header::RegisterBroker { cluster_name: "d", ..broker("b", 0, "n:1") };
    server.register(&other, &register_body(1, &["plain", "elsewhere"])).await;

    let clusters = server.ok(Code::BrokerClusterInfo, &header::Empty {}).await;
    let text = std::str::from_utf8(&clusters.body).unwrap();
    assert!(text.contains(r#""brokerAddrs":{0:"m:1",1:"s:1"}"#), "{text}");
    let clusters: ClusterInfo = fastjson::from_slice(&clusters.body).unwrap();
    assert_eq!(
        clusters.cluster_addr_table,
        [("c".to_owned(), vec!["a".to_owned()]), ("d".to_owned(), vec!["b".to_owned()])].into()
    );
    for (broker_name, members) in [("a", 2), ("nobody", 0)] {
        let answer = server.ok(Code::BrokerMemberGroup, &header::MemberGroup { cluster_name: "c", broker_name }).await;
        let group = fastjson::from_slice::<MemberGroupBody>(&answer.body).unwrap().broker_member_group;
        assert_eq!(
            (group.broker_addrs.len(), group.broker_name.as_str(), group.cluster.as_str()),
            (members, broker_name, "c")
        );
    }

    let all = topics_of(&server.ok(Code::AllTopicListFromNamesrv, &header::Empty {}).await);
    assert_eq!(all, ["__filler", "both", "elsewhere", "plain", "sub", "unit"]);
    let of = async |cluster| topics_of(&server.ok(Code::TopicsByCluster, &header::TopicsByCluster { cluster }).await);
    assert_eq!(
        (of("d").await, of("nowhere").await),
        (vec!["__filler".to_owned(), "elsewhere".to_owned(), "plain".to_owned()], vec![])
    );
    for (code, expected) in [
        (Code::UnitTopicList, vec!["both", "unit"]),
        (Code::HasUnitSubTopicList, vec!["both", "sub"]),
        (Code::HasUnitSubUnUnitTopicList, vec!["sub"]),
    ] {
        assert_eq!(topics_of(&server.ok(code, &header::Empty {}).await), expected);
    }
    let system = server.ok(Code::SystemTopicListFromNamesrv, &header::Empty {}).await;
    let system: TopicList = fastjson::from_slice(&system.body).unwrap();
    assert_eq!(
        (system.topic_list, system.broker_addr.as_deref()),
        (["a", "b", "c", "d"].map(str::to_owned).into(), Some("m:1"))
    );

    server.update("enableTopicList=false\nenableAllTopicList=false").await;
    for code in [Code::UnitTopicList, Code::TopicsByCluster, Code::AllTopicListFromNamesrv] {
        let refused = server.ask(code, &header::TopicsByCluster { cluster: "c" }).await;
        assert_eq!((refused.code, refused.remark.as_deref()), (1, Some("disable")));
    }
}

#[tokio::test]
async fn operators_change_permissions_and_topics() {
    let server = server("").await;
    server.register(&broker("a", 0, "m:1"), &register_body(1, &["t", "u"])).await;
    let group = header::BrokerNameRequest { broker_name: "a" };
    assert_eq!(server.ok(Code::WipeWritePermOfBroker, &group).await.fields.get("wipeTopicCount"), Some("3"));
    assert_eq!(perm_of(&server.route("t").await.unwrap(), "a"), 4);
    assert_eq!(server.ok(Code::AddWritePermOfBroker, &group).await.fields.get("addTopicCount"), Some("3"));
    assert_eq!(perm_of(&server.route("t").await.unwrap(), "a"), 6);

    let rows = |broker: &str| TopicRoute {
        queue_datas: vec![QueueData { broker_name: broker.to_owned(), perm: 6, ..QueueData::default() }],
        ..TopicRoute::default()
    };
    for (topic, broker) in [("new", "a"), ("lost", "nobody")] {
        let request = Command::request(Code::RegisterTopicInNamesrv, &header::TopicRequest { topic });
        assert_eq!(server.send(request.with_body(fastjson::to_vec(&rows(broker)))).await.code, 0);
    }
    assert!(server.route("new").await.is_some() && server.route("lost").await.is_none());
    for (cluster_name, there) in [(Some("nowhere"), true), (Some("c"), false), (None, false)] {
        server.ok(Code::DeleteTopicInNamesrv, &header::DeleteTopicInNamesrv { topic: "new", cluster_name }).await;
        assert_eq!(server.route("new").await.is_some(), there);
    }
    server.ok(Code::DeleteTopicInNamesrv, &header::DeleteTopicInNamesrv { topic: "t", cluster_name: Some("") }).await;
    assert!(server.route("t").await.is_none());
}

#[tokio::test]
async fn kv_values_survive_a_restart() {
    let server = server("").await;
    server.put("NS", "k", "v\"\u{e4}").await;
    server.put("NS", "gone", "v").await;
    server.ok(Code::DeleteKvConfig, &header::KvConfigKey { namespace: "NS", key: "gone" }).await;
    let server = server.restart().await;
    let value = server.ok(Code::KvConfig, &header::KvConfigKey { namespace: "NS", key: "k" }).await;
    assert_eq!(value.fields.get("value"), Some("v\"\u{e4}"));
    let table = server.ok(Code::KvListByNamespace, &header::KvNamespace { namespace: "NS" }).await;
    assert_eq!(fastjson::from_slice::<KvTable>(&table.body).unwrap().table.len(), 1);
    let none = server.ask(Code::KvConfig, &header::KvConfigKey { namespace: "NS", key: "gone" }).await;
    assert_eq!((none.code, none.remark.as_deref()), (22, Some("No config item, Namespace: NS Key: gone")));
    let none = server.ask(Code::KvListByNamespace, &header::KvNamespace { namespace: "XX" }).await;
    assert_eq!((none.code, none.remark.as_deref()), (22, Some("No config item, Namespace: XX")));
}

#[tokio::test]
async fn settings_are_read_changed_and_saved() {
    let server = server("").await;
    let settings = async || {
        java_properties::parse(
            std::str::from_utf8(&server.ok(Code::NamesrvConfig, &header::Empty {}).await.body).unwrap(),
        )
    };
    let has =
        |settings: &[(String, String)], key: &str, value: &str| settings.iter().any(|(k, v)| k == key && v == value);
    assert!(has(&settings().await, "enableTopicList", "true"));
    server.update("enableTopicList=false\nserverWorkerThreads=3").await;
    assert!(has(&settings().await, "enableTopicList", "false"));
    let saved = std::fs::read_to_string(server.folder.path().join("namesrv.properties")).unwrap();
    assert!(has(&java_properties::parse(&saved), "enableTopicList", "false"), "{saved}");
    for (text, code, description) in [
        ("kvConfigPath=/etc/passwd", ResponseCode::NoPermission, "Can not update config in black list."),
        ("enableTopicList=true\\nconfigStorePath=/x\nconfigBlackList=", ResponseCode::NoPermission, "black list"),
        ("listenPort=1", ResponseCode::InvalidParameter, "restart"),
        ("enableTopicsList=true", ResponseCode::InvalidParameter, "did you mean enableTopicList?"),
        ("enableTopicList=maybe", ResponseCode::InvalidParameter, "true or false"),
    ] {
        let refused = server.send(Command::request(Code::UpdateNamesrvConfig, &header::Empty {}).with_body(text)).await;
        assert_eq!(refused.code, code.number(), "{text}");
        assert!(refused.remark.as_deref().unwrap().contains(description), "{text}: {refused:?}");
    }
    assert!(has(&settings().await, "enableTopicList", "false"));
}

#[tokio::test]
async fn the_end_of_a_connection_is_the_end_of_its_brokers() {
    let server = server("").await;
    server.register(&broker("a", 0, "m:1"), &register_body(1, &["orders"])).await;
    let other = server.another_client();
    other.register(&broker("b", 0, "n:1"), &register_body(1, &["orders"])).await;
    assert_eq!(server.route("orders").await.unwrap().broker_datas.len(), 2);
    other.client.close().await;
    server.until(async || server.route("orders").await.is_some_and(|route| route.broker_datas.len() == 1)).await;
    assert_eq!(server.route("orders").await.unwrap().broker_datas[0].broker_name, "a");
}

#[tokio::test]
async fn silent_brokers_are_evicted_and_their_connections_closed() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let mut options = options("scanNotActiveBrokerInterval=5");
    options.clock = Some(Arc::new(move || Duration::from_secs(clock.load(Relaxed))));
    let server = Server::start(options).await;
    // Brokers have connections of their own: eviction closes them.
    let (brokers, others) = (server.another_client(), server.another_client());
    let promised = header::RegisterBroker { heartbeat_timeout: Some(10_000), ..broker("a", 0, "m:1") };
    brokers.register(&promised, &register_body(1, &["orders"])).await;
    others.register(&broker("b", 0, "n:1"), &register_body(1, &["orders"])).await;
    let connection = brokers.client.connection(&server.address).await.unwrap();
    time.store(11, Relaxed);
    server.until(async || server.route("orders").await.is_some_and(|route| route.broker_datas.len() == 1)).await;
    server.until(async || !connection.is_open()).await;
    let heartbeat =
        header::BrokerHeartbeat { cluster_name: "c", broker_name: "b", broker_address: "n:1", ..Default::default() };
    time.store(115, Relaxed);
    server.ok(Code::BrokerHeartbeat, &heartbeat).await;
    time.store(235, Relaxed);
    assert!(server.route("orders").await.is_some());
    time.store(236, Relaxed);
    server.until(async || server.route("orders").await.is_none()).await;
}

/// Two clusters that gave a broker the same name were mixed in one route without a warning.
#[tokio::test]
async fn a_broker_name_of_two_clusters_is_a_metric() {
    let server = Server::start(options("scanNotActiveBrokerInterval=5")).await;
    let other = server.another_client();
    let shared = async |count| {
        server.http("/metrics").await.contains(&format!("rocketmq_namesrv_shared_broker_names {count}\n"))
    };
    server.register(&broker("a", 0, "m:1"), &register_body(1, &["t"])).await;
    other
        .register(&header::RegisterBroker { cluster_name: "d", ..broker("a", 0, "m:2") }, &register_body(1, &["t"]))
        .await;
    server.until(async || shared(1).await).await;
    other.client.close().await;
    server.until(async || shared(0).await).await;
}

#[tokio::test]
async fn members_of_a_group_are_notified_of_a_new_lowest_id_only_if_configured() {
    for (text, reported) in
        [("notifyMinBrokerIdChanged=true\nsupportActingMaster=true", true), ("supportActingMaster=true", false)]
    {
        let server = server(text).await;
        let (slave_address, mut received) = harness::member();
        let slave_address = slave_address.to_string();
        let modern =
            |id, address| header::RegisterBroker { enable_acting_master: Some(true), ..broker("a", id, address) };
        server.register(&modern(1, &slave_address), &register_body(1, &["orders"])).await;
        let shown = async || server.route("orders").await.unwrap().broker_datas.remove(0).broker_addrs;
        assert_eq!(shown().await, [(0, slave_address.clone())].into());
        server.register(&modern(0, "m:1"), &register_body(1, &["orders"])).await;
        assert_eq!(shown().await.len(), 2);
        server.ok(Code::UnregisterBroker, &identity("a", "m:1")).await;
        if !reported {
            // All notifications have been sent when the namesrv has stopped.
            server.stop().await;
            assert!(received.try_recv().is_err());
            continue;
        }
        for (lowest, ha, offline) in [(0, Some("ha-m:1"), None), (1, None, Some("m:1"))] {
            let request = harness::in_time(received.recv()).await.unwrap();
            assert!(request.is_one_way() && request.code == Code::NotifyMinBrokerIdChange.number());
            let notice = header::NotifyMinBrokerIdChange::decode(&request.fields).unwrap();
            assert_eq!((notice.min_broker_id, notice.broker_name), (Some(lowest), Some("a")));
            assert_eq!((notice.ha_broker_address, notice.offline_broker_address), (ha, offline));
        }
    }
}

#[tokio::test]
async fn clients_wait_for_brokers_if_configured() {
    let time = Arc::new(AtomicU64::new(100));
    let clock = Arc::clone(&time);
    let mut options = options("needWaitForService=true\nwaitSecondsForService=45");
    options.clock = Some(Arc::new(move || Duration::from_secs(clock.load(Relaxed))));
    let server = Server::start(options).await;
    server.register(&broker("a", 0, "m:1"), &register_body(1, &["orders"])).await;
    time.store(144, Relaxed);
    let early = server.ask(Code::RouteInfoByTopic, &header::TopicRequest { topic: "orders" }).await;
    assert_eq!((early.code, early.remark.as_deref()), (1, Some("name server not ready")));
    assert!(server.http("/readyz").await.starts_with("HTTP/1.1 503"));
    time.store(145, Relaxed);
    assert!(server.route("orders").await.is_some());
    assert!(server.http("/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn nonsense_is_answered_and_the_namesrv_lives() {
    let server = server("").await;
    let register = Command::request(Code::RegisterBroker, &broker("a", 0, "m:1"));
    let body = register_body(1, &["orders"]).to_plain();
    for length in 1..body.len() {
        let refused = server.send(register.clone().with_body(body[..length].to_vec())).await;
        assert_eq!(refused.code, 1, "cut at {length}");
    }
    for code in 0..1200 {
        let request = Command { code, ..register.clone() };
        let answer = server.send(Command { fields: Fields::new(), body: b"{[\xff".as_slice().into(), ..request }).await;
        let known = Code::from_number(code).is_some_and(served);
        if known {
            assert_ne!(answer.code, ResponseCode::RequestCodeNotSupported.number(), "{code}");
        } else {
            let remark = answer.remark.unwrap_or_default();
            assert_eq!(answer.code, ResponseCode::RequestCodeNotSupported.number(), "{code}: {remark}");
            assert!(remark.starts_with(&format!(" request type {code} not supported")), "{code}: {remark}");
            let has_reason = (1001..=1018).contains(&code);
            assert_eq!(remark.contains("no namesrv runs a controller"), has_reason, "{code}: {remark}");
        }
    }
    let missing = server.ask(Code::RouteInfoByTopic, &header::Empty {}).await;
    assert_eq!((missing.code, missing.remark.as_deref()), (1, Some("the field topic is missing")));
    server.register(&broker("a", 0, "m:1"), &register_body(1, &["orders"])).await;
    assert!(server.route("orders").await.is_some());
}

fn served(code: Code) -> bool {
    let number = code.number();
    (100..=106).contains(&number)
        || [205, 206, 216, 217, 219, 224, 304, 311, 312, 313, 318, 319, 322, 327, 901, 904].contains(&number)
}

#[tokio::test]
async fn what_happens_is_counted() {
    let server = server("").await;
    for _ in 0..3 {
        server.register(&broker("a", 0, "m:1"), &register_body(1, &["orders"])).await;
    }
    server.route("orders").await;
    server.route("nothing").await;
    let text = server.http("/metrics").await;
    for line in [
        "rocketmq_namesrv_brokers 1",
        "rocketmq_namesrv_broker_groups 1",
        "rocketmq_namesrv_topics 2",
        "rocketmq_namesrv_route_lookups_total{found=\"true\"} 1",
        "rocketmq_namesrv_route_lookups_total{found=\"false\"} 1",
        "rocketmq_namesrv_registrations_total{unchanged=\"false\"} 2",
        "rocketmq_namesrv_registrations_total{unchanged=\"true\"} 1",
        "rocketmq_remoting_connections{side=\"server\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn every_metric_has_a_help_text() {
    let server = server("").await;
    let text = server.http("/metrics").await;
    let reported: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    for (name, help) in &reported {
        assert!(help.split_whitespace().count() >= 4 && help.ends_with('.'), "{name} says only: {help}");
    }
    let metrics: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let names = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&reported), names(&metrics));
    assert!(reported.len() > 20, "{text}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = server("").await;
    let mut taken = options("");
    taken.config.listen_port = server.namesrv.local_addr().port();
    let error = rmq_namesrv::Namesrv::start(taken.config, rmq_namesrv::Overrides::default()).await.err().unwrap();
    assert!(
        matches!(error, rmq_namesrv::Error::Listen { address, .. } if address == server.namesrv.local_addr()),
        "{error}"
    );
}

/// Bodies that waited came on top of the memory of all connections: with the routes, more than a
/// small pod has.
#[tokio::test]
async fn a_registration_that_waits_counts_in_the_memory_of_connections() {
    const BODY: usize = 1 << 20;
    let closed = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&closed);
    let mut options = options("scanNotActiveBrokerInterval=5");
    options.clock = Some(Arc::new(move || {
        while gate.load(Relaxed) {
            std::thread::yield_now();
        }
        Duration::ZERO
    }));
    let server = Server::start(options).await;
    // The thread of the routes stands still at its clock.
    closed.store(true, Relaxed);
    let header = broker("a", 0, "m:1");
    let waiting = || server.register_raw(&header, vec![b' '; BODY]);
    let opened = async {
        let counted = async || {
            let page = server.http("/metrics").await;
            let value =
                |name: &str| page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
            value("rocketmq_remoting_waiting_request_bytes{side=\"server\"}").is_some_and(|bytes| bytes >= 3 * BODY)
        };
        server.until(counted).await;
        closed.store(false, Relaxed);
    };
    tokio::join!(waiting(), waiting(), waiting(), opened);
    let gone = async || {
        let page = server.http("/metrics").await;
        page.contains("rocketmq_remoting_waiting_request_bytes{side=\"server\"} 0\n")
    };
    server.until(gone).await;
}

/// One connection's registrations filled the memory until the process was killed.
#[tokio::test]
async fn a_registration_that_does_not_fit_is_refused_with_a_reason_and_counted() {
    let server = server("maxRouteTableBytes=100000").await;
    let body = |prefix: &str, topics: usize| {
        let names: Vec<_> = (0..topics).map(|n| format!("{prefix}{n}")).collect();
        register_body(1, &names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    server.register(&broker("a", 0, "10.0.0.1:10911"), &body("t", 200)).await;
    let other = server.another_client();
    for (topics, description) in
        [(300, "maxRouteTableBytes"), (1000, "the registration names 1000 topics; 446 are possible")]
    {
        let body = body("u", topics);
        for (compressed, bytes) in [(false, body.to_plain()), (true, body.to_compressed())] {
            let header = header::RegisterBroker { compressed: Some(compressed), ..broker("b", 0, "10.0.0.2:10911") };
            let refused = other.register_raw(&header, bytes).await;
            let remark = refused.remark.unwrap_or_default();
            assert!(refused.code == 1 && remark.contains(description), "{} {remark}", refused.code);
        }
    }
    assert!(server.route("t0").await.is_some() && server.route("u0").await.is_none());
    let page = server.http("/metrics").await;
    for line in ["rocketmq_namesrv_route_table_bytes_limit 100000", "rocketmq_namesrv_refused_registrations_total 4"] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    server.stop().await;
}
