use std::collections::BTreeSet;

use rmq_store::fail_point::{Fault, arm};

use crate::life::Life;
use crate::{ALWAYS, EIO, ENOSPC, alone};

/// All points there are; a life meets each of them.
const POINTS: [&str; 37] = [
    "abort::delete",
    "abort::write",
    "checkpoint::open",
    "checkpoint::sync",
    "checkpoint::write",
    "commit_log::allocate",
    "commit_log::copy",
    "commit_log::create",
    "commit_log::cut",
    "commit_log::delete",
    "commit_log::fetch",
    "commit_log::map",
    "commit_log::open",
    "commit_log::rename",
    "commit_log::sync",
    "commit_log::sync_cut",
    "commit_log::sync_new",
    "commit_log::touch",
    "consume_queue::create",
    "consume_queue::cut",
    "consume_queue::delete",
    "consume_queue::open",
    "consume_queue::read",
    "consume_queue::sync",
    "consume_queue::write",
    "directory::create",
    "directory::sync",
    "durable_file::rename",
    "durable_file::sync",
    "durable_file::write",
    "index::allocate",
    "index::create",
    "index::delete",
    "index::map",
    "index::sync",
    "index::write",
    "lock::write",
];

#[test]
fn the_table_names_every_point_of_the_sources() {
    let mut found = BTreeSet::new();
    for path in crate::support::files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(path).unwrap();
        for call in text.split("fail_point::at(").skip(1) {
            found.insert(call.split('"').nth(1).unwrap().to_owned());
        }
    }
    assert!(found.iter().eq(POINTS), "{found:#?}");
}

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
    while [(EIO, true), (ENOSPC, false)].map(|(errno, power)| {
        println!("{point}: errno {errno} at hit {} times {times}, power cut {power}", skip + 1);
        run(point, errno, skip, times, power)
    }) != [false, false]
    {
        skip = skip * 2 + 1;
    }
    assert!(skip > 0, "no life meets {point}");
}

#[test]
fn each_step_may_fail_once() {
    let _alone = alone();
    POINTS.iter().for_each(|point| fail_everywhere(point, 1));
}

#[test]
fn each_step_may_fail_until_a_restart() {
    let _alone = alone();
    POINTS.iter().for_each(|point| fail_everywhere(point, ALWAYS));
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
