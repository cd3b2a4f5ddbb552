//! Notifies the members of consumer groups that their group has changed.
//!
//! Each member then asks for the list of members and rebalances the queues. When 3,500 clients of a
//! group join one after another and each is notified of each, that is six million notices. So
//! changes are coalesced: a group is notified at most every 100 ms, of the first change at once,
//! and of the last one always. The price is that a change that follows another is notified up to
//! 100 ms later. Without a notice, clients rebalance only every 20 s.

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

/// The time between two rounds of notices.
const PERIOD: Duration = Duration::from_millis(100);
/// The number of notices that are sent before the task yields to the other tasks of its thread.
const AT_ONCE: usize = 64;

/// The groups that are to be notified.
#[derive(Default)]
pub(crate) struct Notifications {
    changed: Mutex<BTreeSet<String>>,
    wake: Notify,
    sent: AtomicU64,
}

impl Notifications {
    /// The group has changed: its members are notified soon.
    pub(crate) fn changed(&self, group: &str) {
        let mut changed = self.changed.lock();
        if !changed.contains(group) {
            changed.insert(group.to_owned());
            self.wake.notify_one();
        }
    }

    /// The number of notices sent since the start.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Notifies the groups, until `stop`.
    pub(crate) async fn run(self: Arc<Self>, consumers: Arc<Consumers>, stop: CancellationToken) {
        while stop.run_until_cancelled(self.wake.notified()).await.is_some() {
            let changed = std::mem::take(&mut *self.changed.lock());
            for group in changed {
                self.notify(&group, &consumers).await;
            }
            if stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_none() {
                return;
            }
        }
    }

    async fn notify(&self, group: &str, consumers: &Consumers) {
        let header = ConsumerGroupRequest { consumer_group: group };
        for (number, connection) in consumers.connections(group).into_iter().enumerate() {
            if number % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            self.sent.fetch_add(1, Relaxed);
            if let Err(error) = connection.one_way(Command::request(RequestCode::NotifyConsumerIdsChanged, &header)) {
                tracing::debug!(%error, group, "a consumer cannot be notified that its group has changed; its next rebalance will notice");
            }
        }
    }
}
