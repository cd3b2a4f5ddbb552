//! Limits how many requests may be at work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limit, over all connections, of requests that are at work on blocking threads or wait for
/// one with a turn. Further requests are refused with the response that Java gives when it is
/// overloaded.
pub(crate) const MAX_AT_WORK: usize = 10_000;

/// The limit of blocking threads that requests use at a time. It is enough to keep a disk busy,
/// which has some dozen reads in flight at most. It is also the limit of responses that are being
/// encoded, whose memory counts in the budget only when they are complete. The other
/// [`BLOCKING_THREADS`](crate::BLOCKING_THREADS) of the runtime are for replication, tables,
/// metrics and name lookups, which do not queue behind requests.
const REQUEST_THREADS: usize = 32;

/// Counts the places of [`MAX_AT_WORK`] and [`REQUEST_THREADS`] that are in use. Cheap to clone.
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

/// One place of [`MAX_AT_WORK`], released when dropped.
pub(crate) struct Permit(AtWork);

impl AtWork {
    /// The number of requests that are at work now.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// One of [`REQUEST_THREADS`], released when dropped. The threads are given in the order of the
    /// requests for them. Work on a thread must not wait for another one.
    pub(crate) async fn thread(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.threads).acquire_owned().await.ok()
    }

    pub(crate) fn try_thread(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.threads).try_acquire_owned().ok()
    }

    /// Takes a place for one more request, if there is one.
    pub(crate) fn enter(&self) -> Option<Permit> {
        // The place is released again if the limit is exceeded, so the number is above the limit
        // only for a moment.
        let permit = Permit(self.clone());
        (self.count.fetch_add(1, Relaxed) < MAX_AT_WORK).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}
