//! A broker that is killed without warning, again and again, while producers send: all that it
//! acknowledged is there afterwards, where it said.
//!
//! `KILLS` is how often (10 unless given), `SEED` repeats the moments of a run. What a killed
//! process wrote into mapped files stays in the machine's memory, so this judges what a start makes
//! of files that ended anywhere, under clients; what was never on the disk is for the store's own
//! tests.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

#[allow(dead_code, reason = "shared with the other tests of this folder")]
mod process;

use parking_lot::Mutex;
use process::{Broker, given, namesrv, ports::free_port, until_async};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rmq_client::{
    Admin, Error, Message, MessageExt, MessageQueue, Producer, PullConsumer,
    producer::{Options, Receipt, SendStatus},
    topic,
};
use rmq_protocol::ResponseCode;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::JoinSet};

const DEADLINE: Duration = Duration::from_secs(60);
const BROKER: &str = "broker-a";
const TOPIC: &str = "ledger";
const QUEUES: i32 = 4;
const PRODUCERS: usize = 4;
/// Messages that each producer has under way.
const SENDERS: usize = 8;
/// After so many acknowledgements at most the process is killed.
const MOST: u64 = 500;
/// Every fifth time or so it is killed within this time of its start, whatever it does then.
const STARTING: Duration = Duration::from_millis(150);

/// What the producers know.
#[derive(Default)]
struct Ledger {
    /// By queue and offset, the number of the acknowledged message and the life of the broker in
    /// which it was.
    acknowledged: Mutex<BTreeMap<(i32, i64), (u64, u32)>>,
    noted: Notify,
    next_number: AtomicU64,
    life: AtomicU32,
    stop: AtomicBool,
}

impl Ledger {
    fn note(&self, number: u64, receipt: &Receipt) {
        let place = (receipt.queue.queue_id, receipt.queue_offset);
        let before = self.acknowledged.lock().insert(place, (number, self.life.load(Relaxed)));
        assert!(before.is_none(), "message {number} was given the place {place:?} of message {before:?}");
        self.noted.notify_waiters();
    }

    /// Waits until so many more are acknowledged.
    async fn more(&self, count: u64) {
        let goal = self.acknowledged.lock().len() + count as usize;
        let reached = async {
            loop {
                let noted = self.noted.notified();
                if self.acknowledged.lock().len() >= goal {
                    return;
                }
                noted.await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, reached).await.is_ok(), "{count} more are not acknowledged in time");
    }
}

fn start(folder: &Path, namesrvs: &str, port: u16) -> Broker {
    let port = port.to_string();
    let settings = [
        ("brokerName", BROKER),
        ("listenPort", &port),
        ("haListenPort", "0"),
        ("flushDiskType", "SYNC_FLUSH"),
        // Small files, so that many of each kind are begun and ended.
        ("mappedFileSizeCommitLog", "262144"),
        ("maxMessageSize", "65536"),
        ("mappedFileSizeConsumeQueue", "6000"),
        ("flushIntervalConsumeQueue", "20"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "4000"),
        // A disk that others have filled is no reason to delete any.
        ("cleanFileForciblyEnable", "false"),
    ];
    Broker::start(folder, namesrvs, &settings)
}

async fn create_topic(namesrvs: &str) {
    let admin = Admin::new(namesrvs).unwrap();
    until_async(DEADLINE, "the broker is registered", async || {
        admin.masters(None).await.is_ok_and(|all| all.len() == 1)
    })
    .await;
    let master = admin.master_of(BROKER).await.unwrap();
    admin.put_topic(&master, &topic::Config::new(TOPIC, QUEUES, QUEUES, topic::READ_WRITE)).await.unwrap();
    until_async(DEADLINE, "the topic has a route", async || admin.topic_route(TOPIC).await.unwrap().is_some()).await;
    admin.close().await;
}

fn queue(queue_id: i32) -> MessageQueue {
    MessageQueue { broker_name: BROKER.into(), queue_id, topic: TOPIC.into() }
}

/// The number, and after it bytes that no other message has, of very different count.
fn body(number: u64) -> Vec<u8> {
    let filler = (0..number * 7919 % 3000).map(|at| (number * 31 + at) as u8);
    number.to_be_bytes().into_iter().chain(filler).collect()
}

/// The number of a message, whose body must be that of the number.
fn number(message: &MessageExt) -> u64 {
    let bytes = &message.message.body;
    let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
    assert!(**bytes == *body(number), "message {number} has another body");
    number
}

