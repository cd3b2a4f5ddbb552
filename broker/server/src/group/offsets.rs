//! The offsets that each group has consumed: `config/consumerOffset.json`.
//!
//! Offsets change with every pull and are written every few seconds. A crash loses the progress of
//! the last seconds, and messages are delivered again. Java guarantees no more.

use crate::{
    Error,
    clock::now_millis,
    rows,
    table::{self, TableFile},
};
use parking_lot::{Mutex, RwLock};
use rmq_protocol::{
    body::{ConsumerOffsetTable, DataVersion},
    fastjson,
};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

/// The number of corrected offsets that one warning names.
const MAX_EXAMPLES: u64 = 10;

/// The offsets of all groups. Lock order: the map, then a row.
pub(crate) struct ConsumerOffsets {
    rows: RwLock<FxHashMap<String, Arc<Row>>>,
    version: Mutex<DataVersion>,
    /// Counts changes, so that an idle broker writes nothing.
    changes: AtomicU64,
    file: TableFile,
    /// A warning about invalid offsets of the master was logged.
    warned: AtomicBool,
}

/// [`ConsumerOffsetTable`] with rows that are not validated yet.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OffsetRows {
    data_version: DataVersion,
    offset_table: rows::InvalidRows,
}

/// The consequence of an invalid offset, for the warning.
const FROM_THE_START: &str = "messages of these queues come again from the first one";

impl OffsetRows {
    /// Returns the table and its faults. A group with an invalid offset restarts at the first
    /// message: at any other position it would skip messages.
    fn read(self) -> (ConsumerOffsetTable, Vec<String>) {
        let mut wrong = Vec::new();
        let rows = self.offset_table.into_iter().map(|(name, row)| {
            let queues = rows::numbers(&name, row, 0, &mut wrong);
            (name, queues)
        });
        let offset_table = rows.collect();
        (ConsumerOffsetTable { data_version: self.data_version, offset_table }, wrong)
    }
}

/// The offsets of one group in one topic.
#[derive(Default)]
struct Row {
    committed: Mutex<BTreeMap<i32, i64>>,
    /// The offsets from which the group's clients last pulled. They are not kept over a restart.
    pulled: Mutex<BTreeMap<i32, i64>>,
}

/// A row: the key `topic@group`, the finished offset of each queue, and the offset up to which
/// messages were handed out.
pub(crate) type Progress = (String, BTreeMap<i32, i64>, BTreeMap<i32, i64>);

fn key(topic: &str, group: &str) -> String {
    [topic, "@", group].concat()
}

/// Splits `topic@group`.
pub(crate) fn split(key: &str) -> Option<(&str, &str)> {
    key.split_once('@')
}

