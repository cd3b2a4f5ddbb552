//! Consumes a topic until Ctrl-C. Start it several times to see how the queues are shared.
//!
//! ```text
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run -p rmq-client --example consumer -- orders "paid || prepaid"
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use anyhow::Context;
use rmq_client::{
    Consumer,
    consumer::{Delivery, FromWhere, Options, Outcome},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let namesrvs = std::env::var("NAMESRV_ADDR").context("set NAMESRV_ADDR to host:port of a namesrv")?;
    let mut arguments = std::env::args().skip(1);
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    let tags = arguments.next().unwrap_or_else(|| "*".to_owned());
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    run(&namesrvs, &topic, &tags, stop).await
}

/// The example itself, until `stop` is done.
pub(crate) async fn run(namesrvs: &str, topic: &str, tags: &str, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut options = Options::new(namesrvs, "example-consumer").subscribe(topic, tags);
    options.from = FromWhere::First;
    let consumer = Consumer::start(options, |delivery: Delivery| async move {
        for message in delivery.iter() {
            let body = String::from_utf8_lossy(&message.message.body);
            println!(
                "queue {} offset {} try {}: {body}",
                message.queue_id,
                message.queue_offset,
                message.reconsume_times + 1
            );
        }
        Outcome::Done
    })
    .await?;

    stop.await;
    consumer.stop().await;
    Ok(())
}
