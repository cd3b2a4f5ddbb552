//! Connections that carry commands.
//!
//! ```text
//! listener.rs    accept, cap, back off, drain; log lines are rate-limited by log_limit.rs
//!    |  one task per connection (connection.rs), on one of the threads of reactors.rs
//!    v
//! read -> every complete frame -> Handler::handle(command, Responder)    in order, on the task
//!    ^                                            |
//!    |                                            v  now, or later from anywhere
//! socket <- one vectored write per wake-up <- outbox.rs (bounded)
//! ```
//!
//! The client's side is the same connection, opened by [`client::Client`]: a request waits for the
//! response with its opaque, and requests of the peer go to the handler. This crate does not know
//! what a request code means.
//!
//! **Ordering.** Requests of one connection are handled in the order in which they arrive;
//! responses leave in the order in which they are given.
//!
//! **Cost.** All frames of one read are handled before their responses are written together: under
//! load two system calls serve many requests. A late response (a long poll, a flush) is written by
//! the thread that gives it, without waking the connection's task, unless the socket is full.
//!
//! **Threads.** An accepted connection stays on one thread. A task that a handler starts with
//! `tokio::spawn` runs on that thread too. That is right for a task that waits and then responds;
//! longer work belongs on another thread.
//!
//! **Limits.** [`Limits`] caps frames, connections (in total, and by address when there are many),
//! pending output and requests without a response; a peer that does not read is not read from. The
//! limits are checked after each frame, and so is the time: a connection that has handled requests
//! for a millisecond yields to the others of its thread. All buffers of a process share a
//! [`Budget`], whose module docs say what happens when it is exhausted; by default it is a part of
//! the process's [`memory`].
//!
//! A process also serves HTTP for monitoring: [`http`] serves probes and scrapers, [`metrics`]
//! renders the metrics. [`Watchdog`] watches threads and tasks that have to run as long as the
//! process.
//!
//! **Stop.** When the token is cancelled, listeners close and connections read no more. A
//! connection ends when its last response is written or the grace time is over.

mod admission;
mod budget;
mod client;
mod connection;
mod descriptors;
mod error;
pub mod http;
mod input;
mod limits;
mod listener;
mod log_limit;
pub mod memory;
pub mod metrics;
mod outbox;
mod reactors;
mod responder;
mod shared;
mod turns;
mod watchdog;

pub use budget::Budget;
pub use client::Client;
pub use connection::{Connection, Handler};
pub use descriptors::connections_within_limit;
pub use error::Error;
pub use limits::{Counters, Limits};
pub use listener::{AcceptFailures, Reserved, bind, reserve, serve};
pub use log_limit::LogLimit;
pub use reactors::Reactors;
pub use responder::{Responder, Unsent};
pub use shared::Shared;
pub use turns::{Deferred, RequestMemory, Turn};
pub use watchdog::{Ended, Watchdog};
