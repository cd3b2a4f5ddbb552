//! What is particular to topics.

use rmq_protocol::{body::TopicConfig, names};
use serde_json::{Value, json};

use super::{Change, Comparison, OnBroker, Provisioned, Record};
use crate::{
    api::{
        Adoption, ClusterRef, DeletionPolicy, Management, RocketMQTopic,
        topic::{TopicOnBroker, TopicStatus},
    },
    brokers::{
        admin::{self, Admin},
        pool::MasterTables,
    },
};

/// Attribute that holds the kind of messages.
const MESSAGE_TYPE: &str = "message.type";

impl Provisioned for RocketMQTopic {
    type Config = TopicConfig;
    const WHAT: &'static str = "topic";
    const FINALIZER: &'static str = "rocketmq.rs/topic";

    fn remote_name(&self) -> &str {
        self.topic_name()
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

    fn placed_on(&self, group: u32) -> bool {
        self.spec.placement.includes(group)
    }

    fn record(&self) -> Record {
        self.status.as_ref().map_or_else(Record::default, |status| Record {
            origin: status.origin,
            cluster_uid: status.cluster_uid.clone(),
            conditions: status.conditions.clone(),
        })
    }

    fn is_system(name: &str, cluster_name: &str) -> bool {
        is_system(name, cluster_name)
    }

    fn found<'a>(tables: &'a MasterTables, name: &str) -> Option<&'a TopicConfig> {
        tables.topics.get(name)
    }

    /// More queues than wanted are not taken away: messages in the last ones would be out of every
    /// consumer's reach.
    fn compare(&self, have: &TopicConfig) -> Comparison {
        let want = self.desired(Some(have));
        let mut changes = Vec::new();
        let mut change = |field, have: &dyn ToString, want: &dyn ToString| {
            let (have, want) = (have.to_string(), want.to_string());
            if have != want {
                changes.push(Change { field, have, want });
            }
        };
        change("queues (write)", &have.write_queue_nums, &want.write_queue_nums);
        change("queues (read)", &have.read_queue_nums, &want.read_queue_nums);
        change("perm", &perm_text(have.perm), &perm_text(want.perm));
        if self.spec.message_type.is_some() {
            let of = |config: &TopicConfig| {
                config.attributes.get(MESSAGE_TYPE).cloned().unwrap_or_else(|| "none".to_owned())
            };
            change("messageType", &of(have), &of(&want));
        }
        let most = have.write_queue_nums.max(have.read_queue_nums);
        let shrunk = (most > self.spec.queues).then(|| {
            format!(
                "it has {most} queues and messages may be in all of them: write queues: {most} \
             or more, shrinking is not served"
            )
        });
        Comparison { changes, refused: shrunk }
    }

    fn desired(&self, have: Option<&TopicConfig>) -> TopicConfig {
        let mut config = have.cloned().unwrap_or_else(|| TopicConfig::new(self.topic_name(), 0, 0, 0));
        config.write_queue_nums = config.write_queue_nums.max(self.spec.queues);
        config.read_queue_nums = config.read_queue_nums.max(config.write_queue_nums);
        config.perm = self.spec.perm.bits() as i32;
        if let Some(message_type) = self.spec.message_type {
            config.attributes.insert(MESSAGE_TYPE.to_owned(), message_type.as_str().to_owned());
        }
        config
    }

    async fn put<A: Admin>(admin: &A, broker: &str, config: &TopicConfig) -> admin::Result<()> {
        admin.put_topic(broker, config).await
    }

    async fn delete<A: Admin>(admin: &A, broker: &str, name: &str) -> admin::Result<()> {
        admin.delete_topic(broker, name).await
    }

    async fn forget<A: Admin>(admin: &A, name: &str, cluster_name: &str) -> admin::Result<()> {
        admin.forget_topic(name, cluster_name).await
    }

    async fn holds<A: Admin>(admin: &A, broker: &str, name: &str) -> admin::Result<Option<String>> {
        let stored = admin.stored_messages(broker, name).await?;
        Ok((stored > 0).then(|| format!("{broker} stores {stored} messages of it")))
    }

    async fn statistics<A: Admin>(&self, _: &A, _: &[String]) -> Value {
        Value::Null
    }

    fn status(&self, record: &Record, brokers: &[OnBroker<TopicConfig>], _: Value) -> Value {
        let on_broker = |broker: &OnBroker<TopicConfig>| TopicOnBroker {
            name: broker.broker.clone(),
            queues: broker.have.as_ref().map(|have| have.write_queue_nums),
            perm: broker.have.as_ref().map(|have| perm_text(have.perm).to_owned()),
            synced: broker.synced,
        };
        json!(TopicStatus {
            observed_generation: self.metadata.generation,
            topic_name: Some(self.topic_name().to_owned()),
            origin: record.origin,
            cluster_uid: record.cluster_uid.clone(),
            brokers: brokers.iter().map(on_broker).collect(),
            conditions: record.conditions.clone(),
        })
    }
}

/// Topics that brokers make and keep for themselves, those named after the cluster among them.
pub(crate) fn is_system(topic: &str, cluster_name: &str) -> bool {
    names::is_system_topic(topic)
        || names::is_retry_topic(topic)
        || names::is_dead_letter_topic(topic)
        || topic == cluster_name
        || topic.strip_suffix("_REPLY_TOPIC") == Some(cluster_name)
}

fn perm_text(bits: i32) -> &'static str {
    match bits & 6 {
        6 => "RW",
        4 => "R",
        2 => "W",
        _ => "-",
    }
}
