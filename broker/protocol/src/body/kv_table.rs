//! Names and values.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `{"table":{..}}`: runtime information, KV namespaces, order topics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The names and their values.
    pub table: BTreeMap<String, String>,
}
