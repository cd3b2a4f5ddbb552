use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rmq_protocol::message::stored::Record;
use rmq_store::offline::{self, Place};
use rmq_store::{Appended, Error, LogOffset, MessageStore};

use crate::support::*;

fn try_open(root: &Path) -> Result<MessageStore, Error> {
    MessageStore::open(config(root), Vec::new())
}

/// Messages of 20 to 2,000 bytes on two queues, all keyed; the store is dropped, not closed.
fn crashed(root: &Path, messages: u64) -> Vec<Appended> {
    let store = open(root);
    let mut random = Random(messages);
    let placed = (0..messages)
        .map(|n| {
            let mut body = n.to_be_bytes().to_vec();
            let len = 12 + random.below(2000) as usize;
            body.extend(random.bytes(len));
            let properties = format!("KEYS\u{1}k{n} all\u{2}");
            store.put(&message("T", (n % 2) as i32, &properties, &body)).unwrap()
        })
        .collect();
    settle(&store);
    placed
}

/// The file of the log that contains an offset, and the byte of it that lies there.
fn log_file(root: &Path, offset: LogOffset) -> (std::fs::File, u64) {
    let (path, byte) = in_file(root, offset);
    (std::fs::File::options().read(true).write(true).open(path).unwrap(), byte)
}

fn write(root: &Path, offset: LogOffset, bytes: &[u8]) {
    let (file, byte) = log_file(root, offset);
    file.write_all_at(bytes, byte).unwrap();
}

fn read(root: &Path, offset: LogOffset, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let (file, byte) = log_file(root, offset);
    file.read_exact_at(&mut bytes, byte).unwrap();
    bytes
}

/// Zeros the log from `offset` to the end of its file.
fn zero_from(root: &Path, offset: LogOffset) {
    let (_, byte) = in_file(root, offset);
    write(root, offset, &vec![0; (LOG_FILE - byte) as usize]);
}

/// Exactly the first `kept` messages are there, in their queues and under their keys.
fn check(store: &MessageStore, kept: usize) {
    let mut seen: Vec<u64> = Vec::new();
    for queue in 0..2 {
        let all = read_all(store, "T", queue);
        assert!(all.iter().map(|(number, _)| *number).eq(0..all.len() as u64));
        seen.extend(all.iter().map(|(_, body)| u64::from_be_bytes(body[..8].try_into().unwrap())));
    }
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..kept as u64), "{} of {kept} messages are there", seen.len());
    assert_eq!(
        store.query("T", "all", usize::MAX, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(),
        kept
    );
}

#[test]
fn a_killed_process_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let placed = crashed(root.path(), 200);
    assert!(root.path().join("abort").exists());
    let store = open(root.path());
    assert_eq!(store.max_physical_offset(), placed[199].end);
    check(&store, 200);
    assert_eq!(put(&store, "T", 0, &200_u64.to_be_bytes()).queue_offset, q(100));
}

#[test]
fn a_tail_cut_at_any_byte_ends_at_the_last_whole_record() {
    let root = tempfile::tempdir().unwrap();
    let placed = crashed(root.path(), 6);
    let end = placed[5].end.get();
    for cut in (placed[3].physical_offset.get()..=end).step_by(37).chain(end - 20..=end).map(p) {
        let copied = tempfile::tempdir().unwrap();
        copy(root.path(), copied.path());
        zero_from(copied.path(), cut);
        let store = open(copied.path());
        // A record whose last bytes were zero anyway is whole without them.
        let kept = placed.iter().filter(|place| place.end <= cut).count();
        assert_eq!(store.max_physical_offset(), store_end(&placed, kept), "cut at {cut} of {placed:?}");
        check(&store, kept);
        // What comes next goes where the torn record was, and is there after another crash.
        let next = put(&store, "T", kept as i32 % 2, &(kept as u64).to_be_bytes());
        assert_eq!((next.physical_offset, next.queue_offset), (store_end(&placed, kept), q(kept as u64 / 2)));
        settle(&store);
        drop(store);
        let store = open(copied.path());
        assert_eq!(store.max_physical_offset(), next.end);
    }
}

fn store_end(placed: &[Appended], kept: usize) -> LogOffset {
    kept.checked_sub(1).map_or(LogOffset::ZERO, |last| placed[last].end)
}

