//! A broker's settings, metrics and maintenance.

use super::Admin;
use crate::Error;
use rmq_protocol::{
    RequestCode,
    body::{BrokerStats, HaRuntimeInfo, KvTable},
    header, java_properties,
};
use std::collections::BTreeMap;

impl Admin {
    /// The current settings, by Java's key names.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn broker_config(&self, address: &str) -> Result<BTreeMap<String, String>, Error> {
        let response = self.link.ask(address, RequestCode::BrokerConfig, &header::Empty {}).await?;
        Ok(java_properties::parse(response.text()?).into_iter().collect())
    }

    /// Changes settings of a running broker.
    ///
    /// # Errors
    /// The broker did not answer, or refused a key.
    pub async fn update_broker_config(&self, address: &str, settings: &BTreeMap<String, String>) -> Result<(), Error> {
        let text = java_properties::to_text(settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        self.link.ask_with(address, RequestCode::UpdateBrokerConfig, &header::Empty {}, text).await.map(|_| ())
    }

    /// A broker's runtime information: rates, disk, offsets, by Java's names.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn runtime_info(&self, address: &str) -> Result<BTreeMap<String, String>, Error> {
        let table: KvTable = self.link.ask(address, RequestCode::BrokerRuntimeInfo, &header::Empty {}).await?.body()?;
        Ok(table.table)
    }

    /// The state of replication, from a master or a slave.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn ha_status(&self, address: &str) -> Result<HaRuntimeInfo, Error> {
        self.link.ask(address, RequestCode::BrokerHaStatus, &header::Empty {}).await?.body()
    }

    /// Makes a master that accepts no writes, because its log is empty or shorter than a slave's,
    /// copy the log and the tables of another member: the one that answers requests at `from`, or
    /// the slave with the longest log.
    ///
    /// # Errors
    /// The broker did not answer, or does not wait for a decision.
    pub async fn recover_master_from(&self, address: &str, from: Option<&str>) -> Result<(), Error> {
        let header = header::RecoverMaster { action: header::RecoverMaster::COPY, from };
        self.link.ask(address, RequestCode::RecoverMaster, &header).await.map(|_| ())
    }

    /// Makes such a master accept writes with the log it has. Messages that only slaves have are
    /// lost then.
    ///
    /// # Errors
    /// The broker did not answer, or does not wait for a decision.
    pub async fn accept_loss(&self, address: &str) -> Result<(), Error> {
        let header = header::RecoverMaster { action: header::RecoverMaster::ACCEPT_LOSS, from: None };
        self.link.ask(address, RequestCode::RecoverMaster, &header).await.map(|_| ())
    }

    /// One of a broker's counters, such as `TOPIC_PUT_NUMS` of a topic.
    ///
    /// # Errors
    /// The broker did not answer, or has no such counter.
    pub async fn broker_stats(&self, address: &str, name: &str, key: &str) -> Result<BrokerStats, Error> {
        self.link.ask(address, RequestCode::ViewBrokerStatsData, &header::ViewBrokerStats { name, key }).await?.body()
    }

    /// Deletes queue files that only refer to deleted messages.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn clean_expired_consume_queues(&self, address: &str) -> Result<(), Error> {
        self.link.ask(address, RequestCode::CleanExpiredConsumeQueue, &header::Empty {}).await.map(|_| ())
    }

    /// Deletes the queues of topics that no longer exist.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn clean_unused_topics(&self, address: &str) -> Result<(), Error> {
        self.link.ask(address, RequestCode::CleanUnusedTopic, &header::Empty {}).await.map(|_| ())
    }

    /// Runs retention now.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn delete_expired_commit_log(&self, address: &str) -> Result<(), Error> {
        self.link.ask(address, RequestCode::DeleteExpiredCommitLog, &header::Empty {}).await.map(|_| ())
    }
}
