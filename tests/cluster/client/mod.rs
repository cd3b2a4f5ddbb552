//! The client package against running servers: what an application does with it, and what a tool
//! does.

mod broadcasting;
mod examples;
mod filtering;
mod ordered;
mod outage;
mod retry;
mod sending;
mod sharing;
mod tools;

use crate::servers::servers;
use parking_lot::Mutex;
use rmq_client::{
    Admin, Message, Producer,
    consumer::{Delivery, FromWhere, Options as ConsumerOptions},
    producer::Options as ProducerOptions,
    topic,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// What any of these conditions may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

async fn admin() -> Admin {
    Admin::new(&servers().await.namesrvs).unwrap()
}

async fn master(admin: &Admin) -> String {
    admin.masters(None).await.unwrap().remove(0).address
}

/// A topic with so many queues on the first master; the route is there when this returns.
async fn create_topic(name: &str, queues: i32) {
    let admin = admin().await;
    admin.put_topic(&master(&admin).await, &topic::Config::new(name, queues, queues, topic::READ_WRITE)).await.unwrap();
    until("the topic has a route", async || admin.topic_route(name).await.unwrap().is_some()).await;
}

async fn producer() -> Producer {
    Producer::start(ProducerOptions::new(&servers().await.namesrvs, "test-producer")).await.unwrap()
}

/// A consumer of everything in `topic`, from its beginning.
async fn options(group: &str, topic: &str) -> ConsumerOptions {
    let mut options = ConsumerOptions::new(&servers().await.namesrvs, group).subscribe(topic, "*");
    options.from = FromWhere::First;
    options
}

async fn send_numbers(producer: &Producer, topic: &str, numbers: std::ops::Range<u32>) {
    let sends = numbers.map(|number| producer.send(Message::new(topic, number.to_string())));
    futures::future::try_join_all(sends).await.unwrap();
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What consumers were given: bodies, and how often each.
#[derive(Clone, Default)]
struct Seen(Arc<Inner>);

#[derive(Default)]
struct Inner {
    times: Mutex<BTreeMap<String, u32>>,
    changed: Notify,
}

impl Seen {
    fn add(&self, delivery: &Delivery) {
        let mut times = self.0.times.lock();
        for message in delivery.iter() {
            *times.entry(body(message)).or_default() += 1;
        }
        drop(times);
        self.0.changed.notify_waiters();
    }

    fn times(&self) -> BTreeMap<String, u32> {
        self.0.times.lock().clone()
    }

    fn total(&self) -> u32 {
        self.0.times.lock().values().sum()
    }

    /// Waits until so many different bodies were seen.
    async fn distinct(&self, count: usize) {
        let seen = async {
            loop {
                let changed = self.0.changed.notified();
                if self.0.times.lock().len() >= count {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, seen).await;
        assert!(waited.is_ok(), "{} of {count} were seen in time", self.0.times.lock().len());
    }
}

fn body(message: &rmq_client::MessageExt) -> String {
    String::from_utf8_lossy(&message.message.body).into_owned()
}
