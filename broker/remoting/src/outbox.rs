//! What waits to be written on one connection.
//!
//! Small frames are gathered in one buffer; large bodies stay the slices they are and are written
//! from where they lie. Whoever adds a frame writes it too, if the socket takes it, so that an
//! answer given late costs no wake-up of the connection's task; what does not fit is left for that
//! task. While that task handles a batch of requests the outbox is corked, and the batch leaves in
//! one write. Whoever has several answers for late requests, as when a flush of the disk has ended,
//! adds all of them before the first is written.

use crate::limits::Figures;
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
/// Bytes of a batch that figures and budget need not know of until it is written.
const UNSHOWN: usize = 64 * 1024;
/// The buffer is given back when it has grown beyond this.
const KEEP: usize = 256 * 1024;

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// `State::waiting` after the last change, for those who only ask.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Pieces in order; the first may be partly written.
    pieces: VecDeque<Bytes>,
    /// What follows the pieces.
    buffer: Vec<u8>,
    /// Written bytes at the front of `buffer`; only with no pieces before it.
    written: usize,
    /// Bytes in all.
    waiting: usize,
    /// Of these, what the figures count.
    shown: usize,
    corked: bool,
    closed: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Written, or waiting with nothing to do for the caller.
    Done,
    /// The socket is full: the connection's task must write when it can.
    Blocked,
    /// The connection is closed.
    Closed,
}

impl Outbox {
    /// Bytes that wait to be written.
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

    pub(crate) fn uncork(&self, stream: &TcpStream, figures: &Figures) -> Pushed {
        self.change(|state| {
            state.corked = false;
            state.write(stream, figures)
        })
    }

    pub(crate) fn push_reply(&self, origin: Origin, reply: &Reply, stream: &TcpStream, figures: &Figures) -> Pushed {
        self.push(stream, figures, |state| state.append_reply(origin, reply))
    }

    /// Adds an answer that is not written yet: the caller promises to call [`Outbox::write`] soon.
    pub(crate) fn hold_reply(&self, origin: Origin, reply: &Reply, figures: &Figures) {
        self.change(|state| {
            if !state.closed {
                state.append_reply(origin, reply);
                Figures::add(&figures.frames_out, 1);
            }
        });
    }

    pub(crate) fn push_command(&self, command: &Command, stream: &TcpStream, figures: &Figures) -> Pushed {
        self.push(stream, figures, |state| {
            let before = state.buffer.len();
            command.encode_head(&mut state.buffer);
            state.waiting += state.buffer.len() - before;
            state.append(&command.body);
        })
    }

    fn push(&self, stream: &TcpStream, figures: &Figures, add: impl FnOnce(&mut State)) -> Pushed {
        self.change(|state| {
            if state.closed {
                return Pushed::Closed;
            }
            let others_wait = state.waiting > 0;
            add(state);
            Figures::add(&figures.frames_out, 1);
            // If others wait already, the socket is full or the batch is not over: somebody will
            // write.
            if !state.corked && !others_wait {
                return state.write(stream, figures);
            }
            if state.shown > 0 || state.waiting > UNSHOWN {
                state.show(figures);
            }
            Pushed::Done
        })
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&self, stream: &TcpStream, figures: &Figures) -> Pushed {
        self.change(|state| state.write(stream, figures))
    }

    /// Forgets what waits; nothing is taken from now on.
    pub(crate) fn close(&self, figures: &Figures) {
        self.change(|state| {
            state.fail();
            state.show(figures);
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

    fn write(&mut self, stream: &TcpStream, figures: &Figures) -> Pushed {
        let pushed = self.write_some(stream, figures);
        self.show(figures);
        pushed
    }

    /// Tells the figures and the budget what is left. While sockets take everything there is never
    /// anything to tell.
    fn show(&mut self, figures: &Figures) {
        figures.budget.change(self.shown, self.waiting);
        if self.waiting > self.shown {
            figures.outbox_bytes.fetch_add(self.waiting - self.shown, Relaxed);
        } else if self.waiting < self.shown {
            figures.outbox_bytes.fetch_sub(self.shown - self.waiting, Relaxed);
        }
        self.shown = self.waiting;
    }

    fn write_some(&mut self, stream: &TcpStream, figures: &Figures) -> Pushed {
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
                    Figures::add(&figures.bytes_out, bytes as u64);
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
