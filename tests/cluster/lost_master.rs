//! A master that comes back with less than its slave has, and logs that do not go together.

use crate::{
    replication::{DEADLINE, Group, queue, ready, replication_address, send, until},
    servers::{broker_with, copy_folder},
};
use rmq_client::{Message, topic};
use rmq_protocol::body::{SubscriptionGroup, runtime_info};
use rmq_server::Broker;
use std::{path::PathBuf, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

const CHECKED: [(&str, &str); 2] = [("checkLogBeforeWrites", "true"), ("expectedSlaves", "1")];

/// A group whose slave has 50 messages, a consumer group and its offset; the master is stopped.
struct Lost {
    group: Group,
    slave: Broker,
    /// Of the master.
    port: u16,
}

impl Lost {
    async fn new(name: &str) -> Self {
        let group = Group::new(name).await;
        let master = group.master(0, &[]).await;
        ready(&master).await;
        group.create("t", &master).await;
        let address = master.address().to_string();
        group.admin.put_consumer_group(&address, &SubscriptionGroup::new("g")).await.unwrap();
        group.admin.set_consumer_offset(&address, "g", &queue("t"), 7).await.unwrap();
        let slave = group.slave().await;
        ready(&slave).await;
        send(&group.producer().await, "t", 0..50).await;
        until("the slave has all", async || group.readable(&slave, "t").await == 50).await;
        let lost = Self { port: master.address().port(), group, slave };
        until("the slave has the offset", async || lost.offset(&lost.slave).await == Some(7)).await;
        master.stop().await.unwrap();
        lost
    }

    fn store(&self) -> PathBuf {
        self.group.root.join("group")
    }

    /// The next master begins with an empty volume.
    fn lose_volume(&self) {
        std::fs::remove_dir_all(self.store()).unwrap();
    }

    async fn master(&self, settings: &[(&str, &str)]) -> Broker {
        self.group.master(self.port, settings).await
    }

    async fn offset(&self, member: &Broker) -> Option<i64> {
        let offsets = self.group.admin.all_consumer_offsets(&member.address().to_string()).await.unwrap();
        offsets.offset_table.get("t@g").and_then(|queues| queues.get(&0)).copied()
    }

    /// The first word of a row of the status, and all of it.
    async fn row(&self, member: &Broker, name: &str) -> (String, String) {
        let text = self.group.admin.runtime_info(&member.address().to_string()).await.unwrap()[name].clone();
        (text.split(':').next().unwrap().to_owned(), text)
    }

    async fn until_closed(&self, master: &Broker) -> String {
        until("somebody has to decide", async || self.row(master, runtime_info::LOG_CHECK).await.0 == "closed").await;
        self.row(master, runtime_info::LOG_CHECK).await.1
    }

    async fn end(&self, member: &Broker) -> u64 {
        let status = self.group.admin.runtime_info(&member.address().to_string()).await.unwrap();
        status["commitLogMaxOffset"].parse().unwrap()
    }

    /// Sends go on, are numbered on, and reach the slave.
    async fn goes_on(&self, master: &Broker, from: i64) {
        ready(master).await;
        let producer = self.group.producer().await;
        let begun = Instant::now();
        until("sends work", async || {
            producer.send_to(&queue("t"), Message::new("t", "after")).await.is_ok() || begun.elapsed() > DEADLINE
        })
        .await;
        until("the slave has it", async || {
            let ends = [self.group.readable(master, "t").await, self.group.readable(&self.slave, "t").await];
            ends == [from + 1; 2]
        })
        .await;
        ready(&self.slave).await;
    }
}

/// It took writes, and once it was longer than its slave that went on behind its own old bytes:
/// 1,000 of 3,000 messages were lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_lost_its_volume_takes_no_writes_and_is_made_whole_from_its_slave() {
    let lost = Lost::new("lost-volume").await;
    lost.lose_volume();
    let master = lost.master(&CHECKED).await;
    let reported = lost.until_closed(&master).await;
    let (slave, end) = (lost.slave.address(), lost.end(&lost.slave).await);
    assert_eq!(reported, format!("closed: the store of this master is new and empty, that of {slave} at {end}"));
    assert!(master.ready().unwrap_err().contains(&reported), "{:?}", master.ready());
    let address = master.address().to_string();
    assert!(lost.group.admin.masters(None).await.unwrap().is_empty(), "it is not registered");
    let refused = lost.group.admin.put_topic(&address, &topic::Config::new("t", 1, 1, topic::READ_WRITE)).await;
    assert!(refused.unwrap_err().to_string().contains("the store of this master is new"));
    assert_eq!(lost.offset(&lost.slave).await, Some(7), "its tables are no empty ones now");

    lost.group.admin.recover_master_from(&address, None).await.unwrap();
    ready(&master).await;
    assert_eq!((lost.group.readable(&master, "t").await, lost.end(&master).await), (50, end));
    assert_eq!(lost.offset(&master).await, Some(7));
    lost.goes_on(&master, 50).await;
    let after = lost.group.admin.accept_loss(&address).await.unwrap_err().to_string();
    assert!(after.contains("nothing to decide"), "{after}");
    master.stop().await.unwrap();
    lost.slave.stop().await.unwrap();
}

