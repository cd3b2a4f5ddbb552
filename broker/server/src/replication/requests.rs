//! Requests of slaves and tools to replication: 906 to 908, and the whole tables (21, 43, 45, 201,
//! 402).
//!
//! With thousands of topics a table has megabytes. So a whole table is encoded on a blocking
//! thread, once for each state of the table, and all answers share the bytes. Parts are encoded one
//! at a time.

use crate::{
    config::Live,
    core::Core,
    error::{Reason, Rejection},
    group::{offsets::ConsumerOffsets, subscription::SubscriptionGroups},
    replication::{Following, Slaves},
    role::CurrentRole,
    timer::delay::Delay,
    topic::Topics,
};
use bytes::Bytes;
use rmq_protocol::{
    body::{DataVersion, DelayOffsetTable, HaRuntimeInfo, TopicConfigAndMappingTable},
    fastjson,
    header::owned::{AllGroupConfig, AllTopicConfig, ExchangeHaInfo, ResetMasterFlushOffset},
};
use rmq_remoting::Shared;
use rmq_store::MessageStore;
use std::{collections::BTreeMap, io, sync::Arc};

/// Entries of one part of a table.
const PART: i32 = 2000;

/// The state that these requests use.
pub(crate) struct Tables {
    role: Arc<CurrentRole>,
    topics: Arc<Topics>,
    groups: Arc<SubscriptionGroups>,
    offsets: Arc<ConsumerOffsets>,
    delay: Arc<Delay>,
    store: Arc<MessageStore>,
    settings: Arc<Live>,
    slaves: Arc<Slaves>,
    following: Arc<Following>,
    whole: Whole,
}

/// The last whole tables that were encoded: the number of entries, and the body.
#[derive(Default)]
pub(crate) struct Whole {
    topics: Shared<(i32, Bytes)>,
    groups: Shared<(i32, Bytes)>,
    offsets: Shared<Bytes>,
}

fn not_made(error: io::Error) -> Rejection {
    Rejection::new(Reason::Failed, format!("the answer cannot be made: {error}"))
}

impl Tables {
    pub(crate) fn new(core: &Core, slaves: &Arc<Slaves>, following: &Arc<Following>) -> Self {
        Self {
            role: Arc::clone(&core.role),
            topics: Arc::clone(&core.topics),
            groups: Arc::clone(&core.groups),
            offsets: Arc::clone(&core.offsets),
            delay: Arc::clone(&core.delay),
            store: Arc::clone(&core.store),
            settings: Arc::clone(&core.settings),
            slaves: Arc::clone(slaves),
            following: Arc::clone(following),
            whole: Whole::default(),
        }
    }

    /// Request 21.
    pub(crate) async fn topics(&self, header: &AllTopicConfig) -> Result<(i32, Bytes), Rejection> {
        let topics = Arc::clone(&self.topics);
        let part = Part::new(header.sequence, header.data_version.as_deref(), header.max);
        part.iter().try_for_each(|part| part.check(["topicSeq", "maxTopicNum"]))?;
        match part {
            Some(part) => self.whole.topics.answer_for_one(move || topics_body(&topics, Some(&part))).await,
            None => {
                let make = move || (topics.generation(), topics_body(&topics, None));
                self.whole.topics.answer(self.topics.generation(), make).await
            }
        }
        .map_err(not_made)
    }

    /// Request 201.
    pub(crate) async fn groups(&self, header: &AllGroupConfig) -> Result<(i32, Bytes), Rejection> {
        let groups = Arc::clone(&self.groups);
        let part = Part::new(header.sequence, header.data_version.as_deref(), header.max);
        part.iter().try_for_each(|part| part.check(["groupSeq", "maxGroupNum"]))?;
        match part {
            Some(part) => self.whole.groups.answer_for_one(move || groups_body(&groups, Some(&part))).await,
            None => {
                let make = move || (groups.generation(), groups_body(&groups, None));
                self.whole.groups.answer(self.groups.generation(), make).await
            }
        }
        .map_err(not_made)
    }

    /// Request 43.
    pub(crate) async fn consumer_offsets(&self) -> Result<Bytes, Rejection> {
        let offsets = Arc::clone(&self.offsets);
        let make = move || (offsets.changes(), Bytes::from(fastjson::to_vec(&offsets.snapshot())));
        self.whole.offsets.answer(self.offsets.changes(), make).await.map_err(not_made)
    }

    /// Request 45.
    pub(crate) fn delay_offsets(&self) -> DelayOffsetTable {
        self.delay.snapshot()
    }

