//! When a stored message may be acknowledged, and the answers that wait until then.
//!
//! Waiting answers stand in line, first for the disk, then for the slaves, in the order of their messages. One task serves a line while somebody stands in it:
//! each time the watermark moves it takes everybody whose message is where it has to be, and their answers leave in one write a connection. A task, a timer and
//! a write for each message would cost more than storing it. Connections are on several threads, so two messages may have changed places; the
//! first of them is then answered with the second.
//!
//! A line is as long as connections let it be: each has a limit of requests without an answer.

use super::send::Stored;
use crate::{
    config::{Flush, Live, Role},
    error::Rejection,
    ha::Slaves,
};
use parking_lot::Mutex;
use rmq_protocol::{Reply, ResponseCode};
use rmq_remoting::Responder;
use rmq_store::{Halt, MessageStore, Watermark};
use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, Sleep};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Waits for disk and slaves as the settings demand.
pub(crate) struct Durability {
    pub(crate) store: Arc<MessageStore>,
    pub(crate) slaves: Arc<Slaves>,
    pub(crate) settings: Arc<Live>,
    pub(crate) for_disk: Mutex<Line>,
    pub(crate) for_slaves: Mutex<Line>,
}

/// What one message has to wait for, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    disk: Option<Duration>,
    slaves: Option<Duration>,
}

impl Wanted {
    /// It may be acknowledged at once.
    pub(crate) fn nothing(self) -> bool {
        self == Self::default()
    }
}

/// Those who wait for one watermark.
#[derive(Default)]
pub(crate) struct Line {
    waiting: VecDeque<Waiting>,
    /// A task looks after it.
    served: bool,
    /// Of the task before. It may ring too early, and is then put off; a new one for each message would wake its thread's driver, as it always rings
    /// before all others.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// A message whose answer is ready and may not be given yet.
struct Waiting {
    stored: Stored,
    to: Responder,
    since: Instant,
    /// See [`Watermark::rewinds`].
    rewinds: u64,
    /// Counts as work that the end of the broker waits for.
    counted: TaskTrackerToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Disk,
    Slaves,
}

impl Waiting {
    fn patience(&self, place: Place) -> Duration {
        let wanted = match place {
            Place::Disk => self.stored.wanted.disk,
            Place::Slaves => self.stored.wanted.slaves,
        };
        wanted.unwrap_or_default()
    }
}

impl Durability {
    /// What a message has to wait for; asked before it is stored, as too few slaves are a reason not to store it.
    pub(crate) fn wanted(&self, wait: bool) -> Result<Wanted, Rejection> {
        if !wait {
            return Ok(Wanted::default());
        }
        let settings = self.settings.load();
        let disk = (settings.store.flush == Flush::Sync).then_some(settings.store.sync_flush_timeout.0);
        let mut slaves = None;
        if settings.identity.role == Role::SyncMaster {
            let needed =
                self.slaves.needed().map_err(|error| Rejection::new(ResponseCode::SystemError, error.to_string()))?;
            slaves = (needed > 1).then_some(settings.replication.timeout.0);
        }
        Ok(Wanted { disk, slaves })
    }

    /// Answers when the message is where it has to be, or has not got there in time. That is a kind of success: the message is stored, and may yet get there.
    /// `tasks` counts the answer until it is given.
    pub(crate) fn answer_when_reached(self: &Arc<Self>, stored: Stored, to: Responder, tasks: &TaskTracker) {
        let place = if stored.wanted.disk.is_some() { Place::Disk } else { Place::Slaves };
        let rewinds = self.mark(place).rewinds();
        self.stand(place, Waiting { stored, to, since: Instant::now(), rewinds, counted: tasks.token() });
    }

    fn line(&self, place: Place) -> &Mutex<Line> {
        match place {
            Place::Disk => &self.for_disk,
            Place::Slaves => &self.for_slaves,
        }
    }

    fn mark(&self, place: Place) -> &Watermark {
        match place {
            Place::Disk => self.store.flushed(),
            Place::Slaves => self.store.confirmed(),
        }
    }

    fn stand(self: &Arc<Self>, place: Place, waiting: Waiting) {
        let tasks = waiting.counted.task_tracker().clone();
        let mut line = self.line(place).lock();
        line.waiting.push_back(waiting);
        if !std::mem::replace(&mut line.served, true) {
            drop(line);
            tasks.spawn(Arc::clone(self).serve(place));
        }
    }

    /// Runs while somebody stands in a line.
    async fn serve(self: Arc<Self>, place: Place) {
        let mut serving = Serving { line: self.line(place), alarm: self.line(place).lock().alarm.take(), over: false };
        while let Some((end, until)) = serving.first(place) {
            let alarm = serving.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            let halt = tokio::select! {
                biased;
                reached = self.mark(place).reached(end) => reached.err(),
                () = alarm.as_mut() => {
                    alarm.as_mut().reset(until);
                    None
                }
            };
            self.dismiss(place, halt);
            // A line that never ends must not hold the thread.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Takes those out of a line whose wait is over: all of them after a halt.
    fn dismiss(self: &Arc<Self>, place: Place, halt: Option<Halt>) {
        let (mark, now) = (self.mark(place), Instant::now());
        let reached = mark.value();
        let over = {
            let mut line = self.line(place).lock();
            let over = |waiting: &Waiting| {
                halt.is_some() || waiting.stored.end <= reached || now >= waiting.since + waiting.patience(place)
            };
            let count = line.waiting.iter().position(|waiting| !over(waiting)).unwrap_or(line.waiting.len());
            line.waiting.drain(..count).collect::<Vec<_>>()
        };
        let rewinds = mark.rewinds();
        let mut unsent = Vec::with_capacity(over.len());
        for mut waiting in over {
            let halt = halt.or((waiting.rewinds != rewinds).then_some(Halt::Rewound));
            if let Some(halt) = halt {
                unsent.push(waiting.to.reply_unsent(&halted(place, halt)));
                continue;
            }
            if waiting.stored.end > reached {
                waiting.stored.reply.code = match place {
                    Place::Disk => ResponseCode::FlushDiskTimeout,
                    Place::Slaves => ResponseCode::FlushSlaveTimeout,
                };
            } else if place == Place::Disk && waiting.stored.wanted.slaves.is_some() {
                self.stand(Place::Slaves, Waiting { rewinds: self.mark(Place::Slaves).rewinds(), ..waiting });
                continue;
            }
            unsent.push(waiting.to.reply_unsent(&waiting.stored.reply));
        }
    }
}

/// The task that serves a line. If its thread ends before it does, as at the end of the broker, nobody else would.
struct Serving<'a> {
    line: &'a Mutex<Line>,
    alarm: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Serving<'_> {
    /// What the first in the line waits for, and until when; without one the task's work is over.
    fn first(&mut self, place: Place) -> Option<(u64, Instant)> {
        let mut line = self.line.lock();
        let first = line.waiting.front().map(|first| (first.stored.end, first.since + first.patience(place)));
        if first.is_none() {
            (line.served, line.alarm, self.over) = (false, self.alarm.take(), true);
        }
        first
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if !self.over {
            *self.line.lock() = Line::default();
        }
    }
}

fn halted(place: Place, halt: Halt) -> Reply {
    let place = match place {
        Place::Disk => "on disk",
        Place::Slaves => "on a slave",
    };
    Rejection::new(ResponseCode::SystemError, format!("the message may not be {place}: {halt}")).into_reply()
}
