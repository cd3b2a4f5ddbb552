//! The allocation thread, which stays ahead of the append position.
//!
//! An append must not wait for a disk: neither for blocks, nor for a page fault, nor for the next
//! file. This thread preallocates blocks in steps, prefaults pages a little ahead, and creates the
//! next file before the current one ends. If it is late, or the disk is full, a writer that may
//! block sends a request and waits here, with a deadline and without the append lock; a full disk
//! is an error for that writer and retried for the next one.
//!
//! Invariant, in offsets of the file that takes appends:
//!
//! ```text
//! published <= position <= ready <= allocated <= limit
//!
//! published   readers see bytes below it                  moved last by an append
//! position    where the next append goes: its cursor      moved by an append under its lock
//! ready       pages below it are faulted in and writable  moved by this thread, once they are
//! allocated   blocks below it are preallocated            moved by this thread, first
//! ```
//!
//! The `position` that this thread knows is the last one reported, and lags behind the cursor. It
//! sets `allocated` at the end of a job, so the order holds between two jobs. A file that a start
//! or a truncation opens begins with all four at the end of the log, whatever blocks it has: to
//! allocate them again costs nothing.
//!
//! Lock order: the append lock, then `state`. The thread holds neither during disk I/O.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::MappedFile;
use super::dirs::Dirs;
use super::region::{Cursor, Pages};
use crate::config::Allocation;
use crate::dir::ZEROS_AT_ONCE;
use crate::error::{Error, Result};
use crate::position::LogOffset;

const NAME: &str = "store-allocate";

/// A file that takes appends, with the only cursor that can append to it.
#[derive(Debug)]
pub(crate) struct Appendable {
    pub(crate) file: Arc<MappedFile>,
    pub(crate) cursor: Cursor,
}

/// Handle of the thread.
#[derive(Debug)]
pub(crate) struct Allocator {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    dirs: Arc<Dirs>,
    file_size: u64,
    ahead: Allocation,
    pages: Pages,
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    /// The thread has panicked.
    dead: bool,
    /// The file that takes appends; none until the first append.
    current: Option<Arc<MappedFile>>,
    /// Its blocks are preallocated up to this offset.
    allocated: LogOffset,
    /// The last reported append position.
    position: LogOffset,
    /// A writer waits until the current file is ready up to this offset.
    wanted: LogOffset,
    /// A writer waits for the file that begins here.
    wanted_file: Option<LogOffset>,
    next: Option<Next>,
    /// Set when the log was truncated: the job in progress belongs to discarded offsets.
    generation: u64,
    /// The number of jobs begun.
    jobs: u64,
    /// The job that failed last and its error. After a failure no job begins by itself; a writer's
    /// request begins one, except after [`Error::Sync`]: a second sync would succeed without a name
    /// or a size being on the disk.
    failure: Option<(u64, Error)>,
}

#[derive(Debug)]
struct Next {
    appendable: Appendable,
    allocated: LogOffset,
}

enum Job {
    Extend { file: Arc<MappedFile>, allocated: LogOffset, wanted: LogOffset, to: LogOffset },
    Create { base: LogOffset },
}

enum Done {
    Extended { allocated: LogOffset },
    Created(Next),
}

