//! A broker's table, its entries shared with other tables that have the same: most brokers of a
//! cluster hold most topics and groups with equal settings, and a table differs from the one before
//! it in few entries. So what an operator keeps grows with objects and not with objects times
//! brokers.

use std::{collections::BTreeMap, sync::Arc};

/// Settings by name.
#[derive(Clone, Debug)]
pub struct Table<C>(Vec<Arc<(String, C)>>);

impl<C> Default for Table<C> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<C: PartialEq> Table<C> {
    /// What a broker returned, with the entries of `others` where they are equal.
    pub fn sharing<'a>(entries: BTreeMap<String, C>, others: impl Iterator<Item = &'a Self> + Clone) -> Self
    where
        C: 'a,
    {
        let shared = |entry: (String, C)| {
            let equal =
                others.clone().filter_map(|other| other.entry(&entry.0)).find(|other| other.1 == entry.1).cloned();
            equal.unwrap_or_else(|| Arc::new(entry))
        };
        Self(entries.into_iter().map(shared).collect())
    }

    /// The settings of one.
    pub fn get(&self, name: &str) -> Option<&C> {
        self.entry(name).map(|entry| &entry.1)
    }

    fn entry(&self, name: &str) -> Option<&Arc<(String, C)>> {
        let index = self.0.binary_search_by(|entry| entry.0.as_str().cmp(name)).ok()?;
        self.0.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_entries_are_held_once_and_others_apart() {
        let table =
            |entries: &[(&str, i32)]| entries.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let none = || std::iter::empty::<&Table<i32>>();
        let first = Table::sharing(table(&[("a", 1), ("b", 2)]), none());
        let second = Table::sharing(table(&[("a", 1), ("b", 3), ("c", 4)]), [&first].into_iter());
        let third = Table::sharing(table(&[("a", 1), ("b", 3)]), [&first, &second].into_iter());
        assert_eq!(
            [second.get("a"), second.get("b"), second.get("c"), second.get("d")],
            [Some(&1), Some(&3), Some(&4), None]
        );
        assert_eq!([third.get("a"), third.get("b"), third.get("c")], [Some(&1), Some(&3), None]);
        assert!(Arc::ptr_eq(first.entry("a").unwrap(), third.entry("a").unwrap()));
        assert!(Arc::ptr_eq(second.entry("b").unwrap(), third.entry("b").unwrap()));
    }
}
