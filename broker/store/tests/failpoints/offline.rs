//! A check that cannot read says so, and a repair that fails anywhere can be begun again and has
//! lost nothing of what it cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rmq_protocol::message::stored::{MAGIC_V1, Record};
use rmq_store::fail_point::{Armed, Fault, arm};
use rmq_store::offline::{Place, check, repair};
use rmq_store::{Error, MessageStore};

use crate::points::{CHECK, REPAIR};
use crate::support::*;
use crate::{ALWAYS, EIO, ENOSPC, alone};

const EXDEV: i32 = 18;

/// What a repair does besides what is its own.
const ALSO: [&str; 12] = [
    "abort::write",
    "checkpoint::open",
    "checkpoint::sync",
    "checkpoint::write",
    "commit_log::cut",
    "commit_log::open",
    "commit_log::scan",
    "commit_log::sync_cut",
    "directory::create",
    "directory::open",
    "directory::read",
    "directory::sync",
];

fn place(root: &Path) -> Place {
    Place { index_slots: config(root).index.slots, ..Place::new(root) }
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(root).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A store with damage to its log, to a queue and to its index.
struct Damaged {
    root: tempfile::TempDir,
    /// The records before the damage in the log, and those behind it.
    before: Vec<Vec<u8>>,
    behind: Vec<Vec<u8>>,
}

impl Damaged {
    fn new() -> Damaged {
        let root = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
        let whole = root.path().join("whole");
        let store = open(&whole);
        let (mut records, mut damage) = (Vec::new(), p(0));
        for n in 0..120_u64 {
            let mut body = n.to_be_bytes().to_vec();
            body.resize(1900, 1);
            let properties = format!("KEYS\u{1}k{n}\u{2}");
            let message = message("T", (n % 2) as i32, &properties, &body);
            let placed = store.put(&message).unwrap();
            records.push(record(&message, &placed));
            if n == 50 {
                damage = placed.physical_offset + 200;
            }
        }
        settle(&store);
        store.close().unwrap();
        drop(store);
        let change = |path: &Path, at: u64| {
            let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
            let mut bytes = [0; 4];
            file.read_exact_at(&mut bytes, at).unwrap();
            file.write_all_at(&bytes.map(|byte| !byte), at).unwrap();
        };
        let (file, byte) = in_file(&whole, damage);
        change(&file, byte);
        change(&whole.join("consumequeue/T/0/00000000000000000000"), 205);
        change(&whole.join("index").join(&names(&whole.join("index"))[0]), 40 + 4 * 50 + 20 * 7 + 8);
        let behind = records.split_off(51);
        records.pop();
        Damaged { root, before: records, behind }
    }

    fn copied(&self) -> PathBuf {
        let copied = self.root.path().join("copied");
        let _ = std::fs::remove_dir_all(&copied);
        copy(&self.root.path().join("whole"), &copied);
        copied
    }

    /// Every record but the damaged one is in some file.
    fn has_lost_nothing(&self, root: &Path, when: &str) {
        let files = contents(root);
        let mut found = BTreeSet::new();
        for bytes in files.values() {
            for mark in memchr::memmem::find_iter(bytes, &MAGIC_V1.to_be_bytes()) {
                let bytes = &bytes[mark.saturating_sub(4)..];
                found.extend(Record::parse(bytes).map(|record| record.bytes()));
            }
        }
        for (number, record) in self.before.iter().chain(&self.behind).enumerate() {
            assert!(found.contains(&**record), "{when}: record {number} is nowhere");
        }
    }

    /// A second repair finishes what the first one began, and the store has all that lay before the
    /// damage.
    fn is_repaired_by_another(&self, root: &Path, when: &str) {
        repair(&place(root), true).unwrap();
        assert_eq!(check(&place(root)).unwrap().damages, 0, "{when}");
        self.has_lost_nothing(root, when);
        let store = MessageStore::open(config(root), Vec::new()).unwrap();
        settle(&store);
        let all: Vec<Vec<u8>> = (0..2).flat_map(|queue| read_records(&store, "T", queue)).collect();
        assert_eq!(all.len(), self.before.len(), "{when}");
        assert!(self.before.iter().all(|record| all.contains(record)), "{when}");
        for n in 0..self.before.len() {
            assert_eq!(
                store
                    .query("T", &format!("k{n}"), 9, rmq_store::Millis::new(0), rmq_store::Millis::new(i64::MAX))
                    .unwrap()
                    .records
                    .len(),
                1,
                "{when}: k{n}"
            );
        }
    }
}

/// Repairs with one more point armed; whether it struck.
fn fails(damaged: &Damaged, point: &str, errno: i32, skip: u64, times: u64, also: Option<&Armed>) -> bool {
    let when = format!("{point}: errno {errno} at hit {} times {times}, other volume {}", skip + 1, also.is_some());
    println!("{when}");
    let root = damaged.copied();
    let armed = arm(point, Fault::Error(errno), skip, times);
    let outcome = repair(&place(&root), true);
    let struck = armed.struck() > 0;
    drop(armed);
    assert_eq!(outcome.is_err(), struck, "{when}: {outcome:?}");
    damaged.has_lost_nothing(&root, &when);
    damaged.is_repaired_by_another(&root, &when);
    struck
}

/// Lets a point fail at each of its hits; how many these are.
fn fails_everywhere(damaged: &Damaged, point: &str, also: Option<&Armed>) -> u64 {
    let mut skip = 0;
    while [(EIO, 1), (ENOSPC, ALWAYS)].map(|(errno, times)| fails(damaged, point, errno, skip, times, also))
        != [false, false]
    {
        skip += 1;
    }
    skip
}

#[test]
fn a_repair_that_fails_at_any_step_is_finished_by_the_next_and_loses_nothing() {
    let _alone = alone();
    let damaged = Damaged::new();
    for point in REPAIR.into_iter().filter(|point| *point != "repair::delete") {
        assert!(fails_everywhere(&damaged, point, None) > 0, "no repair meets {point}");
    }
    for point in ALSO {
        assert!(fails_everywhere(&damaged, point, None) > 0, "no repair meets {point}");
    }
}

/// What is kept lies on another volume: files are copied there and deleted here.
#[test]
fn a_repair_that_keeps_files_on_another_volume_loses_nothing() {
    let _alone = alone();
    let damaged = Damaged::new();
    let elsewhere = arm("repair::rename", Fault::Error(EXDEV), 0, ALWAYS);
    for point in ["repair::copy", "repair::delete"] {
        assert!(fails_everywhere(&damaged, point, Some(&elsewhere)) > 0, "no repair meets {point}");
    }
    assert!(elsewhere.struck() > 0);
}

#[test]
fn a_check_that_cannot_read_names_the_file_and_changes_nothing() {
    let _alone = alone();
    let damaged = Damaged::new();
    let root = damaged.copied();
    let before = contents(&root);
    for point in CHECK.into_iter().chain(["abort::look", "commit_log::scan", "directory::read", "lock::open"]) {
        let mut skip = 0;
        loop {
            let armed = arm(point, Fault::Error(EIO), skip, 1);
            let outcome = check(&place(&root));
            if armed.struck() == 0 {
                break;
            }
            let Err(Error::Io { path, .. }) = &outcome else { panic!("{point}, hit {}: {outcome:?}", skip + 1) };
            assert!(path.starts_with(&root), "{point}: {}", path.display());
            assert_eq!(contents(&root), before);
            skip = 2 * skip + 1;
        }
        assert!(skip > 0, "no check meets {point}");
    }
}
