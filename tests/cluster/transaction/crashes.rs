//! What a start finds after the process was killed, at each step of a transaction.

use super::*;

const SETTINGS: [(&str, &str); 2] = [("transactionTimeOut", "60000"), ("transactionOpBatchInterval", "60000")];

/// The store as a kill at this moment would leave it: what was written to mapped files is there,
/// and nothing that a stop would write.
fn killed(root: &Path, step: &str) -> std::path::PathBuf {
    let to = folder(&format!("{}-{step}", root.file_name().unwrap().display()));
    // A table may be replaced meanwhile.
    copy_folder(root, &to, |from, to| {
        if from.extension().is_none_or(|name| name != "tmp") {
            let _ = std::fs::copy(from, to);
        }
    });
    to
}

/// Starts a broker where one was killed, and commits what it asks about. Returns what it has asked,
/// and what consumers read.
async fn asked_and_read(root: &Path, questions: usize) -> (Vec<String>, Vec<String>) {
    let broker = quick(root, &[]).await;
    until_figure(&broker, "rocketmq_half_messages", questions as f64).await;
    let mut producer = Producer::join(broker.address(), "pg", "2").await;
    let mut asked = Vec::new();
    for _ in 0..questions {
        asked.push(producer.commit_when_asked().await.body);
    }
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    until_figure(&broker, "rocketmq_storage_dispatch_behind_bytes", 0.0).await;
    let count = producer.requests.max_offset("orders", 0).await as usize;
    let read = producer.requests.wait_for("orders", 0, count).await;
    producer.close().await;
    broker.stop().await.unwrap();
    asked.sort_unstable();
    (asked, read.into_iter().map(|read| read.body).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_keeps_what_was_acknowledged_and_nothing_comes_twice() {
    let root = folder("transaction-kill");
    let broker = quick(&root, &SETTINGS).await;
    let producer = Producer::join(broker.address(), "pg", "1").await;
    let mut halves = Vec::new();
    for body in ["committed", "rolled back", "open"] {
        halves.push(producer.prepare("orders", body).await);
    }
    let prepared = killed(&root, "prepared");
    assert_taken(&producer.end(&halves[0], COMMIT).await);
    let committed = killed(&root, "committed");
    assert_taken(&producer.end(&halves[1], ROLL_BACK).await);
    let rolled_back = killed(&root, "rolled-back");
    producer.close().await;
    broker.stop().await.unwrap();

    let (asked, read) = asked_and_read(&prepared, 3).await;
    assert_eq!((asked, read.len()), (vec!["committed".into(), "open".into(), "rolled back".into()], 3));
    let (asked, read) = asked_and_read(&committed, 2).await;
    assert_eq!((asked, read[0].as_str(), read.len()), (vec!["open".into(), "rolled back".into()], "committed", 3));
    // Its producer would commit whatever it is asked about.
    let (asked, read) = asked_and_read(&rolled_back, 1).await;
    assert_eq!((asked, read), (vec!["open".to_owned()], vec!["committed".to_owned(), "open".to_owned()]));
    let (asked, read) = asked_and_read(&root, 1).await;
    assert_eq!((asked, read), (vec!["open".to_owned()], vec!["committed".to_owned(), "open".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_a_check_asks_about_the_copy_alone_and_counts_on() {
    let root = folder("transaction-kill-check");
    let broker = quick(&root, &[("transactionOpBatchInterval", "60000")]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    let half = producer.prepare("orders", "checked").await;
    let (first, second) = (producer.question().await, producer.question().await);
    assert_eq!((first.times(), second.times()), (1, 2));
    let checked = killed(&root, "checked");
    producer.close().await;
    broker.stop().await.unwrap();

    let broker = quick(&checked, &[]).await;
    let mut producer = Producer::join(broker.address(), "pg", "2").await;
    let question = producer.question().await;
    assert_eq!((&question.half.key, question.times() > 2), (&half.key, true));
    assert_taken(&producer.answer(&question, COMMIT).await);
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 1).await), ["checked"]);
    assert_eq!(producer.requests.max_offset("orders", 0).await, 1);
    producer.close().await;
    broker.stop().await.unwrap();
}

/// The producer answers for the half message that it has sent. The copy that a check has made of it
/// is known again once it was read.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_finishes_a_copy_from_before_the_start() {
    let root = folder("transaction-kill-late");
    let broker = quick(&root, &[]).await;
    let mut producer = Producer::join(broker.address(), "pg", "1").await;
    let half = producer.prepare("orders", "late").await;
    producer.question().await;
    producer.close().await;
    broker.stop().await.unwrap();

    let broker = quick(&root, &[("transactionCheckInterval", "60000")]).await;
    let producer = Producer::join(broker.address(), "pg", "2").await;
    let read = async {
        while figure_of(&broker, "rocketmq_half_messages", "orders").await != Some(1.0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(peer::DEADLINE, read).await.unwrap();
    assert_taken(&producer.end(&half, COMMIT).await);
    until_figure(&broker, "rocketmq_half_messages", 0.0).await;
    assert_eq!(bodies(&producer.requests.wait_for("orders", 0, 1).await), ["late"]);
    producer.close().await;
    broker.stop().await.unwrap();
}
