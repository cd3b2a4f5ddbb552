//! How many requests may be at work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of all connections that may be at work on blocking threads, or wait for one with a
/// turn. More are refused with the answer that Java gives when it is overloaded.
pub(crate) const MAX_AT_WORK: usize = 10_000;

/// Blocking threads that requests use at a time: enough to keep a disk busy, which has some dozen
/// reads in flight at most, and the most answers that are in the making, whose memory counts in the
/// budget only when they are made. The others of the runtime's
/// [`BLOCKING_THREADS`](crate::BLOCKING_THREADS) are for replication, tables, metrics and name
/// lookups, which do not queue behind requests.
const REQUEST_THREADS: usize = 32;

/// How many of [`MAX_AT_WORK`] and [`REQUEST_THREADS`] there are. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AtWork {
    count: Arc<AtomicUsize>,
    threads: Arc<Semaphore>,
}

impl Default for AtWork {
    fn default() -> Self {
        Self { count: Arc::default(), threads: Arc::new(Semaphore::new(REQUEST_THREADS)) }
    }
}

/// One of them; the place is free again when this is dropped.
pub(crate) struct Place(AtWork);

impl AtWork {
    /// How many requests are at work now.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// One of [`REQUEST_THREADS`], free again when dropped; given in the order in which they were
    /// asked for. Work on it must not ask for another.
    pub(crate) async fn thread(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.threads).acquire_owned().await.ok()
    }

    pub(crate) fn try_thread(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.threads).try_acquire_owned().ok()
    }

    /// A place for one more request, if there is one.
    pub(crate) fn enter(&self) -> Option<Place> {
        // The place is given back when there were too many: the number is above the limit for a
        // moment only.
        let place = Place(self.clone());
        (self.count.fetch_add(1, Relaxed) < MAX_AT_WORK).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}
