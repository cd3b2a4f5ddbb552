//! `rocketmq bench latency`: from the moment a message is sent until a consumer that waits for it
//! has it.

use super::{
    Common, produce,
    run::{RateLimiter, Run},
};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use rmq_client::{Admin, Message, MessageQueue, Producer, PullConsumer, producer::Options};
use rmq_protocol::message::stored::Records;
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// The pause after a failed request.
const FAILED: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Bytes of a body, at least 8
    #[arg(short, long, default_value = "128", value_parser = clap::value_parser!(u32).range(8..=4_194_304))]
    size: u32,
    /// Messages a second
    #[arg(short, long, default_value = "1000", value_parser = produce::rate)]
    rate: f64,
    /// Sends that may be under way at a time
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u32).range(1..=4096))]
    senders: u32,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let common = &arguments.common;
    common.prepare().await?;
    let mut options = Options::new(&common.namesrv, "bench-producer");
    options.compress_above = usize::MAX;
    let producer = Producer::start(options).await?;
    let reader = Rc::new(PullConsumer::start(&common.namesrv, "bench-consumer").await?);
    let ends = ends(common, &reader).await?;
    let run = Rc::new(Run::new(common.clone())?);
    let limiter = Rc::new(RateLimiter::new(Some(arguments.rate)));
    // Bodies carry the nanoseconds since this moment: sender and receiver are one process with one
    // clock.
    let epoch = Instant::now();
    let tasks = tokio::task::LocalSet::new();
    let report = tasks
        .run_until(async {
            let readers: Vec<_> = ends
                .into_iter()
                .map(|(queue, end)| {
                    tokio::task::spawn_local(receive_on(Rc::clone(&reader), queue, end, Rc::clone(&run), epoch))
                })
                .collect();
            let senders: Vec<_> = (0..arguments.senders)
                .map(|_| {
                    let send = send_on(
                        producer.clone(),
                        common.topic.clone(),
                        arguments.size as usize,
                        Rc::clone(&run),
                        Rc::clone(&limiter),
                        epoch,
                    );
                    tokio::task::spawn_local(send)
                })
                .collect();
            let report = run.measure("end to end").await;
            // They wait for messages that do not come any more.
            readers.iter().for_each(tokio::task::JoinHandle::abort);
            join_all(senders).await;
            join_all(readers).await;
            report
        })
        .await?;
    producer.stop().await;
    if let Ok(reader) = Rc::try_unwrap(reader) {
        reader.stop().await;
    }
    report.print(common.output)
}

/// The queues of the topic and where they end now.
async fn ends(common: &Common, reader: &PullConsumer) -> anyhow::Result<Vec<(MessageQueue, i64)>> {
    let admin = Admin::new(&common.namesrv)?;
    let masters = admin.masters(None).await?;
    let queues = reader.queues(&common.topic).await?.into_iter().map(async |queue| {
        let master = masters.iter().find(|master| master.name == queue.broker_name);
        let master = master.ok_or_else(|| anyhow::anyhow!("the broker group {} has no master", queue.broker_name))?;
        let end = admin.max_offset(&master.address, &queue.topic, queue.queue_id).await?;
        anyhow::Ok((queue, end))
    });
    let found = try_join_all(queues).await;
    admin.close().await;
    found
}

async fn send_on(
    producer: Producer,
    topic: String,
    size: usize,
    run: Rc<Run>,
    limiter: Rc<RateLimiter>,
    epoch: Instant,
) {
    while run.goes_on() {
        let begun = limiter.turn().await;
        let mut body = vec![b'x'; size];
        body[..8].copy_from_slice(&(begun.saturating_duration_since(epoch).as_nanos() as u64).to_be_bytes());
        if let Err(error) = producer.send(Message::new(topic.as_str(), Bytes::from(body))).await {
            run.fail(error);
            tokio::time::sleep(FAILED).await;
        }
    }
}

async fn receive_on(reader: Rc<PullConsumer>, queue: MessageQueue, mut offset: i64, run: Rc<Run>, epoch: Instant) {
    while run.goes_on() {
        let pulled = match reader.pull(&queue, offset, 32, true).await {
            Ok(pulled) => pulled,
            Err(error) => {
                run.fail(error);
                tokio::time::sleep(FAILED).await;
                continue;
            }
        };
        let now = epoch.elapsed();
        for record in Records::new(&pulled.records) {
            match record.as_ref().map(|record| record.body().first_chunk::<8>().copied()) {
                Ok(Some(sent)) => {
                    let sent = Duration::from_nanos(u64::from_be_bytes(sent));
                    run.count(1, record.map_or(0, |record| record.size() as u64), Some(now.saturating_sub(sent)));
                }
                Ok(None) => run.fail("another producer sends to this topic"),
                Err(error) => run.fail(error),
            }
        }
        offset = pulled.next;
    }
}
