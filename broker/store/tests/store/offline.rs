use std::ops::ControlFlow;
use std::path::Path;

use rmq_store::offline::{At, Ending, Part, Piece, Place, Report, check, dump, repair};
use rmq_store::{Appended, Error, LogOffset};

use crate::support::*;

fn place(root: &Path) -> Place {
    Place { index_slots: config(root).index.slots, ..Place::new(root) }
}

fn look(root: &Path) -> Report {
    check(&place(root)).unwrap()
}

/// Keyed messages of 300 bytes on two queues, in several files of everything; stopped in order, or
/// not.
fn store(root: &Path, messages: u64, closed: bool) -> Vec<Appended> {
    let store = open(root);
    let mut placed = Vec::new();
    for n in 0..messages {
        let mut body = n.to_be_bytes().to_vec();
        body.resize(300, 1);
        let properties = format!("KEYS\u{1}k{n} all\u{2}TAGS\u{1}t{}\u{2}", n % 3);
        placed.push(store.put(&message("T", (n % 2) as i32, &properties, &body)).unwrap());
    }
    settle(&store);
    if closed {
        store.close().unwrap();
    }
    placed
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

/// The numbers of the messages a dump prints, and where it met damage.
fn dumped(root: &Path, range: std::ops::Range<LogOffset>, max: usize) -> (Vec<u64>, Vec<LogOffset>) {
    let (mut numbers, mut damage) = (Vec::new(), Vec::new());
    let mut each = |piece: Piece<'_>| {
        match piece {
            Piece::Record(record) => numbers.push(u64::from_be_bytes(record.body()[..8].try_into().unwrap())),
            Piece::Damage { offset, .. } => damage.push(offset),
        }
        if numbers.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    dump(&place(root), range, &mut each).unwrap();
    (numbers, damage)
}

fn snapshot(root: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    files(root).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_good_store_has_no_findings_and_a_check_changes_nothing() {
    for closed in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let placed = store(root.path(), 500, closed);
        let before = snapshot(root.path());
        let report = look(root.path());
        assert_eq!(before, snapshot(root.path()));
        assert_eq!((report.damages, report.crashed), (0, !closed), "{:?}", report.findings);
        assert!(report.findings.iter().all(|finding| finding.part == Part::Checkpoint), "{:?}", report.findings);
        assert_eq!((report.log.records, report.log.end, &report.log.ending), (500, placed[499].end, &Ending::End));
        assert_eq!((report.log.file_size, report.log.min_offset), (LOG_FILE, p(0)));
        assert!(report.log.files >= 3 && report.index.files > 3, "{report:?}");
        // Dropped, a store leaves entries that were not written yet: of one queue, of both, or of
        // none.
        assert_eq!(report.queues.entries + report.queues.pending, 500);
        if closed {
            assert_eq!((report.queues.topics, report.queues.queues), (1, 2));
            assert_eq!((report.queues.pending, report.index.entries), (0, 1000));
            assert!(report.checkpoint.unwrap().dispatched_record > 0);
        }
        assert!(repair(&place(root.path()), true).unwrap().steps.is_empty());
    }
}

#[test]
fn a_torn_tail_is_no_damage_and_nothing_to_repair() {
    let root = tempfile::tempdir().unwrap();
    let placed = store(root.path(), 10, false);
    change(&in_file(root.path(), p(0)).0, |bytes| bytes[placed[9].physical_offset.get() as usize + 120..].fill(0));
    let report = look(root.path());
    assert_eq!((report.damages, report.log.records, report.log.end), (0, 9, placed[9].physical_offset));
    assert!(matches!(report.log.ending, Ending::TornTail(_)), "{report:?}");
    let finding = report.findings.iter().find(|finding| finding.part == Part::CommitLog).unwrap();
    assert!(
        finding.text.contains("the next start removes it") && finding.at == Some(At::Log(placed[9].physical_offset))
    );
    assert_eq!(open(root.path()).max_physical_offset(), placed[9].physical_offset);
}

#[test]
fn damage_in_the_log_is_found_wherever_it_is_and_the_log_goes_on_before_it_after_a_repair() {
    let root = tempfile::tempdir().unwrap();
    let placed = store(root.path(), 500, true);
    let (first, second) = (placed[210], placed[400]);
    for place in [first, second] {
        let (file, byte) = in_file(root.path(), place.physical_offset);
        change(&file, |bytes| bytes[byte as usize + 150] ^= 1);
    }
    let report = look(root.path());
    let damages: Vec<_> = report.findings.iter().map(|finding| (finding.part, finding.at)).collect();
    let wanted = [first, second].map(|place| (Part::CommitLog, Some(At::Log(place.physical_offset))));
    assert_eq!((damages.as_slice(), report.damages), (&wanted[..], 2));
    assert_eq!((report.log.records, report.log.end), (210, first.physical_offset));
    assert_eq!(report.log.records_behind_damage, 288);
    assert_eq!(
        dumped(root.path(), p(0)..LogOffset::MAX, usize::MAX).1,
        [first.physical_offset, second.physical_offset]
    );

    // It says what it would do, and does it only when told to.
    let before = snapshot(root.path());
    let place = place(root.path());
    let plan = repair(&place, false).unwrap();
    assert_eq!((plan.steps.len(), plan.kept.len()), (2, 0), "{plan:?}");
    assert!(plan.steps[0].text.contains(&format!("cut the log at {}", first.physical_offset)), "{plan:?}");
    assert_eq!(before.iter().filter(|(path, _)| !path.ends_with("lock")).count() + 1, snapshot(root.path()).len());
    let done = repair(&place, true).unwrap();
    assert_eq!(done.steps, plan.steps);

    // What was cut off lies beside the log, every byte of it.
    let [aside] = &done.kept[..] else { panic!("{done:?}") };
    assert_eq!(aside.parent(), Some(root.path()));
    let mut kept = Vec::new();
    for file in files(aside) {
        let offset: u64 = file.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(p(offset) == first.physical_offset || offset.is_multiple_of(LOG_FILE), "{file:?}");
        kept.extend(std::fs::read(file).unwrap());
    }
    let original: Vec<u8> = before
        .iter()
        .filter(|(path, _)| path.starts_with(root.path().join("commitlog")))
        .flat_map(|(_, bytes)| bytes.clone())
        .skip(first.physical_offset.get() as usize)
        .collect();
    assert!(kept == original, "{} bytes are kept of {}", kept.len(), original.len());

    let report = look(root.path());
    assert_eq!((report.damages, report.log.records, &report.log.ending), (0, 210, &Ending::End), "{report:?}");
    let store = open(root.path());
    assert_eq!(store.max_physical_offset(), first.physical_offset);
    for queue in 0..2 {
        assert_eq!(read_all(&store, "T", queue).len(), 105);
    }
    assert_eq!(
        store.query("T", "all", usize::MAX, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(),
        210
    );
    let next = put(&store, "T", 0, &[0; 400]);
    assert_eq!((next.physical_offset, next.queue_offset), (first.physical_offset, q(105)));
    settle(&store);
    store.close().unwrap();
    assert_eq!(look(root.path()).damages, 0);
}

#[test]
fn a_repair_that_was_interrupted_is_done_again() {
    let root = tempfile::tempdir().unwrap();
    let placed = store(root.path(), 500, true);
    let victim = placed[100];
    let (file, byte) = in_file(root.path(), victim.physical_offset);
    change(&file, |bytes| bytes[byte as usize + 150] ^= 1);
    // The last file has gone its way already, and the checkpoint was lowered.
    let last = files(&root.path().join("commitlog")).pop().unwrap();
    std::fs::rename(&last, root.path().join("kept")).unwrap();
    std::fs::remove_file(root.path().join("checkpoint")).unwrap();
    std::fs::write(root.path().join("abort"), "").unwrap();
    repair(&place(root.path()), true).unwrap();
    let store = open(root.path());
    assert_eq!(store.max_physical_offset(), victim.physical_offset);
    assert_eq!(read_all(&store, "T", 0).len() + read_all(&store, "T", 1).len(), 100);
}

#[test]
fn a_missing_file_and_one_that_was_cut_short_are_damage_that_a_repair_ends() {
    let sizes = |root: &Path| {
        let log = files(&root.join("commitlog"));
        log.iter().map(|path| std::fs::metadata(path).unwrap().len()).collect::<Vec<_>>()
    };
    for (short, left) in [(false, LOG_FILE), (true, LOG_FILE + 20_000)] {
        let root = tempfile::tempdir().unwrap();
        let placed = store(root.path(), 500, true);
        let (victim, _) = in_file(root.path(), p(LOG_FILE));
        match short {
            true => std::fs::File::options().write(true).open(&victim).unwrap().set_len(20_000).unwrap(),
            false => std::fs::remove_file(&victim).unwrap(),
        }
        let report = look(root.path());
        assert!(report.damages >= 1 && matches!(report.log.ending, Ending::Corruption(_)), "{report:?}");
        assert!(report.findings.iter().any(|finding| finding.text.contains(if short { "20000" } else { "missing" })));
        let whole = placed.iter().take_while(|place| place.end <= p(left)).count();
        assert_eq!(report.log.records as usize, whole);
        assert!(report.log.records_behind_damage > 100);
        repair(&place(root.path()), true).unwrap();
        assert!(sizes(root.path()).iter().all(|size| *size == LOG_FILE), "{:?}", sizes(root.path()));
        let store = open(root.path());
        assert_eq!(read_all(&store, "T", 0).len() + read_all(&store, "T", 1).len(), whole);
    }
}

#[test]
fn a_wrong_entry_of_a_queue_is_found_and_made_again_from_the_log() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, &str); 4] = [
        (|bytes| bytes[100..120].fill(0), "is empty"),
        (|bytes| bytes[107] ^= 1, "points to"),
        (|bytes| bytes[119] ^= 1, "points to"),
        (|bytes| bytes[111] ^= 1, "points to"),
    ];
    for (damage, words) in changes {
        let root = tempfile::tempdir().unwrap();
        store(root.path(), 500, true);
        let file = root.path().join("consumequeue/T/1/00000000000000000400");
        change(&file, damage);
        let report = look(root.path());
        assert_eq!(report.damages, 1, "{report:?}");
        let finding = &report.findings[0];
        assert_eq!((finding.part, &finding.file, finding.at), (Part::ConsumeQueue, &file, Some(At::File(100))));
        assert!(finding.text.starts_with("entry 25 ") && finding.text.contains(words), "{finding:?}");
        let done = repair(&place(root.path()), true).unwrap();
        assert!(done.steps[0].text.contains("cut queue 1 of T at 25"), "{done:?}");
        assert!(done.kept[0].join("T/1/00000000000000000400").exists());
        let store = open(root.path());
        assert_eq!(read_all(&store, "T", 1).len(), 250);
        settle(&store);
        store.close().unwrap();
        assert_eq!(look(root.path()).damages, 0);
    }
}

