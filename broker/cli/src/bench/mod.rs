//! `rocketmq bench`: a load generator for one topic.
//!
//! It shares the machine with what it measures, so it must be cheap: everything runs on one thread
//! of its own, where a send wakes no other thread and the responses of many sends are read
//! together. What it cost is in the report beside what the broker cost.
//!
//! | file | what |
//! |---|---|
//! | `produce.rs`, `consume.rs`, `latency.rs` | the three loads |
//! | `run.rs` | when a load begins to count, when it ends, and how fast it may be |
//! | `report.rs`, `cpu.rs` | what is printed: rate, percentiles, CPU seconds |

mod consume;
mod cpu;
mod latency;
mod produce;
mod report;
mod run;

use anyhow::Context;
use rmq_client::{Admin, topic};
use std::time::Duration;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rocketmq bench produce --size 1024 --senders 64 --broker-pid $(pidof rocketmq)
  rocketmq bench consume --duration 10
  rocketmq bench latency --rate 1000")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Send messages, and measure how long the broker takes to answer
    Produce(produce::Arguments),
    /// Read messages that are there, as fast as the broker hands them out
    Consume(consume::Arguments),
    /// Send at a steady rate, and measure the time until a waiting consumer has each message
    Latency(latency::Arguments),
}

/// Options of every load.
#[derive(clap::Args, Clone)]
#[group(skip)]
struct Common {
    /// The namesrvs, joined by ';'
    #[arg(
        short,
        long,
        alias = "namesrvAddr",
        env = "NAMESRV_ADDR",
        default_value = "127.0.0.1:9876",
        value_name = "ADDRESSES"
    )]
    namesrv: String,
    /// The topic; it is created if it does not exist
    #[arg(short, long, default_value = "bench")]
    topic: String,
    /// Queues a broker of a topic that is created
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(i32).range(1..=1024))]
    queues: i32,
    /// Seconds that are measured
    #[arg(short, long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    duration: Duration,
    /// Seconds before that, which are not
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    warm_up: Duration,
    /// End after so many measured messages, if that is earlier
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,
    /// The broker's process on this machine: its CPU seconds are part of the report
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// The report for people or as JSON
    #[arg(short, long, value_enum, default_value = "text")]
    output: report::Format,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no number of seconds");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let load = tokio::task::spawn_blocking(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        runtime.block_on(async {
            match arguments.command {
                Command::Produce(arguments) => produce::run(arguments).await,
                Command::Consume(arguments) => consume::run(arguments).await,
                Command::Latency(arguments) => latency::run(arguments).await,
            }
        })
    });
    load.await.context("the load ended early")?
}

impl Common {
    /// Creates the topic on every master if it has no route yet.
    async fn prepare(&self) -> anyhow::Result<()> {
        let admin = Admin::new(&self.namesrv)?;
        if admin.topic_route(&self.topic).await?.is_none() {
            let masters = admin.masters(None).await?;
            anyhow::ensure!(!masters.is_empty(), "no master is registered at {}", self.namesrv);
            for master in masters {
                let config = topic::Config::new(&self.topic, self.queues, self.queues, topic::READ_WRITE);
                admin.put_topic(&master.address, &config).await?;
            }
            // The brokers tell the namesrvs at once, but not while we wait for the answer.
            let end = tokio::time::Instant::now() + Duration::from_secs(10);
            while admin.topic_route(&self.topic).await?.is_none() {
                anyhow::ensure!(
                    tokio::time::Instant::now() < end,
                    "the topic {} was created and has no route",
                    self.topic
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        admin.close().await;
        Ok(())
    }
}
