//! Decides when a stored message may be acknowledged, and holds the responses until then.
//!
//! There are two queues of held responses, each in the order of their messages: a response waits
//! first for the disk, then for the slaves. One task serves a queue while the queue is not empty.
//! Each time the watermark moves, the task removes every response whose message has reached the
//! required position, and the responses leave with one write per connection. A task, a timer and a
//! write per message would cost more than storing the message. Connections run on several threads,
//! so two messages may be queued in reverse order; the earlier one is then answered together with
//! the later one.
//!
//! The length of a queue is bounded by the connections: each connection has a limit of requests
//! without a response.

use super::{Acknowledged, Reached, Stored};
use crate::{
    config::{Flush, Live, Role},
    error::{Reason, Rejection},
    replication::Slaves,
    response::PendingResponse,
};
use parking_lot::Mutex;
use rmq_store::{Halt, LogOffset, MessageStore, Watermark};
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
    disk_queue: Mutex<WaitQueue>,
    slave_queue: Mutex<WaitQueue>,
}

/// The queue of responses that wait for one watermark.
#[derive(Default)]
struct WaitQueue {
    waiting: VecDeque<Waiting>,
    /// A task serves this queue.
    served: bool,
    /// The timer of the previous task, kept for reuse. It may fire too early and is then reset. A
    /// new timer for each message would wake the timer driver of its thread, because it would
    /// always be the earliest timer.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A message whose response is ready but must not be sent yet.
struct Waiting {
    stored: Stored<'static>,
    to: PendingResponse<Acknowledged<'static>>,
    since: Instant,
    /// See [`Watermark::rewinds`].
    rewinds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Disk,
    Slaves,
}

impl Waiting {
    fn until(&self, stage: Stage) -> Instant {
        let timeout = match stage {
            Stage::Disk => self.stored.wanted.disk,
            Stage::Slaves => self.stored.wanted.slaves,
        };
        self.since + timeout.unwrap_or_default()
    }
}

impl Durability {
    pub(crate) fn new(store: Arc<MessageStore>, slaves: Arc<Slaves>, settings: Arc<Live>) -> Self {
        Self { store, slaves, settings, disk_queue: Mutex::default(), slave_queue: Mutex::default() }
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

    /// The number of responses that wait for the disk, and the number that wait for slaves.
    pub(crate) fn waiting(&self) -> [usize; 2] {
        [&self.disk_queue, &self.slave_queue].map(|queue| queue.lock().waiting.len())
    }

    /// The longest time that a response at the head of either queue has waited.
    pub(crate) fn longest_wait(&self) -> Duration {
        let first = |queue: &Mutex<WaitQueue>| queue.lock().waiting.front().map(|first| first.since.elapsed());
        first(&self.disk_queue).max(first(&self.slave_queue)).unwrap_or_default()
    }

    /// Acknowledges the message when it has reached the required position, or when its deadline has
    /// passed. A passed deadline is a kind of success: the message is stored and may still reach
    /// the position. The task that serves the queue is spawned on `tasks`.
    pub(crate) fn acknowledge_when_reached(
        self: &Arc<Self>,
        stored: Stored<'static>,
        to: PendingResponse<Acknowledged<'static>>,
        tasks: &TaskTracker,
    ) {
        let stage = if stored.wanted.disk.is_some() { Stage::Disk } else { Stage::Slaves };
        let rewinds = self.mark(stage).rewinds();
        self.enqueue(stage, Waiting { stored, to, since: Instant::now(), rewinds }, tasks);
    }

    fn queue(&self, stage: Stage) -> &Mutex<WaitQueue> {
        match stage {
            Stage::Disk => &self.disk_queue,
            Stage::Slaves => &self.slave_queue,
        }
    }

    fn mark(&self, stage: Stage) -> &Watermark {
        match stage {
            Stage::Disk => self.store.flushed(),
            Stage::Slaves => self.store.confirmed(),
        }
    }

    fn enqueue(self: &Arc<Self>, stage: Stage, waiting: Waiting, tasks: &TaskTracker) {
        let mut queue = self.queue(stage).lock();
        queue.waiting.push_back(waiting);
        if std::mem::replace(&mut queue.served, true) {
            return;
        }
        let timer = queue.timer.take();
        drop(queue);
        let task = QueueTask { of: Arc::clone(self), stage, timer, tasks: tasks.clone(), over: false };
        tasks.spawn(task.run());
    }
}

/// The task that serves a queue while the queue is not empty.
struct QueueTask {
    of: Arc<Durability>,
    stage: Stage,
    timer: Option<Pin<Box<Sleep>>>,
    tasks: TaskTracker,
    over: bool,
}

impl QueueTask {
    async fn run(mut self) {
        while let Some((end, until)) = self.first() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if until < timer.deadline() {
                // The settings have changed.
                timer.as_mut().reset(until);
            }
            let halt = tokio::select! {
                biased;
                reached = self.of.mark(self.stage).reached(end) => reached.err(),
                () = timer.as_mut() => {
                    timer.as_mut().reset(until);
                    None
                }
            };
            self.release(halt);
            // A queue that never becomes empty must not monopolize the thread.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// The position and the deadline that the head of the queue waits for. Returns `None` if the
    /// queue is empty, and the task ends.
    fn first(&mut self) -> Option<(LogOffset, Instant)> {
        let mut queue = self.of.queue(self.stage).lock();
        let first = queue.waiting.front().map(|first| (first.stored.end, first.until(self.stage)));
        if first.is_none() {
            (queue.served, queue.timer, self.over) = (false, self.timer.take(), true);
        }
        first
    }

    /// Removes the responses at the head of the queue whose wait is over. After a halt these are
    /// all responses.
    fn release(&self, halt: Option<Halt>) {
        let (mark, now) = (self.of.mark(self.stage), Instant::now());
        let reached = mark.value();
        let over: Vec<Waiting> = {
            let mut queue = self.of.queue(self.stage).lock();
            let over =
                |waiting: &Waiting| halt.is_some() || waiting.stored.end <= reached || now >= waiting.until(self.stage);
            let count = queue.waiting.iter().position(|waiting| !over(waiting)).unwrap_or(queue.waiting.len());
            queue.waiting.drain(..count).collect()
        };
        let rewinds = mark.rewinds();
        let mut unsent = Vec::with_capacity(over.len());
        for mut waiting in over {
            let halt = halt.or((waiting.rewinds != rewinds).then_some(Halt::Rewound));
            if let Some(halt) = halt {
                unsent.push(waiting.to.give_unsent(Err(halted(self.stage, halt))));
                continue;
            }
            let mut got = Reached::All;
            if waiting.stored.end > reached {
                got = match self.stage {
                    Stage::Disk => Reached::NotDisk,
                    Stage::Slaves => Reached::NotSlaves,
                };
            } else if self.stage == Stage::Disk && waiting.stored.wanted.slaves.is_some() {
                waiting.rewinds = self.of.mark(Stage::Slaves).rewinds();
                self.of.enqueue(Stage::Slaves, waiting, &self.tasks);
                continue;
            }
            unsent.push(waiting.to.give_unsent(Ok(Acknowledged { sent: waiting.stored.sent, reached: got })));
        }
    }
}

impl Drop for QueueTask {
    fn drop(&mut self) {
        // At the stop of the broker the runtime of this thread may end before the task does. No
        // other task would serve the queue.
        if !self.over {
            *self.of.queue(self.stage).lock() = WaitQueue::default();
        }
    }
}

fn halted(stage: Stage, halt: Halt) -> Rejection {
    let stage = match stage {
        Stage::Disk => "on disk",
        Stage::Slaves => "on a slave",
    };
    Rejection::new(Reason::Failed, format!("the message may not be {stage}: {halt}"))
}
