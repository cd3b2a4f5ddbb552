//! `rocketmq bench consume`.

use super::{
    Common, produce,
    run::{RateLimiter, Run},
};
use futures::future::join_all;
use rmq_client::{MessageQueue, PullConsumer};
use rmq_protocol::message::stored::Records;
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// The pause after a failed pull.
const FAILED: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Messages asked for in one pull
    #[arg(long, default_value = "32", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pull_batch: u32,
    /// Begin again at the oldest message when a queue is at its end, instead of waiting for new
    /// ones
    #[arg(long)]
    again: bool,
    /// Messages a second, at most
    #[arg(short, long, value_parser = produce::rate)]
    rate: Option<f64>,
}

/// Reads every queue at the same time, one pull under way in each. Without `--again` it ends when
/// all are at their ends.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    arguments.common.prepare().await?;
    let reader = Rc::new(PullConsumer::start(&arguments.common.namesrv, "bench-consumer").await?);
    let queues = reader.queues(&arguments.common.topic).await?;
    // The backlog must not be read before it is measured.
    let mut common = arguments.common.clone();
    if !arguments.again {
        common.warm_up = Duration::ZERO;
    }
    let run = Rc::new(Run::new(common)?);
    let limiter = Rc::new(RateLimiter::new(arguments.rate));
    let tasks = tokio::task::LocalSet::new();
    let report = tasks
        .run_until(async {
            let pulls: Vec<_> = queues
                .into_iter()
                .map(|queue| {
                    tokio::task::spawn_local(pull_on(
                        Rc::clone(&reader),
                        queue,
                        Rc::clone(&run),
                        Rc::clone(&limiter),
                        arguments.pull_batch,
                        arguments.again,
                    ))
                })
                .collect();
            let all = Rc::clone(&run);
            let ends = tokio::task::spawn_local(async move {
                join_all(pulls).await;
                all.end();
            });
            let report = run.measure("pull").await;
            ends.await?;
            report
        })
        .await?;
    if let Ok(reader) = Rc::try_unwrap(reader) {
        reader.stop().await;
    }
    report.print(arguments.common.output)
}

async fn pull_on(
    reader: Rc<PullConsumer>,
    queue: MessageQueue,
    run: Rc<Run>,
    limiter: Rc<RateLimiter>,
    batch: u32,
    again: bool,
) {
    let mut offset = 0;
    while run.goes_on() {
        let begun = Instant::now();
        let pulled = match reader.pull(&queue, offset, batch, false).await {
            Ok(pulled) => pulled,
            Err(error) => {
                run.fail(error);
                tokio::time::sleep(FAILED).await;
                continue;
            }
        };
        let mut messages = 0;
        for record in Records::new(&pulled.records) {
            match record {
                Ok(_) => messages += 1,
                Err(error) => run.fail(error),
            }
        }
        if messages > 0 {
            run.count(messages, pulled.records.len() as u64, Some(begun.elapsed()));
        }
        for _ in 0..messages {
            if run.goes_on() {
                limiter.turn().await;
            }
        }
        offset = pulled.next;
        if offset >= pulled.max {
            if !again || pulled.min >= pulled.max {
                return;
            }
            offset = pulled.min;
        }
    }
}
