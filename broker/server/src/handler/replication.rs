//! What slaves and tools ask of replication: 906, 907, and the tables in bulk (21, 43, 45, 201, 402).

use crate::{
    config::Live,
    consumer_offset::ConsumerOffsets,
    delay::Delay,
    error::{Answer, Rejection},
    ha::{Following, Slaves},
    subscription_group::SubscriptionGroups,
    topic::Topics,
};
use rmq_protocol::{
    Command, Reply,
    body::{DataVersion, HaRuntimeInfo, TopicConfigAndMappingTable},
    fastjson,
    header::{AllGroupConfig, AllGroupConfigResponse, AllTopicConfig, AllTopicConfigResponse, ExchangeHaInfo, Header},
};
use rmq_store::MessageStore;
use std::{collections::BTreeMap, sync::Arc};

/// Entries of one part of a table.
const PART: i32 = 2000;

/// Handles of these requests.
pub(crate) struct Tables {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<SubscriptionGroups>,
    pub(crate) offsets: Arc<ConsumerOffsets>,
    pub(crate) delay: Arc<Delay>,
    pub(crate) store: Arc<MessageStore>,
    pub(crate) settings: Arc<Live>,
    pub(crate) slaves: Arc<Slaves>,
    pub(crate) following: Arc<Following>,
}

impl Tables {
    /// 21.
    pub(crate) fn topics(&self, request: &Command) -> Answer {
        let header = AllTopicConfig::decode(&request.fields)?;
        let table = self.topics.snapshot();
        let total = table.topic_config_table.len() as i32;
        let part = Part { sequence: header.sequence, version: header.data_version, max: header.max };
        part.check(["topicSeq", "maxTopicNum"])?;
        let body = TopicConfigAndMappingTable {
            data_version: table.data_version,
            topic_config_table: part.of(table.topic_config_table, table.data_version),
            ..TopicConfigAndMappingTable::default()
        };
        let mut reply = Reply::with(&AllTopicConfigResponse { total: Some(total) });
        reply.body = fastjson::to_vec(&body).into();
        Ok(reply)
    }

    /// 201.
    pub(crate) fn groups(&self, request: &Command) -> Answer {
        let header = AllGroupConfig::decode(&request.fields)?;
        let mut table = self.groups.snapshot();
        let total = table.subscription_group_table.len() as i32;
        let part = Part { sequence: header.sequence, version: header.data_version, max: header.max };
        part.check(["groupSeq", "maxGroupNum"])?;
        table.subscription_group_table = part.of(table.subscription_group_table, table.data_version);
        let mut reply = Reply::with(&AllGroupConfigResponse { total: Some(total) });
        reply.body = fastjson::to_vec(&table).into();
        Ok(reply)
    }

    /// 43.
    pub(crate) fn consumer_offsets(&self) -> Answer {
        Ok(Reply::body(fastjson::to_vec(&self.offsets.snapshot())))
    }

    /// 45.
    pub(crate) fn delay_offsets(&self) -> Answer {
        Ok(Reply::body(fastjson::to_vec(&self.delay.snapshot())))
    }

    /// 402: all groups pull; Java's slaves want the empty table.
    pub(crate) fn request_modes(&self) -> Answer {
        Ok(Reply::body(&br#"{"messageRequestModeMap":{}}"#[..]))
    }

    /// 906.
    pub(crate) fn exchange(&self, request: &Command) -> Answer {
        let asked = ExchangeHaInfo::decode(&request.fields)?;
        let settings = self.settings.load();
        let address = crate::address::join(&settings.identity.replication_ip, settings.network.replication_port);
        let own = crate::address::join(&settings.identity.broker_ip, settings.network.listen_port);
        // With fields it is told to us, without it is asked of us.
        if asked.master_ha_address.is_some_and(|address| !address.is_empty()) {
            return Ok(Reply::ok());
        }
        Ok(Reply::with(&ExchangeHaInfo {
            master_ha_address: Some(&address),
            master_flush_offset: Some(self.store.flushed().value() as i64),
            master_address: Some(&own),
        }))
    }

    /// 907.
    pub(crate) fn status(&self) -> Answer {
        let info: HaRuntimeInfo =
            if self.settings.load().is_slave() { self.following.describe() } else { self.slaves.describe() };
        Ok(Reply::body(fastjson::to_vec(&info)))
    }
}

/// Which part of a table a newer slave asks for. One that asks for nothing gets everything, as older ones expect.
struct Part<'a> {
    sequence: Option<i32>,
    version: Option<&'a str>,
    max: Option<i32>,
}

impl Part<'_> {
    fn check(&self, [sequence, max]: [&'static str; 2]) -> Result<(), Rejection> {
        if let Some(value @ ..=-1) = self.sequence {
            return Err(Rejection::number(sequence, value.into(), "0 or more is wanted"));
        }
        if let Some(value @ ..=0) = self.max {
            return Err(Rejection::number(max, value.into(), "1 or more is wanted"));
        }
        Ok(())
    }

    fn of<T>(&self, table: BTreeMap<String, T>, version: DataVersion) -> BTreeMap<String, T> {
        let Some(sequence) = self.sequence else { return table };
        let same = self.version.filter(|text| !text.is_empty()).is_none_or(|text| {
            fastjson::from_slice::<DataVersion>(text.as_bytes()).is_ok_and(|asked| asked == version)
        });
        // The table has changed since the first part was fetched: begin again.
        let first = if same { usize::try_from(sequence).unwrap_or(0) } else { 0 };
        let most = self.max.unwrap_or(PART).clamp(1, PART) as usize;
        table.into_iter().skip(first).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_in_parts_and_from_the_start_when_it_has_changed() {
        let table = || (0..5).map(|n| (format!("t{n}"), n)).collect::<BTreeMap<_, _>>();
        let version = DataVersion { counter: 1, ..DataVersion::default() };
        let keys = |part: Part<'_>| part.of(table(), version).into_values().collect::<Vec<_>>();
        assert_eq!(keys(Part { sequence: None, version: None, max: None }), [0, 1, 2, 3, 4]);
        assert_eq!(keys(Part { sequence: Some(2), version: None, max: Some(2) }), [2, 3]);
        let same = String::from_utf8(fastjson::to_vec(&version)).unwrap();
        assert_eq!(keys(Part { sequence: Some(4), version: Some(&same), max: Some(2) }), [4]);
        assert_eq!(keys(Part { sequence: Some(4), version: Some(r#"{"counter":9}"#), max: Some(2) }), [0, 1]);
    }
}
