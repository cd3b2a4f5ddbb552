//! Clusters that scenarios ask for, and what their brokers say of themselves: not what the operator
//! says of them.

use std::collections::BTreeMap;
use std::future::Future;

use anyhow::{Context, Result};
use bytes::Bytes;
use rmq_client::{Admin, Error, Message, Producer, producer::Options};
use rmq_protocol::body::{SubscriptionGroup, TopicConfig};
use tokio::runtime::{Builder, Runtime};

use crate::namespace::Namespace;

/// A RocketMQCluster called `mq` with one namesrv and small files. `brokers` are further fields of
/// spec.brokers, each followed by a comma; `rest` are further lines of spec, each with two blanks
/// before it.
pub(crate) fn manifest(brokers: &str, rest: &str) -> String {
    format!(
        "
apiVersion: rocketmq.rs/v1alpha1
kind: RocketMQCluster
metadata: {{name: mq}}
spec:
  namesrv: {{replicas: 1, podTemplate: {{spec: {{containers: [{{name: namesrv, resources: {{requests: {{cpu: 5m, memory: 16Mi}}}}}}]}}}}}}
  brokers: {{
    {brokers}
    config: {{mappedFileSizeCommitLog: '67108864', mappedFileSizeConsumeQueue: '600000'}},
    storage: {{size: 1Gi, reclaim: {{onDelete: Delete}}}},
    podTemplate: {{spec: {{containers: [{{name: broker, resources: {{requests: {{cpu: 10m, memory: 32Mi}}}}}}]}}}}
  }}
{rest}
"
    )
}

/// A RocketMQTopic of the cluster `mq`.
pub(crate) fn topic(name: &str, fields: &str) -> String {
    object("RocketMQTopic", name, fields)
}

/// A RocketMQConsumerGroup of the cluster `mq`.
pub(crate) fn consumer_group(name: &str, fields: &str) -> String {
    object("RocketMQConsumerGroup", name, fields)
}

fn object(kind: &str, name: &str, fields: &str) -> String {
    format!(
        "
---
apiVersion: rocketmq.rs/v1alpha1
kind: {kind}
metadata: {{name: {name}}}
spec: {{clusterRef: {{name: mq}}, {fields}}}
"
    )
}

/// A client of the admin protocol, used as an ordinary function.
pub(crate) struct Brokers {
    runtime: Runtime,
    namesrvs: String,
    admin: Admin,
}

impl Brokers {
    /// Of the cluster `mq`.
    pub(crate) fn of(namespace: &Namespace) -> Result<Self> {
        let cluster = namespace.read("rmq/mq")?;
        let namesrvs = cluster["status"]["namesrvAddrs"].as_str().context("the cluster names no namesrv")?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, namesrvs: namesrvs.to_owned(), admin: Admin::new(namesrvs)? })
    }

    /// Where the namesrvs are.
    pub(crate) fn namesrvs(&self) -> &str {
        &self.namesrvs
    }

    fn ask<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T> {
        Ok(self.runtime.block_on(answer)?)
    }

    /// Address of the master of group `index`.
    pub(crate) fn master(&self, index: u32) -> Result<String> {
        self.ask(self.admin.master_of(&format!("mq-broker-{index}")))
    }

    /// A topic on the master of group `index`.
    pub(crate) fn topic(&self, index: u32, name: &str) -> Result<Option<TopicConfig>> {
        let (mut topics, _) = self.ask(self.admin.topic_configs(&self.master(index)?))?;
        Ok(topics.remove(name))
    }

    /// A consumer group on the master of group `index`.
    pub(crate) fn consumer_group(&self, index: u32, name: &str) -> Result<Option<SubscriptionGroup>> {
        let (mut groups, _) = self.ask(self.admin.consumer_groups(&self.master(index)?))?;
        Ok(groups.remove(name))
    }

    /// Writes a topic past the operator, as somebody with an admin tool would.
    pub(crate) fn put_topic(&self, index: u32, topic: &TopicConfig) -> Result<()> {
        self.ask(self.admin.put_topic(&self.master(index)?, topic))
    }

    /// Writes a consumer group past the operator.
    pub(crate) fn put_consumer_group(&self, index: u32, group: &SubscriptionGroup) -> Result<()> {
        self.ask(self.admin.put_consumer_group(&self.master(index)?, group))
    }

    /// Takes a topic away past the operator.
    pub(crate) fn delete_topic(&self, index: u32, name: &str) -> Result<()> {
        self.ask(self.admin.delete_topic_in_broker(&self.master(index)?, name))
    }

    /// Sends one message.
    pub(crate) fn send(&self, topic: &str, body: &'static str) -> Result<()> {
        self.runtime.block_on(async {
            let producer = Producer::start(Options::new(&self.namesrvs, "scenario")).await?;
            producer.send(Message::new(topic, Bytes::from_static(body.as_bytes()))).await?;
            producer.stop().await;
            Ok(())
        })
    }

    /// Sends so many messages one after another.
    pub(crate) fn send_many(&self, topic: &str, count: usize) -> Result<()> {
        self.runtime.block_on(async {
            let producer = Producer::start(Options::new(&self.namesrvs, "scenario")).await?;
            for number in 0..count {
                producer.send(Message::new(topic, Bytes::from(number.to_string()))).await?;
            }
            producer.stop().await;
            Ok(())
        })
    }

    /// Messages of a topic on the master of group `index`.
    pub(crate) fn messages(&self, index: u32, topic: &str) -> Result<i64> {
        let stats = self.ask(self.admin.topic_stats(&self.master(index)?, topic))?;
        Ok(stats.offset_table.0.values().map(|ends| ends.max_offset - ends.min_offset).sum())
    }

    /// Settings in force on the master of group `index`.
    pub(crate) fn settings(&self, index: u32) -> Result<BTreeMap<String, String>> {
        self.ask(self.admin.broker_config(&self.master(index)?))
    }
}
