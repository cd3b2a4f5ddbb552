//! Half messages and outcomes that are refused.

use super::*;
use rmq_protocol::message::properties::DELAY;

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_lie_end_nothing() {
    let root = folder("transaction-lies");
    let broker = quick(&root, &[("transactionTimeOut", "60000")]).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    assert_taken(&producer.requests.send("orders", &[(PRODUCER_GROUP, "pg")], "plain").await);
    let plain = producer.requests.wait_for("orders", 0, 1).await[0].physical_offset;
    let half = producer.prepare("orders", "half").await;
    let lies = [
        (Half { group: "thief".into(), ..half.clone() }, vec!["another producer group", "thief"]),
        (Half { offset: half.offset + 1, ..half.clone() }, vec!["queue offset 0, not 1"]),
        (Half { offset: -1, ..half.clone() }, vec!["not -1"]),
        (Half { position: plain, ..half.clone() }, vec!["no half message", "orders"]),
        (Half { position: half.position + 1, ..half.clone() }, vec!["no half message"]),
        (Half { position: -1, ..half.clone() }, vec!["-1"]),
        (Half { position: i64::MAX, ..half.clone() }, vec!["no half message"]),
    ];
    for (lie, named) in &lies {
        for outcome in [COMMIT, ROLL_BACK] {
            assert_refused(&producer.end(lie, outcome).await, ResponseCode::SystemError, named);
        }
    }
    assert_refused(&producer.end(&half, 4).await, ResponseCode::InvalidParameter, &["commitOrRollback", "4"]);
    assert_eq!(figure(&broker, "rocketmq_half_messages").await, 1.0);
    assert_taken(&producer.end(&half, COMMIT).await);
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 2).await), ["plain", "half"]);
    producer.close().await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_messages_that_no_producer_could_end_are_refused() {
    let root = folder("transaction-halves");
    let broker = quick(&root, &[("maxOpenTransactions", "4")]).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    let peer = &producer.requests;
    let illegal = ResponseCode::MessageIllegal;
    assert_refused(&producer.try_prepare("orders", "", &[(DELAY, "1")]).await, illegal, &["delayed"]);
    let homeless = peer.send("orders", &[(TRANSACTION_PREPARED, "true")], "").await;
    assert_refused(&homeless, illegal, &["PGROUP"]);
    let mut flagged = send_to("orders", "");
    flagged.sys_flag = 8;
    assert_refused(&peer.ask(RequestCode::SendMessageV2, &flagged, Vec::new()).await, illegal, &["sysFlag 8"]);
    let own = [(TRANSACTION_PREPARED, "true"), (PRODUCER_GROUP, "pg")];
    let properties: Properties = own.into_iter().collect();
    let properties = properties.to_string();
    let committed = rmq_protocol::header::SendMessageV2 { sys_flag: 8, ..send_to("orders", &properties) };
    assert_refused(&peer.ask(RequestCode::SendMessageV2, &committed, Vec::new()).await, illegal, &["sysFlag 8"]);
    // One group may have half of what the others leave.
    let halves = [producer.prepare("orders", "1").await, producer.prepare("orders", "2").await];
    until_figure(&broker, "rocketmq_half_messages", 2.0).await;
    let full = producer.try_prepare("orders", "3", &[]).await;
    assert_refused(&full, ResponseCode::SystemBusy, &["2 transactions", "pg", "maxOpenTransactions"]);
    let other = Producer::join(broker.address(), "other", "1").await;
    other.prepare("orders", "4").await;
    assert_taken(&producer.end(&halves[0], ROLL_BACK).await);
    assert_taken(&producer.end(&halves[1], ROLL_BACK).await);
    until_figure(&broker, "rocketmq_half_messages", 1.0).await;
    producer.prepare("orders", "5").await;
    // A retried message may still say that it was a half message once.
    let retried = rmq_protocol::header::SendMessageV2 { reconsume_times: Some(1), ..send_to("orders", "") };
    let once = format!("{properties}{DELAY}\u{1}1\u{2}");
    let retried = rmq_protocol::header::SendMessageV2 { properties: Some(&once), ..retried };
    assert_taken(&peer.ask(RequestCode::SendMessageV2, &retried, b"retried".to_vec()).await);
    assert_eq!(bodies(&peer.wait_for("orders", 0, 1).await), ["retried"]);
    other.close().await;
    producer.close().await;
    broker.stop().await.unwrap();
    let broker = quick(&root, &[("rejectTransactionMessage", "true")]).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    let refused = producer.try_prepare("orders", "", &[]).await;
    assert_refused(&refused, ResponseCode::NoPermission, &["rejectTransactionMessage"]);
    producer.close().await;
    broker.stop().await.unwrap();
}