#[test]
fn queues_that_lack_what_the_checkpoint_vouches_for_are_damage() {
    let root = tempfile::tempdir().unwrap();
    store(root.path(), 500, true);
    std::fs::remove_file(root.path().join("consumequeue/T/0/00000000000000001200")).unwrap();
    let report = look(root.path());
    assert_eq!((report.damages, report.findings[0].part), (1, Part::ConsumeQueue), "{report:?}");
    repair(&place(root.path()), true).unwrap();
    assert_eq!(read_all(&open(root.path()), "T", 0).len(), 250);
}

#[test]
fn consume_queues_deleted_by_hand_are_made_from_the_whole_log_at_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    store(root.path(), 500, true);
    std::fs::remove_dir_all(root.path().join("consumequeue")).unwrap();
    let report = look(root.path());
    assert_eq!(report.damages, 0, "{report:?}");
    assert!(report.findings.iter().any(|finding| finding.text.contains("makes them from the whole log")));
    // Killed before it has written them, too.
    drop(open(root.path()));
    let store = open(root.path());
    assert_eq!(read_all(&store, "T", 0).len() + read_all(&store, "T", 1).len(), 500);
}

#[test]
fn a_deleted_topic_and_one_made_again_are_no_damage() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for n in 0..200_u64 {
        put(&store, if n % 2 == 0 { "Again" } else { "Gone" }, 0, &n.to_be_bytes());
    }
    store.delete_topic("Again").unwrap();
    store.delete_topic("Gone").unwrap();
    for n in 0..30_u64 {
        put(&store, "Again", 0, &n.to_be_bytes());
    }
    settle(&store);
    store.close().unwrap();
    let report = look(root.path());
    assert_eq!((report.damages, report.queues.without_queue), (0, 100), "{report:?}");
}

