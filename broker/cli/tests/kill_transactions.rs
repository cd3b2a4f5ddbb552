//! A broker that is killed without warning, again and again, while transactions are begun,
//! committed, rolled back and asked about: what it acknowledged holds afterwards, and nothing comes
//! twice.
//!
//! `KILLS` is how often (6 unless given), `SEED` repeats the moments of a run.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test, and says where")]

#[allow(dead_code, reason = "shared with the other tests of this folder")]
mod process;

use parking_lot::Mutex;
use process::{Broker, TIMEOUT, given, namesrv, ports::free_port, until_async};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rmq_protocol::{
    Command, RequestCode,
    body::{Heartbeat, ProducerData},
    fastjson,
    header::{CheckTransactionState, Empty, EndTransaction, Header, PullMessage, SendMessageV2},
    message::{
        OffsetId, Properties,
        properties::{PRODUCER_GROUP, TRANSACTION_PREPARED},
        stored::{Record, Records},
        sys_flag::pull,
    },
};
use rmq_remoting::{Client, Handler, Limits, Responder};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};

const TOPIC: &str = "ledger";
const GROUP: &str = "bookkeeper";
const PRODUCERS: usize = 8;
/// After so many acknowledged outcomes at most the process is killed.
const MOST: u64 = 400;
const COMMIT: i32 = 8;
const ROLL_BACK: i32 = 12;

/// What a producer does with the transaction of a number.
fn outcome(number: u64) -> Option<i32> {
    match number % 4 {
        0 | 1 => Some(COMMIT),
        2 => Some(ROLL_BACK),
        // It is committed when the broker asks.
        _ => None,
    }
}

/// What the producers know: numbers that were acknowledged.
#[derive(Default)]
struct Ledger {
    prepared: Mutex<BTreeSet<u64>>,
    ended: Mutex<BTreeMap<u64, i32>>,
    next: AtomicU64,
    stop: AtomicBool,
}

/// Hands questions on to the task that answers them.
struct Questions(mpsc::UnboundedSender<Command>);

impl Handler for Questions {
    fn handle(&self, request: Command, _: Responder) {
        if request.code == RequestCode::CheckTransactionState.number() {
            let _ = self.0.send(request);
        }
    }
}

async fn ask(client: &Client, address: &str, command: Command) -> Option<Command> {
    let answer = client.request(address, command, Duration::from_secs(5)).await.ok();
    answer.filter(|answer| answer.code == 0)
}

fn end(offset: i64, position: i64, outcome: i32, from_check: bool) -> Command {
    let header = EndTransaction {
        topic: None,
        producer_group: GROUP,
        transaction_offset: offset,
        commit_log_offset: position,
        commit_or_rollback: outcome,
        from_check: Some(from_check),
        message_id: "",
        transaction_id: None,
    };
    Command::request(RequestCode::EndTransaction, &header)
}

/// The offset and the position of a half message that is acknowledged.
async fn prepare(client: &Client, address: &str, number: u64) -> Option<(i64, i64)> {
    let properties: Properties = [(TRANSACTION_PREPARED, "true"), (PRODUCER_GROUP, GROUP)].into_iter().collect();
    let properties = properties.to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let header = SendMessageV2 {
        producer_group: GROUP,
        topic: TOPIC,
        default_topic: "TBW102",
        default_topic_queues: 1,
        properties: Some(&properties),
        sys_flag: 4,
        born_timestamp: now.as_millis() as i64,
        ..SendMessageV2::default()
    };
    let send = Command::request(RequestCode::SendMessageV2, &header).with_body(number.to_string());
    let answer = ask(client, address, send).await?;
    let id: OffsetId = answer.fields.get("msgId").unwrap().parse().unwrap();
    Some((answer.fields.get("queueOffset").unwrap().parse().unwrap(), id.physical_offset as i64))
}

/// One transaction after another, through all that is done to the broker.
async fn produce(client: Client, address: String, ledger: Arc<Ledger>) {
    while !ledger.stop.load(Relaxed) {
        let number = ledger.next.fetch_add(1, Relaxed);
        let Some((offset, position)) = prepare(&client, &address, number).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        ledger.prepared.lock().insert(number);
        if let Some(outcome) = outcome(number)
            && ask(&client, &address, end(offset, position, outcome, false)).await.is_some()
        {
            ledger.ended.lock().insert(number, outcome);
        }
    }
}

/// Answers questions. One about a transaction whose roll back was acknowledged would commit it.
async fn answer(client: Client, address: String, ledger: Arc<Ledger>, mut questions: mpsc::UnboundedReceiver<Command>) {
    while let Some(question) = questions.recv().await {
        let header = CheckTransactionState::decode(&question.fields).unwrap();
        let record = Record::parse(&question.body).unwrap();
        let number: u64 = std::str::from_utf8(record.body()).unwrap().parse().unwrap();
        let rolls_back = outcome(number) == Some(ROLL_BACK) && !ledger.ended.lock().contains_key(&number);
        let outcome = if rolls_back { ROLL_BACK } else { COMMIT };
        // A client's own answers are one-way too.
        let _ = client
            .one_way(&address, end(header.transaction_offset, header.commit_log_offset, outcome, true).one_way())
            .await;
    }
}