    /// Request 906: the master's addresses and its flushed offset. `None` if the caller reports its
    /// own.
    pub(crate) fn exchange(&self, asked: &ExchangeHaInfo) -> Option<ExchangeHaInfo> {
        let settings = self.settings.load();
        let address = crate::address::join(&settings.identity.replication_ip, settings.network.replication_port);
        let own = crate::address::join(&settings.identity.broker_ip, settings.network.listen_port);
        // With fields the request reports to this broker, without fields it asks this broker.
        if asked.master_ha_address.as_deref().is_some_and(|address| !address.is_empty()) {
            return None;
        }
        Some(ExchangeHaInfo {
            master_ha_address: Some(address),
            master_flush_offset: Some(self.store.flushed().value().to_wire()),
            master_address: Some(own),
        })
    }

    /// Request 908. Java's slaves hold the flushed offset of their master for an election, and its
    /// masters ignore the request.
    pub(crate) fn reset_flush_offset(&self, asked: &ResetMasterFlushOffset) -> Result<(), Rejection> {
        if !self.role.is_slave() {
            return Ok(());
        }
        let offset = asked.master_flush_offset.unwrap_or_default();
        let remark = format!(
            "this slave holds no flushed offset of its master that could be set to {offset}: it compares its log \
             with the master's before it copies"
        );
        Err(Rejection::new(Reason::Failed, remark))
    }

    /// Request 907.
    pub(crate) fn status(&self) -> HaRuntimeInfo {
        if self.role.is_slave() { self.following.describe() } else { self.slaves.describe() }
    }
}

fn topics_body(topics: &Topics, part: Option<&Part>) -> (i32, Bytes) {
    let table = topics.snapshot();
    let total = table.topic_config_table.len() as i32;
    let body = TopicConfigAndMappingTable {
        data_version: table.data_version,
        topic_config_table: Part::of(part, table.topic_config_table, table.data_version),
        ..TopicConfigAndMappingTable::default()
    };
    (total, fastjson::to_vec(&body).into())
}

fn groups_body(groups: &SubscriptionGroups, part: Option<&Part>) -> (i32, Bytes) {
    let mut table = groups.snapshot();
    let total = table.subscription_group_table.len() as i32;
    table.subscription_group_table = Part::of(part, table.subscription_group_table, table.data_version);
    (total, fastjson::to_vec(&table).into())
}

/// The part of a table that a newer slave asks for. A slave that asks for no part gets the whole
/// table, as older slaves expect.
struct Part {
    sequence: i32,
    version: Option<String>,
    max: Option<i32>,
}

impl Part {
    fn new(sequence: Option<i32>, version: Option<&str>, max: Option<i32>) -> Option<Self> {
        sequence.map(|sequence| Self { sequence, version: version.map(str::to_owned), max })
    }

    fn check(&self, [sequence, max]: [&'static str; 2]) -> Result<(), Rejection> {
        if self.sequence < 0 {
            return Err(Rejection::number(sequence, self.sequence.into(), "0 or more is wanted"));
        }
        if let Some(value @ ..=0) = self.max {
            return Err(Rejection::number(max, value.into(), "1 or more is wanted"));
        }
        Ok(())
    }

    fn of<T>(part: Option<&Self>, table: BTreeMap<String, T>, version: DataVersion) -> BTreeMap<String, T> {
        let Some(part) = part else { return table };
        let same = part.version.as_deref().filter(|text| !text.is_empty()).is_none_or(|text| {
            fastjson::from_slice::<DataVersion>(text.as_bytes()).is_ok_and(|asked| asked == version)
        });
        // The table has changed since the first part was fetched: begin again.
        let first = if same { usize::try_from(part.sequence).unwrap_or(0) } else { 0 };
        let most = part.max.unwrap_or(PART).clamp(1, PART) as usize;
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
        let keys = |sequence, asked: Option<&str>, max| {
            let part = Part::new(sequence, asked, max);
            Part::of(part.as_ref(), table(), version).into_values().collect::<Vec<_>>()
        };
        assert_eq!(keys(None, None, None), [0, 1, 2, 3, 4]);
        assert_eq!(keys(Some(2), None, Some(2)), [2, 3]);
        let same = String::from_utf8(fastjson::to_vec(&version)).unwrap();
        assert_eq!(keys(Some(4), Some(&same), Some(2)), [4]);
        assert_eq!(keys(Some(4), Some(r#"{"counter":9}"#), Some(2)), [0, 1]);
    }
}
