//! The event loop of a connection: reads while no limit is reached, handles the frames, writes what
//! the socket did not accept at once, and ends the connection at its deadlines.

use super::{Connection, Handler};
use crate::{
    Counters,
    input::{Input, READ},
    limits::{MemoryCheck, MemoryDeadline, ReadPause, Reasons},
    log_limit,
    outbox::Pushed,
    reactors,
    responder::{Handling, Responder},
};
use bytes::Bytes;
use rmq_protocol::{Command, frame};
use std::{
    io,
    ops::ControlFlow::{self, Break, Continue},
    pin::Pin,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{Interest, Ready},
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// How long a connection may handle requests before it yields to the others of its thread.
const TURN: Duration = Duration::from_millis(1);

struct EventLoop<'a, H: Handler + ?Sized> {
    connection: &'a Connection,
    handler: &'a H,
    input: Input,
    memory_deadline: MemoryDeadline,
    /// Why the connection is not read from.
    reasons: Reasons,
    pause: ReadPause<'a>,
    /// The socket did not accept the last write.
    blocked: bool,
    last_active: Instant,
    /// Set when the process stops: until then the last responses may leave.
    stopping_until: Option<Instant>,
}

/// Runs until the connection has to end: either side closes it, `stop` is cancelled, or it exceeds
/// a limit.
pub(super) async fn run<H: Handler + ?Sized>(connection: &Connection, handler: &H, stop: &CancellationToken) {
    let inner = &*connection.0;
    let mut events = EventLoop {
        connection,
        handler,
        input: Input::new(Arc::clone(&inner.counters)),
        memory_deadline: MemoryDeadline::default(),
        reasons: Reasons::default(),
        pause: ReadPause::none(&inner.counters),
        blocked: false,
        last_active: Instant::now(),
        stopping_until: None,
    };
    // Both futures live as long as the connection: to create them anew at each turn would take
    // locks that all connections share.
    let (stopped, timer) = (stop.cancelled(), tokio::time::sleep_until(events.last_active + inner.limits.idle));
    tokio::pin!(stopped, timer);
    while events.turn(stop, stopped.as_mut(), timer.as_mut()).await.is_continue() {}
}

