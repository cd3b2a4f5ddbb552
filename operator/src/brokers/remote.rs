//! `Admin` over the network: `rmq_client::Admin`, its answers brought into the shapes that the
//! controllers judge.
//!
//! The client gives every request five seconds and retries nothing; so does this.

use std::collections::{BTreeMap, BTreeSet};

use rmq_protocol::{
    ResponseCode,
    body::{SubscriptionGroup, SubscriptionGroupTable, TopicConfig, TopicConfigTable},
    names,
};

use crate::{
    brokers::admin::{Admin, Broker, Progress, Recovery, Result},
    error::AdminError,
};

/// RocketMQ's name of the setting that masks all permissions of a broker.
const PERMISSION: &str = "brokerPermission";
/// Its default.
const DEFAULT_PERMISSION: i32 = 6;

/// Brokers and namesrvs over their sockets.
#[derive(Clone)]
pub struct Remote(std::result::Result<rmq_client::Admin, AdminError>);

impl Remote {
    fn client(&self) -> Result<&rmq_client::Admin> {
        self.0.as_ref().map_err(Clone::clone)
    }
}

impl Admin for Remote {
    fn connect(namesrvs: &[String]) -> Self {
        Self(rmq_client::Admin::new(&namesrvs.join(";")).map_err(|error| translate("namesrv", error)))
    }

    async fn brokers(&self) -> Result<Vec<Broker>> {
        let info = self.client()?.cluster_info().await.map_err(|error| translate("namesrv", error))?;
        let broker = |group: rmq_protocol::body::BrokerData| Broker {
            slaves: u32::try_from(group.broker_addrs.keys().filter(|id| **id != 0).count()).unwrap_or(u32::MAX),
            master: group.broker_addrs.get(&0).cloned(),
            name: group.broker_name,
            cluster: group.cluster,
        };
        Ok(info.broker_addr_table.into_values().map(broker).collect())
    }

    async fn status(&self, broker: &str) -> Result<BTreeMap<String, String>> {
        self.client()?.runtime_info(broker).await.map_err(|error| translate(broker, error))
    }

    async fn recover(&self, broker: &str, recovery: &Recovery) -> Result<()> {
        let client = self.client()?;
        let accepted = match recovery {
            Recovery::CopyFrom(address) => client.recover_master_from(broker, Some(address)).await,
            Recovery::AcceptLoss => client.accept_loss(broker).await,
        };
        accepted.map_err(|error| translate(broker, error))
    }

    async fn topics(&self, broker: &str) -> Result<TopicConfigTable> {
        let answer = self.client()?.topic_configs(broker).await;
        let (topic_config_table, data_version) = answer.map_err(|error| translate(broker, error))?;
        Ok(TopicConfigTable { data_version, topic_config_table })
    }

    async fn put_topic(&self, broker: &str, topic: &TopicConfig) -> Result<()> {
        self.client()?.put_topic(broker, topic).await.map_err(|error| translate(broker, error))
    }

    async fn delete_topic(&self, broker: &str, topic: &str) -> Result<()> {
        let deleted = self.client()?.delete_topic_in_broker(broker, topic).await;
        unless(deleted, ResponseCode::TopicNotExist, broker)
    }

    async fn forget_topic(&self, topic: &str, cluster_name: &str) -> Result<()> {
        let forgotten = self.client()?.delete_topic_in_namesrvs(topic, Some(cluster_name)).await;
        forgotten.map_err(|error| translate("namesrv", error))
    }

    async fn stored_messages(&self, broker: &str, topic: &str) -> Result<u64> {
        let stats = self.client()?.topic_stats(broker, topic).await.map_err(|error| translate(broker, error))?;
        let stored = |(_, ends): (_, &rmq_protocol::body::TopicOffset)| distance(ends.min_offset, ends.max_offset);
        Ok(stats.offset_table.0.iter().map(stored).sum())
    }

    async fn consumer_groups(&self, broker: &str) -> Result<SubscriptionGroupTable> {
        let answer = self.client()?.consumer_groups(broker).await;
        let (subscription_group_table, data_version) = answer.map_err(|error| translate(broker, error))?;
        Ok(SubscriptionGroupTable { data_version, subscription_group_table, ..SubscriptionGroupTable::default() })
    }

