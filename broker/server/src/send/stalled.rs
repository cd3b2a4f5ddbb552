//! A bounded queue of messages that wait for disk blocks.
//!
//! The store preallocates blocks ahead of the end of its log, so a put is a short copy and is made
//! on the connection's thread. If a slow disk is late with the preallocation, the put must not
//! block there: every other connection of that thread would wait with it. The request enters this
//! queue instead. One thread serves the queue while the queue is not empty: it puts the messages
//! one after another and blocks on the disk where it must. Each request has a deadline, counted
//! from its arrival. When the first request times out, the requests that arrived with it follow at
//! once.
//!
//! A request that arrives meanwhile first tries the put itself, and overtakes the queue if blocks
//! are available again. If it joined the queue, one thread would do the work of many for as long as
//! requests arrive faster than it puts them. Java's threads keep no order between the requests of a
//! connection either.
//!
//! A blocking thread per request is no alternative: these threads are few, and pulls of old
//! messages need them. One shared blocking thread is none either: on a disk that slow all blocking
//! threads may wait for it.
//!
//! The queue is bounded in requests and, because it holds bodies, in bytes. A request that finds it
//! full is refused as busy.

use crate::error::{Reason, Rejection};
use parking_lot::Mutex;
use rmq_store::Deadline;
use std::{collections::VecDeque, sync::Arc, thread};
use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// The limit of queued requests.
const MAX_REQUESTS: usize = 10_000;
/// The limit of the bytes of their bodies and header fields.
const MAX_BYTES: usize = 64 << 20;

/// The queue.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Tracks the thread that serves the queue. It ends before the store is closed.
    tasks: TaskTracker,
    /// The runtime that follow-up work of a put is spawned on.
    runtime: Handle,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// The number of requests, including the one that is being served.
    requests: usize,
    /// The bytes of all requests.
    bytes: usize,
    /// A thread serves the queue.
    served: bool,
}

struct Waiting {
    deadline: Deadline,
    bytes: usize,
    put: Put,
}

/// Stores the message and answers the request, or refuses it.
type Put = Box<dyn FnOnce(Result<Deadline, Rejection>) + Send>;

impl Queue {
    /// Creates a queue whose thread is tracked by `tasks`. Tasks that a `put` spawns run on
    /// `runtime`.
    pub(crate) fn new(tasks: TaskTracker, runtime: Handle) -> Self {
        Self { state: Mutex::default(), tasks, runtime }
    }

    /// The number of queued requests, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.requests, state.bytes)
    }

    /// Queues `put`. It is called in order on a thread that may block until the deadline that it is
    /// given. If the queue is full, it is called at once with a refusal.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        bytes: usize,
        put: impl FnOnce(Result<Deadline, Rejection>) + Send + 'static,
    ) {
        let mut state = self.state.lock();
        if state.requests >= MAX_REQUESTS || state.bytes + bytes > MAX_BYTES {
            let (requests, bytes) = (state.requests, state.bytes);
            drop(state);
            return put(Err(busy(&format!("{requests} messages of {bytes} bytes wait for disk blocks already"))));
        }
        state.requests += 1;
        state.bytes += bytes;
        state.waiting.push_back(Waiting { deadline: Deadline::client(), bytes, put: Box::new(put) });
        if std::mem::replace(&mut state.served, true) {
            return;
        }
        drop(state);
        let worker = Worker { of: Arc::clone(self), over: false, _counted: self.tasks.token() };
        if let Err(error) = thread::Builder::new().name("stalled-puts".into()).spawn(move || worker.run()) {
            tracing::warn!(%error, "no thread for messages that wait for disk blocks; they are refused");
        }
    }
}

/// The thread that serves the queue while the queue is not empty.
struct Worker {
    of: Arc<Queue>,
    over: bool,
    _counted: TaskTrackerToken,
}

impl Worker {
    fn run(mut self) {
        let runtime = self.of.runtime.clone();
        let _entered = runtime.enter();
        while let Some(Waiting { deadline, bytes, put }) = self.next() {
            put(Ok(deadline));
            let mut state = self.of.state.lock();
            state.requests -= 1;
            state.bytes -= bytes;
        }
    }

    fn next(&mut self) -> Option<Waiting> {
        let mut state = self.of.state.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            (state.served, self.over) = (false, true);
        }
        next
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // The thread could not be started, or it panicked. No other thread would serve the
        // remaining requests.
        let left = std::mem::take(&mut *self.of.state.lock()).waiting;
        left.into_iter().for_each(|waiting| (waiting.put)(Err(busy("there is no thread for it"))));
    }
}

fn busy(why: &str) -> Rejection {
    Rejection::new(Reason::Busy, format!("[OVERLOAD]system busy, {why}; try again later"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn queue() -> (Arc<Queue>, TaskTracker) {
        let tasks = TaskTracker::new();
        (Arc::new(Queue::new(tasks.clone(), Handle::current())), tasks)
    }

    /// Queues a request that occupies the thread until the returned sender is dropped.
    fn hold(queue: &Arc<Queue>, bytes: usize) -> Sender<()> {
        let (done, wait) = channel::<()>();
        let (begun, served) = channel();
        queue.enqueue(bytes, move |turn| {
            turn.unwrap();
            begun.send(()).unwrap();
            let _ = wait.recv_timeout(DEADLINE);
        });
        served.recv_timeout(DEADLINE).unwrap();
        done
    }

    /// Queues a request that reports its turn.
    fn enqueue(queue: &Arc<Queue>, bytes: usize) -> Receiver<Result<Deadline, Rejection>> {
        let (sender, receiver) = channel();
        queue.enqueue(bytes, move |turn| sender.send(turn).unwrap());
        receiver
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_requests_and_in_bytes_and_empties() {
        for (bytes, places) in [(1, MAX_REQUESTS), (MAX_BYTES / 8, 8)] {
            let (queue, tasks) = queue();
            let first = hold(&queue, bytes);
            let others: Vec<_> = (1..places).map(|_| enqueue(&queue, bytes)).collect();
            assert_eq!(queue.waiting(), (places, places * bytes));
            let refused = enqueue(&queue, bytes).recv_timeout(DEADLINE).unwrap().unwrap_err();
            assert_eq!(refused.reason, Reason::Busy);
            assert!(refused.remark.contains(&format!("{places} messages of")), "{}", refused.remark);
            assert_eq!(queue.waiting(), (places, places * bytes));
            drop(first);
            // In the order of arrival, each with the deadline that it got on arrival.
            let deadlines: Vec<_> = others
                .iter()
                .map(|receiver| match receiver.recv_timeout(DEADLINE).unwrap().unwrap() {
                    Deadline::At(until) => until,
                    Deadline::Now => panic!("no deadline"),
                })
                .collect();
            assert!(deadlines.is_sorted());
            tasks.close();
            tokio::time::timeout(DEADLINE, tasks.wait()).await.unwrap();
            assert_eq!(queue.waiting(), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_put_that_panics_leaves_no_request_in_the_queue() {
        let (queue, tasks) = queue();
        let first = hold(&queue, 1);
        queue.enqueue(1, |_| panic!("as a test wants it"));
        let behind = enqueue(&queue, 1);
        drop(first);
        assert_eq!(behind.recv_timeout(DEADLINE).unwrap().unwrap_err().reason, Reason::Busy);
        tasks.close();
        tokio::time::timeout(DEADLINE, tasks.wait()).await.unwrap();
        assert_eq!(queue.waiting(), (0, 0));
        assert!(enqueue(&queue, 1).recv_timeout(DEADLINE).unwrap().is_ok());
    }
}
