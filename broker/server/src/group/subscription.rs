//! The broker's consumer groups: `config/subscriptionGroup.json`.

use crate::{
    Error,
    feature::Feature,
    metrics_page::{MetricsPage, Written},
    rows::{self, InvalidRows, Row},
    table::{self, Table},
    topic::MAX_QUEUES,
};
use rmq_protocol::{
    body::{DataVersion, SubscriptionGroup, SubscriptionGroupTable},
    names,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// The limit of groups on this broker, created automatically or by request. One peer must not
/// exhaust the memory of the broker.
pub(crate) const MAX_GROUPS: usize = 100_000;

/// The consumer groups of this broker.
pub(crate) struct SubscriptionGroups {
    table: Table<SubscriptionGroup>,
    /// Read from the file and written back unchanged.
    forbidden: InvalidRows,
}

/// [`SubscriptionGroupTable`] with rows that are not validated yet: the file, or the response of a
/// master.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GroupRows {
    pub(crate) data_version: DataVersion,
    forbidden_table: Option<InvalidRows>,
    subscription_group_table: InvalidRows,
}

/// The file as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupFile<'a> {
    data_version: DataVersion,
    forbidden_table: &'a InvalidRows,
    subscription_group_table: BTreeMap<String, Row<SubscriptionGroup>>,
}

/// Whether a row of a table can be used. Other brokers and earlier versions allowed longer names.
fn check_row(name: &str, group: &mut SubscriptionGroup) -> Result<(), String> {
    if group.group_name.is_empty() {
        name.clone_into(&mut group.group_name);
    }
    if group.group_name != name {
        return Err(format!("its groupName is {:?}", group.group_name));
    }
    names::check_stored(name).map_err(|error| error.to_string())?;
    check_queues(group)
}

/// Refuses a number of retry queues that no topic may have, from any source. So the groups in the
/// table need no further check.
pub(crate) fn check_queues(group: &SubscriptionGroup) -> Result<(), String> {
    let queues = group.retry_queue_nums;
    if (0..=MAX_QUEUES).contains(&queues) {
        return Ok(());
    }
    Err(format!("the group {} cannot have retryQueueNums={queues}: 0 to {MAX_QUEUES}", group.group_name))
}

