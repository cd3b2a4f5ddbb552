//! A small store and messages for it.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rmq_protocol::message::stored::{Record, Records};
use rmq_store::{Appended, Config, Filter, Got, Limits, LogOffset, MessageStore, NewMessage, QueueOffset};

pub(crate) const LOG_FILE: u64 = 64 << 10;
pub(crate) const QUEUE_FILE: u64 = 400;

/// Files so small that everything rolls, and nothing that happens by itself.
pub(crate) fn config(root: &Path) -> Config {
    let mut config = Config::new(root);
    config.commit_log_file_size = LOG_FILE;
    config.consume_queue_file_size = QUEUE_FILE;
    config.index.slots = 50;
    config.index.entries = 200;
    config.allocation.step = 16 << 10;
    config.allocation.touch_ahead = 8 << 10;
    config.open_files = 8;
    config.checkpoint_interval = Duration::from_secs(3600);
    config.retention.interval = Duration::from_secs(3600);
    // The machine's disk may be fuller than a broker's should be.
    config.retention.refuse_writes = 100;
    config.retention.clean_forcibly = 100;
    config.retention.max_used = 100;
    config.retention.delete_when = Vec::new();
    config.flush.interval = Duration::from_secs(3600);
    config.consume_queue_write_interval = Duration::from_millis(20);
    config
}

pub(crate) fn open(root: &Path) -> MessageStore {
    MessageStore::open(config(root), Vec::new()).unwrap()
}

/// A message none of whose fields is zero, so that it shows when one is lost.
pub(crate) fn message<'a>(topic: &'a str, queue_id: i32, properties: &'a str, body: &'a [u8]) -> NewMessage<'a> {
    NewMessage {
        topic,
        queue_id,
        flag: 0x0102_0304,
        sys_flag: rmq_protocol::message::sys_flag::COMPRESSED,
        born_timestamp: 1_700_000_000_000,
        born_host: SocketAddr::from(([10, 0, 0, 1], 1000)),
        store_host: SocketAddr::from(([10, 0, 0, 2], 10911)),
        reconsume_times: 2,
        prepared_transaction_offset: 0x55,
        properties: properties.as_bytes(),
        body,
    }
}

pub(crate) fn put(store: &MessageStore, topic: &str, queue_id: i32, body: &[u8]) -> Appended {
    store.put(&message(topic, queue_id, "", body)).unwrap()
}

/// The record a message has to be delivered as, byte for byte.
pub(crate) fn record(message: &NewMessage<'_>, placed: &Appended) -> Vec<u8> {
    let prepared = message.prepare().unwrap();
    prepared.to_vec(placed.queue_offset.get(), placed.physical_offset.get(), placed.store_timestamp.get())
}

/// The queue offset of a number.
pub(crate) fn q(offset: u64) -> QueueOffset {
    QueueOffset::new(offset)
}

/// The offset in the commit log of a number.
pub(crate) fn p(offset: u64) -> LogOffset {
    LogOffset::new(offset)
}

/// The file of the commit log that contains an offset, and the byte of it that lies there.
pub(crate) fn in_file(root: &Path, offset: LogOffset) -> (PathBuf, u64) {
    let byte = offset.get() % LOG_FILE;
    (root.join(format!("commitlog/{:020}", offset.get() - byte)), byte)
}

/// Waits until everything appended is in its queue.
pub(crate) fn settle(store: &MessageStore) {
    let end = store.max_physical_offset();
    let deadline = Instant::now() + Duration::from_secs(30);
    assert_eq!(store.dispatched().wait_until(end, deadline), Ok(true), "dispatch does not come to {end}");
}

pub(crate) fn get(store: &MessageStore, topic: &str, queue_id: i32, offset: u64) -> Got {
    store.get(topic, queue_id, q(offset), Limits { messages: 32, bytes: usize::MAX }, Filter::ALL).unwrap()
}

/// The records of an answer.
pub(crate) fn records(got: &Got) -> Vec<Vec<u8>> {
    let records = got.records.iter().flat_map(|piece| Records::new(piece));
    records.map(|record| record.unwrap().bytes().to_vec()).collect()
}

/// Queue offsets and bodies of an answer.
pub(crate) fn bodies(got: &Got) -> Vec<(u64, Vec<u8>)> {
    records(got).iter().map(|record| body(record)).collect()
}

