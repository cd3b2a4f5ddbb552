//! The threads that serve connections.
//!
//! Each thread has an event loop of its own, and a connection stays on its thread. A work-stealing
//! runtime wakes a second thread for nearly every request, to search for work that the first thread
//! has done by then: with few busy connections that costs more than the requests. The price is that
//! two busy connections may share one thread while another is idle; a new connection goes to the
//! thread with the fewest connections.
//!
//! A thread that is faster than its peers would be woken for each of their requests, and a wake-up,
//! a read and a write cost more than a request. So after several responses that left together the
//! thread pauses about as long as they took, and then finds several requests again. The price is
//! latency, 128 microseconds at most, for peers that have further requests in flight.

use crate::Watchdog;
use std::{
    cell::Cell,
    io,
    num::NonZeroU64,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// More threads would only contend for the locks behind the handlers.
const MOST: usize = 16;

/// The load of a thread that has ended: more than any other thread has.
const GONE: usize = usize::MAX / 2;

/// Responses of one read from which on a pause pays: with fewer, the pause would cost their senders
/// more than it saves; with more, little is left to save.
const GATHERED: RangeInclusive<usize> = 4..=64;
/// The pause for each of them: about the time a request takes.
const PAUSE: Duration = Duration::from_micros(2);

thread_local! {
    /// The most responses of one read since this thread was last idle.
    static TOGETHER: Cell<usize> = const { Cell::new(0) };
}

/// Records how many requests of one read got a response at once, and returns whether the thread
/// will pause for them.
pub(crate) fn responded(count: usize) -> bool {
    TOGETHER.set(TOGETHER.get().max(count));
    GATHERED.contains(&count)
}

/// Called when the thread is idle: lets requests accumulate, if they came several at a time.
fn pause() {
    let count = TOGETHER.take();
    if GATHERED.contains(&count) {
        thread::sleep(PAUSE * count as u32);
    }
}

/// Threads with event loops, one per core up to 16. They end when this is dropped, and the tasks
/// that still run there end with them.
pub struct Reactors {
    first: Reactor,
    others: Vec<Reactor>,
}

struct Reactor {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropping it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Reactors {
    /// Starts the threads, watched by `watchdog`.
    ///
    /// # Errors
    /// The system refuses a thread or an event queue.
    pub fn start(watchdog: &Arc<Watchdog>) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let start = |number| Reactor::start(number, Arc::clone(watchdog));
        Ok(Self { first: start(0)?, others: (1..count).map(start).collect::<io::Result<_>>()? })
    }

    /// The thread for a new connection.
    pub(crate) fn choose(&self) -> Slot {
        let fewest = self.others.iter().fold(&self.first, |best, other| match other.load() < best.load() {
            true => other,
            false => best,
        });
        fewest.connections.fetch_add(1, Relaxed);
        Slot { runtime: fewest.runtime.clone(), connections: Arc::clone(&fewest.connections) }
    }
}

impl Reactor {
    fn start(number: usize, watchdog: Arc<Watchdog>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(pause).build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let connections = Arc::<AtomicUsize>::default();
        let load = Arc::clone(&connections);
        let name = format!("connections-{number}");
        thread::Builder::new().name(name.clone()).spawn(move || {
            // By default the kernel may lengthen a pause by 50 microseconds, and it does.
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
            // A send and a drop both mean the end.
            if catch_unwind(AssertUnwindSafe(|| runtime.block_on(ended))).is_err() {
                // The other threads get the connections from now on.
                load.fetch_add(GONE, Relaxed);
                watchdog.note("thread", &name, true);
            }
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections, _end: end })
    }

    fn load(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

/// A connection's place on a thread, released on drop.
pub(crate) struct Slot {
    pub(crate) runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Relaxed);
    }
}
