//! Who is asked, when, and how often.

use super::*;
use rmq_protocol::header::ResumeCheckHalfMessage;

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_asked_for_until_it_is_known() {
    let root = folder("transaction-unknown");
    let broker = quick(&root, &[]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    let half = producer.prepare("orders", "asked").await;
    for times in 1..=3 {
        let question = producer.question().await;
        assert_eq!((question.times(), question.topic.as_str(), question.body.as_str()), (times, "orders", "asked"));
        assert_eq!(question.half.key, half.key);
        let outcome = if times == 3 { COMMIT } else { UNKNOWN };
        assert_taken(&producer.answer(&question, outcome).await);
    }
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 1).await), ["asked"]);
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    assert_eq!(figure(&broker, "rocketmq_broker_transaction_checks_total").await, 3.0);
    producer.close().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_of_the_group_is_asked_when_the_first_is_gone() {
    let root = folder("transaction-instances");
    let broker = quick(&root, &[("transactionTimeOut", "500")]).await;
    let first = Producer::join(broker.address(), "pg", "1").await;
    let mut second = Producer::join(broker.address(), "pg", "2").await;
    let mut other = Producer::join(broker.address(), "other", "1").await;
    let half = first.prepare("orders", "orphan").await;
    let foreign = other.prepare("orders", "foreign").await;
    first.close().await;
    let question = second.question().await;
    assert_eq!(question.half.key, half.key);
    assert_taken(&second.answer(&question, COMMIT).await);
    let question = other.question().await;
    assert_eq!(question.half.key, foreign.key);
    assert_taken(&other.answer(&question, ROLL_BACK).await);
    assert_eq!(bodies(&second.requests.wait_for("orders", 0, 1).await), ["orphan"]);
    second.close().await;
    other.close().await;
    broker.stop().await.unwrap();
}

/// Without a producer a Java broker counts the check, and gives the transaction up after 15.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_producer_a_transaction_waits_and_nothing_is_counted() {
    let root = folder("transaction-alone");
    let settings = [("transactionCheckMax", "1"), ("transactionCheckInterval", "1000")];
    let broker = quick(&root, &settings).await;
    let first = Producer::join(broker.address(), "pg", "1").await;
    let half = first.prepare("orders", "alone").await;
    first.close().await;
    // Another group is asked meanwhile: it is not delayed, and shows that time has passed.
    let mut other = Producer::join(broker.address(), "other", "1").await;
    let short = other.prepare("orders", "other").await;
    assert_eq!(other.question().await.half.key, short.key);
    assert_taken(&other.end(&short, ROLL_BACK).await);
    assert_eq!(figure(&broker, "rocketmq_half_messages").await, 1.0);
    let mut second = Producer::join(broker.address(), "pg", "2").await;
    let question = second.question().await;
    assert_eq!((question.times(), &question.half.key), (1, &half.key));
    assert_taken(&second.answer(&question, COMMIT).await);
    assert_eq!(bodies(&second.requests.wait_for("orders", 0, 1).await), ["alone"]);
    assert_eq!(figure(&broker, "rocketmq_broker_given_up_transactions_total").await, 0.0);
    second.close().await;
    other.close().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_without_an_outcome_is_given_up_and_can_be_resumed() {
    let root = folder("transaction-given-up");
    let broker = quick(&root, &[("transactionCheckMax", "2")]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    let half = producer.prepare("orders", "lost").await;
    for times in 1..=2 {
        assert_eq!(producer.question().await.times(), times);
    }
    let kept = producer.requests.wait_for(names::CHECK_MAX_TIME_TOPIC, 0, 1).await;
    assert_eq!((bodies(&kept), kept[0].properties.get(TRANSACTION_CHECK_TIMES)), (vec!["lost"], Some("2")));
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    assert_eq!(figure(&broker, "rocketmq_broker_given_up_transactions_total").await, 1.0);
    assert_refused(&producer.end(&half, COMMIT).await, ResponseCode::SystemError, &["ended already"]);

    let host = broker.address();
    let id = OffsetId { host, physical_offset: kept[0].physical_offset as u64 }.to_string();
    let resume = ResumeCheckHalfMessage { topic: None, message_id: Some(id.as_str()) };
    assert_taken(&producer.requests.ask(RequestCode::ResumeCheckHalfMessage, &resume, Vec::new()).await);
    let question = producer.question().await;
    assert_eq!((question.times(), &question.half.key), (1, &half.key));
    assert_taken(&producer.answer(&question, COMMIT).await);
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 1).await), ["lost"]);
    let wrong = ResumeCheckHalfMessage { topic: None, message_id: Some("no id") };
    let refused = producer.requests.ask(RequestCode::ResumeCheckHalfMessage, &wrong, Vec::new()).await;
    assert_refused(&refused, ResponseCode::SystemError, &["no id"]);
    producer.close().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immune_transaction_is_asked_later_and_then_ends_only_by_an_answer() {
    let root = folder("transaction-immune");
    let broker = quick(&root, &[]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    let begun = std::time::Instant::now();
    let half = producer.prepare_with("orders", "immune", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "1")]).await;
    let early = producer.prepare_with("orders", "early", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "3600")]).await;
    assert_taken(&producer.end(&early, COMMIT).await);
    let question = producer.question().await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(question.half.key, half.key);
    let late = producer.end(&half, COMMIT).await;
    assert_refused(&late, ResponseCode::IllegalOperation, &[&half.key, "CHECK_IMMUNITY_TIME_IN_SECONDS"]);
    assert_taken(&producer.answer(&question, COMMIT).await);
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 2).await), ["early", "immune"]);
    producer.close().await;
    broker.stop().await.unwrap();
}