/// Sends one message after another until told to stop, through all that is done to the broker. A
/// number is sent once.
async fn send(producer: Producer, ledger: Arc<Ledger>) {
    while !ledger.stop.load(Relaxed) {
        let number = ledger.next_number.fetch_add(1, Relaxed);
        let queue = queue((number % QUEUES as u64) as i32);
        match producer.send_to(&queue, Message::new(TOPIC, body(number))).await {
            Ok(receipt) if receipt.status == SendStatus::Ok => ledger.note(number, &receipt),
            Ok(_) => {}
            // It is stopping.
            Err(error) if error.is(ResponseCode::ServiceNotAvailable) => {}
            Err(Error::Connection(_) | Error::NoRoute { .. } | Error::NoBroker { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("message {number}: {error}"),
        }
    }
}

/// Ends the process at some moment. Now and then it is asked to, and so leaves a checkpoint and
/// queues that the next crash has to go on from.
async fn end(broker: Broker, begun: Instant, ledger: &Ledger, random: &mut StdRng) {
    if random.random_ratio(1, 5) {
        let moment = begun + random.random_range(Duration::ZERO..STARTING);
        tokio::time::sleep_until(moment.into()).await;
    } else {
        ledger.more(random.random_range(1..MOST)).await;
        if random.random_ratio(1, 6) {
            return broker.stop();
        }
        // Acknowledgements come in groups, after a flush; other moments are wanted too.
        tokio::time::sleep(random.random_range(Duration::ZERO..Duration::from_millis(5))).await;
    }
    broker.kill();
}

/// The numbers of all messages of a queue, which is read from its beginning.
async fn read(reader: &PullConsumer, queue: &MessageQueue, last: i64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let begun = Instant::now();
    let mut end = last + 1;
    while (numbers.len() as i64) < end {
        assert!(begun.elapsed() < DEADLINE, "{queue:?} ends at {} instead of {end}", numbers.len());
        let pulled = reader.pull(queue, numbers.len() as i64, 32, true).await.unwrap();
        assert_eq!(pulled.min, 0);
        for message in pulled.messages().unwrap() {
            assert_eq!(message.queue_offset, numbers.len() as u64, "{queue:?} has a gap, or goes back");
            numbers.push(number(&message));
        }
        end = end.max(pulled.max);
    }
    numbers
}

/// Compares the ledger with what a consumer gets; returns how many messages that is.
async fn compare(namesrvs: &str, ledger: &Ledger) -> usize {
    let reader = PullConsumer::start(namesrvs, "auditor").await.unwrap();
    until_async(DEADLINE, "the topic has its route again", async || {
        reader.queues(TOPIC).await.is_ok_and(|queues| queues.len() == QUEUES as usize)
    })
    .await;
    let acknowledged = ledger.acknowledged.lock().clone();
    let last = |id| acknowledged.range((id, 0)..(id + 1, 0)).next_back().map_or(-1, |((_, offset), _)| *offset);
    let queues: Vec<_> = (0..QUEUES).map(queue).collect();
    let reads = queues.iter().map(|queue| read(&reader, queue, last(queue.queue_id)));
    let read = futures::future::join_all(reads).await;
    for (&(queue, offset), &(number, life)) in &acknowledged {
        let there = read[queue as usize][offset as usize];
        assert_eq!(there, number, "queue {queue} at {offset}: acknowledged in life {life} of the broker");
    }
    let all: Vec<_> = read.concat();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a message is there twice");
    reader.stop().await;
    all.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_being_killed_at_any_moment() {
    let seed = given("SEED").unwrap_or_else(rand::random);
    let kills: u32 = given("KILLS").unwrap_or(10);
    println!("SEED={seed} KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let names = namesrv(folder.path()).await;
    let (namesrvs, port) = (names.local_addr().to_string(), free_port());
    let start = || (start(folder.path(), &namesrvs, port), Instant::now());
    let (mut broker, mut begun) = start();
    create_topic(&namesrvs).await;

    let ledger = Arc::<Ledger>::default();
    let mut sending = JoinSet::new();
    for _ in 0..PRODUCERS {
        let producer = Producer::start(Options::new(&namesrvs, "bookkeeper")).await.unwrap();
        for _ in 0..SENDERS {
            sending.spawn(send(producer.clone(), Arc::clone(&ledger)));
        }
    }
    for life in 1..=kills {
        end(broker, begun, &ledger, &mut random).await;
        ledger.life.store(life, Relaxed);
        (broker, begun) = start();
    }
    ledger.more(1).await;
    ledger.stop.store(true, Relaxed);
    while let Some(sent) = sending.join_next().await {
        sent.unwrap();
    }

    let there = compare(&namesrvs, &ledger).await;
    let acknowledged = ledger.acknowledged.lock().len();
    let files = fs::read_dir(folder.path().join("store/commitlog")).unwrap().count();
    println!("{acknowledged} acknowledged, {there} there, in {files} files");
    assert!(files > 2, "the commit log has no more than {files} files");
    drop(broker);
    names.stop().await;
}