impl SubscriptionGroups {
    /// Reads `config/subscriptionGroup.json` below the store's root and adds the system's groups.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join("config/subscriptionGroup.json");
        let GroupRows { data_version, forbidden_table, subscription_group_table } = table::load(&path)?;
        let (mut groups, invalid) = rows::judge(path.display(), subscription_group_table, check_row);
        for name in names::SYSTEM_GROUPS {
            groups.entry(name.to_owned()).or_insert_with(|| SubscriptionGroup::new(name));
        }
        let forbidden = forbidden_table.unwrap_or_default();
        Ok(Self { table: Table::new(path, data_version, groups, invalid), forbidden })
    }

    /// Returns the group. A missing group is created with the defaults if `auto_create` allows it.
    /// The flag is true if the group is new.
    pub(crate) fn find_or_create(&self, group: &str, auto_create: bool) -> Option<(Arc<SubscriptionGroup>, bool)> {
        match self.table.find(group) {
            Some(found) => Some((found, false)),
            None if auto_create || names::is_system_group(group) => {
                names::check_group(group).ok()?;
                // A new group would replace the row that could not be used.
                if self.table.is_unread(group) {
                    return None;
                }
                if self.table.len() >= MAX_GROUPS {
                    self.table.refused(group, MAX_GROUPS);
                    return None;
                }
                Some(self.table.find_or_put(group, || SubscriptionGroup::new(group)))
            }
            None => None,
        }
    }

    pub(crate) fn find(&self, group: &str) -> Option<Arc<SubscriptionGroup>> {
        self.table.find(group)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.table.version()
    }

    /// The number of changes in this process so far.
    pub(crate) fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// See [`Table::begin_write`].
    pub(crate) fn begin_write(&self) -> bool {
        self.table.begin_write()
    }

    /// See [`Table::begin_write`].
    pub(crate) fn write(&self) -> Result<(), rmq_store::Error> {
        self.table.end_waiting();
        self.persist()
    }

    /// Creates or changes a group.
    pub(crate) fn put(&self, group: SubscriptionGroup) {
        let name = group.group_name.clone();
        self.table.put(&name, group);
    }

    /// Deletes a group. Returns false if it did not exist.
    pub(crate) fn remove(&self, group: &str) -> bool {
        self.table.remove(group)
    }

    pub(crate) fn snapshot(&self) -> SubscriptionGroupTable {
        let (data_version, subscription_group_table) = self.table.snapshot();
        SubscriptionGroupTable { data_version, forbidden_table: self.forbidden(), subscription_group_table }
    }

    /// The part of the table that the broker does not interpret, for other members.
    fn forbidden(&self) -> BTreeMap<String, BTreeMap<String, i32>> {
        let rows = self.forbidden.iter();
        rows.filter_map(|(group, row)| Some((group.clone(), serde_json::from_value(row.clone()).ok()?))).collect()
    }

    /// Replaces the table with the master's, except rows that cannot be used.
    pub(crate) fn replace(&self, table: GroupRows) {
        let (groups, invalid) =
            rows::judge("the master's table of consumer groups", table.subscription_group_table, check_row);
        self.table.replace(table.data_version, groups, invalid);
    }

    /// See [`Table::persist`].
    pub(crate) fn persist(&self) -> Result<(), rmq_store::Error> {
        self.table.persist(|data_version, subscription_group_table| GroupFile {
            data_version,
            forbidden_table: &self.forbidden,
            subscription_group_table,
        })
    }
}

impl Feature for SubscriptionGroups {
    fn metrics(&self, to: &MetricsPage) -> Written {
        to.count("rocketmq_consumer_group_number", "Consumer groups of this broker.", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_used_prevents_no_start_and_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config/subscriptionGroup.json");
        std::fs::create_dir_all(folder.path().join("config")).unwrap();
        let bad = [
            ("less", r#"{"groupName":"less","retryQueueNums":-1}"#),
            ("many", r#"{"consumeEnable":false,"groupName":"many","retryQueueNums":65537}"#),
            ("huge", r#"{"groupName":"huge","retryMaxTimes":99999999999}"#),
            ("a/b", r#"{"groupName":"a/b"}"#),
        ];
        let row = |(name, row): &(&str, &str)| format!("{name:?}:{row}");
        let rows: Vec<_> = bad.iter().chain(&[("good", r#"{"retryQueueNums":3}"#)]).map(row).collect();
        std::fs::write(&file, format!(r#"{{"subscriptionGroupTable":{{{}}}}}"#, rows.join(","))).unwrap();
        let groups = SubscriptionGroups::open(folder.path()).unwrap();
        let valid = SubscriptionGroup { retry_queue_nums: 3, ..SubscriptionGroup::new("good") };
        assert_eq!(groups.find("good"), Some(Arc::new(valid)));
        assert!(bad.iter().all(|(name, _)| groups.find(name).is_none()));
        assert!(groups.find_or_create("many", true).is_none(), "its row says that nobody may consume");
        assert!(groups.find_or_create("new", true).is_some());
        groups.persist().unwrap();
        let written: GroupRows = table::load(&file).unwrap();
        for (name, row) in &bad {
            let kept = written.subscription_group_table.get(*name).cloned();
            assert_eq!(kept, Some(serde_json::from_str(row).unwrap()), "{name}");
        }
        let slave = tempfile::tempdir().unwrap();
        let slave = SubscriptionGroups::open(slave.path()).unwrap();
        slave.replace(written);
        assert!(slave.find("good").is_some() && slave.find("new").is_some() && slave.find("less").is_none());
    }
}
