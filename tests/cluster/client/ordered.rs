//! Consumption in order: under locks, with failures, while members come and go.

use super::*;
use rmq_client::{
    Consumer,
    consumer::{Order, Outcome},
};
use std::collections::BTreeSet;

const KEYS: u32 = 10;
const EACH: u32 = 30;

/// By key, the numbers in the order in which they were finished.
type Finished = Arc<Mutex<BTreeMap<String, Vec<u32>>>>;

async fn start(finished: &Finished, failed: &Arc<Mutex<BTreeSet<String>>>) -> Consumer {
    let mut options = options("ordered-g", "ordered").await;
    options.order = Order::Queue;
    options.suspend = Duration::from_millis(50);
    let (finished, failed) = (Arc::clone(finished), Arc::clone(failed));
    Consumer::start(options, move |delivery| {
        let (finished, failed) = (Arc::clone(&finished), Arc::clone(&failed));
        async move {
            let text = body(&delivery[0]);
            let (key, number) = text.split_once(' ').unwrap();
            let number: u32 = number.parse().unwrap();
            // Every seventh fails the first time.
            if number % 7 == 3 && failed.lock().insert(text.clone()) {
                return Outcome::Later;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            finished.lock().entry(key.to_owned()).or_default().push(number);
            Outcome::Done
        }
    })
    .await
    .unwrap()
}

async fn send(producer: &Producer, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let sends = (0..KEYS).map(async |key| {
            producer.send_ordered(Message::new("ordered", format!("{key} {number}")), &key.to_string()).await
        });
        futures::future::try_join_all(sends).await.unwrap();
    }
}

fn all_until(finished: &Finished, end: u32) -> bool {
    let finished = finished.lock();
    finished.len() == KEYS as usize && finished.values().all(|numbers| numbers.contains(&(end - 1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_never_goes_backwards_through_failures_and_changes_of_members() {
    create_topic("ordered", 6).await;
    let (producer, finished, failed) = (producer().await, Finished::default(), Arc::default());
    let first = start(&finished, &failed).await;
    send(&producer, 0..EACH).await;
    let second = start(&finished, &failed).await;
    let owned = |consumer: &Consumer| consumer.queues().iter().filter(|queue| queue.topic == "ordered").count();
    until("both have queues", async || owned(&first) == 3 && owned(&second) == 3).await;
    send(&producer, EACH..2 * EACH).await;
    first.stop().await;
    send(&producer, 2 * EACH..3 * EACH).await;
    until("all is consumed", async || all_until(&finished, 3 * EACH)).await;
    second.stop().await;
    for (key, numbers) in finished.lock().iter() {
        assert_eq!(*numbers, (0..3 * EACH).collect::<Vec<_>>(), "key {key}");
    }
    producer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_order_a_message_without_further_tries_makes_room_for_the_next() {
    create_topic("ordered-dead", 1).await;
    let producer = producer().await;
    for text in ["bad", "good"] {
        producer.send_ordered(Message::new("ordered-dead", text), "k").await.unwrap();
    }
    let mut options = options("ordered-dead-g", "ordered-dead").await;
    options.order = Order::Queue;
    options.suspend = Duration::from_millis(20);
    options.max_reconsume = Some(2);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let consumer = Consumer::start(options, move |delivery| {
        let text = body(&delivery[0]);
        let outcome = if text == "bad" { Outcome::Later } else { Outcome::Done };
        kept.lock().push(text);
        async move { outcome }
    })
    .await
    .unwrap();
    until("the good one came", async || seen.lock().last().is_some_and(|text| text == "good")).await;
    assert_eq!(*seen.lock(), ["bad", "bad", "bad", "good"]);
    consumer.stop().await;
    producer.stop().await;
}
