//! A store that does everything a store does, and the model beside it: which messages it took, and
//! up to where it said that they are on the disk.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rmq_protocol::message::stored::Record;
use rmq_store::{Config, Error, LogOffset, MessageStore, Result, durable_file};

use crate::support::*;

const TOPIC: &str = "T";
const QUEUES: i32 = 2;

#[derive(Debug)]
struct Stored {
    queue_id: i32,
    queue_offset: u64,
    physical_offset: LogOffset,
    end: LogOffset,
    key: String,
    record: Vec<u8>,
}

/// See the head of this file.
pub(crate) struct Life {
    root: tempfile::TempDir,
    store: Option<MessageStore>,
    stored: Vec<Stored>,
    /// The store said that everything before this is on the disk.
    flushed: LogOffset,
    /// Nothing at or behind this may have been deleted.
    deletable: LogOffset,
    /// Contents the table file may have, the oldest being the last that was written without an
    /// error.
    tables: Vec<String>,
    made: u64,
    /// The files of queues and index when the checkpoint was last written, which is when they are
    /// on the disk, and that checkpoint.
    durable: (Vec<u8>, BTreeMap<PathBuf, Vec<u8>>),
    random: Random,
}

impl Life {
    pub(crate) fn new() -> Life {
        // Thousands of syncs; what they do is not what is asked here.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let tables = vec![String::new()];
        let (durable, random) = Default::default();
        let (stored, flushed, deletable, made) = Default::default();
        Life { root: root.unwrap(), store: None, stored, flushed, deletable, tables, made, durable, random }
    }

