use std::path::Path;
use std::time::{Duration, Instant};

use rmq_store::MessageStore;

use crate::support::*;

/// The first checkpoint came an interval after the start: a broker that died before that, time and again, read back ever more.
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
        let store = MessageStore::open(config.clone(), Box::new(|_| {})).unwrap();
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
    assert!(vouched_for.is_sorted() && vouched_for[7] > 2 * LOG_FILE, "{vouched_for:?}");
    assert_eq!(read_all(&open(root.path()), "T", 0).len(), kept);
}

/// The record from which the next start reads the log back.
fn checkpoint_record(root: &Path) -> u64 {
    let bytes = std::fs::read(root.join("checkpoint")).unwrap_or_default();
    bytes.get(40..48).map_or(0, |record| u64::from_be_bytes(record.try_into().unwrap()))
}