/// Queue offset and body of a record.
fn body(record: &[u8]) -> (u64, Vec<u8>) {
    let record = Record::parse(record).unwrap();
    record.check_body().unwrap();
    (record.queue_offset(), record.body().to_vec())
}

/// Every record of a queue, by reading it from its start.
pub(crate) fn read_records(store: &MessageStore, topic: &str, queue_id: i32) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut offset = store.min_offset(topic, queue_id);
    while offset < store.max_offset(topic, queue_id) {
        let got = get(store, topic, queue_id, offset.get());
        assert!(
            got.next_offset > offset,
            "a consumer stands still at {offset} of {topic}-{queue_id}: {:?}",
            got.status
        );
        all.extend(records(&got));
        offset = got.next_offset;
    }
    all
}

/// Every message of a queue.
pub(crate) fn read_all(store: &MessageStore, topic: &str, queue_id: i32) -> Vec<(u64, Vec<u8>)> {
    read_records(store, topic, queue_id).iter().map(|record| body(record)).collect()
}

/// The parts of a record that no checksum covers and no other check finds: damage there is not
/// detected. `docs/store.md` lists them.
pub(crate) fn unprotected(record: &Record<'_>) -> [(&'static str, Range<usize>); 9] {
    let size = record.size();
    [
        ("flag", 16..20),
        ("system flag", 36..40),
        ("born timestamp", 40..48),
        ("born host", 48..56),
        ("store timestamp", 56..64),
        ("store host", 64..72),
        ("times consumed", 72..76),
        ("prepared transaction offset", 76..84),
        ("properties", size - record.properties().len()..size),
    ]
}

/// Where a record that a consumer was given is not what was stored. Anything but an unprotected
/// part is a wrong message, and so are other tags: its entry in the queue tells.
pub(crate) fn consumed(delivered: &[u8], stored: &[u8]) -> Vec<&'static str> {
    let tags = |record| Record::parse(record).unwrap().property("TAGS").map(|tags| tags.into_owned());
    let damaged = damaged_parts(delivered, stored);
    assert_eq!(tags(delivered), tags(stored));
    damaged
}

/// The same for a record that was found by its key, which no entry tells about.
pub(crate) fn damaged_parts(delivered: &[u8], stored: &[u8]) -> Vec<&'static str> {
    let parts = unprotected(&Record::parse(stored).unwrap());
    assert_eq!(delivered.len(), stored.len(), "a record of another size");
    let mut damaged = Vec::new();
    for (at, (found, wanted)) in delivered.iter().zip(stored).enumerate().filter(|(_, (found, wanted))| found != wanted)
    {
        let part = parts.iter().find(|(_, part)| part.contains(&at));
        let (name, _) = part.unwrap_or_else(|| panic!("a wrong message: {found} for {wanted} at {at} of a record"));
        if damaged.last() != Some(name) {
            damaged.push(*name);
        }
    }
    damaged
}

/// Copies a store that is not open.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files in a directory and below it.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// The names in a directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    files(dir).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Makes a file of a directory that was written just now old.
pub(crate) fn age(dir: &Path, name: &str, hours: u64) {
    let file = std::fs::File::options().write(true).open(dir.join(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
}

/// Says that a test leaves something out. With `CI=true` it fails instead: what nobody looks at may
/// not be skipped in silence.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    println!("skipped: {why}");
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

/// Where a random test begins: at `SEED`, or anywhere. Printed, so that a test that failed can be
/// run again.
pub(crate) fn seed() -> u64 {
    let seed = number("SEED").unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    println!("SEED={seed}");
    seed
}

/// What a power cut may leave of a file: the first `kept` bytes as they are now, and of what lies
/// behind some pages as they are and some as they were when the file was last brought to the disk.
pub(crate) fn torn(random: &mut Random, now: &[u8], before: &[u8], kept: usize, page: usize) -> Vec<u8> {
    let kind = random.below(3);
    let mut torn = now.to_vec();
    for (number, bytes) in torn.chunks_mut(page).enumerate() {
        let lost = match kind {
            0 => true,
            1 => false,
            _ => random.below(2) == 0,
        };
        if lost {
            for (at, byte) in bytes.iter_mut().enumerate() {
                let at = number * page + at;
                if at >= kept {
                    *byte = before.get(at).copied().unwrap_or(0);
                }
            }
        }
    }
    torn
}

/// SplitMix64: random enough, and the same everywhere for a seed.
#[derive(Default)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