impl Allocator {
    /// Starts the thread. `current` takes appends at `position`. `panicked` is called with the
    /// thread's name if it panics.
    pub(crate) fn start(
        dirs: Arc<Dirs>,
        file_size: u64,
        ahead: Allocation,
        pages: Pages,
        current: Option<(Arc<MappedFile>, LogOffset)>,
        panicked: impl FnOnce(&str) + Send + 'static,
    ) -> Result<Allocator> {
        let mut state = State::default();
        if let Some((file, position)) = current {
            state.begin(file, position, position);
        }
        let shared = Arc::new(Shared {
            dirs,
            file_size,
            ahead,
            pages,
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let thread = std::thread::Builder::new()
            .name(NAME.into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    if catch_unwind(AssertUnwindSafe(|| shared.run())).is_err() {
                        panicked(NAME);
                        shared.state.lock().dead = true;
                        shared.done.notify_all();
                    }
                }
            })
            .map_err(Error::io("start a thread for", shared.dirs.for_file(0)))?;
        Ok(Allocator { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Reports the append position. Returns the position for the next report. That is soon, because
    /// pages that are prefaulted together are also written together by the next sync.
    pub(crate) fn at(&self, position: LogOffset) -> LogOffset {
        let mut state = self.shared.state.lock();
        state.position = position;
        debug_assert!(
            state.current.as_ref().is_none_or(|file| position <= file.ready()),
            "appended where nothing is ready"
        );
        self.shared.work.notify_one();
        position + self.shared.stride()
    }

    /// Waits until `file` can be written up to `to`, or is not the current file any more; `false`
    /// if that has not happened by `until`.
    pub(crate) fn wait_ready(&self, file: &Arc<MappedFile>, to: LogOffset, until: Instant) -> Result<bool> {
        let there = |state: &State| {
            let current = state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, file));
            file.ready() >= to || !current
        };
        self.wait(until, there, |state| state.wanted = state.wanted.max(to))
    }

    /// Waits until the file that begins at `base` exists, or has been taken; `false` if that has
    /// not happened by `until`.
    pub(crate) fn wait_next(&self, base: LogOffset, until: Instant) -> Result<bool> {
        let there = |state: &State| {
            let there = state.next.as_ref().is_some_and(|next| next.appendable.file.base() == base);
            let taken = state.current.as_ref().is_some_and(|current| current.base() >= base);
            there || taken
        };
        self.wait(until, there, |state| state.wanted_file = Some(base))
    }

    /// Takes the file that begins at `base`, if it is prepared; from then on it is the current one.
    pub(crate) fn take_next(&self, base: LogOffset) -> Option<Appendable> {
        let mut state = self.shared.state.lock();
        let next = state.next.take_if(|next| next.appendable.file.base() == base)?;
        state.begin(Arc::clone(&next.appendable.file), base, next.allocated);
        self.shared.work.notify_one();
        Some(next.appendable)
    }

    /// Discards all plans: appends continue in `current` at `position`. A prepared file is deleted.
    pub(crate) fn reset(&self, current: Option<Arc<MappedFile>>, position: LogOffset) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.generation += 1;
        state.wanted_file = None;
        state.current = None;
        let next = state.next.take();
        if let Some(file) = current {
            state.begin(file, position, position);
        }
        drop(state);
        next.map_or(Ok(()), |next| next.appendable.file.delete())
    }

    /// Ends the thread. If `tidy`, a file that was prepared and never used is deleted.
    pub(crate) fn stop(&self, tidy: bool) -> Result<()> {
        self.shared.state.lock().stop = true;
        self.shared.work.notify_all();
        self.shared.done.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // Its panics are caught.
            let _ = thread.join();
        }
        let next = self.shared.state.lock().next.take();
        match next {
            Some(next) if tidy => next.appendable.file.delete(),
            _ => Ok(()),
        }
    }

    /// Waits for `there`, or until a job has failed that was begun after `ask`.
    fn wait(&self, until: Instant, there: impl Fn(&State) -> bool, ask: impl Fn(&mut State)) -> Result<bool> {
        let mut state = self.shared.state.lock();
        let begun = state.jobs;
        loop {
            if state.stop {
                return Err(Error::Closed);
            }
            if state.dead {
                return Err(Error::ReadOnly(format!("its thread {NAME} panicked")));
            }
            match &state.failure {
                Some((_, error @ Error::Sync { .. })) => return Err(repeat(error)),
                _ if there(&state) => return Ok(true),
                Some((job, error)) if *job > begun => return Err(repeat(error)),
                // That job did not include this request: it failed for a larger amount, or for a
                // prefetch.
                _ => state.failure = None,
            }
            ask(&mut state);
            self.shared.work.notify_one();
            if self.shared.done.wait_until(&mut state, until).timed_out() {
                return Ok(false);
            }
        }
    }
}

impl Drop for Allocator {
    fn drop(&mut self) {
        // The caller that closes the store has called `stop` and seen its outcome; a store that is
        // dropped counts as crashed.
        let _ = self.stop(false);
    }
}

impl State {
    fn begin(&mut self, file: Arc<MappedFile>, position: LogOffset, allocated: LogOffset) {
        self.current = Some(file);
        self.allocated = allocated;
        self.position = position;
        self.wanted = position;
        self.wanted_file = None;
    }

    /// The invariant in the module docs, between two jobs.
    fn check_order(&self) {
        if let Some(file) = &self.current {
            let order = [file.base(), self.position, file.ready(), self.allocated, file.limit()];
            debug_assert!(order.is_sorted(), "base, position, ready, allocated, limit: {order:?}");
            debug_assert!(file.published() <= file.ready(), "published where nothing was ready");
        }
    }

    /// The next job, if there is one.
    fn job(&self, shared: &Shared) -> Option<Job> {
        if self.failure.is_some() {
            return None;
        }
        let Some(file) = &self.current else {
            return match (&self.next, self.wanted_file) {
                (None, Some(base)) => Some(Job::Create { base }),
                _ => None,
            };
        };
        let to = self.wanted.max(self.position + shared.ahead.touch_ahead).min(file.limit());
        if file.ready() < to {
            let wanted = self.wanted.min(file.limit());
            let to = to.min(file.ready() + shared.stride()).max(wanted);
            return Some(Job::Extend { file: Arc::clone(file), allocated: self.allocated, wanted, to });
        }
        let soon = (shared.file_size / 4).max(2 * shared.ahead.touch_ahead);
        let near = file.limit() - self.position <= soon;
        let create = self.next.is_none() && (near || self.wanted_file == Some(file.limit()));
        create.then(|| Job::Create { base: file.limit() })
    }
}

