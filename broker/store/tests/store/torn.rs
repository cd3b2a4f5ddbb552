//! Every file of a store cut at every byte of its last written 4 KiB, and with each of its sectors
//! zeroed or flipped, after a crash and after a clean stop: the store opens or says what is wrong
//! with which file, and delivers nothing that was not stored, but for the parts of a record that
//! nothing covers; `single_bytes` says which these are.
//!
//! Cuts are made at some of the bytes by default and at all of them with `TORN=all`, as in
//! `tests/run long`.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rmq_protocol::message::stored::Record;
use rmq_store::{Error, Filter, Limits, LogOffset, MessageStore};

use crate::support::*;

const MESSAGES: u64 = 70;
const SECTOR: usize = 512;
const TAIL: usize = 4096;

/// A store as it lies on the disk, to be damaged again and again.
struct Victim {
    root: tempfile::TempDir,
    /// The records of the two queues.
    stored: [Vec<Vec<u8>>; 2],
    /// Where the record begins that the checkpoint vouches for, and where the log ends.
    vouched: LogOffset,
    end: LogOffset,
}

impl Victim {
    fn new(clean: bool) -> Victim {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let mut victim =
            Victim { root, stored: [Vec::new(), Vec::new()], vouched: LogOffset::ZERO, end: LogOffset::ZERO };
        let store = open(&victim.store());
        victim.put(&store, 0..MESSAGES / 2);
        store.close().unwrap();
        drop(store);
        let store = open(&victim.store());
        victim.put(&store, MESSAGES / 2..MESSAGES);
        if clean {
            store.close().unwrap();
        }
        while store.metrics().consume_queue_pending > 0 {
            std::thread::yield_now();
        }
        victim
    }

    fn store(&self) -> PathBuf {
        self.root.path().join("whole")
    }

    fn put(&mut self, store: &MessageStore, numbers: std::ops::Range<u64>) {
        let mut random = Random(numbers.start);
        for n in numbers {
            let mut body = n.to_be_bytes().to_vec();
            let len = 20 + random.below(1900) as usize;
            body.extend(random.bytes(len));
            let properties = format!("KEYS\u{1}k{n} all\u{2}TAGS\u{1}t{n}\u{2}");
            let message = message("T", (n % 2) as i32, &properties, &body);
            let placed = store.put(&message).unwrap();
            self.stored[(n % 2) as usize].push(record(&message, &placed));
            (self.vouched, self.end) =
                (if n < MESSAGES / 2 { placed.physical_offset } else { self.vouched }, placed.end);
        }
        settle(store);
    }

    /// Lets `damage` do what it wants to a copy of the file and opens the store; whatever is
    /// delivered has to be right.
    fn open(&self, file: &Path, damage: impl FnOnce(&std::fs::File)) -> Result<usize, Error> {
        let copied = self.root.path().join("damaged");
        let _ = std::fs::remove_dir_all(&copied);
        copy(&self.store(), &copied);
        let file = copied.join(file.strip_prefix(self.store()).unwrap());
        damage(&std::fs::File::options().read(true).write(true).open(&file).unwrap());
        let store = MessageStore::open(config(&copied), Vec::new())?;
        settle(&store);
        let mut delivered = 0;
        for (queue, stored) in self.stored.iter().enumerate() {
            for bytes in read_records(&store, "T", queue as i32) {
                let number = Record::parse(&bytes).unwrap().queue_offset();
                let stored = stored.get(number as usize);
                consumed(&bytes, stored.unwrap_or_else(|| panic!("no message {number} of queue {queue} was stored")));
                delivered += 1;
            }
        }
        let truth = ["commitlog", "consumequeue"].iter().any(|part| file.starts_with(copied.join(part)));
        assert!(
            truth || delivered == MESSAGES as usize,
            "{delivered} are left, and {} is not where they are",
            file.display()
        );
        for record in store.query("T", "all", usize::MAX, rmq_store::Millis::MIN, rmq_store::Millis::MAX)?.records {
            let parsed = Record::parse(&record).unwrap();
            damaged_parts(&record, &self.stored[parsed.queue_id() as usize][parsed.queue_offset() as usize]);
        }
        let next = put(&store, "T", 0, b"next");
        settle(&store);
        assert_eq!(
            bodies(&get(&store, "T", 0, next.queue_offset.get())),
            [(next.queue_offset.get(), b"next".to_vec())]
        );
        Ok(delivered)
    }

