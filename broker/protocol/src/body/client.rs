//! What clients report about themselves: heartbeats and subscriptions, and the lists of their ids.

use super::topic_config::null_as_default;
use serde::{Deserialize, Serialize};

/// The body of a heartbeat (34).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Heartbeat {
    /// `ip@instance`.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Groups it consumes for.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash of the above, in the second form of heartbeats.
    pub heartbeat_fingerprint: i32,
    /// Groups it produces for.
    #[serde(deserialize_with = "null_as_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// The subscriptions are left out, as they have not changed since the fingerprint.
    #[serde(alias = "isWithoutSub")]
    pub without_sub: bool,
}

/// A producer group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// The group.
    pub group_name: String,
}

/// A consumer group as one client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// The offset at which a new group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// Pull, push or pop.
    pub consume_type: ConsumeType,
    /// The group.
    pub group_name: String,
    /// Clustering or broadcasting.
    pub message_model: MessageModel,
    /// What it consumes.
    #[serde(deserialize_with = "null_as_default")]
    pub subscription_data_set: Vec<Subscription>,
    /// A unit rule.
    pub unit_mode: bool,
}

/// How messages come to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ConsumeType {
    /// The application pulls.
    #[serde(rename = "CONSUME_ACTIVELY")]
    Actively,
    /// The client library pulls and calls the application.
    #[default]
    #[serde(rename = "CONSUME_PASSIVELY")]
    Passively,
    /// The broker hands out messages for a limited time.
    #[serde(rename = "CONSUME_POP")]
    Pop,
}

/// Which members of a group get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MessageModel {
    /// All members.
    Broadcasting,
    /// One member.
    #[default]
    Clustering,
}

/// The offset at which a group without a stored one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeFromWhere {
    /// At the end.
    #[default]
    ConsumeFromLastOffset,
    /// Deprecated spelling of the former.
    ConsumeFromLastOffsetAndFromMinWhenBootFirst,
    /// At the beginning.
    ConsumeFromMinOffset,
    /// Deprecated.
    ConsumeFromMaxOffset,
    /// At the beginning.
    ConsumeFromFirstOffset,
    /// At a time.
    ConsumeFromTimestamp,
}

/// The tag expression.
pub const EXPRESSION_TAG: &str = "TAG";
/// The property expression.
pub const EXPRESSION_SQL92: &str = "SQL92";

/// A topic and a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subscription {
    /// An obsolete feature.
    pub class_filter_mode: bool,
    /// Hash codes of the tags. Clients in Go write them as texts.
    #[serde(deserialize_with = "crate::fastjson::integers")]
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The expression.
    pub sub_string: String,
    /// When the client made it, in milliseconds since 1970.
    pub sub_version: i64,
    /// The tags; none for all.
    #[serde(deserialize_with = "null_as_default")]
    pub tags_set: Vec<String>,
    /// The topic.
    pub topic: String,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

impl Subscription {
    /// A tag subscription: `*` or empty for all, else tags joined by `||`.
    pub fn tags(topic: &str, expression: &str, version: i64) -> Self {
        let mut subscription = Self {
            topic: topic.to_owned(),
            sub_string: expression.to_owned(),
            sub_version: version,
            ..Self::default()
        };
        if expression.is_empty() || expression == "*" {
            subscription.sub_string = "*".to_owned();
            return subscription;
        }
        for tag in expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()) {
            subscription.tags_set.push(tag.to_owned());
            subscription.code_set.push(crate::message::java::string_hash(tag));
        }
        subscription
    }
}

/// The response to 38.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerIds {
    /// Client ids.
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_id_list: Vec<String>,
}

/// The body of 46.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientConfig {
    /// The client that sends the request.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// Client namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The subscription to check.
    pub subscription_data: Subscription,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_of_a_go_client_are_texts() {
        let subscription: Subscription =
            crate::fastjson::from_slice(br#"{"topic":"t","codeSet":["2598919",-5],"tagsSet":["TagA"]}"#).unwrap();
        assert_eq!(subscription.code_set, [2_598_919, -5]);
        assert!(crate::fastjson::from_slice::<Subscription>(br#"{"codeSet":["x"]}"#).is_err());
    }

    /// Clients in Go write an empty list as null, and their heartbeat was refused.
    #[test]
    fn null_is_an_empty_list() {
        let heartbeat: Heartbeat = crate::fastjson::from_slice(
            br#"{"clientID":"c","producerDataSet":null,"consumerDataSet":[{"groupName":"g","subscriptionDataSet":null},
                {"groupName":"h","subscriptionDataSet":[{"topic":"t","codeSet":null,"tagsSet":null}]}]}"#,
        )
        .unwrap();
        assert!(heartbeat.producer_data_set.is_empty());
        assert!(heartbeat.consumer_data_set[0].subscription_data_set.is_empty());
        let subscription = &heartbeat.consumer_data_set[1].subscription_data_set[0];
        assert!(subscription.code_set.is_empty() && subscription.tags_set.is_empty());
        let empty: Heartbeat = crate::fastjson::from_slice(br#"{"clientID":"c","consumerDataSet":null}"#).unwrap();
        assert!(empty.consumer_data_set.is_empty());
        assert_eq!(
            crate::fastjson::from_slice::<super::super::LockBatch>(br#"{"mqSet":null}"#).unwrap().mq_set,
            Vec::new()
        );
    }

    #[test]
    fn tag_expressions_are_split_and_hashed() {
        let subscription = Subscription::tags("t", "a || b||", 1);
        assert_eq!(subscription.tags_set, ["a", "b"]);
        assert_eq!(subscription.code_set, [97, 98]);
        assert!(Subscription::tags("t", "*", 1).code_set.is_empty());
    }
}
