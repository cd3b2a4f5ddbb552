//! What stands where a slave looks for its master and is none.

use super::wire::DEADLINE;
use crate::servers::{ask, broker_with, folder, free_port};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Connections of the slave: it waits a second before each.
const ROUNDS: usize = 6;

/// Pieces of a log as a master would send them, with lengths, offsets and contents that none has.
fn stream(random: &mut StdRng) -> Vec<u8> {
    let numbers = [0, 1, 7, 1 << 30, 1 << 62, (1 << 62) + 1, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX];
    let sizes = [0, 1, 12, 100, 16 << 20, (16 << 20) + 1, u32::MAX];
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..5) {
        bytes.extend(numbers[random.random_range(0..numbers.len())].to_be_bytes());
        bytes.extend(sizes[random.random_range(0..sizes.len())].to_be_bytes());
        // Mostly fewer or more than were announced.
        bytes.extend((0..random.random_range(0..120)).map(|_| random.random::<u8>()));
    }
    bytes
}

/// The task that follows a master is one: what ends it ends replication until a restart.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_master_sends_the_slave_goes_on_asking() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let root = folder("no-master");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, http) = (listener.local_addr().unwrap().to_string(), free_port().to_string());
    let settings = [("brokerId", "1"), ("haMasterAddress", &address), ("httpPort", &http)];
    let slave = broker_with(&root, "broker-a", "127.0.0.1:1", 0, &settings).await;
    for round in 0..ROUNDS {
        let accepted = tokio::time::timeout(DEADLINE, listener.accept()).await;
        let (mut stream_to, _) =
            accepted.unwrap_or_else(|_| panic!("the slave asks no more after round {round}")).unwrap();
        let mut report = [0; 8];
        let reported = tokio::time::timeout(DEADLINE, stream_to.read_exact(&mut report)).await;
        reported.expect("a report").unwrap();
        // It may have closed the connection before it got all.
        let _ = stream_to.write_all(&stream(&mut random)).await;
    }
    let http = slave.http_address().unwrap();
    let page = ask(http, "/metrics").await.1;
    let ended = page.lines().find(|line| line.starts_with("rocketmq_broker_ended_threads_total{")).unwrap();
    assert!(ended.ends_with(" 0"), "{ended}");
    // What it took for a log may not be one: then it takes no more and says so.
    let _ = slave.stop().await;
}