    /// Where the written part of a file ends.
    fn written(&self, file: &Path) -> usize {
        let bytes = std::fs::read(file).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }
}

/// A refusal names the file it is about, or the log where the checkpoint knows more of it.
fn is_right(error: &Error, file: &Path) -> bool {
    let names = error.to_string().contains(file.file_name().unwrap().to_str().unwrap());
    names || (file.ends_with("checkpoint") && matches!(error, Error::Corruption { .. }))
}

fn each_victim(each: impl Fn(&Victim, &Path, bool)) {
    for clean in [false, true] {
        let victim = Victim::new(clean);
        for file in files(&victim.store()) {
            each(&victim, &file, clean);
        }
    }
}

#[test]
fn a_file_whose_last_page_was_written_in_part_opens_or_says_so() {
    let all = std::env::var("TORN").is_ok_and(|which| which == "all");
    each_victim(|victim, file, clean| {
        let written = victim.written(file);
        let from = written.saturating_sub(TAIL);
        for cut in (from..=written).filter(|cut| all || cut % 97 == 0 || written - cut <= 24 || cut - from <= 8) {
            let name = format!("{} cut at {cut} of {written}, clean {clean}", file.display());
            let zeroed = victim.open(file, |file| file.write_all_at(&vec![0; written - cut], cut as u64).unwrap());
            let shortened = victim.open(file, |file| file.set_len(cut as u64).unwrap());
            for (way, outcome) in [("zeroed", zeroed), ("shortened", shortened)] {
                let Err(error) = &outcome else { continue };
                assert!(is_right(error, file), "{name}, {way}: {error}");
            }
        }
    });
}

