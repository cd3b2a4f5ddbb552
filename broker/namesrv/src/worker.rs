//! A thread that owns something and carries out changes of it, one after another.
//!
//! Two of them run: one owns the routes, one the files. So changes need no lock, happen in the
//! order in which they came, and neither a registration of 10,000 topics nor a slow disk holds up
//! the threads that answer lookups. Price: a hand-over of some microseconds for each change.
//!
//! What waits is bounded in number and bytes; beyond that requests are refused. Ends of connections
//! are not requests and always get in: there cannot be more of them than connections.

use crate::Error;
use parking_lot::Mutex;
use rmq_protocol::{Command, Reply};
use rmq_remoting::{Connection, Responder, Watchdog};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Requests that may wait, as in Java's namesrv.
const MAX_WAITING: usize = 10_000;

/// Carries out a request that changes an `S`.
pub(crate) type Work<S> = fn(&mut S, &Command, &Connection) -> Result<Reply, Error>;

enum Job<S> {
    Request { work: Work<S>, request: Command, responder: Responder },
    Event(Box<dyn FnOnce(&mut S) + Send>),
    Stop,
}

/// What waits for the thread.
#[derive(Default)]
struct Waiting {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// The way to the thread that owns an `S`. Cheap to clone.
pub(crate) struct Worker<S> {
    jobs: mpsc::Sender<Job<S>>,
    waiting: Arc<Waiting>,
    /// Bytes that bodies of waiting requests may have.
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

/// Something to do every so often.
pub(crate) struct Every<S> {
    pub(crate) interval: Duration,
    pub(crate) work: fn(&mut S),
}

impl<S: Send + 'static> Worker<S> {
    /// Starts the thread, watched by `watchdog`. Bodies of requests that wait for it may have
    /// `most_bytes`.
    ///
    /// # Errors
    /// The system has no more threads to give.
    pub(crate) fn start(
        name: &'static str,
        owned: S,
        every: Option<Every<S>>,
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

    /// Hands a request over; the thread answers it.
    pub(crate) fn submit(&self, work: Work<S>, request: Command, responder: Responder) {
        let (code, peer, bytes) = (request.code, responder.connection().peer(), request.body.len());
        let requests = self.waiting.requests.fetch_add(1, Relaxed);
        let waiting_bytes = self.waiting.bytes.fetch_add(bytes, Relaxed);
        // One request is let in whatever its size: a frame has its own limit.
        if requests >= MAX_WAITING || (requests > 0 && waiting_bytes + bytes > self.most_bytes) {
            self.waiting.done(bytes);
            responder.reply(&Error::Overloaded.into_reply(code, peer));
            return;
        }
        if let Err(mpsc::SendError(Job::Request { responder, .. })) =
            self.jobs.send(Job::Request { work, request, responder })
        {
            self.waiting.done(bytes);
            responder.reply(&Error::Stopping.into_reply(code, peer));
        }
    }

    /// Tells the thread of something that happened.
    pub(crate) fn tell(&self, event: impl FnOnce(&mut S) + Send + 'static) {
        // Without a thread there is nothing left that the event could change.
        let _ = self.jobs.send(Job::Event(Box::new(event)));
    }

    /// Requests that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.requests.load(Relaxed)
    }

    /// Bytes of their bodies.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.bytes.load(Relaxed)
    }
}

impl<S> Running<S> {
    /// Lets the thread finish what waits, and waits for its end. Blocks.
    pub(crate) fn stop(&self) {
        let _ = self.worker.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.lock().take() {
            // Panics are caught and told where they happen.
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

fn run<S>(mut owned: S, queue: &mpsc::Receiver<Job<S>>, waiting: &Waiting, every: Option<&Every<S>>) {
    let mut due = every.map(|every| Instant::now() + every.interval);
    loop {
        let job = match due {
            Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match job {
            Ok(Job::Request { work, request, responder }) => {
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