#[test]
fn garbage_behind_the_last_record_is_a_torn_tail() {
    let root = tempfile::tempdir().unwrap();
    let placed = crashed(root.path(), 10);
    let end = placed[9].end;
    let torn = read(root.path(), placed[9].physical_offset, placed[9].size() as usize);
    for garbage in
        [&b"\x00\x00\x01\x00"[..], &[0xFF; 300], &torn[..torn.len() - 1], b"\x7f\xff\xff\xff\xda\xa3\x20\xa7\x01"]
    {
        let copied = tempfile::tempdir().unwrap();
        copy(root.path(), copied.path());
        write(copied.path(), end, garbage);
        let store = open(copied.path());
        assert_eq!(store.max_physical_offset(), end);
        check(&store, 10);
        drop(store);
        // It is gone from the disk too, so that it can never come back.
        assert_eq!(read(copied.path(), end, 400), [0; 400]);
    }
}

#[test]
fn damage_before_good_records_stops_the_start_and_says_where() {
    let root = tempfile::tempdir().unwrap();
    let placed = crashed(root.path(), 200);
    assert!(placed[199].physical_offset > p(2 * LOG_FILE));
    for victim in [0, 5, 60, 120, 198] {
        let place = placed[victim];
        for at in [0, 5, 30, 100] {
            let copied = tempfile::tempdir().unwrap();
            copy(root.path(), copied.path());
            let mut byte = read(copied.path(), place.physical_offset + at, 1);
            byte[0] ^= 0x40;
            write(copied.path(), place.physical_offset + at, &byte);
            let error = try_open(copied.path()).unwrap_err();
            let Error::Corruption { file, offset, reason } = &error else { panic!("{error}") };
            assert_eq!(*offset, place.physical_offset, "{error}");
            assert_eq!(*file, in_file(copied.path(), *offset).0, "{error}");
            assert!(reason.contains("a good record follows at"), "{error}");
            // Nothing was cut: once the byte is right again everything is there.
            byte[0] ^= 0x40;
            write(copied.path(), place.physical_offset + at, &byte);
            check(&open(copied.path()), 200);
        }
    }
}

#[test]
fn one_good_record_at_the_start_of_the_next_file_is_enough_to_tell_damage() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let placed: Vec<_> = (0..3).map(|n| put(&store, "T", 0, &[n; 30_000])).collect();
    assert_eq!(placed[2].physical_offset, p(LOG_FILE));
    drop(store);
    write(root.path(), placed[1].physical_offset + 200, b"x");
    let error = try_open(root.path()).unwrap_err();
    assert!(error.to_string().contains(&format!("a good record follows at {LOG_FILE}")), "{error}");
}

#[test]
fn a_page_that_a_power_cut_took_ends_the_log_unless_it_was_flushed() {
    let root = tempfile::tempdir().unwrap();
    let placed = crashed(root.path(), 60);
    let page = p(5 * 4096);
    let copied = tempfile::tempdir().unwrap();
    copy(root.path(), copied.path());
    write(copied.path(), page, &[0; 4096]);
    let kept = placed.iter().filter(|place| place.end <= page).count();
    check(&open(copied.path()), kept);

    // The same page, but now a checkpoint has vouched for it.
    let copied = tempfile::tempdir().unwrap();
    copy(root.path(), copied.path());
    open(copied.path()).close().unwrap();
    write(copied.path(), page, &[0; 4096]);
    // Not looked at: the scan begins at the last record. Damage there and behind is.
    let store = open(copied.path());
    assert_eq!(store.max_physical_offset(), placed[59].end);
    drop(store);
    write(copied.path(), placed[59].physical_offset, &[0; 16]);
    let error = try_open(copied.path()).unwrap_err();
    assert!(matches!(error, Error::Corruption { .. }), "{error}");
}

#[test]
fn a_log_shorter_than_the_checkpoint_knows_is_refused_before_anything_is_touched() {
    let root = tempfile::tempdir().unwrap();
    crashed(root.path(), 100);
    open(root.path()).close().unwrap();
    let queue = root.path().join("consumequeue/T/0/00000000000000000000");
    let before = std::fs::read(&queue).unwrap();
    for name in names(&root.path().join("commitlog")) {
        std::fs::rename(root.path().join("commitlog").join(&name), root.path().join(&name)).unwrap();
    }
    assert!(matches!(try_open(root.path()), Err(Error::Corruption { .. })));
    assert_eq!(std::fs::read(&queue).unwrap(), before);
    for name in names(root.path()).into_iter().filter(|name| name.len() == 20) {
        let moved = root.path().join(&name);
        if moved.exists() {
            std::fs::rename(moved, root.path().join("commitlog").join(&name)).unwrap();
        }
    }
    check(&open(root.path()), 100);
}

