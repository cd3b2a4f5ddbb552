//! What is not finished comes again, and what never is becomes a dead letter.

use super::*;
use rmq_client::{Consumer, MessageExt, consumer::Outcome};

type Tries = Arc<Mutex<Vec<MessageExt>>>;

/// A consumer whose function makes of a message what `judge` says, and what it was given.
async fn start(options: ConsumerOptions, judge: fn(&MessageExt) -> Outcome) -> (Consumer, Tries) {
    let tries = Tries::default();
    let kept = Arc::clone(&tries);
    let consumer = Consumer::start(options, move |delivery| {
        kept.lock().extend(delivery.iter().cloned());
        let outcome = judge(&delivery[0]);
        async move { outcome }
    })
    .await
    .unwrap();
    (consumer, tries)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_asked_for_later_comes_again_as_itself() {
    create_topic("later", 2).await;
    let producer = producer().await;
    let receipt = producer.send(Message::new("later", "again")).await.unwrap();
    let (consumer, tries) = start(options("later-g", "later").await, |message| {
        if message.reconsume_times == 0 { Outcome::LaterBy(1) } else { Outcome::Done }
    })
    .await;
    until("there was a second try", async || tries.lock().len() == 2).await;
    let second = tries.lock()[1].clone();
    assert_eq!((second.msg_id.as_str(), second.message.topic.as_str()), (receipt.message_id.as_str(), "later"));
    assert_eq!((second.reconsume_times, body(&second).as_str()), (1, "again"));
    consumer.stop().await;
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_function_is_a_failed_try() {
    create_topic("panic", 1).await;
    let producer = producer().await;
    producer.send(Message::new("panic", "careful")).await.unwrap();
    let tries = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&tries);
    let consumer = Consumer::start(options("panic-g", "panic").await, move |delivery| {
        *counted.lock() += 1;
        assert!(delivery[0].reconsume_times > 0, "the function breaks on purpose");
        async { Outcome::Done }
    })
    .await
    .unwrap();
    until("there was a second try", async || *tries.lock() == 2).await;
    consumer.stop().await;
    producer.stop().await;
}

/// The bodies of a group's dead letters.
async fn dead_letters(group: &str) -> Vec<String> {
    let admin = admin().await;
    let topic = format!("%DLQ%{group}");
    if admin.topic_route(&topic).await.unwrap().is_none() {
        return Vec::new();
    }
    let reader = rmq_client::PullConsumer::start(&servers().await.namesrvs, "test-reader").await.unwrap();
    let mut bodies = Vec::new();
    let admin_address = master(&admin).await;
    for queue_id in 0..1 {
        let queue = rmq_client::MessageQueue {
            broker_name: admin.masters(None).await.unwrap().remove(0).name,
            queue_id,
            topic: topic.clone(),
        };
        if admin.max_offset(&admin_address, &topic, queue_id).await.unwrap() > 0 {
            bodies.extend(reader.pull(&queue, 0, 32, false).await.unwrap().messages().unwrap().iter().map(body));
        }
    }
    reader.stop().await;
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_further_tries_is_a_dead_letter() {
    create_topic("dead", 1).await;
    let producer = producer().await;
    producer.send(Message::new("dead", "hopeless")).await.unwrap();
    let mut options = options("dead-g", "dead").await;
    options.max_reconsume = Some(1);
    let (consumer, tries) = start(options, |_| Outcome::LaterBy(1)).await;
    until("it is dead", async || dead_letters("dead-g").await == ["hopeless"]).await;
    assert_eq!(tries.lock().iter().map(|message| message.reconsume_times).collect::<Vec<_>>(), [0, 1]);
    consumer.stop().await;
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_given_up_at_once_is_a_dead_letter() {
    create_topic("given-up", 1).await;
    let producer = producer().await;
    producer.send(Message::new("given-up", "no")).await.unwrap();
    let (consumer, tries) = start(options("given-up-g", "given-up").await, |_| Outcome::Dead).await;
    until("it is dead", async || dead_letters("given-up-g").await == ["no"]).await;
    assert_eq!(tries.lock().len(), 1);
    consumer.stop().await;
    producer.stop().await;
}
