//! The broker's consumer groups: `config/subscriptionGroup.json`.

use crate::{
    Error,
    table::{self, Table},
    topic::MAX_QUEUES,
};
use rmq_protocol::{
    body::{DataVersion, SubscriptionGroup, SubscriptionGroupTable},
    names,
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Groups that this broker makes or is told to make, at most. What one peer makes must not take the memory of all.
pub(crate) const MAX_GROUPS: usize = 100_000;

/// The consumer groups of this broker.
pub(crate) struct SubscriptionGroups {
    table: Table<SubscriptionGroup>,
    /// Read from the file and written back; nothing here looks at it.
    forbidden: BTreeMap<String, BTreeMap<String, i32>>,
}

/// Refuses a number of retry queues that no topic may have.
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
        let SubscriptionGroupTable { data_version, forbidden_table, subscription_group_table: mut groups } =
            table::load(&path)?;
        if let Some(reason) = groups.values().find_map(|group| check_queues(group).err()) {
            return Err(Error::Table { path, reason });
        }
        for name in names::SYSTEM_GROUPS {
            groups.entry(name.to_owned()).or_insert_with(|| SubscriptionGroup::new(name));
        }
        Ok(Self { table: Table::new(path, data_version, groups), forbidden: forbidden_table })
    }

    /// The group; made with the defaults if it is not there and `auto_create` allows it. The flag says whether it is new.
    pub(crate) fn find_or_create(&self, group: &str, auto_create: bool) -> Option<(Arc<SubscriptionGroup>, bool)> {
        match self.table.find(group) {
            Some(found) => Some((found, false)),
            None if auto_create || names::is_system_group(group) => {
                names::check_group(group).ok()?;
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

    /// Changes of this process so far.
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

    /// Deletes a group; false if it was not there.
    pub(crate) fn remove(&self, group: &str) -> bool {
        self.table.remove(group)
    }

    pub(crate) fn snapshot(&self) -> SubscriptionGroupTable {
        let (data_version, subscription_group_table) = self.table.snapshot();
        SubscriptionGroupTable { data_version, forbidden_table: self.forbidden.clone(), subscription_group_table }
    }

    /// Takes over the master's table.
    pub(crate) fn replace(&self, table: SubscriptionGroupTable) {
        self.table.replace(table.data_version, table.subscription_group_table);
    }

    /// See [`Table::persist`].
    pub(crate) fn persist(&self) -> Result<(), rmq_store::Error> {
        self.table.persist(|data_version, subscription_group_table| SubscriptionGroupTable {
            data_version,
            forbidden_table: self.forbidden.clone(),
            subscription_group_table,
        })
    }
}