/// A group that was opened and has no message yet was closed by each restart of its master, for a
/// log without bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_messages_opens_by_itself() {
    let group = Group::new("idle-group").await;
    let master = group.master(0, &[]).await;
    let port = master.address().port();
    ready(&master).await;
    let slave = group.slave().await;
    ready(&slave).await;
    master.stop().await.unwrap();
    let master = group.master(port, &CHECKED).await;
    ready(&master).await;
    master.stop().await.unwrap();
    std::fs::remove_dir_all(group.root.join("group")).unwrap();
    let master = group.master(port, &CHECKED).await;
    ready(&master).await;
    master.stop().await.unwrap();
    slave.stop().await.unwrap();
}

/// A restart of a master that waited for a decision found a store that was there, and opened it.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_waits_for_a_decision_waits_after_a_restart_too() {
    let lost = Lost::new("waits-again").await;
    lost.lose_volume();
    for _ in 0..2 {
        let master = lost.master(&CHECKED).await;
        lost.until_closed(&master).await;
        master.stop().await.unwrap();
    }
    let master = lost.master(&CHECKED).await;
    lost.until_closed(&master).await;
    lost.group.admin.recover_master_from(&master.address().to_string(), None).await.unwrap();
    ready(&master).await;
    master.stop().await.unwrap();
    let master = lost.master(&CHECKED).await;
    ready(&master).await;
    lost.goes_on(&master, 50).await;
    master.stop().await.unwrap();
    lost.slave.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_accepted_opens_the_master_and_leaves_the_slave_its_log() {
    let lost = Lost::new("accepted-loss").await;
    lost.lose_volume();
    let master = lost.master(&CHECKED).await;
    lost.until_closed(&master).await;
    lost.group.admin.accept_loss(&master.address().to_string()).await.unwrap();
    ready(&master).await;
    until("the slave says why it copies nothing", async || {
        lost.row(&lost.slave, runtime_info::SLAVE_STATE).await.0 == "mismatch"
    })
    .await;
    assert_eq!(lost.group.readable(&lost.slave, "t").await, 50);
    master.stop().await.unwrap();
    lost.slave.stop().await.unwrap();
}

/// As after a power cut, or on a volume that was restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_with_less_than_its_slave_takes_no_writes_and_gets_what_it_lacks() {
    let lost = Lost::new("shorter-master").await;
    let saved = lost.group.root.join("saved");
    copy_folder(&lost.store(), &saved, |from, to| {
        std::fs::copy(from, to).unwrap();
    });
    let master = lost.master(&[]).await;
    ready(&master).await;
    send(&lost.group.producer().await, "t", 50..80).await;
    until("the slave has all", async || lost.group.readable(&lost.slave, "t").await == 80).await;
    master.stop().await.unwrap();
    std::fs::remove_dir_all(lost.store()).unwrap();
    std::fs::rename(saved, lost.store()).unwrap();

    let master = lost.master(&CHECKED).await;
    let reported = lost.until_closed(&master).await;
    assert!(reported.contains("the log of this master ends at "), "{reported}");
    assert_eq!(lost.group.readable(&lost.slave, "t").await, 80);
    let slave = lost.slave.address().to_string();
    lost.group.admin.recover_master_from(&master.address().to_string(), Some(&slave)).await.unwrap();
    ready(&master).await;
    assert_eq!(lost.group.readable(&master, "t").await, 80);
    lost.goes_on(&master, 80).await;
    master.stop().await.unwrap();
    lost.slave.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_as_long_as_its_slave_opens_by_itself() {
    let lost = Lost::new("whole-master").await;
    let master = lost.master(&CHECKED).await;
    ready(&master).await;
    assert_eq!(lost.row(&master, runtime_info::LOG_CHECK).await.0, "open");
    lost.goes_on(&master, 50).await;
    master.stop().await.unwrap();
    lost.slave.stop().await.unwrap();
}

