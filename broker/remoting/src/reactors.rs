//! The threads that serve connections.
//!
//! Each has an event loop of its own, and a connection stays on the thread it came to. A runtime
//! whose threads share all tasks wakes a second thread for nearly every request, to look for work
//! that the first has done by then: with few busy connections that costs more than the requests.
//! The price is that two busy connections may meet on one thread while another rests; a new
//! connection goes to the thread with the fewest.
//!
//! A thread that is quicker than its peers would be woken for each of their requests, and a
//! wake-up, a read and a write cost more than a request. So after several answers that left
//! together it pauses about as long as they took, and finds several requests again. The price is a
//! later answer, by 128 microseconds at most, to those who have others on their way.

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

/// More threads would only meet at the locks behind the handlers.
const MOST: usize = 16;

/// Load of a thread that has ended: more than any other has.
const GONE: usize = usize::MAX / 2;

/// Answers of one read after which it pays to let requests gather: of fewer, the pause would cost
/// their senders more than it saves; with more, little is left to save.
const GATHERED: RangeInclusive<usize> = 4..=64;
/// Pause for each of them: about what a request takes.
const PAUSE: Duration = Duration::from_micros(2);

thread_local! {
    /// The most answers of one read since this thread last had nothing to do.
    static TOGETHER: Cell<usize> = const { Cell::new(0) };
}

/// Notes how many requests of one read were answered at once, and says whether the thread will
/// pause for them.
pub(crate) fn answered(count: usize) -> bool {
    TOGETHER.set(TOGETHER.get().max(count));
    GATHERED.contains(&count)
}

/// Called when there is nothing to do: lets requests gather, if they came several at a time.
fn pause() {
    let count = TOGETHER.take();
    if GATHERED.contains(&count) {
        thread::sleep(PAUSE * count as u32);
    }
}

/// Threads with event loops, one for each core up to 16. They end when this is dropped, and with
/// them what still runs there.
pub struct Reactors {
    first: Reactor,
    others: Vec<Reactor>,
}

struct Reactor {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Reactors {
    /// Starts the threads, watched by `watchdog`.
    ///
    /// # Errors
    /// The system gives no thread or no event queue.
    pub fn start(watchdog: &Arc<Watchdog>) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let start = |number| Reactor::start(number, Arc::clone(watchdog));
        Ok(Self { first: start(0)?, others: (1..count).map(start).collect::<io::Result<_>>()? })
    }

    /// The thread for one more connection.
    pub(crate) fn choose(&self) -> Seat {
        let fewest = self.others.iter().fold(&self.first, |best, other| match other.load() < best.load() {
            true => other,
            false => best,
        });
        fewest.connections.fetch_add(1, Relaxed);
        Seat { runtime: fewest.runtime.clone(), connections: Arc::clone(&fewest.connections) }
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
            // By default a pause may take 50 microseconds more than it was asked to; then it does.
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
            // Whether it is sent or dropped, it is the end.
            if catch_unwind(AssertUnwindSafe(|| runtime.block_on(ended))).is_err() {
                // The others get the connections from now on.
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

/// A connection's place on a thread; given back when dropped.
pub(crate) struct Seat {
    pub(crate) runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Relaxed);
    }
}
