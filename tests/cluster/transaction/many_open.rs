//! Sends while very many transactions are open.
//!
//! `TRANSACTIONS` is how many (2,000 unless given); `tests/run long` has 100,000. It prints what it
//! measures, and asserts what holds on any machine.

use super::*;
use std::time::Instant;

/// Half messages under way at a time.
const WINDOW: usize = 64;
const BODY: usize = 256;

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let anonymous: Vec<usize> = pages.split(' ').map(|pages| pages.trim().parse().unwrap()).collect();
    // Without mapped files, which the kernel takes back.
    (anonymous[1] - anonymous[2]) * 4096
}

async fn prepare_many(address: SocketAddr, count: usize) {
    let mut peer = peer::Peer::connect(&address.to_string()).await;
    let properties: Properties = [(TRANSACTION_PREPARED, "true"), (PRODUCER_GROUP, "many")].into_iter().collect();
    let properties = properties.to_string();
    let mut header = send_to("many", &properties);
    (header.sys_flag, header.born_timestamp) = (4, now());
    let command = Command::request(RequestCode::SendMessageV2, &header).with_body(vec![7; BODY]);
    let mut left = count;
    while left > 0 {
        let part = left.min(WINDOW);
        peer.send_many(&command, part).await;
        for _ in 0..part {
            assert_taken(&peer.next().await.unwrap());
        }
        left -= part;
    }
}

/// How long each of so many sends took, one after another; the sorted times.
async fn sends(peer: &Peer, count: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    let body = "x".repeat(BODY);
    for _ in 0..count {
        let begun = Instant::now();
        assert_taken(&peer.send("plain", &[], &body).await);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

fn summary(times: &[Duration]) -> String {
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    format!("p50 {:?} p99 {:?} p99.9 {:?} max {:?}", at(0.5), at(0.99), at(0.999), at(1.0))
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_do_not_feel_open_transactions_and_each_takes_little_memory() {
    let count: usize = std::env::var("TRANSACTIONS").map_or(2_000, |count| count.parse().unwrap());
    let rounds = (count / 5).clamp(1_000, 20_000);
    let root = folder("transaction-many-open");
    let settings =
        [("transactionTimeOut", "3600000"), ("transactionCheckInterval", "30000"), ("transactionCheckMax", "1000")];
    let broker = quick(&root, &settings).await;
    let plain = Peer::new(broker.address());
    sends(&plain, rounds).await;
    println!("none open:    {}", summary(&sends(&plain, rounds).await));
    let before = resident_bytes();
    prepare_many(broker.address(), count).await;
    until_figure(&broker, "rocketmq_half_messages", count as f64).await;
    let each = resident_bytes().saturating_sub(before) / count;
    println!("{count} open: {}, {each} bytes of memory each", summary(&sends(&plain, rounds).await));
    assert!(count < 50_000 || each < 300, "{each} bytes for an open transaction");
    broker.stop().await.unwrap();

    // Those that a start reads back are due at once, and asked about again and again.
    let begun = Instant::now();
    let settings =
        [("transactionTimeOut", "1000"), ("transactionCheckInterval", "1000"), ("transactionCheckMax", "1000")];
    let broker = quick(&root, &settings).await;
    until_figure(&broker, "rocketmq_half_messages", count as f64).await;
    println!("read back after {:?}", begun.elapsed());
    let mut asked = Producer::join(broker.address(), "many", "1").await;
    let reading = tokio::spawn(async move { while asked.questions.next().await.is_some() {} });
    let checks = async || figure(&broker, "rocketmq_broker_transaction_checks_total").await;
    while checks().await == 0.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (plain, begun, first) = (Peer::new(broker.address()), Instant::now(), checks().await);
    let times = sends(&plain, rounds).await;
    let rate = (checks().await - first) / begun.elapsed().as_secs_f64();
    println!("{rate:.0} checks a second: {}", summary(&times));
    // A copy that is on its way to the follower is not counted.
    until_figure(&broker, "rocketmq_half_messages", count as f64).await;
    reading.abort();
    broker.stop().await.unwrap();
}