    async fn put_consumer_group(&self, broker: &str, group: &SubscriptionGroup) -> Result<()> {
        self.client()?.put_consumer_group(broker, group).await.map_err(|error| translate(broker, error))
    }

    async fn delete_consumer_group(&self, broker: &str, group: &str) -> Result<()> {
        let deleted = self.client()?.delete_consumer_group(broker, group, true).await;
        unless(deleted, ResponseCode::SubscriptionGroupNotExist, broker)
    }

    async fn progress(&self, broker: &str, group: &str) -> Result<Progress> {
        let mut progress = Progress::default();
        let stats =
            self.client()?.consume_stats(broker, group, None).await.map_err(|error| translate(broker, error))?;
        for (queue, place) in stats.offset_table.0.iter() {
            progress.lag = progress.lag.saturating_add(distance(place.consumer_offset, place.broker_offset));
            if !names::is_retry_topic(&queue.topic) {
                progress.topics.insert(queue.topic.clone());
            }
        }
        Ok(progress)
    }

    async fn members(&self, broker: &str, group: &str) -> Result<BTreeSet<String>> {
        let answer =
            self.client()?.consumer_connections(broker, group).await.map_err(|error| translate(broker, error))?;
        Ok(answer.into_iter().flat_map(|connection| connection.connection_set).map(|member| member.client_id).collect())
    }

    async fn permission(&self, broker: &str) -> Result<i32> {
        let config = self.client()?.broker_config(broker).await.map_err(|error| translate(broker, error))?;
        Ok(config.get(PERMISSION).and_then(|bits| bits.trim().parse().ok()).unwrap_or(DEFAULT_PERMISSION))
    }

    async fn set_permission(&self, broker: &str, bits: i32) -> Result<()> {
        let settings = BTreeMap::from([(PERMISSION.to_owned(), bits.to_string())]);
        self.client()?.update_broker_config(broker, &settings).await.map_err(|error| translate(broker, error))
    }
}

/// Messages between two offsets. A reset offset may lie beyond the end, and a queue may be newer
/// than the offset.
fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

/// A refusal that says what was wanted: it is not there.
fn unless(result: std::result::Result<(), rmq_client::Error>, code: ResponseCode, target: &str) -> Result<()> {
    match result {
        Err(error) if error.is(code) => Ok(()),
        other => other.map_err(|error| translate(target, error)),
    }
}

fn translate(target: &str, error: rmq_client::Error) -> AdminError {
    match error {
        rmq_client::Error::Refused { address, code, remark, .. } => {
            AdminError::Refused { target: address, code, remark }
        }
        other => AdminError::Unreachable { target: target.to_owned(), why: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_stays_a_refusal_and_all_else_is_no_answer() {
        let refused =
            rmq_client::Error::Refused { address: "a:1".into(), request: "x", code: 17, remark: "no topic".into() };
        assert_eq!(
            translate("b:1", refused),
            AdminError::Refused { target: "a:1".into(), code: 17, remark: "no topic".into() }
        );
        assert!(
            matches!(translate("b:1", rmq_client::Error::Stopped), AdminError::Unreachable { target, .. } if target == "b:1")
        );
    }

    #[test]
    fn what_is_gone_is_deleted_already() {
        let gone = |code: ResponseCode| {
            Err(rmq_client::Error::Refused {
                address: "a:1".into(),
                request: "x",
                code: code.number(),
                remark: String::new(),
            })
        };
        assert_eq!(unless(gone(ResponseCode::TopicNotExist), ResponseCode::TopicNotExist, "a:1"), Ok(()));
        assert!(unless(gone(ResponseCode::NoPermission), ResponseCode::TopicNotExist, "a:1").is_err());
    }

    #[test]
    fn lag_is_never_negative() {
        for (from, to, lag) in [(3, 10, 7), (10, 3, 0), (-1, 5, 6), (i64::MIN, i64::MAX, i64::MAX as u64)] {
            assert_eq!(distance(from, to), lag);
        }
    }

    #[tokio::test]
    async fn no_listener_is_unreachable_and_the_address_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Remote::connect(&[address]).brokers().await.unwrap_err();
        assert!(matches!(&error, AdminError::Unreachable { target, .. } if target == "namesrv"), "{error}");
        let error = Remote::connect(&["no address".to_owned()]).brokers().await.unwrap_err();
        assert!(matches!(error, AdminError::Unreachable { .. }));
    }
}
