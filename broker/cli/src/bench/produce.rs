//! `rocketmq bench produce`.

use super::{
    Common,
    run::{RateLimiter, Run},
};
use bytes::Bytes;
use futures::future::join_all;
use rmq_client::{Error, Message, Producer, producer::Options, properties::KEYS};
use std::{cell::Cell, rc::Rc, time::Duration};

/// The pause after a failed send, so that a broker that refuses is not hammered.
const FAILED: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Bytes of a body
    #[arg(short, long, default_value = "128", value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    size: u32,
    /// Sends under way at a time: each sender waits for its answer before the next send
    #[arg(
        long,
        visible_aliases = ["threads", "in-flight"],
        default_value = "64",
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    senders: u32,
    /// Connections the senders are spread over
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    producers: u32,
    /// Messages sent together
    #[arg(short, long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Keys of each message, no two alike: work for the broker's index, beside the id that every
    /// message has
    #[arg(long, default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1024))]
    keys: u32,
    /// Messages a second, at most
    #[arg(short, long, value_parser = rate)]
    rate: Option<f64>,
    /// Do not wait for answers
    #[arg(long, conflicts_with = "batch")]
    one_way: bool,
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?} is no rate")),
    }
}

/// What one sender does again and again.
struct Sender {
    producer: Producer,
    topic: String,
    body: Bytes,
    batch: u32,
    keys: u32,
    /// Keys that all senders have used.
    used_keys: Rc<Cell<u64>>,
    one_way: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    arguments.common.prepare().await?;
    let mut producers = Vec::new();
    for _ in 0..arguments.producers {
        producers.push(Producer::start(options(&arguments)).await?);
    }
    let run = Rc::new(Run::new(arguments.common.clone())?);
    let limiter = Rc::new(RateLimiter::new(arguments.rate.map(|rate| rate / f64::from(arguments.batch))));
    let body = Bytes::from(body(arguments.size as usize));
    let used_keys = Rc::new(Cell::new(0));
    let tasks = tokio::task::LocalSet::new();
    let report = tasks
        .run_until(async {
            let senders: Vec<_> = (0..arguments.senders as usize)
                .map(|number| {
                    let sender = Sender {
                        producer: producers[number % producers.len()].clone(),
                        topic: arguments.common.topic.clone(),
                        body: body.clone(),
                        batch: arguments.batch,
                        keys: arguments.keys,
                        used_keys: Rc::clone(&used_keys),
                        one_way: arguments.one_way,
                    };
                    tokio::task::spawn_local(sender.send_on(Rc::clone(&run), Rc::clone(&limiter)))
                })
                .collect();
            let report = run.measure(if arguments.batch > 1 { "batch" } else { "send" }).await;
            join_all(senders).await;
            report
        })
        .await?;
    join_all(producers.iter().map(Producer::stop)).await;
    report.print(arguments.common.output)
}

fn options(arguments: &Arguments) -> Options {
    let mut options = Options::new(&arguments.common.namesrv, "bench-producer");
    // The bodies are what is asked for, and as long on the wire; retries would hide what the broker
    // refuses.
    options.compress_above = usize::MAX;
    options.retries = 0;
    options.max_body = usize::MAX;
    options.in_flight = arguments.senders;
    options.in_flight_bytes = u32::MAX >> 4;
    options
}

/// Bytes that do not compress well, so that a compressing disk or network does not flatter.
fn body(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(size)
    .collect()
}

impl Sender {
    async fn send_on(self, run: Rc<Run>, limiter: Rc<RateLimiter>) {
        let bytes = u64::from(self.batch) * self.body.len() as u64;
        while run.goes_on() {
            let begun = limiter.turn().await;
            match self.send().await {
                Ok(()) => run.count(u64::from(self.batch), bytes, Some(begun.elapsed())),
                Err(error) => {
                    run.fail(error);
                    tokio::time::sleep(FAILED).await;
                }
            }
            if self.one_way {
                // Nothing is waited for; the connection must get its turn.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn send(&self) -> Result<(), Error> {
        match (self.one_way, self.batch) {
            (true, _) => self.producer.send_one_way(self.message()).await,
            (false, 1) => self.producer.send(self.message()).await.map(|_| ()),
            (false, count) => self.producer.send_batch((0..count).map(|_| self.message()).collect()).await.map(|_| ()),
        }
    }

    /// The next one; no two of this load have a key in common.
    fn message(&self) -> Message {
        let mut message = Message::new(self.topic.as_str(), self.body.clone());
        if self.keys > 0 {
            let first = self.used_keys.get();
            let next = first + u64::from(self.keys);
            self.used_keys.set(next);
            let keys: Vec<_> = (first..next).map(|key| format!("key{key}")).collect();
            message.properties.set(KEYS, keys.join(" "));
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_size_and_are_not_monotonous() {
        let bytes = body(4096);
        assert_eq!(bytes.len(), 4096);
        let mut seen = [0u32; 256];
        bytes.iter().for_each(|byte| seen[usize::from(*byte)] += 1);
        assert!(seen.iter().all(|count| *count < 64), "{seen:?}");
    }
}
