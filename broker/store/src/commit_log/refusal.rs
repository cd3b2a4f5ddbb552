//! Why writes are refused: the store is closed, its disk is full, or it has failed for good.
//!
//! A failure is final: a sync that failed, a thread that ended. The broker polls for it and
//! restarts the process; reads go on until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::watermark::Watermark;

/// A failure that only a restart can fix.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The reason, in words.
    pub why: String,
    /// When it was noticed.
    pub since: Instant,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// True for any of the reasons below; a write checks only this flag.
    any: AtomicBool,
    closed: AtomicBool,
    disk_full: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// Threads that ended unexpectedly.
    threads_ended: AtomicU64,
    /// Fails with the store, so that its waiters get an error.
    flushed: Arc<Watermark>,
}

impl Refusal {
    pub(super) fn new(flushed: Arc<Watermark>) -> Self {
        Refusal {
            any: AtomicBool::default(),
            closed: AtomicBool::default(),
            disk_full: AtomicBool::default(),
            failure: Mutex::default(),
            threads_ended: AtomicU64::default(),
            flushed,
        }
    }

    /// Refuses writes until a restart: the state of the disk is unknown, or part of the store does
    /// not run any more.
    pub(crate) fn fail(&self, why: String) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            tracing::error!(reason = %why, "the store takes no more writes until it is restarted");
            *failure = Some(Failure { why, since: Instant::now() });
            self.any.store(true, Ordering::SeqCst);
            self.flushed.fail();
        }
    }

    /// Records the end of a thread that should run as long as the store. Without one of them the
    /// store would accept messages and never flush them, or never make them visible.
    pub(crate) fn thread_ended(&self, name: &str, panicked: bool) {
        self.threads_ended.fetch_add(1, Ordering::Relaxed);
        let how = if panicked { "panicked" } else { "ended" };
        tracing::error!(thread = name, "a thread of the store {how}");
        self.fail(format!("its thread {name} {how}"));
    }

    pub(crate) fn threads_ended(&self) -> u64 {
        self.threads_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.lock().clone()
    }

    pub(super) fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(full, Ordering::SeqCst) != full {
            tracing::warn!(full, "the disk's fill level decides whether writes are taken");
        }
        self.update();
    }

    pub(super) fn set_closed(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.update();
    }

    fn update(&self) {
        let failure = self.failure.lock();
        let any = self.closed.load(Ordering::SeqCst) || self.disk_full.load(Ordering::SeqCst) || failure.is_some();
        self.any.store(any, Ordering::SeqCst);
    }

    /// The reason, if there is one. If the disk is full, it is an error about `path`.
    pub(super) fn reason(&self, path: impl FnOnce() -> std::path::PathBuf) -> Result<()> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        if let Some(failure) = &*self.failure.lock() {
            return Err(Error::ReadOnly(failure.why.clone()));
        }
        if self.disk_full.load(Ordering::SeqCst) {
            return Err(Error::Full { path: path() });
        }
        Ok(())
    }
}
