//! Operators' changes of topics. Brokers do not know them: a topic that is deleted here returns
//! with the next registration of a broker that still has it.

use super::{RouteTable, size::Growth, snapshot::Queues};
use crate::{Error, capacity::check_length};
use rmq_protocol::body::{QueueData, perm};
use std::sync::Arc;

impl RouteTable {
    /// Adds queues to a topic, or the topic; false, without any change, if there are none or a
    /// group is unknown.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::TooMany`], [`Error::RoutesFull`]: a limit is exceeded; nothing
    /// is changed.
    pub(crate) fn register_topic(&mut self, topic: &str, queues: &[QueueData]) -> Result<bool, Error> {
        check_length("topic", topic)?;
        let rows: Option<Vec<Queues>> = queues
            .iter()
            .map(|queues| {
                let group = self.snapshot.group(&queues.broker_name)?;
                Some(Queues {
                    broker: Arc::clone(group.name()),
                    read: queues.read_queue_nums,
                    write: queues.write_queue_nums,
                    perm: queues.perm,
                    sys_flag: queues.topic_sys_flag,
                })
            })
            .collect();
        let Some(rows) = rows.filter(|rows| !rows.is_empty()) else { return Ok(false) };
        let mut bytes = 0;
        for row in &rows {
            let more = self.snapshot.growth(topic, &row.broker);
            bytes += more;
            let topics = usize::from(more > 0);
            self.check_room(&Growth { group: &row.broker, brokers: 0, members: 0, topics, bytes })?;
        }
        for row in rows {
            self.complete.remove(&row.broker);
            self.snapshot.put_queues(topic, row);
        }
        self.publish();
        Ok(true)
    }

    /// Removes a topic, everywhere or in one cluster.
    pub(crate) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(queues) = self.snapshot.queues(topic) else { return };
        let brokers: Vec<Arc<str>> = queues.iter().map(|queues| Arc::clone(&queues.broker)).collect();
        for broker in brokers {
            let group = self.snapshot.group(&broker);
            if cluster.is_none() || group.map(super::group::Group::cluster) == cluster {
                self.complete.remove(&broker);
                self.snapshot.remove_queues(topic, &broker);
            }
        }
        self.publish();
    }

    /// Removes the write permission from all topics of a group, until it registers another version
    /// of them; returns how many topics it has.
    pub(crate) fn wipe_write_perm(&mut self, broker: &str) -> usize {
        self.set_perm(broker, |perm| perm & !perm::WRITE)
    }

    /// Gives all topics of a group read and write permission, whatever the broker's setting;
    /// returns how many topics it has.
    pub(crate) fn add_write_perm(&mut self, broker: &str) -> usize {
        self.set_perm(broker, |_| perm::READ | perm::WRITE)
    }

    fn set_perm(&mut self, broker: &str, perm: impl Fn(i32) -> i32) -> usize {
        let topics = self.snapshot.set_perm(broker, perm);
        if topics > 0 {
            self.publish();
        }
        topics
    }
}
