//! Sends messages with every kind of send.
//!
//! `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p rmq-client --example producer -- orders`

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use anyhow::Context;
use futures::future::try_join_all;
use rmq_client::{
    Message, Producer,
    producer::Options,
    properties::{DELAY, KEYS, TAGS},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let namesrvs = std::env::var("NAMESRV_ADDR").context("set NAMESRV_ADDR to host:port of a namesrv")?;
    let topic = std::env::args().nth(1).unwrap_or_else(|| "orders".to_owned());
    run(&namesrvs, &topic).await
}

/// The example itself.
pub(crate) async fn run(namesrvs: &str, topic: &str) -> anyhow::Result<()> {
    let producer = Producer::start(Options::new(namesrvs, "example-producer")).await?;

    let mut message = Message::new(topic, "one message");
    message.properties.set(TAGS, "paid");
    message.properties.set(KEYS, "order-1 customer-7");
    let receipt = producer.send(message).await?;
    println!("{:?} {} at {}/{}", receipt.status, receipt.message_id, receipt.queue.queue_id, receipt.queue_offset);

    let many = (0..100).map(|number| producer.send(Message::new(topic, format!("side by side {number}"))));
    println!("{} sent side by side", try_join_all(many).await?.len());

    let batch = (0..10).map(|number| Message::new(topic, format!("together {number}"))).collect();
    println!("{} sent together", producer.send_batch(batch).await?.message_ids.len());

    for step in ["created", "paid", "shipped"] {
        let receipt = producer.send_ordered(Message::new(topic, step), "order-1").await?;
        println!("{step} in queue {}", receipt.queue.queue_id);
    }

    let mut delayed = Message::new(topic, "five seconds later");
    delayed.properties.set(DELAY, "2");
    producer.send(delayed).await?;

    producer.send_one_way(Message::new(topic, "sent one-way, without an acknowledgement")).await?;
    producer.stop().await;
    Ok(())
}
