//! What tools ask and tell.

use super::*;
use rmq_client::{Consumer, Error, consumer::Outcome};
use rmq_protocol::{ResponseCode, body::SubscriptionGroup};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_created_read_back_changed_and_deleted() {
    let admin = admin().await;
    let address = master(&admin).await;
    create_topic("admin-topic", 3).await;
    let config = admin.topic_config(&address, "admin-topic").await.unwrap().unwrap();
    assert_eq!((config.read_queue_nums, config.write_queue_nums, config.perm), (3, 3, topic::READ_WRITE));
    let (_, before) = admin.topic_configs(&address).await.unwrap();
    admin.put_topic(&address, &topic::Config::new("admin-topic", 5, 4, topic::READ_WRITE)).await.unwrap();
    let (all, after) = admin.topic_configs(&address).await.unwrap();
    assert_eq!((all["admin-topic"].read_queue_nums, all["admin-topic"].write_queue_nums), (5, 4));
    assert_ne!(before, after, "a change of a table changes its version");
    until("the route follows", async || {
        admin.topic_route("admin-topic").await.unwrap().is_some_and(|route| route.queue_datas[0].read_queue_nums == 5)
    })
    .await;
    assert!(admin.topic_list().await.unwrap().contains(&"admin-topic".to_owned()));
    assert_eq!(admin.topic_stats(&address, "admin-topic").await.unwrap().offset_table.0.len(), 5);

    admin.delete_topic("admin-topic", None).await.unwrap();
    assert!(admin.topic_route("admin-topic").await.unwrap().is_none());
    assert!(admin.topic_config(&address, "admin-topic").await.unwrap().is_none());
    admin.delete_topic("admin-topic", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_created_changed_and_deleted() {
    let admin = admin().await;
    let address = master(&admin).await;
    let group = SubscriptionGroup { retry_max_times: 3, ..SubscriptionGroup::new("admin-group") };
    admin.put_consumer_group(&address, &group).await.unwrap();
    let read = admin.consumer_group(&address, "admin-group").await.unwrap().unwrap();
    assert_eq!(read.retry_max_times, 3);
    assert!(admin.consumer_connections(&address, "admin-group").await.unwrap().is_none());
    admin.delete_consumer_group(&address, "admin-group", true).await.unwrap();
    assert!(!admin.consumer_groups(&address).await.unwrap().0.contains_key("admin-group"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_is_not_kept_for_a_group_that_was_not_created() {
    let admin = admin().await;
    let address = master(&admin).await;
    create_topic("admin-offset", 1).await;
    let queue = rmq_client::MessageQueue { broker_name: "broker-a".into(), queue_id: 0, topic: "admin-offset".into() };
    let refused = admin.set_consumer_offset(&address, "admin-offset-nobody", &queue, 7).await.unwrap_err();
    assert!(refused.is(ResponseCode::SubscriptionGroupNotExist), "{refused}");
    admin.put_consumer_group(&address, &SubscriptionGroup::new("admin-offset-g")).await.unwrap();
    admin.set_consumer_offset(&address, "admin-offset-g", &queue, 7).await.unwrap();
    assert_eq!(admin.consumer_offset(&address, "admin-offset-g", &queue).await.unwrap(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_changed_and_a_dangerous_one_is_refused() {
    let admin = admin().await;
    let address = master(&admin).await;
    let setting = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into_iter().collect();
    admin.update_broker_config(&address, &setting("defaultQueryMaxNum", "33")).await.unwrap();
    assert_eq!(admin.broker_config(&address).await.unwrap()["defaultQueryMaxNum"], "33");
    let refused = admin.update_broker_config(&address, &setting("brokerConfigPath", "/etc/passwd")).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    admin.update_broker_config(&address, &setting("fileReservedTime", "48")).await.unwrap();
    assert_eq!(admin.broker_config(&address).await.unwrap()["fileReservedTime"], "48");
    let refused = admin.update_broker_config(&address, &setting("deleteWhen", "04;99")).await.unwrap_err();
    assert!(refused.to_string().contains("hours from 00 to 23"), "{refused}");
    let info = admin.runtime_info(&address).await.unwrap();
    assert!(info.contains_key("brokerVersionDesc") && info.contains_key("commitLogMaxOffset"), "{info:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn write_permission_is_taken_and_given_back_and_values_are_kept() {
    let admin = admin().await;
    admin.put_kv("admin-space", "k", "v = 1; w").await.unwrap();
    assert_eq!(admin.kv("admin-space", "k").await.unwrap().as_deref(), Some("v = 1; w"));
    assert_eq!(admin.kv_list("admin-space").await.unwrap().len(), 1);
    admin.delete_kv("admin-space", "k").await.unwrap();
    assert_eq!(admin.kv("admin-space", "k").await.unwrap(), None);
    for address in admin.namesrvs() {
        admin.probe_namesrv(address).await.unwrap();
    }
    assert!(Admin::new("127.0.0.1:1").unwrap().cluster_info().await.unwrap_err().is_unreachable());
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_and_connections_of_a_running_group_are_seen() {
    create_topic("admin-progress", 2).await;
    let (producer, admin, seen) = (producer().await, admin().await, Seen::default());
    let address = master(&admin).await;
    send_numbers(&producer, "admin-progress", 0..50).await;
    let counted = seen.clone();
    let consumer = Consumer::start(options("admin-progress-g", "admin-progress").await, move |delivery| {
        counted.add(&delivery);
        async { Outcome::Done }
    })
    .await
    .unwrap();
    seen.distinct(50).await;
    let connected = admin.consumer_connections(&address, "admin-progress-g").await.unwrap().unwrap();
    assert_eq!(connected.connection_set[0].client_id, consumer.client_id());
    assert!(connected.subscription_table.contains_key("%RETRY%admin-progress-g"));
    let info = admin.consumer_running_info(&address, "admin-progress-g", consumer.client_id()).await.unwrap();
    assert_eq!(info.mq_table.0.keys().filter(|queue| queue.topic == "admin-progress").count(), 2);
    assert!(admin.groups_of_topic("admin-progress").await.unwrap().contains("admin-progress-g"));
    consumer.stop().await;

    let stats = admin.consume_stats(&address, "admin-progress-g", Some("admin-progress")).await.unwrap();
    assert_eq!(stats.offset_table.0.values().map(|queue| queue.consumer_offset).sum::<i64>(), 50);
    let offsets = admin.all_consumer_offsets(&address).await.unwrap();
    assert_eq!(offsets.offset_table["admin-progress@admin-progress-g"].values().sum::<i64>(), 50);
    let offline = admin.consumer_running_info(&address, "admin-progress-g", "nobody@nowhere").await.unwrap_err();
    assert!(matches!(offline, Error::Refused { .. }) && !offline.is(ResponseCode::Success), "{offline}");

    admin.put_consumer_group(&address, &SubscriptionGroup::new("admin-clone-g")).await.unwrap();
    admin.clone_group_offset("admin-progress-g", "admin-clone-g", "admin-progress").await.unwrap();
    let stats = admin.consume_stats(&address, "admin-clone-g", Some("admin-progress")).await.unwrap();
    assert_eq!(stats.offset_table.0.values().map(|queue| queue.consumer_offset).sum::<i64>(), 50);
    producer.stop().await;
}
