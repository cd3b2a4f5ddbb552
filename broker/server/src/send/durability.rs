//! Decides when a stored message may be acknowledged, and holds the answers until then.
//!
//! There are two queues of held answers, each in the order of their messages: an answer waits first
//! for the disk, then for the slaves. One task serves a queue while the queue is not empty. Each
//! time the watermark moves, the task removes every answer whose message has reached the required
//! position, and the answers leave with one write per connection. A task, a timer and a write per
//! message would cost more than storing the message. Connections run on several threads, so two
//! messages may be queued in reverse order; the earlier one is then answered together with the
//! later one.
//!
//! The length of a queue is bounded by the connections: each connection has a limit of requests
//! without an answer.

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

/// What one message has to wait for, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    disk: Option<Duration>,
    slaves: Option<Duration>,
}

impl Wanted {
    /// True if the message may be acknowledged at once.
    pub(crate) fn nothing(self) -> bool {
        self == Self::default()
    }
}

/// Waits for the disk and the slaves as the settings require.
pub(crate) struct Durability {
    store: Arc<MessageStore>,
    slaves: Arc<Slaves>,
    settings: Arc<Live>,
    for_disk: Mutex<Line>,
    for_slaves: Mutex<Line>,
}

/// The queue of answers that wait for one watermark.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// A task serves this queue.
    served: bool,
    /// The timer of the previous task, kept for reuse. It may fire too early and is then reset. A
    /// new timer for each message would wake the timer driver of its thread, because it would
    /// always be the earliest timer.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// A message whose answer is ready but must not be sent yet.
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

    /// What a message has to wait for. It is determined before the message is stored, because a
    /// lack of slaves is a reason to refuse the message.
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

    /// The number of answers that wait for the disk, and the number that wait for slaves.
    pub(crate) fn waiting(&self) -> [usize; 2] {
        [&self.for_disk, &self.for_slaves].map(|line| line.lock().waiting.len())
    }

    /// The longest time that an answer at the head of either queue has waited.
    pub(crate) fn longest_wait(&self) -> Duration {
        let first = |line: &Mutex<Line>| line.lock().waiting.front().map(|first| first.since.elapsed());
        first(&self.for_disk).max(first(&self.for_slaves)).unwrap_or_default()
    }

    /// Acknowledges the message when it has reached the required position, or when its deadline has
    /// passed. A passed deadline is a kind of success: the message is stored and may still reach
    /// the position. The task that serves the queue is spawned on `tasks`.
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

/// The task that serves a queue while the queue is not empty.
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
            // A queue that never becomes empty must not monopolize the thread.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// The position and the deadline that the head of the queue waits for. Returns `None` if the
    /// queue is empty, and the task ends.
    fn first(&mut self) -> Option<(u64, Instant)> {
        let mut line = self.of.line(self.place).lock();
        let first = line.waiting.front().map(|first| (first.stored.end, first.until(self.place)));
        if first.is_none() {
            (line.served, line.alarm, self.over) = (false, self.alarm.take(), true);
        }
        first
    }

    /// Removes the answers at the head of the queue whose wait is over. After a halt these are all
    /// answers.
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
        // At the stop of the broker the runtime of this thread may end before the task does. No
        // other task would serve the queue.
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
