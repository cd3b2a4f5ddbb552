//! Connections that carry commands.
//!
//! ```text
//! listener.rs    accept, cap, back off, drain; what is logged of it has the limit of log_limit.rs
//!    |  one task a connection (connection.rs), on one of the threads of reactors.rs
//!    v
//! read what is there -> every whole frame -> Handler::handle(command, Responder)     in order, on the connection's task
//!    ^                                            |
//!    |                                            v  now, or later from anywhere
//! socket <- one vectored write a wake-up <- outbox.rs (bounded)
//! ```
//!
//! A client's side is the same connection, opened by [`client::Client`]: requests wait for the
//! answer with their opaque, and what the peer asks goes to the handler. What a request code means
//! is not known here.
//!
//! **Ordering.** Requests of one connection are handled in the order in which they came; answers
//! leave in the order in which they are given.
//!
//! **Cost.** All frames of one read are handled before the answers are written together: under load
//! two system calls serve many requests. Answers that are given later (a long poll, a flush) are
//! written by whoever gives them, without waking the connection's task, unless the socket is full.
//!
//! **Threads.** A connection that was accepted stays on one thread. What a handler starts with
//! `tokio::spawn` runs on that thread too: right for what waits and then answers; work of any
//! length belongs elsewhere.
//!
//! **Limits.** Frames, connections (in all, and by address when there are many), bytes waiting to
//! be written and requests waiting for an answer are capped ([`Limits`]); a peer that does not read
//! is not read from. They are looked at after each frame, and so is the time: a connection that has
//! handled requests for a millisecond lets others of its thread go on. All buffers of a process
//! together have a [`Budget`], whose head says what happens when it is used up; by default it is a
//! part of the process's [`memory`].
//!
//! Beside the commands a process speaks HTTP to those who watch it: [`http`] answers probes and
//! scrapers, [`metrics`] shows the figures. [`Watchdog`] watches threads and tasks that have to run
//! as long as the process.
//!
//! **Stop.** When the token is cancelled, listeners close, connections read no more, and go when
//! their last answer is written or the grace time ends.

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
pub use limits::{Figures, Limits};
pub use listener::{AcceptFailures, Reserved, bind, reserve, serve};
pub use log_limit::LogLimit;
pub use reactors::Reactors;
pub use responder::{Responder, Unsent};
pub use shared::Shared;
pub use turns::{Deferred, RequestMemory, Turn};
pub use watchdog::{Ended, Watchdog};
