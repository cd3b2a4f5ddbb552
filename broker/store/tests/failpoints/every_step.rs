use rmq_store::fail_point::{Fault, arm};
use rmq_store::{Error, MessageStore};

use crate::life::Life;
use crate::points::{CLEANUPS, LIFE};
use crate::support::*;
use crate::{ALWAYS, EIO, ENOSPC, alone};

/// What a start reads, and of which.
const READS: [&str; 8] = [
    "abort::look",
    "checkpoint::open",
    "commit_log::open",
    "commit_log::scan",
    "consume_queue::load",
    "directory::read",
    "index::open",
    "index::read",
];

fn run(point: &str, errno: i32, skip: u64, times: u64, power: bool) -> bool {
    let mut life = Life::new();
    let armed = arm(point, Fault::Error(errno), skip, times);
    let _ = life.live();
    let struck = armed.struck() > 0;
    life.crash(power);
    drop(armed);
    life.check();
    struck
}

/// Lets a point fail at its first, second, fourth ... hit, until a life has no more of them.
fn fail_everywhere(point: &str, times: u64) {
    let mut skip = 0;
    let ways = [(EIO, true), (EIO, false), (ENOSPC, true), (ENOSPC, false)];
    while ways
        .map(|(errno, power)| {
            println!("{point}: errno {errno} at hit {} times {times}, power cut {power}", skip + 1);
            run(point, errno, skip, times, power)
        })
        .contains(&true)
    {
        skip = skip * 2 + 1;
    }
    assert!(skip > 0, "no life meets {point}");
}

#[test]
fn each_step_may_fail_once() {
    let _alone = alone();
    LIFE.iter().for_each(|point| fail_everywhere(point, 1));
}

#[test]
fn each_step_may_fail_until_a_restart() {
    let _alone = alone();
    LIFE.iter().for_each(|point| fail_everywhere(point, ALWAYS));
}

/// What is left behind by a step that failed cannot be removed either: the next start does that, or
/// does without.
#[test]
fn what_cannot_be_cleaned_up_is_no_obstacle() {
    let _alone = alone();
    for (cleanup, step) in CLEANUPS {
        let mut life = Life::new();
        let faults = [step, cleanup].map(|point| arm(point, Fault::Error(EIO), 0, ALWAYS));
        let _ = life.live();
        assert!(faults.iter().all(|fault| fault.struck() > 0), "no life meets {cleanup} behind {step}");
        life.crash(false);
        drop(faults);
        life.check();
    }
}

/// A start meets a sector that cannot be read: it is refused with the file named, and nothing is
/// worse for it.
#[test]
fn a_start_that_cannot_read_is_refused_and_names_the_file() {
    let _alone = alone();
    for (point, crashed) in READS.into_iter().flat_map(|point| [(point, false), (point, true)]) {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        (0..300).for_each(|n: u64| {
            _ = store.put(&message("T", (n % 2) as i32, "KEYS\u{1}k\u{2}", &[n as u8; 700])).unwrap()
        });
        settle(&store);
        store.flush().unwrap();
        if !crashed {
            store.close().unwrap();
        }
        drop(store);
        let mut skip = 0;
        loop {
            let armed = arm(point, Fault::Error(EIO), skip, 1);
            let started = MessageStore::open(config(root.path()), Vec::new());
            if armed.struck() == 0 {
                break;
            }
            println!("{point}, crashed {crashed}, hit {}: {:?}", skip + 1, started.as_ref().err());
            let Err(Error::Io { path, .. }) = started else { panic!("the store opens without what it could not read") };
            assert!(path.starts_with(root.path()), "{}", path.display());
            skip = 2 * skip + 1;
        }
        assert!(skip > 0 || (point == "index::read" && !crashed), "no start meets {point}");
        let store = open(root.path());
        settle(&store);
        assert_eq!([0, 1].map(|queue| read_all(&store, "T", queue).len()), [150, 150]);
        assert_eq!(
            store
                .query("T", "k", 999, rmq_store::Millis::new(0), rmq_store::Millis::new(i64::MAX))
                .unwrap()
                .records
                .len(),
            300
        );
    }
}

#[test]
fn a_life_without_a_fault_ends_as_the_model_says() {
    let _alone = alone();
    for power in [false, true] {
        let mut life = Life::new();
        life.live().unwrap();
        life.crash(power);
        life.check();
    }
}
