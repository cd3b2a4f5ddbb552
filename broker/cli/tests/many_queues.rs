//! A broker with very many queues: what it costs in time to start, open files, mappings and memory,
//! and that it can still be asked for its figures.
//!
//! `QUEUES=100000` is what a large broker has and takes some minutes; the usual run has fewer. Each
//! topic has a consumer group, so that nothing is missing that grows with topics. What entries of
//! busy queues occupy is for the store's own test of many queues.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]
#![expect(clippy::print_stdout, reason = "what was measured")]

#[allow(dead_code, reason = "shared with the other tests of this folder")]
mod process;

use process::{Broker, given, namesrv, ports::free_port, until};
use rmq_client::{Admin, Message, MessageQueue, Producer, producer::Options};
use rmq_protocol::{
    body::{ConsumerOffsetTable, TopicConfig, TopicConfigTable},
    fastjson,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const BROKER: &str = "broker-a";
const QUEUES_OF_A_TOPIC: usize = 8;
const SENDERS: usize = 32;

/// Consume queue files, and what else a broker has open: some for each core of the machine.
const OPEN_FILES: usize = 512 + 400;
/// Most are stacks and heaps of threads, of which there are some for each core too.
const MAPPINGS: usize = 1000;
/// Of anonymous memory.
const BYTES_A_QUEUE: usize = 1024;
const OTHER_MEMORY: usize = 100 << 20;
/// Until namesrvs know all topics.
const START: Duration = Duration::from_secs(10);
/// A scraper waits for ten seconds unless told otherwise.
const ANSWER: Duration = Duration::from_secs(5);

fn topic(number: usize) -> String {
    format!("topic-{number}")
}

/// The tables of a broker that has these topics, each with a group that has finished nothing.
fn write_tables(folder: &Path, topics: usize) {
    let config = folder.join("store/config");
    fs::create_dir_all(&config).unwrap();
    let queues = QUEUES_OF_A_TOPIC as i32;
    let mut table = TopicConfigTable::default();
    let mut offsets = ConsumerOffsetTable::default();
    for name in (0..topics).map(topic) {
        let finished: BTreeMap<i32, i64> = (0..queues).map(|queue| (queue, 0)).collect();
        offsets.offset_table.insert(format!("{name}@group-of-{name}"), finished);
        table.topic_config_table.insert(name.clone(), TopicConfig::new(name, queues, queues, 6));
    }
    fs::write(config.join("topics.json"), fastjson::to_vec_pretty(&table)).unwrap();
    fs::write(config.join("consumerOffset.json"), fastjson::to_vec_pretty(&offsets)).unwrap();
}

/// Starts a broker and waits until it has registered with its namesrv.
fn start(folder: &Path, namesrvs: &str, http_port: u16) -> Broker {
    let http = http_port.to_string();
    let settings = [
        ("brokerName", BROKER),
        ("listenPort", "0"),
        ("haListenPort", "0"),
        ("httpPort", &http),
        // A disk that others have filled is no reason to refuse messages or to delete any.
        ("cleanFileForciblyEnable", "false"),
        ("diskSpaceWarningLevelRatio", "100"),
        // The first stop brings as many new files to the disk as there are queues.
        ("shutdownWaitTimeSeconds", "90"),
    ];
    let begun = Instant::now();
    let broker = Broker::start(folder, namesrvs, &settings);
    until("the broker is ready", || ask(http_port, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));
    let took = begun.elapsed();
    println!("registered after {took:?}");
    assert!(took < START, "{took:?}");
    broker
}

/// The answer, if there is one.
fn ask(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A message for each queue.
async fn fill(namesrvs: &str, topics: usize) {
    let begun = Instant::now();
    let producer = Producer::start(Options::new(namesrvs, "filler")).await.unwrap();
    let next = Arc::<AtomicUsize>::default();
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (producer, next) = (producer.clone(), Arc::clone(&next));
        senders.spawn(async move {
            while let Some(name) = Some(next.fetch_add(1, Relaxed)).filter(|number| *number < topics).map(topic) {
                for queue_id in 0..QUEUES_OF_A_TOPIC as i32 {
                    let queue = MessageQueue { broker_name: BROKER.into(), queue_id, topic: name.clone() };
                    producer.send_to(&queue, Message::new(&*name, "body")).await.unwrap();
                }
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    println!("filled after {:?}", begun.elapsed());
    producer.stop().await;
}

fn figure(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Bytes of anonymous memory of a process.
fn memory(process: &Path) -> usize {
    let status = fs::read_to_string(process.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

fn check_bounds(when: &str, broker: &Broker, http_port: u16, queues: usize) {
    let process = Path::new("/proc").join(broker.process.0.id().to_string());
    let before = memory(&process);
    let begun = Instant::now();
    let page = ask(http_port, "/metrics").unwrap();
    let answer = begun.elapsed();
    let files = fs::read_dir(process.join("fd")).unwrap().count();
    let mappings = fs::read_to_string(process.join("maps")).unwrap().lines().count();
    let memory = memory(&process);
    println!(
        "{when}: {queues} queues, {files} open files, {mappings} mappings, {before} bytes of memory, {memory} after {} bytes of metrics in {answer:?}",
        page.len()
    );
    assert!(files <= OPEN_FILES, "{files} open files {when}");
    assert!(mappings <= MAPPINGS, "{mappings} mappings {when}");
    assert!(memory <= BYTES_A_QUEUE * queues + OTHER_MEMORY, "{memory} bytes {when}");
    assert!(answer <= ANSWER, "metrics after {answer:?} {when}");
    assert!(figure(&page, "rocketmq_store_open_files") <= 512.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_many_queues_starts_soon_and_stays_within_its_bounds() {
    let topics = given::<usize>("QUEUES").unwrap_or(4000) / QUEUES_OF_A_TOPIC;
    let queues = topics * QUEUES_OF_A_TOPIC;
    let folder = tempfile::tempdir().unwrap();
    write_tables(folder.path(), topics);
    let names = namesrv(folder.path()).await;
    let (namesrvs, http_port) = (names.local_addr().to_string(), free_port());

    let broker = start(folder.path(), &namesrvs, http_port);
    let admin = Admin::new(&namesrvs).unwrap();
    assert!(admin.topic_route(&topic(topics - 1)).await.unwrap().is_some(), "a topic has no route");
    admin.close().await;
    check_bounds("started without messages", &broker, http_port, queues);
    fill(&namesrvs, topics).await;
    until("all queues are known", || {
        let page = ask(http_port, "/metrics").unwrap();
        (figure(&page, "rocketmq_store_queues") == queues as f64).then_some(())
    });
    check_bounds("a message in each", &broker, http_port, queues);
    broker.stop();

    let broker = start(folder.path(), &namesrvs, http_port);
    check_bounds("started again", &broker, http_port, queues);
    fill(&namesrvs, topics).await;
    check_bounds("two messages in each", &broker, http_port, queues);
    broker.stop();
    names.stop().await;
}
