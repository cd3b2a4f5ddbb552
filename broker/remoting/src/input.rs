//! What is read on one connection and not handled yet.

use crate::Figures;
use bytes::BytesMut;
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio::{io::Interest, net::TcpStream};

/// Bytes asked for in one read of a quiet connection, and of one that always has more. A large frame gets what it needs.
pub(crate) const READ: usize = 8 * 1024;
const READ_BUSY: usize = 64 * 1024;

pub(crate) struct Input {
    pub(crate) buffer: BytesMut,
    /// Whole frames may be in the buffer that are not handled yet, because this connection's turn was over.
    pub(crate) more: bool,
    /// Bytes of the next read: the more a peer has to say, the more requests share the price of a read and a write.
    read: usize,
    /// Bytes that figures and budget count for the buffer, in units of [`READ`]: a quiet connection does not change them.
    counted: usize,
    figures: Arc<Figures>,
}

impl Input {
    pub(crate) fn new(figures: Arc<Figures>) -> Self {
        Self { buffer: BytesMut::new(), more: false, read: READ, counted: 0, figures }
    }

    /// Reads once. A read that was not filled has emptied the socket; the stream is then told that it is not ready, which saves the next read that would only say
    /// the same. The outer call has noted the state before the read, so bytes that come meanwhile are not missed.
    pub(crate) fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        self.make_room();
        let mut outcome = Err(io::ErrorKind::WouldBlock.into());
        let _ = stream.try_io(Interest::READABLE, || {
            outcome = stream.try_read_buf(&mut self.buffer);
            match outcome {
                Ok(1..) if self.buffer.len() < self.buffer.capacity() => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        if let Ok(bytes) = outcome {
            self.took(bytes);
        }
        outcome
    }

    fn make_room(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * self.read {
            // The peer was busy once; its memory is for others now.
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < self.read / 4 {
            self.buffer.reserve(self.read);
        }
    }

    fn took(&mut self, bytes: usize) {
        if self.buffer.len() == self.buffer.capacity() {
            self.read = (2 * self.read).min(READ_BUSY);
        } else if bytes < self.read / 4 {
            self.read = (self.read / 2).max(READ);
        }
    }

    /// Bytes that count for it.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    /// Tells figures and budget how large the buffer is now.
    pub(crate) fn count(&mut self) {
        // Of the room that is reserved for a large frame only what bytes have come to is memory.
        let touched = self.buffer.capacity().min(self.buffer.len() + READ_BUSY);
        self.recount(touched.next_multiple_of(READ));
    }

    fn recount(&mut self, now: usize) {
        let before = std::mem::replace(&mut self.counted, now);
        if before == now {
            return;
        }
        self.figures.budget.change(before, now);
        if now > before {
            self.figures.input_bytes.fetch_add(now - before, Relaxed);
        } else {
            self.figures.input_bytes.fetch_sub(before - now, Relaxed);
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.recount(0);
    }
}
