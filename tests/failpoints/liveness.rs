//! A broker that cannot go on: from when on it is not ready, how long its reads go on, and that it
//! then has to be restarted.

use crate::servers::{ask, free_port};
use crate::{ALONE, DEADLINE, EIO, Running, queue, read, send};
use rmq_client::{Admin, Message, PullConsumer};
use rmq_protocol::message::properties;
use rmq_store::fail_point::{Fault, arm};
use std::{net::SocketAddr, time::Duration};

/// Asks until the status is this; returns the words.
async fn until(http: SocketAddr, path: &str, wanted: u16) -> String {
    let answered = async {
        loop {
            match ask(http, path).await {
                (status, text) if status == wanted => return text,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, answered).await.unwrap_or_else(|_| panic!("{path} is never {wanted}"))
}

/// `/healthz` was a constant: the process stayed up, unready and registered, and nothing started it
/// anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_sync_has_failed_serves_reads_for_a_while_and_then_ends() {
    let _alone = ALONE.lock().await;
    let port = free_port().to_string();
    // The fault has to be armed before what is sent here is flushed.
    let settings =
        [("httpPort", port.as_str()), ("readsAfterFailureMillis", "86400000"), ("flushIntervalCommitLog", "3000")];
    let running = Running::start("failed-sync", &settings).await;
    let http = running.broker.http_address().unwrap();
    until(http, "/readyz", 200).await;
    for number in 0..3 {
        send(&running.producer, number).await;
    }
    let failing = arm("commit_log::sync", Fault::Error(EIO), 0, 1);
    let refused = until(http, "/readyz", 503).await;
    assert!(refused.contains("may not be on the disk"), "{refused}");
    drop(failing);
    assert!(running.producer.send_to(&queue(), Message::new("slow", "late")).await.is_err());
    assert_eq!(ask(http, "/healthz").await, (200, "ok\n".to_owned()));
    let reader = PullConsumer::start(&running.namesrvs, "slow-g").await.unwrap();
    read(&reader, 3).await;
    reader.stop().await;
    let alive = tokio::time::timeout(Duration::ZERO, running.broker.failed()).await;
    assert!(alive.is_err(), "{alive:?}");

    let admin = Admin::new(&running.namesrvs).unwrap();
    let at_once = [("readsAfterFailureMillis".to_owned(), "0".to_owned())].into();
    // It has no file in which the change would outlive it, and says so.
    let _ = admin.update_broker_config(&running.broker.address().to_string(), &at_once).await;
    admin.close().await;
    let failed = until(http, "/healthz", 503).await;
    assert!(failed.contains("may not be on the disk") && failed.contains("readsAfterFailureMillis"), "{failed}");
    let why = tokio::time::timeout(DEADLINE, running.broker.failed()).await.unwrap();
    assert_eq!(format!("{why}\n"), failed);
    running.producer.stop().await;
    running.broker.stop().await.unwrap_err();
    running.names.stop().await;
}

/// Delayed messages, the retries of all consumers among them, were not delivered any more, and all
/// looked well.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_the_thread_of_its_delayed_messages_has_to_be_restarted() {
    let _alone = ALONE.lock().await;
    let port = free_port().to_string();
    let running = Running::start("no-delay", &[("httpPort", &port), ("readsAfterFailureMillis", "0")]).await;
    let http = running.broker.http_address().unwrap();
    until(http, "/readyz", 200).await;
    assert_eq!(ask(http, "/healthz").await.0, 200);
    // The thread writes how far it has come every ten seconds, once it has delivered something.
    // Whatever else writes tables does it on threads that come and go.
    let panics = arm("durable_file::write", Fault::Panic, 0, u64::MAX);
    let mut delayed = Message::new("slow", "later");
    delayed.properties.set(properties::DELAY, "1");
    running.producer.send_to(&queue(), delayed).await.unwrap();
    let failed = until(http, "/healthz", 503).await;
    assert!(failed.starts_with("the thread \"delay\" has panicked"), "{failed}");
    drop(panics);
    assert!(until(http, "/readyz", 503).await.starts_with("the thread \"delay\" has panicked"));
    let page = ask(http, "/metrics").await.1;
    let count = page.lines().find(|line| line.starts_with("rocketmq_broker_ended_threads_total{")).unwrap();
    assert!(count.ends_with(" 1"), "{count}");
    tokio::time::timeout(DEADLINE, running.broker.failed()).await.unwrap();
    running.stop().await;
}
