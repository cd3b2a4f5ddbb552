//! Maps from queues, which fastjson writes with objects as keys:
//! `{{"brokerName":"b","queueId":0,"topic":"t"}:1}`.

use crate::{fastjson, message::MessageQueue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};
use std::collections::BTreeMap;

/// A map from queues to values. [`crate::fastjson`] writes it with object keys; serde_json writes
/// the texts of those objects as keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMap<V>(pub BTreeMap<MessageQueue, V>);

impl<V> Default for QueueMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> FromIterator<(MessageQueue, V)> for QueueMap<V> {
    fn from_iter<T: IntoIterator<Item = (MessageQueue, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for QueueMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (queue, value) in &self.0 {
            map.serialize_entry(&String::from_utf8_lossy(&fastjson::to_vec(queue)), value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, V>::deserialize(deserializer)?;
        map.into_iter()
            .map(|(key, value)| match fastjson::from_slice(key.as_bytes()) {
                Ok(queue) => Ok((queue, value)),
                Err(error) => Err(D::Error::custom(format_args!("{key} is no queue: {error}"))),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_maps_have_object_keys_and_come_back() {
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 3 };
        let map: QueueMap<i64> = [(queue, 5)].into_iter().collect();
        let bytes = fastjson::to_vec(&map);
        assert_eq!(bytes, br#"{{"brokerName":"b","queueId":3,"topic":"t"}:5}"#);
        assert_eq!(fastjson::from_slice::<QueueMap<i64>>(&bytes).unwrap(), map);
    }
}
