//! Places at which a test can make the disk fail, one for each disk operation.
//!
//! A point is named `room::step` and encloses the system call itself, so that the code after an
//! injected failure is the code after a real one. Only the cargo feature `failpoints` can arm
//! points; without it [`at`] is just the call it is given. Points are global to the process, so
//! tests that arm some run one after another, in a test target of their own.
//!
//! Not the crate `fail`: it brings a logger, random numbers and a language for actions, and cannot
//! inject a given errno.

#[cfg(feature = "failpoints")]
pub use armed::{Armed, Fault, arm};

/// Runs a disk operation, or fails as armed.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn at<T>(_point: &'static str, step: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    step()
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::at;

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::io;
    use std::time::{Duration, Instant};

    use parking_lot::{Condvar, Mutex};

    /// The fault of an armed point.
    #[derive(Debug, Clone, Copy)]
    pub enum Fault {
        /// The operation is not run and fails with this errno.
        Error(i32),
        /// The operation runs, but only after this delay, or when the point is disarmed.
        Delay(Duration),
        /// The thread that would run the operation panics.
        Panic,
    }

    struct Point {
        fault: Fault,
        /// Hits that pass before the fault, and how many then get it.
        skip: u64,
        times: u64,
        hits: u64,
        struck: u64,
    }

    static POINTS: Mutex<Option<HashMap<String, Point>>> = Mutex::new(None);
    static CHANGED: Condvar = Condvar::new();

    /// Arms a point: `skip` hits pass, the next `times` get the fault. A point is armed once at a
    /// time.
    pub fn arm(point: &str, fault: Fault, skip: u64, times: u64) -> Armed {
        let armed = Point { fault, skip, times, hits: 0, struck: 0 };
        let before = POINTS.lock().get_or_insert_default().insert(point.to_owned(), armed);
        assert!(before.is_none(), "{point} is armed already");
        Armed { point: point.to_owned() }
    }

    /// Keeps a point armed until it is dropped.
    #[derive(Debug)]
    pub struct Armed {
        point: String,
    }

    impl Armed {
        /// How often the fault occurred.
        pub fn struck(&self) -> u64 {
            POINTS.lock().as_ref().and_then(|points| points.get(&self.point)).map_or(0, |point| point.struck)
        }

        /// Waits until the fault has occurred; `false` if it did not within a minute.
        pub fn wait(&self) -> bool {
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut points = POINTS.lock();
            while points.as_ref().and_then(|points| points.get(&self.point)).is_none_or(|point| point.struck == 0) {
                if CHANGED.wait_until(&mut points, deadline).timed_out() {
                    return false;
                }
            }
            true
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            POINTS.lock().as_mut().and_then(|points| points.remove(&self.point));
            CHANGED.notify_all();
        }
    }

    pub(crate) fn at<T>(point: &'static str, step: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut points = POINTS.lock();
        let Some(armed) = points.as_mut().and_then(|points| points.get_mut(point)) else {
            drop(points);
            return step();
        };
        armed.hits += 1;
        if (armed.skip + 1..=armed.skip.saturating_add(armed.times)).contains(&armed.hits) {
            armed.struck += 1;
            CHANGED.notify_all();
            match armed.fault {
                Fault::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Fault::Panic => {
                    drop(points);
                    panic!("{point} is armed");
                }
                Fault::Delay(delay) => {
                    let end = Instant::now() + delay;
                    let is_armed = |points: &Option<HashMap<String, Point>>| {
                        points.as_ref().is_some_and(|points| points.contains_key(point))
                    };
                    while is_armed(&points) && !CHANGED.wait_until(&mut points, end).timed_out() {}
                }
            }
        }
        drop(points);
        step()
    }
}
