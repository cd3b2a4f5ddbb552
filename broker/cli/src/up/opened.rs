//! Which broker groups were opened for writes, and which may have messages: what the operator keeps
//! in the status of a cluster.
//!
//! The file `opened` in the folder of a cluster has a line for each group that was opened. A master
//! of such a group that comes back with an empty store has lost messages, so it must know that they
//! were there: its configuration says so (`Set::history_config`). A folder that an earlier version
//! left has no such file; there a group with a commit log in any of its members counts as one that
//! may have messages.

use anyhow::Context;
use parking_lot::Mutex;
use rmq_operator::cluster::topology::{History, Properties, Set};
use rmq_store::durable_file;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Shared by a cluster and the tasks of its processes, which read it at each start of a broker. The
/// locks are not held together, nor while the file is written; only the task that decides writes.
#[derive(Debug)]
pub(super) struct Opened {
    file: PathBuf,
    /// By name.
    groups: Mutex<BTreeSet<String>>,
    /// Groups that had a commit log when this process began.
    stored: BTreeSet<String>,
    /// The groups of the present plan, by name.
    planned: Mutex<BTreeMap<String, Set>>,
}

impl Opened {
    /// Reads what earlier runs have left in a folder; `stored` are the groups with a commit log in
    /// it.
    ///
    /// # Errors
    /// The file cannot be read: to take its groups for new would not protect them.
    pub(super) fn load(folder: &Path, stored: BTreeSet<String>) -> anyhow::Result<Arc<Self>> {
        let file = folder.join("opened");
        let lines = |bytes: &[u8]| -> Result<BTreeSet<String>, rmq_store::Error> {
            let text = String::from_utf8_lossy(bytes);
            Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
        };
        let groups = durable_file::load(&file, lines)
            .with_context(|| format!("cannot read which groups were opened, from {}", file.display()))?;
        Ok(Arc::new(Self { file, groups: Mutex::new(groups.unwrap_or_default()), stored, planned: Mutex::default() }))
    }

    /// Takes the groups of a new plan: a file says how many slaves its group has now.
    pub(super) fn plan(&self, groups: &[Set]) {
        *self.planned.lock() = groups.iter().map(|set| (set.name.clone(), set.clone())).collect();
    }

    /// What the history of a group adds to the configuration of its members; nothing for other
    /// processes.
    pub(super) fn config(&self, group: &str) -> Properties {
        let set = self.planned.lock().get(group).cloned();
        set.map(|set| set.history_config(self.history(group))).unwrap_or_default()
    }

    pub(super) fn history(&self, group: &str) -> History {
        let opened = self.groups.lock().contains(group);
        History { opened, stored: opened || self.stored.contains(group) }
    }

    /// All that were opened.
    pub(super) fn groups(&self) -> BTreeSet<String> {
        self.groups.lock().clone()
    }

    /// Notes that a group was opened; true if it was not noted before.
    ///
    /// # Errors
    /// The file cannot be written; the group does not count as opened then.
    pub(super) fn insert(&self, group: &str) -> anyhow::Result<bool> {
        let mut groups = self.groups();
        if !groups.insert(group.to_owned()) {
            return Ok(false);
        }
        let text: String = groups.iter().map(|group| format!("{group}\n")).collect();
        durable_file::replace(&self.file, text.as_bytes())
            .with_context(|| format!("cannot record in {} that {group} was opened", self.file.display()))?;
        *self.groups.lock() = groups;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_outlives_the_process_and_a_commit_log_counts_as_messages() {
        let folder = tempfile::tempdir().unwrap();
        let opened = Opened::load(folder.path(), BTreeSet::from(["old".to_owned()])).unwrap();
        assert_eq!(opened.history("old"), History { opened: false, stored: true });
        assert_eq!(opened.history("new"), History::default());
        assert!(opened.insert("new").unwrap() && !opened.insert("new").unwrap());
        assert_eq!(opened.history("new"), History { opened: true, stored: true });
        let again = Opened::load(folder.path(), BTreeSet::new()).unwrap();
        assert_eq!(again.groups(), BTreeSet::from(["new".to_owned()]));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_one_without_groups() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("opened")).unwrap();
        let error = format!("{:#}", Opened::load(folder.path(), BTreeSet::new()).unwrap_err());
        assert!(error.contains("which groups were opened"), "{error}");
    }
}