#[test]
fn queues_and_index_that_were_lost_are_made_again() {
    let root = tempfile::tempdir().unwrap();
    crashed(root.path(), 150);
    for lost in ["consumequeue", "index", "checkpoint", "consumequeue/T/1/00000000000000000400"] {
        let copied = tempfile::tempdir().unwrap();
        copy(root.path(), copied.path());
        let path = copied.path().join(lost);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        check(&open(copied.path()), 150);
    }
}

#[test]
fn files_of_a_creation_that_was_interrupted_are_no_obstacle() {
    let root = tempfile::tempdir().unwrap();
    let placed = crashed(root.path(), 20);
    let next = (placed[19].end.get() / LOG_FILE + 1) * LOG_FILE;
    std::fs::File::create(root.path().join(format!("commitlog/{next:020}"))).unwrap();
    std::fs::File::create(root.path().join("index/20990101000000000")).unwrap();
    check(&open(root.path()), 20);

    // The same with the file complete but never written to.
    let root = tempfile::tempdir().unwrap();
    crashed(root.path(), 20);
    let file = std::fs::File::create(root.path().join(format!("commitlog/{next:020}"))).unwrap();
    file.set_len(LOG_FILE).unwrap();
    let store = open(root.path());
    check(&store, 20);
    store.close().unwrap();
    let files = names(&root.path().join("commitlog"));
    assert_eq!(files.len() as u64, next / LOG_FILE);
}

#[test]
fn files_of_another_size_are_refused_with_both_sizes() {
    let root = tempfile::tempdir().unwrap();
    crashed(root.path(), 3);
    let mut other = config(root.path());
    other.commit_log_file_size = 2 * LOG_FILE;
    let error = MessageStore::open(other, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("65536") && error.to_string().contains("131072"), "{error}");
}

/// The end of such a file is no number that fits: the process ended with a panic, at each start.
#[test]
fn a_file_with_a_name_beyond_every_offset_is_refused_by_its_name() {
    let root = tempfile::tempdir().unwrap();
    crashed(root.path(), 3);
    for name in [u64::MAX, u64::MAX - LOG_FILE + 1, 1 << 63] {
        let path = root.path().join(format!("commitlog/{name:020}"));
        std::fs::File::create(&path).unwrap().set_len(LOG_FILE).unwrap();
        let place = Place { index_slots: config(root.path()).index.slots, ..Place::new(root.path()) };
        let refusals = [
            try_open(root.path()).map(drop).unwrap_err(),
            offline::check(&place).map(drop).unwrap_err(),
            offline::repair(&place, true).map(drop).unwrap_err(),
        ];
        for error in refusals {
            assert!(matches!(&error, Error::Config(text) if text.contains(path.to_str().unwrap())), "{error}");
        }
        std::fs::remove_file(path).unwrap();
    }
    check(&open(root.path()), 3);
}

#[test]
fn a_missing_file_in_the_middle_is_named() {
    let root = tempfile::tempdir().unwrap();
    crashed(root.path(), 200);
    std::fs::remove_file(root.path().join(format!("commitlog/{LOG_FILE:020}"))).unwrap();
    let error = try_open(root.path()).unwrap_err();
    assert!(matches!(error, Error::Corruption { offset, .. } if offset == p(LOG_FILE)), "{error}");
}

#[test]
fn a_copy_of_a_running_store_is_a_store_that_ends_somewhere() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                // No faster than it can be copied.
                settle(&store);
                let properties = format!("KEYS\u{1}k{n} all\u{2}");
                let mut body = n.to_be_bytes().to_vec();
                body.resize(8 + (n % 900) as usize, 0);
                store.put(&message("T", (n % 2) as i32, &properties, &body)).unwrap();
                n += 1;
            }
        });
        let mut ends = Vec::new();
        for _ in 0..8 {
            let copied = tempfile::tempdir().unwrap();
            // The checkpoint first: it must not vouch for what the copy of the log does not have
            // yet.
            std::fs::copy(root.path().join("checkpoint"), copied.path().join("checkpoint")).unwrap();
            std::fs::write(copied.path().join("abort"), "").unwrap();
            let log = root.path().join("commitlog");
            let newest = names(&log).pop();
            copy(&log, &copied.path().join("commitlog"));
            // A file may be listed that is newer than one that is not.
            for name in names(&copied.path().join("commitlog")).into_iter().filter(|name| Some(name) > newest.as_ref())
            {
                std::fs::remove_file(copied.path().join("commitlog").join(name)).unwrap();
            }
            for part in ["consumequeue", "index"] {
                copy(&root.path().join(part), &copied.path().join(part));
            }
            let copied = open(copied.path());
            let kept = read_all(&copied, "T", 0).len() + read_all(&copied, "T", 1).len();
            check(&copied, kept);
            ends.push(copied.max_physical_offset());
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(ends.is_sorted() && ends[7] > ends[0], "{ends:?}");
    });
}

