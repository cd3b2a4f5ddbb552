//! One connection, as seen from either side.
//!
//! | file | what |
//! |---|---|
//! | this | the handle: requests, one-way messages, what a connection holds and why it is not read from |
//! | [`event_loop`] | what the task of the connection does |

mod event_loop;

use crate::{
    Counters, Error, Limits,
    admission::Open,
    limits::Reasons,
    outbox::{Outbox, Pushed},
    responder::Responder,
};
use parking_lot::Mutex;
use rmq_protocol::Command;
use rustc_hash::FxHashMap;
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI32, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore, oneshot},
};
use tokio_util::sync::CancellationToken;

/// What a process does with the commands that it receives.
pub trait Handler: Send + Sync + 'static {
    /// Handles one request on the connection's task, in order of arrival. The other connections of
    /// the same thread wait meanwhile, so it must not block. The response may be given at once or
    /// later; dropping the responder gives none.
    fn handle(&self, request: Command, responder: Responder);

    /// Whether the body of requests with this code is needed. Other bodies are dropped as soon as
    /// they are read.
    fn has_body(&self, code: i32) -> bool {
        let _ = code;
        true
    }

    /// The connection is closed; no more commands come from it.
    fn closed(&self, connection: &Connection) {
        let _ = connection;
    }
}

/// A handle to a connection. It is cheap to clone and stays valid after the connection's end, when
/// every call fails.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

pub(crate) struct Inner {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    pub(crate) stream: TcpStream,
    pub(crate) outbox: Outbox,
    /// Wakes the connection's task: the outbox is blocked, the last late response is given, or the
    /// connection is to end.
    pub(crate) wake: Notify,
    /// Wakes the tasks that wait for room in the outbox, or for the end.
    pub(crate) drained: Notify,
    /// The number of such waiters. A notify without waiters still takes a lock, and usually there
    /// are none.
    pub(crate) waiting_for_room: AtomicUsize,
    /// See [`Responder::turn`].
    pub(crate) turns: Arc<Semaphore>,
    /// Requests that wait or that other threads work on.
    pub(crate) deferred: AtomicUsize,
    /// Bytes of waiting requests.
    pub(crate) deferred_bytes: AtomicUsize,
    closing: AtomicBool,
    /// No more requests are read; the connection ends with the last response.
    pub(crate) stopping: AtomicBool,
    /// Requests that were handed to the handler and have no response yet.
    pub(crate) unanswered: AtomicUsize,
    next_opaque: AtomicI32,
    pending: Mutex<Pending>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
}

