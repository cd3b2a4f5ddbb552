use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rmq_store::offline::{Place, check, dump, repair};
use rmq_store::{Config, Error, MessageStore};

use crate::support::*;

/// Not in the order of their names: files take turns in that order whatever the setting's is.
fn dirs(root: &Path) -> [PathBuf; 3] {
    ["b", "a", "c"].map(|name| root.join(name).join("log"))
}

fn over(root: &Path, dirs: &[PathBuf], read_only: &[PathBuf]) -> Config {
    let mut config = config(root);
    (config.commit_log, config.read_only_commit_log) = (dirs.to_vec(), read_only.to_vec());
    config
}

fn try_open(config: Config) -> Result<MessageStore, Error> {
    MessageStore::open(config, Vec::new())
}

/// Puts messages of 1,000 bytes whose bodies say their number; a file has about 60 of them.
fn fill(store: &MessageStore, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let mut body = n.to_be_bytes().to_vec();
        body.resize(900, 7);
        put(store, "T", 0, &body);
    }
    settle(store);
}

fn numbers(store: &MessageStore) -> Vec<u64> {
    let all = read_all(store, "T", 0);
    all.iter().map(|(_, body)| u64::from_be_bytes(body[..8].try_into().unwrap())).collect()
}

fn file(number: u64) -> String {
    format!("{:020}", number * LOG_FILE)
}

#[test]
fn files_take_turns_and_are_found_wherever_they_lie() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let [b, a, c] = &dirs;
    let store = try_open(over(root.path(), &dirs, &[])).unwrap();
    fill(&store, 0..400);
    store.close().unwrap();
    assert_eq!(names(a), [file(0), file(3), file(6)]);
    assert_eq!(names(b), [file(1), file(4)]);
    assert_eq!(names(c), [file(2), file(5)]);
    assert!(!root.path().join("commitlog").exists());

    // A directory named for reading only gets nothing more, and its files stay in use; the order of
    // the setting does not count.
    let store = try_open(over(root.path(), &[c.clone(), a.clone(), b.clone()], std::slice::from_ref(c))).unwrap();
    assert_eq!(numbers(&store), (0..400).collect::<Vec<_>>());
    fill(&store, 400..700);
    drop(store);
    assert_eq!(names(c), [file(2), file(5)]);
    assert!(names(a).contains(&file(8)) && names(b).contains(&file(9)), "{:?} {:?}", names(a), names(b));

    // After a crash, and with the directory no more in the first setting at all.
    let store = try_open(over(root.path(), &[a.clone(), b.clone()], std::slice::from_ref(c))).unwrap();
    assert_eq!(numbers(&store), (0..700).collect::<Vec<_>>());
    store.truncate(p(5 * LOG_FILE)).unwrap();
    assert_eq!(names(c), [file(2)]);
    fill(&store, 0..10);
    store.close().unwrap();
    assert_eq!(names(b), [file(1), file(4), file(5)]);
}

#[test]
fn a_directory_that_is_forgotten_and_a_file_that_is_there_twice_stop_the_start() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let store = try_open(over(root.path(), &dirs, &[])).unwrap();
    fill(&store, 0..400);
    store.close().unwrap();
    let error = try_open(over(root.path(), &dirs[..2], &[])).unwrap_err();
    assert!(error.to_string().contains(&format!("a file that begins at {} is missing", 2 * LOG_FILE)), "{error}");
    std::fs::copy(dirs[0].join(file(1)), dirs[1].join(file(1))).unwrap();
    let error = try_open(over(root.path(), &dirs, &[])).unwrap_err();
    assert!(error.to_string().contains("lies in another directory too"), "{error}");
    std::fs::remove_file(dirs[1].join(file(1))).unwrap();
    assert_eq!(numbers(&try_open(over(root.path(), &dirs, &[])).unwrap()).len(), 400);
}

#[test]
fn retention_deletes_the_oldest_files_wherever_they_lie() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let store = try_open(over(root.path(), &dirs, &[])).unwrap();
    fill(&store, 0..400);
    store.flush().unwrap();
    for (number, dir) in [(0, &dirs[1]), (1, &dirs[0]), (2, &dirs[2])] {
        age(dir, &file(number), 100);
    }
    assert_eq!(store.delete_expired().unwrap(), 3);
    assert_eq!(store.min_physical_offset(), p(3 * LOG_FILE));
    assert_eq!(names(&dirs[2]), [file(5)]);
    let used = store.disk_use().unwrap();
    let named: Vec<_> = used.commit_log_dirs.iter().map(|(dir, _)| dir.clone()).collect();
    assert_eq!(named, [dirs[1].clone(), dirs[0].clone(), dirs[2].clone()]);
    assert!(used.commit_log_dirs.iter().all(|(_, part)| *part >= used.commit_log));
}

#[test]
fn directories_too_full_get_no_file_unless_all_are() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let mut config = over(root.path(), &dirs, &[]);
    // All lie on one volume, which has more than that in use: all are full, and take turns as if
    // none were.
    (config.retention.clean_forcibly, config.retention.forcibly_enabled) = (1, false);
    let store = try_open(config).unwrap();
    store.delete_expired().unwrap();
    fill(&store, 0..400);
    assert_eq!(dirs.each_ref().map(|dir| names(dir).len() >= 2), [true; 3]);
}

#[test]
fn the_tools_see_one_log_and_keep_what_they_cut_beside_each_directory() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let store = try_open(over(root.path(), &dirs, &[])).unwrap();
    fill(&store, 0..400);
    store.close().unwrap();
    let mut place = Place::new(root.path());
    (place.commit_log, place.index_slots) = (dirs.to_vec(), config(root.path()).index.slots);
    let report = check(&place).unwrap();
    assert_eq!((report.damages, report.log.records, report.log.files), (0, 400, 7), "{report:?}");
    let mut seen = 0;
    dump(&place, p(0)..rmq_store::LogOffset::MAX, &mut |_| {
        seen += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, 400);

    let victim = dirs[0].join(file(4));
    let mut bytes = std::fs::read(&victim).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&victim, bytes).unwrap();
    let done = repair(&place, true).unwrap();
    // File 4 whole, as its first record is damaged, and those behind it.
    let mut kept: Vec<_> = done.kept.iter().flat_map(|dir| names(dir)).collect();
    kept.sort();
    assert_eq!(kept, [file(4), file(5), file(6)]);
    assert_eq!(done.kept.len(), 3);
    let store = try_open(over(root.path(), &dirs, &[])).unwrap();
    assert_eq!(store.max_physical_offset(), p(4 * LOG_FILE));
    let kept = numbers(&store);
    assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
}
