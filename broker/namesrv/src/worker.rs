//! A thread that owns data and applies changes to it in sequence.
//!
//! Two of them run: one owns the routes, one the files. So changes need no lock, happen in the
//! order of arrival, and neither a registration of 10,000 topics nor a slow disk delays the threads
//! that serve lookups. The price: each change is handed to another thread, which takes some
//! microseconds.
//!
//! The queue is bounded in number and bytes; requests beyond that are refused. Those in it count in
//! the memory budget of connections, so that in a small pod both together have one limit. Ends of
//! connections are not requests and are always accepted: there cannot be more of them than
//! connections.

use crate::Error;
use parking_lot::Mutex;
use rmq_protocol::{Command, Reply};
use rmq_remoting::{Connection, RequestMemory, Responder, Watchdog};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Requests in the queue, as in Java's namesrv.
const MAX_WAITING: usize = 10_000;

/// Carries out a request that changes an `S`.
pub(crate) type Work<S> = fn(&mut S, &Command, &Connection) -> Result<Reply, Error>;

enum Job<S> {
    Request { work: Work<S>, request: Command, responder: Responder, memory: RequestMemory },
    Event(Box<dyn FnOnce(&mut S) + Send>),
    Stop,
}

/// An item of the queue.
#[derive(Default)]
struct Waiting {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// A handle to the thread that owns an `S`. Cheap to clone.
pub(crate) struct Worker<S> {
    jobs: mpsc::Sender<Job<S>>,
    waiting: Arc<Waiting>,
    /// The limit for the bodies of queued requests, in bytes.
    most_bytes: usize,
}

impl<S> Clone for Worker<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), waiting: Arc::clone(&self.waiting), most_bytes: self.most_bytes }
    }
}

/// The thread itself.
pub(crate) struct Running<S> {
    worker: Worker<S>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A periodic job.
pub(crate) struct PeriodicJob<S> {
    pub(crate) interval: Duration,
    pub(crate) work: fn(&mut S),
}

impl<S: Send + 'static> Worker<S> {
    /// Starts the thread, watched by `watchdog`. Bodies of queued requests may have `most_bytes`.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(crate) fn start(
        name: &'static str,
        owned: S,
        every: Option<PeriodicJob<S>>,
        most_bytes: usize,
        watchdog: &Arc<Watchdog>,
    ) -> Result<(Self, Running<S>), Error> {
        let (jobs, queue) = mpsc::channel();
        let worker = Self { jobs, waiting: Arc::default(), most_bytes };
        let (waiting, watchdog) = (Arc::clone(&worker.waiting), Arc::clone(watchdog));
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || watchdog.thread(name, move || run(owned, &queue, &waiting, every.as_ref())))
            .map_err(|error| Error::Start(error.to_string()))?;
        Ok((worker.clone(), Running { worker, thread: Mutex::new(Some(thread)) }))
    }

    /// Queues a request; the thread responds to it.
    pub(crate) fn submit(&self, work: Work<S>, request: Command, responder: Responder) {
        let (code, peer, bytes) = (request.code, responder.connection().peer(), request.body.len());
        let requests = self.waiting.requests.fetch_add(1, Relaxed);
        let waiting_bytes = self.waiting.bytes.fetch_add(bytes, Relaxed);
        // One request is accepted whatever its size: a frame has its own limit.
        if requests >= MAX_WAITING || (requests > 0 && waiting_bytes + bytes > self.most_bytes) {
            self.waiting.done(bytes);
            responder.reply(&Error::Overloaded.into_reply(code, peer));
            return;
        }
        let memory = responder.hold_memory();
        if let Err(mpsc::SendError(Job::Request { responder, .. })) =
            self.jobs.send(Job::Request { work, request, responder, memory })
        {
            self.waiting.done(bytes);
            responder.reply(&Error::Stopping.into_reply(code, peer));
        }
    }

    /// Queues an event for the thread.
    pub(crate) fn post(&self, event: impl FnOnce(&mut S) + Send + 'static) {
        // Without the thread there is nothing left that the event could change.
        let _ = self.jobs.send(Job::Event(Box::new(event)));
    }

    /// Requests in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.requests.load(Relaxed)
    }

    /// Bytes of their bodies.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.bytes.load(Relaxed)
    }
}

impl<S> Running<S> {
    /// Lets the thread finish its queue, and waits for its end. Blocks.
    pub(crate) fn stop(&self) {
        let _ = self.worker.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.lock().take() {
            // Panics are caught and reported where they happen.
            let _ = thread.join();
        }
    }
}

impl Waiting {
    fn done(&self, bytes: usize) {
        self.requests.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

fn run<S>(mut owned: S, queue: &mpsc::Receiver<Job<S>>, waiting: &Waiting, every: Option<&PeriodicJob<S>>) {
    let mut due = every.map(|every| Instant::now() + every.interval);
    loop {
        let job = match due {
            Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match job {
            Ok(Job::Request { work, request, responder, memory: _memory }) => {
                let connection = responder.connection();
                let reply = work(&mut owned, &request, connection);
                let reply = reply.unwrap_or_else(|error| error.into_reply(request.code, connection.peer()));
                waiting.done(request.body.len());
                responder.reply(&reply);
            }
            Ok(Job::Event(event)) => event(&mut owned),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if let (Some(every), Some(time)) = (every, due)
            && time <= Instant::now()
        {
            (every.work)(&mut owned);
            due = Some(Instant::now() + every.interval);
        }
    }
}
