//! Transactions over a restart of the broker.

use super::*;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn open_transactions_survive_a_restart_and_finished_ones_are_not_asked_about() {
    let root = folder("transaction-restart");
    let broker = quick(&root, &[("transactionTimeOut", "60000"), ("transactionOpBatchInterval", "60000")]).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    let mut halves = Vec::new();
    for number in 0..40 {
        halves.push(producer.prepare("orders", &number.to_string()).await);
    }
    for (number, half) in halves.iter().enumerate() {
        match number % 4 {
            0 => assert_taken(&producer.end(half, COMMIT).await),
            1 => assert_taken(&producer.end(half, ROLL_BACK).await),
            _ => {}
        }
    }
    producer.close().await;
    broker.stop().await.unwrap();

    let broker = quick(&root, &[("transactionTimeOut", "1000"), ("transactionCheckInterval", "1000")]).await;
    until_figure(&broker, "rocketmq_half_messages", 20.0).await;
    let mut producer = Producer::join(broker.address(), "pg", "2").await;
    let again = producer.end(&halves[0], COMMIT).await;
    assert_refused(&again, ResponseCode::SystemError, &["ended already"]);
    assert_taken(&producer.end(&halves[2], COMMIT).await);
    let mut asked = BTreeSet::new();
    while asked.len() < 19 {
        let question = producer.question().await;
        // A slow machine may be asked twice.
        if asked.insert(question.body.parse::<usize>().unwrap()) {
            assert_taken(&producer.answer(&question, COMMIT).await);
        }
    }
    let open: BTreeSet<_> = (0..40).filter(|number| number % 4 > 1 && *number != 2).collect();
    assert_eq!(asked, open);
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    until_figure(&broker, "rocketmq_storage_dispatch_behind_bytes", 0.0).await;
    assert_eq!(producer.requests.max_offset("orders", 0).await, 30);
    producer.close().await;
    broker.stop().await.unwrap();

    let broker = quick(&root, &[]).await;
    assert_eq!(figure(&broker, "rocketmq_half_messages").await, 0.0);
    broker.stop().await.unwrap();
}
