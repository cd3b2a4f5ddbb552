//! Random histories against a model that is a list of messages: puts, batches, flushes, clean
//! stops, kills, power cuts, truncations and deletions by age, in files so small that everything
//! rolls.
//!
//! A power cut is played by keeping, page by page, either what a file held when it was last brought
//! to the disk or what it holds now; that is what a kernel may do with pages that are not flushed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rmq_store::{Boundary, Error, LogOffset, MessageStore};

use crate::support::*;

const TOPICS: [&str; 3] = ["alpha", "beta", "%RETRY%gamma"];
const PAGE: usize = 4096;

#[derive(Debug, Clone)]
struct Stored {
    topic: &'static str,
    queue_id: i32,
    queue_offset: u64,
    physical_offset: LogOffset,
    end: LogOffset,
    store_timestamp: i64,
    record: Vec<u8>,
    key: String,
}

/// What the store should hold, and what would survive a power cut for sure.
struct World {
    root: tempfile::TempDir,
    store: Option<MessageStore>,
    messages: Vec<Stored>,
    /// Files as they were when a checkpoint was written.
    durable: BTreeMap<PathBuf, Vec<u8>>,
    flushed: LogOffset,
    /// Where queues go on that a power cut has emptied: numbers may be left out, but not given
    /// twice.
    emptied: BTreeMap<(&'static str, i32), u64>,
    /// Start of the log; messages before it are gone, their numbers are not given again.
    min: LogOffset,
    random: Random,
    made: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let root = tempfile::tempdir().unwrap();
        let store = Some(open(root.path()));
        let mut world = World {
            root,
            store,
            messages: Vec::new(),
            durable: BTreeMap::new(),
            flushed: LogOffset::ZERO,
            emptied: BTreeMap::new(),
            min: LogOffset::ZERO,
            random: Random(seed),
            made: 0,
        };
        world.reopen_cleanly();
        world
    }

    fn store(&self) -> &MessageStore {
        self.store.as_ref().unwrap()
    }

