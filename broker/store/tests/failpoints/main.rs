//! The store on a disk that fails: each step on the disk is made to fail by name, and what the
//! store then says, and what is there after a restart, is held against a model.
//!
//! | file | what it asks |
//! |---|---|
//! | [`life`] | a store that does everything a store does, and the model beside it |
//! | [`points`] | which steps there are, and that none is without a point |
//! | [`every_step`] | one step after another fails, once or for good |
//! | [`offline`] | checking and repairing from outside on such a disk |
//! | [`sync`] | what could not be brought to the disk is never said to be there |
//! | [`slow_disk`] | what waits for a slow disk, and what does not |
//! | [`no_space`] | writes are refused while there is none, and taken again afterwards |
//!
//! Points belong to the process: every test holds [`alone`] as long as it lives.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test, and the failing step is printed"
)]

mod every_step;
mod life;
mod no_space;
mod offline;
mod points;
mod slow_disk;
#[path = "../store/support.rs"]
#[allow(dead_code, reason = "shared with the tests of a disk that works")]
mod support;
mod sync;

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const ALWAYS: u64 = u64::MAX;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}
