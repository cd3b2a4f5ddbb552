//! Consumer groups: settings, clients, offsets.

use super::Admin;
use crate::{Error, consumer::RunningInfo, link::none_if};
use rmq_protocol::{
    RequestCode, ResponseCode,
    body::{
        BrokerConsumeStatsBody, ConsumeStatsBody, ConsumeTimeSpans, ConsumerConnection, ConsumerIds, DataVersion,
        ProducerConnection, ProducerTable, QueueTimeSpan, SubscriptionGroup, SubscriptionGroupTable,
    },
    fastjson, header,
};
use std::collections::BTreeMap;

impl Admin {
    /// All consumer groups of a broker, and the version of that table.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn consumer_groups(
        &self,
        address: &str,
    ) -> Result<(BTreeMap<String, SubscriptionGroup>, DataVersion), Error> {
        let request = header::AllGroupConfig::default();
        let table: SubscriptionGroupTable =
            self.link.ask(address, RequestCode::AllSubscriptionGroupConfig, &request).await?.body()?;
        Ok((table.subscription_group_table, table.data_version))
    }

    /// One group of a broker; `None` if it has no such group. A broker with automatic creation of
    /// groups creates it on this request, as Java's does.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn consumer_group(&self, address: &str, group: &str) -> Result<Option<SubscriptionGroup>, Error> {
        let asked = self.link.ask(address, RequestCode::SubscriptionGroupConfig, &header::GroupRequest { group }).await;
        match none_if(asked, ResponseCode::SubscriptionGroupNotExist)? {
            Some(response) => Ok(Some(response.body()?)),
            None => Ok(None),
        }
    }

    /// Creates or changes a group on one broker.
    ///
    /// # Errors
    /// The broker did not answer, or refused a setting.
    pub async fn put_consumer_group(&self, address: &str, group: &SubscriptionGroup) -> Result<(), Error> {
        // Java reads attributes as changes, and ignores names without a sign.
        let mut changes = group.clone();
        changes.attributes = group.attributes.iter().map(|(key, value)| (format!("+{key}"), value.clone())).collect();
        let body = fastjson::to_vec(&changes);
        self.link
            .ask_with(address, RequestCode::UpdateAndCreateSubscriptionGroup, &header::Empty {}, body)
            .await
            .map(|_| ())
    }

    /// Deletes a group on one broker, and its offsets if requested.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn delete_consumer_group(&self, address: &str, group: &str, clean_offset: bool) -> Result<(), Error> {
        let request = header::DeleteGroup { group, clean_offset: Some(clean_offset) };
        self.link.ask(address, RequestCode::DeleteSubscriptionGroup, &request).await.map(|_| ())
    }

    /// The connected consumers of a group at one broker; `None` if there are none.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn consumer_connections(
        &self,
        address: &str,
        consumer_group: &str,
    ) -> Result<Option<ConsumerConnection>, Error> {
        let request = header::ConsumerGroupRequest { consumer_group };
        let asked = self.link.ask(address, RequestCode::ConsumerConnectionList, &request).await;
        match none_if(asked, ResponseCode::ConsumerNotOnline)? {
            Some(response) => Ok(Some(response.body()?)),
            None => Ok(None),
        }
    }

    /// The connected producers of a group at one broker. Java's broker answers with a system error
    /// if there are none.
    ///
    /// # Errors
    /// The broker did not answer, or has no such producers.
    pub async fn producer_connections(&self, address: &str, producer_group: &str) -> Result<ProducerConnection, Error> {
        let request = header::ProducerGroupRequest { producer_group };
        self.link.ask(address, RequestCode::ProducerConnectionList, &request).await?.body()
    }

    /// All connected producers of a broker.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn producers(&self, address: &str) -> Result<ProducerTable, Error> {
        self.link.ask(address, RequestCode::AllProducerInfo, &header::Empty {}).await?.body()
    }

    /// The ids of the connected consumers of a group at one broker.
    ///
    /// # Errors
    /// The broker did not answer, or has no such consumers.
    pub async fn consumer_ids(&self, address: &str, consumer_group: &str) -> Result<Vec<String>, Error> {
        let request = header::ConsumerGroupRequest { consumer_group };
        let ids: ConsumerIds = self.link.ask(address, RequestCode::ConsumerListByGroup, &request).await?.body()?;
        Ok(ids.consumer_id_list)
    }

    /// A group's offsets at one broker, in one topic or in all it has consumed.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn consume_stats(
        &self,
        address: &str,
        consumer_group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStatsBody, Error> {
        let request = header::ConsumeStats { consumer_group, topic, topics: None };
        self.link.ask(address, RequestCode::ConsumeStats, &request).await?.body()
    }

    /// The offsets of all groups of a broker.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn broker_consume_stats(&self, address: &str) -> Result<BrokerConsumeStatsBody, Error> {
        let request = header::BrokerConsumeStats { order: Some(false) };
        self.link.ask(address, RequestCode::BrokerConsumeStats, &request).await?.body()
    }

    /// The age of a group's unconsumed messages, by queue of one broker.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn consume_time_spans(
        &self,
        address: &str,
        topic: &str,
        group: &str,
    ) -> Result<Vec<QueueTimeSpan>, Error> {
        let request = header::QueryConsumeTimeSpan { topic, group };
        let spans: ConsumeTimeSpans =
            self.link.ask(address, RequestCode::QueryConsumeTimeSpan, &request).await?.body()?;
        Ok(spans.consume_time_span_set)
    }

    /// A connected consumer's runtime information, requested through one broker.
    ///
    /// # Errors
    /// The broker did not answer, the consumer is not connected to it or did not answer in time.
    pub async fn consumer_running_info(
        &self,
        address: &str,
        consumer_group: &str,
        client_id: &str,
    ) -> Result<RunningInfo, Error> {
        let request = header::ConsumerRunningInfo { consumer_group, client_id, stack_trace: Some(false) };
        self.link.ask(address, RequestCode::ConsumerRunningInfo, &request).await?.body()
    }
}
