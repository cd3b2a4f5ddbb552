//! How many transactions of each topic are open, and the file in which a Java broker keeps that:
//! `config/transactionMetrics`.
//!
//! ```text
//! {"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1700000000000},
//!  "transactionCount":{"orders":{"count":3,"timeStamp":1700000000000}}}
//! ```
//!
//! A Java broker counts on from the file, and is wrong for ever after a kill. Here the numbers come
//! from the half messages that are open; of the file only the version is read.

use crate::{Error, metrics_page::MAX_ROWS, table};
use rmq_protocol::{body::DataVersion, fastjson};
use rmq_store::durable_file;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The number of a topic. 0 stands for those that are not read yet, and those beyond [`MAX_ROWS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicId(u32);

pub(super) const OTHERS: TopicId = TopicId(0);

struct Topic {
    name: Arc<str>,
    open: u64,
    /// When the number changed, in milliseconds since 1970.
    changed: i64,
    /// It has changed since the file was written.
    dirty: bool,
}

impl Topic {
    fn new(name: Arc<str>) -> Self {
        Self { name, open: 0, changed: 0, dirty: false }
    }
}

/// The topics that have had transactions since the start.
pub(super) struct Topics {
    topics: Vec<Topic>,
    ids: FxHashMap<Arc<str>, TopicId>,
}

impl Default for Topics {
    fn default() -> Self {
        Self { topics: vec![Topic::new("".into())], ids: FxHashMap::default() }
    }
}

impl Topics {
    /// One more transaction of the topic is open.
    pub(super) fn enter(&mut self, name: &str) -> TopicId {
        let id = self.id(name);
        self.change(id, 1);
        id
    }

    /// One less.
    pub(super) fn leave(&mut self, id: TopicId) {
        self.change(id, -1);
    }

    /// The name under which the topic is counted.
    pub(super) fn label<'a>(&self, name: &'a str) -> &'a str {
        if self.ids.contains_key(name) { name } else { "" }
    }

    /// Each topic, and the number of its open transactions.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        // Without transactions there is nothing to be read.
        let shown = |topic: &&Topic| topic.open > 0 || !topic.name.is_empty();
        self.topics.iter().filter(shown).map(|topic| (&*topic.name, topic.open))
    }

    fn id(&mut self, name: &str) -> TopicId {
        match self.ids.get(name) {
            Some(known) => *known,
            None if name.is_empty() || self.topics.len() >= MAX_ROWS => OTHERS,
            None => {
                let (name, id): (Arc<str>, _) = (name.into(), TopicId(self.topics.len() as u32));
                self.topics.push(Topic::new(Arc::clone(&name)));
                self.ids.insert(name, id);
                id
            }
        }
    }

    fn change(&mut self, id: TopicId, by: i64) {
        if let Some(topic) = self.topics.get_mut(id.0 as usize) {
            topic.open = topic.open.saturating_add_signed(by);
            topic.dirty = true;
        }
    }

    /// The rows of the file, if one of them has changed.
    pub(super) fn changed(&mut self, now: i64) -> Option<BTreeMap<String, Count>> {
        let mut any = false;
        for topic in self.topics.iter_mut().filter(|topic| topic.dirty) {
            (topic.changed, topic.dirty, any) = (now, false, true);
        }
        let named = self.topics.iter().filter(|topic| !topic.name.is_empty());
        let row = |topic: &Topic| (topic.name.to_string(), Count { count: topic.open, time_stamp: topic.changed });
        any.then(|| named.map(row).collect())
    }

    /// The file lacks the last changes.
    pub(super) fn not_written(&mut self) {
        self.topics.iter_mut().for_each(|topic| topic.dirty = true);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    data_version: DataVersion,
    transaction_count: BTreeMap<String, Count>,
}

/// The row of a topic.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Count {
    count: u64,
    time_stamp: i64,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Version {
    data_version: DataVersion,
}

/// The file.
pub(super) struct CountsFile {
    path: PathBuf,
    version: DataVersion,
}

impl CountsFile {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join("config/transactionMetrics");
        let Version { data_version } = table::load_or_default(&path, "it is written anew")?;
        Ok(Self { path, version: data_version })
    }

    /// Writes the counts that [`Topics::changed`] gave.
    pub(super) fn write(&mut self, now: i64, counts: BTreeMap<String, Count>) -> Result<(), rmq_store::Error> {
        self.version.next(now);
        let table = Table { data_version: self.version, transaction_count: counts };
        durable_file::replace(&self.path, &fastjson::to_vec(&table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_java_brokers_and_its_version_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        let path = folder.path().join("config/transactionMetrics");
        let java = r#"{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":5},"transactionCount":{"old":{"count":-3,"timeStamp":4}}}"#;
        std::fs::write(&path, java).unwrap();
        let mut topics = Topics::default();
        let mut file = CountsFile::open(folder.path()).unwrap();
        assert!(topics.changed(10).is_none(), "nothing has changed");
        let orders = topics.enter("orders");
        topics.enter("orders");
        topics.enter("");
        topics.leave(orders);
        file.write(20, topics.changed(20).unwrap()).unwrap();
        let written = r#"{"dataVersion":{"counter":8,"stateVersion":0,"timestamp":20},"transactionCount":{"orders":{"count":1,"timeStamp":20}}}"#;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
        assert!(topics.changed(30).is_none());
        topics.leave(orders);
        assert_eq!(topics.counts().collect::<Vec<_>>(), [("", 1), ("orders", 0)]);
    }

    #[test]
    fn topics_beyond_the_limit_are_counted_together() {
        let mut topics = Topics::default();
        (0..MAX_ROWS + 5).for_each(|number| {
            topics.enter(&number.to_string());
        });
        assert_eq!((topics.topics.len(), topics.topics[0].open), (MAX_ROWS, 6));
        assert_eq!((topics.label("0"), topics.label(&MAX_ROWS.to_string())), ("0", ""));
    }
}
