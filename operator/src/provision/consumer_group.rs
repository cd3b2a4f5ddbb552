//! What is particular to consumer groups.

use std::collections::BTreeSet;

use rmq_protocol::{body::SubscriptionGroup, names};
use serde_json::{Value, json};

use super::{Change, Comparison, OnBroker, Provisioned, Record};
use crate::{
    api::{
        Adoption, ClusterRef, DeletionPolicy, Management, RocketMQConsumerGroup, consumer_group::ConsumerGroupStatus,
    },
    brokers::{
        admin::{self, Admin, Progress},
        pool::MasterTables,
    },
};

/// Topics listed in a status; a group with more has its first ones listed.
const MAX_TOPICS: usize = 32;

impl Provisioned for RocketMQConsumerGroup {
    type Config = SubscriptionGroup;
    const WHAT: &'static str = "consumer group";
    const FINALIZER: &'static str = "rocketmq.rs/consumer-group";

    fn remote_name(&self) -> &str {
        self.group_name()
    }

    fn cluster_ref(&self) -> &ClusterRef {
        &self.spec.cluster_ref
    }

    fn management(&self) -> Management {
        self.spec.management
    }

    fn adoption(&self) -> Adoption {
        self.spec.adoption
    }

    fn deletion_policy(&self) -> DeletionPolicy {
        self.spec.deletion_policy
    }

    fn placed_on(&self, _: u32) -> bool {
        true
    }

    fn record(&self) -> Record {
        self.status.as_ref().map_or_else(Record::default, |status| Record {
            origin: status.origin,
            cluster_uid: status.cluster_uid.clone(),
            conditions: status.conditions.clone(),
        })
    }

    fn is_system(name: &str, _: &str) -> bool {
        names::is_system_group(name)
    }

    fn found<'a>(tables: &'a MasterTables, name: &str) -> Option<&'a SubscriptionGroup> {
        tables.consumer_groups.get(name)
    }

    fn compare(&self, have: &SubscriptionGroup) -> Comparison {
        let spec = &self.spec;
        let fields: [(&'static str, String, String); 5] = [
            ("consumeEnable", have.consume_enable.to_string(), spec.consume_enable.to_string()),
            ("broadcast", have.consume_broadcast_enable.to_string(), spec.broadcast.to_string()),
            ("orderly", have.consume_message_orderly.to_string(), spec.orderly.to_string()),
            ("retry.queues", have.retry_queue_nums.to_string(), spec.retry.queues.to_string()),
            ("retry.maxTimes", have.retry_max_times.to_string(), spec.retry.max_times.to_string()),
        ];
        let differing = fields.into_iter().filter(|(_, have, want)| have != want);
        Comparison {
            changes: differing.map(|(field, have, want)| Change { field, have, want }).collect(),
            refused: None,
        }
    }

    fn desired(&self, have: Option<&SubscriptionGroup>) -> SubscriptionGroup {
        let mut config = have.cloned().unwrap_or_else(|| SubscriptionGroup::new(self.group_name()));
        config.consume_enable = self.spec.consume_enable;
        config.consume_broadcast_enable = self.spec.broadcast;
        config.consume_message_orderly = self.spec.orderly;
        config.retry_queue_nums = self.spec.retry.queues;
        config.retry_max_times = self.spec.retry.max_times;
        config
    }

    async fn put<A: Admin>(admin: &A, broker: &str, config: &SubscriptionGroup) -> admin::Result<()> {
        admin.put_consumer_group(broker, config).await
    }

    async fn delete<A: Admin>(admin: &A, broker: &str, name: &str) -> admin::Result<()> {
        admin.delete_consumer_group(broker, name).await
    }

    /// Namesrvs do not know consumer groups.
    async fn forget<A: Admin>(_: &A, _: &str, _: &str) -> admin::Result<()> {
        Ok(())
    }

    async fn holds<A: Admin>(admin: &A, broker: &str, name: &str) -> admin::Result<Option<String>> {
        let members = admin.members(broker, name).await?.len();
        Ok((members > 0).then(|| format!("{members} members are connected to {broker}")))
    }

    /// Lag and members over all brokers. A broker that does not answer would make the sum a lie, so
    /// then nothing is said.
    async fn statistics<A: Admin>(&self, admin: &A, brokers: &[String]) -> Value {
        let name = self.group_name();
        let asked = brokers
            .iter()
            .map(|broker| futures::future::try_join(admin.progress(broker, name), admin.members(broker, name)));
        match futures::future::try_join_all(asked).await {
            Ok(answers) => {
                let mut sum = Progress::default();
                // A member is connected to every broker: count clients, not connections.
                let mut members = BTreeSet::new();
                for (progress, clients) in answers {
                    sum.lag = sum.lag.saturating_add(progress.lag);
                    sum.topics.extend(progress.topics);
                    members.extend(clients);
                }
                let topics: Vec<_> = sum.topics.into_iter().take(MAX_TOPICS).collect();
                json!({ "lag": rounded(sum.lag), "members": members.len(), "topics": topics })
            }
            Err(_) => Value::Null,
        }
    }

    fn status(&self, record: &Record, brokers: &[OnBroker<SubscriptionGroup>], statistics: Value) -> Value {
        let last = self.status.clone().unwrap_or_default();
        let fresh = |name: &str| statistics.get(name).cloned();
        json!(ConsumerGroupStatus {
            observed_generation: self.metadata.generation,
            group_name: Some(self.group_name().to_owned()),
            origin: record.origin,
            cluster_uid: record.cluster_uid.clone(),
            members: fresh("members").map_or(last.members, |members| serde_json::from_value(members).ok()),
            lag: fresh("lag").map_or(last.lag, |lag| lag.as_i64()),
            topics: fresh("topics").and_then(|topics| serde_json::from_value(topics).ok()).unwrap_or(last.topics),
            synced_brokers: brokers.iter().filter(|broker| broker.synced).map(|broker| broker.broker.clone()).collect(),
            conditions: record.conditions.clone(),
        })
    }
}

/// Two significant digits, the rest zeros: a status that changed with every message would be a
/// write a minute for each busy group.
fn rounded(count: u64) -> i64 {
    let mut scale = 1;
    while count / scale >= 100 {
        scale *= 10;
    }
    i64::try_from(count / scale * scale).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn lag_is_shown_in_two_digits() {
        for (count, shown) in [
            (0, 0),
            (7, 7),
            (99, 99),
            (100, 100),
            (128, 120),
            (99_999, 99_000),
            (u64::MAX, 18_000_000_000_000_000_000_u64),
        ] {
            assert_eq!(rounded(count), i64::try_from(shown).unwrap_or(i64::MAX), "{count}");
        }
    }
}
