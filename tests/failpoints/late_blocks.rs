//! A broker whose disk is late with blocks, or with the next file of the log: who waits for it, who
//! does not, and what they are told.

use crate::servers::{ask, broker_with, folder, free_port, namesrv, wait_for_masters};
use crate::{ALONE, DEADLINE, Running, queue};
use bytes::Bytes;
use futures::future::{join, join_all};
use rmq_client::{Admin, PullConsumer, topic};
use rmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{ConsumerData, Heartbeat, Subscription, SubscriptionGroup},
    fastjson,
    header::{ConsumerSendMessageBack, Empty, PullMessage, SendMessageV2},
    message::{Message, batch, sys_flag::pull},
};
use rmq_store::fail_point::{Armed, Fault, arm};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Every step the disk is asked for before there is room for a message.
const POINTS: [&str; 5] =
    ["commit_log::create", "commit_log::sync_new", "directory::sync", "commit_log::allocate", "commit_log::touch"];
/// Until what is ready is used up no more than two files have to be filled.
const FILE: &str = "1048576";
const SMALL_FILES: [(&str, &str); 2] = [("mappedFileSizeCommitLog", FILE), ("maxMessageSize", "65536")];
const BODY: usize = 30_000;
/// What Java's clients wait for a send unless told otherwise.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3);
/// Well below what those wait who need blocks.
const PROMPT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
const GROUP: &str = "late-g";

/// One connection.
struct Client {
    remoting: rmq_remoting::Client,
    address: String,
}

impl Client {
    fn new(address: &str) -> Self {
        let remoting = rmq_remoting::Client::new(Arc::new(()), rmq_remoting::Limits::default());
        Self { remoting, address: address.to_owned() }
    }

    /// The answer's code and words, and how long it took.
    async fn ask(&self, request: Command) -> (ResponseCode, String, Duration) {
        let begun = Instant::now();
        let answer = self.remoting.request(&self.address, request, DEADLINE).await.unwrap();
        let code = ResponseCode::from_number(answer.code).unwrap();
        (code, answer.remark.unwrap_or_default(), begun.elapsed())
    }

    /// Sends numbers from `first` on until one is not taken; returns that, and its answer.
    async fn send_until_refused(&self, first: u32) -> (u32, (ResponseCode, String, Duration)) {
        let mut number = first;
        loop {
            match self.ask(send(number)).await {
                (ResponseCode::Success, ..) => number += 1,
                refused => return (number, refused),
            }
        }
    }
}

fn body(number: u32) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(BODY, 1);
    body
}

fn to_topic(code: RequestCode, topic: &str, body: impl Into<Bytes>) -> Command {
    let header = SendMessageV2 {
        producer_group: "late-p",
        topic,
        default_topic: "TBW102",
        default_topic_queues: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1,
        flag: 0,
        properties: None,
        reconsume_times: None,
        unit_mode: None,
        max_reconsume_times: None,
        batch: Some(code == RequestCode::SendBatchMessage),
        broker_name: None,
    };
    Command::request(code, &header).with_body(body)
}

fn send(number: u32) -> Command {
    to_topic(RequestCode::SendMessageV2, "slow", body(number))
}

/// Both of a batch.
fn send_batch(first: u32) -> Command {
    let messages = [first, first + 1].map(|number| Message::new("slow", body(number)));
    to_topic(RequestCode::SendBatchMessage, "slow", batch::encode(&messages).unwrap())
}

/// The first message of the log.
fn send_back() -> Command {
    let header = ConsumerSendMessageBack {
        offset: 0,
        group: GROUP,
        delay_level: 0,
        origin_message_id: None,
        origin_topic: None,
        unit_mode: None,
        max_reconsume_times: None,
    };
    Command::request(RequestCode::ConsumerSendMessageBack, &header)
}

fn pull_first() -> Command {
    let header = PullMessage {
        consumer_group: GROUP,
        topic: "slow",
        queue_id: 0,
        queue_offset: 0,
        max_messages: 1,
        sys_flag: pull::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout: 0,
        subscription: Some("*"),
        subscription_version: 0,
        expression_type: None,
        max_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
    };
    Command::request(RequestCode::PullMessage, &header)
}

fn heartbeat() -> Command {
    let group = ConsumerData {
        group_name: GROUP.into(),
        subscription_data_set: vec![Subscription::tags("slow", "*", 1)],
        ..ConsumerData::default()
    };
    let heartbeat =
        Heartbeat { client_id: "127.0.0.1@late".into(), consumer_data_set: vec![group], ..Heartbeat::default() };
    Command::request(RequestCode::HeartBeat, &Empty {}).with_body(fastjson::to_vec(&heartbeat))
}

