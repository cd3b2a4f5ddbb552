//! The thread that flushes appended bytes to the disk.
//!
//! SYNC: the thread waits for appended bytes, flushes all there are at that moment, and moves
//! `flushed`, so that one flush serves all writers that waited meanwhile. ASYNC: it flushes at
//! intervals and leaves a few pages for later.
//!
//! A failed flush is final. The kernel may have dropped the pages it could not write and marked
//! them clean, so that a second attempt would succeed without writing anything. `flushed` therefore
//! never moves again, waiters get an error, and writes are refused until a restart has read back
//! what the disk really holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::CommitLog;
use crate::config::{Flush, FlushMode};
use crate::error::Result;

const PAGE: u64 = 4096;
/// Interval at which the thread checks whether it must stop, if nothing else wakes it.
const GLANCE: Duration = Duration::from_millis(500);

impl CommitLog {
    /// Flushes everything appended so far and moves `flushed` there.
    pub(crate) fn flush(&self) -> Result<()> {
        let _flushing = self.flushing.lock();
        self.failure()?;
        let target = self.appended.value();
        let mut from = self.flushed.value();
        if from >= target {
            return Ok(());
        }
        let begun = Instant::now();
        while from < target {
            // Retention deleted it before it was flushed: it is not needed any more.
            let Some(file) = self.file_at(from) else {
                from = self.min().max(from + 1).min(target);
                continue;
            };
            let to = target.min(file.limit());
            if let Err(error) = file.flush(from, to) {
                self.fail(format!("a flush failed: {error}"));
                return Err(error);
            }
            from = to;
        }
        self.counters.flush_times.add(begun.elapsed());
        self.flushed.advance(target);
        Ok(())
    }

    /// Runs until `stop`. After an error all waiters have been notified, and the thread has nothing
    /// left to do.
    pub(crate) fn run_flush(self: &Arc<Self>, config: &Flush, stop: &AtomicBool) {
        let mut thorough = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            let flushed = self.flushed.value();
            match config.mode {
                FlushMode::Sync => {
                    // A rewind wakes this too; the next round reads the positions again.
                    let _ = self.appended.wait(flushed + 1, Instant::now() + GLANCE, stop);
                }
                FlushMode::Async => std::thread::park_timeout(config.interval),
            }
            let dirty = self.appended.value().saturating_since(self.flushed.value());
            let now = Instant::now();
            let due = match config.mode {
                FlushMode::Sync => dirty > 0,
                FlushMode::Async => {
                    dirty >= config.least_pages * PAGE || now.duration_since(thorough) >= config.thorough_interval
                }
            };
            if !due {
                continue;
            }
            thorough = now;
            if dirty > 0 && self.flush().is_err() {
                return;
            }
        }
    }
}