#[derive(Default)]
struct Pending {
    closed: bool,
    waiting: FxHashMap<i32, oneshot::Sender<Command>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Connection {
    pub(crate) fn new(stream: TcpStream, limits: Limits, counters: Arc<Counters>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(Arc::new(Inner {
            id: NEXT_ID.fetch_add(1, Relaxed),
            peer: unmapped(stream.peer_addr()?),
            local: unmapped(stream.local_addr()?),
            stream,
            outbox: Outbox::default(),
            wake: Notify::new(),
            drained: Notify::new(),
            waiting_for_room: AtomicUsize::new(0),
            turns: Arc::new(Semaphore::new(limits.turns)),
            deferred: AtomicUsize::new(0),
            deferred_bytes: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            unanswered: AtomicUsize::new(0),
            next_opaque: AtomicI32::new(1),
            pending: Mutex::default(),
            limits,
            counters,
        })))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// An id that is unique in this process and never reused.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The address of the peer. IPv4 addresses are plain also on a dual-stack socket.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// The local address.
    pub fn local(&self) -> SocketAddr {
        self.0.local
    }

    /// True until either side closed it.
    pub fn is_open(&self) -> bool {
        !self.0.closing.load(Relaxed)
    }

    /// Closes the connection; pending output is lost.
    pub fn close(&self) {
        self.0.closing.store(true, Relaxed);
        self.0.wake.notify_one();
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// After [`Error::Closed`] and [`Error::Timeout`] it is unknown whether the peer carried out
    /// the request. [`Error::Overloaded`] means that it was not sent.
    pub async fn request(&self, mut command: Command, timeout: Duration) -> Result<Command, Error> {
        let opaque = self.0.next_opaque.fetch_add(1, Relaxed);
        command.opaque = opaque;
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.0.pending.lock();
            if pending.closed {
                return Err(self.closed_error());
            }
            if pending.waiting.len() >= self.0.limits.pending || self.0.outbox.waiting() > self.0.limits.outbox {
                Counters::add(&self.0.counters.requests_refused, 1);
                return Err(Error::Overloaded(self.0.peer.to_string()));
            }
            pending.waiting.insert(opaque, sender);
        }
        // Runs also when the caller is dropped before the response: its place is released.
        let place = PendingSlot { connection: self, opaque };
        self.after_push(self.0.outbox.push_command(&command, &self.0.stream, &self.0.counters));
        let response = tokio::time::timeout(timeout, receiver).await;
        drop(place);
        match response {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(self.closed_error()),
            Err(_) => Err(Error::Timeout { address: self.0.peer.to_string(), timeout }),
        }
    }

    /// Whether a one-way command would be taken now.
    pub fn takes_pushes(&self) -> bool {
        self.is_open() && self.0.outbox.waiting() <= self.0.limits.outbox
    }

    /// Sends a one-way command. If the peer does not read, the command is dropped and counted.
    ///
    /// # Errors
    /// The connection is closed or full.
    pub fn one_way(&self, mut command: Command) -> Result<(), Error> {
        command.opaque = self.0.next_opaque.fetch_add(1, Relaxed);
        if self.0.outbox.waiting() > self.0.limits.outbox {
            Counters::add(&self.0.counters.pushes_dropped, 1);
            return Err(Error::Overloaded(self.0.peer.to_string()));
        }
        match self.0.outbox.push_command(&command.one_way(), &self.0.stream, &self.0.counters) {
            Pushed::Closed => Err(self.closed_error()),
            pushed => {
                self.after_push(pushed);
                Ok(())
            }
        }
    }

    /// So much output is pending for the peer that no more responses are made for it.
    pub(crate) fn is_full(&self) -> bool {
        let unread = self.0.outbox.waiting();
        // Waiting requests do not count here: they would block themselves.
        unread > self.0.limits.outbox || self.is_more_than_its_share(unread)
    }

    fn is_more_than_its_share(&self, bytes: usize) -> bool {
        let (budget, connections) = (&self.0.counters.budget, &self.0.counters.connections);
        budget.is_exhausted() && bytes > budget.share(connections.load(Relaxed))
    }

    /// The bytes that the connection holds with `input` bytes in its read buffer.
    fn held_bytes(&self, input: usize) -> usize {
        input + self.0.outbox.waiting() + self.0.deferred_bytes.load(SeqCst)
    }

    /// Why the connection is not read from, given `input` bytes in its read buffer.
    fn reasons(&self, input: usize) -> Reasons {
        let (inner, limits) = (&*self.0, &self.0.limits);
        Reasons {
            outbox: inner.outbox.waiting() > limits.outbox,
            requests: inner.unanswered.load(SeqCst) >= limits.unanswered
                || inner.deferred.load(SeqCst) >= limits.deferred
                || inner.deferred_bytes.load(SeqCst) >= limits.deferred_bytes,
            memory: self.is_more_than_its_share(self.held_bytes(input)),
        }
    }

    /// Writes as much as the socket accepts.
    pub(crate) fn write(&self) -> Pushed {
        let pushed = self.0.outbox.write(&self.0.stream, &self.0.counters);
        self.announce_room();
        pushed
    }

    /// Wakes the tasks that wait for room in the outbox, if there are any and there is room.
    fn announce_room(&self) {
        // Pairs with the fence in `turn`: either this thread sees the waiter, or the waiter sees
        // the room.
        fence(SeqCst);
        if self.0.waiting_for_room.load(Relaxed) > 0 && !self.is_full() {
            self.0.drained.notify_waiters();
        }
    }

    fn closed_error(&self) -> Error {
        Error::Closed(self.0.peer.to_string())
    }

    pub(crate) fn after_push(&self, pushed: Pushed) {
        match pushed {
            Pushed::Done => {}
            Pushed::Blocked => self.0.wake.notify_one(),
            Pushed::Closed => self.close(),
        }
    }

    /// Runs the connection to its end: until either side closes it, `stop` is cancelled, or it
    /// exceeds a limit. It counts as open from this call on, not from the first poll of the task: a
    /// burst of connections must not slip past the cap.
    pub(crate) fn run<H: Handler + ?Sized>(
        self,
        handler: Arc<H>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        let open = Open::new(&self.0.counters, self.0.peer.ip());
        async move {
            let end = End { connection: &self, handler: &*handler };
            event_loop::run(&self, &*handler, &stop).await;
            drop(open);
            drop(end);
        }
    }

    fn end(&self) {
        self.0.closing.store(true, SeqCst);
        self.0.outbox.close(&self.0.counters);
        let waiting = {
            let mut pending = self.0.pending.lock();
            pending.closed = true;
            std::mem::take(&mut pending.waiting)
        };
        drop(waiting);
        self.0.turns.close();
        self.0.drained.notify_waiters();
        // Handles, and the socket with them, may live on in a client's table or a parked response.
        // The peer must learn of the end all the same.
        let _ = socket2::SockRef::from(&self.0.stream).shutdown(std::net::Shutdown::Both);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} {})", self.0.id, self.0.peer)
    }
}

/// Ends a connection, also when a handler panics or the runtime shuts down.
struct End<'a, H: Handler + ?Sized> {
    connection: &'a Connection,
    handler: &'a H,
}

impl<H: Handler + ?Sized> Drop for End<'_, H> {
    fn drop(&mut self) {
        let connection = self.connection;
        if std::thread::panicking() {
            Counters::add(&connection.0.counters.panics, 1);
            tracing::error!(peer = %connection.0.peer, "a request made its handler panic; its connection is closed");
            // The responses that were given before, and the one that reports the panic.
            connection.0.outbox.uncork(&connection.0.stream, &connection.0.counters);
        }
        connection.end();
        // A second panic while the first one unwinds would abort the process.
        let closed = std::panic::AssertUnwindSafe(|| self.handler.closed(connection));
        if std::panic::catch_unwind(closed).is_err() {
            tracing::error!(peer = %connection.0.peer, "the end of a connection made its handler panic");
        }
    }
}

/// A place in `pending`, released when its caller is done.
struct PendingSlot<'a> {
    connection: &'a Connection,
    opaque: i32,
}

impl Drop for PendingSlot<'_> {
    fn drop(&mut self) {
        self.connection.0.pending.lock().waiting.remove(&self.opaque);
    }
}

fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
