use std::net::SocketAddr;
use std::path::Path;

use rmq_protocol::message::stored::Draft;

use super::*;

const CONFIG: config::Index = config::Index { enabled: true, slots: 7, entries: 20 };

fn open(dir: &Path, end: u64, crashed: bool) -> Index {
    Index::open(CONFIG, dir.to_owned(), LogOffset::new(end), crashed).unwrap()
}

fn record(properties: &str, sys_flag: i32, offset: u64, time: i64) -> Vec<u8> {
    let host = SocketAddr::from(([127, 0, 0, 1], 1));
    let draft = Draft {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: properties.as_bytes(),
        body: b"",
    };
    draft.prepare().unwrap().to_vec(0, offset, time)
}

fn add(index: &Index, keys: &str, offset: u64, time: i64) {
    let bytes = record(&format!("KEYS\u{1}{keys}\u{2}"), 0, offset, time);
    index.add(&Record::parse(&bytes).unwrap()).unwrap();
}

fn find(index: &Index, key: &str, begin: i64, end: i64) -> Vec<u64> {
    let mut found = Vec::new();
    index
        .find("T", key, Millis::new(begin), Millis::new(end), &mut |offset| {
            found.push(offset.get());
            true
        })
        .unwrap();
    found
}

#[test]
fn the_bytes_are_those_of_java() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), 0, false);
    let bytes = record("UNIQ_KEY\u{1}U\u{2}KEYS\u{1}k\u{2}", 0, 0x100, 5000);
    index.add(&Record::parse(&bytes).unwrap()).unwrap();
    add(&index, "k", 0x200, 7500);
    index.flush().unwrap();
    let name = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().file_name();
    assert_eq!((name.len(), &name.to_str().unwrap()[..2]), (17, "20"));
    let file = std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(file.len(), 40 + 7 * 4 + 20 * 20);
    let long = |at: usize| i64::from_be_bytes(file[at..at + 8].try_into().unwrap());
    let int = |at: usize| i32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((long(0), long(8), long(16), long(24)), (5000, 7500, 0x100, 0x200));
    // "T#U" hashes to 81844, slot 0; "T#k" to 81866, slot 1.
    let (unique, key) = (84 * 961 + 35 * 31 + 85, 84 * 961 + 35 * 31 + 107);
    assert_eq!((int(32), int(36)), (2, 4));
    assert_eq!((int(40 + 4 * (unique % 7) as usize), int(40 + 4 * (key % 7) as usize)), (1, 3));
    let entry = |n: usize| (int(68 + 20 * n), long(72 + 20 * n), int(80 + 20 * n), int(84 + 20 * n));
    assert_eq!(entry(0), (0, 0, 0, 0));
    assert_eq!(entry(1), (unique, 0x100, 0, 0));
    assert_eq!(entry(2), (key, 0x100, 0, 0));
    assert_eq!(entry(3), (key, 0x200, 2, 2));
}

#[test]
fn keys_are_found_newest_first_within_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), 0, false);
    for n in 0..10 {
        add(&index, if n % 2 == 0 { "even all" } else { "odd  all" }, 100 * n, 1_000_000 + 10_000 * n as i64);
    }
    assert_eq!(find(&index, "even", 0, i64::MAX), [800, 600, 400, 200, 0]);
    assert_eq!(find(&index, "all", 1_020_000, 1_040_000), [400, 300, 200]);
    assert_eq!(find(&index, "none", 0, i64::MAX), [] as [u64; 0]);
    let mut first = Vec::new();
    index
        .find("T", "odd", Millis::new(0), Millis::new(i64::MAX), &mut |offset| {
            first.push(offset.get());
            first.len() < 2
        })
        .unwrap();
    assert_eq!(first, [900, 700]);
}

#[test]
fn rolled_back_messages_are_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), 0, false);
    for (sys_flag, offset) in [(0x4, 100), (0xC, 200), (0x8, 300)] {
        let bytes = record("KEYS\u{1}k\u{2}", sys_flag, offset, 1000);
        index.add(&Record::parse(&bytes).unwrap()).unwrap();
    }
    assert_eq!(find(&index, "k", 0, i64::MAX), [300, 100]);
}

#[test]
fn a_full_file_is_followed_by_another_and_old_ones_go_with_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), 0, false);
    // 19 entries fit into a file: entry 0 is never used.
    (0..50).for_each(|n| add(&index, "k", 100 + n, 1000 * n as i64));
    assert_eq!(index.file_count(), 3);
    assert_eq!(find(&index, "k", 0, i64::MAX), (100..150).rev().collect::<Vec<_>>());
    index.flush().unwrap();
    let again = open(dir.path(), u64::MAX, false);
    assert_eq!(find(&again, "k", 0, i64::MAX).len(), 50);
    again.trim(LogOffset::new(100 + 19)).unwrap();
    assert_eq!((again.file_count(), find(&again, "k", 0, i64::MAX).len()), (2, 31));
    again.trim(LogOffset::MAX).unwrap();
    assert_eq!(again.file_count(), 1);
}