impl ConsumerOffsets {
    /// Reads `config/consumerOffset.json` below the store's root.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join("config/consumerOffset.json");
        let table: ConsumerOffsetTable = table::load_or_mend(&path, |rows: OffsetRows| {
            let (table, wrong) = rows.read();
            rows::warn_of_numbers(path.display(), &wrong, FROM_THE_START);
            table
        })?;
        let offsets = Self {
            rows: RwLock::default(),
            version: Mutex::new(table.data_version),
            changes: AtomicU64::new(0),
            file: TableFile::new(path),
            warned: AtomicBool::new(false),
        };
        offsets.fill(table.offset_table);
        Ok(offsets)
    }

    fn fill(&self, table: BTreeMap<String, BTreeMap<i32, i64>>) {
        let rows = table
            .into_iter()
            .map(|(key, committed)| (key, Arc::new(Row { committed: Mutex::new(committed), ..Row::default() })));
        *self.rows.write() = rows.collect();
    }

    /// Compares the committed offsets of groups with the ends of their queues and corrects those
    /// outside of their queue. `end` returns the end of a queue for topics that exist; `None`
    /// leaves an offset as it is. A crash may have truncated the log, or the file may be another
    /// node's: a group that is ahead of its queue would skip the next messages.
    ///
    /// Called at the start of a master, before requests are accepted. A slave's offsets are its
    /// master's, and its log may still be incomplete.
    pub(crate) fn correct(&self, end: impl Fn(&str, i32) -> Option<u64>) {
        let (mut corrected, mut examples) = (0_u64, Vec::new());
        for (key, row) in self.rows.read().iter() {
            let Some((topic, _)) = split(key) else { continue };
            for (queue_id, offset) in row.committed.lock().iter_mut() {
                let Some(end) = end(topic, *queue_id).and_then(|end| i64::try_from(end).ok()) else { continue };
                if (0..=end).contains(offset) {
                    continue;
                }
                let right = (*offset).clamp(0, end);
                if corrected < MAX_EXAMPLES {
                    examples.push(format!("{key} queue {queue_id} from {offset} to {right}"));
                }
                corrected += 1;
                *offset = right;
            }
        }
        if corrected > 0 {
            self.changes.fetch_add(1, Relaxed);
            tracing::warn!(
                corrected,
                examples = examples.join("; "),
                "offsets of consumer groups were not within their queues and are set to the nearest end"
            );
        }
    }

    fn row(&self, topic: &str, group: &str) -> Option<Arc<Row>> {
        self.rows.read().get(&key(topic, group)).map(Arc::clone)
    }

    fn row_or_new(&self, topic: &str, group: &str) -> Arc<Row> {
        self.row(topic, group).unwrap_or_else(|| Arc::clone(self.rows.write().entry(key(topic, group)).or_default()))
    }

    /// The committed offset of the group, if it has one.
    pub(crate) fn committed(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        self.row(topic, group)?.committed.lock().get(&queue_id).copied()
    }

    /// The offset of the group's last pull since the start, if there was one.
    pub(crate) fn pulled(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        self.row(topic, group)?.pulled.lock().get(&queue_id).copied()
    }

    /// Stores a committed offset.
    pub(crate) fn commit(&self, topic: &str, group: &str, queue_id: i32, offset: i64) {
        self.row_or_new(topic, group).committed.lock().insert(queue_id, offset);
        self.changes.fetch_add(1, Relaxed);
    }

    /// Notes the offset of a pull.
    pub(crate) fn note_pull(&self, topic: &str, group: &str, queue_id: i32, offset: i64) {
        self.row_or_new(topic, group).pulled.lock().insert(queue_id, offset);
    }

    /// The topics in which the group has offsets.
    pub(crate) fn topics_of(&self, group: &str) -> BTreeSet<String> {
        self.select(|topic, g| (g == group).then(|| topic.to_owned()))
    }

    /// The groups that have offsets in the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        self.select(|t, group| (t == topic).then(|| group.to_owned()))
    }

    /// A row that has only pulls is not of a group that consumes: tools read messages like that.
    fn select(&self, pick: impl Fn(&str, &str) -> Option<String>) -> BTreeSet<String> {
        let rows = self.rows.read();
        let picked = rows.iter().filter_map(|(key, row)| {
            let (topic, group) = split(key)?;
            pick(topic, group).filter(|_| !row.committed.lock().is_empty())
        });
        picked.collect()
    }

    /// All offsets of a group in a topic.
    pub(crate) fn queues(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        self.row(topic, group).map(|row| row.committed.lock().clone()).unwrap_or_default()
    }

    /// Copies a group's offsets in a topic to another group.
    pub(crate) fn copy(&self, topic: &str, from: &str, to: &str) {
        let offsets = self.queues(topic, from);
        if !offsets.is_empty() {
            *self.row_or_new(topic, to).committed.lock() = offsets;
            self.changes.fetch_add(1, Relaxed);
        }
    }

    /// Removes the rows for which `keep` (topic, group) returns false.
    pub(crate) fn retain(&self, keep: impl Fn(&str, &str) -> bool) {
        self.rows.write().retain(|key, _| split(key).is_none_or(|(topic, group)| keep(topic, group)));
        self.changes.fetch_add(1, Relaxed);
    }

    /// The first `limit` rows by key.
    pub(crate) fn progress(&self, limit: usize) -> Vec<Progress> {
        let mut rows: Vec<_> = self.rows.read().iter().map(|(key, row)| (key.clone(), Arc::clone(row))).collect();
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows.truncate(limit);
        let copy = |(key, row): (String, Arc<Row>)| {
            let committed = row.committed.lock().clone();
            (key, committed, row.pulled.lock().clone())
        };
        rows.into_iter().map(copy).collect()
    }

    /// The number of changes in this process so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    pub(crate) fn snapshot(&self) -> ConsumerOffsetTable {
        let rows: Vec<_> = self.rows.read().iter().map(|(key, row)| (key.clone(), Arc::clone(row))).collect();
        ConsumerOffsetTable {
            data_version: *self.version.lock(),
            offset_table: rows.into_iter().map(|(key, row)| (key, row.committed.lock().clone())).collect(),
        }
    }

    /// Replaces the table with the master's.
    pub(crate) fn replace(&self, rows: OffsetRows) {
        let (table, wrong) = rows.read();
        if !wrong.is_empty() && !self.warned.swap(true, Relaxed) {
            rows::warn_of_numbers("the master's table of offsets", &wrong, FROM_THE_START);
        }
        *self.version.lock() = table.data_version;
        self.fill(table.offset_table);
        self.changes.fetch_add(1, Relaxed);
    }

    /// Returns when every change made before is on disk. Blocks.
    pub(crate) fn persist(&self) -> Result<(), rmq_store::Error> {
        let changes = self.changes.load(Relaxed);
        self.file.cover(changes, || {
            let covered = self.changes.load(Relaxed);
            self.version.lock().next(now_millis());
            (covered, fastjson::to_vec_pretty(&self.snapshot()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_only_reads_is_no_group_of_the_topic() {
        let root = tempfile::tempdir().unwrap();
        let offsets = ConsumerOffsets::open(root.path()).unwrap();
        offsets.note_pull("topic", "tool", 0, 5);
        offsets.commit("topic", "group", 0, 5);
        assert_eq!(offsets.groups_of("topic").into_iter().collect::<Vec<_>>(), ["group"]);
        assert!(offsets.topics_of("tool").is_empty());
        offsets.commit("topic", "tool", 1, 0);
        assert_eq!(offsets.topics_of("tool").len(), 1);
    }

    #[test]
    fn offsets_survive_a_restart_and_an_idle_broker_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config/consumerOffset.json");
        let offsets = ConsumerOffsets::open(folder.path()).unwrap();
        offsets.persist().unwrap();
        assert!(!file.exists());
        offsets.commit("t", "g", 1, 5);
        offsets.commit("t", "g", 1, 4);
        offsets.copy("t", "g", "h");
        offsets.persist().unwrap();
        let again = ConsumerOffsets::open(folder.path()).unwrap();
        assert_eq!(again.committed("t", "g", 1), Some(4));
        assert_eq!(again.committed("t", "g", 2), None);
        assert_eq!(again.groups_of("t"), BTreeSet::from(["g".to_owned(), "h".to_owned()]));
        again.retain(|_, group| group != "g");
        assert_eq!(again.committed("t", "g", 1), None);
    }

    /// Such a file, or such a row of a master, kept a broker from starting or following.
    #[test]
    fn an_offset_that_is_no_number_costs_its_queue_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config/consumerOffset.json");
        std::fs::create_dir_all(folder.path().join("config")).unwrap();
        let text = r#"{"offsetTable":{"t@g":{0:5,1:99999999999999999999,"x":1},"t@h":7,"t@i":{0:8}}}"#;
        std::fs::write(&file, text).unwrap();
        let offsets = ConsumerOffsets::open(folder.path()).unwrap();
        assert_eq!(offsets.queues("t", "g"), BTreeMap::from([(0, 5), (1, 0)]));
        assert_eq!(offsets.queues("t", "h"), BTreeMap::new());
        assert_eq!(offsets.queues("t", "i"), BTreeMap::from([(0, 8)]));
        assert_eq!(std::fs::read_to_string(file.with_extension("json.bad")).unwrap(), text);
        let slave = tempfile::tempdir().unwrap();
        let slave = ConsumerOffsets::open(slave.path()).unwrap();
        slave.replace(fastjson::from_slice(text.as_bytes()).unwrap());
        assert_eq!(slave.committed("t", "i", 0), Some(8));
        // An intact backup is better than a damaged file.
        std::fs::write(file.with_extension("json.bak"), r#"{"offsetTable":{"t@g":{0:4,1:6}}}"#).unwrap();
        assert_eq!(ConsumerOffsets::open(folder.path()).unwrap().committed("t", "g", 1), Some(6));
    }

    #[test]
    fn an_offset_outside_of_its_queue_is_set_to_the_nearest_end() {
        let folder = tempfile::tempdir().unwrap();
        let offsets = ConsumerOffsets::open(folder.path()).unwrap();
        for (queue_id, offset) in [(0, 5), (1, 6), (2, -1)] {
            offsets.commit("t", "g", queue_id, offset);
            offsets.commit("gone", "g", queue_id, offset);
        }
        offsets.correct(|topic, _| (topic == "t").then_some(5));
        assert_eq!(offsets.queues("t", "g"), BTreeMap::from([(0, 5), (1, 5), (2, 0)]));
        assert_eq!(offsets.queues("gone", "g"), BTreeMap::from([(0, 5), (1, 6), (2, -1)]));
    }
}
