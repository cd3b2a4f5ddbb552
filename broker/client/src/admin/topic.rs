//! Topics: routes, settings, deletion, the ends of their queues.

use super::{Admin, cluster::any_member};
use crate::{Error, link::none_if};
use rmq_protocol::{
    RequestCode, ResponseCode,
    body::{DataVersion, GroupList, TopicConfig, TopicConfigTable, TopicList, TopicRoute, TopicStats},
    header,
    names::AUTO_CREATE_TOPIC,
};
use std::collections::{BTreeMap, BTreeSet};

impl Admin {
    /// The route of a topic; `None` if no broker serves it.
    ///
    /// # Errors
    /// No namesrv answered.
    pub async fn topic_route(&self, topic: &str) -> Result<Option<TopicRoute>, Error> {
        let request = header::RouteInfo { topic, standard_json: None };
        match none_if(
            self.link.ask_namesrv(RequestCode::RouteInfoByTopic, &request).await,
            ResponseCode::TopicNotExist,
        )? {
            Some(response) => Ok(Some(response.body()?)),
            None => Ok(None),
        }
    }

    /// The route, or [`Error::NoRoute`].
    pub(crate) async fn route_of(&self, topic: &str) -> Result<TopicRoute, Error> {
        self.topic_route(topic).await?.ok_or_else(|| Error::NoRoute { topic: topic.to_owned() })
    }

    /// The names of all registered topics, in order.
    ///
    /// # Errors
    /// No namesrv answered.
    pub async fn topic_list(&self) -> Result<Vec<String>, Error> {
        let list = self.link.ask_namesrv(RequestCode::AllTopicListFromNamesrv, &header::Empty {}).await?.body()?;
        Ok(sorted(list))
    }

    /// The names of all topics of one cluster, in order.
    ///
    /// # Errors
    /// No namesrv answered.
    pub async fn topics_of_cluster(&self, cluster: &str) -> Result<Vec<String>, Error> {
        let list =
            self.link.ask_namesrv(RequestCode::TopicsByCluster, &header::TopicsByCluster { cluster }).await?.body()?;
        Ok(sorted(list))
    }

    /// The clusters whose brokers serve a topic.
    ///
    /// # Errors
    /// No namesrv answered, or [`Error::NoRoute`].
    pub async fn clusters_of_topic(&self, topic: &str) -> Result<BTreeSet<String>, Error> {
        Ok(self.route_of(topic).await?.broker_datas.into_iter().map(|group| group.cluster).collect())
    }

    /// All topics of a broker, and the version of that table.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn topic_configs(&self, address: &str) -> Result<(BTreeMap<String, TopicConfig>, DataVersion), Error> {
        let response = self.link.ask(address, RequestCode::AllTopicConfig, &header::AllTopicConfig::default()).await?;
        let table: TopicConfigTable = response.body()?;
        Ok((table.topic_config_table, table.data_version))
    }

    /// One topic of a broker; `None` if it has no such topic.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn topic_config(&self, address: &str, topic: &str) -> Result<Option<TopicConfig>, Error> {
        let asked = self.link.ask(address, RequestCode::TopicConfig, &header::TopicRequest { topic }).await;
        match none_if(asked, ResponseCode::TopicNotExist)? {
            Some(response) => Ok(Some(response.body()?)),
            None => Ok(None),
        }
    }

    /// Creates or changes a topic on one broker. Attributes that `config` does not name stay
    /// unchanged.
    ///
    /// # Errors
    /// The broker did not answer, or refused: a system topic, a bad name or setting.
    pub async fn put_topic(&self, address: &str, config: &TopicConfig) -> Result<(), Error> {
        let attributes = attribute_changes(&config.attributes);
        let request = header::CreateTopic {
            topic: &config.topic_name,
            default_topic: AUTO_CREATE_TOPIC,
            read_queues: config.read_queue_nums,
            write_queues: config.write_queue_nums,
            perm: config.perm,
            filter_type: &config.topic_filter_type,
            sys_flag: Some(config.topic_sys_flag),
            order: Some(config.order),
            attributes: Some(&attributes),
            force: Some(false),
        };
        self.link.ask(address, RequestCode::UpdateAndCreateTopic, &request).await.map(|_| ())
    }

    /// Deletes a topic everywhere: on every master (only those of one cluster if it is given),
    /// whose slaves follow, then on every namesrv.
    ///
    /// # Errors
    /// A server did not do it; those before it did. The call can be repeated safely.
    pub async fn delete_topic(&self, topic: &str, cluster: Option<&str>) -> Result<(), Error> {
        for broker in self.masters(cluster).await? {
            self.delete_topic_in_broker(&broker.address, topic).await?;
        }
        self.delete_topic_in_namesrvs(topic, cluster).await
    }

    /// Deletes a topic on one broker, with its messages.
    ///
    /// # Errors
    /// The broker did not answer, or refused: a system topic.
    pub async fn delete_topic_in_broker(&self, address: &str, topic: &str) -> Result<(), Error> {
        self.link.ask(address, RequestCode::DeleteTopicInBroker, &header::TopicRequest { topic }).await.map(|_| ())
    }

    /// Removes a topic on every namesrv. A broker that still has it restores it with its next
    /// registration.
    ///
    /// # Errors
    /// A namesrv did not do it.
    pub async fn delete_topic_in_namesrvs(&self, topic: &str, cluster: Option<&str>) -> Result<(), Error> {
        let request = header::DeleteTopicInNamesrv { topic, cluster_name: cluster };
        self.link.ask_every_namesrv(RequestCode::DeleteTopicInNamesrv, &request).await.map(|_| ())
    }

    /// The ends of a topic's queues on one broker.
    ///
    /// # Errors
    /// The broker did not answer, or has no such topic.
    pub async fn topic_stats(&self, address: &str, topic: &str) -> Result<TopicStats, Error> {
        self.link.ask(address, RequestCode::TopicStatsInfo, &header::TopicRequest { topic }).await?.body()
    }

    /// The consumer groups that have stored offsets in a topic or consume it now, from all brokers
    /// of its route, in order.
    ///
    /// # Errors
    /// Some broker did not answer, or [`Error::NoRoute`].
    pub async fn groups_of_topic(&self, topic: &str) -> Result<BTreeSet<String>, Error> {
        let mut groups = BTreeSet::new();
        for member in self.route_of(topic).await?.broker_datas.iter().filter_map(any_member) {
            let asked =
                self.link.ask(member, RequestCode::QueryTopicConsumeByWho, &header::TopicRequest { topic }).await?;
            groups.extend(asked.body::<GroupList>()?.group_list);
        }
        Ok(groups)
    }
}

/// Java's notation for a change of attributes, each set to a value.
fn attribute_changes(attributes: &BTreeMap<String, String>) -> String {
    attributes.iter().map(|(key, value)| format!("+{key}={value}")).collect::<Vec<_>>().join(",")
}

fn sorted(list: TopicList) -> Vec<String> {
    let mut topics = list.topic_list;
    topics.sort_unstable();
    topics.dedup();
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_written_as_changes() {
        let attributes = [("message.type", "FIFO"), ("cleanup.policy", "DELETE")];
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert_eq!(attribute_changes(&attributes), "+cleanup.policy=DELETE,+message.type=FIFO");
        assert_eq!(attribute_changes(&BTreeMap::new()), "");
    }
}
