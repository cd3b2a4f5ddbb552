//! Watches the threads and tasks that have to run as long as their process.
//!
//! A panic ends one of them and nothing else: the process goes on without its deliveries, its
//! registrations or a part of its connections, and looks healthy from outside. So the end is logged
//! and counted here, and the liveness probe reports it. Short-lived tasks, such as those of
//! connections, are not watched: their end affects one peer.

use parking_lot::Mutex;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    task::Poll,
    time::Instant,
};

/// The first unexpected end.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The name of what has ended.
    pub why: String,
    /// When it ended.
    pub since: Instant,
}

/// See the module docs.
#[derive(Debug, Default)]
pub struct Watchdog {
    stopping: AtomicBool,
    count: AtomicU64,
    first: Mutex<Option<Ended>>,
}

impl Watchdog {
    /// From now on threads and tasks may end: the process stops.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
    }

    /// The first unexpected end.
    pub fn ended(&self) -> Option<Ended> {
        self.first.lock().clone()
    }

    /// The number of unexpected ends.
    pub fn count(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Runs the body of a thread that has to run until the stop.
    pub fn thread(&self, name: &str, body: impl FnOnce()) {
        let panicked = catch_unwind(AssertUnwindSafe(body)).is_err();
        self.note("thread", name, panicked);
    }

    /// Runs a task that has to run until the stop. A task that is dropped has not ended by itself:
    /// its runtime has.
    pub async fn task(&self, name: &str, task: impl Future) {
        let mut task = pin!(task);
        let panicked = std::future::poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context).is_ready())) {
                Ok(true) => Poll::Ready(false),
                Ok(false) => Poll::Pending,
                Err(_) => Poll::Ready(true),
            }
        })
        .await;
        self.note("task", name, panicked);
    }

    pub(crate) fn note(&self, kind: &str, name: &str, panicked: bool) {
        if self.stopping.load(SeqCst) {
            return;
        }
        let why = format!("the {kind} {name:?} has {}", if panicked { "panicked" } else { "ended" });
        tracing::error!("{why}; this process has to be restarted");
        self.count.fetch_add(1, SeqCst);
        self.first.lock().get_or_insert(Ended { why, since: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_are_reported_by_name_and_those_of_a_stop_are_not() {
        let watchdog = Watchdog::default();
        watchdog.thread("panics", || panic!("as a test wants it"));
        let first = watchdog.ended().unwrap();
        assert_eq!(first.why, "the thread \"panics\" has panicked");
        watchdog.thread("returns", || ());
        watchdog.task("returns", async {}).await;
        watchdog.task("panics", async { panic!("as a test wants it") }).await;
        assert_eq!((watchdog.count(), watchdog.ended().unwrap().why), (4, first.why));
        watchdog.stop();
        watchdog.task("returns", async {}).await;
        assert_eq!(watchdog.count(), 4);

        let watchdog = Watchdog::default();
        drop(watchdog.task("dropped", std::future::pending::<()>()));
        let cut = tokio::time::timeout(std::time::Duration::ZERO, watchdog.task("cut", std::future::pending::<()>()));
        assert!(cut.await.is_err() && watchdog.ended().is_none());
    }
}
