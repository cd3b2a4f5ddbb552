//! The state of replication: the response to 907.

use serde::{Deserialize, Serialize};

/// Of a master or a slave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaRuntimeInfo {
    /// A slave's side.
    pub ha_client_runtime_info: HaClientRuntimeInfo,
    /// A master's side: one row per slave.
    pub ha_connection_info: Vec<HaConnectionInfo>,
    /// Slaves that keep up.
    pub in_sync_slave_nums: i32,
    /// Which of the two.
    pub master: bool,
    /// End of the master's log.
    pub master_commit_log_max_offset: i64,
}

/// A slave's state on its master.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaConnectionInfo {
    /// Its address.
    pub addr: String,
    /// Bytes of its lag.
    pub diff: i64,
    /// It keeps up.
    pub in_sync: bool,
    /// Its acknowledged offset.
    pub slave_ack_offset: i64,
    /// The offset sent to it.
    pub transfer_from_where: i64,
    /// Bytes per second.
    pub transferred_byte_in_second: i64,
}

/// A slave's own state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaClientRuntimeInfo {
    /// Time of the master's last message, in milliseconds since 1970.
    pub last_read_timestamp: i64,
    /// Time of its last message to the master.
    pub last_write_timestamp: i64,
    /// The master's address; empty, and not written, if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub master_addr: String,
    /// How far the master has flushed.
    pub master_flush_offset: i64,
    /// End of its own log.
    pub max_offset: i64,
    /// Bytes per second.
    pub transferred_byte_in_second: i64,
}
