//! A watermark: an offset of the commit log that grows, and a way to wait for it.
//!
//! Flush acknowledgement, replication and dispatch all wait for an offset to be passed. A watermark
//! is that offset with its waiters: one atomic to read, one compare to advance while there are no
//! waiters, and waiters ordered by offset so that an advance visits only those it wakes. It needs
//! no runtime: a future uses the waker it is given, a thread parks.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use parking_lot::Mutex;

use crate::position::LogOffset;

/// An offset that only grows, except through [`Watermark::rewind`].
///
/// Ordering: `advance` stores `value` and then loads `lowest`; a waiter stores `lowest` and then
/// loads `value`. As both are sequentially consistent, one of them sees the other, so no waiter
/// misses its offset.
#[derive(Debug)]
pub struct Watermark {
    value: AtomicU64,
    /// The smallest offset waited for; `u64::MAX` while there is no waiter.
    lowest: AtomicU64,
    /// The number of rewinds; changed with `waiters` held.
    rewinds: AtomicU64,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    by_offset: BTreeMap<(LogOffset, u64), Waker>,
    next_id: u64,
    failed: bool,
}

/// Why an offset will not be reached for its current waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The log was cut: the bytes at that offset are gone, and later bytes there are different
    /// ones.
    #[error("the log was truncated")]
    Rewound,
    /// It cannot advance any more; see the store's error.
    #[error("the store cannot go on")]
    Failed,
}

impl Watermark {
    pub(crate) fn new(value: LogOffset) -> Self {
        Watermark {
            value: AtomicU64::new(value.get()),
            lowest: AtomicU64::new(u64::MAX),
            rewinds: AtomicU64::new(0),
            waiters: Mutex::default(),
        }
    }

    /// The current offset. The work for everything before it was complete before this returns.
    pub fn value(&self) -> LogOffset {
        LogOffset::new(self.value.load(Ordering::SeqCst))
    }

    /// Advances to `to`, or stays if it is further already. Only the store advances its watermarks.
    pub(crate) fn advance(&self, to: LogOffset) {
        self.value.fetch_max(to.get(), Ordering::SeqCst);
        if self.lowest.load(Ordering::SeqCst) <= to.get() {
            self.wake(to);
        }
    }

    #[cold]
    fn wake(&self, to: LogOffset) {
        let woken = {
            let mut waiters = self.waiters.lock();
            let later = waiters.by_offset.split_off(&(to, u64::MAX));
            let woken = std::mem::replace(&mut waiters.by_offset, later);
            self.publish_lowest(&waiters);
            woken
        };
        woken.into_values().for_each(Waker::wake);
    }

    fn publish_lowest(&self, waiters: &Waiters) {
        let lowest = waiters.by_offset.first_key_value().map_or(u64::MAX, |((offset, _), _)| offset.get());
        self.lowest.store(lowest, Ordering::SeqCst);
    }

    /// The number of rewinds. While it stays the same, an offset means the same bytes.
    pub fn rewinds(&self) -> u64 {
        self.rewinds.load(Ordering::SeqCst)
    }

