//! Files of a master's log that expire, and the slaves that have yet to copy them.

use crate::{
    replication::{Group, queue, ready, replication_address, until},
    servers::broker_with,
};
use rmq_client::Message;
use rmq_protocol::body::runtime_info;
use rmq_server::Broker;
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Small files, and a disk that is never short of space.
const FILE: u64 = 1 << 20;
const SMALL: [(&str, &str); 5] = [
    ("mappedFileSizeCommitLog", "1048576"),
    ("maxMessageSize", "65536"),
    ("diskMaxUsedSpaceRatio", "99"),
    ("diskSpaceCleanForciblyRatio", "99"),
    ("diskSpaceWarningLevelRatio", "99"),
];

/// Three files and a part of a fourth, in messages that are too short to be compressed.
async fn fill(group: &Group) {
    let producer = group.producer().await;
    for _ in 0..900 {
        producer.send_to(&queue("t"), Message::new("t", vec![7; 4000])).await.unwrap();
    }
}

async fn filled(group: &Group) -> Broker {
    let master = group.master(0, &SMALL).await;
    ready(&master).await;
    group.create("t", &master).await;
    fill(group).await;
    master
}

async fn number(group: &Group, member: &Broker, row: &str) -> u64 {
    group.admin.runtime_info(&member.address().to_string()).await.unwrap()[row].parse().unwrap()
}

/// Lets all files but the last expire, and deletes what may go.
async fn expire(group: &Group, master: &Broker) {
    let address = master.address().to_string();
    let settings = BTreeMap::from([("fileReservedTime".to_owned(), "0".to_owned())]);
    group.admin.update_broker_config(&address, &settings).await.unwrap();
    let end = number(group, master, "commitLogMaxOffset").await;
    until("all is dispatched", async || number(group, master, "dispatchBehindBytes").await == 0 && end > 0).await;
    group.admin.delete_expired_commit_log(&address).await.unwrap();
}

/// It had to begin anew again and again, or went on behind a hole.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_new_slave_has_yet_to_copy_do_not_expire() {
    let group = Group::new("expiry-copy").await;
    let master = filled(&group).await;
    let mut slave = TcpStream::connect(replication_address(&master)).await.unwrap();
    slave.write_all(&0_u64.to_be_bytes()).await.unwrap();
    slave.read_exact(&mut [0; 12]).await.unwrap();
    expire(&group, &master).await;
    assert_eq!(number(&group, &master, "commitLogMinOffset").await, 0, "the slave copies it");

    // It has the first file, and some more.
    slave.write_all(&(FILE + 100_000).to_be_bytes()).await.unwrap();
    until("what is copied goes", async || {
        group.admin.delete_expired_commit_log(&master.address().to_string()).await.unwrap();
        number(&group, &master, "commitLogMinOffset").await == FILE
    })
    .await;
    // It is kept over a lost connection.
    drop(slave);
    until("the master knows", async || {
        group.admin.ha_status(&master.address().to_string()).await.unwrap().ha_connection_info.is_empty()
    })
    .await;
    group.admin.delete_expired_commit_log(&master.address().to_string()).await.unwrap();
    assert_eq!(number(&group, &master, "commitLogMinOffset").await, FILE);
    master.stop().await.unwrap();
}

/// It said that it was not connected, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_was_away_for_too_long_says_what_can_be_done() {
    let group = Group::new("expiry-behind").await;
    let master = group.master(0, &SMALL).await;
    ready(&master).await;
    group.create("t", &master).await;
    let store = group.root.join("slave").display().to_string();
    let settings = [&SMALL[..], &[("brokerId", "1"), ("storePathRootDir", store.as_str())]].concat();
    let slave = broker_with(&group.root, "group", &group.namesrvs, 0, &settings).await;
    ready(&slave).await;
    group.producer().await.send_to(&queue("t"), Message::new("t", "copied")).await.unwrap();
    until("the slave has it", async || group.readable(&slave, "t").await == 1).await;
    slave.stop().await.unwrap();
    // Nobody waits for a slave that this process has not seen.
    let port = master.address().port();
    master.stop().await.unwrap();
    let master = group.master(port, &SMALL).await;
    ready(&master).await;
    fill(&group).await;
    expire(&group, &master).await;
    let min = number(&group, &master, "commitLogMinOffset").await;
    assert!(min >= FILE, "{min}");

    let slave = broker_with(&group.root, "group", &group.namesrvs, 0, &settings).await;
    let end = number(&group, &slave, "commitLogMaxOffset").await;
    let state = async || {
        let rows = group.admin.runtime_info(&slave.address().to_string()).await.unwrap();
        rows[runtime_info::SLAVE_STATE].clone()
    };
    until("the slave says so", async || state().await.starts_with("mismatch")).await;
    let reported = state().await;
    let named = [&end.to_string(), &min.to_string(), "storePathRootDir", "volume claim", "Keep this store while"];
    assert!(named.iter().all(|word| reported.contains(word)), "{reported}");
    assert_eq!(slave.ready().unwrap_err(), reported.strip_prefix("mismatch: ").unwrap());
    assert_eq!(group.readable(&slave, "t").await, 1, "it serves what it has");
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
}