/// The property takes the place of `transactionTimeOut`. One that is no number is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_immunity_is_asked_before_the_timeout() {
    let root = folder("transaction-short-immunity");
    let broker = quick(&root, &[("transactionTimeOut", "3600000")]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    producer.prepare_with("orders", "none", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "soon")]).await;
    let half = producer.prepare_with("orders", "short", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "1")]).await;
    assert_eq!(producer.commit_when_asked().await.half.key, half.key);
    producer.close().await;
    broker.stop().await.unwrap();
}

/// It does not read what it is asked: it is passed over, nothing is counted, and others are asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_does_not_read_delays_no_other_group_and_costs_no_checks() {
    const HALVES: usize = 60;
    let root = folder("transaction-slow");
    let broker = quick(&root, &[("transactionCheckMax", "3"), ("transactionCheckInterval", "200")]).await;
    let slow = Producer::join(broker.address(), "slow", "1").await;
    // Together more than a connection may have unread, in its socket and in the broker.
    let body = "x".repeat(1 << 20);
    for _ in 0..HALVES {
        slow.prepare("orders", &body).await;
    }
    let mut quick = Producer::join(broker.address(), "quick", "1").await;
    for number in 0..20 {
        let half = quick.prepare("orders", &number.to_string()).await;
        let begun = std::time::Instant::now();
        assert_eq!(quick.commit_when_asked().await.half.key, half.key);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let given_up = figure(&broker, "rocketmq_broker_given_up_transactions_total").await;
    let checks = figure(&broker, "rocketmq_broker_transaction_checks_total").await - 20.0;
    assert!(given_up < HALVES as f64 / 2.0, "{given_up} were given up after {checks} checks");
    assert!(checks < HALVES as f64, "{checks} checks that no client read");
    slow.close().await;
    quick.close().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_given_up_is_resumed_and_only_once() {
    let root = folder("transaction-resume");
    let broker = quick(&root, &[("transactionCheckMax", "1"), ("transactionCheckInterval", "1000")]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    producer.prepare("orders", "lost").await;
    producer.question().await;
    let kept = producer.requests.wait_for(names::CHECK_MAX_TIME_TOPIC, 0, 1).await;
    let id = |position: i64| OffsetId { host: broker.address(), physical_offset: position as u64 }.to_string();
    let (given_up, plain) = (id(kept[0].physical_offset), producer.prepare("orders", "plain").await.position);
    let resume = async |id: String| {
        let header = ResumeCheckHalfMessage { topic: None, message_id: Some(id.as_str()) };
        producer.requests.ask(RequestCode::ResumeCheckHalfMessage, &header, Vec::new()).await
    };
    assert_taken(&resume(given_up.clone()).await);
    assert_refused(&resume(given_up).await, ResponseCode::SystemError, &["open again already"]);
    for other in [plain, plain + 1, 0, i64::MAX] {
        assert_refused(
            &resume(id(other)).await,
            ResponseCode::SystemError,
            &["no message", names::CHECK_MAX_TIME_TOPIC],
        );
    }
    assert_eq!(producer.requests.max_offset(names::HALF_TOPIC, 0).await, 4, "two, a copy, and the resumed one");
    producer.close().await;
    broker.stop().await.unwrap();
}

/// Each group has its own schedule: one with very many due transactions delays no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_many_open_transactions_delays_no_other() {
    let root = folder("transaction-many");
    let broker = quick(&root, &[("transactionTimeOut", "1000"), ("transactionCheckInterval", "60000")]).await;
    let many = Producer::join(broker.address(), "many", "1").await;
    for number in 0..2000 {
        many.prepare("orders", &number.to_string()).await;
    }
    let mut few = Producer::join(broker.address(), "few", "1").await;
    let half = few.prepare("orders", "few").await;
    let question = few.question().await;
    assert_eq!(question.half.key, half.key);
    assert_taken(&few.answer(&question, COMMIT).await);
    assert_eq!(bodies(&few.requests.wait_for("orders", 0, 1).await), ["few"]);
    until_figure(&broker, "rocketmq_broker_transaction_checks_total", 2001.0).await;
    assert_eq!(figure(&broker, "rocketmq_half_messages").await, 2000.0);
    few.close().await;
    many.close().await;
    broker.stop().await.unwrap();
}
