//! Members of a group that share the work.

use super::*;
use rmq_client::{Consumer, admin::Boundary, consumer::Outcome};
use rmq_protocol::body::SubscriptionGroup;
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

async fn start(options: ConsumerOptions, seen: &Seen) -> Consumer {
    let seen = seen.clone();
    Consumer::start(options, move |delivery| {
        seen.add(&delivery);
        async { Outcome::Done }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_share_all_queues_and_lose_nothing() {
    create_topic("share", 8).await;
    let (producer, seen) = (producer().await, Seen::default());
    let first = start(options("share-g", "share").await, &seen).await;
    send_numbers(&producer, "share", 0..200).await;
    seen.distinct(200).await;

    let second = start(options("share-g", "share").await, &seen).await;
    let owned = |consumer: &Consumer| consumer.queues().iter().filter(|queue| queue.topic == "share").count();
    until("each has half of the queues", async || owned(&first) == 4 && owned(&second) == 4).await;
    let mut all = [first.queues(), second.queues()].concat();
    all.retain(|queue| queue.topic == "share");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
    send_numbers(&producer, "share", 200..400).await;
    seen.distinct(400).await;

    first.stop().await;
    until("the other has all", async || owned(&second) == 8).await;
    send_numbers(&producer, "share", 400..600).await;
    seen.distinct(600).await;
    second.stop().await;
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_member_has_stored_its_offsets() {
    create_topic("resume", 4).await;
    let (producer, seen) = (producer().await, Seen::default());
    let consumer = start(options("resume-g", "resume").await, &seen).await;
    send_numbers(&producer, "resume", 0..100).await;
    seen.distinct(100).await;
    consumer.stop().await;
    send_numbers(&producer, "resume", 100..150).await;
    let consumer = start(options("resume-g", "resume").await, &seen).await;
    seen.distinct(150).await;
    consumer.stop().await;
    assert_eq!(seen.total(), 150, "nothing was consumed twice");
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_subscribed_tags_are_handed_out_and_the_rest_is_passed() {
    create_topic("tags", 2).await;
    let (producer, seen) = (producer().await, Seen::default());
    for number in 0..40 {
        let mut message = Message::new("tags", format!("{} {number}", ["a", "b", "c", "d"][number % 4]));
        message.properties.set(rmq_client::properties::TAGS, ["a", "b", "c", "d"][number % 4]);
        producer.send(message).await.unwrap();
    }
    let mut options = ConsumerOptions::new(&servers().await.namesrvs, "tags-g").subscribe("tags", "a || c");
    options.from = FromWhere::First;
    let consumer = start(options, &seen).await;
    seen.distinct(20).await;
    assert!(seen.times().keys().all(|body| body.starts_with('a') || body.starts_with('c')));
    let admin = admin().await;
    let address = master(&admin).await;
    until("the group is at the end", async || {
        let stats = admin.consume_stats(&address, "tags-g", Some("tags")).await.unwrap();
        stats.offset_table.0.values().all(|queue| queue.consumer_offset == queue.broker_offset)
    })
    .await;
    consumer.stop().await;
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_begins_where_it_was_put() {
    create_topic("begin", 1).await;
    let (producer, seen, admin) = (producer().await, Seen::default(), admin().await);
    let address = master(&admin).await;
    send_numbers(&producer, "begin", 0..10).await;
    until("the first ten are stored", async || admin.max_offset(&address, "begin", 0).await.unwrap() == 10).await;
    let stats = admin.topic_stats(&address, "begin").await.unwrap();
    let last = stats.offset_table.0.values().map(|queue| queue.last_update_timestamp).max().unwrap();
    until("the clock has moved on", async || SystemTime::now() > UNIX_EPOCH + Duration::from_millis(last as u64 + 2))
        .await;
    send_numbers(&producer, "begin", 10..20).await;
    until("all are stored", async || admin.max_offset(&address, "begin", 0).await.unwrap() == 20).await;
    let first = admin.search_offset(&address, "begin", 0, last + 1, Boundary::Lower).await.unwrap();
    assert_eq!(first, 10);

    admin.put_consumer_group(&address, &SubscriptionGroup::new("begin-g")).await.unwrap();
    let queue = producer.queues("begin").await.unwrap().remove(0);
    admin.set_consumer_offset(&address, "begin-g", &queue, first).await.unwrap();
    let consumer = start(options("begin-g", "begin").await, &seen).await;
    seen.distinct(10).await;
    consumer.stop().await;
    assert!(seen.times().keys().all(|body| body.parse::<u32>().unwrap() >= 10));
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_group_follows_a_reset_of_its_offsets() {
    create_topic("reset", 4).await;
    let (producer, seen, admin) = (producer().await, Seen::default(), admin().await);
    let consumer = start(options("reset-g", "reset").await, &seen).await;
    send_numbers(&producer, "reset", 0..100).await;
    seen.distinct(100).await;
    let moved = admin.reset_offset("reset", "reset-g", 0, true).await.unwrap();
    assert!(moved.values().all(|offset| *offset == 0) && moved.len() == 4, "{moved:?}");
    until("all was consumed again", async || seen.times().values().all(|times| *times >= 2)).await;
    consumer.stop().await;
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_not_pulled_further() {
    create_topic("full", 1).await;
    let producer = producer().await;
    send_numbers(&producer, "full", 0..1500).await;
    let open = Arc::new(AtomicBool::new(false));
    let (seen, gate) = (Seen::default(), Arc::clone(&open));
    let counted = seen.clone();
    let consumer = Consumer::start(options("full-g", "full").await, move |delivery| {
        let (gate, counted) = (Arc::clone(&gate), counted.clone());
        async move {
            while !gate.load(Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            counted.add(&delivery);
            Outcome::Done
        }
    })
    .await
    .unwrap();
    let cached = || {
        let info = consumer.running_info();
        info.mq_table
            .0
            .iter()
            .filter(|(queue, _)| queue.topic == "full")
            .map(|(_, queue)| queue.cached_msg_count)
            .sum::<i32>()
    };
    until("the queue is full", async || cached() >= 1000).await;
    assert!(cached() < 1000 + 32, "{} messages are held", cached());
    open.store(true, Relaxed);
    seen.distinct(1500).await;
    consumer.stop().await;
    producer.stop().await;
}
