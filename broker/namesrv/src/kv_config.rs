//! The KV table: namespaces of names and values that operators store in a namesrv, mainly the
//! fixed-order topics.
//!
//! On disk it is `{"configTable":{"ORDER_TOPIC_CONFIG":{"topic":"broker-a:4"}}}`, Java's
//! `kvConfig.json`. A change is durable before any reader sees it. Changes have one owner; readers
//! load the current table.

use crate::{Error, durable};
use arc_swap::ArcSwap;
use rmq_protocol::fastjson;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Values by name by namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Table {
    config_table: BTreeMap<String, BTreeMap<String, String>>,
    /// Its length as JSON.
    #[serde(skip)]
    bytes: usize,
}

impl Table {
    pub(crate) fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.config_table.get(namespace)
    }

    pub(crate) fn value(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespace(namespace)?.get(key).map(String::as_str)
    }

    /// Its length as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The owner of the file and the table.
pub(crate) struct KvConfig {
    path: PathBuf,
    table: Arc<ArcSwap<Table>>,
    /// The size limit of the table as JSON. A namespace must fit into a frame, and a change copies
    /// all of it.
    most: usize,
}

impl KvConfig {
    /// Reads the file, or its backup, or starts with an empty table if there is neither. The table
    /// may grow to `most` bytes as JSON, or stay as large as it is.
    ///
    /// # Errors
    /// [`Error::Load`]: the file exists and neither it nor its backup can be read. An empty table
    /// would then overwrite it with the next change.
    pub(crate) fn open(path: PathBuf, most: usize) -> Result<Self, Error> {
        let mut table = match load(&path) {
            Ok(Some(table)) => table,
            main => match (main, load(&durable::backup(&path))) {
                (Ok(_), Ok(None)) => Table::default(),
                (main, Ok(Some(table))) => {
                    let reason = main.err().unwrap_or_else(|| "it is not there".to_owned());
                    tracing::warn!(path = %path.display(), reason, "the KV file cannot be read; going on with its backup");
                    table
                }
                (Err(reason), _) | (_, Err(reason)) => return Err(Error::Load { path, reason }),
            },
        };
        table.bytes = fastjson::to_vec(&table).len();
        Ok(Self { path, most, table: Arc::new(ArcSwap::from_pointee(table)) })
    }

    /// The table for readers.
    pub(crate) fn table(&self) -> Arc<ArcSwap<Table>> {
        Arc::clone(&self.table)
    }

    /// Sets a value.
    ///
    /// # Errors
    /// [`Error::Save`], [`Error::KvFull`]; nothing is changed then.
    pub(crate) fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), Error> {
        let mut table = Table::clone(&self.table.load());
        table.config_table.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self.save(table)
    }

    /// Removes a value if it exists. Its namespace stays, as in Java.
    ///
    /// # Errors
    /// [`Error::Save`]; nothing is changed then.
    pub(crate) fn delete(&mut self, namespace: &str, key: &str) -> Result<(), Error> {
        let mut table = Table::clone(&self.table.load());
        let removed = table.config_table.get_mut(namespace).and_then(|values| values.remove(key));
        if removed.is_some() { self.save(table) } else { Ok(()) }
    }

    fn save(&self, mut table: Table) -> Result<(), Error> {
        let json = fastjson::to_vec(&table);
        // A table written under a higher memory limit, or by Java, can still shrink.
        if json.len() > self.most && json.len() > self.table.load().bytes {
            return Err(Error::KvFull(self.most));
        }
        table.bytes = json.len();
        durable::replace(&self.path, &json).map_err(|source| Error::Save { path: self.path.clone(), source })?;
        self.table.store(Arc::new(table));
        Ok(())
    }
}

/// `None`: the file does not exist.
fn load(path: &Path) -> Result<Option<Table>, String> {
    match fs::read(path) {
        Ok(json) => fastjson::from_slice(&json).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 8 * 1024 * 1024;

    fn open(path: PathBuf) -> Result<KvConfig, Error> {
        KvConfig::open(path, MAX_BYTES)
    }

    fn value(kv: &KvConfig, key: &str) -> Option<String> {
        kv.table().load().value("NS", key).map(str::to_owned)
    }

    #[test]
    fn values_survive_and_a_torn_file_falls_back_to_its_backup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        let mut kv = open(path.clone()).unwrap();
        kv.put("NS", "a", "1").unwrap();
        kv.put("NS", "b", "\u{e4}\"").unwrap();
        kv.delete("NS", "nothing").unwrap();
        let kv = open(path.clone()).unwrap();
        assert_eq!((value(&kv, "a").as_deref(), value(&kv, "b").as_deref()), (Some("1"), Some("\u{e4}\"")));

        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let kv = open(path.clone()).unwrap();
            assert_eq!((value(&kv, "a").as_deref(), value(&kv, "b")), (Some("1"), None), "cut at {cut}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(value(&open(path).unwrap(), "a").as_deref(), Some("1"));
    }

    #[test]
    fn two_torn_files_stop_the_start_and_java_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        fs::write(&path, "{").unwrap();
        for backup in [None, Some("")] {
            if let Some(backup) = backup {
                fs::write(durable::backup(&path), backup).unwrap();
            }
            let error = open(path.clone()).err().unwrap();
            assert!(matches!(&error, Error::Load { path: named, .. } if *named == path), "{error}");
        }
        fs::write(&path, "{\n\t\"configTable\":{\"NS\":{\"a\":\"1\"}}\n}").unwrap();
        assert_eq!(value(&open(path).unwrap(), "a").as_deref(), Some("1"));
    }

    #[test]
    fn what_cannot_be_written_is_not_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        let mut kv = open(path.clone()).unwrap();
        // A directory in the place of the file: the rename fails.
        fs::create_dir(&path).unwrap();
        assert!(matches!(kv.put("NS", "a", "1"), Err(Error::Save { .. })));
        assert_eq!(value(&kv, "a"), None);
        fs::remove_dir(&path).unwrap();
        assert!(matches!(kv.put("NS", "a", &"x".repeat(MAX_BYTES)), Err(Error::KvFull(_))));
        kv.put("NS", "a", "1").unwrap();
        kv.delete("NS", "a").unwrap();
        assert!(kv.table().load().namespace("NS").is_some_and(BTreeMap::is_empty));
    }
}