/// A figure of the page that `labels` are part of.
async fn figure(http: SocketAddr, name: &str, labels: &str) -> usize {
    let (_, page) = ask(http, "/metrics").await;
    let line = page.lines().find(|line| line.starts_with(name) && line.contains(labels));
    let value = line.and_then(|line| line.rsplit(' ').next()).unwrap_or_else(|| panic!("{name} is not in {page}"));
    value.parse::<f64>().unwrap() as usize
}

async fn in_line(http: SocketAddr) -> usize {
    figure(http, "rocketmq_processor_watermark", "processor=\"blocks\"").await
}

/// Waits until so many requests stand in line.
async fn wait_for_line(http: SocketAddr, count: usize) {
    let waiting = async {
        loop {
            let now = in_line(http).await;
            if now == count {
                break;
            }
            assert!(now < count || count == 0, "{now} requests wait for blocks, more than were sent");
        }
    };
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "never {count} requests waited for blocks");
}

/// Reads all messages of the queue, which must be the numbers up to `count`.
async fn read(namesrvs: &str, count: u32) {
    let reader = PullConsumer::start(namesrvs, GROUP).await.unwrap();
    let mut numbers = Vec::new();
    let all = async {
        while numbers.len() < count as usize {
            let pulled = reader.pull(&queue(), numbers.len() as i64, 32, true).await.unwrap();
            let messages = pulled.messages().unwrap();
            numbers.extend(messages.iter().map(|m| u32::from_be_bytes(*m.message.body.first_chunk().unwrap())));
        }
    };
    assert!(tokio::time::timeout(DEADLINE, all).await.is_ok(), "{} of {count} messages came", numbers.len());
    assert!(numbers.into_iter().eq(0..count));
    reader.stop().await;
}

/// A broker with small files, its HTTP port, and a connection to it.
async fn start(name: &str) -> (Running, SocketAddr, Client) {
    let port = free_port().to_string();
    let settings = [&SMALL_FILES[..], &[("httpPort", &port)]].concat();
    let running = Running::start(name, &settings).await;
    let address = running.broker.address().to_string();
    let admin = Admin::new(&running.namesrvs).unwrap();
    admin.put_consumer_group(&address, &SubscriptionGroup::new(GROUP)).await.unwrap();
    let http = running.broker.http_address().unwrap();
    (running, http, Client::new(&address))
}

/// Appends waited for the disk on the threads of their connections: for 5 s, longer than any
/// client, nothing else was answered there.
#[tokio::test(flavor = "multi_thread")]
async fn only_sends_wait_for_a_disk_that_is_late_with_blocks() {
    let _alone = ALONE.lock().await;
    for point in POINTS {
        let (running, http, client) = start(&point.replace("::", "-")).await;
        assert_eq!(client.ask(send(0)).await.0, ResponseCode::Success, "{point}");
        let slow = arm(point, Fault::Delay(Duration::from_secs(600)), 0, u64::MAX);
        let (taken, (code, remark, took)) = client.send_until_refused(1).await;
        assert!(slow.struck() > 0, "{point} was never met");
        assert_eq!(code, ResponseCode::SystemBusy, "{point}: {remark}");
        assert!(remark.starts_with("[PC_SYNCHRONIZED]"), "{point}: {remark}");
        assert!(took < CLIENT_TIMEOUT, "{point}: refused after {took:?}");

        while_others_wait(point, &running, http, &client).await;
        after(point, slow, &running, http, &client, taken).await;
        running.stop().await;
    }
}

/// All kinds of puts wait; nothing else does, on their connection or on others.
async fn while_others_wait(point: &str, running: &Running, http: SocketAddr, client: &Client) {
    let address = running.broker.address().to_string();
    // More than there are threads on any but a large machine, so that one of them is on the same
    // thread.
    let others: Vec<_> = (0..4).map(|_| Client::new(&address)).collect();
    let mut puts: Vec<_> = (1000..1010).map(send).collect();
    puts.push(send_batch(1010));
    puts.push(send_back());
    puts.push(to_topic(RequestCode::SendReplyMessageV2, "slow", body(1012)));
    puts.push(to_topic(RequestCode::SendMessageV2, "new", body(1013)));
    let count = puts.len();
    let refused = join_all(puts.into_iter().map(|put| client.ask(put)));
    let meanwhile = async {
        wait_for_line(http, count).await;
        let bytes = figure(http, "rocketmq_broker_stalled_send_bytes", "").await;
        assert!((15 * BODY..16 * BODY).contains(&bytes), "{point}: {bytes} bytes wait");
        for client in others.iter().chain([client]) {
            for (request, wanted) in [(pull_first(), ResponseCode::Success), (heartbeat(), ResponseCode::Success)] {
                let (code, remark, took) = client.ask(request).await;
                assert_eq!(code, wanted, "{point}: {remark}");
                assert!(took < PROMPT, "{point}: answered after {took:?}");
            }
        }
    };
    for (code, remark, took) in join(refused, meanwhile).await.0 {
        assert_eq!(code, ResponseCode::SystemBusy, "{point}: {remark}");
        assert!(took < CLIENT_TIMEOUT, "{point}: refused after {took:?}");
    }
    wait_for_line(http, 0).await;
    assert_eq!(figure(http, "rocketmq_broker_stalled_send_bytes", "").await, 0, "{point}");
}

