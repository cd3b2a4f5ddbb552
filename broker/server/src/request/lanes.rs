//! Selects where a request is run.
//!
//! | lane | where | for |
//! |---|---|---|
//! | now | on the connection's task | requests that only use memory |
//! | [`blocking`](Lanes::blocking) | on a blocking thread, with a turn | file reads and writes |
//! | [`in_turn`](Lanes::in_turn) | on a task, with a turn | large responses, tasks that use blocking threads |
//! | [`waiting`](Lanes::waiting) | on a task, without a turn | waits for other processes: clients, namesrvs |
//!
//! A connection has a few turns at a time. It gets none while its peer leaves too many responses
//! unread. Requests that wait for a turn are bounded by back-pressure: their number and their
//! memory are limited per connection, and beyond the limit the connection is not read from
//! ([`Connection::turn`](rmq_remoting::Responder::turn)). Only requests that have a turn count in
//! [`MAX_AT_WORK`], so a peer that does not read its responses takes no capacity from other peers.

use super::response;
use crate::{
    admission::{AtWork, MAX_AT_WORK},
    error::{Reason, Rejection},
    feature::Feature,
    metrics_page::{MetricsPage, WAITING, Written},
};
use rmq_protocol::Reply;
use rmq_remoting::{Responder, Turn};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Runs the requests that are not run on their connection's task.
#[derive(Clone)]
pub(crate) struct Lanes {
    pub(crate) at_work: AtWork,
    /// Tasks of requests that wait. They end before the store is closed.
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: Handle,
}

impl Lanes {
    /// Runs `work` on a blocking thread, with a turn of its connection.
    pub(super) fn blocking(&self, to: Responder, work: impl FnOnce(Responder) + Send + 'static) {
        if let Some(turn) = to.try_turn() {
            return self.on_thread(turn, to, work);
        }
        let (lanes, turn) = (self.clone(), to.turn());
        let wait = async move {
            if let Some(turn) = turn.await {
                lanes.on_thread(turn, to, work);
            }
        };
        self.tasks.spawn_on(wait, &self.runtime);
    }

    fn on_thread(&self, turn: Turn, to: Responder, work: impl FnOnce(Responder) + Send + 'static) {
        let Some(place) = self.at_work.enter() else { return to.reply(&overloaded()) };
        let work = move |thread| {
            work(to);
            drop((thread, place, turn));
        };
        if let Some(thread) = self.at_work.try_thread() {
            self.tasks.spawn_blocking_on(move || work(thread), &self.runtime);
            return;
        }
        let lanes = self.clone();
        let wait = async move {
            if let Some(thread) = lanes.at_work.thread().await {
                lanes.tasks.spawn_blocking_on(move || work(thread), &lanes.runtime);
            }
        };
        self.tasks.spawn_on(wait, &self.runtime);
    }

    /// Runs `work` on a task, with a turn of its connection, and sends its response.
    pub(super) fn in_turn(&self, to: Responder, work: impl Future<Output = Reply> + Send + 'static) {
        let (at_work, turn) = (self.at_work.clone(), to.turn());
        let response = async move {
            let Some(turn) = turn.await else { return };
            match at_work.enter() {
                Some(place) => {
                    let thread = at_work.thread().await;
                    to.reply(&work.await);
                    drop((thread, place, turn));
                }
                None => to.reply(&overloaded()),
            }
        };
        self.tasks.spawn_on(response, &self.runtime);
    }

    /// Runs `work` on a task, without a turn. The number of such requests is bounded by their
    /// connection, like the number of requests that wait for a turn.
    pub(super) fn waiting<F>(&self, to: Responder, work: impl FnOnce(Responder) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let deferred = to.defer();
        let work = work(to);
        let work = async move {
            work.await;
            drop(deferred);
        };
        self.tasks.spawn_on(work, &self.runtime);
    }
}

impl Feature for Lanes {
    fn metrics(&self, to: &MetricsPage) -> Written {
        to.row(&WAITING, "at_work", self.at_work.count());
        to.row(&WAITING, "shared", self.tasks.len());
        Ok(())
    }
}

fn overloaded() -> Reply {
    response::refused(Rejection::new(
        Reason::Busy,
        format!("[OVERLOAD]system busy, {MAX_AT_WORK} requests are at work already; try again later"),
    ))
}
