//! When a stored message may be acknowledged, and the answers that wait until then.
//!
//! Waiting answers stand in line, first for the disk, then for the slaves, in the order of their
//! messages. One task serves a line while somebody stands in it: each time the watermark moves it
//! takes everybody whose message is where it has to be, and their answers leave in one write a
//! connection. A task, a timer and a write for each message would cost more than storing it.
//! Connections are on several threads, so two messages may have changed places; the first of them
//! is then answered with the second.
//!
//! A line is as long as connections let it be: each has a limit of requests without an answer.

use super::{Acknowledged, Reached, Stored};
use crate::{
    answer::Answer,
    config::{Flush, Live, Role},
    error::{Reason, Rejection},
    replication::Slaves,
};
use parking_lot::Mutex;
use rmq_store::{Halt, MessageStore, Watermark};
use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

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

/// Waits for disk and slaves as the settings demand.
pub(crate) struct Durability {
    store: Arc<MessageStore>,
    slaves: Arc<Slaves>,
    settings: Arc<Live>,
    for_disk: Mutex<Line>,
    for_slaves: Mutex<Line>,
}

/// Those who wait for one watermark.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// A task looks after it.
    served: bool,
    /// Of the task before. It may ring too early, and is then put off; a new one for each message
    /// would wake its thread's driver, as it always rings before all others.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// A message whose answer is ready and may not be given yet.
struct Waiting {
    stored: Stored<'static>,
    to: Answer<Acknowledged<'static>>,
    since: Instant,
    /// See [`Watermark::rewinds`].
    rewinds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Disk,
    Slaves,
}

impl Waiting {
    fn until(&self, place: Place) -> Instant {
        let patience = match place {
            Place::Disk => self.stored.wanted.disk,
            Place::Slaves => self.stored.wanted.slaves,
        };
        self.since + patience.unwrap_or_default()
    }
}

impl Durability {
    pub(crate) fn new(store: Arc<MessageStore>, slaves: Arc<Slaves>, settings: Arc<Live>) -> Self {
        Self { store, slaves, settings, for_disk: Mutex::default(), for_slaves: Mutex::default() }
    }

    /// What a message has to wait for; asked before it is stored, as too few slaves are a reason
    /// not to store it.
    pub(crate) fn wanted(&self, wait: bool) -> Result<Wanted, Rejection> {
        if !wait {
            return Ok(Wanted::default());
        }
        let settings = self.settings.load();
        let disk = (settings.store.flush == Flush::Sync).then_some(settings.store.sync_flush_timeout.0);
        let mut slaves = None;
        if settings.identity.role == Role::SyncMaster {
            let needed = self.slaves.needed().map_err(|error| Rejection::new(Reason::Failed, error.to_string()))?;
            slaves = (needed > 1).then_some(settings.replication.timeout.0);
        }
        Ok(Wanted { disk, slaves })
    }

    /// How many wait for the disk, and how many for slaves.
    pub(crate) fn waiting(&self) -> [usize; 2] {
        [&self.for_disk, &self.for_slaves].map(|line| line.lock().waiting.len())
    }

    /// How long the first of those has waited who wait longest.
    pub(crate) fn longest_wait(&self) -> Duration {
        let first = |line: &Mutex<Line>| line.lock().waiting.front().map(|first| first.since.elapsed());
        first(&self.for_disk).max(first(&self.for_slaves)).unwrap_or_default()
    }

    /// Acknowledges the message when it is where it has to be, or has not got there in time. That
    /// is a kind of success: the message is stored, and may yet get there. `tasks` gets the task
    /// that serves the line.
    pub(crate) fn acknowledge_when_reached(
        self: &Arc<Self>,
        stored: Stored<'static>,
        to: Answer<Acknowledged<'static>>,
        tasks: &TaskTracker,
    ) {
        let place = if stored.wanted.disk.is_some() { Place::Disk } else { Place::Slaves };
        let rewinds = self.mark(place).rewinds();
        self.stand(place, Waiting { stored, to, since: Instant::now(), rewinds }, tasks);
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

    fn stand(self: &Arc<Self>, place: Place, waiting: Waiting, tasks: &TaskTracker) {
        let mut line = self.line(place).lock();
        line.waiting.push_back(waiting);
        if std::mem::replace(&mut line.served, true) {
            return;
        }
        let alarm = line.alarm.take();
        drop(line);
        let service = Service { of: Arc::clone(self), place, alarm, tasks: tasks.clone(), over: false };
        tasks.spawn(service.run());
    }
}

/// The task that serves a line while somebody stands in it.
struct Service {
    of: Arc<Durability>,
    place: Place,
    alarm: Option<Pin<Box<Sleep>>>,
    tasks: TaskTracker,
    over: bool,
}

impl Service {
    async fn run(mut self) {
        while let Some((end, until)) = self.first() {
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if until < alarm.deadline() {
                // The settings have changed.
                alarm.as_mut().reset(until);
            }
            let halt = tokio::select! {
                biased;
                reached = self.of.mark(self.place).reached(end) => reached.err(),
                () = alarm.as_mut() => {
                    alarm.as_mut().reset(until);
                    None
                }
            };
            self.dismiss(halt);
            // A line that never ends must not hold the thread.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// What the first in the line waits for, and until when; without one the task's work is over.
    fn first(&mut self) -> Option<(u64, Instant)> {
        let mut line = self.of.line(self.place).lock();
        let first = line.waiting.front().map(|first| (first.stored.end, first.until(self.place)));
        if first.is_none() {
            (line.served, line.alarm, self.over) = (false, self.alarm.take(), true);
        }
        first
    }

    /// Takes those out of the line whose wait is over: all of them after a halt.
    fn dismiss(&self, halt: Option<Halt>) {
        let (mark, now) = (self.of.mark(self.place), Instant::now());
        let reached = mark.value();
        let over: Vec<Waiting> = {
            let mut line = self.of.line(self.place).lock();
            let over =
                |waiting: &Waiting| halt.is_some() || waiting.stored.end <= reached || now >= waiting.until(self.place);
            let count = line.waiting.iter().position(|waiting| !over(waiting)).unwrap_or(line.waiting.len());
            line.waiting.drain(..count).collect()
        };
        let rewinds = mark.rewinds();
        let mut unsent = Vec::with_capacity(over.len());
        for mut waiting in over {
            let halt = halt.or((waiting.rewinds != rewinds).then_some(Halt::Rewound));
            if let Some(halt) = halt {
                unsent.push(waiting.to.give_unsent(Err(halted(self.place, halt))));
                continue;
            }
            let mut got = Reached::All;
            if waiting.stored.end > reached {
                got = match self.place {
                    Place::Disk => Reached::NotDisk,
                    Place::Slaves => Reached::NotSlaves,
                };
            } else if self.place == Place::Disk && waiting.stored.wanted.slaves.is_some() {
                waiting.rewinds = self.of.mark(Place::Slaves).rewinds();
                self.of.stand(Place::Slaves, waiting, &self.tasks);
                continue;
            }
            unsent.push(waiting.to.give_unsent(Ok(Acknowledged { sent: waiting.stored.sent, reached: got })));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Its thread has ended before it, at the end of the broker: nobody else would serve them.
        if !self.over {
            *self.of.line(self.place).lock() = Line::default();
        }
    }
}

fn halted(place: Place, halt: Halt) -> Rejection {
    let place = match place {
        Place::Disk => "on disk",
        Place::Slaves => "on a slave",
    };
    Rejection::new(Reason::Failed, format!("the message may not be {place}: {halt}"))
}