/// The broker forgets its producers when it is killed.
async fn be_known(client: Client, address: String) {
    loop {
        let heartbeat = Heartbeat {
            client_id: "127.0.0.1@bookkeeper".into(),
            producer_data_set: vec![ProducerData { group_name: GROUP.into() }],
            ..Heartbeat::default()
        };
        let heartbeat = Command::request(RequestCode::HeartBeat, &Empty {}).with_body(fastjson::to_vec(&heartbeat));
        ask(&client, &address, heartbeat).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn read(client: &Client, address: &str, from: i64) -> Vec<u64> {
    let header = PullMessage {
        consumer_group: "TOOLS_CONSUMER",
        topic: TOPIC,
        queue_offset: from,
        max_messages: 32,
        sys_flag: pull::SUBSCRIPTION,
        subscription: Some("*"),
        ..PullMessage::default()
    };
    let Some(answer) = ask(client, address, Command::request(RequestCode::PullMessage, &header)).await else {
        return Vec::new();
    };
    let number = |record: Record<'_>| std::str::from_utf8(record.body()).unwrap().parse().unwrap();
    Records::new(&answer.body).map(|record| number(record.unwrap())).collect()
}

fn start(folder: &Path, namesrvs: &str, port: u16) -> Broker {
    let port = port.to_string();
    let settings = [
        ("brokerName", "broker-a"),
        ("listenPort", port.as_str()),
        ("haListenPort", "0"),
        ("mappedFileSizeCommitLog", "1048576"),
        ("maxMessageSize", "65536"),
        ("cleanFileForciblyEnable", "false"),
        ("transactionTimeOut", "300"),
        ("transactionCheckInterval", "300"),
        ("transactionCheckMax", "1000"),
        ("transactionOpBatchInterval", "500"),
    ];
    Broker::start(folder, namesrvs, &settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_outcomes_survive_being_killed_and_nothing_comes_twice() {
    let seed = given("SEED").unwrap_or_else(rand::random);
    let kills: u32 = given("KILLS").unwrap_or(6);
    println!("SEED={seed} KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let names = namesrv(folder.path()).await;
    let (namesrvs, port) = (names.local_addr().to_string(), free_port());
    let (address, ledger) = (format!("127.0.0.1:{port}"), Arc::<Ledger>::default());
    let (sender, questions) = mpsc::unbounded_channel();
    let client = Client::new(Arc::new(Questions(sender)), Limits::default());
    let mut others = JoinSet::new();
    others.spawn(answer(client.clone(), address.clone(), Arc::clone(&ledger), questions));
    others.spawn(be_known(client.clone(), address.clone()));
    let mut producers = JoinSet::new();
    for _ in 0..PRODUCERS {
        producers.spawn(produce(client.clone(), address.clone(), Arc::clone(&ledger)));
    }
    let mut broker = start(folder.path(), &namesrvs, port);
    for _ in 0..kills {
        let goal = ledger.ended.lock().len() as u64 + random.random_range(1..MOST);
        until_async(TIMEOUT, "outcomes are acknowledged", async || ledger.ended.lock().len() as u64 >= goal).await;
        match random.random_ratio(1, 4) {
            true => broker.stop(),
            false => broker.kill(),
        }
        broker = start(folder.path(), &namesrvs, port);
    }
    ledger.stop.store(true, Relaxed);
    while let Some(produced) = producers.join_next().await {
        produced.unwrap();
    }

    let ended = ledger.ended.lock().clone();
    let prepared = ledger.prepared.lock().clone();
    let wanted = prepared.iter().filter(|number| outcome(**number) != Some(ROLL_BACK)).count();
    let there = Mutex::new(Vec::new());
    until_async(TIMEOUT, "every transaction that is to be committed is", async || {
        let from = there.lock().len() as i64;
        let more = read(&client, &address, from).await;
        there.lock().extend(more);
        let there = there.lock();
        there.iter().filter(|number| prepared.contains(number)).count() >= wanted
    })
    .await;
    let there = there.into_inner();
    let distinct: BTreeSet<_> = there.iter().copied().collect();
    assert_eq!(distinct.len(), there.len(), "a message is there twice");
    for (number, outcome) in &ended {
        assert_eq!(distinct.contains(number), *outcome == COMMIT, "transaction {number} was ended by {outcome}");
    }
    assert!(prepared.iter().all(|number| distinct.contains(number) == (outcome(*number) != Some(ROLL_BACK))));
    println!("{} prepared, {} ended, {} there", prepared.len(), ended.len(), there.len());
    others.shutdown().await;
    drop(broker);
    names.stop().await;
}