impl Shared {
    /// Bytes that one job makes ready, and bytes of appends between two reports. Appends that have
    /// caught up continue after each stride. To make everything ahead ready in one job took up to
    /// 10 ms, and eight jobs of a stride cost no more than one of eight strides.
    fn stride(&self) -> u64 {
        self.ahead.touch_ahead.div_ceil(8)
    }

    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stop {
            let Some(job) = state.job(self) else {
                self.work.wait(&mut state);
                continue;
            };
            state.jobs += 1;
            let (number, generation) = (state.jobs, state.generation);
            let outcome = MutexGuard::unlocked(&mut state, || self.perform(job));
            match outcome {
                Ok(Done::Created(next)) if state.generation != generation => {
                    // The name may be needed again at once, so the file is deleted while the lock
                    // is held.
                    if let Err(error) = next.appendable.file.delete() {
                        tracing::warn!(%error, "a commit log file prepared for nothing stays behind");
                    }
                }
                Ok(_) if state.generation != generation => {}
                Ok(Done::Extended { allocated }) => {
                    state.allocated = state.allocated.max(allocated);
                    state.check_order();
                }
                Ok(Done::Created(next)) => {
                    state.wanted_file = None;
                    state.next = Some(next);
                }
                Err(error) => {
                    // Writers that still wait repeat their request; a large message that was
                    // refused must not make small ones ask for its room.
                    state.wanted = LogOffset::ZERO;
                    state.failure = Some((number, error));
                }
            }
            self.done.notify_all();
        }
    }

    fn perform(&self, job: Job) -> Result<Done> {
        match job {
            Job::Extend { file, allocated, wanted, to } => {
                let allocated = self.extend(&file, allocated, wanted, to)?;
                Ok(Done::Extended { allocated })
            }
            Job::Create { base } => self.create(base).map(Done::Created),
        }
    }

    /// Creates the file that begins at `base`, and makes its beginning ready as far as the disk has
    /// room.
    fn create(&self, base: LogOffset) -> Result<Next> {
        let dir = self.dirs.for_file(base.get() / self.file_size);
        let (file, cursor) = MappedFile::create(dir, base, self.file_size, self.pages)?;
        let file = Arc::new(file);
        let allocated = match self.extend(&file, base, base, base + self.ahead.touch_ahead) {
            Ok(allocated) => allocated,
            // The file is not needed yet: the writer that needs it requests it again, and gets an
            // error if there is still no room.
            Err(Error::Full { .. }) => base,
            Err(error) => {
                tracing::warn!(%error, "no blocks ahead of time for the next commit log file; tried again when it is needed");
                base
            }
        };
        Ok(Next { appendable: Appendable { file, cursor }, allocated })
    }

    /// Makes `file` ready up to `to`, or at least up to `wanted` if the disk has no room for more.
    /// Returns how far its blocks are preallocated.
    fn extend(&self, file: &MappedFile, allocated: LogOffset, wanted: LogOffset, to: LogOffset) -> Result<LogOffset> {
        let to = to.min(file.limit());
        // Without a writer that waits, less than `to` is of no use.
        let least = if wanted > file.ready() { wanted } else { to };
        let blocks = if to > allocated { self.step_end(file, to) } else { allocated };
        match self.prepare(file, allocated, to, blocks) {
            Err(Error::Full { .. }) if least < blocks => match self.prepare(file, allocated, to, to) {
                Err(Error::Full { .. }) if least < to => self.prepare(file, allocated, to, least),
                outcome => outcome,
            },
            outcome => outcome,
        }
    }

    /// The end of the step of blocks that contains `to`.
    fn step_end(&self, file: &MappedFile, to: LogOffset) -> LogOffset {
        let steps = (to - file.base()).div_ceil(self.ahead.step);
        file.base().saturating_add(steps.saturating_mul(self.ahead.step)).min(file.limit())
    }

    /// Preallocates up to `blocks`, and prefaults pages up to `to` or a little more, as far as
    /// there are blocks. Returns how far blocks are preallocated.
    fn prepare(&self, file: &MappedFile, allocated: LogOffset, to: LogOffset, blocks: LogOffset) -> Result<LogOffset> {
        if blocks > allocated {
            file.allocate(allocated, blocks)?;
        }
        let piece = ZEROS_AT_ONCE.min(self.ahead.touch_ahead);
        file.touch((file.base() + (to - file.base()).next_multiple_of(piece)).min(blocks))?;
        Ok(blocks.max(allocated))
    }
}