    /// Rewinds to `to`. Waiters for a larger offset get an error: the bytes they wait for will
    /// never come.
    pub(crate) fn rewind(&self, to: LogOffset) {
        let woken = {
            let mut waiters = self.waiters.lock();
            self.value.store(to.get(), Ordering::SeqCst);
            self.rewinds.fetch_add(1, Ordering::SeqCst);
            let woken = std::mem::take(&mut waiters.by_offset);
            self.publish_lowest(&waiters);
            woken
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Fails all waiters, now and later: it does not advance any more.
    pub(crate) fn fail(&self) {
        let woken = {
            let mut waiters = self.waiters.lock();
            waiters.failed = true;
            let woken = std::mem::take(&mut waiters.by_offset);
            self.publish_lowest(&waiters);
            woken
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Completes when `offset` is reached. The future may be dropped at any time; only its waiter
    /// is removed.
    pub fn reached(&self, offset: LogOffset) -> Reached<&Watermark> {
        Reached { mark: self, offset, place: None }
    }

    /// Like [`Watermark::reached`], for tasks that outlive the borrow.
    pub fn reached_owned(self: &Arc<Self>, offset: LogOffset) -> Reached<Arc<Watermark>> {
        Reached { mark: Arc::clone(self), offset, place: None }
    }

    /// Blocks the thread until `offset` is reached or the deadline has passed, and returns whether
    /// it was reached. Not for threads of an async runtime.
    pub fn wait_until(&self, offset: LogOffset, deadline: Instant) -> Result<bool, Halt> {
        self.wait(offset, deadline, &AtomicBool::new(false))
    }

    /// Like [`Watermark::wait_until`], but also ends when `stop` is set and the thread unparked.
    pub(crate) fn wait(&self, offset: LogOffset, deadline: Instant, stop: &AtomicBool) -> Result<bool, Halt> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        if self.value() >= offset {
            return Ok(true);
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut reached = self.reached(offset);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut reached).poll(&mut context) {
                return outcome.map(|()| true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
            std::thread::park_timeout(left);
        }
    }

    /// The number of waiters.
    pub fn waiting(&self) -> usize {
        self.waiters.lock().by_offset.len()
    }
}

/// Future of [`Watermark::reached`].
#[derive(Debug)]
pub struct Reached<M: std::ops::Deref<Target = Watermark>> {
    mark: M,
    offset: LogOffset,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    id: u64,
    rewinds: u64,
}

impl<M: std::ops::Deref<Target = Watermark> + Unpin> Future for Reached<M> {
    type Output = Result<(), Halt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mark = &*this.mark;
        if this.place.is_none() && mark.value() >= this.offset {
            return Poll::Ready(Ok(()));
        }
        let mut waiters = mark.waiters.lock();
        // Read before the value: after a rewind other bytes may already have passed the offset.
        if this.place.as_ref().is_some_and(|place| place.rewinds != mark.rewinds()) {
            return Poll::Ready(Err(Halt::Rewound));
        }
        if mark.value() >= this.offset {
            return Poll::Ready(Ok(()));
        }
        if waiters.failed {
            return Poll::Ready(Err(Halt::Failed));
        }
        let id = match &this.place {
            Some(place) => place.id,
            None => {
                waiters.next_id += 1;
                this.place = Some(Place { id: waiters.next_id, rewinds: mark.rewinds() });
                waiters.next_id
            }
        };
        match waiters.by_offset.get_mut(&(this.offset, id)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                waiters.by_offset.insert((this.offset, id), context.waker().clone());
                mark.publish_lowest(&waiters);
            }
        }
        if mark.value() >= this.offset {
            waiters.by_offset.remove(&(this.offset, id));
            mark.publish_lowest(&waiters);
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl<M: std::ops::Deref<Target = Watermark>> Drop for Reached<M> {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            let mut waiters = self.mark.waiters.lock();
            if waiters.by_offset.remove(&(self.offset, place.id)).is_some() {
                self.mark.publish_lowest(&waiters);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    fn at(offset: u64) -> LogOffset {
        LogOffset::new(offset)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn an_advance_wakes_those_it_reaches_and_no_other() {
        let mark = Watermark::new(at(10));
        let (count, waker) = waker();
        let mut context = Context::from_waker(&waker);
        let mut futures: Vec<_> = [20, 30, 30, 40].into_iter().map(|offset| mark.reached(at(offset))).collect();
        assert!(futures.iter_mut().all(|future| Pin::new(future).poll(&mut context).is_pending()));
        mark.advance(at(19));
        assert_eq!((count.0.load(Ordering::SeqCst), mark.waiting()), (0, 4));
        mark.advance(at(30));
        assert_eq!((count.0.load(Ordering::SeqCst), mark.waiting()), (3, 1));
        assert!(futures[..3].iter_mut().all(|future| Pin::new(future).poll(&mut context) == Poll::Ready(Ok(()))));
        mark.advance(at(5));
        assert_eq!(mark.value(), at(30));
    }

    #[test]
    fn a_dropped_waiter_leaves_nothing_behind() {
        let mark = Watermark::new(at(0));
        let (_, waker) = waker();
        for offset in 1..1000 {
            let mut future = mark.reached(at(offset));
            assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(mark.waiting(), 0);
        assert_eq!(mark.lowest.load(Ordering::SeqCst), u64::MAX);
    }

    #[test]
    fn a_waiter_for_truncated_bytes_is_told_even_if_others_come_there() {
        let mark = Watermark::new(at(10));
        let (_, waker) = waker();
        let mut context = Context::from_waker(&waker);
        let mut future = mark.reached(at(20));
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        mark.rewind(at(5));
        mark.advance(at(100));
        assert_eq!(Pin::new(&mut future).poll(&mut context), Poll::Ready(Err(Halt::Rewound)));
        assert_eq!(Pin::new(&mut mark.reached(at(20))).poll(&mut context), Poll::Ready(Ok(())));
    }

    #[test]
    fn after_a_failure_no_waiter_waits_in_vain() {
        let mark = Watermark::new(at(10));
        mark.fail();
        assert_eq!(mark.wait_until(at(11), soon()), Err(Halt::Failed));
        assert_eq!(mark.wait_until(at(10), soon()), Ok(true));
    }

    #[test]
    fn a_deadline_ends_a_wait() {
        let mark = Watermark::new(at(0));
        assert_eq!(mark.wait_until(at(1), Instant::now() + Duration::from_millis(1)), Ok(false));
        assert_eq!(mark.waiting(), 0);
    }

    #[test]
    fn threads_waiting_for_every_offset_are_all_woken() {
        let mark = Arc::new(Watermark::new(at(0)));
        let threads: Vec<_> = (0..8u64)
            .map(|thread| {
                let mark = Arc::clone(&mark);
                std::thread::spawn(move || {
                    for offset in (thread..4000).step_by(8) {
                        assert_eq!(mark.wait_until(at(offset), soon()), Ok(true));
                    }
                })
            })
            .collect();
        (0..=4000).for_each(|offset| mark.advance(at(offset)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
