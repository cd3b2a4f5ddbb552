//! What a start finds after a kill, and in the directory of a Java broker.

use super::*;
use crate::{role::Role, testing::message};
use rmq_protocol::message::{properties, sys_flag};
use rmq_store::{Appended, Follower, MessageStore, NewMessage};
use std::time::Duration;

struct Member {
    transactions: Arc<Transactions>,
    store: MessageStore,
}

fn properties(more: &[(&str, &str)]) -> String {
    let own = [
        (properties::REAL_TOPIC, "T"),
        (properties::REAL_QUEUE_ID, "0"),
        (properties::PRODUCER_GROUP, "g"),
        (properties::UNIQ_KEY, "key"),
    ];
    own.iter().chain(more).map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}

impl Member {
    fn open(root: &Path) -> Self {
        let text = root.display().to_string();
        let settings = [("brokerName", "b"), ("mappedFileSizeCommitLog", "16777216"), ("storePathRootDir", &*text)];
        let (config, _) = Config::from_properties(settings).unwrap();
        let store_config = config.for_store().unwrap();
        let settings = Arc::new(Live::new(config, None));
        let offsets = Arc::new(ConsumerOffsets::open(root).unwrap());
        let role = Arc::new(CurrentRole::new(Role::Master));
        let transactions = Arc::new(Transactions::open(root, settings, role, offsets).unwrap());
        let store = MessageStore::open(store_config, vec![transactions.follower()]).unwrap();
        transactions.opened(store.max_physical_offset());
        assert!(transactions.read_back(&store));
        Self { transactions, store }
    }

    fn put(&self, draft: &NewMessage<'_>) -> Appended {
        let stored = self.store.put(draft).unwrap();
        let soon = Instant::now() + Duration::from_secs(60);
        assert_eq!(self.store.dispatched().wait_until(stored.end, soon), Ok(true));
        stored
    }

    fn half(&self) -> Appended {
        self.half_of(&[], 0)
    }

    fn half_of(&self, more: &[(&str, &str)], finishes: i64) -> Appended {
        let properties = properties(more);
        self.put(&NewMessage {
            topic: names::HALF_TOPIC,
            properties: properties.as_bytes(),
            prepared_transaction_offset: finishes,
            ..message(b"half")
        })
    }

    fn commit(&self, half: &Appended) -> Appended {
        let sys_flag = sys_flag::with_transaction(0, sys_flag::Transaction::Commit);
        let prepared_transaction_offset = half.physical_offset.to_wire();
        self.put(&NewMessage { sys_flag, prepared_transaction_offset, ..message(b"half") })
    }

    fn op(&self, body: &str) -> Appended {
        let properties = op::properties();
        self.put(&NewMessage { topic: names::OP_HALF_TOPIC, properties: &properties, ..message(body.as_bytes()) })
    }

    fn open_ones(&self) -> Vec<u64> {
        let state = self.transactions.state.lock();
        (0..100).filter(|offset| state.open.half((*offset).into()).is_some()).collect()
    }

    fn committed(&self) -> [Option<i64>; 2] {
        let offsets = &self.transactions.offsets;
        [names::HALF_TOPIC, names::OP_HALF_TOPIC].map(|topic| offsets.committed(topic, GROUP, 0))
    }

    fn stop(self) {
        self.transactions.offsets.persist().unwrap();
        self.store.close().unwrap();
    }

    /// What is in memory is lost, and what a checkpoint would write.
    fn kill(self) {
        drop(self.store);
    }
}

#[test]
fn a_kill_at_any_step_leaves_open_what_has_no_outcome_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let member = Member::open(folder.path());
    let halves: Vec<_> = (0..4).map(|_| member.half()).collect();
    member.kill();
    let member = Member::open(folder.path());
    assert_eq!(member.open_ones(), [0, 1, 2, 3], "half messages are stored");
    member.commit(&halves[1]);
    assert_eq!(member.open_ones(), [0, 2, 3]);
    member.kill();
    let member = Member::open(folder.path());
    assert_eq!(member.open_ones(), [0, 2, 3], "a commit whose op message was never written");
    let copy = member.half_of(&[(properties::TRANSACTION_CHECK_TIMES, "1")], halves[2].physical_offset.to_wire() + 1);
    assert_eq!((copy.queue_offset.get(), member.open_ones()), (4, vec![0, 3, 4]));
    member.kill();
    let member = Member::open(folder.path());
    assert_eq!(member.open_ones(), [0, 3, 4], "a copy whose predecessor has no op message");
    member.transactions.add_missing_ops();
    let missing = member.transactions.state.lock().pending.next(100);
    assert_eq!(missing, (b"1,2,".to_vec(), 2), "a master writes what is missing");
    member.op("0,1,2,");
    assert_eq!(member.transactions.state.lock().unproven.len(), 2, "until it is safe");
    member.kill();
    let member = Member::open(folder.path());
    assert_eq!(member.open_ones(), [3, 4]);
    member.stop();
    let member = Member::open(folder.path());
    assert_eq!(member.open_ones(), [3, 4], "a clean stop");
    member.commit(&halves[3]);
    member.stop();
    assert_eq!(Member::open(folder.path()).open_ones(), [4], "its op message is missing, and the place is before it");
}