#[test]
fn a_wrong_index_is_found_and_made_again() {
    type Change = fn(&mut Vec<u8>);
    // The 50 slots end at byte 240; entry 10 begins at 440.
    let changes: [Change; 4] = [
        |bytes| bytes[440 + 19] ^= 1,
        |bytes| bytes[440 + 11] ^= 1,
        |bytes| {
            let used = (40..240).step_by(4).find(|slot| bytes[*slot + 3] != 0).unwrap();
            bytes[used + 3] ^= 1;
        },
        |bytes| bytes[36] = 0x7F,
    ];
    for damage in changes {
        let root = tempfile::tempdir().unwrap();
        store(root.path(), 500, true);
        change(&files(&root.path().join("index"))[1], damage);
        let report = look(root.path());
        assert!(report.damages > 0, "{report:?}");
        assert!(report.findings.iter().all(|finding| finding.part == Part::Index), "{report:?}");
        let done = repair(&place(root.path()), true).unwrap();
        assert!(files(&done.kept[0]).len() > 3, "{done:?}");
        let store = open(root.path());
        assert_eq!(
            store.query("T", "all", usize::MAX, rmq_store::Millis::MIN, rmq_store::Millis::MAX).unwrap().records.len(),
            500
        );
        store.close().unwrap();
        assert_eq!(look(root.path()).damages, 0);
    }
}

