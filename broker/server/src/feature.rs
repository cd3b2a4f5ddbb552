//! The interface of a feature besides its responses to requests.

use crate::{
    error::Error,
    metrics_page::{MetricsPage, Written},
};
use rmq_remoting::{Connection, Watchdog};
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A part of the broker that does more than answer requests. `start` calls the methods of all
/// features in the order of its list, in these phases:
///
/// | phase | method |
/// |---|---|
/// | before the first request | [`correct`](Feature::correct), on a master |
/// | the broker takes requests | [`start`](Feature::start) |
/// | the log may be appended to | [`lead`](Feature::lead), on a master |
/// | a client or tool is gone | [`disconnected`](Feature::disconnected) |
/// | the broker stops; requests are still answered | [`stop`](Feature::stop) |
/// | all tasks have ended | [`save`](Feature::save) |
pub(crate) trait Feature: Send + Sync {
    /// Corrects stored positions that do not fit the log and its queues, because a crash may have
    /// truncated the log, and a file may be another node's. Blocks. A message that arrived earlier
    /// would lie behind a position that is still to be corrected.
    fn correct(&self) {}

    /// Starts the tasks that run until the stop.
    fn start(self: Arc<Self>, _tasks: &Tasks) {}

    /// Starts what appends to the log by itself.
    ///
    /// # Errors
    /// A thread cannot be started.
    fn lead(self: Arc<Self>, _tasks: &Tasks) -> Result<(), Error> {
        Ok(())
    }

    /// A connection has ended. Runs on the thread of the connection.
    fn disconnected(&self, _connection: &Connection) {}

    /// Ends waits, so that requests are answered and threads end.
    fn stop(&self) {}

    /// Writes its tables to disk. Blocks.
    ///
    /// # Errors
    /// A table cannot be written.
    fn save(&self) -> Result<(), rmq_store::Error> {
        Ok(())
    }

    /// Writes the metrics of the feature.
    ///
    /// # Errors
    /// A metric is invalid, which is a bug of the broker.
    fn metrics(&self, _to: &MetricsPage) -> Written {
        Ok(())
    }
}

/// All features of a broker.
pub(crate) type List = Arc<[Arc<dyn Feature>]>;

/// Tasks and threads that have to run until the stop. If one of them ends before, the broker is
/// restarted.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn run(&self, name: &'static str, task: impl Future<Output: Send> + Send + 'static) {
        let watchdog = Arc::clone(&self.watchdog);
        self.tracker.spawn(async move { watchdog.task(name, task).await });
    }

    /// Runs `work` once a period, the first time at once.
    pub(crate) fn every<F>(&self, name: &'static str, period: Duration, mut work: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let stop = self.stop.clone();
        self.run(name, async move {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stop.run_until_cancelled(interval.tick()).await.is_some() {
                work().await;
            }
        });
    }

    /// Calls `write` once a period, where it may block, the first time at once. A failure is logged
    /// with `consequence`; the next period tries again.
    pub(crate) fn write_every(
        &self,
        name: &'static str,
        period: Duration,
        consequence: &'static str,
        write: impl Fn() -> Result<(), rmq_store::Error> + Send + Sync + 'static,
    ) {
        let write = Arc::new(write);
        self.every(name, period, move || {
            let write = Arc::clone(&write);
            async move {
                match tokio::task::spawn_blocking(move || write()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "{consequence}"),
                    Err(panic) => tracing::error!(%panic, "{consequence}"),
                }
            }
        });
    }

    /// Runs `work`, which blocks, on a thread of its own. [`Feature::stop`] has to end it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn thread(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let (watchdog, until_it_ends) = (Arc::clone(&self.watchdog), self.tracker.token());
        let run = move || {
            watchdog.thread(name, work);
            drop(until_it_ends);
        };
        let started = std::thread::Builder::new().name(name.into()).spawn(run);
        started.map(drop).map_err(|source| Error::Thread { name, source })
    }
}
