//! Each byte of a record and of a queue entry damaged alone, while the store is closed: which
//! damage is delivered and shows in nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rmq_protocol::message::stored::Record;
use rmq_store::offline::{Place, check};
use rmq_store::{Appended, Error, MessageStore, NewMessage};

use crate::support::*;

/// One bit, all bits, or the byte is lost.
const DAMAGES: [fn(u8) -> u8; 4] = [|byte| byte ^ 1, |byte| byte ^ 0x40, |byte| !byte, |_| 0];

fn new() -> NewMessage<'static> {
    message("T", 0, "TAGS\u{1}blue\u{2}KEYS\u{1}k\u{2}", b"twenty bytes of body")
}

/// A store of so many messages that was stopped, and its records.
fn stopped(root: &Path, count: usize) -> (Vec<Appended>, Vec<Vec<u8>>) {
    let store = open(root);
    let placed: Vec<_> = (0..count).map(|_| store.put(&new()).unwrap()).collect();
    settle(&store);
    store.close().unwrap();
    let records = placed.iter().map(|placed| record(&new(), placed)).collect();
    (placed, records)
}

fn damage_byte(path: &Path, at: u64, damage: fn(u8) -> u8) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[damage(byte[0])], at).unwrap();
}

#[test]
fn damage_to_a_byte_of_a_record_shows_unless_it_is_one_that_nothing_covers() {
    let whole = new().prepare().unwrap().to_vec(0, 0, 0);
    let mut unnoticed = BTreeSet::new();
    for harm in DAMAGES {
        let root = tempfile::tempdir().unwrap();
        // Each has another byte damaged but the last, which is what a start looks at.
        let (placed, stored) = stopped(root.path(), whole.len() + 1);
        for (number, placed) in (0..).zip(&placed[..whole.len()]) {
            let (file, byte) = in_file(root.path(), placed.physical_offset + number);
            damage_byte(&file, byte, harm);
        }
        let delivered = read_records(&open(root.path()), "T", 0);
        assert_eq!(delivered.last(), stored.last());
        for record in &delivered {
            let number = Record::parse(record).unwrap().queue_offset();
            unnoticed.extend(consumed(record, &stored[number as usize]));
        }
    }
    // All of them, so that the list says no more than is true.
    let listed = unprotected(&Record::parse(&whole).unwrap()).map(|(name, _)| name);
    assert_eq!(unnoticed, BTreeSet::from(listed));
}

#[test]
fn damage_to_a_byte_of_a_queue_entry_is_found_by_a_check_and_delivers_nothing_wrong() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let (_, stored) = stopped(&whole, 20);
    for (harm, at) in DAMAGES.into_iter().flat_map(|harm| (0..20).map(move |at| (harm, at))) {
        let damaged = tempfile::tempdir_in(root.path()).unwrap();
        copy(&whole, damaged.path());
        let queue = damaged.path().join("consumequeue/T/0/00000000000000000000");
        let before = std::fs::read(&queue).unwrap();
        damage_byte(&queue, 7 * 20 + at, harm);
        let place = Place { index_slots: config(damaged.path()).index.slots, ..Place::new(damaged.path()) };
        let after = std::fs::read(&queue).unwrap();
        let changed = after != before;
        // As small as an address of Java's queue extension, which may be anything.
        let is_address = i64::from_be_bytes(*after[152..].first_chunk().unwrap()) < i64::from(i32::MIN);
        assert_eq!(check(&place).unwrap().damages > 0, changed && !is_address, "byte {at}");
        match MessageStore::open(config(damaged.path()), Vec::new()) {
            Ok(store) => {
                let delivered = read_records(&store, "T", 0);
                assert!(delivered.iter().all(|record| stored.contains(record)), "byte {at}: a wrong message");
                assert!((changed && !is_address) || delivered == stored);
            }
            Err(error) => {
                assert!(matches!(&error, Error::QueueDamaged { file, entry: 7 } if *file == queue), "{error}")
            }
        }
    }
}
