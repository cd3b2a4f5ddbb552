//! Brokers that stop and come back under a producer and a consumer. These tests have servers of
//! their own.

use super::*;
use crate::servers::{broker, folder, namesrv, wait_for_masters};
use rmq_client::{Consumer, consumer::Outcome};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

async fn create_on_all(admin: &Admin, topic: &str, queues: i32) {
    for master in admin.masters(None).await.unwrap() {
        admin.put_topic(&master.address, &topic::Config::new(topic, queues, queues, topic::READ_WRITE)).await.unwrap();
    }
    until("all have a route", async || {
        let route = admin.topic_route(topic).await.unwrap();
        route.is_some_and(|route| route.queue_datas.len() == 2)
    })
    .await;
}

/// Sends numbers one after another until told to stop; returns how many there were. No send may
/// fail.
async fn send_until(producer: Producer, topic: &'static str, stop: Arc<AtomicBool>, sent: Arc<AtomicU32>) {
    while !stop.load(Relaxed) {
        let number = sent.load(Relaxed);
        producer.send(Message::new(topic, number.to_string())).await.unwrap();
        sent.store(number + 1, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_go_to_the_other_broker_and_nothing_is_lost_when_the_first_comes_back() {
    let root = folder("outage");
    let names = namesrv(&root).await;
    let namesrvs = names.local_addr().to_string();
    let (first, second) =
        (broker(&root, "broker-a", &namesrvs, 0).await, broker(&root, "broker-b", &namesrvs, 0).await);
    wait_for_masters(&namesrvs, 2).await;
    let admin = Admin::new(&namesrvs).unwrap();
    create_on_all(&admin, "outage", 2).await;

    let seen = Seen::default();
    let counted = seen.clone();
    let mut options = ConsumerOptions::new(&namesrvs, "outage-g").subscribe("outage", "*");
    options.from = FromWhere::First;
    let consumer = Consumer::start(options, move |delivery| {
        counted.add(&delivery);
        async { Outcome::Done }
    })
    .await
    .unwrap();
    let producer = Producer::start(ProducerOptions::new(&namesrvs, "outage-p")).await.unwrap();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let sending = tokio::spawn(send_until(producer.clone(), "outage", Arc::clone(&stop), Arc::clone(&sent)));
    let more = async |count| {
        let goal = sent.load(Relaxed) + count;
        until("some more are sent", async || sent.load(Relaxed) >= goal || sending.is_finished()).await;
    };
    more(200).await;

    let port = first.address().port();
    first.stop().await.unwrap();
    more(200).await;
    let first = broker(&root, "broker-a", &namesrvs, port).await;
    wait_for_masters(&namesrvs, 2).await;
    more(200).await;
    stop.store(true, Relaxed);
    sending.await.unwrap();

    let sent = sent.load(Relaxed);
    seen.distinct(sent as usize).await;
    let expected: BTreeSet<_> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(seen.times().into_keys().collect::<BTreeSet<_>>(), expected);
    consumer.stop().await;
    producer.stop().await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    names.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_without_the_namesrv() {
    let root = folder("namesrv-outage");
    let names = namesrv(&root).await;
    let namesrvs = names.local_addr().to_string();
    let broker = broker(&root, "broker-a", &namesrvs, 0).await;
    wait_for_masters(&namesrvs, 1).await;
    let producer = Producer::start(ProducerOptions::new(&namesrvs, "alone-p")).await.unwrap();
    producer.send(Message::new("alone", "0")).await.unwrap();
    let seen = Seen::default();
    let counted = seen.clone();
    let mut options = ConsumerOptions::new(&namesrvs, "alone-g").subscribe("alone", "*");
    options.from = FromWhere::First;
    let consumer = Consumer::start(options, move |delivery| {
        counted.add(&delivery);
        async { Outcome::Done }
    })
    .await
    .unwrap();
    seen.distinct(1).await;
    // From here on the producer has the real route and needs nobody.
    until("the topic's own route is known", async || producer.queues("alone").await.is_ok()).await;

    names.stop().await;
    for number in 1..100 {
        producer.send(Message::new("alone", number.to_string())).await.unwrap();
    }
    seen.distinct(100).await;
    consumer.stop().await;
    producer.stop().await;
    broker.stop().await.unwrap();
}