/// Of a Java broker there are queues and offsets, and no place.
#[test]
fn the_directory_of_a_java_broker_is_continued_at_its_offsets() {
    for never_ours in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let member = Member::open(folder.path());
        let halves: Vec<_> = (0..6).map(|_| member.half()).collect();
        member.op("2");
        member.op("4,x,9,");
        // The first was stored again, and has no op message.
        member.transactions.offsets.commit(names::HALF_TOPIC, GROUP, 0, 1);
        member.transactions.offsets.commit(names::OP_HALF_TOPIC, GROUP, 0, 0);
        member.stop();
        let place = folder.path().join("config/transactionPlace.json");
        if never_ours {
            std::fs::remove_file(&place).unwrap();
            std::fs::remove_file(place.with_extension("json.bak")).unwrap();
        } else {
            // It took over when the log was empty.
            std::fs::write(&place, "{\"place\":0}").unwrap();
        }
        let member = Member::open(folder.path());
        assert_eq!(member.open_ones(), [1, 3, 5]);
        member.commit(&halves[1]);
        assert_eq!(member.open_ones(), [3, 5]);
        member.kill();
        assert_eq!(Member::open(folder.path()).open_ones(), [3, 5]);
    }
}

#[test]
fn offsets_are_committed_up_to_what_is_open_once_that_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let member = Member::open(folder.path());
    (0..4).for_each(|_| {
        member.half();
    });
    member.op("0,2,");
    let last = member.op("1,");
    let sync = |place| Follower::sync(&*member.transactions, place).unwrap();
    sync(last.end);
    assert_eq!(member.committed(), [None, None], "taken, and not known to be durable");
    sync(last.end.saturating_sub(1));
    assert_eq!(member.committed(), [None, None]);
    sync(last.end);
    assert_eq!(member.committed(), [Some(3), Some(2)]);
    let end = member.op("3,").end;
    sync(end);
    sync(end);
    assert_eq!(member.committed(), [Some(4), Some(3)], "all are finished");
    member.store.close().unwrap();
}

#[test]
fn half_messages_that_retention_deleted_are_lost_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let member = Member::open(folder.path());
    let halves: Vec<_> = (0..3).map(|_| member.half()).collect();
    Follower::trim(&*member.transactions, halves[2].physical_offset).unwrap();
    assert_eq!((member.open_ones(), member.transactions.counters.lost.load(Relaxed)), (vec![2], 2));
    Follower::truncate(&*member.transactions, halves[2].physical_offset).unwrap();
    assert_eq!(member.open_ones(), Vec::<u64>::new());
    member.store.close().unwrap();
}

#[test]
fn with_nothing_open_the_thread_sleeps_without_end_and_else_until_the_next_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let member = Member::open(folder.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text = tempfile::tempdir().unwrap();
    let root = text.path().display().to_string();
    let (config, _) = Config::from_properties([("brokerName", "b"), ("storePathRootDir", &*root)]).unwrap();
    let core = crate::testing::core(config, Vec::new(), runtime.handle().clone());
    let Member { transactions, store } = member;
    let checks = Checks {
        transactions: Arc::clone(&transactions),
        store: Arc::new(store),
        producers: Arc::clone(&core.producers),
        registration: Arc::clone(&core.registration),
        settings: Arc::clone(&transactions.settings),
        role: Arc::clone(&core.role),
        store_host: core.store_host,
    };
    let checks = Arc::new(checks);
    let sleeps_until = |reached: &dyn Fn(u64) -> bool| {
        let begun = Instant::now();
        while !reached(transactions.state.lock().sleeps_until) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it sleeps until {}",
                transactions.state.lock().sleeps_until
            );
            std::thread::yield_now();
        }
    };
    let running = Arc::clone(&checks);
    let thread = std::thread::spawn(move || running.run());
    sleeps_until(&|until| until == u64::MAX);
    let store = &checks.store;
    let properties = properties(&[]);
    let draft = NewMessage { topic: names::HALF_TOPIC, properties: properties.as_bytes(), ..message(b"half") };
    let stored = store.put(&draft).unwrap();
    // The timeout is 6 s.
    sleeps_until(&|until| (1..20_000).contains(&until));
    let half = Half { offset: stored.queue_offset, position: stored.physical_offset };
    let claim = transactions.claim(half, Instant::now() + Duration::from_secs(60)).unwrap().unwrap();
    claim.finish();
    // It wakes once more for the op message, and then for nothing.
    sleeps_until(&|until| until == u64::MAX);
    let deadline = Instant::now() + Duration::from_secs(60);
    assert_eq!(store.dispatched().wait_until(store.max_physical_offset(), deadline), Ok(true));
    assert_eq!(store.max_offset(names::OP_HALF_TOPIC, 0).get(), 1);
    crate::feature::Feature::stop(&*checks);
    thread.join().unwrap();
    store.close().unwrap();
}
