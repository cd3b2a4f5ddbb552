//! Locks on queues, by which the clients of an ordered group agree on the consumer of each queue. A
//! lock that is not renewed expires.

use parking_lot::Mutex;
use rmq_protocol::message::MessageQueue;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// Clients renew every 20 s, so one of three renewals must arrive.
const LIFE: Duration = Duration::from_secs(60);

/// Locks by group.
#[derive(Default)]
pub(crate) struct QueueLocks {
    groups: Mutex<HashMap<String, BTreeMap<MessageQueue, Lock>>>,
}

struct Lock {
    client_id: String,
    renewed: Instant,
}

impl Lock {
    fn holds(&self, now: Instant) -> bool {
        now.duration_since(self.renewed) <= LIFE
    }
}

impl QueueLocks {
    /// Locks or renews every queue that no other client has locked. Returns the requested queues
    /// that the client then holds.
    pub(crate) fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: &[MessageQueue],
        now: Instant,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let locks = groups.entry(group.to_owned()).or_default();
        let mut held = Vec::with_capacity(queues.len());
        for queue in queues {
            let lock =
                locks.entry(queue.clone()).or_insert_with(|| Lock { client_id: client_id.to_owned(), renewed: now });
            if lock.client_id != client_id && lock.holds(now) {
                continue;
            }
            if lock.client_id != client_id {
                tracing::info!(
                    group,
                    ?queue,
                    from = lock.client_id,
                    to = client_id,
                    "a queue lock had ended and changes hands"
                );
            }
            *lock = Lock { client_id: client_id.to_owned(), renewed: now };
            held.push(queue.clone());
        }
        held
    }

    /// Releases locks. Locks of other clients are left alone.
    pub(crate) fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        let Some(locks) = groups.get_mut(group) else { return };
        for queue in queues {
            if locks.get(queue).is_some_and(|lock| lock.client_id == client_id) {
                locks.remove(queue);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether a client holds a lock of the group.
    pub(crate) fn is_locked(&self, group: &str, now: Instant) -> bool {
        self.groups.lock().get(group).is_some_and(|locks| locks.values().any(|lock| lock.holds(now)))
    }

    /// Removes expired locks.
    pub(crate) fn expire(&self, now: Instant) {
        self.groups.lock().retain(|_, locks| {
            locks.retain(|_, lock| lock.holds(now));
            !locks.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_clients_until_it_is_given_back_or_ends() {
        let locks = QueueLocks::default();
        let queue = |queue_id| MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id };
        let queues = [queue(0), queue(1)];
        let start = Instant::now();
        assert_eq!(locks.lock("g", "a", &queues[..1], start), queues[..1]);
        assert_eq!(locks.lock("g", "b", &queues, start), queues[1..]);
        assert_eq!(locks.lock("h", "b", &queues, start), queues, "another group has locks of its own");
        locks.unlock("g", "b", &queues);
        assert_eq!(locks.lock("g", "b", &queues[..1], start), []);
        let later = start + LIFE + Duration::from_secs(1);
        assert!(!locks.is_locked("g", later));
        assert_eq!(locks.lock("g", "b", &queues[..1], later), queues[..1]);
        locks.expire(later + LIFE + Duration::from_secs(1));
        assert!(locks.groups.lock().is_empty());
    }
}
