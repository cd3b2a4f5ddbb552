//! Telling the members of consumer groups that their group has changed.
//!
//! Each member then asks who else is there and shares the queues anew. When 3,500 clients of a
//! group come one after another and each is told of each, that is six million notices; so changes
//! are gathered, and a group is told at most every 100 ms: of the first change at once, and of the
//! last one always. The price is that a change that follows another is told up to 100 ms later;
//! clients look by themselves every 20 s only.

use super::Consumers;
use parking_lot::Mutex;
use rmq_protocol::{Command, RequestCode, header::ConsumerGroupRequest};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Between two rounds of notices.
const PERIOD: Duration = Duration::from_millis(100);
/// Notices sent without letting other tasks of the thread go on.
const AT_ONCE: usize = 64;

/// Groups that are to be told.
#[derive(Default)]
pub(crate) struct Notices {
    changed: Mutex<BTreeSet<String>>,
    wake: Notify,
    sent: AtomicU64,
}

impl Notices {
    /// The group has changed: its members are told soon.
    pub(crate) fn changed(&self, group: &str) {
        let mut changed = self.changed.lock();
        if !changed.contains(group) {
            changed.insert(group.to_owned());
            self.wake.notify_one();
        }
    }

    /// Notices sent since the start.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Tells the groups, until `stop`.
    pub(crate) async fn run(self: Arc<Self>, consumers: Arc<Consumers>, stop: CancellationToken) {
        while stop.run_until_cancelled(self.wake.notified()).await.is_some() {
            let changed = std::mem::take(&mut *self.changed.lock());
            for group in changed {
                self.tell(&group, &consumers).await;
            }
            if stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_none() {
                return;
            }
        }
    }

    async fn tell(&self, group: &str, consumers: &Consumers) {
        let header = ConsumerGroupRequest { consumer_group: group };
        for (number, connection) in consumers.connections(group).into_iter().enumerate() {
            if number % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            self.sent.fetch_add(1, Relaxed);
            if let Err(error) = connection.one_way(Command::request(RequestCode::NotifyConsumerIdsChanged, &header)) {
                tracing::debug!(%error, group, "a consumer cannot be told that its group has changed; it will find out by itself");
            }
        }
    }
}