#[test]
fn a_panic_on_a_thread_of_the_store_ends_writes_and_not_reads() {
    let root = tempfile::tempdir().unwrap();
    let store =
        MessageStore::open(config(root.path()), vec![rmq_store::arrivals(|_| panic!("the listener fails"))]).unwrap();
    let end = put(&store, "T", 0, b"x").end;
    let halted = store.flushed().wait_until(end, std::time::Instant::now() + std::time::Duration::from_secs(30));
    assert_eq!(halted, Err(rmq_store::Halt::Failed));
    let refused = store.put(&message("T", 0, "", b"x")).unwrap_err();
    assert!(refused.to_string().contains("store-dispatch panicked"), "{refused}");
    assert_eq!(read_all(&store, "T", 0).len(), 1);
    assert!(store.close().is_err());
    drop(store);
    assert_eq!(read_all(&open(root.path()), "T", 0).len(), 1);
}

/// One that failed again: `SEED=` what it printed.
#[test]
fn random_bytes_anywhere_never_panic_and_never_deliver_a_wrong_message() {
    let mut random = Random(seed());
    let root = tempfile::tempdir().unwrap();
    crashed(root.path(), 120);
    let kept = tempfile::tempdir().unwrap();
    copy(root.path(), kept.path());
    let store = open(kept.path());
    // By the number that is in the body, which the checksum covers.
    let number = |record: &[u8]| u64::from_be_bytes(*Record::parse(record).unwrap().body().first_chunk().unwrap());
    let whole: BTreeMap<u64, Vec<u8>> =
        (0..2).flat_map(|queue| read_records(&store, "T", queue)).map(|record| (number(&record), record)).collect();
    let is_right = |delivered: &[u8]| {
        let stored = &whole[&number(delivered)];
        let mut delivered = delivered.to_vec();
        // All of it is read back, and its entries are made from it: its queue and its number there
        // are what it says.
        for part in [12..16, 20..28] {
            delivered[part.clone()].copy_from_slice(&stored[part]);
        }
        damaged_parts(&delivered, stored);
    };
    let targets = files(root.path());
    for _ in 0..150 {
        let copied = tempfile::tempdir().unwrap();
        copy(root.path(), copied.path());
        let target = &targets[random.below(targets.len() as u64) as usize];
        let file = copied.path().join(target.strip_prefix(root.path()).unwrap());
        let mut bytes = std::fs::read(&file).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let len = [1, 4, 20, 512, 4096][random.below(5) as usize];
        let at = random.below(bytes.len() as u64) as usize;
        let noise = if random.below(2) == 0 { random.bytes(len) } else { vec![0; len] };
        bytes.iter_mut().skip(at).zip(noise).for_each(|(byte, noise)| *byte = noise);
        std::fs::write(&file, bytes).unwrap();
        let Ok(store) = try_open(copied.path()) else { continue };
        for queue in 0..2 {
            read_records(&store, "T", queue).iter().for_each(|record| is_right(record));
        }
        store
            .query("T", "all", 1000, rmq_store::Millis::MIN, rmq_store::Millis::MAX)
            .unwrap()
            .records
            .iter()
            .for_each(|record| is_right(record));
    }
}

#[test]
fn a_topic_deleted_and_made_again_keeps_its_new_messages_over_a_crash() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..200 {
        put(&store, "T", 0, &[n as u8; 100]);
    }
    assert_eq!(store.delete_topic("T").unwrap(), 1);
    for n in 0..50 {
        assert_eq!(put(&store, "T", 0, &[n as u8; 200]).queue_offset, q(n));
    }
    settle(&store);
    store.flush().unwrap();
    assert_eq!(read_all(&store, "T", 0).len(), 50);
    drop(store);
    let store = open(root.path());
    assert_eq!((store.min_offset("T", 0), store.max_offset("T", 0)), (q(0), q(50)));
    assert_eq!(read_all(&store, "T", 0).len(), 50);
}
