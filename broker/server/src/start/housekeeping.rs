//! What happens by itself, every now and then.

use super::{parts::Parts, watched};
use crate::{clock::now_millis, observe::stats::SAMPLE_EVERY, pull::long_polling::Ready};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pulls may answer so much later than their deadline.
const EXPIRE_PULLS: Duration = Duration::from_millis(500);
/// Clients are looked for silence.
const EXPIRE_CLIENTS: Duration = Duration::from_secs(10);

/// Starts the tasks.
pub(super) fn start(parts: &Parts, mut ready: Ready, tasks: &TaskTracker, stop: &CancellationToken) {
    let pull = Arc::new(parts.puller());
    let readers = tasks.clone();
    let stopped = stop.clone();
    watched(&parts.watchdog, tasks, "resume parked pulls", async move {
        // Cancelled after the last connection has ended: pulls that are released by the stop are answered before.
        while let Some(Some(parked)) = stopped.run_until_cancelled(ready.recv()).await {
            if let Some(parked) = pull.resume(parked) {
                let pull = Arc::clone(&pull);
                readers.spawn_blocking(move || pull.resume_from_disk(parked));
            }
        }
    });

    let notices = Arc::clone(&parts.notices).run(Arc::clone(&parts.consumers), stop.clone());
    watched(&parts.watchdog, tasks, "tell consumer groups of their members", notices);

    let long_polling = Arc::clone(&parts.tables.long_polling);
    every("expire parked pulls", EXPIRE_PULLS, parts, tasks, stop, move || {
        long_polling.expire(Instant::now());
        std::future::ready(())
    });

    let (clients, locks, settings) = (Arc::new(parts.clients()), Arc::clone(&parts.locks), Arc::clone(&parts.settings));
    every("expire clients", EXPIRE_CLIENTS, parts, tasks, stop, move || {
        let expiry = settings.load().clients.expiry.0.as_millis() as i64;
        clients.expire(now_millis() - expiry);
        locks.expire(Instant::now());
        std::future::ready(())
    });

    let stats = Arc::clone(&parts.stats);
    every("sample rates", SAMPLE_EVERY, parts, tasks, stop, move || {
        stats.sample(Instant::now());
        std::future::ready(())
    });

    let (offsets, groups) = (Arc::clone(&parts.tables.offsets), Arc::clone(&parts.tables.groups));
    let period = parts.settings.load().clients.flush_offsets.0.max(Duration::from_millis(100));
    every("write offsets", period, parts, tasks, stop, move || {
        let (offsets, groups) = (Arc::clone(&offsets), Arc::clone(&groups));
        async move {
            // A group that a pull has made waits for this: its offsets are refused when it is not there any more.
            let written = tokio::task::spawn_blocking(move || groups.persist().and(offsets.persist())).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "consumer groups and offsets cannot be written; after a crash messages would come again");
                }
                // Tried again with the next period, and told again.
                Err(panic) => tracing::error!(%panic, "consumer groups and offsets are not written"),
            }
        }
    });
}

fn every<F>(
    name: &'static str,
    period: Duration,
    parts: &Parts,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    mut work: impl FnMut() -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let stop = stop.clone();
    watched(&parts.watchdog, tasks, name, async move {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(interval.tick()).await.is_some() {
            work().await;
        }
    });
}
