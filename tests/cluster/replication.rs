//! A master and its slave: the log, the tables, and what an acknowledgement is worth.

use crate::{
    pulls::{Pulled, Puller},
    servers::{broker_with, folder, namesrv},
};
use bytes::Bytes;
use futures::future::join_all;
use rmq_client::{
    Admin, Message, MessageQueue, Producer,
    producer::{Options, SendStatus},
    topic,
};
use rmq_namesrv::Namesrv;
use rmq_protocol::{ResponseCode, body::SubscriptionGroup};
use rmq_server::Broker;
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A namesrv and the folder of a broker group `group`.
pub(crate) struct Group {
    pub(crate) root: PathBuf,
    pub(crate) namesrvs: String,
    pub(crate) admin: Admin,
    _namesrv: Namesrv,
}

impl Group {
    pub(crate) async fn new(name: &str) -> Self {
        let root = folder(name);
        let namesrv = namesrv(&root).await;
        let namesrvs = namesrv.local_addr().to_string();
        Self { admin: Admin::new(&namesrvs).unwrap(), root, namesrvs, _namesrv: namesrv }
    }

    pub(crate) async fn master(&self, port: u16, settings: &[(&str, &str)]) -> Broker {
        broker_with(&self.root, "group", &self.namesrvs, port, settings).await
    }

    pub(crate) async fn slave(&self) -> Broker {
        let store = self.root.join("slave").display().to_string();
        let settings = [("brokerId", "1"), ("storePathRootDir", store.as_str())];
        broker_with(&self.root, "group", &self.namesrvs, 0, &settings).await
    }

    pub(crate) async fn producer(&self) -> Producer {
        let mut options = Options::new(&self.namesrvs, "p");
        options.retries = 0;
        Producer::start(options).await.unwrap()
    }

    pub(crate) async fn create(&self, topic: &str, master: &Broker) {
        let config = topic::Config::new(topic, 1, 1, topic::READ_WRITE);
        self.admin.put_topic(&master.address().to_string(), &config).await.unwrap();
    }

    /// A slave that follows with an empty log, as far as the master knows, and says nothing more.
    async fn silent_slave(&self, master: &Broker) -> TcpStream {
        let mut slave = TcpStream::connect(replication_address(master)).await.unwrap();
        slave.write_all(&0_u64.to_be_bytes()).await.unwrap();
        let address = master.address().to_string();
        until("the master counts it", async || self.admin.ha_status(&address).await.unwrap().in_sync_slave_nums == 1)
            .await;
        slave
    }

    /// Messages that this member can hand out.
    pub(crate) async fn readable(&self, member: &Broker, topic: &str) -> i64 {
        self.admin.max_offset(&member.address().to_string(), topic, 0).await.unwrap_or(0)
    }
}

pub(crate) fn replication_address(master: &Broker) -> SocketAddr {
    let mut address = master.address();
    address.set_port(address.port() + 1);
    address
}

pub(crate) async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "waited {DEADLINE:?} until {what}");
}

pub(crate) async fn ready(broker: &Broker) {
    until("the broker is ready", async || broker.ready().is_ok()).await;
}

pub(crate) fn queue(topic: &str) -> MessageQueue {
    MessageQueue { broker_name: "group".into(), queue_id: 0, topic: topic.into() }
}

