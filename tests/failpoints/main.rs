//! A broker whose disk is slow, as its clients see it. The store's own tests with fail points judge
//! what is below. Here stands what a slow or failed flush means to them, in [`late_blocks`] what is
//! asked of a disk before a message has a place, in [`liveness`] what becomes of a broker that
//! cannot go on.
//!
//! Points belong to the process, so these tests have one of their own.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

mod late_blocks;
mod liveness;
#[path = "../cluster/servers.rs"]
#[allow(dead_code, reason = "shared with the tests of a disk that works")]
mod servers;

use futures::future::join_all;
use rmq_client::{
    Admin, Message, MessageQueue, Producer, PullConsumer,
    producer::{Options, SendStatus},
    topic,
};
use rmq_namesrv::Namesrv;
use rmq_server::Broker;
use rmq_store::fail_point::{Fault, arm};
use servers::{broker_with, folder, namesrv, wait_for_masters};
use std::{path::PathBuf, time::Duration};
use tokio::sync::Mutex;

const DEADLINE: Duration = Duration::from_secs(60);
const EIO: i32 = 5;

/// Held by each test: points belong to all.
static ALONE: Mutex<()> = Mutex::const_new(());

fn queue() -> MessageQueue {
    MessageQueue { broker_name: "slow".into(), queue_id: 0, topic: "slow".into() }
}

async fn send(producer: &Producer, number: u32) -> SendStatus {
    producer.send_to(&queue(), Message::new("slow", number.to_string())).await.unwrap().status
}

/// Sends numbers from `first` on until one is on the disk in time; returns the next. On a busy
/// machine that need not be the first.
async fn send_until_ok(producer: &Producer, first: u32) -> u32 {
    let sending = async {
        let mut number = first;
        while send(producer, number).await != SendStatus::Ok {
            number += 1;
        }
        number + 1
    };
    tokio::time::timeout(DEADLINE, sending).await.expect("a flush in time")
}

/// Reads so many messages, which must be the numbers from 0 on.
async fn read(reader: &PullConsumer, count: u32) {
    let mut bodies = Vec::new();
    let all = async {
        while bodies.len() < count as usize {
            let pulled = reader.pull(&queue(), bodies.len() as i64, 32, true).await.unwrap();
            bodies.extend(pulled.messages().unwrap().into_iter().map(|message| message.message.body));
        }
    };
    assert!(tokio::time::timeout(DEADLINE, all).await.is_ok(), "{} of {count} messages came in time", bodies.len());
    assert!(bodies.iter().enumerate().all(|(number, body)| **body == *number.to_string().as_bytes()));
}

/// A broker with a topic, and a producer that does not try again.
struct Running {
    root: PathBuf,
    names: Namesrv,
    namesrvs: String,
    broker: Broker,
    producer: Producer,
}

impl Running {
    /// A broker that answers a send when its message is on the disk.
    async fn start_with_sync_flush(name: &str, timeout_millis: &str) -> Self {
        Self::start(name, &[("flushDiskType", "SYNC_FLUSH"), ("syncFlushTimeout", timeout_millis)]).await
    }

    async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let root = folder(name);
        let names = namesrv(&root).await;
        let namesrvs = names.local_addr().to_string();
        let broker = broker_with(&root, "slow", &namesrvs, 0, settings).await;
        wait_for_masters(&namesrvs, 1).await;
        let admin = Admin::new(&namesrvs).unwrap();
        let config = topic::Config::new("slow", 1, 1, topic::READ_WRITE);
        admin.put_topic(&broker.address().to_string(), &config).await.unwrap();
        let mut options = Options::new(&namesrvs, name);
        (options.retries, options.timeout) = (0, DEADLINE);
        let producer = Producer::start(options).await.unwrap();
        Self { root, names, namesrvs, broker, producer }
    }

    async fn stop(self) {
        self.producer.stop().await;
        self.broker.stop().await.unwrap();
        self.names.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_gets_a_flush_timeout_and_consumers_have_the_message() {
    let _alone = ALONE.lock().await;
    let Running { names, namesrvs, broker, producer, .. } = Running::start_with_sync_flush("slow-disk", "300").await;
    let reader = PullConsumer::start(&namesrvs, "slow-g").await.unwrap();
    let before = send_until_ok(&producer, 0).await;

    let slow = arm("commit_log::sync", Fault::Delay(Duration::from_secs(600)), 0, 1);
    for number in before..before + 3 {
        assert_eq!(send(&producer, number).await, SendStatus::FlushDiskTimeout);
    }
    let together = (before + 3..before + 23).map(|number| send(&producer, number));
    assert_eq!(join_all(together).await, [SendStatus::FlushDiskTimeout; 20]);
    assert_eq!(slow.struck(), 1);
    read(&reader, before + 23).await;
    drop(slow);
    let all = send_until_ok(&producer, before + 23).await;
    read(&reader, all).await;
    producer.stop().await;
    reader.stop().await;
    broker.stop().await.unwrap();
    names.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_waiters_for_the_disk_get_an_error_when_it_fails() {
    let _alone = ALONE.lock().await;
    let Running { names, broker, producer, .. } = Running::start_with_sync_flush("failed-disk", "5000").await;
    send_until_ok(&producer, 0).await;

    let failing = arm("commit_log::sync", Fault::Error(EIO), 0, u64::MAX);
    let there = queue();
    let sends = (0..20).map(|number: u32| producer.send_to(&there, Message::new("slow", number.to_string())));
    let refused: Vec<_> = join_all(sends).await.into_iter().map(|sent| sent.unwrap_err().to_string()).collect();
    assert!(failing.struck() > 0);
    assert!(refused.iter().any(|text| text.contains("the message may not be on disk")), "{refused:?}");
    drop(failing);
    // What failed once is not believed again before a restart.
    assert!(producer.send_to(&queue(), Message::new("slow", "later")).await.is_err());
    producer.stop().await;
    broker.stop().await.unwrap_err();
    names.stop().await;
}
