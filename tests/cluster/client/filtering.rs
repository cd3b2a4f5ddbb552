//! Consumers that subscribe by SQL92.

use super::*;
use rmq_client::{
    Consumer, Error, PullConsumer,
    consumer::{Filter, Outcome},
};
use rmq_protocol::ResponseCode;

/// Sends messages whose number is also their property `n`.
async fn send_with_number(producer: &Producer, topic: &str, numbers: std::ops::Range<u32>) {
    let sends = numbers.map(|number| {
        let mut message = Message::new(topic, number.to_string());
        message.properties.set("n", number.to_string());
        message.properties.set("parity", if number % 2 == 0 { "even" } else { "odd" });
        producer.send(message)
    });
    futures::future::try_join_all(sends).await.unwrap();
}

async fn by_sql(group: &str, topic: &str, expression: &str) -> ConsumerOptions {
    let mut options =
        ConsumerOptions::new(&servers().await.namesrvs, group).subscribe(topic, Filter::Sql(expression.to_owned()));
    options.from = FromWhere::First;
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_sql_filter_is_refused_at_the_start() {
    create_topic("sql", 1).await;
    let options = by_sql("sql-g", "sql", "a = = 1").await;
    let started = Consumer::start(options, |_| async { Outcome::Done }).await;
    let Err(error @ Error::Refused { .. }) = started.map(|_| ()) else { panic!("it started") };
    assert!(error.is(ResponseCode::SubscriptionParseFailed), "{error}");
}

/// Old messages and new ones, in all queues, and a message that is tried again: its retry topic is
/// not filtered.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_by_sql_gets_what_matches_once_and_its_offset_passes_over_the_rest() {
    create_topic("sql-push", 4).await;
    let (producer, seen, admin) = (producer().await, Seen::default(), admin().await);
    send_with_number(&producer, "sql-push", 0..100).await;
    let (counted, failed) = (seen.clone(), Arc::new(Mutex::new(false)));
    let options = by_sql("sql-push-g", "sql-push", "parity = 'even' AND n BETWEEN 10 AND 149").await;
    let consumer = Consumer::start(options, move |delivery| {
        let again =
            delivery.iter().any(|message| body(message) == "10") && !std::mem::replace(&mut *failed.lock(), true);
        if !again {
            counted.add(&delivery);
        }
        async move { if again { Outcome::Later } else { Outcome::Done } }
    })
    .await
    .unwrap();
    seen.distinct(44).await;
    send_with_number(&producer, "sql-push", 100..200).await;
    seen.distinct(70).await;
    let address = master(&admin).await;
    until("the offsets are at the ends", async || {
        let stats = admin.consume_stats(&address, "sql-push-g", Some("sql-push")).await.unwrap();
        stats.offset_table.0.values().all(|queue| queue.consumer_offset == queue.broker_offset)
    })
    .await;
    consumer.stop().await;
    producer.stop().await;
    let times = seen.times();
    let wanted = (10..150).filter(|number| number % 2 == 0).map(|number| number.to_string());
    assert_eq!(times.keys().cloned().collect::<std::collections::BTreeSet<_>>(), wanted.collect());
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

/// One in ten thousand: each pull looks at a bounded part and says where to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_rarely_matches_makes_progress() {
    create_topic("sql-rare", 1).await;
    let producer = producer().await;
    for from in (0..10_000).step_by(1000) {
        send_with_number(&producer, "sql-rare", from..from + 1000).await;
    }
    let consumer = PullConsumer::start(&servers().await.namesrvs, "sql-rare-g").await.unwrap();
    let queue = consumer.queues("sql-rare").await.unwrap().remove(0);
    until("all are there", async || consumer.pull(&queue, 0, 1, false).await.is_ok_and(|pulled| pulled.max == 10_000))
        .await;
    let filter = Filter::Sql("n = 9876".to_owned());
    let (mut next, mut pulls, mut found) = (0, 0, Vec::new());
    while next < 10_000 {
        let pulled = consumer.pull_matching(&queue, &filter, next, 32, false).await.unwrap();
        assert!(pulled.next > next, "no progress at {next}");
        found.extend(pulled.messages().unwrap().iter().map(body));
        (next, pulls) = (pulled.next, pulls + 1);
    }
    assert_eq!(found, ["9876"]);
    assert!(pulls >= 10, "{pulls} pulls: one looked at more than its part");
    let wrong = consumer.pull_matching(&queue, &Filter::Sql("n = ".to_owned()), 0, 32, false).await.unwrap_err();
    assert!(wrong.is(ResponseCode::SubscriptionParseFailed), "{wrong}");
    consumer.stop().await;
    producer.stop().await;
}