pub(crate) async fn send(producer: &Producer, topic: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        producer.send_to(&queue(topic), Message::new(topic, Bytes::from(number.to_string()))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_gets_messages_topics_groups_and_offsets() {
    let group = Group::new("slave-gets").await;
    let master = group.master(0, &[]).await;
    ready(&master).await;
    group.create("t", &master).await;
    let address = master.address().to_string();
    group.admin.put_consumer_group(&address, &SubscriptionGroup::new("g")).await.unwrap();
    group.admin.set_consumer_offset(&address, "g", &queue("t"), 7).await.unwrap();
    let producer = group.producer().await;
    send(&producer, "t", 0..100).await;

    let slave = group.slave().await;
    ready(&slave).await;
    until("the slave has the messages", async || group.readable(&slave, "t").await == 100).await;
    send(&producer, "t", 100..200).await;
    until("the slave has the new ones too", async || group.readable(&slave, "t").await == 200).await;

    let address = slave.address().to_string();
    until("the slave has the tables", async || {
        let topic = group.admin.topic_config(&address, "t").await.unwrap();
        let known = group.admin.consumer_group(&address, "g").await.unwrap();
        let offsets = group.admin.all_consumer_offsets(&address).await.unwrap();
        topic.is_some()
            && known.is_some()
            && offsets.offset_table.get("t@g").is_some_and(|queues| queues.get(&0) == Some(&7))
    })
    .await;
    let status = group.admin.ha_status(&master.address().to_string()).await.unwrap();
    assert_eq!((status.in_sync_slave_nums, status.ha_connection_info.len()), (1, 1));
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_master_acknowledges_what_a_slave_has_and_refuses_without_one() {
    let group = Group::new("sync-master").await;
    let master = group.master(0, &[("brokerRole", "SYNC_MASTER"), ("inSyncReplicas", "2")]).await;
    ready(&master).await;
    group.create("t", &master).await;
    let producer = group.producer().await;
    let refused = producer.send_to(&queue("t"), Message::new("t", "alone")).await.unwrap_err().to_string();
    assert!(refused.contains("members of this broker group keep up"), "{refused}");

    let slave = group.slave().await;
    ready(&slave).await;
    until("the master counts its slave", async || {
        group.admin.ha_status(&master.address().to_string()).await.unwrap().in_sync_slave_nums == 1
    })
    .await;
    for number in 0..50 {
        producer.send_to(&queue("t"), Message::new("t", Bytes::from(number.to_string()))).await.unwrap();
        let status = group.admin.ha_status(&master.address().to_string()).await.unwrap();
        assert_eq!(status.ha_connection_info[0].diff, 0, "acknowledged before the slave had it");
    }
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_came_before_its_master_finds_it_when_it_comes() {
    let group = Group::new("slave-first").await;
    let slave = group.slave().await;
    until("it is registered and says what it waits for", async || {
        slave.ready().unwrap_err() == "not connected to the master"
    })
    .await;
    let master = group.master(0, &[]).await;
    ready(&master).await;
    group.create("t", &master).await;
    send(&group.producer().await, "t", 0..20).await;
    until("the slave has the messages", async || group.readable(&slave, "t").await == 20).await;
    ready(&slave).await;
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
}

/// It moved the group's offsets to where it was itself, and messages were skipped or came again.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_corrects_no_offset_and_parks_pulls_when_its_master_is_gone() {
    let group = Group::new("slave-reads").await;
    let master = group.master(0, &[]).await;
    ready(&master).await;
    group.create("t", &master).await;
    group.admin.put_consumer_group(&master.address().to_string(), &SubscriptionGroup::new("g")).await.unwrap();
    send(&group.producer().await, "t", 0..20).await;
    let slave = group.slave().await;
    ready(&slave).await;
    until("the slave has the messages", async || group.readable(&slave, "t").await == 20).await;
    let address = slave.address().to_string();
    until("the slave has the group", async || group.admin.consumer_group(&address, "g").await.unwrap().is_some()).await;

    let puller = Puller::new(&address, "t", "g");
    let read = puller.pull(10, Duration::from_secs(1), None).await;
    assert_eq!((read.code, read.next_offset), (ResponseCode::Success, 20));
    assert!(read.bytes > 0);
    for beyond in [20, 1000] {
        let sent_back = puller.pull(beyond, Duration::from_secs(1), None).await;
        let to_the_master =
            Pulled { code: ResponseCode::PullRetryImmediately, next_offset: beyond, suggested_broker_id: 0, bytes: 0 };
        assert_eq!(sent_back, to_the_master);
    }

    master.stop().await.unwrap();
    until("the slave misses its master", async || slave.ready().is_err()).await;
    assert_eq!(puller.pull(0, Duration::from_secs(1), None).await.next_offset, 20);
    for beyond in [20, 1000] {
        let begun = Instant::now();
        let waited = puller.pull(beyond, Duration::from_secs(1), None).await;
        assert_eq!((waited.code, waited.next_offset), (ResponseCode::PullNotFound, beyond));
        assert!(begun.elapsed() >= Duration::from_secs(1), "it answered after {:?}", begun.elapsed());
    }
    slave.stop().await.unwrap();
}

/// A member that follows and never says how far it has come.
#[tokio::test(flavor = "multi_thread")]
async fn sends_that_wait_for_a_silent_slave_get_a_slave_timeout() {
    let group = Group::new("silent-slave").await;
    let settings = [
        ("brokerRole", "SYNC_MASTER"),
        ("inSyncReplicas", "2"),
        ("flushDiskType", "SYNC_FLUSH"),
        ("slaveTimeout", "300"),
    ];
    let master = group.master(0, &settings).await;
    ready(&master).await;
    group.create("t", &master).await;
    let producer = group.producer().await;
    let silent = group.silent_slave(&master).await;
    let there = queue("t");
    let sends = (0..20).map(|number: i32| producer.send_to(&there, Message::new("t", number.to_string())));
    let statuses: Vec<_> = join_all(sends).await.into_iter().map(|sent| sent.unwrap().status).collect();
    assert_eq!(statuses, [SendStatus::FlushSlaveTimeout; 20]);
    assert_eq!(group.readable(&master, "t").await, 20);
    drop(silent);
    master.stop().await.unwrap();
}

/// `brokerStatus` told of no send that waited, however long.
#[tokio::test(flavor = "multi_thread")]
async fn sends_that_wait_for_a_slave_are_in_the_status_of_their_broker() {
    let group = Group::new("waiting-sends").await;
    let settings = [("brokerRole", "SYNC_MASTER"), ("inSyncReplicas", "2"), ("slaveTimeout", "60000")];
    let master = group.master(0, &settings).await;
    ready(&master).await;
    group.create("t", &master).await;
    let producer = group.producer().await;
    let mut late = group.silent_slave(&master).await;
    let address = master.address().to_string();
    let there = queue("t");
    let sends = join_all((0..3).map(|number: i32| producer.send_to(&there, Message::new("t", number.to_string()))));
    let looks = async {
        let waiting = async || group.admin.runtime_info(&address).await.unwrap();
        until("they wait", async || {
            let status = waiting().await;
            status["sendThreadPoolQueueSize"] == "3" && status["sendThreadPoolQueueHeadWaitTimeMills"] != "0"
        })
        .await;
        let end: u64 = waiting().await["commitLogMaxOffset"].parse().unwrap();
        late.write_all(&end.to_be_bytes()).await.unwrap();
        until("nobody waits", async || waiting().await["sendThreadPoolQueueSize"] == "0").await;
    };
    let (sent, ()) = tokio::join!(sends, looks);
    assert!(sent.iter().all(|sent| sent.as_ref().is_ok_and(|sent| sent.status == SendStatus::Ok)), "{sent:?}");
    drop(late);
    master.stop().await.unwrap();
}

/// A report beyond the end of the log counted before it was refused, and confirmed everything up to
/// the end.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_claims_more_than_there_is_confirms_nothing() {
    let group = Group::new("false-report").await;
    let master = group.master(0, &[("brokerRole", "SYNC_MASTER"), ("inSyncReplicas", "2")]).await;
    ready(&master).await;
    group.create("t", &master).await;
    let producer = group.producer().await;
    let replication = replication_address(&master);
    for beyond in [1_u64, 1 << 40, u64::MAX] {
        let mut stream = TcpStream::connect(replication).await.unwrap();
        stream.write_all(&beyond.to_be_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() <= 12, "no more than a heartbeat, then the connection is closed: {rest:?}");
        let refused = producer.send_to(&queue("t"), Message::new("t", "alone")).await.unwrap_err().to_string();
        assert!(refused.contains("members of this broker group keep up"), "{refused}");
    }
    master.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_were_away_go_on_where_they_were() {
    let group = Group::new("away").await;
    let master = group.master(0, &[]).await;
    let port = master.address().port();
    ready(&master).await;
    group.create("t", &master).await;
    let slave = group.slave().await;
    ready(&slave).await;
    let producer = group.producer().await;
    send(&producer, "t", 0..50).await;
    until("the slave has them", async || group.readable(&slave, "t").await == 50).await;

    slave.stop().await.unwrap();
    send(&producer, "t", 50..100).await;
    let slave = group.slave().await;
    until("the slave has caught up", async || group.readable(&slave, "t").await == 100).await;

    master.stop().await.unwrap();
    assert!(group.admin.masters(None).await.unwrap().is_empty(), "it has said goodbye to the namesrv");
    assert_eq!(group.readable(&slave, "t").await, 100, "a slave serves without its master");
    let refused = producer.send_to(&queue("t"), Message::new("t", "nobody")).await;
    assert!(refused.is_err());
    let master = group.master(port, &[]).await;
    ready(&master).await;
    until("sends work again", async || producer.send_to(&queue("t"), Message::new("t", "back")).await.is_ok()).await;
    until("the slave follows the new process", async || {
        let (there, here) = (group.readable(&master, "t").await, group.readable(&slave, "t").await);
        there > 100 && there == here
    })
    .await;
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
}
