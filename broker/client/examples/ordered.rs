//! Consumes each queue in order, and fails every tenth message once: later messages of its queue
//! wait.
//!
//! `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p rmq-client --example ordered -- orders`

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use anyhow::Context;
use rmq_client::{
    Consumer,
    consumer::{Delivery, FromWhere, Options, Order, Outcome},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let namesrvs = std::env::var("NAMESRV_ADDR").context("set NAMESRV_ADDR to host:port of a namesrv")?;
    let topic = std::env::args().nth(1).unwrap_or_else(|| "orders".to_owned());
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    run(&namesrvs, &topic, stop).await
}

/// The example itself, until `stop` is done.
pub(crate) async fn run(namesrvs: &str, topic: &str, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut options = Options::new(namesrvs, "example-ordered").subscribe(topic, "*");
    options.order = Order::Queue;
    options.from = FromWhere::First;
    let consumer = Consumer::start(options, |delivery: Delivery| async move {
        let message = &delivery[0];
        if message.queue_offset % 10 == 9 && message.reconsume_times == 0 {
            println!("queue {} offset {}: not now", message.queue_id, message.queue_offset);
            return Outcome::Later;
        }
        println!("queue {} offset {}", message.queue_id, message.queue_offset);
        Outcome::Done
    })
    .await?;

    stop.await;
    consumer.stop().await;
    Ok(())
}
