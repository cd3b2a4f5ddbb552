//! The input buffer of one connection: bytes that are read and not handled yet.

use crate::Counters;
use bytes::BytesMut;
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio::{io::Interest, net::TcpStream};

/// Bytes of one read of a quiet connection, and of a busy one. A large frame gets what it needs.
pub(crate) const READ: usize = 8 * 1024;
const READ_BUSY: usize = 64 * 1024;

pub(crate) struct Input {
    pub(crate) buffer: BytesMut,
    /// The buffer may hold complete frames that are not handled yet, because this connection's turn
    /// was over.
    pub(crate) more: bool,
    /// Bytes of the next read: the more a peer sends, the more requests share the cost of a read
    /// and a write.
    read: usize,
    /// Bytes that metrics and budget count for the buffer, in units of [`READ`]: a quiet connection
    /// does not change them.
    counted: usize,
    counters: Arc<Counters>,
}

impl Input {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { buffer: BytesMut::new(), more: false, read: READ, counted: 0, counters }
    }

    /// Reads once. A read that did not fill the buffer has emptied the socket; the stream is then
    /// marked not ready, which saves the next read that would only return `WouldBlock`. The outer
    /// call has recorded the readiness before the read, so bytes that arrive meanwhile are not
    /// missed.
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
            // The peer was busy before; its memory is released for others.
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

    /// Releases unused room, because memory is short. A large part of a frame is not copied for
    /// that: the room beside it is small.
    pub(crate) fn shrink(&mut self) {
        let needed = self.buffer.len().next_multiple_of(READ);
        if needed < self.counted && needed <= READ_BUSY {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.read = READ;
            self.count();
        }
    }

    /// Bytes that count for it.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    /// Updates metrics and budget to the current size of the buffer.
    pub(crate) fn count(&mut self) {
        // Of the room reserved for a large frame, only the part that has been written to is
        // resident memory.
        let touched = self.buffer.capacity().min(self.buffer.len() + READ_BUSY);
        self.recount(touched.next_multiple_of(READ));
    }

    fn recount(&mut self, now: usize) {
        let before = std::mem::replace(&mut self.counted, now);
        if before == now {
            return;
        }
        self.counters.budget.change(before, now);
        if now > before {
            self.counters.input_bytes.fetch_add(now - before, Relaxed);
        } else {
            self.counters.input_bytes.fetch_sub(before - now, Relaxed);
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.recount(0);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Budget, Counters, Handler, Limits, Reactors, Responder, bind, serve};
    use bytes::BytesMut;
    use rmq_protocol::{Command, Reply, RequestCode, frame, header};
    use std::{
        sync::{Arc, atomic::Ordering::Relaxed},
        time::{Duration, Instant},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    const DEADLINE: Duration = Duration::from_secs(30);
    /// Bytes that exhaust the budget of these tests.
    const OTHERS: usize = 64 << 20;

    /// Responds; a large request takes longer than a connection may go on at a time.
    struct Slow;

    impl Handler for Slow {
        fn handle(&self, request: Command, responder: Responder) {
            let begun = Instant::now();
            while request.body.len() > 900 && begun.elapsed() < Duration::from_millis(2) {}
            responder.reply(&Reply::ok());
        }
    }

    struct Peer {
        stream: TcpStream,
        input: BytesMut,
        _others: Vec<TcpStream>,
        counters: Arc<Counters>,
    }

    impl Peer {
        /// A peer of a server whose share of the memory is 8 KiB, after it sent so much that the
        /// server reads 64 KiB at a time.
        async fn busy() -> Self {
            let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let counters = Arc::new(Counters::with_budget(Arc::new(Budget::new(128 << 10))));
            let limits = Limits { relief: Duration::from_secs(3), ..Limits::default() };
            let reactors = Arc::new(Reactors::start(&Arc::default()).unwrap());
            tokio::spawn(serve(listener, reactors, Arc::new(Slow), limits, Arc::clone(&counters), Default::default()));
            let stream = TcpStream::connect(address).await.unwrap();
            let mut others = Vec::new();
            for _ in 0..7 {
                others.push(TcpStream::connect(address).await.unwrap());
            }
            let mut peer = Self { stream, input: BytesMut::new(), _others: others, counters };
            while peer.counters.input_bytes.load(Relaxed) < 64 << 10 {
                peer.ask(2000, 100).await;
            }
            peer
        }

        async fn ask(&mut self, count: usize, body: usize) {
            let mut frames = Vec::new();
            Command::request(RequestCode::SendMessageV2, &header::Empty {})
                .with_body(vec![b'b'; body])
                .encode(&mut frames);
            self.stream.write_all(&frames.repeat(count)).await.unwrap();
            for _ in 0..count {
                self.response().await;
            }
        }

        async fn response(&mut self) {
            while frame::decode(&mut self.input, 1 << 20).unwrap().is_none() {
                let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.input)).await;
                assert!(read.expect("a response in time").unwrap() > 0, "the connection was closed");
            }
        }
    }

    /// The buffer of a peer that had been busy counted as memory it held, and after 10 s it was
    /// closed.
    #[tokio::test]
    async fn a_peer_that_owes_nothing_is_served_while_memory_is_short() {
        let mut peer = Peer::busy().await;
        peer.counters.budget.change(0, OTHERS);
        for _ in 0..3 {
            peer.ask(1, 100).await;
        }
        assert_eq!(peer.counters.closed_for_memory.load(Relaxed), 0);
    }

    /// Requests that had arrived were not handled because they took memory, and took it because
    /// they were not handled.
    #[tokio::test]
    async fn requests_that_have_come_are_handled_while_memory_is_short() {
        let mut peer = Peer::busy().await;
        let handled = peer.counters.frames_in.load(Relaxed);
        let counters = Arc::clone(&peer.counters);
        let shortage = async {
            while counters.frames_in.load(Relaxed) == handled {
                tokio::task::yield_now().await;
            }
            counters.budget.change(0, OTHERS);
        };
        tokio::join!(peer.ask(60, 1000), shortage);
        assert_eq!(peer.counters.closed_for_memory.load(Relaxed), 0);
    }
}
