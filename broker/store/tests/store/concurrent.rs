use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::*;

#[test]
fn eight_writers_lose_nothing_and_number_everything_once() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 3000;
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.consume_queue_buffer = 10_000;
    let store = rmq_store::MessageStore::open(config, Vec::new()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let mut random = Random(writer);
                    for n in 0..EACH {
                        let mut body = (writer * EACH + n).to_be_bytes().to_vec();
                        body.resize(8 + random.below(300) as usize, 0);
                        put(store, "T", (n % 4) as i32, &body);
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..4)
            .map(|queue| {
                let (store, done) = (&store, &done);
                scope.spawn(move || {
                    let (mut offset, mut seen) = (0, Vec::new());
                    loop {
                        let over = done.load(Ordering::SeqCst);
                        let got = get(store, "T", queue, offset);
                        for (number, body) in bodies(&got) {
                            seen.push((number, u64::from_be_bytes(body[..8].try_into().unwrap())));
                        }
                        if got.count == 0 && over {
                            return seen;
                        }
                        if got.count > 0 {
                            offset = got.next_offset.get();
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        settle(&store);
        done.store(true, Ordering::SeqCst);
        let mut all = BTreeMap::new();
        for reader in readers {
            let seen = reader.join().unwrap();
            assert!(seen.iter().map(|(number, _)| *number).eq(0..seen.len() as u64), "offsets are dense");
            for (_, message) in seen {
                *all.entry(message).or_insert(0) += 1;
            }
        }
        assert_eq!(all.len() as u64, WRITERS * EACH);
        assert!(all.values().all(|times| *times == 1));
    });
    store.close().unwrap();
    let store = open(root.path());
    assert_eq!((0..4).map(|queue| read_all(&store, "T", queue).len() as u64).sum::<u64>(), WRITERS * EACH);
}