#[test]
fn a_log_that_lost_what_the_checkpoint_knows_is_damage_until_it_is_repaired() {
    let root = tempfile::tempdir().unwrap();
    let placed = store(root.path(), 500, true);
    for path in files(&root.path().join("commitlog")).iter().skip(2) {
        std::fs::remove_file(path).unwrap();
    }
    let report = look(root.path());
    assert!(report.damages > 0, "{report:?}");
    let kept = placed.iter().filter(|place| place.end <= p(2 * LOG_FILE)).count();
    assert_eq!(report.log.records as usize, kept);
    repair(&place(root.path()), true).unwrap();
    assert_eq!(look(root.path()).damages, 0);
    let store = open(root.path());
    assert_eq!(read_all(&store, "T", 0).len() + read_all(&store, "T", 1).len(), kept);
}

#[test]
fn a_dump_prints_what_begins_in_its_range_and_stops_when_there_is_enough() {
    let root = tempfile::tempdir().unwrap();
    let placed = store(root.path(), 500, true);
    let range = placed[200].physical_offset..placed[300].physical_offset;
    assert_eq!(dumped(root.path(), range.clone(), usize::MAX).0, (200..300).collect::<Vec<_>>());
    // From the middle of a record on begins with the next one.
    assert_eq!(dumped(root.path(), range.start + 1..range.end, usize::MAX).0.len(), 99);
    assert_eq!(dumped(root.path(), p(0)..LogOffset::MAX, 7).0, (0..7).collect::<Vec<_>>());
    assert!(dumped(root.path(), placed[499].end..LogOffset::MAX, 7).0.is_empty());
}

#[test]
fn an_open_store_is_left_alone_and_one_that_is_none_is_said_to_be_none() {
    let root = tempfile::tempdir().unwrap();
    let locked = |error: Error| {
        assert!(error.to_string().contains("in use by another broker"), "{error}");
    };
    let open_store = open(root.path());
    locked(check(&place(root.path())).unwrap_err());
    locked(repair(&place(root.path()), true).unwrap_err());
    locked(dump(&place(root.path()), p(0)..p(1), &mut |_| ControlFlow::Break(())).unwrap_err());
    drop(open_store);
    let report = look(root.path());
    assert_eq!((report.damages, report.log.files, report.log.records), (0, 0, 0));
    let nothing = check(&place(&root.path().join("nothing"))).unwrap_err();
    assert!(nothing.to_string().contains("there is no commit log in"), "{nothing}");
}

#[test]
fn random_damage_never_panics_a_check_and_what_it_repairs_can_be_opened() {
    let mut random = Random(seed());
    let root = tempfile::tempdir().unwrap();
    store(root.path(), 300, true);
    let targets: Vec<_> = files(root.path()).into_iter().filter(|path| !path.ends_with("lock")).collect();
    for round in 0..60 {
        let copied = tempfile::tempdir().unwrap();
        copy(root.path(), copied.path());
        let target = &targets[random.below(targets.len() as u64) as usize];
        change(&copied.path().join(target.strip_prefix(root.path()).unwrap()), |bytes| {
            let len = [1, 4, 20, 512, 4096][random.below(5) as usize];
            let at = random.below(bytes.len() as u64) as usize;
            let noise = if random.below(2) == 0 { random.bytes(len) } else { vec![0; len] };
            bytes.iter_mut().skip(at).zip(noise).for_each(|(byte, noise)| *byte = noise);
        });
        let before = look(copied.path());
        repair(&place(copied.path()), true).unwrap();
        let after = look(copied.path());
        assert_eq!(after.damages, 0, "round {round}, {target:?}: {before:?} then {after:?}");
        let store = open(copied.path());
        for queue in 0..2 {
            // A record whose number was hit is not covered by a checksum and not delivered.
            let all = read_all(&store, "T", queue);
            assert!(all.is_sorted_by(|(one, _), (next, _)| one < next), "round {round}, {target:?}");
        }
        settle(&store);
        store.close().unwrap();
        let reopened = look(copied.path());
        // No checksum covers a record's number. One that was hit may claim the entry of another
        // record, and the queue that is made from the log begins anew there.
        if !(target.starts_with(root.path().join("commitlog")) && before.damages > 0) {
            assert_eq!(reopened.damages, 0, "round {round}, {target:?}: {before:?} then {reopened:?}");
        }
    }
}