/// Once the disk is quick again everything is taken, and what was refused is not there.
async fn after(point: &str, slow: Armed, running: &Running, http: SocketAddr, client: &Client, taken: u32) {
    drop(slow);
    let sent = async { while client.ask(send(taken)).await.0 != ResponseCode::Success {} };
    assert!(tokio::time::timeout(DEADLINE, sent).await.is_ok(), "{point}: nothing is taken any more");
    for put in [send_batch(taken + 1), send_back(), to_topic(RequestCode::SendMessageV2, "new", body(0))] {
        let (code, remark, _) = client.ask(put).await;
        assert_eq!(code, ResponseCode::Success, "{point}: {remark}");
    }
    read(&running.namesrvs, taken + 3).await;
    assert!(figure(http, "rocketmq_store_late_blocks_total", "").await > 0, "{point}");
    assert_eq!(in_line(http).await, 0, "{point}");
    // The topic was made by the attempt that found no blocks; the one that stored the message did
    // not know that it was new.
    let topics = running.root.join("slow/config/topics.json");
    let written = async {
        while !std::fs::read_to_string(&topics).is_ok_and(|topics| topics.contains("\"new\"")) {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, written).await.is_ok(), "{point}: a new topic is not written");
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_that_get_blocks_in_time_are_stored() {
    let _alone = ALONE.lock().await;
    let (running, http, client) = start("late-in-time").await;
    assert_eq!(client.ask(send(0)).await.0, ResponseCode::Success);
    let slow = arm("commit_log::allocate", Fault::Delay(Duration::from_secs(600)), 0, u64::MAX);
    // More than the two files hold that may be ready.
    let sends = join_all((1..100).map(|number| client.ask(send(number))));
    let quick_again = async {
        while in_line(http).await == 0 {}
        drop(slow);
    };
    let (answers, ()) = tokio::time::timeout(DEADLINE, join(sends, quick_again)).await.expect("answers in time");
    assert!(answers.iter().all(|(code, ..)| *code == ResponseCode::Success), "{answers:?}");
    wait_for_line(http, 0).await;
    let max_offset = Admin::new(&running.namesrvs).unwrap().max_offset(&client.address, "slow", 0).await.unwrap();
    assert_eq!(max_offset, 100);
    running.stop().await;
}

/// A slave appended on a thread of the runtime, which served nobody until the disk had answered.
/// Here there is no other thread.
#[tokio::test]
async fn a_slave_whose_disk_is_late_with_blocks_delays_no_other() {
    let _alone = ALONE.lock().await;
    let root = folder("late-slave");
    let names = namesrv(&root).await;
    let namesrvs = names.local_addr().to_string();
    let master = broker_with(&root, "slow", &namesrvs, 0, &SMALL_FILES).await;
    wait_for_masters(&namesrvs, 1).await;
    let address = master.address().to_string();
    let admin = Admin::new(&namesrvs).unwrap();
    admin.put_topic(&address, &topic::Config::new("slow", 1, 1, topic::READ_WRITE)).await.unwrap();
    let client = Client::new(&address);
    for number in 0..20 {
        assert_eq!(client.ask(send(number)).await.0, ResponseCode::Success);
    }
    // The next one it makes will not be the master's.
    let second_file = root.join("slow/commitlog").join(format!("{FILE:0>20}"));
    let made = async {
        while !second_file.exists() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, made).await.expect("the master's second file");

    let slow = Arc::new(arm("commit_log::create", Fault::Delay(Duration::from_secs(600)), 0, u64::MAX));
    let store = root.join("slave").display().to_string();
    let settings = [&SMALL_FILES[..], &[("brokerId", "1"), ("storePathRootDir", &store)]].concat();
    let slave = broker_with(&root, "slow", &namesrvs, 0, &settings).await;
    let struck = tokio::task::spawn_blocking({
        let slow = Arc::clone(&slow);
        move || slow.wait().then(Instant::now)
    });
    let struck = struck.await.unwrap().expect("the slave has nothing to append");
    assert!(struck.elapsed() < PROMPT, "the runtime stood still for {:?}", struck.elapsed());

    drop(slow);
    let on_slave = async {
        while admin.max_offset(&slave.address().to_string(), "slow", 0).await.unwrap_or(0) < 20 {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, on_slave).await.is_ok(), "the slave does not follow");
    slave.stop().await.unwrap();
    master.stop().await.unwrap();
    names.stop().await;
}