    /// Files of queues and index.
    fn derived(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let root = self.config().root;
        let paths = ["consumequeue", "index"].into_iter().flat_map(|part| files(&root.join(part)));
        paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// Looks whether there was a checkpoint.
    fn note_durable(&mut self) {
        let checkpoint = std::fs::read(self.config().root.join("checkpoint")).unwrap_or_default();
        if checkpoint != self.durable.0 {
            self.durable = (checkpoint, self.derived());
        }
    }

    fn config(&self) -> Config {
        let mut config = config(&self.root.path().join("store"));
        config.index.entries = 60;
        config.consume_queue_buffer = 64 << 10;
        config
    }

    fn open(&mut self) -> Result<()> {
        self.store = None;
        let store = MessageStore::open(self.config(), Vec::new())?;
        let end = store.max_physical_offset();
        assert!(end >= self.flushed, "the log ends at {end}, {} were said to be on the disk", self.flushed);
        self.stored.retain(|stored| stored.end <= end);
        self.store = Some(store);
        Ok(())
    }

    /// Everything a store does in its life. An error ends the step that had it and no other; a
    /// store that cannot be opened ends it all.
    pub(crate) fn live(&mut self) -> Result<()> {
        self.open()?;
        self.put(50);
        self.flush();
        self.table();
        self.put(70);
        self.close();
        self.open()?;
        self.put(60);
        self.peek();
        self.flush();
        self.tear();
        self.open()?;
        self.delete_old();
        self.truncate();
        self.put(60);
        self.table();
        self.table();
        self.close();
        self.open()?;
        self.put(5);
        self.bridge();
        // No close: the next start is one after a crash.
        Ok(())
    }

    /// The process dies in the middle of an append.
    fn tear(&mut self) {
        let Some(store) = self.store.take() else { return };
        let (path, byte) = in_file(&store.config().root, store.max_physical_offset());
        self.flushed = self.flushed.max(store.flushed().value());
        drop(store);
        if let Ok(file) = std::fs::File::options().write(true).open(path) {
            file.write_all_at(b"\0\0\x04\0\xDA\xA3\x20\xA7 half a record", byte).unwrap();
        }
    }

    fn put(&mut self, count: u64) {
        let Some(store) = &self.store else { return };
        for _ in 0..count {
            self.made += 1;
            let queue_id = (self.made % QUEUES as u64) as i32;
            let key = format!("k{}", self.made);
            let mut body = self.made.to_be_bytes().to_vec();
            body.resize(800 + (self.made * 37 % 500) as usize, self.made as u8);
            let properties = format!("KEYS\u{1}{key}\u{2}");
            let message = message(TOPIC, queue_id, &properties, &body);
            if let Ok(placed) = store.put(&message) {
                let record = record(&message, &placed);
                let (queue_offset, physical_offset, end) = (placed.queue_offset, placed.physical_offset, placed.end);
                self.stored.push(Stored {
                    queue_id,
                    queue_offset: queue_offset.get(),
                    physical_offset,
                    end,
                    key,
                    record,
                });
            }
        }
        // Where dispatch waits for the disk it waits for longer than this test has time.
        let end = store.max_physical_offset();
        let _ = store.dispatched().wait_until(end, Instant::now() + Duration::from_millis(50));
        self.note_durable();
    }

    fn note_flushed(&mut self) {
        self.flushed = self.flushed.max(self.store.as_ref().map_or(LogOffset::ZERO, |store| store.flushed().value()));
    }

    fn flush(&mut self) {
        let outcome = self.store.as_ref().map(MessageStore::flush);
        self.note_flushed();
        if let Some(Ok(())) = outcome {
            assert!(self.stored.last().is_none_or(|last| last.end <= self.flushed), "flushed in words only");
        }
    }

    fn close(&mut self) {
        let closed = self.store.as_ref().map(MessageStore::close);
        self.note_flushed();
        if let Some(Ok(())) = closed {
            assert!(self.stored.last().is_none_or(|last| last.end <= self.flushed), "closed and not flushed");
        }
        self.store = None;
        self.note_durable();
    }

    /// Whatever can be read is right.
    fn peek(&self) {
        let Some(store) = &self.store else { return };
        for queue_id in 0..QUEUES {
            let mut offset = store.min_offset(TOPIC, queue_id);
            while let Ok(got) = store.get(TOPIC, queue_id, offset, ALL, rmq_store::Filter::ALL) {
                records(&got).iter().for_each(|record| self.compare(queue_id, record));
                if got.next_offset <= offset {
                    break;
                }
                offset = got.next_offset;
            }
        }
    }

    fn compare(&self, queue_id: i32, record: &[u8]) {
        let number = Record::parse(record).unwrap().queue_offset();
        let stored = self.stored.iter().rfind(|stored| (stored.queue_id, stored.queue_offset) == (queue_id, number));
        assert!(
            stored.is_some_and(|stored| stored.record == record),
            "queue {queue_id} has a wrong message at {number}"
        );
    }

    fn delete_old(&mut self) {
        let Some(store) = &self.store else { return };
        let names = names(&store.config().root.join("commitlog"));
        for name in names.iter().take(2) {
            age(&store.config().root.join("commitlog"), name, 100);
            self.deletable = p(name.parse().unwrap()) + LOG_FILE;
        }
        // A second round takes up what the first one had to leave.
        let _ = store.delete_expired();
        let _ = store.delete_expired();
        self.note_durable();
    }

    fn truncate(&mut self) {
        let Some(store) = &self.store else { return };
        let Some(first) = self.stored.len().checked_sub(40).and_then(|at| self.stored.get(at)) else { return };
        let to = first.physical_offset;
        if to < store.min_physical_offset() {
            return;
        }
        let outcome = store.truncate(to);
        match outcome {
            Ok(()) => {
                self.stored.retain(|stored| stored.end <= to);
                assert_eq!(store.max_physical_offset(), to);
            }
            // It was not begun.
            Err(Error::ReadOnly(_)) => return,
            // Half of one leaves a log that ends somewhere between; a restart tells where.
            Err(_) => self.store = None,
        }
        self.flushed = self.flushed.min(to);
        self.note_durable();
    }

    /// A queue of a replica that begins in the middle.
    fn bridge(&mut self) {
        let Some(store) = &self.store else { return };
        let Some(last) = self.stored.last() else { return };
        let Some(record) = store.record(last.physical_offset) else { return };
        let mut bytes = record.to_vec();
        let offset = store.max_physical_offset();
        // Queue offset and physical offset lie at 20 and 28; the record is another queue's.
        bytes[12..16].copy_from_slice(&7_i32.to_be_bytes());
        bytes[20..28].copy_from_slice(&25_u64.to_be_bytes());
        bytes[28..36].copy_from_slice(&offset.get().to_be_bytes());
        if store.append_replica(offset, &bytes).is_ok() {
            let _ = store.dispatched().wait_until(offset + 1, Instant::now() + Duration::from_millis(50));
        }
    }

    fn table(&mut self) {
        self.made += 1;
        let contents = format!("{{\"version\": {}}}", self.made);
        let written = durable_file::replace(&self.table_path(), contents.as_bytes());
        if written.is_ok() {
            self.tables.clear();
        }
        self.tables.push(contents);
        if let Ok(table) = load_table(&self.table_path()) {
            assert!(self.tables.contains(&table), "{table:?} is none of {:?}", self.tables);
        }
    }

    fn table_path(&self) -> std::path::PathBuf {
        self.root.path().join("store/config/table.json")
    }

    /// Ends the process; with it the power may go, which takes whatever was never said to be on the
    /// disk: all of that in the log, some of it elsewhere.
    pub(crate) fn crash(&mut self, power: bool) {
        self.note_flushed();
        self.store = None;
        if !power {
            return;
        }
        let log = self.config().root.join("commitlog");
        for name in names(&log) {
            let (path, base) = (log.join(&name), p(name.parse().unwrap()));
            let kept = self.flushed.saturating_since(base).min(LOG_FILE);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(&vec![0; (LOG_FILE - kept) as usize], kept).unwrap();
        }
        for (path, now) in self.derived() {
            match self.durable.1.get(&path) {
                None if self.random.below(4) == 0 => std::fs::remove_file(path).unwrap(),
                before => {
                    let before = before.map(Vec::as_slice).unwrap_or_default();
                    std::fs::write(path, torn(&mut self.random, &now, before, 0, 100)).unwrap();
                }
            }
        }
    }

    /// The disk works again: the store opens, has what it acknowledged and nothing else, and goes
    /// on.
    pub(crate) fn check(&mut self) {
        self.open().unwrap();
        let store = self.store.as_ref().unwrap();
        settle(store);
        let min = store.min_physical_offset();
        assert!(min <= self.deletable, "the log begins at {min}, only {} was old", self.deletable);
        for queue_id in 0..QUEUES {
            let of_queue = |stored: &&Stored| stored.queue_id == queue_id && stored.physical_offset >= min;
            let expected: Vec<_> = self.stored.iter().filter(of_queue).collect();
            let found = read_records(store, TOPIC, queue_id);
            let numbers = found.iter().map(|record| Record::parse(record).unwrap().queue_offset());
            assert!(
                numbers.eq(expected.iter().map(|stored| stored.queue_offset)),
                "queue {queue_id} has other numbers"
            );
            found.iter().for_each(|record| self.compare(queue_id, record));
        }
        for stored in self.stored.iter().filter(|stored| stored.physical_offset >= min) {
            let found = store
                .query(TOPIC, &stored.key, 9, rmq_store::Millis::new(0), rmq_store::Millis::new(i64::MAX))
                .unwrap();
            assert!(found.records.iter().any(|record| *record == stored.record), "{} is not in the index", stored.key);
        }
        let table = load_table(&self.table_path()).unwrap();
        assert!(self.tables.contains(&table), "{table:?} is none of {:?}", self.tables);
        assert!(
            !names(&self.config().root.join("commitlog")).iter().any(|name| name.ends_with(".cut")),
            "a half copy stays"
        );

        self.put(3);
        self.flush();
        self.store.as_ref().unwrap().close().unwrap();
        self.open().unwrap();
        assert_eq!(self.store.as_ref().unwrap().max_physical_offset(), self.flushed);
    }
}

fn load_table(path: &Path) -> Result<String> {
    let table = durable_file::load(path, |bytes| Ok::<_, Error>(bytes.to_vec()))?;
    Ok(String::from_utf8(table.unwrap_or_default()).unwrap())
}

const ALL: rmq_store::Limits = rmq_store::Limits { messages: 32, bytes: usize::MAX };
