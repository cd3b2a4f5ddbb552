use super::load::Known;
use super::table::Table;
use super::*;
use crate::follower::Follower;
use std::path::Path;

const PER_FILE: u64 = 10;

fn q(offset: u64) -> QueueOffset {
    QueueOffset::new(offset)
}

fn bounds(queue: &Queue) -> (u64, u64) {
    let (min, max) = queue.bounds();
    (min.get(), max.get())
}

fn table(root: &Path) -> Table {
    Table::new(Files::open(root.to_owned(), PER_FILE * SIZE as u64, 4).unwrap(), 1 << 20, 1 << 20)
}

fn entry(n: u64) -> Entry {
    Entry { physical_offset: LogOffset::new(1000 + n * 100), size: 100, tags_code: n as i64 }
}

fn fill(table: &Table, topic: &str, range: std::ops::Range<u64>) -> Arc<Queue> {
    let queue = table.find_or_create(topic, 0);
    range.for_each(|n| table.add(&queue, q(n), entry(n)).unwrap());
    queue
}

fn offsets(table: &Table, queue: &Queue, from: u64, count: usize) -> Vec<u64> {
    let mut bytes = Vec::new();
    assert!(queue.read(table.files(), q(from), count, Reach::Disk, &mut bytes).unwrap());
    entry::iter(&bytes).map(|entry| entry.physical_offset.get()).collect()
}

fn known(end: u64, log_min: u64) -> Known {
    Known { end: LogOffset::new(end), log_min: LogOffset::new(log_min) }
}

#[test]
fn entries_are_readable_before_and_after_they_are_written() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = fill(&table, "T", 0..7);
    assert_eq!(offsets(&table, &queue, 5, 10), [1500, 1600]);
    assert_eq!((table.pending(), bounds(&queue)), (140, (0, 7)));
    table.write_out().unwrap();
    fill(&table, "T", 7..500);
    table.write_out().unwrap();
    assert_eq!(table.pending(), 0);
    assert_eq!(offsets(&table, &queue, 3, 2), [1300, 1400]);
    assert_eq!(offsets(&table, &queue, 498, 5), [50_800, 50_900]);
    assert_eq!(offsets(&table, &queue, 500, 5), [] as [u64; 0]);
    assert!(queue.state.lock().tail.len() <= KEPT * SIZE);
    let files = dir_names(&root.path().join("T/0"));
    assert_eq!(files.len(), 50);
    assert_eq!(files[1], "00000000000000000200");
    assert!(table.files().open_count() <= 4);
    table.files().sync().unwrap();
}

#[test]
fn busy_queues_keep_no_more_in_memory_than_they_share_however_many_they_are() {
    const CACHE: usize = 4 * KEPT * SIZE;
    let root = tempfile::tempdir().unwrap();
    let table = Table::new(Files::open(root.path().to_owned(), 6000, 4).unwrap(), 1 << 20, CACHE);
    let first = fill(&table, "0", 0..130);
    table.write_out().unwrap();
    let kept = || first.state.lock().tail.len() / SIZE;
    assert_eq!((kept(), table.memory() <= CACHE as u64), (KEPT / 2, true));
    // The others are written when the first has nothing new, and still share the memory with it.
    let others: Vec<_> = (1..100).map(|topic| fill(&table, &topic.to_string(), 0..130)).collect();
    table.write_out().unwrap();
    let occupied = |queue: &Arc<Queue>| queue.state.lock().tail.capacity();
    let occupied = occupied(&first) + others.iter().map(occupied).sum::<usize>();
    assert_eq!(table.memory(), occupied as u64);
    assert!(occupied <= CACHE, "{occupied} bytes");
    assert_eq!(kept(), 1, "half of two entries");
    // A thousand of them keep nothing.
    (100..1000).for_each(|topic| drop(fill(&table, &topic.to_string(), 0..3)));
    table.write_out().unwrap();
    assert_eq!(table.memory(), 0);
    for queue in others.iter().chain([&first]) {
        assert_eq!(offsets(&table, queue, 127, 9), [13_700, 13_800, 13_900]);
    }
}

#[test]
fn a_repeated_entry_changes_nothing_and_a_jump_is_filled() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = fill(&table, "T", 23..25);
    assert_eq!(bounds(&queue), (23, 25));
    table.add(&queue, q(23), entry(23)).unwrap();
    table.add(&queue, q(23), entry(99)).unwrap();
    assert_eq!(offsets(&table, &queue, 23, 9), [3300, 3400]);
    table.write_out().unwrap();
    assert_eq!(dir_names(&root.path().join("T/0")), ["00000000000000000400"]);
    let bytes = std::fs::read(root.path().join("T/0/00000000000000000400")).unwrap();
    assert_eq!(bytes[..SIZE], Entry::FILLER.encode());
    // A small gap keeps what lies before it, a large one does not.
    table.add(&queue, q(30), entry(30)).unwrap();
    assert_eq!((bounds(&queue), offsets(&table, &queue, 29, 2)), ((23, 31), vec![0, 4000]));
    table.add(&queue, q(1000), entry(1000)).unwrap();
    assert_eq!(bounds(&queue), (1000, 1001));
}