/// Files are named by the time of their creation, and read back in the order of their names. One
/// made after the clock, or summer time, had stepped back came before the file it continued.
#[test]
fn a_file_made_after_the_clock_stepped_back_stays_behind_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), 0, false);
    (0..10).for_each(|n| add(&index, "k", 100 + n, 1000 * n as i64));
    drop(index);
    let (_, path) = dir::numbered(dir.path()).unwrap().remove(0);
    std::fs::rename(path, dir.path().join("29991231235959999")).unwrap();
    let index = open(dir.path(), u64::MAX, false);
    (10..50).for_each(|n| add(&index, "k", 100 + n, 1000 * n as i64));
    assert_eq!(index.file_count(), 3);
    drop(index);
    for crashed in [false, true] {
        let index = open(dir.path(), 150, crashed);
        assert_eq!(index.end().0, LogOffset::new(149));
        (40..50).for_each(|n| add(&index, "k", 100 + n, 1000 * n as i64));
        assert_eq!(find(&index, "k", 0, i64::MAX), (100..150).rev().collect::<Vec<_>>());
    }
    let index = open(dir.path(), 150, false);
    index.trim(LogOffset::new(100 + 19)).unwrap();
    assert_eq!(index.file_count(), 2);
}

#[test]
fn a_record_dispatched_again_is_not_added_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), 0, false);
    (0..5).for_each(|n| add(&index, "a b", 100 * n, 1000));
    drop(index);
    let index = open(dir.path(), u64::MAX, false);
    (3..7).for_each(|n| add(&index, "a b", 100 * n, 1000));
    assert_eq!(find(&index, "b", 0, i64::MAX), [600, 500, 400, 300, 200, 100, 0]);
}

#[test]
fn after_a_crash_entries_that_may_be_torn_are_written_again() {
    for torn in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let index = open(dir.path(), 0, false);
        (0..30).for_each(|n| add(&index, &format!("k{} all", n % 5), 100 + n, 1000 * n as i64));
        drop(index);
        // Records from 100 + `end` on may have been lost in any way: zero what they wrote.
        let end = 5 * torn;
        let files = dir::numbered(dir.path()).unwrap();
        for (number, (_, path)) in files.iter().enumerate() {
            let mut bytes = std::fs::read(path).unwrap();
            for entry in 1..20 {
                let record = (number * 19 + entry - 1) / 2;
                if record >= end {
                    bytes[68 + 20 * entry..88 + 20 * entry].fill(0);
                }
            }
            std::fs::write(path, bytes).unwrap();
        }
        let index = open(dir.path(), 100 + end as u64, true);
        assert_eq!(find(&index, "all", 0, i64::MAX).len(), end);
        (end as u64..30).for_each(|n| add(&index, &format!("k{} all", n % 5), 100 + n, 1000 * n as i64));
        assert_eq!(find(&index, "all", 0, i64::MAX), (100..130).rev().collect::<Vec<_>>());
        assert_eq!(find(&index, "k3", 0, i64::MAX), [128, 123, 118, 113, 108, 103]);
    }
}

#[test]
fn truncation_forgets_what_the_log_lost() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path(), 0, false);
    (0..50).for_each(|n| add(&index, "k", 100 + n, 1000 * n as i64));
    index.truncate(LogOffset::new(110)).unwrap();
    assert_eq!(find(&index, "k", 0, i64::MAX), (100..110).rev().collect::<Vec<_>>());
    add(&index, "k", 110, 1);
    assert_eq!(find(&index, "k", 0, i64::MAX).first(), Some(&110));
    index.truncate(LogOffset::ZERO).unwrap();
    assert_eq!(index.file_count(), 0);
    add(&index, "k", 7, 1);
    assert_eq!(find(&index, "k", 0, i64::MAX), [7]);
}

#[test]
fn bytes_that_are_no_index_cannot_hurt() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 1..50u32 {
        let mut state = seed;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(file::size(&CONFIG) as usize)
        .collect();
        let path = dir.path().join("20260101000000000");
        std::fs::write(&path, bytes).unwrap();
        for crashed in [false, true] {
            let index = open(dir.path(), 1000, crashed);
            find(&index, "k", i64::MIN, i64::MAX);
            let bytes = record("KEYS\u{1}k\u{2}", 0, i64::MAX as u64, i64::MAX);
            let _ = index.add(&Record::parse(&bytes).unwrap());
        }
    }
}
