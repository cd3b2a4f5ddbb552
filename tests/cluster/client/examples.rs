//! The examples of the client package do what they say.

use super::*;
use tokio::sync::oneshot;

#[path = "../../../broker/client/examples/consumer.rs"]
#[allow(dead_code, reason = "its main function reads what the test gives")]
mod consumer;
#[path = "../../../broker/client/examples/ordered.rs"]
#[allow(dead_code, reason = "its main function reads what the test gives")]
mod ordered;
#[path = "../../../broker/client/examples/producer.rs"]
#[allow(dead_code, reason = "its main function reads what the test gives")]
mod producer;

/// Messages that the example of a producer sends: one, side by side, together, in order, later, one
/// way.
const SENT: i64 = 1 + 100 + 10 + 3 + 1 + 1;

/// How much of the topic a group has finished.
async fn finished(group: &str, topic: &str) -> i64 {
    let admin = admin().await;
    let stats = admin.consume_stats(&master(&admin).await, group, Some(topic)).await.unwrap();
    stats.offset_table.0.values().map(|queue| queue.consumer_offset).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_producer_example_sends_the_others_consume() {
    create_topic("examples", 4).await;
    let namesrvs = &servers().await.namesrvs;
    producer::run(namesrvs, "examples").await.unwrap();

    let (stop, stopped) = oneshot::channel::<()>();
    let (stop_ordered, stopped_ordered) = oneshot::channel::<()>();
    let all = async {
        until("all is consumed", async || finished("example-consumer", "examples").await == SENT).await;
        until("all is consumed in order", async || finished("example-ordered", "examples").await == SENT).await;
        drop((stop, stop_ordered));
    };
    let (consumed, ordered, ()) = tokio::join!(
        consumer::run(namesrvs, "examples", "*", async { stopped.await.unwrap_or_default() }),
        ordered::run(namesrvs, "examples", async { stopped_ordered.await.unwrap_or_default() }),
        all,
    );
    consumed.unwrap();
    ordered.unwrap();
}
