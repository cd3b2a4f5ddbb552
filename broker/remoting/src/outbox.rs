//! The pending output of one connection.
//!
//! Small frames are gathered in one buffer; large bodies stay in their slices and are written
//! without a copy. The thread that adds a frame also writes it if the socket accepts it, so that a
//! late response costs no wake-up of the connection's task; the rest is left for that task. While
//! that task handles a batch of requests the outbox is corked, and the batch leaves in one write. A
//! thread with several late responses, as after a flush of the disk, adds all of them before the
//! first is written.

use crate::limits::Counters;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rmq_protocol::{Command, Reply, command::Origin};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::net::TcpStream;

/// Body pieces below this size are copied into the buffer: an entry of a vectored write costs about
/// as much.
const COPY_BELOW: usize = 2048;
/// Pieces of one write.
const SLICES: usize = 64;
/// Bytes of a batch that metrics and budget need not count until it is written.
const UNSHOWN: usize = 64 * 1024;
/// The buffer is released when it has grown beyond this.
const KEEP: usize = 256 * 1024;

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// A copy of `State::waiting` after the last change, for reads without the lock.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Pieces in order; the first may be partly written.
    pieces: VecDeque<Bytes>,
    /// The bytes that follow the pieces.
    buffer: Vec<u8>,
    /// Written bytes at the front of `buffer`; only with no pieces before it.
    written: usize,
    /// Bytes in total.
    waiting: usize,
    /// The part of them that the metrics count.
    shown: usize,
    corked: bool,
    closed: bool,
}

/// The outcome of adding a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Written, or pending with nothing to do for the caller.
    Done,
    /// The socket is full: the connection's task must write once it is writable.
    Blocked,
    /// The connection is closed.
    Closed,
}

impl Outbox {
    /// Bytes of pending output.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        self.waiting.store(state.waiting, Relaxed);
        changed
    }

    /// Holds writes back until [`Outbox::uncork`].
    pub(crate) fn cork(&self) {
        self.state.lock().corked = true;
    }

    pub(crate) fn uncork(&self, stream: &TcpStream, counters: &Counters) -> Pushed {
        self.change(|state| {
            state.corked = false;
            state.write(stream, counters)
        })
    }

    pub(crate) fn push_reply(&self, origin: Origin, reply: &Reply, stream: &TcpStream, counters: &Counters) -> Pushed {
        self.push(stream, counters, |state| state.append_reply(origin, reply))
    }

    /// Adds a response without writing it: the caller must call [`Outbox::write`] soon.
    pub(crate) fn hold_reply(&self, origin: Origin, reply: &Reply, counters: &Counters) {
        self.change(|state| {
            if !state.closed {
                state.append_reply(origin, reply);
                Counters::add(&counters.frames_out, 1);
            }
        });
    }

    pub(crate) fn push_command(&self, command: &Command, stream: &TcpStream, counters: &Counters) -> Pushed {
        self.push(stream, counters, |state| {
            let before = state.buffer.len();
            command.encode_head(&mut state.buffer);
            state.waiting += state.buffer.len() - before;
            state.append(&command.body);
        })
    }

    fn push(&self, stream: &TcpStream, counters: &Counters, add: impl FnOnce(&mut State)) -> Pushed {
        self.change(|state| {
            if state.closed {
                return Pushed::Closed;
            }
            let others_wait = state.waiting > 0;
            add(state);
            Counters::add(&counters.frames_out, 1);
            // If output is pending already, the socket is full or the batch is not over, so a write
            // will follow.
            if !state.corked && !others_wait {
                return state.write(stream, counters);
            }
            if state.shown > 0 || state.waiting > UNSHOWN {
                state.show(counters);
            }
            Pushed::Done
        })
    }

    /// Writes as much as the socket accepts.
    pub(crate) fn write(&self, stream: &TcpStream, counters: &Counters) -> Pushed {
        self.change(|state| state.write(stream, counters))
    }

    /// Drops the pending output; nothing is accepted from now on.
    pub(crate) fn close(&self, counters: &Counters) {
        self.change(|state| {
            state.fail();
            state.show(counters);
        });
    }
}

impl State {
    fn append_reply(&mut self, origin: Origin, reply: &Reply) {
        let before = self.buffer.len();
        reply.encode_head(origin, &mut self.buffer);
        self.waiting += self.buffer.len() - before;
        for part in reply.body.parts() {
            self.append(part);
        }
    }

    fn append(&mut self, part: &Bytes) {
        self.waiting += part.len();
        if part.len() < COPY_BELOW {
            self.buffer.extend_from_slice(part);
            return;
        }
        if self.written < self.buffer.len() {
            let mut before = Bytes::from(std::mem::take(&mut self.buffer));
            before.advance(std::mem::take(&mut self.written));
            self.pieces.push_back(before);
        }
        self.pieces.push_back(part.clone());
    }

    fn write(&mut self, stream: &TcpStream, counters: &Counters) -> Pushed {
        let pushed = self.write_some(stream, counters);
        self.show(counters);
        pushed
    }

    /// Updates metrics and budget with the rest. While sockets accept everything there is no
    /// update.
    fn show(&mut self, counters: &Counters) {
        counters.budget.change(self.shown, self.waiting);
        if self.waiting > self.shown {
            counters.outbox_bytes.fetch_add(self.waiting - self.shown, Relaxed);
        } else if self.waiting < self.shown {
            counters.outbox_bytes.fetch_sub(self.shown - self.waiting, Relaxed);
        }
        self.shown = self.waiting;
    }

    fn write_some(&mut self, stream: &TcpStream, counters: &Counters) -> Pushed {
        while self.waiting > 0 {
            let written = if self.pieces.is_empty() {
                stream.try_write(&self.buffer[self.written..])
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let mut used = 0;
                for (slice, piece) in
                    slices.iter_mut().zip(self.pieces.iter().map(|piece| &piece[..]).chain([&self.buffer[..]]))
                {
                    *slice = IoSlice::new(piece);
                    used += 1;
                }
                stream.try_write_vectored(&slices[..used])
            };
            match written {
                Ok(0) => return self.fail(),
                Ok(bytes) => {
                    Counters::add(&counters.bytes_out, bytes as u64);
                    self.advance(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pushed::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.fail(),
            }
        }
        Pushed::Done
    }

    fn fail(&mut self) -> Pushed {
        *self = State { closed: true, shown: self.shown, ..State::default() };
        Pushed::Closed
    }

    fn advance(&mut self, mut bytes: usize) {
        self.waiting -= bytes;
        while let Some(first) = self.pieces.front_mut() {
            if bytes < first.len() {
                first.advance(bytes);
                return;
            }
            bytes -= first.len();
            self.pieces.pop_front();
        }
        self.written += bytes;
        if self.written == self.buffer.len() {
            self.written = 0;
            self.buffer.clear();
            if self.buffer.capacity() > KEEP {
                self.buffer = Vec::new();
            }
        }
    }
}
