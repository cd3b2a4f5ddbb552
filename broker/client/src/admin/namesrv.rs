//! Requests that only namesrvs serve: values by name, write permission of broker groups, their own
//! settings.

use super::Admin;
use crate::{Error, link::none_if};
use rmq_protocol::{RequestCode, ResponseCode, body::KvTable, header, java_properties};
use std::collections::BTreeMap;

impl Admin {
    /// Requests the cluster info from one namesrv and discards it: the response shows that it
    /// serves.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn probe_namesrv(&self, address: &str) -> Result<(), Error> {
        self.link.ask(address, RequestCode::BrokerClusterInfo, &header::Empty {}).await.map(|_| ())
    }

    /// Removes the write permission of a broker group from all routes, on every namesrv. Returns
    /// how many topics were changed on the namesrv with the most.
    ///
    /// # Errors
    /// A namesrv did not do it.
    pub async fn wipe_write_permission(&self, broker_name: &str) -> Result<i32, Error> {
        let request = header::BrokerNameRequest { broker_name };
        let mut most = 0;
        for response in self.link.ask_every_namesrv(RequestCode::WipeWritePermOfBroker, &request).await? {
            most = most.max(response.header::<header::WipeWritePermResponse>()?.topics);
        }
        Ok(most)
    }

    /// Restores it.
    ///
    /// # Errors
    /// A namesrv did not do it.
    pub async fn add_write_permission(&self, broker_name: &str) -> Result<i32, Error> {
        let request = header::BrokerNameRequest { broker_name };
        let mut most = 0;
        for response in self.link.ask_every_namesrv(RequestCode::AddWritePermOfBroker, &request).await? {
            most = most.max(response.header::<header::AddWritePermResponse>()?.topics);
        }
        Ok(most)
    }

    /// The value of `key` in a namespace.
    ///
    /// # Errors
    /// No namesrv answered.
    pub async fn kv(&self, namespace: &str, key: &str) -> Result<Option<String>, Error> {
        let asked = self.link.ask_namesrv(RequestCode::KvConfig, &header::KvConfigKey { namespace, key }).await;
        match none_if(asked, ResponseCode::QueryNotFound)? {
            Some(response) => Ok(response.header::<header::KvConfigResponse>()?.value.map(str::to_owned)),
            None => Ok(None),
        }
    }

    /// All values of a namespace.
    ///
    /// # Errors
    /// No namesrv answered.
    pub async fn kv_list(&self, namespace: &str) -> Result<BTreeMap<String, String>, Error> {
        let asked = self.link.ask_namesrv(RequestCode::KvListByNamespace, &header::KvNamespace { namespace }).await;
        match none_if(asked, ResponseCode::QueryNotFound)? {
            Some(response) => Ok(response.body::<KvTable>()?.table),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Sets a value on every namesrv.
    ///
    /// # Errors
    /// A namesrv did not do it.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), Error> {
        let request = header::PutKvConfig { namespace, key, value };
        self.link.ask_every_namesrv(RequestCode::PutKvConfig, &request).await.map(|_| ())
    }

    /// Removes a value on every namesrv.
    ///
    /// # Errors
    /// A namesrv did not do it.
    pub async fn delete_kv(&self, namespace: &str, key: &str) -> Result<(), Error> {
        let request = header::KvConfigKey { namespace, key };
        self.link.ask_every_namesrv(RequestCode::DeleteKvConfig, &request).await.map(|_| ())
    }

    /// The settings of one namesrv, by Java's key names.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn namesrv_config(&self, address: &str) -> Result<BTreeMap<String, String>, Error> {
        let response = self.link.ask(address, RequestCode::NamesrvConfig, &header::Empty {}).await?;
        Ok(java_properties::parse(response.text()?).into_iter().collect())
    }

    /// Changes settings of one namesrv.
    ///
    /// # Errors
    /// It did not answer, or refused a key.
    pub async fn update_namesrv_config(&self, address: &str, settings: &BTreeMap<String, String>) -> Result<(), Error> {
        let text = java_properties::to_text(settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        self.link.ask_with(address, RequestCode::UpdateNamesrvConfig, &header::Empty {}, text).await.map(|_| ())
    }
}