/// Without the check, as Java's masters start. The offsets fitted once the new log had grown, and
/// that was all that was asked.
#[tokio::test(flavor = "multi_thread")]
async fn logs_that_differ_never_go_on_together() {
    let lost = Lost::new("differing-logs").await;
    let before = lost.end(&lost.slave).await;
    lost.lose_volume();
    let master = lost.master(&[]).await;
    ready(&master).await;
    lost.group.create("t", &master).await;
    let producer = lost.group.producer().await;
    until("the slave knows that its log is the longer one", async || {
        lost.row(&lost.slave, runtime_info::SLAVE_STATE).await.0 == "mismatch"
    })
    .await;
    until("the new log is longer", async || {
        producer.send_to(&queue("t"), Message::new("t", "another")).await.unwrap();
        lost.end(&master).await > before + 1000
    })
    .await;
    until("the slave knows that the logs differ", async || {
        lost.row(&lost.slave, runtime_info::SLAVE_STATE).await.1.contains("the logs differ")
    })
    .await;
    assert_eq!(lost.end(&lost.slave).await, before, "nothing was appended");
    assert_eq!((lost.group.readable(&lost.slave, "t").await, lost.offset(&lost.slave).await), (50, Some(7)));
    let unready = lost.slave.ready().unwrap_err();
    assert!(unready.contains("the logs differ"), "{unready}");
    let status = lost.group.admin.ha_status(&master.address().to_string()).await.unwrap();
    assert_eq!(status.in_sync_slave_nums, 0);
    master.stop().await.unwrap();
    lost.slave.stop().await.unwrap();
}

/// It began at its master's last file and counted as in sync with a hole before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_slave_gets_the_whole_log_that_is_retained() {
    let group = Group::new("whole-log").await;
    let small = [("mappedFileSizeCommitLog", "1048576"), ("maxMessageSize", "65536")];
    let master = group.master(0, &small).await;
    ready(&master).await;
    group.create("t", &master).await;
    let producer = group.producer().await;
    for _ in 0..60 {
        producer.send_to(&queue("t"), Message::new("t", vec![7; 60_000])).await.unwrap();
    }
    let store = group.root.join("slave").display().to_string();
    let settings = [small[0], small[1], ("brokerId", "1"), ("storePathRootDir", store.as_str())];
    let slave = broker_with(&group.root, "group", &group.namesrvs, 0, &settings).await;
    ready(&slave).await;
    let address = slave.address().to_string();
    until("it has all", async || {
        group.readable(&slave, "t").await == 60 && group.admin.min_offset(&address, "t", 0).await.unwrap() == 0
    })
    .await;
    assert!(group.admin.runtime_info(&address).await.unwrap()["commitLogMinOffset"] == "0");
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
}

/// A slave near the end of the number range, before its log, or that comes with thirty connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_no_slave_is_sent_nothing_and_keeps_no_slave_out() {
    let group = Group::new("hostile-slave").await;
    let master = group.master(0, &[]).await;
    ready(&master).await;
    let address = replication_address(&master);
    for offset in [i64::MAX as u64, i64::MAX as u64 - 1, 1 << 63, u64::MAX] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(&offset.to_be_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest).await;
        assert!(rest.len() <= 12, "at {offset} no more than a heartbeat, then the end: {rest:?}");
    }
    let mut silent = Vec::new();
    let mut refused = 0;
    for _ in 0..30 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        let mut peer = socket.connect(address).await.unwrap();
        peer.write_all(&0_u64.to_be_bytes()).await.unwrap();
        // A heartbeat, or the end.
        if peer.read_exact(&mut [0; 12]).await.is_err() {
            refused += 1;
        }
        silent.push(peer);
    }
    assert_eq!(refused, 22, "connections of one address that are refused");
    let slave = group.slave().await;
    ready(&slave).await;
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
}
