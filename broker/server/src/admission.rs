//! How many requests may be at work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Requests of all connections that may be at work on blocking threads, or wait for one with a turn. More are refused
/// with the answer that Java gives when it is overloaded.
pub(crate) const MAX_AT_WORK: usize = 10_000;

/// How many of [`MAX_AT_WORK`] there are. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct AtWork(Arc<AtomicUsize>);

/// One of them; the place is free again when this is dropped.
pub(crate) struct Place(AtWork);

impl AtWork {
    /// How many requests are at work now.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// A place for one more request, if there is one.
    pub(crate) fn enter(&self) -> Option<Place> {
        // The place is given back when there were too many: the number is above the limit for a moment only.
        let place = Place(self.clone());
        (self.0.fetch_add(1, Relaxed) < MAX_AT_WORK).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}