#[test]
fn a_queue_of_a_topic_that_was_made_again_begins_anew() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = fill(&table, "T", 0..25);
    table.add(&queue, q(0), entry(0)).unwrap();
    assert_eq!(bounds(&queue), (0, 25), "the same entry again");
    table.add(&queue, q(0), entry(99)).unwrap();
    assert_eq!((bounds(&queue), offsets(&table, &queue, 0, 9)), ((0, 1), vec![10_900]));
    table.write_out().unwrap();
    assert_eq!((table.pending(), dir_names(&root.path().join("T/0"))), (0, vec!["00000000000000000000".to_owned()]));
}

#[test]
fn a_loaded_queue_ends_where_the_log_is_to_be_read_again() {
    let root = tempfile::tempdir().unwrap();
    let before = table(root.path());
    fill(&before, "A", 0..35);
    fill(&before, "B", 12..14);
    before.write_out().unwrap();
    for (end, a, b) in
        [(u64::MAX, 35, Some(14)), (1000 + 2100, 21, Some(14)), (1000 + 1300, 13, Some(13)), (1000, 0, Some(12))]
    {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(root.path(), copy.path());
        let table = table(copy.path());
        table.load(known(end, 0)).unwrap();
        let max = |topic| table.find(topic, 0).map(|queue| bounds(&queue).1).filter(|max| *max > 0);
        assert_eq!((max("A"), max("B")), ((a > 0).then_some(a), b), "cut at {end}");
        // The part behind the cut is gone for good: a second load finds the same entries.
        let again = super::tests::table(copy.path());
        again.load(known(u64::MAX, 0)).unwrap();
        assert_eq!(again.find("A", 0).map(|queue| bounds(&queue).1).filter(|max| *max > 0), (a > 0).then_some(a));
    }
}

#[test]
fn the_smallest_offset_follows_the_log_and_old_files_go() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = fill(&table, "T", 0..35);
    table.write_out().unwrap();
    table.trim(LogOffset::new(1000 + 1250)).unwrap();
    assert_eq!(bounds(&queue), (13, 35));
    assert_eq!(dir_names(&root.path().join("T/0")).len(), 3);
    table.trim(LogOffset::new(1_000_000)).unwrap();
    assert_eq!(bounds(&queue), (35, 35));
    assert_eq!(dir_names(&root.path().join("T/0")), ["00000000000000000600"]);
    // Offsets continue where they were, even after a restart.
    let again = super::tests::table(root.path());
    again.load(known(u64::MAX, 1_000_000)).unwrap();
    assert_eq!(bounds(&again.find("T", 0).unwrap()), (35, 35));
}

#[test]
fn truncation_takes_entries_out_of_memory_and_files() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = fill(&table, "T", 0..25);
    table.write_out().unwrap();
    fill(&table, "T", 25..28);
    fill(&table, "U", 0..3);
    table.truncate(LogOffset::new(1000 + 1200)).unwrap();
    assert_eq!(table.last_record().unwrap(), Some(LogOffset::new(1000 + 1100)));
    assert_eq!((bounds(&queue), queue.next.load(Ordering::Relaxed)), ((0, 12), 12));
    assert_eq!(dir_names(&root.path().join("T/0")).len(), 2);
    fill(&table, "T", 12..14);
    assert_eq!(offsets(&table, &queue, 11, 9), [2100, 2200, 2300]);
}

#[test]
fn a_deleted_topic_takes_nothing_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = fill(&table, "T", 0..3);
    table.write_out().unwrap();
    fill(&table, "T", 3..5);
    assert_eq!(table.delete_topic("T").unwrap(), 1);
    table.add(&queue, q(5), entry(5)).unwrap();
    table.write_out().unwrap();
    assert!(!root.path().join("T").exists());
    assert!(table.find("T", 0).is_none());
}

fn dir_names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn very_many_files_keep_no_more_descriptors_than_may_be_and_none_is_forgotten() {
    for reports in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let mut files = Files::open(root.path().to_owned(), PER_FILE * SIZE as u64, 4).unwrap();
        files.unsynced.reports = reports;
        let table = Table::new(files, 1 << 20, 1 << 20);
        let queues: Vec<_> = (0..300).map(|n| fill(&table, &n.to_string(), 0..1)).collect();
        table.write_out().unwrap();
        let (known, held, all) = table.files().unsynced.counts();
        assert!(held <= super::unsynced::MOST, "{held}");
        assert!(if reports { all } else { known == 300 && held > 0 });
        table.files().sync().unwrap();
        assert_eq!(table.files().unsynced.counts(), (0, 0, false));
        // A file that takes the name of a removed file is a different file.
        table.files().write(&queues[0], 0, &[1; SIZE]).unwrap();
        table.files().delete(&queues[0]).unwrap();
        assert_eq!(table.files().unsynced.counts(), (1, 0, false));
        table.files().write(&queues[0], 0, &[1; SIZE]).unwrap();
        assert_eq!(table.files().unsynced.counts(), (1, 1, false));
        table.files().sync().unwrap();
    }
}