impl<H: Handler + ?Sized> EventLoop<'_, H> {
    /// Waits for one event and handles it. `Break` ends the connection.
    async fn turn(
        &mut self,
        stop: &CancellationToken,
        stopped: Pin<&mut WaitForCancellationFuture<'_>>,
        mut timer: Pin<&mut Sleep>,
    ) -> ControlFlow<()> {
        let inner = &*self.connection.0;
        if inner.closing.load(Relaxed) {
            return Break(());
        }
        // A socket that always has bytes would occupy this thread and hide the stop: reading does
        // not end the task's turn by itself.
        tokio::task::coop::consume_budget().await;
        if self.stopping_until.is_none() && stop.is_cancelled() {
            inner.stopping.store(true, SeqCst);
            let until = Instant::now() + inner.limits.grace;
            self.stopping_until = Some(until);
            timer.as_mut().reset(until);
        }
        let read = self.may_read(timer.as_mut())?;
        // Requests that have arrived are handled even if their buffer is too large to read more:
        // handling them empties it.
        if self.input.more && self.stopping_until.is_none() && self.connection.reasons(0) == Reasons::default() {
            let pushed = self.handle_some();
            self.last_active = Instant::now();
            self.after(pushed)?;
            tokio::task::yield_now().await;
            return Continue(());
        }
        self.blocked |= !read && inner.outbox.waiting() > 0;
        if self.has_stopped() {
            return Break(());
        }
        let interest = match (read, self.blocked) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        tokio::select! {
            biased;
            ready = ready(&inner.stream, interest) => match ready {
                Ok(ready) => self.ready(ready, read).await,
                Err(_) => Break(()),
            },
            () = inner.wake.notified() => {
                self.blocked |= inner.outbox.waiting() > 0;
                Continue(())
            }
            () = stopped, if self.stopping_until.is_none() => Continue(()),
            () = timer.as_mut() => self.timed_out(timer),
        }
    }

    /// Whether the connection may be read from. Ends a connection that does not give memory back in
    /// time.
    fn may_read(&mut self, timer: Pin<&mut Sleep>) -> ControlFlow<(), bool> {
        let (connection, inner) = (self.connection, &*self.connection.0);
        self.reasons = connection.reasons(self.input.counted());
        if self.reasons.memory {
            // Unused room is not held against the peer.
            self.input.shrink();
            self.reasons = connection.reasons(self.input.counted());
        }
        connection.announce_room();
        let read = self.stopping_until.is_none() && self.pause.update(self.reasons);
        let held_bytes = connection.held_bytes(self.input.counted());
        match self.memory_deadline.check(self.reasons.memory, held_bytes, inner.limits.relief) {
            MemoryCheck::Met => {}
            MemoryCheck::Again(at) => timer.reset(self.stopping_until.map_or(at, |until| until.min(at))),
            MemoryCheck::Missed => {
                Counters::add(&inner.counters.closed_for_memory, 1);
                tracing::warn!(
                    peer = %inner.peer,
                    held = held_bytes,
                    used = inner.counters.budget.used(),
                    limit = inner.counters.budget.limit(),
                    "closing a connection that does not give memory back while network buffers take more than their \
                     limit"
                );
                return Break(());
            }
        }
        Continue(read)
    }

    /// Whether the last responses have left after a stop, or had their time.
    fn has_stopped(&self) -> bool {
        let inner = &*self.connection.0;
        self.stopping_until.is_some_and(|deadline| {
            Instant::now() >= deadline || (inner.unanswered.load(SeqCst) == 0 && inner.outbox.waiting() == 0)
        })
    }

    async fn ready(&mut self, ready: Ready, read: bool) -> ControlFlow<()> {
        self.last_active = Instant::now();
        if ready.is_writable() && self.blocked {
            self.blocked = false;
            let pushed = self.connection.write();
            self.after(pushed)?;
        }
        if ready.is_readable() && read {
            let (bytes, pushed) = self.read_some();
            self.after(pushed)?;
            // A connection that sends much yields to the others of this thread; one that sends a
            // single request at a time need not.
            if bytes >= READ || self.input.more {
                tokio::task::yield_now().await;
            }
        }
        Continue(())
    }

    fn after(&mut self, pushed: Pushed) -> ControlFlow<()> {
        match pushed {
            Pushed::Done => Continue(()),
            Pushed::Blocked => {
                self.blocked = true;
                Continue(())
            }
            Pushed::Closed => Break(()),
        }
    }

    /// The timer has fired: for the stop, for the check of the memory, or for an idle connection.
    fn timed_out(&self, timer: Pin<&mut Sleep>) -> ControlFlow<()> {
        let inner = &*self.connection.0;
        if let Some(until) = self.stopping_until {
            timer.reset(until);
            return Continue(());
        }
        if self.reasons.memory {
            return Continue(());
        }
        let idle_until = self.last_active + inner.limits.idle;
        if Instant::now() >= idle_until {
            Counters::add(&inner.counters.idle_closed, 1);
            tracing::debug!(peer = %inner.peer, "connection was idle, closed");
            return Break(());
        }
        timer.reset(idle_until);
        Continue(())
    }

    /// Reads once and handles the complete frames. Responses that were given at once leave
    /// together. Also returns how many bytes were read.
    fn read_some(&mut self) -> (usize, Pushed) {
        let inner = &*self.connection.0;
        let bytes = match self.input.read(&inner.stream) {
            Ok(0) => return (0, Pushed::Closed),
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return (0, Pushed::Done);
            }
            Err(_) => return (0, Pushed::Closed),
        };
        Counters::add(&inner.counters.bytes_in, bytes as u64);
        (bytes, self.handle_some())
    }

    /// Handles complete frames that have been read, until there are none left or the connection
    /// must pause: its turn is over, or a limit is reached.
    fn handle_some(&mut self) -> Pushed {
        let inner = &*self.connection.0;
        inner.outbox.cork();
        let _handling = Handling::begin();
        let (begun, unanswered) = (std::time::Instant::now(), inner.unanswered.load(Relaxed));
        let (mut requests, mut malformed) = (0, false);
        self.input.more = false;
        loop {
            match frame::decode(&mut self.input.buffer, inner.limits.frame) {
                Ok(Some(command)) => {
                    Counters::add(&inner.counters.frames_in, 1);
                    requests += usize::from(self.take(command));
                }
                Ok(None) => break,
                Err(error) => {
                    Counters::add(&inner.counters.malformed, 1);
                    if log_limit::MALFORMED.admits() {
                        tracing::warn!(peer = %inner.peer, %error, "closing a connection that does not speak our protocol");
                    }
                    malformed = true;
                    break;
                }
            }
            if !self.input.buffer.is_empty()
                && (begun.elapsed() >= TURN || self.connection.reasons(0) != Reasons::default())
            {
                self.input.more = true;
                break;
            }
        }
        self.input.count();
        // Requests with a late response accumulate behind what they wait for.
        let later = inner.unanswered.load(Relaxed).saturating_sub(unanswered);
        if reactors::responded(requests.saturating_sub(later)) {
            Counters::add(&inner.counters.pauses, 1);
        }
        let pushed = inner.outbox.uncork(&inner.stream, &inner.counters);
        if malformed { Pushed::Closed } else { pushed }
    }

    /// Returns whether it was a request.
    fn take(&self, mut command: Command) -> bool {
        if command.is_response() {
            // The response came after the timeout; its caller already has the error.
            if let Some(waiting) = self.connection.0.pending.lock().waiting.remove(&command.opaque) {
                let _ = waiting.send(command);
            }
            return false;
        }
        if !command.body.is_empty() && !self.handler.has_body(command.code) {
            command.body = Bytes::new();
        }
        self.connection.0.unanswered.fetch_add(1, Relaxed);
        let responder = Responder::new(self.connection.clone(), &command);
        self.handler.handle(command, responder);
        true
    }
}

/// Waits for the socket; for ever if nothing is to be read or written.
async fn ready(stream: &TcpStream, interest: Option<Interest>) -> io::Result<Ready> {
    match interest {
        Some(interest) => stream.ready(interest).await,
        None => std::future::pending().await,
    }
}