fn again(error: &std::io::Error) -> std::io::Error {
    let other = || std::io::Error::new(error.kind(), error.to_string());
    error.raw_os_error().map_or_else(other, std::io::Error::from_raw_os_error)
}

/// The same error for another waiter.
fn repeat(error: &Error) -> Error {
    match error {
        Error::Full { path } => Error::Full { path: path.clone() },
        Error::Io { doing, path, source } => Error::Io { doing, path: path.clone(), source: again(source) },
        Error::Sync { path, source } => Error::Sync { path: path.clone(), source: again(source) },
        other => Error::ReadOnly(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(offset: u64) -> LogOffset {
        LogOffset::new(offset)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn start(dir: &std::path::Path, file_size: u64) -> Allocator {
        let ahead = Allocation { step: 16 << 10, touch_ahead: 8 << 10 };
        let dirs = Arc::new(Dirs::new(vec![dir.to_owned()], Vec::new()));
        Allocator::start(dirs, file_size, ahead, Pages::Many, None, |_| ()).unwrap()
    }

    #[test]
    fn files_follow_one_another_and_are_ready_before_they_are_needed() {
        let dir = tempfile::tempdir().unwrap();
        let allocator = start(dir.path(), 64 << 10);
        assert!(allocator.wait_next(at(0), soon()).unwrap());
        let mut first = allocator.take_next(at(0)).unwrap();
        assert!(allocator.wait_ready(&first.file, at(64 << 10), soon()).unwrap());
        assert!(first.cursor.append(60 << 10, |slot| slot.fill(1)));
        allocator.at(at(60 << 10));
        assert!(allocator.wait_next(at(64 << 10), soon()).unwrap());
        assert!(allocator.take_next(at(0)).is_none());
        let second = allocator.take_next(at(64 << 10)).unwrap();
        assert!(allocator.wait_ready(&second.file, at((64 << 10) + (8 << 10)), soon()).unwrap());
        assert_eq!(second.file.path().file_name().unwrap(), "00000000000000065536");
        assert_eq!(std::fs::metadata(second.file.path()).unwrap().len(), 64 << 10);
    }

    /// Sends waited for everything ahead to be ready, although the first part was enough for them.
    #[test]
    fn a_writer_that_has_caught_up_waits_for_one_stride_and_not_for_all_that_belongs_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _cursor) = MappedFile::create(dir.path(), at(0), 64 << 20, Pages::Many).unwrap();
        let shared = Shared {
            dirs: Arc::new(Dirs::new(vec![dir.path().to_owned()], Vec::new())),
            file_size: 64 << 20,
            ahead: Allocation { step: 16 << 20, touch_ahead: 8 << 20 },
            pages: Pages::Many,
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        };
        let mut state = State::default();
        state.begin(Arc::new(file), at(0), at(0));
        let target = |state: &State| match state.job(&shared) {
            Some(Job::Extend { to, .. }) => Some(to),
            _ => None,
        };
        assert_eq!(target(&state), Some(at(1 << 20)));
        state.wanted = at(4 << 20);
        assert_eq!(target(&state), Some(at(4 << 20)));
        let mut done = 0;
        while let Some(job @ Job::Extend { .. }) = state.job(&shared) {
            let Ok(Done::Extended { allocated }) = shared.perform(job) else { panic!("not extended") };
            state.allocated = allocated;
            done += 1;
        }
        assert_eq!((done, state.current.as_ref().unwrap().ready()), (5, at(8 << 20)));
    }

    #[test]
    fn a_prepared_file_goes_with_a_tidy_stop_and_with_a_reset() {
        let dir = tempfile::tempdir().unwrap();
        let allocator = start(dir.path(), 64 << 10);
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        assert!(allocator.wait_next(at(0), soon()).unwrap());
        allocator.reset(None, at(0)).unwrap();
        assert_eq!(files(), 0);
        assert!(allocator.wait_next(at(64 << 10), soon()).unwrap());
        assert_eq!(files(), 1);
        allocator.stop(true).unwrap();
        assert_eq!(files(), 0);
        assert!(matches!(allocator.wait_next(at(0), soon()), Err(Error::Closed)));
    }

    #[test]
    fn a_failure_is_told_to_the_writer_that_asks_and_tried_again_for_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("missing");
        let allocator = start(&dir, 64 << 10);
        assert!(matches!(allocator.wait_next(at(0), soon()), Err(Error::Io { doing: "create", .. })));
        std::fs::create_dir(&dir).unwrap();
        assert!(allocator.wait_next(at(0), soon()).unwrap());
    }
}
