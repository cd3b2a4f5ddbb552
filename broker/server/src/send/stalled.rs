//! Messages that the disk has no blocks for yet.
//!
//! The store has blocks ready ahead of the end of its log, so a put is a short copy, made on the
//! connection's thread. Where a slow disk is late with them the put may not wait there: everybody
//! else of that thread would wait with it. Its request stands in line here instead, and one thread
//! serves the line while somebody stands in it: it puts the messages one after another and waits
//! for the disk where it must. Each has the patience of a client, counted from when it came, so
//! when the first gives up those that came with it follow at once.
//!
//! A request that comes meanwhile tries for itself first, and overtakes those in line if there are
//! blocks again: to join them would make one thread of many for as long as requests come faster
//! than it works. Java's threads keep no order between the requests of a connection either.
//!
//! Not a blocking thread for each: they are few, and pulls of old messages need them. Not one of
//! them for all either: on a disk that slow they may all wait for it.
//!
//! The line is bounded in requests and, as it holds bodies, in bytes; who finds it full is refused
//! as busy.

use crate::error::{Reason, Rejection};
use parking_lot::Mutex;
use rmq_store::Deadline;
use std::{collections::VecDeque, sync::Arc, thread};
use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Requests in line.
const MAX_REQUESTS: usize = 10_000;
/// Bytes of their bodies and header fields.
const MAX_BYTES: usize = 64 << 20;

/// The line.
pub(crate) struct Line {
    state: Mutex<State>,
    /// Counts the thread that serves, which ends before the store is closed.
    tasks: TaskTracker,
    /// Where what follows a put is spawned.
    runtime: Handle,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// How many there are, the one being served among them.
    requests: usize,
    /// Of all of them.
    bytes: usize,
    /// A thread looks after it.
    served: bool,
}

struct Waiting {
    patience: Deadline,
    bytes: usize,
    put: Put,
}

/// Stores the message and answers, or refuses it.
type Put = Box<dyn FnOnce(Result<Deadline, Rejection>) + Send>;

impl Line {
    /// A line whose thread counts among `tasks`. What `put`s spawn goes to `runtime`.
    pub(crate) fn new(tasks: TaskTracker, runtime: Handle) -> Self {
        Self { state: Mutex::default(), tasks, runtime }
    }

    /// How many requests stand in line, and how many bytes they have.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.requests, state.bytes)
    }

    /// Has `put` called when its turn has come, on a thread that may wait so long as it is told; or
    /// now, with a refusal, where there is no place.
    pub(crate) fn stand(
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
        state.waiting.push_back(Waiting { patience: Deadline::client(), bytes, put: Box::new(put) });
        if std::mem::replace(&mut state.served, true) {
            return;
        }
        drop(state);
        let service = Service { of: Arc::clone(self), over: false, _counted: self.tasks.token() };
        if let Err(error) = thread::Builder::new().name("stalled-puts".into()).spawn(move || service.run()) {
            tracing::warn!(%error, "no thread for messages that wait for disk blocks; they are refused");
        }
    }
}

/// The thread that serves the line while somebody stands in it.
struct Service {
    of: Arc<Line>,
    over: bool,
    _counted: TaskTrackerToken,
}

impl Service {
    fn run(mut self) {
        let runtime = self.of.runtime.clone();
        let _entered = runtime.enter();
        while let Some(Waiting { patience, bytes, put }) = self.next() {
            put(Ok(patience));
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

impl Drop for Service {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // There was no thread, or it broke: nobody else would serve them.
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

    fn line() -> (Arc<Line>, TaskTracker) {
        let tasks = TaskTracker::new();
        (Arc::new(Line::new(tasks.clone(), Handle::current())), tasks)
    }

    /// Someone who is served until the sender that is returned is dropped.
    fn hold(line: &Arc<Line>, bytes: usize) -> Sender<()> {
        let (done, wait) = channel::<()>();
        let (begun, served) = channel();
        line.stand(bytes, move |turn| {
            turn.unwrap();
            begun.send(()).unwrap();
            let _ = wait.recv_timeout(DEADLINE);
        });
        served.recv_timeout(DEADLINE).unwrap();
        done
    }

    /// Stands in line with something to say.
    fn stand(line: &Arc<Line>, bytes: usize) -> Receiver<Result<Deadline, Rejection>> {
        let (tell, told) = channel();
        line.stand(bytes, move |turn| tell.send(turn).unwrap());
        told
    }

    #[tokio::test]
    async fn a_line_is_bounded_in_requests_and_in_bytes_and_empties() {
        for (bytes, places) in [(1, MAX_REQUESTS), (MAX_BYTES / 8, 8)] {
            let (line, tasks) = line();
            let first = hold(&line, bytes);
            let others: Vec<_> = (1..places).map(|_| stand(&line, bytes)).collect();
            assert_eq!(line.waiting(), (places, places * bytes));
            let refused = stand(&line, bytes).recv_timeout(DEADLINE).unwrap().unwrap_err();
            assert_eq!(refused.reason, Reason::Busy);
            assert!(refused.remark.contains(&format!("{places} messages of")), "{}", refused.remark);
            assert_eq!(line.waiting(), (places, places * bytes));
            drop(first);
            // In the order in which they came, and each with the patience that it had then.
            let patiences: Vec<_> = others
                .iter()
                .map(|told| match told.recv_timeout(DEADLINE).unwrap().unwrap() {
                    Deadline::At(until) => until,
                    Deadline::Now => panic!("no patience"),
                })
                .collect();
            assert!(patiences.is_sorted());
            tasks.close();
            tokio::time::timeout(DEADLINE, tasks.wait()).await.unwrap();
            assert_eq!(line.waiting(), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_put_that_panics_leaves_nobody_in_the_line() {
        let (line, tasks) = line();
        let first = hold(&line, 1);
        line.stand(1, |_| panic!("as a test wants it"));
        let behind = stand(&line, 1);
        drop(first);
        assert_eq!(behind.recv_timeout(DEADLINE).unwrap().unwrap_err().reason, Reason::Busy);
        tasks.close();
        tokio::time::timeout(DEADLINE, tasks.wait()).await.unwrap();
        assert_eq!(line.waiting(), (0, 0));
        assert!(stand(&line, 1).recv_timeout(DEADLINE).unwrap().is_ok());
    }
}
