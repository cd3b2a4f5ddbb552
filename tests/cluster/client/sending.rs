//! Every way of sending, and finding what was sent.

use super::*;
use rmq_client::{
    Error, PullConsumer,
    properties::{KEYS, TAGS},
};
use std::collections::BTreeSet;

/// All messages of a topic.
async fn stored(topic: &str) -> Vec<rmq_client::MessageExt> {
    let reader = PullConsumer::start(&servers().await.namesrvs, "test-reader").await.unwrap();
    let mut messages = Vec::new();
    for queue in reader.queues(topic).await.unwrap() {
        let mut offset = 0;
        loop {
            let pulled = reader.pull(&queue, offset, 32, false).await.unwrap();
            if pulled.records.is_empty() && pulled.next >= pulled.max {
                break;
            }
            messages.extend(pulled.messages().unwrap());
            offset = pulled.next;
        }
    }
    reader.stop().await;
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_sent_side_by_side_lie_where_their_receipts_say() {
    create_topic("send-many", 4).await;
    let producer = producer().await;
    let sends = (0..500).map(|number| producer.send(Message::new("send-many", number.to_string())));
    let receipts = futures::future::try_join_all(sends).await.unwrap();
    let ids: BTreeSet<_> = receipts.iter().map(|receipt| receipt.message_id.clone()).collect();
    assert_eq!(ids.len(), 500);
    until("all can be read", async || stored("send-many").await.len() == 500).await;

    let by_id: BTreeMap<_, _> =
        stored("send-many").await.into_iter().map(|message| (message.msg_id.clone(), message)).collect();
    for (number, receipt) in receipts.iter().enumerate() {
        let message = &by_id[&receipt.message_id];
        assert_eq!(body(message), number.to_string());
        assert_eq!((message.queue_id, message.queue_offset as i64), (receipt.queue.queue_id, receipt.queue_offset));
        assert_eq!(message.offset_msg_id.to_string(), receipt.offset_message_id);
    }
    producer.stop().await;
    assert!(matches!(producer.send(Message::new("send-many", "late")).await, Err(Error::Stopped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_lies_together_and_in_order() {
    create_topic("send-batch", 4).await;
    let producer = producer().await;
    let batch = (0..50).map(|number| Message::new("send-batch", number.to_string())).collect();
    let receipt = producer.send_batch(batch).await.unwrap();
    assert_eq!((receipt.message_ids.len(), receipt.offset_message_ids.len()), (50, 50));
    until("all can be read", async || stored("send-batch").await.len() == 50).await;
    for (number, message) in stored("send-batch").await.iter().enumerate() {
        assert_eq!(body(message), number.to_string());
        assert_eq!(message.msg_id, receipt.message_ids[number]);
        assert_eq!(message.queue_offset as i64, receipt.queue_offset + number as i64);
    }
    assert!(matches!(producer.send_batch(Vec::new()).await, Err(Error::Message(_))));
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_travels_compressed_and_arrives_whole() {
    create_topic("send-large", 1).await;
    let producer = producer().await;
    let text = "all work and no play ".repeat(20_000);
    producer.send(Message::new("send-large", text.clone())).await.unwrap();
    until("it can be read", async || stored("send-large").await.len() == 1).await;
    let message = stored("send-large").await.remove(0);
    assert_eq!(message.message.body, text);
    assert!((message.store_size as usize) < text.len() / 10, "{} bytes are stored", message.store_size);
    let error = producer.send(Message::new("send-large", vec![b'x'; 5 << 20])).await.unwrap_err();
    assert!(matches!(error, Error::Message(_)), "{error}");
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_queue_and_a_chosen_queue_is_taken() {
    create_topic("send-key", 4).await;
    let producer = producer().await;
    let queues = producer.queues("send-key").await.unwrap();
    for key in ["a", "b", "customer-7"] {
        let mut used = BTreeSet::new();
        for number in 0..5 {
            used.insert(producer.send_ordered(Message::new("send-key", number.to_string()), key).await.unwrap().queue);
        }
        assert_eq!(used.len(), 1, "{key}");
    }
    let receipt = producer.send_to(&queues[3], Message::new("send-key", "here")).await.unwrap();
    assert_eq!(receipt.queue, queues[3]);
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_messages_arrive() {
    create_topic("send-one-way", 2).await;
    let producer = producer().await;
    for number in 0..20 {
        producer.send_one_way(Message::new("send-one-way", number.to_string())).await.unwrap();
    }
    until("all can be read", async || stored("send-one-way").await.len() == 20).await;
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_send_creates_a_topic() {
    let producer = producer().await;
    let name = format!("created-{:x}", rand::random::<u32>());
    let sends = (0..20).map(|number| producer.send(Message::new(&name, number.to_string())));
    futures::future::try_join_all(sends).await.unwrap();
    let admin = admin().await;
    until("it has a route", async || admin.topic_route(&name).await.unwrap().is_some()).await;
    until("all can be read", async || stored(&name).await.len() == 20).await;
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_by_key_by_unique_id_and_by_offset_id() {
    create_topic("send-find", 2).await;
    let (producer, admin) = (producer().await, admin().await);
    let mut message = Message::new("send-find", "findable");
    message.properties.set(KEYS, "order-1 customer-7");
    message.properties.set(TAGS, "paid");
    let receipt = producer.send(message).await.unwrap();
    producer.send(Message::new("send-find", "another")).await.unwrap();

    until("it is in the index", async || {
        admin.query_message_by_key("send-find", "customer-7", 10, 0..i64::MAX).await.unwrap().len() == 1
    })
    .await;
    let by_key = admin.query_message_by_key("send-find", "order-1", 10, 0..i64::MAX).await.unwrap().remove(0);
    let by_unique = admin.query_message_by_unique_key("send-find", &receipt.message_id).await.unwrap().remove(0);
    let by_offset = admin.view_message(Some("send-find"), &receipt.offset_message_id).await.unwrap();
    for found in [by_key, by_unique, by_offset] {
        assert_eq!((body(&found).as_str(), found.message.tags()), ("findable", Some("paid")));
    }
    assert!(admin.query_message_by_key("send-find", "order", 10, 0..i64::MAX).await.unwrap().is_empty());
    producer.stop().await;
}
