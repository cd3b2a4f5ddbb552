use std::path::Path;
use std::time::{Duration, Instant};

use rmq_store::{LogOffset, MessageStore};

use crate::support::*;

/// The first checkpoint came an interval after the start: a broker that died before that, time and
/// again, read back ever more.
#[test]
fn a_process_that_always_dies_soon_after_its_start_does_not_read_back_ever_more() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.checkpoint_bytes = LOG_FILE;
    // Each life alone writes too little for a checkpoint.
    let life = LOG_FILE / 2;
    let (mut vouched_for, mut kept) = (Vec::new(), 0);
    for _ in 0..8 {
        let before = checkpoint_record(root.path());
        let store = MessageStore::open(config.clone(), Vec::new()).unwrap();
        let end = store.max_physical_offset();
        if end - before >= config.checkpoint_bytes {
            let deadline = Instant::now() + Duration::from_secs(30);
            while checkpoint_record(root.path()) == before {
                assert!(Instant::now() < deadline, "the next start will read {} bytes again", end - before);
                std::thread::yield_now();
            }
        }
        while store.max_physical_offset() - end < life {
            put(&store, "T", 0, &[kept as u8; 5000]);
            kept += 1;
        }
        settle(&store);
        let record = checkpoint_record(root.path());
        assert!(store.max_physical_offset() - record < 2 * config.checkpoint_bytes);
        vouched_for.push(record);
    }
    assert!(vouched_for.is_sorted() && vouched_for[7] > p(2 * LOG_FILE), "{vouched_for:?}");
    assert_eq!(read_all(&open(root.path()), "T", 0).len(), kept);
}

/// The record from which the next start reads the log back.
fn checkpoint_record(root: &Path) -> LogOffset {
    let bytes = std::fs::read(root.join("checkpoint")).unwrap_or_default();
    bytes.get(40..48).map_or(LogOffset::ZERO, |record| p(u64::from_be_bytes(record.try_into().unwrap())))
}

/// Where this process has open what lies in `dir`.
fn open_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let dir = dir.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let mut found: Vec<_> = targets.filter(|path| path.starts_with(&dir)).collect();
    found.sort();
    found.dedup();
    found
}

/// Files were synced through descriptors that were opened for it. The kernel reports a write that
/// failed to those that were open by then; to a later one only as long as it still has the file in
/// memory.
#[test]
fn a_file_is_synced_through_the_descriptor_it_was_written_through() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.open_files = 1;
    let store = MessageStore::open(config, Vec::new()).unwrap();
    let queues = root.path().join("consumequeue");
    let dir = queues.canonicalize().unwrap();
    assert_eq!(open_below(&queues), std::slice::from_ref(&dir), "what a sync of the file system asks");
    (0..5).for_each(|queue| _ = put(&store, "T", queue, b"x"));
    settle(&store);
    let mut files: Vec<_> = (0..5).map(|queue| dir.join(format!("T/{queue}/{:020}", 0))).collect();
    files.insert(0, dir);
    let deadline = Instant::now() + Duration::from_secs(30);
    while open_below(&queues) != files {
        assert!(Instant::now() < deadline, "only {:?} are open", open_below(&queues));
        std::thread::yield_now();
    }
    store.close().unwrap();
    assert_eq!(open_below(&queues).len(), 2, "the directory, and the one file that may stay open");
}