#[test]
fn a_log_cut_behind_what_the_checkpoint_vouches_for_opens_and_before_it_does_not() {
    let victim = Victim::new(false);
    for file in files(&victim.store().join("commitlog")) {
        let base = p(file.file_name().unwrap().to_str().unwrap().parse().unwrap());
        for byte in (0..(victim.end - base).min(LOG_FILE)).step_by(1009) {
            let (cut, zeros) = (base + byte, (LOG_FILE - byte) as usize);
            let outcome = victim.open(&file, |file| file.write_all_at(&vec![0; zeros], byte).unwrap());
            let follows = victim.end > base + LOG_FILE;
            match outcome {
                Ok(_) => assert!(cut > victim.vouched, "cut at {cut}, {} was vouched for", victim.vouched),
                Err(error) => {
                    assert!(
                        matches!(&error, Error::Corruption { file: named, .. } if is_right(&error, named)),
                        "{error}"
                    );
                    assert!(cut <= victim.vouched + 2100 || follows, "cut at {cut}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_sector_that_was_zeroed_or_flipped_stops_the_start_or_delivers_nothing_wrong() {
    each_victim(|victim, file, clean| {
        let written = victim.written(file);
        for at in (0..written).step_by(SECTOR) {
            let flip = |file: &std::fs::File, flip: bool| {
                let len = (file.metadata().unwrap().len() as usize - at).min(SECTOR);
                let mut sector = vec![0; len];
                file.read_exact_at(&mut sector, at as u64).unwrap();
                sector.iter_mut().for_each(|byte| *byte = if flip { !*byte } else { 0 });
                file.write_all_at(&sector, at as u64).unwrap();
            };
            for flipped in [false, true] {
                if let Err(error) = victim.open(file, |file| flip(file, flipped)) {
                    assert!(
                        is_right(&error, file),
                        "{} at {at}, flipped {flipped}, clean {clean}: {error}",
                        file.display()
                    );
                }
            }
        }
    });
}

#[test]
fn an_index_header_that_claims_too_much_keeps_no_new_message_out() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let keyed = |store: &MessageStore, key| {
        store.put(&message("T", 0, &format!("KEYS\u{1}{key}\u{2}"), b"x")).unwrap();
        settle(store);
    };
    keyed(&store, "old");
    store.close().unwrap();
    drop(store);
    let index = &files(&root.path().join("index"))[0];
    let file = std::fs::File::options().write(true).open(index).unwrap();
    file.write_all_at(&(1_u64 << 40).to_be_bytes(), 24).unwrap();
    let store = open(root.path());
    keyed(&store, "new");
    for key in ["old", "new"] {
        assert_eq!(
            store.query("T", key, 9, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(),
            1,
            "{key}"
        );
    }
}

#[test]
fn a_hole_in_a_queue_stops_the_start_and_says_what_makes_it_whole() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    (0..19).for_each(|n| _ = put(&store, "T", 0, &[n]));
    settle(&store);
    store.close().unwrap();
    drop(store);
    let queue = root.path().join("consumequeue/T/0/00000000000000000000");
    std::fs::File::options().write(true).open(&queue).unwrap().write_all_at(&[0; 40], 100).unwrap();
    let refused = MessageStore::open(config(root.path()), Vec::new()).unwrap_err();
    assert!(matches!(&refused, Error::QueueDamaged { file, entry: 5 } if *file == queue), "{refused}");
    std::fs::remove_dir_all(root.path().join("consumequeue")).unwrap();
    std::fs::remove_file(root.path().join("checkpoint")).unwrap();
    let store = open(root.path());
    assert_eq!(read_all(&store, "T", 0).len(), 19);
    assert_eq!(put(&store, "T", 0, b"next").queue_offset, q(19));
}

#[test]
fn a_table_that_was_written_in_part_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("topics.json");
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<serde_json::Value>(bytes).map_err(|error| Error::Config(error.to_string()))
    };
    let table = |version: u64| serde_json::json!({ "version": version, "topics": vec!["a name of some length"; 300] });
    let text = |version: u64| serde_json::to_vec(&table(version)).unwrap();
    rmq_store::durable_file::replace(&path, &text(1)).unwrap();
    rmq_store::durable_file::replace(&path, &text(2)).unwrap();
    let whole = text(2);
    for cut in whole.len().saturating_sub(TAIL)..whole.len() {
        for torn in [whole[..cut].to_vec(), [&whole[..cut], &vec![0; whole.len() - cut]].concat()] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(rmq_store::durable_file::load(&path, parse).unwrap(), Some(table(1)), "cut at {cut}");
        }
    }
    for at in (0..whole.len()).step_by(SECTOR) {
        for flipped in [false, true] {
            let mut torn = whole.clone();
            torn.iter_mut().skip(at).take(SECTOR).for_each(|byte| *byte = if flipped { !*byte } else { 0 });
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(rmq_store::durable_file::load(&path, parse).unwrap(), Some(table(1)), "sector at {at}");
        }
    }
    // Both are gone: the fault of the file itself is told, and nothing is made up.
    std::fs::write(path.with_extension("json.bak"), &whole[..100]).unwrap();
    assert!(matches!(rmq_store::durable_file::load(&path, parse), Err(Error::Config(_))));
}

/// A page that cannot be read killed the process: the log is mapped. A file cut short under its
/// mapping is such a page for the system.
#[test]
fn a_sector_of_the_log_that_cannot_be_read_is_an_error_and_no_signal() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let placed: Vec<_> = (0..200).map(|n| put(&store, "T", n % 2, &[n as u8; 1000])).collect();
    settle(&store);
    store.close().unwrap();
    drop(store);

    let store = open(root.path());
    let readable = 5 * 4096;
    let first = std::fs::File::options().write(true).open(root.path().join(format!("commitlog/{:020}", 0))).unwrap();
    first.set_len(readable).unwrap();
    let unreadable = placed.iter().position(|place| place.end > p(readable)).unwrap();
    for queue in 0..2 {
        let got = get(&store, "T", queue, 0);
        let good = placed[..unreadable].iter().skip(queue as usize).step_by(2).count() as u64;
        assert_eq!((got.count as u64, got.next_offset), (good, q(good)), "what lies before it is handed out");
        let error = store.get("T", queue, q(good), Limits { messages: 1, bytes: 1 }, Filter::ALL).unwrap_err();
        assert!(matches!(error, Error::Io { doing: "read", .. }), "{error}");
        assert_eq!(get(&store, "T", queue, 90).count, 10, "what lies behind it can be read");
    }
    assert!(store.record(placed[unreadable].physical_offset).is_none());
    assert!(store.record(placed[unreadable - 1].physical_offset).is_some());
    assert_eq!(store.store_timestamp("T", unreadable as i32 % 2, q(unreadable as u64 / 2)).unwrap(), None);
    put(&store, "T", 0, b"next");
    settle(&store);
}