    fn put(&mut self, count: usize) {
        let topic = TOPICS[self.random.below(3) as usize];
        let queue_id = self.random.below(2) as i32;
        let mut parts = Vec::new();
        for _ in 0..count {
            let longest = if self.random.below(20) == 0 { 20_000 } else { 600 };
            let len = self.random.below(longest) as usize;
            let zeros = self.random.below(8) == 0;
            let body = if zeros { vec![0; len] } else { self.random.bytes(len) };
            self.made += 1;
            parts.push((format!("k{}", self.made), body));
        }
        let properties: Vec<_> = parts.iter().map(|(key, _)| format!("KEYS\u{1}{key}\u{2}")).collect();
        let messages: Vec<_> = parts
            .iter()
            .zip(&properties)
            .map(|((_, body), properties)| message(topic, queue_id, properties, body))
            .collect();
        let placed = match self.store().put_batch(&messages) {
            Ok(placed) => placed,
            Err(Error::TooLarge { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        let records: Vec<_> = messages.iter().zip(&placed).map(|(message, place)| record(message, place)).collect();
        for (((key, _), place), record) in parts.into_iter().zip(placed).zip(records) {
            assert_eq!(place.queue_offset, q(self.next_of_queue(topic, queue_id)));
            self.messages.push(Stored {
                topic,
                queue_id,
                queue_offset: place.queue_offset.get(),
                physical_offset: place.physical_offset,
                end: place.end,
                store_timestamp: place.store_timestamp.get(),
                record,
                key,
            });
        }
    }

    fn of_queue(&self, topic: &str, queue_id: i32) -> impl Iterator<Item = &Stored> {
        self.messages.iter().filter(move |stored| stored.topic == topic && stored.queue_id == queue_id)
    }

    fn next_of_queue(&self, topic: &'static str, queue_id: i32) -> u64 {
        let behind_last = self.of_queue(topic, queue_id).last().map_or(0, |last| last.queue_offset + 1);
        behind_last.max(self.emptied.get(&(topic, queue_id)).copied().unwrap_or(0))
    }

    fn left(&self) -> impl Iterator<Item = &Stored> {
        self.messages.iter().filter(|stored| stored.physical_offset >= self.min)
    }

    fn check(&mut self) {
        settle(self.store());
        assert_eq!(self.store().min_physical_offset(), self.min);
        for topic in TOPICS {
            for queue_id in 0..2 {
                let of_queue = self.left().filter(|stored| (stored.topic, stored.queue_id) == (topic, queue_id));
                let expected: Vec<_> = of_queue.map(|stored| &stored.record).collect();
                let found = read_records(self.store(), topic, queue_id);
                assert!(found.iter().eq(expected), "{topic}-{queue_id} is not as it was stored");
            }
        }
        let left: Vec<Stored> = self.left().cloned().collect();
        for _ in 0..left.len().min(5) {
            let stored = left[self.random.below(left.len() as u64) as usize].clone();
            let found = self
                .store()
                .query(stored.topic, &stored.key, 10, rmq_store::Millis::MIN, rmq_store::Millis::MAX)
                .unwrap();
            assert_eq!(found.records, [&stored.record[..]], "{}", stored.key);
            let at = self.store().offset_by_time(
                stored.topic,
                stored.queue_id,
                rmq_store::Millis::new(stored.store_timestamp),
                Boundary::Lower,
            );
            let same = |other: &&Stored| (other.topic, other.queue_id) == (stored.topic, stored.queue_id);
            let mut same = left.iter().filter(same);
            let first = same.find(|other| other.store_timestamp >= stored.store_timestamp).unwrap();
            assert_eq!(at.unwrap(), q(first.queue_offset));
        }
    }

    fn snapshot(&mut self) {
        let root = self.root.path();
        self.durable = files(root).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    }

    fn reopen_cleanly(&mut self) {
        self.store().close().unwrap();
        self.store = None;
        self.snapshot();
        self.store = Some(open(self.root.path()));
        self.flushed = self.store().max_physical_offset();
    }

    fn kill(&mut self) {
        self.store = None;
        self.store = Some(open(self.root.path()));
        // Whatever was not flushed before is in the page cache, not on the disk.
    }

    fn flush(&mut self) {
        self.store().flush().unwrap();
        self.flushed = self.store().flushed().value();
    }

    fn cut_power(&mut self) {
        self.store = None;
        for path in files(self.root.path()) {
            let name = path.strip_prefix(self.root.path()).unwrap().to_owned();
            let now = std::fs::read(&path).unwrap();
            let before = self.durable.get(&path).cloned();
            let (kept, page) = if name.starts_with("commitlog") {
                let base: u64 = name.file_name().unwrap().to_str().unwrap().parse().unwrap();
                (self.flushed.saturating_since(p(base)) as usize, PAGE)
            } else if name.starts_with("consumequeue") || name.starts_with("index") {
                if before.is_none() && self.random.below(4) == 0 {
                    std::fs::remove_file(&path).unwrap();
                    continue;
                }
                (0, 100)
            } else {
                continue;
            };
            let torn = torn(&mut self.random, &now, before.as_deref().unwrap_or_default(), kept, page);
            std::fs::write(&path, torn).unwrap();
        }
        for (path, before) in &self.durable {
            let unlinked = path.starts_with(self.root.path().join("consumequeue"))
                || path.starts_with(self.root.path().join("index"));
            if unlinked && !path.exists() && self.random.below(2) == 0 {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, before).unwrap();
            }
        }
        let store = open(self.root.path());
        let end = store.max_physical_offset();
        assert!(end >= self.flushed, "{end} is before the flushed {}", self.flushed);
        self.messages.retain(|stored| stored.end <= end);
        for (topic, queue_id) in TOPICS.iter().flat_map(|topic| [(*topic, 0), (*topic, 1)]) {
            let (min, max) = (store.min_offset(topic, queue_id), store.max_offset(topic, queue_id));
            if min == max && max > q(self.next_of_queue(topic, queue_id)) {
                self.emptied.insert((topic, queue_id), max.get());
            }
        }
        self.store = Some(store);
        self.check();
        // What was read back counts as flushed only when it is flushed again.
        self.reopen_cleanly();
    }

    fn truncate(&mut self) {
        settle(self.store());
        let gone = self.messages.len() - self.left().count();
        let kept = gone + self.random.below((self.messages.len() - gone) as u64 + 1) as usize;
        let Some(first) =
            self.messages.get(kept).filter(|first| self.min == LogOffset::ZERO || first.physical_offset > self.min)
        else {
            return;
        };
        self.store().truncate(first.physical_offset).unwrap();
        self.messages.truncate(kept);
        let end = self.store().max_physical_offset();
        self.flushed = self.flushed.min(end);
        // A truncation ends with a checkpoint.
        self.snapshot();
    }

    /// Some of the oldest files have expired.
    fn delete_old(&mut self) {
        settle(self.store());
        let log = self.root.path().join("commitlog");
        let names = names(&log);
        let old = self.random.below(names.len() as u64) as usize;
        for name in &names[..old] {
            age(&log, name, 100);
        }
        let before = self.min;
        let deleted = self.store().delete_expired().unwrap() as u64;
        self.min = self.store().min_physical_offset();
        assert_eq!(self.min, before + deleted * LOG_FILE);
        if deleted > 0 {
            // It begins with a checkpoint. Nobody waits for the names of queue files to be gone.
            self.flushed = self.store().flushed().value();
            let before = std::mem::take(&mut self.durable);
            self.snapshot();
            before.into_iter().for_each(|(path, bytes)| _ = self.durable.entry(path).or_insert(bytes));
        }
    }
}

fn history(seed: u64, steps: usize) {
    println!("seed {seed}");
    let mut world = World::new(seed);
    for _ in 0..steps {
        match world.random.below(100) {
            0..=59 => world.put(1),
            60..=74 => {
                let count = 1 + world.random.below(12) as usize;
                world.put(count);
            }
            75..=79 => world.flush(),
            80..=87 => world.check(),
            88..=90 => world.reopen_cleanly(),
            91..=93 => world.kill(),
            94..=96 => world.cut_power(),
            97 => world.delete_old(),
            _ => world.truncate(),
        }
    }
    world.check();
}

/// A long run: `HISTORIES=1000`, as in `tests/run long`. One that failed again: `SEED=` what it
/// printed last, and `HISTORIES=1`.
#[test]
fn random_histories_end_as_the_model_says() {
    let first = seed();
    for number in 0..number("HISTORIES").unwrap_or(12) {
        history(first.wrapping_add(number), 150);
    }
}

/// Histories that failed once, by their seeds.
#[test]
fn histories_that_failed_do_not_fail_again() {
    for seed in [
        1_795_409_833_361_412_788,
        1_795_410_492_164_865_945,
        1_795_414_446_836_121_818,
        1_795_737_679_737_101_263,
        1_795_737_925_293_440_844,
    ] {
        history(seed, 150);
    }
}
