//! The interface of a feature besides its responses to requests.

use crate::metrics_page::{MetricsPage, Written};
use rmq_remoting::Watchdog;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A part of the broker that has background tasks or metrics.
pub(crate) trait Feature: Send + Sync {
    /// Starts the tasks that run until the stop.
    fn start(self: Arc<Self>, _tasks: &Tasks) {}

    /// Writes the metrics of the feature.
    ///
    /// # Errors
    /// A metric is invalid, which is a bug of the broker.
    fn metrics(&self, _to: &MetricsPage) -> Written {
        Ok(())
    }
}

/// Tasks that have to run until the stop. If one of them ends before, the broker is restarted.
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
}
