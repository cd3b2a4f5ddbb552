//! Commit, roll back, and what comes twice.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_read_and_what_is_rolled_back_is_not() {
    let root = folder("transaction-outcomes");
    let broker = quick(&root, &[("transactionTimeOut", "60000")]).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    let (first, second) = (producer.prepare("orders", "first").await, producer.prepare("orders", "second").await);
    assert_eq!((first.offset, second.offset), (0, 1), "offsets in the half queue");
    let third = producer.prepare_with("orders", "third", &[("color", "red")]).await;
    assert_taken(&producer.end(&first, ROLL_BACK).await);
    assert_taken(&producer.end(&third, COMMIT).await);
    assert_taken(&producer.end(&second, UNKNOWN).await);
    let read = producer.requests.wait_for("orders", 0, 1).await;
    assert_eq!(bodies(&read), ["third"]);
    let properties = &read[0].properties;
    assert_eq!(properties.get("color"), Some("red"));
    // As a Java broker leaves them.
    assert_eq!((properties.get(TRANSACTION_PREPARED), properties.get(REAL_TOPIC)), (Some("true"), Some("orders")));
    assert_eq!(properties.get("__transactionId__"), Some(third.key.as_str()));
    assert_eq!(figure(&broker, "rocketmq_half_messages").await, 1.0);
    producer.requests.tell(RequestCode::EndTransaction, &end(&second, COMMIT)).await;
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 2).await), ["third", "second"]);
    for (name, wanted) in [
        ("rocketmq_half_messages", 0.0),
        ("rocketmq_commit_messages_total", 2.0),
        ("rocketmq_rollback_messages_total", 1.0),
    ] {
        until_figure(&broker, name, wanted).await;
    }
    let ops = producer.requests.wait_for(names::OP_HALF_TOPIC, 0, 1).await;
    assert!(ops.iter().all(|op| op.properties.get("TAGS") == Some("d")));
    producer.close().await;
    broker.stop().await.unwrap();
}

/// A Java broker stores the message again.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_outcome_stores_nothing_and_says_so() {
    let root = folder("transaction-twice");
    let broker = quick(&root, &[("transactionTimeOut", "60000")]).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    let half = producer.prepare("orders", "once").await;
    let ends = (0..8).map(|_| producer.end(&half, COMMIT));
    let answers = futures::future::join_all(ends).await;
    assert_eq!(answers.iter().filter(|answer| answer.code == 0).count(), 1);
    let refused = answers.iter().find(|answer| answer.code != 0).unwrap();
    assert_refused(refused, ResponseCode::SystemError, &[&half.key, "ended already"]);
    assert_refused(&producer.end(&half, ROLL_BACK).await, ResponseCode::SystemError, &["ended already"]);
    assert_eq!(producer.requests.wait_for("orders", 0, 1).await.len(), 1);
    assert_eq!(producer.requests.max_offset("orders", 0).await, 1);
    producer.close().await;
    broker.stop().await.unwrap();
}

/// The producer's own outcome came when the first check had already stored a copy of the half
/// message. A Java broker commits both.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_comes_after_a_check_finishes_the_copy_too() {
    let root = folder("transaction-late");
    let broker = quick(&root, &[]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    let half = producer.prepare("orders", "late").await;
    let question = producer.question().await;
    assert_eq!((question.times(), &question.half.key), (1, &half.key));
    assert_ne!(question.half.position, half.position);
    assert_taken(&producer.end(&half, COMMIT).await);
    let again = producer.answer(&question, COMMIT).await;
    assert_refused(&again, ResponseCode::SystemError, &["ended already"]);
    assert_eq!(producer.requests.wait_for("orders", 0, 1).await.len(), 1);
    assert_eq!(producer.requests.max_offset("orders", 0).await, 1);
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    producer.close().await;
    broker.stop().await.unwrap();
}

/// They may, as the id is the producer's choice.
#[tokio::test(flavor = "multi_thread")]
async fn two_transactions_with_one_id_are_not_taken_for_each_other() {
    let root = folder("transaction-one-id");
    let broker = quick(&root, &[("transactionCheckInterval", "60000")]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    let first = producer.prepare_with("orders", "first", &[(UNIQ_KEY, "same")]).await;
    let second = producer.prepare_with("orders", "second", &[(UNIQ_KEY, "same")]).await;
    let questions = [producer.question().await, producer.question().await];
    let of = |body: &str| questions.iter().find(|question| question.body == body).unwrap();
    assert_refused(&producer.end(&first, ROLL_BACK).await, ResponseCode::SystemError, &["ended already"]);
    assert_taken(&producer.end(&second, COMMIT).await);
    assert_taken(&producer.answer(of("first"), ROLL_BACK).await);
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 1).await), ["second"]);
    producer.close().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_told_by_topic_and_written_for_a_java_broker() {
    let root = folder("transaction-topics");
    let broker = quick(&root, &[("transactionTimeOut", "60000")]).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    let half = producer.prepare("orders", "1").await;
    producer.prepare("orders", "2").await;
    producer.prepare("bills", "3").await;
    let gone = producer.prepare("gone", "4").await;
    assert_taken(&producer.end(&half, COMMIT).await);
    assert_taken(&producer.end(&gone, ROLL_BACK).await);
    for (name, topic, wanted) in [
        ("rocketmq_half_messages", "orders", Some(1.0)),
        ("rocketmq_half_messages", "bills", Some(1.0)),
        ("rocketmq_half_messages", "gone", Some(0.0)),
        ("rocketmq_commit_messages_total", "orders", Some(1.0)),
        ("rocketmq_rollback_messages_total", "gone", Some(1.0)),
        ("rocketmq_rollback_messages_total", "orders", None),
        ("rocketmq_finish_message_latency_milliseconds_count", "orders", Some(1.0)),
    ] {
        assert_eq!(figure_of(&broker, name, topic).await, wanted, "{name} of {topic}");
    }
    producer.close().await;
    broker.stop().await.unwrap();
    let written = std::fs::read(root.join("t/config/transactionMetrics")).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    let count = |topic: &str| written["transactionCount"][topic]["count"].as_i64();
    assert_eq!((count("orders"), count("bills"), count("gone")), (Some(1), Some(1), Some(0)));
    assert!(written["dataVersion"]["counter"].as_i64() > Some(0));
    let broker = quick(&root, &[("transactionTimeOut", "60000")]).await;
    until_figure(&broker, "rocketmq_half_messages", 2.0).await;
    broker.stop().await.unwrap();
}
